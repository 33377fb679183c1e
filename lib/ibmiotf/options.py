"""
A client's options, read once when the client is made: spellings, numbers and switches as texts,
names with a slip, and which platform they lead to. Loaded for that, and let go.
"""

import sys

import option_names
from netstream import load_module

sys.modules.pop("option_names", None)  # it leaves the heap together with this file

CLOSED_DOMAIN = "internetofthings.ibmcloud.com"  # IBM's public platform
CLOSED = (
    CLOSED_DOMAIN + " was closed on 2023-12-01: set 'domain' to your Maximo installation's, "
    "or 'host' to your own broker or the local cloud"
)

_NUMBERS = ("port", "api-port", "max-packet")
_SWITCHES = ("ssl", "clean-session")
_KNOWN = _NUMBERS + _SWITCHES
_KNOWN += ("org", "type", "id", "auth-method", "auth-key", "auth-token", "domain", "host")
_KNOWN += ("ca", "transport", "websocket-path", "api-host")
# The documents' prose has these spellings; `typ` stands in one of their files.
_SPELLINGS = {
    "authmethod": "auth-method",
    "authkey": "auth-key",
    "authtoken": "auth-token",
    "typ": "type",
}
# Words for TLS that other libraries use, and that would be passed over in silence here.
_TLS_WORDS = ("verify", "cert", "certfile", "keyfile", "cafile", "ca_certs", "cadata")
_PACKET_MAX = 268435460  # bytes of the longest packet that MQTT has, its head included


def settled(options):
    """
    The same options (dict) under their documented names, numbers and switches as such.

    Raises ValueError, which names the option.
    """
    own = {}
    for name in options:
        value = options[name]
        name = _SPELLINGS.get(str(name).lower(), name)
        if name in _NUMBERS:
            if name == "max-packet":
                value = option_names.number(name, value, 16, _PACKET_MAX)
            else:
                value = option_names.number(name, value or None)  # 0: the usual port
        elif name in _SWITCHES and isinstance(value, str):
            value = value.lower()
            if value not in ("true", "false"):
                raise ValueError("%s: must be true or false" % name)
            value = value == "true"
        elif str(name).lower() in _TLS_WORDS:
            raise ValueError(
                "option %r: 'ca' names the root certificate; all else about TLS stands in 'ssl', "
                "a dict of ca, cert, key, verify" % name
            )
        if value is not None or name not in own:  # None stands for what a file doesn't name
            own[name] = value
    option_names.check_names(own, _KNOWN)
    return own


def read(options, defaults):
    """
    The options of a client on top of the program's defaults (a new dict).

    Raises ValueError, which names the option.
    """
    own = settled(defaults)
    own.update(settled(options))
    return own


def leads_to_closed(own):
    """Whether these options (from read()) lead to IBM's public platform, which has ended."""
    return not own.get("host") and own.get("domain") in (None, "", CLOSED_DOMAIN)


def usual_port(own):
    """The port (int) of TLS where these options name none; 0: MQTT's own."""
    if own.get("host") or leads_to_closed(own):
        return 0
    return 443  # Maximo has no other


def logger(handlers):
    """
    The logger "ibmiotf" where micropython-lib's logging is installed, else None.

    handlers: one for it, or a list of them, or None.
    """
    try:
        logging = load_module("logging")
    except ImportError:
        return None
    found = logging.getLogger("ibmiotf")
    if handlers:
        for handler in handlers if isinstance(handlers, (list, tuple)) else (handlers,):
            found.addHandler(handler)
    return found
