# iotc_wire: what goes over the wire to Azure: tokens, percent-encoding, JSON the service takes.
#
# Pure functions on hashlib and binascii as MicroPython ships them, and on json_text; the other
# files of iotc stand on them.

import time
from binascii import a2b_base64, b2a_base64
from hashlib import sha256

import json_text
from micropython import const

_FIRST_DAY = const(1735689600)  # 2025-01-01: no clock that was set says less
_FROM_1970_TO_2000 = const(946684800)  # seconds between the two epochs that boards count from

_MESSAGE_MAX = const(262144)  # bytes of a message with its properties, at the hub
_BLOCK = const(64)  # bytes of a block of SHA-256

# What needs no percent-encoding, and what Hub takes in the name of a message's property.
_UNRESERVED = "-._~"
_PROPERTY_NAME = "!#$%&'*+-.^_`|~"


def unix_time():
    """
    Return the time in whole seconds since 1970, whatever epoch this board counts from.

    Raises OSError when the clock was never set: no signature would be worth anything.
    """
    # Only int plus int: the float of a 32-bit board holds 24 bits and would lose minutes.
    now = int(time.time()) + (_FROM_1970_TO_2000 if time.gmtime(0)[0] == 2000 else 0)
    if now < _FIRST_DAY:
        raise OSError(-1, "clock not set: sync NTP before connecting")
    return now


def plain(text, others):
    """Return whether text is made of ASCII letters, digits and what is in others, only."""
    for c in text:
        if not ("a" <= c <= "z" or "A" <= c <= "Z" or "0" <= c <= "9" or c in others):
            return False
    return True


def quote(text):
    """Return text (str) percent-encoded (RFC 3986): all but letters, digits and - . _ ~"""
    if plain(text, _UNRESERVED):
        return text
    out = bytearray()
    for byte in text.encode():
        out.extend(bytes((byte,)) if plain(chr(byte), _UNRESERVED) else b"%%%02X" % byte)
    return out.decode()


def unquote(text):
    """Return text without its percent-encoding ("+" is a plus); ValueError when malformed."""
    first, *rest = text.split("%")
    out = first.encode()
    for part in rest:
        out += bytes((int(part[:2], 16),)) + part[2:].encode()
    return out.decode()


def bag(text):
    """
    Return "a=1&b=&c" as {"a": "1", "b": "", "c": None}, percent-encoding undone; one "?" in front
    is passed over. ValueError when malformed.
    """
    out = {}
    for pair in text[text[:1] == "?" :].split("&"):
        name, sep, value = pair.partition("=")
        if name:
            out[unquote(name)] = unquote(value) if sep else None
    return out


def with_bag(topic, properties):
    """
    Return topic (str) with the properties (dict or None) of a message behind it.

    A number in iothub-creation-time-utc counts as time.time(). Raises ValueError for a name or
    value that Hub can't take.
    """
    if not isinstance(properties, dict):
        if properties is None:
            return topic
        raise ValueError("properties: a dict, or None")
    for name in properties:
        value = properties[name]
        name = str(name)
        if name == "iothub-creation-time-utc" and not isinstance(value, str):
            if not isinstance(value, (int, float)):
                raise ValueError(name + ": a number of seconds as time.time() has it, or a text")
            value = "%d-%02d-%02dT%02d:%02d:%02dZ" % time.gmtime(int(value))[:6]
        if not (name and plain(name, _PROPERTY_NAME)):
            raise ValueError("property name: letters, digits, " + _PROPERTY_NAME)
        if topic[-1] != "/":
            topic += "&"
        value = str(value)
        _check_text(value)
        topic += quote(name) + "=" + quote(value)
    return topic


def signer(key):
    """
    Return sign(text): HMAC-SHA256 (RFC 2104) of a str, in base64.

    key: as Azure shows it, base64 of 16 to 64 bytes. Raises ValueError for anything else. The key
    of one device of a group is signer(group_key)(registration_id).
    """
    try:
        raw = a2b_base64(key)
        # MicroPython's decoder skips what it doesn't know: look whether everything was read.
        if not 16 <= len(raw) <= _BLOCK or b2a_base64(raw).decode().strip() != key.strip():
            raise ValueError
    except (ValueError, TypeError, AttributeError):
        raise ValueError("keyORCert: not a base64 key of 16 to 64 bytes; copy all of it")
    # MicroPython's sha256 has no copy(), so what can be made beforehand are the padded blocks.
    # One long number is padded nine times faster than 64 small ones.
    number = int.from_bytes(raw + bytes(_BLOCK - len(raw)), "big")
    pads = []
    for pad in b"\x36\x5c":
        mask = int.from_bytes(bytes((pad,)) * _BLOCK, "big")
        pads.append((number ^ mask).to_bytes(_BLOCK, "big"))

    def sign(text):
        inner = sha256(pads[0])
        inner.update(text.encode())
        outer = sha256(pads[1])
        outer.update(inner.digest())
        return b2a_base64(outer.digest())[:-1].decode()

    return sign


def token(sign, resource, expiry, policy=None):
    """
    Return a shared access signature (str).

    sign: a signer(). resource: what the token opens, already through quote(). expiry: seconds
    since 1970. policy: "registration" for DPS, None for a hub.
    """
    expiry = str(expiry)
    sig = sign(resource + "\n" + expiry)
    # 32 bytes in base64 end in one "=".
    sig = sig[:-1].replace("+", "%2B").replace("/", "%2F")
    skn = "&skn=" + policy if policy else ""
    return "".join(("SharedAccessSignature sr=", resource, "&sig=", sig, "%3D&se=", expiry, skn))


def _check_text(text):
    # Half of a surrogate pair is no text: MicroPython would send bytes that are not UTF-8.
    if len(text.encode()) != len(text):
        json_text.dumps(text)


def _check_keys(value):
    # A key such as 1 would arrive as "1": whoever made this meant something else.
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError("not for JSON: a name must be text")
            _check_keys(value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_keys(item)


def dump(value, twin=False, more=0):
    """
    Return value as JSON text (str or bytes); str and bytes are taken to be that already.

    twin: value goes into a twin. more: bytes that go beside it. Raises ValueError for over 256 KB,
    for what JSON can't hold, and for what a twin can't: see iotc_limits.
    """
    if isinstance(value, str):
        _check_text(value)
    elif not isinstance(value, bytes):
        if twin:
            import iotc_limits

            iotc_limits.check(value)
        text = json_text.dumps(value)
        _check_keys(value)
        value = text
    if len(value) > _MESSAGE_MAX // 4 and isinstance(value, str):
        # Long enough for the limit to depend on what is not ASCII: up to four bytes a character.
        value = value.encode()
    if len(value) + more > _MESSAGE_MAX:
        raise ValueError("over 256 KB, which is all that a message may be")
    return value
