"""
What a TeamViewer client does once: read its parameters and open a connection to the agent.

Loaded by teamviewer_iot for it and let go again, so that a running client's heap is free of it.
Not for programs: the calls are TVCMI_client's.
"""

from micropython import const

from mqtt_link import MQTTLink
from netstream import load_once
from teamviewer_errors import (
    ConfigError,
    ConnectionParamError,
    InputError,
    KeyCertificateError,
    TLSError,
)

# What a certificate says, for who has loaded this part.
certificates = load_once("teamviewer_certificate")

_ANSWER_MAX = const(8192)  # bytes of the answer that holds a certificate

_INVALID_JSON = const(4)
_MISSING_PARAMETER = const(6)
_NOT_A_STRING = const(7)
_NOT_A_NUMBER = const(8)
_OUT_OF_RANGE = const(19)
_TLS_ERROR = const(21)

OUR_FILES = "cert or key"  # what netstream calls them when it can't use one

_NEEDED = ("MqttHost", "MqttProvisionPort", "MqttPort", "CaFile", "CertFolder")
_OPTIONAL = (
    "MqttKeepAlive",
    "ClientName",
    "OverrideCerts",
    "ServerName",
    "MaxPacket",
    "ProvisionTimeout",
)
# Name -> least and most.
_NUMBERS = (
    ("MqttProvisionPort", 1, 65535),
    ("MqttPort", 1, 65535),
    ("MaxPacket", 128, 1 << 24),
    ("ProvisionTimeout", 1, 86400),
)
_MODES = ("OVERRIDE", "NOT_OVERRIDE", "SMART")


def configure(given):
    """
    The parameters as a dict, complete and with numbers for ports. given: dict, JSON text or the
    name of a configuration file. Raises ConfigError, InputError, ConnectionParamError.
    """
    try:
        given = dict(_read(given) if isinstance(given, str) else given)
    except (OSError, ValueError, TypeError) as e:
        text = "parameters must be a dict, JSON, or a file's name: %s" % e
        raise ConfigError(_INVALID_JSON, text)
    _check_names(given)
    given.setdefault("MaxPacket", 4096)
    given.setdefault("ProvisionTimeout", 30)
    given.setdefault("ClientName", "client")
    for key, least, most in _NUMBERS:
        try:
            given[key] = int(given[key])
            if not least <= given[key] <= most:
                raise ValueError
        except (ValueError, TypeError, OverflowError):
            text = "%s must be a number, %d to %d"
            raise ConnectionParamError(_NOT_A_NUMBER, text % (key, least, most))
    for key in ("MqttHost", "CaFile", "CertFolder", "ClientName", "ServerName"):
        several = key == "MqttHost" and isinstance(given[key], (list, tuple))
        if not several and not isinstance(given.get(key, ""), str):
            raise InputError(_NOT_A_STRING, key + " must be text")
    name = given["ClientName"]
    if not name.strip() or len(name) > 64 or "/" in name:
        raise InputError(_OUT_OF_RANGE, "ClientName must have 1 to 64 characters and no /")
    given["OverrideCerts"] = _mode(given.get("OverrideCerts", 2))
    given["CertFolder"] = given["CertFolder"].rstrip("/") or "/"
    return given


def _read(text):
    # Parameters from JSON text, or from a file that holds JSON or a `Key value` on each line.
    if "\n" not in text and not text.strip("\ufeff \t").startswith("{"):
        with open(text, "rb") as f:
            text = str(f.read(), "utf-8")
    text = text.lstrip("\ufeff")
    if text.strip().startswith("{"):
        return load_once("json_text").loads(text)
    found = {}
    for line in text.split("\n"):
        words = line.split("#")[0].split(None, 1)
        if len(words) == 2:
            found[words[0]] = words[1].strip()
    return found


def _check_names(given):
    # A misspelt name is told before the one that is missing because of it.
    try:
        load_once("option_names").check_names(given, _NEEDED + _OPTIONAL)
    except ValueError as e:
        raise InputError(_MISSING_PARAMETER, "parameters: %s" % e)
    for key in _NEEDED:
        if not given.get(key):
            raise InputError(_MISSING_PARAMETER, "parameter missing: " + key)


def _mode(given):
    # The name of a CertOverrideMode that is given as name, number or enum.
    mode = str(getattr(given, "value", given)).split(".")[-1]
    for number, known in enumerate(_MODES, 1):
        if mode in (known, str(number)):
            return known
    raise InputError(_OUT_OF_RANGE, "OverrideCerts must be OVERRIDE, NOT_OVERRIDE or SMART")


def link(client, port, found=None, secure=True):
    """
    An MQTTLink to the agent. port: the parameter with its number. found: what certificate() says
    of the certificate to show; None shows none. Raises TLSError, KeyCertificateError.
    """
    given = client.parameters
    tls = None
    if secure:
        tls = {"ca": given["CaFile"], "server_hostname": given.get("ServerName")}
        if found:
            if certificates.has_ended(found):
                text = "the certificate ended on %s: provision() with SMART or OVERRIDE"
                raise KeyCertificateError(None, text % found[1][:8])
            tls["cert"] = client.get_cert_path()
            tls["key"] = client.get_key_path()
    # A certificate may come with its chain, and text around it.
    longest = given["MaxPacket"] if found else _ANSWER_MAX
    try:
        return MQTTLink("", given["MqttHost"], given[port], ssl=tls, max_packet=longest)
    except ValueError as e:
        text = str(e)
        if OUR_FILES in text:
            text += ": provision() with SMART or OVERRIDE"
        raise TLSError(_TLS_ERROR, text)


def connect(client):
    """
    (MQTTLink that tells the client what happens, base of its topics); raises as certificate() and
    link().
    """
    found = certificates.certificate(client)
    made = link(client, "MqttPort", found)
    made.set_callback(client._hear)
    made.on_up = client._on_up
    made.on_ack = client._on_ack
    made.on_down = client._on_down
    made.on_skip = client._on_skip
    return made, "/v1.0/" + found[0]
