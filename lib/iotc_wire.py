# iotc_wire: what goes over the wire to Azure: tokens, percent-encoding, JSON the service takes.
#
# Pure functions on hashlib, binascii and json as MicroPython ships them; the other files of iotc
# stand on them.

import json
import time
from binascii import a2b_base64, b2a_base64
from hashlib import sha256

from micropython import const

_FIRST_DAY = const(1735689600)  # 2025-01-01: no clock that was set says less
_LIMIT = const(262144)  # bytes of one message, its properties included
_TWIN_LIMIT = const(32768)


def unix_time():
    """
    Return the time in whole seconds since 1970, whatever epoch this board counts from.

    Raises OSError when the clock was never set: no signature would be worth anything.
    """
    # Only int plus int: the float of a 32-bit board holds 24 bits and would lose minutes.
    now = int(time.time()) + (946684800 if time.gmtime(0)[0] == 2000 else 0)
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
    if plain(text, "-._~"):
        return text
    out = bytearray()
    for c in text.encode():
        out.extend(bytes((c,)) if plain(chr(c), "-._~") else b"%%%02X" % c)
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
    Return "a=1&b=&c" as {"a": "1", "b": "", "c": None}, percent-encoding undone; a "?" in front is
    passed over. ValueError when malformed.
    """
    out = {}
    for pair in text.lstrip("?").split("&"):
        name, sep, value = pair.partition("=")
        if name:
            out[unquote(name)] = unquote(value) if sep else None
    return out


def with_bag(topic, properties):
    """
    Return topic (str) with the properties (dict or None) of a message behind it.

    A number in iothub-creation-time-utc counts as time.time(). Raises ValueError for a name that
    Hub can't take.
    """
    others = "!#$%&'*+-.^_`|~"
    for name in properties or ():
        value = properties[name]
        name = str(name)
        if name == "iothub-creation-time-utc" and not isinstance(value, str):
            value = "%d-%02d-%02dT%02d:%02d:%02dZ" % time.gmtime(int(value))[:6]
        if not (name and plain(name, others)):
            raise ValueError("property name: letters, digits, " + others)
        if topic[-1] != "/":
            topic += "&"
        topic += quote(name) + "=" + quote(str(value))
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
        if not 16 <= len(raw) <= 64 or b2a_base64(raw).decode().strip() != key.strip():
            raise ValueError
    except (ValueError, TypeError, AttributeError):
        raise ValueError("keyORCert: not a base64 key of 16 to 64 bytes; copy all of it")
    # MicroPython's sha256 has no copy(), so what can be made beforehand are the padded blocks.
    # One long number is padded nine times faster than 64 small ones.
    n = int.from_bytes(raw + bytes(64 - len(raw)), "big")
    pads = []
    for pad in b"\x36\x5c":
        pads.append((n ^ int.from_bytes(bytes((pad,)) * 64, "big")).to_bytes(64, "big"))

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


def _fits(value, twin, depth=0):
    # Whether JSON can hold value, and IoT Hub's twin too. What json.dumps would only garble (nan,
    # bytes, objects) doesn't fit.
    if isinstance(value, (dict, list, tuple)):
        named = isinstance(value, dict)
        for item in value:
            if named:
                if not isinstance(item, str):
                    return False
                if twin and item[:7] != "$iotin:":
                    if not 0 < len(item) <= 1024 or min(item) <= " " or "." in item or "$" in item:
                        return False
                item = value[item]
            if not _fits(item, twin, depth + 1):
                return False
        return depth < 10 or not twin
    if isinstance(value, str):
        return len(value) <= 4096 or not twin
    if isinstance(value, int):
        return -4503599627370496 <= value < 4503599627370496 or not twin
    if value is None or isinstance(value, bool):  # on MicroPython a bool is no int
        return True
    return isinstance(value, float) and value - value == 0


def dump(value, twin=False, more=0):
    """
    Return value as JSON text (str or bytes); str and bytes are taken to be that already.

    more: bytes that go beside it. Raises ValueError for over 256 KB and for what JSON can't hold;
    with twin for what a twin can't: over 32 KB, names over 1 KB or with . $ or a space, text over
    4 KB, integers of more than 53 bits, over 10 levels.
    """
    if not isinstance(value, (str, bytes)):
        if not _fits(value, twin):
            raise ValueError(
                "not for JSON"
                + (", or a name, text, integer or depth no twin takes" if twin else "")
            )
        value = json.dumps(value)
    if len(value) > 8191 and isinstance(value, str):
        # Long enough for the limits to depend on what is not ASCII: four bytes a character.
        value = value.encode()
    if len(value) + more > (_TWIN_LIMIT if twin else _LIMIT):
        raise ValueError("over 256 KB, or 32 KB of properties")
    return value
