"""
The messages of a Digi push block, one after the other: only one is in memory at a time.

idigi_monitor_api uses it for create_session(..., messages=True); a program may, for a payload that
it kept. A payload is {"Document": {"Msg": ...}}, where Msg is one message or an array of them, or
<Document> with a <Msg> for each; a byte order mark before it is passed over. JSON is taken apart
here, XML in idigi_xml, which is loaded for it.
"""

import io

from micropython import const

from idigi_errors import BlockError
from netstream import load_module

_CHUNK = const(512)  # bytes a payload is taken apart by
_TOTAL = const(16)  # a whole payload may have this many times `limit`
_NAME_MAX = const(64)  # bytes of a number, true, false or null
_BOM = b"\xef\xbb\xbf"
_END = const(-1)  # what _Source.peek() says behind the last byte

_QUOTE = const(34)
_COMMA = const(44)
_COLON = const(58)
_OPEN_BRACKET = const(91)
_BACKSLASH = const(92)
_CLOSE_BRACKET = const(93)
_OPEN_BRACE = const(123)
_CLOSE_BRACE = const(125)
_CLOSES = {_OPEN_BRACE: _CLOSE_BRACE, _OPEN_BRACKET: _CLOSE_BRACKET}


def messages(source, limit=32768):
    """
    A generator of the messages in a payload: dicts of JSON, or bytes of one <Msg>...</Msg>.

    source: the payload, bytes; or a stream with readinto() that gives it. limit: most bytes of
    one message; the payload may have 16 times that. Raises BlockError where the payload is
    damaged, over a limit, or no push document; the messages before that were good. One that can't
    be read, or is over the limit, costs no other: BlockError tells of it when all are through.
    """
    try:
        payload = _Source(source, limit)
        first = payload.start()
        if first == b"<":
            yield from load_module("idigi_xml").elements(payload)
        elif first == b"{":
            yield from _objects(payload)
        else:
            raise BlockError("the payload is neither JSON nor XML")
        if payload.bad:
            raise BlockError("%d messages can't be used: %s" % (payload.bad, payload.why))
    except BlockError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, MemoryError) as e:
        raise BlockError(str(e) or "compressed data ends too early")


class _Source:
    # The payload in pieces of at most _CHUNK bytes, its limits, and what was wrong with it.

    def __init__(self, source, limit):
        self.read = getattr(source, "readinto", None) or io.BytesIO(source).readinto
        self.limit = limit
        self.total = 0  # bytes read so far
        self.buf = bytearray(_CHUNK)
        self.at = self.end = 0  # what has not been looked at yet is buf[at:end]
        self.bad = 0  # messages that can't be used
        self.why = None  # the reason of the first of them

    def fill(self):
        # Read the next piece when the last one is used up. Returns whether there is one.
        if self.at >= self.end:
            self.at = 0
            self.end = self.read(self.buf)
            self.total += self.end
            if self.total > self.limit * _TOTAL:
                text = "the payload is over %d times the limit of %d bytes"
                raise BlockError(text % (_TOTAL, self.limit))
        return self.end

    def start(self):
        # The first byte that is no space, as bytes; b"" without one. A byte order mark is passed.
        passed = 0
        while passed < len(_BOM) and self.fill() and self.buf[self.at] == _BOM[passed]:
            self.at += 1
            passed += 1
        first = self.peek()
        if first == _END or passed % len(_BOM):
            return b""
        return bytes((first,))

    def peek(self):
        # The next byte that is no space, _END behind the last one.
        while self.fill():
            byte = self.buf[self.at]
            if byte not in b" \t\r\n":
                return byte
            self.at += 1
        return _END

    def take(self, wanted):
        # Pass over this byte; BlockError when another one comes.
        found = self.peek()
        if found == _END:
            raise BlockError("JSON ends too early")
        if found != wanted:
            text = "JSON is damaged: '%s' where '%s' must be"
            raise BlockError(text % (chr(found), chr(wanted)))
        self.at += 1

    def spoil(self, why):
        # One message can't be used: it is told of when all are through.
        self.bad += 1
        self.why = self.why or why


# -- JSON: the two outermost levels are read here, each message by json


def _objects(source):
    found = empty = False
    for name in _members(source):
        if name != b"Document" or source.peek() != _OPEN_BRACE:
            _value(source, False)
            continue
        empty = True
        for inner in _members(source):
            if inner != b"Msg":
                _value(source, False)
                continue
            one = source.peek() != _OPEN_BRACKET
            for _ in (0,) if one else _items(source):
                found = True
                message = _message(source)
                if message is not None:
                    yield message
    if source.peek() != _END:
        raise BlockError("JSON is damaged: something stands behind its end")
    if not (found or empty):
        raise BlockError("JSON without a Document")


def _members(source):
    # A generator of an object's names, bytes; whoever drives it reads the value of each.
    source.take(_OPEN_BRACE)
    if source.peek() == _CLOSE_BRACE:
        source.take(_CLOSE_BRACE)
        return
    while True:
        if source.peek() != _QUOTE:
            source.take(_QUOTE)
        name = _value(source, True)[1:-1]
        source.take(_COLON)
        yield name
        if source.peek() != _COMMA:
            break
        source.take(_COMMA)
    source.take(_CLOSE_BRACE)


def _items(source):
    # A generator that yields before each item of an array; whoever drives it reads the item.
    source.take(_OPEN_BRACKET)
    if source.peek() == _CLOSE_BRACKET:
        source.take(_CLOSE_BRACKET)
        return
    while True:
        yield
        if source.peek() != _COMMA:
            break
        source.take(_COMMA)
    source.take(_CLOSE_BRACKET)


def _message(source):
    # One message as a dict, or None when it can't be used.
    try:
        text = _value(source, True)
        if text is None:
            raise ValueError("over the limit of %d bytes" % source.limit)
        message = load_module("json_text").receive(text)
        if isinstance(message, dict):
            return message
        raise ValueError("no object")
    except BlockError:
        raise
    except ValueError as e:
        source.spoil(str(e))
        return None


def _value(source, wanted):
    # Pass over one value. Returns its bytes if they are wanted, None when they are over the limit.
    first = source.peek()
    close = _CLOSES.get(first)
    if not close and first != _QUOTE:
        return _word(source)
    text = bytearray()
    quoted = escaped = False
    level = 0
    size = 0
    ended = False
    while not ended and source.fill():
        buf = source.buf
        start = at = source.at
        for at in range(start, source.end):
            c = buf[at]
            if quoted:
                if escaped:
                    escaped = False
                elif c == _BACKSLASH:
                    escaped = True
                elif c == _QUOTE:
                    quoted = False
                    ended = not close
            elif c == _QUOTE:
                quoted = True
            elif c == first:
                # Only braces are counted in an object: a bracket that is missing within is a
                # message's own damage.
                level += 1
            elif c == close:
                level -= 1
                ended = not level
            if ended:
                break
        source.at = at + 1
        size += source.at - start
        if wanted and size <= source.limit:
            text += memoryview(buf)[start : source.at]
    if not ended:
        raise BlockError("JSON ends too early")
    return text if size <= source.limit else None


def _word(source):
    # A number, true, false or null, or what stands in the place of one.
    text = bytearray()
    while len(text) < _NAME_MAX and source.fill() and source.buf[source.at] not in b",:]} \t\r\n":
        text.append(source.buf[source.at])
        source.at += 1
    if not text or not source.end:
        raise BlockError("JSON ends too early, or a value is missing")
    return text
