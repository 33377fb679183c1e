# iotc_setup: what a program needs once, when it makes its device: the check of what it is made of
# and of its model, and devices out of connection strings. iotc loads it for that and lets it go
# again.

from binascii import a2b_base64, b2a_base64

from iotc_wire import plain, sign
from micropython import const
from netstream import load_once

# IOTConnectType
_SYMM_KEY = const(1)
_X509_CERT = const(2)
_DEVICE_KEY = const(3)

_BLOCK = const(64)  # bytes of a block of SHA-256, and of the longest key
_KEY_MIN = const(16)  # bytes
_CERTIFICATE = ("keyfile", "certfile", "key_file", "cert_file", "cert_phrase")

_ID_MAX = const(128)
_HUB_TAKES = "-.%_*?!(),:=@$'"  # beside letters and digits, in a device id
_DPS_TAKES = "-._:"


def check(scope, key, device_id, kind):
    """
    Return (certificate and its key, None), or (None, pads() of the device's own key), of a
    Device's arguments.

    Raises ValueError naming the bad one.
    """
    if scope is not None and not (isinstance(scope, str) and plain(scope, "-._")):
        raise ValueError("scopeId: the ID scope as DPS shows it, or None")
    _check_id(device_id, scope)
    if kind in (_SYMM_KEY, _DEVICE_KEY):
        if not key:
            raise ValueError("keyORCert: the key in base64, as the service shows it")
        own = pads(key)
        if kind == _SYMM_KEY:  # a group's: the device's own is made of it
            own = pads(sign(own, device_id))
        return None, own
    if kind != _X509_CERT:
        raise ValueError("credType: one of IOTConnectType")
    if not isinstance(key, dict):
        key = {}
    load_once("option_names").check_names(key, _CERTIFICATE)
    get = key.get
    pair = get("certfile") or get("cert_file"), get("keyfile") or get("key_file")
    if not all(pair) or get("cert_phrase"):
        raise ValueError("keyORCert: keyfile and certfile, not encrypted")
    return pair, None


def pads(key):
    """
    Return what sign() takes for a key: the two blocks that HMAC-SHA256 (RFC 2104) begins with.

    key: as Azure shows it, base64 of 16 to 64 bytes. Raises ValueError for anything else.
    """
    try:
        raw = a2b_base64(key)
        # MicroPython's decoder skips what it doesn't know: look whether everything was read.
        if not _KEY_MIN <= len(raw) <= _BLOCK or b2a_base64(raw).decode().strip() != key.strip():
            raise ValueError
    except (ValueError, TypeError, AttributeError):
        raise ValueError("keyORCert: not a base64 key of 16 to 64 bytes; copy all of it")
    raw += bytes(_BLOCK - len(raw))
    return bytes([one ^ 0x36 for one in raw]), bytes([one ^ 0x5C for one in raw])


def model(value):
    """
    Return what setModelData() was given as a dict: a model's id, or a dict that may have it under
    "modelId". ValueError in words for anything else.
    """
    if isinstance(value, str):
        value = {"modelId": value}
    if not isinstance(value, dict) or not isinstance(value.get("modelId", ""), str):
        raise ValueError('setModelData: a model id, or a dict such as {"modelId": id}')
    load_once("option_names").check_names(value, ("modelId",))
    return value


def _check_id(device_id, scope):
    # DPS takes few characters; a hub takes more of them.
    good = isinstance(device_id, str) and 0 < len(device_id) <= _ID_MAX
    if not scope:
        if not good or not plain(device_id, _HUB_TAKES):
            raise ValueError("deviceId: 1 to 128 letters, digits, or " + _HUB_TAKES)
    elif not good or not plain(device_id, _DPS_TAKES) or device_id[-1] in "._:":
        raise ValueError(
            "deviceId: 1 to 128 letters, digits, or - . _ : with a letter, digit or - at its end."
            " A hub takes more, DPS doesn't: scopeId None, and connect() with the hub's name"
        )


def from_connection_string(make, text, certificate):
    """What iotc.from_connection_string() does; make: the Device class."""
    fields = {}
    for part in text.strip().split(";") if isinstance(text, str) else ():
        name, found, value = part.partition("=")
        if found:
            fields[name.strip().lower()] = value.strip()
    get = fields.get
    host = get("hostname")
    if not host or not get("deviceid"):
        raise ValueError(
            "connection string: HostName=...;DeviceId=...;SharedAccessKey=..., as the portal"
            " shows it for one device"
        )
    if get("moduleid"):
        raise ValueError("connection string: it is a module's; take the device's")
    if get("sharedaccesskeyname"):
        raise ValueError("connection string: it is a service's policy; take the device's")
    if (get("x509") or "").lower() == "true":
        if not certificate:
            raise ValueError(
                "certificate: a connection string with x509=true needs"
                ' {"keyfile": ..., "certfile": ...} beside it'
            )
        kind = _X509_CERT
    elif get("sharedaccesskey"):
        certificate = get("sharedaccesskey")
        kind = _DEVICE_KEY
    else:
        raise ValueError("connection string: neither SharedAccessKey nor x509=true is in it")
    device = make(None, certificate, get("deviceid"), kind)
    device.server = get("gatewayhostname") or device.server
    return device, host
