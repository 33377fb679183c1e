# JSON as RFC 8259 has it, read and written with the firmware's own json; every client uses this.
#
# The built-in reader is fast, but takes {"a" 1}, [1,], 01 and "\x", makes two characters of an
# emoji's \ud83d\ude00, and ended well on a lone "{" before MicroPython 1.26. So a text is first
# proven to be JSON, and only then given to it: strings are passed over, numbers and words checked
# one by one, and the structure left is put together from the inside out, one level of nesting a
# round. Most of that is done by find() and replace(), which run in C.
#
# Nothing here calls itself: a task with 8 KB of stack can use it at any depth it allows.

import json

from micropython import const
from netstream import load_once
from utf8 import is_text

NO_MEMORY = "JSON: not enough memory to read it"  # the text of that ValueError

_DEPTH = const(32)  # most arrays and objects inside each other, to read and to write
_TOO_DEEP = const("more than 32 levels")
_DIGITS = const(400)  # longest number; the largest double has 309 digits
_BOM = const(b"\xef\xbb\xbf")
_MARKS = const(b'{}[]:,"\t\r\n ')  # what may stand around a number or word
_PLAIN_DIGITS = const(9)  # a whole number of so many digits needs no closer look ...
_SAFE_DIGITS = const(38)  # ... and one with a point is no infinity, in 32 bits either
_ZERO = const(48)
_HEX = const(b"0123456789abcdefABCDEF")
_SHOWN = const(40)  # characters of a value that an error shows
# For isinstance(); a tuple that stands in a call is made anew at each call.
_CONTAINERS = (dict, list, tuple)
_PLAIN = (str, int, bool, type(None))
_KEYS = (str, int, bool)


# --- reading


def _has_surrogates(plain):
    # Checks the escapes in plain, which has no escaped backslashes and quotation marks.
    found = False
    at = plain.find(b"\\")
    while at >= 0:
        kind = plain[at + 1 : at + 2]
        unit = plain[at + 2 : at + 6]
        if kind == b"u" and len(unit) == 4 and not unit.strip(_HEX):
            found = found or unit[0] in b"dD" and unit[1] not in b"01234567"
        elif kind not in b"/bfnrt":
            raise ValueError("bad escape")
        at = plain.find(b"\\", at + 2)
    return found


def _check_word(word):
    # Raises ValueError for what is no number (RFC 8259, 6), true, false or null. One grammar rule,
    # so it stays one function, though it has many branches.
    if word in ("true", "false", "null"):
        return
    number, e, power = word.lower().partition("e")
    whole, point, fraction = number.partition(".")
    if whole[:1] == "-":
        whole = whole[1:]
    if power[:1] in "+-":
        power = power[1:]
    if (
        not whole.isdigit()
        or (whole[0] == "0" and len(whole) > 1)
        or (point and not fraction.isdigit())
        or (e and not power.isdigit())
    ):
        raise ValueError("bad number or word")
    value = float(word) if e or (point and len(word) > _SAFE_DIGITS) else 0
    if len(word) > _DIGITS or value - value:  # infinity less itself is not 0
        raise ValueError("number too large")


def _structure(text):
    # Returns text (bytes) without spaces, a quotation mark for each string and a v for each other
    # value; all of them are checked. text: JSON without escaped quotation marks.
    found = bytearray()
    find = text.find
    size = len(text)
    has_controls = text and min(text) < 32
    at = 0
    quote = -1  # the next one
    while at < size:
        if quote < at:
            quote = find(b'"', at)
            if quote < 0:
                quote = size
        end = find(b",", at, quote)
        if end < 0:
            end = quote
        part = text[at : end + 1]
        at = end + 1
        word = part.strip(_MARKS)
        if word:
            if len(word) > _PLAIN_DIGITS or word[0] == _ZERO or not word.isdigit():
                _check_word(str(word, "utf-8"))
            part = part.replace(word, b"v", 1)
        found.extend(part)
        if end == quote < size:
            at = find(b'"', at) + 1
            if not at or has_controls and min(text[end:at]) < 32:
                raise ValueError("bad string")
    return "".join(str(found, "utf-8").split())


def _check_structure(text):
    # ^ is the start. From now on v is any value, k a name with its colon, and p a pair of name and
    # value, or several of them.
    text = "^" + text.replace('":', "k").replace('"', "v")
    for _ in range(_DEPTH + 1):
        # Names get their values first: what is then left of "v,v" are elements of an array.
        before = text
        text = text.replace("^v", "$").replace("kv", "p")
        while "p,p" in text:
            text = text.replace("p,p", "p")
        while "v,v" in text:
            text = text.replace("v,v", "v")
        if text == "$":
            return
        text = text.replace("{p}", "v").replace("[v]", "v").replace("{}", "v").replace("[]", "v")
        if text == before:
            raise ValueError("a comma, colon, bracket or value is missing or too many")
    raise ValueError(_TOO_DEEP)


def loads(data):
    """
    Return the value of a JSON text: str, bytes, bytearray or memoryview, exactly as RFC 8259 has
    it. Of a name given twice the last value counts.

    A byte order mark is passed over; \\u escapes that are a surrogate pair become their character,
    a half without its other half becomes U+FFFD.
    Raises ValueError, and nothing else, for all that isn't JSON (NaN and infinity are not), for
    ill-formed UTF-8, for numbers that are too large here (of 400 characters, or beyond the range
    of floats), for more than 32 levels, and when there is not enough memory.
    """
    try:
        return receive(data)
    except MemoryError:  # on its own: with no heap left not even a tuple of two can be made
        pass
    raise ValueError(NO_MEMORY)


def receive(data):
    """
    As loads(), for what somebody has sent; but with too little memory MemoryError is raised, so
    that the message is not acknowledged and comes again.
    """
    try:
        data = data.encode() if isinstance(data, str) else bytes(data)
        if data[:3] == _BOM:
            data = data[3:]
        if not is_text(data):
            raise ValueError("bad UTF-8")
        plain = data
        if b"\\" in data:
            plain = data.replace(b"\\\\", b"__").replace(b'\\"', b"__")
            if _has_surrogates(plain):
                data = load_once("json_surrogates").joined(data, plain)
        _check_structure(_structure(plain))
        del plain
        return json.loads(str(data, "utf-8"))
    except ValueError as e:
        raise ValueError("not JSON: %s" % e)
    except RuntimeError:
        pass
    raise ValueError(NO_MEMORY)


# --- writing


def _refuse(name, what):
    raise ValueError("%r: JSON can't hold %s" % (name, what))


def _check_items(holder, name, waiting):
    # One list or dict. Those inside it are left to the caller: this frame is then so small that it
    # takes nothing from the heap.
    for item in holder:
        if isinstance(holder, dict):
            name = item
            item = holder[name]
            if not isinstance(name, _KEYS):
                _refuse(name, "such a key")
        if isinstance(item, _CONTAINERS):
            waiting.append(name)
            waiting.append(item)
        # nan, inf and -inf are the floats that are not 0 less themselves.
        elif item - item if isinstance(item, float) else not isinstance(item, _PLAIN):
            _refuse(name, repr(item)[:_SHOWN])


def _check_value(value):
    waiting = ["data", (value,)]  # names and containers still to be looked into
    depth = 0
    while waiting:
        holder = waiting.pop()
        if holder is None:
            depth -= 1  # the end of what was inside a container
        else:
            name = waiting.pop()
            if depth > _DEPTH:
                _refuse(name, _TOO_DEEP)
            depth += 1
            waiting.append(None)
            _check_items(holder, name, waiting)


def encode(value):
    """
    Return value as a JSON text in UTF-8 (bytes), which is what goes over a wire. As dumps().
    """
    _check_value(value)
    data = json.dumps(value).encode()
    if not is_text(data):
        _refuse("data", "half of a surrogate pair")
    return data


def dumps(value):
    """
    Return value as a JSON text (str).

    value: None, bool, int, float, str, list, tuple, or dict of those, whose keys are str, int or
    bool (JSON has only texts: 1 becomes "1").
    Raises ValueError for all that JSON has no form for, naming the key under which it stands: NaN,
    infinity, bytes, other objects and keys, more than 32 levels; so also for a list or dict that
    holds itself; and for half a surrogate pair. MicroPython's json.dumps writes nan, or <object>.
    """
    return str(encode(value), "utf-8")
