# JSON as RFC 8259 has it, read and written with the firmware's own json; every client uses this.
#
# The built-in reader is fast, but takes {"a" 1}, [1,], 01 and "\x", makes two characters of an
# emoji's \ud83d\ude00, and ended well on a lone "{" before MicroPython 1.26. So a text is first
# proven to be JSON, and only then given to it. The proof costs little because most of it is done
# by split(), join() and replace(), which run in C: the strings are taken out, numbers and words
# checked one by one, and the structure left is put together from the inside out, one level of
# nesting a round.
#
# Nothing here calls itself: a task with 8 KB of stack can use it at any depth it allows.

import json
from binascii import unhexlify

from micropython import const

_DEPTH = const(32)  # most arrays and objects inside each other, to read and to write
_DIGITS = const(400)  # longest number; the largest double has 309 digits
_WINDOW = const(512)  # bytes of a text that are taken apart at once
_ESCAPES = (b"/", b"b", b"f", b"n", b"r", b"t")  # what may follow a backslash, beside \\ " u
NO_MEMORY = "JSON: not enough memory to read it"  # the text of that ValueError
_MARKS = b'{}[]: "'
_ZERO = const(48)
_WORDS = (b"true", b"false", b"null")
# For isinstance(); a tuple that stands in a call is made anew at each call.
_CONTAINERS = (dict, list, tuple)
_PLAIN = (str, int, bool, type(None))
_KEYS = (str, int, bool)


def _check_utf8(data):
    # MicroPython's decoder takes more than UTF-8: surrogates, longer forms than needed, and what
    # is beyond U+10FFFF. All those start with one of these bytes.
    if len(str(data, "utf-8")) == len(data):
        return  # plain ASCII
    for first in b"\xc0\xc1\xe0\xed\xf0\xf4\xf5\xf6\xf7":
        at = data.find(bytes((first,)))
        while at >= 0:
            form = data[at : at + (2 if first < 0xE0 else 3 if first < 0xF0 else 4)]
            code = ord(str(form, "utf-8"))
            if code & 0x1FF800 == 0xD800 or chr(code).encode() != form:
                raise ValueError("half of a surrogate pair, or other bad UTF-8")
            at = data.find(form[:1], at + 1)


def _check_number(word):
    # RFC 8259, 6: no +, no leading zeros, digits on both sides of the point. float() knows the
    # rest.
    digits = word.lstrip(b"-")
    point = word.find(b".") + 1
    if (
        len(word) > _DIGITS
        or word.strip(b"0123456789-.+eE")
        or not (digits[:1].isdigit() and word[-1:].isdigit())
        or (digits[:1] == b"0" and digits[1:2].isdigit())
        or (point and not word[point : point + 1].isdigit())
    ):
        raise ValueError("bad number or word")
    value = float(word)
    if value - value:  # infinity less itself is not 0
        raise ValueError("number too large")


def _without_words(text):
    # text is JSON whose strings are one quotation mark each. Returns it with a v for each number
    # or word. Two of those always have a comma between them.
    parts = text.split(b",")
    for i in range(len(parts)):
        word = parts[i].strip(_MARKS)
        if word:
            if word not in _WORDS and not (word.isdigit() and word[0] != _ZERO):
                _check_number(word)
            elif len(word) > _DIGITS:
                raise ValueError("number too large")
            parts[i] = parts[i].replace(word, b"v", 1)
    return b",".join(parts)


def _unit(data, at):
    # The UTF-16 unit of a \u escape, or -1 if none starts there.
    if data[at : at + 2] != b"\\u":
        return -1
    unit = unhexlify(data[at + 2 : at + 6])
    if len(unit) < 2:  # the text ends, or MicroPython has passed over spaces
        return -1
    return unit[0] << 8 | unit[1]


def _join_escapes(data, plain):
    # Checks the escapes in data, and returns it with surrogates joined. plain: the same without
    # escaped backslashes and quotation marks.
    joined = b""
    done = 0  # up to here `joined` has the text
    at = plain.find(b"\\")
    while at >= 0:
        end = at + 2
        if plain[at + 1 : end] not in _ESCAPES:
            unit = _unit(data, at)
            end = at + 6
            if unit < 0:
                raise ValueError("bad escape")
            if unit & 0xF800 == 0xD800:
                low = _unit(data, end)
                character = 0xFFFD
                if unit < 0xDC00 and low & 0xFC00 == 0xDC00:
                    character = 0x10000 + ((unit & 0x3FF) << 10 | low & 0x3FF)
                    end += 6
                joined += data[done:at] + chr(character).encode()
                done = end
        at = plain.find(b"\\", end)
    return joined + data[done:] if done else data


def _window(plain, at):
    # Where a part of the text ends that begins outside of strings, so that it doesn't end in one,
    # nor in a number or word.
    size = len(plain)
    end = at + _WINDOW
    if end >= size:
        return size
    last = plain.rfind(b'"', at, end)
    if last < 0:  # numbers, perhaps
        comma = plain.find(b",", end)
        quote = plain.find(b'"', end)
        if comma < 0 or 0 <= quote < comma:
            return quote if quote >= 0 else size
        return comma + 1
    if plain.count(b'"', at, end) & 1 == 0:
        return last + 1
    return last if last > at else (plain.find(b'"', at + 1) + 1 or size)


def _check(data):
    # Proves that data is JSON, or raises ValueError. Returns it with surrogates joined. The text
    # is taken apart in windows, because its parts take several times its room.
    controls = data and min(data) < 32
    plain = data
    if b"\\" in data:
        plain = data.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        data = _join_escapes(data, plain)
    skeleton = bytearray(b"^")
    at = 0
    while at < len(plain):
        end = _window(plain, at)
        parts = plain[at:end].split(b'"')
        at = end
        if not len(parts) & 1:
            raise ValueError("a string without end")
        text = b'"'.join(parts[::2])
        if controls:
            text = text.replace(b"\n", b" ").replace(b"\r", b" ").replace(b"\t", b" ")
            if min(b" ".join(parts[1::2]) + text + b" ") < 32:
                raise ValueError("control character")
        skeleton += _without_words(text)
    _check_skeleton(bytes(skeleton))
    return data


def _check_skeleton(text):
    # ^ is the start, " a string, v any other value. From now on k is a name with its colon, and p
    # a pair of name and value, or several of them.
    text = text.replace(b" ", b"").replace(b'":', b"k").replace(b'"', b"v")
    for _ in range(_DEPTH + 1):
        # Names get their values first: what is then left of "v,v" are elements of an array.
        before = text
        text = text.replace(b"^v", b"$").replace(b"kv", b"p")
        while b"p,p" in text:
            text = text.replace(b"p,p", b"p")
        while b"v,v" in text:
            text = text.replace(b"v,v", b"v")
        if text == b"$":
            return
        text = text.replace(b"{p}", b"v").replace(b"[v]", b"v")
        text = text.replace(b"{}", b"v").replace(b"[]", b"v")
        if text == before:
            raise ValueError("a comma, colon, bracket or value is missing or too many")
    raise ValueError("more than %d levels" % _DEPTH)


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
        data = data.encode() if isinstance(data, str) else bytes(data)
        if data[:3] == b"\xef\xbb\xbf":
            data = data[3:]
        _check_utf8(data)
        return json.loads(str(_check(data), "utf-8"))
    except ValueError as e:
        raise ValueError("not JSON: %s" % e)
    except MemoryError:  # on its own: with no heap left not even a tuple of two can be made
        pass
    except RuntimeError:
        pass
    raise ValueError(NO_MEMORY)


def _check_scalar(item, name):
    if isinstance(item, float):
        if item - item == 0:  # nan, inf and -inf are the floats that are not 0 less themselves
            return
    elif isinstance(item, _PLAIN):
        return
    raise ValueError("%r: JSON can't hold %s" % (name, repr(item)[:40]))


def _check_items(holder, name, waiting):
    # One list or dict. Those inside it are left to the caller: this frame is then so small that it
    # takes nothing from the heap.
    for item in holder:
        if isinstance(holder, dict):
            name = item
            if not isinstance(item, _KEYS):
                raise ValueError("%r: JSON can't hold such a key" % (item,))
            item = holder[item]
        if isinstance(item, _CONTAINERS):
            waiting.append(name)
            waiting.append(item)
        else:
            _check_scalar(item, name)


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
                raise ValueError("%r: JSON can't hold more than %d levels" % (name, _DEPTH))
            depth += 1
            waiting.append(None)
            _check_items(holder, name, waiting)


def encode(value):
    """
    Return value as a JSON text in UTF-8 (bytes), which is what goes over a wire. As dumps().
    """
    _check_value(value)
    text = json.dumps(value)
    data = text.encode()
    if len(data) != len(text):
        _check_utf8(data)
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
