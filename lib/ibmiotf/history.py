"""
The historian of the management API: what devices have sent. Loaded by api.Client for one use.

A page of history, some ten kilobytes, is read record by record as it streams by: one that can't be
read costs no other, and a program that takes one after the other needs memory for one.
"""

from json_text import NO_MEMORY, loads
from ibmiotf import level
from ibmiotf.api import IoTFCReSTException, _path_of
from micropython import const

_OK = const(200)
_ENOMEM = const(12)
_CHUNK = const(256)  # bytes of a page that are looked through at once
_QUOTE = const(34)
_COMMA = const(44)
_OPEN = const(91)  # [
_BACKSLASH = const(92)
_SPACES = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_COOKIE = "iotHistorianSessionId="
_SUMMARIES = ("avg", "count", "min", "max", "sum", "range", "stdev", "variance")


def _fields(value):
    # "{a,b}" of what `summarize` was given, or None.
    if isinstance(value, (list, tuple)):
        for field in value:
            if not isinstance(field, str) or "," in field:
                return None
        value = "{" + ",".join(value) + "}" if value else None
    return value if isinstance(value, str) and value[:1] == "{" else None


def _parameter(key, value, of_type):
    # One parameter of the historian as text, or None if it can't be. of_type: a device or a type
    # is asked for; the last three go with those only.
    if key == "evt_type":
        return level(key, value)
    if key in ("start", "end"):
        good = isinstance(value, int)
    elif not of_type:
        good = False
    elif key == "top":
        good = isinstance(value, int) and 0 < value < 101
    elif key == "summarize_type":
        good = value in _SUMMARIES
    else:
        return _fields(value) if key == "summarize" else None
    return str(value) if good else None


def _quoted(text):
    # Percent-encoded: all but letters, digits, dot, dash and underscore, and the slash.
    out = ""
    for c in text.encode():
        plain = 47 <= c < 58 or 65 <= c < 91 or 97 <= c < 123 or c in b"-._"
        out += chr(c) if plain else "%%%02X" % c
    return out


def _query(deviceType, options):
    # The historian's parameters, checked: a service that ignores a wrong one gives wrong data.
    parts = []
    for key in options:
        text = _parameter(key, options[key], deviceType is not None)
        if text is None:
            raise ValueError("historian: %s can't be %r here" % (key, options[key]))
        parts.append(key + "=" + _quoted(text))
    return "?" + "&".join(parts) if parts else ""


def _next_page(said, asked):
    # The headers that ask for the page after one that came with headers `said`, when it was asked
    # for with headers `asked`. The cookie stays what it was until there is another.
    cookie = said.get("set-cookie", "")
    at = cookie.find(_COOKIE)
    if at >= 0:
        cookie = cookie[at:].split(";")[0].split(",")[0]
    elif asked:
        cookie = asked["Cookie"]
    return {"cursorId": said["cursorid"], "Cookie": cookie}


def _elements(read, limit):
    """
    The elements of a JSON array as they stream by: a generator of bytes.

    read(buf): waits for more and returns how many bytes it put into buf, 0 at the end. limit: most
    bytes of one element. Raises ValueError when it is no array, or ends too early.
    """
    # One long loop, because a call for each byte would double the time it takes.
    buf = bytearray(_CHUNK)
    view = memoryview(buf)
    part = bytearray()
    depth = 0
    quoted = escaped = False
    while True:
        n = read(buf)
        if not n:
            raise ValueError
        start = 0
        for i in range(n):
            c = buf[i]
            if quoted:
                if escaped:
                    escaped = False
                elif c == _BACKSLASH:
                    escaped = True
                elif c == _QUOTE:
                    quoted = False
            elif depth == 0:
                if c == _OPEN:
                    depth = 1
                    start = i + 1
                elif c not in _SPACES and c not in _BOM:
                    raise ValueError
            elif c == _QUOTE:
                quoted = True
            elif c in b"[{":
                depth += 1
            elif c in b"]}":
                depth -= 1
                if depth == 0:
                    part += view[start:i]
                    if part.strip(_SPACES):
                        yield bytes(part)
                    return
            elif c == _COMMA and depth == 1:
                part += view[start:i]
                yield bytes(part)
                part = bytearray()
                start = i + 1
        if depth:
            part += view[start:n]
            if len(part) > limit:
                raise ValueError


def _page(api, deviceType, deviceId, options, headers):
    # (path, response) of one page, whose records are still to be read.
    path = "historian"
    if deviceType is not None or deviceId is not None:
        path += "/" + _path_of(deviceType, deviceId)
    path += _query(deviceType, options or {})
    response = api._request("GET", path, None, headers)
    if response.status != _OK:
        api._refuse("GET", path, response, api._answer(response))
    return path, response


def _records(api, path, response):
    # A generator of a page's records. One that can't be read costs no other.
    session = api._session

    def read(buf):
        n = response.readinto(buf)
        while n is None:
            session.wait(50)
            n = response.readinto(buf)
        return n

    try:
        for element in _elements(read, api.limit):
            try:
                record = loads(element)
            except ValueError as e:
                if str(e) == NO_MEMORY:
                    raise MemoryError
                if api.errorCallback:
                    text = "GET %s: a record can't be read: %s" % (path, e)
                    api.errorCallback(IoTFCReSTException(response.status, text))
            else:
                yield record
    except ValueError:
        api._refuse("GET", path, response, None)
    rest = bytearray(_CHUNK)
    while read(rest):  # what follows the array; then the connection can be used again
        pass


def newest(api, deviceType, deviceId, options):
    """api.Client.getHistoricalEvents."""
    path, response = _page(api, deviceType, deviceId, options, None)
    try:
        return list(_records(api, path, response))
    except MemoryError:
        pass
    raise OSError(
        _ENOMEM,
        "no memory for a page of history: ask for fewer with 'top', or use historicalEvents()",
    )


def everything(api, deviceType, deviceId, options):
    """api.Client.historicalEvents."""
    headers = None
    try:
        while True:
            path, response = _page(api, deviceType, deviceId, options, headers)
            some = False
            for record in _records(api, path, response):
                some = True
                yield record
            if not some or not response.headers.get("cursorid"):
                break
            headers = _next_page(response.headers, headers)
    finally:
        api._session.close()
