"""
The messages of a Digi push block, one after the other: only one is in memory at a time.

idigi_monitor_api uses it for create_session(..., messages=True); a program may, for a payload that
it kept. No XML stack: a <Msg> element is found by its tags and handed over as it stands.
"""

import io
import json

from micropython import const

from idigi_monitor_api import BlockError

_CHUNK = const(512)  # bytes a payload is taken apart by
_TOTAL = const(16)  # a whole payload may have this many times `limit`


def messages(source, limit=32768):
    """
    A generator of the messages in a payload: dicts of JSON, or bytes of one <Msg>...</Msg>.

    source: the payload, bytes; or a stream with readinto() that gives it. limit: most bytes of
    one message; the payload may have 16 times that. Raises BlockError where it is damaged, or
    over a limit; the messages before that were good.
    """
    read = getattr(source, "readinto", None) or io.BytesIO(source).readinto
    buf = bytearray(_CHUNK)
    try:
        n = read(buf)
        if buf.lstrip()[:1] == b"<":
            yield from _elements(read, buf, n, limit)
        else:
            for text in _objects(read, buf, n, limit):
                yield json.loads(text)
    except (OSError, ValueError, EOFError, MemoryError) as e:
        raise BlockError(str(e) or "compressed data ends too early")


def _check(part, total, limit):
    if len(part) > limit or total > limit * _TOTAL:
        raise BlockError("message or batch over the limit of %d bytes" % limit)


def _objects(read, buf, n, limit):
    # {"Document": {"Msg": {...}}}, or an array of such: each message stands three braces deep.
    view = memoryview(buf)
    part = bytearray()
    total = level = 0
    quoted = escaped = closed = False
    while n:
        total += n
        start = 0
        for i in range(n):
            c = buf[i]
            if quoted:
                if escaped:
                    escaped = False
                elif c == 92:  # backslash
                    escaped = True
                elif c == 34:
                    quoted = False
            elif c == 34:  # "
                quoted = True
            elif c == 123:  # {
                level += 1
                if level == 3:
                    start = i
            elif c == 125:  # }
                level -= 1
                closed = level == 0
                if level == 2:
                    part += view[start : i + 1]
                    _check(part, 0, limit)
                    yield part
                    part = bytearray()
        if level > 2:
            part += view[start:n]
        _check(part, total, limit)
        n = read(buf)
    if not closed:
        raise BlockError("JSON ends too early")


def _elements(read, buf, n, limit):
    view = memoryview(buf)
    part = bytearray()
    total = 0
    while n:
        total += n
        part += view[:n]
        while True:
            end = part.find(b"</Msg>") + 6
            if end < 6:
                break
            start = part.find(b"<Msg")
            if not 0 <= start < end - 6:
                raise BlockError("XML without <Msg>")
            yield bytes(memoryview(part)[start:end])
            part = part[end:]
        _check(part, total, limit)
        n = read(buf)
    if part.find(b"</Document>") < 0:
        raise BlockError("XML ends too early")
