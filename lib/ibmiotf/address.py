"""
Who a client is and where it connects: its client id and its link, made of the options that
options.py has read. Loaded once, when the client is made, and let go.
"""

from ibmiotf import DEVICE, NAME, level, name_of
from micropython import const

_NAME_AT_IBM = const(32)  # longest device type or id on IBM's public platform
_APPLICATION_ID = const(128)
_PLAIN_PORT = const(1883)
_KEEPALIVE = const(60)  # seconds
_MAX_PACKET = const(2048)  # bytes
_CLOSED_DOMAIN = "internetofthings.ibmcloud.com"


def client_id(own, role, keys, at_ibm):
    """
    The client id: role, and the values of keys. at_ibm: it is for IBM's public platform.

    Raises ValueError, which names the option.
    """
    parts = [role]
    for key in keys:
        value = own[key]
        if role != DEVICE and key == "id":
            parts.append(level(key, value, _APPLICATION_ID))  # no rules but MQTT's
            continue
        parts.append(name_of(key, value))
        if at_ibm and role == DEVICE and len(value) > _NAME_AT_IBM:
            raise ValueError(
                "%s: at most %d characters on IBM's platform; %d with 'domain' (Maximo) or 'host'"
                % (key, _NAME_AT_IBM, NAME)
            )
    return ":".join(parts)


def link(MQTTLink, own, client, user, port):
    """
    The link of a client. MQTTLink: the class. user: the client's user name; None: it goes without
    name and token. port: the usual one where the options name none and it is TLS; 0: MQTT's own.

    Raises ValueError for what MQTT or TLS can't use.
    """
    get = own.get
    ssl = get("ssl")
    if ssl is None:
        ssl = user is not None and get("port") != _PLAIN_PORT
    if ssl is True or ssl == {}:  # an empty dict would be plain TCP
        ssl = {"ca": get("ca")}
    websocket = get("transport") == "websockets"
    return MQTTLink(
        client,
        get("host") or "%s.messaging.%s" % (get("org"), get("domain") or _CLOSED_DOMAIN),
        get("port") or (port if ssl else 0),
        user,
        None if user is None else get("auth-token"),
        _KEEPALIVE,
        ssl,
        clean_session=get("clean-session") is not False,
        max_packet=get("max-packet") or _MAX_PACKET,
        websocket=(get("websocket-path") or "/mqtt") if websocket else None,
    )
