# iotc_wire: what goes over the wire to Azure: tokens, percent-encoding, JSON the service takes.
#
# Pure functions on hashlib and binascii as MicroPython ships them, and on json_text; the other
# files of iotc stand on them.

import time
from binascii import b2a_base64
from hashlib import sha256

import json_text
from micropython import const

from netstream import load_module

_FIRST_DAY = const(1735689600)  # 2025-01-01: no clock that was set says less
_FROM_1970_TO_2000 = const(946684800)  # seconds between the two epochs that boards count from

_MESSAGE_MAX = const(262144)  # bytes of a message with its properties, at the hub

_UNRESERVED = "-._~"  # what needs no percent-encoding, beside letters and digits


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


def sign(pads, text):
    """
    Return the HMAC-SHA256 (RFC 2104) of text (str) in base64. pads: iotc_setup.pads() of the key.
    """
    # MicroPython's sha256 has no copy(), so what can be made beforehand are the padded blocks.
    inner = sha256(pads[0])
    inner.update(text.encode())
    outer = sha256(pads[1])
    outer.update(inner.digest())
    return b2a_base64(outer.digest())[:-1].decode()


def token(pads, resource, expiry, policy=None):
    """
    Return a shared access signature (str).

    pads: iotc_setup.pads() of the key. resource: what the token opens, already through quote().
    expiry: seconds since 1970. policy: "registration" for DPS, None for a hub.
    """
    expiry = str(expiry)
    sig = sign(pads, resource + "\n" + expiry)
    # 32 bytes in base64 end in one "=".
    sig = sig[:-1].replace("+", "%2B").replace("/", "%2F")
    skn = "&skn=" + policy if policy else ""
    return "".join(("SharedAccessSignature sr=", resource, "&sig=", sig, "%3D&se=", expiry, skn))


def check_text(text):
    """Raises ValueError for half of a surrogate pair: MicroPython would send what is no UTF-8."""
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
        check_text(value)
    elif not isinstance(value, bytes):
        if twin:
            load_module("iotc_limits").check(value)
        text = json_text.dumps(value)
        _check_keys(value)
        value = text
    if len(value) > _MESSAGE_MAX // 4 and isinstance(value, str):
        # Long enough for the limit to depend on what is not ASCII: up to four bytes a character.
        value = value.encode()
    if len(value) + more > _MESSAGE_MAX:
        raise ValueError("over 256 KB, which is all that a message may be")
    return value
