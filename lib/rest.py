"""
One HTTPS request at a time, on a netstream: for management APIs, whose requests carry passwords.

Verified TLS and Basic authentication; every wait has a deadline; headers and bodies are bounded.
Cooperative underneath: start() gives a generator for a program's own loop, request() waits.
A redirect is handed to the program and never followed, so credentials go to this host only.
Whatever interrupts an exchange, a program's own exception included, ends the connection; the next
request opens another one. RFC 9110 and 9112 are followed where two readers of one answer could
take it for different things: such an answer is an error.
"""

import binascii
import time

from micropython import const

from netstream import NetStream, host_port, tls_context

_ETIMEDOUT = const(110)
_OUT = const(4)  # of poll(), as NetStream.want has it
_EPROTO = const(71)
_LINE = const(1024)  # longest line that is understood, bytes
_NAME = const(64)  # of a longer one: what is kept to see which header it is
_PASSED = const(32768)  # bytes of such lines in one answer
_LINES = const(64)  # lines of an answer's head and trailer
_DIGITS = const(10)  # longest length
_LF = const(10)

# Between two chunks, what the next line is:
_SIZE = const(1)  # a chunk's size
_DATA = const(2)  # the end of a chunk's data
_TRAILER = const(3)  # a trailer field, or the end of all

# A request of these may be made twice (RFC 9110, 9.2.2).
_REPEATABLE = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE")
# Headers that say where an answer ends: never passed over, never doubled, never a program's own.
_FRAMING = ("content-length", "transfer-encoding")


def _is_token(text):
    # What names of methods and headers are made of (RFC 9110, 5.6.2).
    for c in text:
        if not ("a" <= c <= "z" or "A" <= c <= "Z" or "0" <= c <= "9" or c in "!#$%&'*+-.^_`|~"):
            return False
    return bool(text)


def _is_value(text):
    # No line ends, no other control characters (RFC 9110, 5.5).
    for c in text:
        if c < " " and c != "\t" or c == "\x7f":
            return False
    return True


def _number(text, base):
    # A length, -1 for what is none. int() takes signs, underscores, blanks and 0x, too.
    digits = "0123456789" if base == 10 else "0123456789abcdefABCDEF"
    if not 0 < len(text) <= _DIGITS:
        return -1
    for c in text:
        if c not in digits:
            return -1
    return int(text, base)


def _text(line):
    # Heads are in Latin-1 (RFC 9110, 5.5), though many servers write UTF-8.
    try:
        return str(line, "utf-8")
    except ValueError:
        return "".join([chr(byte) for byte in line])


def _body_bytes(body):
    if body is None:
        return b""
    if isinstance(body, str):
        return bytes(body, "utf-8")
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise ValueError("body: must be str or bytes")


class Session:
    """
    A server's address and the credentials for it; keeps one connection open between requests.

    host: a name or address, with or without ":port", or a list of such, see netstream.places();
    port: where the host has none, default 443, or 80. ssl: a dict {"ca": file name or bytes, ...}
    or an SSLContext, as netstream.tls_context takes them; "server_hostname" in the dict overrides
    the name to verify. False is plain HTTP, with the password readable: only for one's own
    machine. timeout: seconds without progress; limit: seconds for a whole exchange. resolver: as
    NetStream's.
    Raises ValueError for a missing or unreadable certificate file, for a host or port that can't
    be used, and for a user with ":" in it.
    """

    def __init__(
        self,
        host,
        port=0,
        ssl=True,
        user=None,
        password="",
        timeout=10,
        limit=60,
        resolver=None,
    ):
        # Nothing but False is plain: an empty dict would be, to tls_context.
        context = None if ssl is False else tls_context(ssl or True)
        name = ssl.get("server_hostname") if isinstance(ssl, dict) else None
        self._usual_port = 443 if context else 80
        self._stream = NetStream(host, port or self._usual_port, context, name, timeout, resolver)
        self._limit_ms = int(limit * 1000)
        self._due = 0  # ticks: when the exchange must be over
        self._credentials = ""  # the header line
        if user is not None:
            if ":" in user:
                raise ValueError("user: Basic authentication allows no ':' in it")
            pair = bytes(user + ":" + (password or ""), "utf-8")
            self._credentials = (
                "Authorization: Basic " + binascii.b2a_base64(pair).decode().strip() + "\r\n"
            )
        self._buf = bytearray(_LINE)  # what was received and not looked at is _buf[_lo:_hi]
        self._lo = self._hi = 0
        self._long = None  # a line that is too long is being read: how it began
        self._cut = False  # the last line was too long
        self._passed = 0  # bytes of such lines in this answer
        self._alive = False  # the connection is open, and no answer is on its way
        self._reading = None  # the response that owns the connection

    def start(self, method, path, body=None, headers=None):
        """
        A generator that makes one request: it yields None wherever it would wait, then a Response.

        path: as on the wire, starting with "/". body: str or bytes or None; or, of any length,
        (bytes in all, pieces): pieces() returns an iterable of bytes-like objects, each of which
        is sent before the next one is asked for. A type other than JSON goes into headers, a
        dict. In a loop: `r = next(steps)` until it isn't None; between
        two steps wait(ms) sleeps until the network has something.
        Raises ValueError at once for a method, path, header or body that HTTP forbids. The
        generator raises OSError: no connection, no answer in time, or an answer that isn't HTTP;
        and whatever pieces() raises, ValueError if they are more or fewer bytes than was said. A
        request is sent a second time only if a kept-alive connection turns out closed, and never
        a POST or PATCH. A server that answers before it has the whole body gets no more of it.
        """
        if not _is_token(method):
            raise ValueError("method %r: letters only" % method)
        if path[:1] != "/" or any([not "!" <= c <= "~" for c in path]):
            raise ValueError("path %r: must start with / and be percent-encoded" % path)
        pieces = None
        if isinstance(body, tuple):
            length, pieces = body
            body = b""
        else:
            body = _body_bytes(body)
            length = len(body)
        lines = self._header_lines(method, length, headers or {})
        return self._exchange(method, path, bytes(lines, "utf-8") + body, length, pieces)

    def _header_lines(self, method, length, headers):
        # All of the head behind its Host, as text. ValueError for a header that HTTP forbids.
        lines = {"Content-Type": "application/json"} if length else {}
        for key in headers:
            value = headers[key]
            if not _is_token(key) or key.lower() in _FRAMING or key.lower() == "host":
                raise ValueError("header %r: not a name, or one that is set here" % key)
            if not isinstance(value, str) or not _is_value(value):
                raise ValueError("header %r: a text without line ends" % key)
            if key.lower() == "content-type":
                key = "Content-Type"
            lines[key] = value
        if length or method in ("POST", "PUT", "PATCH"):
            lines["Content-Length"] = str(length)
        text = self._credentials
        for key in lines:
            text += key + ": " + lines[key] + "\r\n"
        return text + "\r\n"

    def _exchange(self, method, path, rest, length, pieces):
        stream = self._stream
        if self._reading:
            self.close()  # the last answer was not read to its end
        # Something to read before we asked is the server's good-bye.
        if self._alive and stream.wait(0):
            self.close()
        self._due = time.ticks_add(time.ticks_ms(), self._limit_ms)
        while True:
            kept = self._alive
            self._alive = done = False
            try:
                if not kept:
                    yield from stream.open()
                self._lo = self._hi = self._passed = 0
                self._long = None
                self._reading = response = Response(self)
                yield from stream.send(self._first_lines(method, path) + rest)
                if pieces:
                    yield from self._send_pieces(length, pieces, response)
                stream.start_clock()
                yield from response._read_head(method)
                done = True
                break
            except OSError:
                if not kept or response.status or method not in _REPEATABLE:
                    raise
            finally:
                if not done:
                    self.close()
        yield response

    def _send_pieces(self, left, pieces, response):
        # A body that is never whole in memory.
        stream = self._stream
        for piece in pieces():
            left -= len(piece)
            if left < 0:
                break
            yield from stream.send(piece)
            self._in_limit()
            # What comes now is an answer already, most likely a refusal. (TLS has words of its
            # own, too: of those nothing is left to read.)
            if left and stream.wait(0) and self._hi < _LINE:
                stream.start_clock()
                n = self._fill(memoryview(self._buf)[self._hi :])
                if n:
                    self._hi += n
                    response._refused = True
                    return
            if left:
                # The network may take much at once: a step sends one piece.
                stream.want = _OUT
                yield
        if left:
            raise ValueError("body: not as many bytes as was said")

    def _first_lines(self, method, path):
        # The host is the one that was dialled, of several.
        host, port = self._stream.host, self._stream.port
        if port != self._usual_port:
            host = host_port(host, port)
        elif ":" in host:
            host = "[%s]" % host
        return bytes("%s %s HTTP/1.1\r\nHost: %s\r\n" % (method, path, host), "utf-8")

    @property
    def bounded(self):
        """Whether the network's memory is small, so that what is sent at once should be, too."""
        return self._stream.bounded

    def wait(self, ms):
        """Sleep at most ms milliseconds, until the connection has something to do."""
        self._stream.wait(ms)

    def run(self, steps):
        """Drive a generator of start() or Response.whole() to its result, and return that."""
        for result in steps:
            if result is not None:
                return result
            self._stream.wait(50)

    def request(self, method, path, body=None, headers=None):
        """
        Make one request and wait for status and headers; return the Response.

        Takes at most `timeout` without progress, `limit` in all. Arguments and errors: start().
        """
        return self.run(self.start(method, path, body, headers))

    def close(self):
        """Close the connection; the next request opens it again."""
        self._alive = False
        self._reading = None
        self._stream.close()

    def _fill(self, buf):
        # Read into buf. The number of bytes, or None for nothing yet; OSError when it is late.
        stream = self._stream
        n = stream.readinto(buf)
        self._in_limit()
        if n is None:
            stream.in_time("answer")
        else:
            stream.start_clock()
        return n

    def _in_limit(self):
        # An age of more than 2**29 ms shows as time to come.
        if not 0 < time.ticks_diff(self._due, time.ticks_ms()) <= self._limit_ms:
            raise OSError(_ETIMEDOUT, "the whole exchange took too long")

    def _line(self):
        # One line without its end, or None when it isn't here yet. Of a line that is too long
        # only how it began; _cut tells.
        buf = self._buf
        at = self._lo
        while True:
            while at < self._hi:
                if buf[at] == _LF:
                    line = bytes(memoryview(buf)[self._lo : at])
                    self._lo = at + 1
                    self._cut = self._long is not None
                    if self._cut:
                        line, self._long = self._long, None
                    elif line[-1:] == b"\r":
                        line = line[:-1]
                    return line
                at += 1
            if self._lo:
                self._hi -= self._lo
                buf[: self._hi] = buf[self._lo : self._lo + self._hi]
                self._lo = 0
                at = self._hi
            elif self._hi == _LINE:
                self._passed += _LINE
                if self._passed > _PASSED:
                    raise OSError(_EPROTO, "HTTP lines over %d bytes" % _PASSED)
                if self._long is None:
                    self._long = bytes(memoryview(buf)[:_NAME])
                self._hi = at = 0
            n = self._fill(memoryview(buf)[self._hi :])
            if n is None:
                return None
            self._hi += n

    def _short_line(self):
        # As _line(), for a line that must not be too long.
        line = self._line()
        if line is not None and self._cut:
            raise OSError(_EPROTO, "HTTP line over %d bytes" % _LINE)
        return line


class Response:
    """status, reason, headers (names in lower case; repeated ones joined by ", "), and a body."""

    def __init__(self, session):
        self.status = 0
        self.reason = ""
        self.headers = {}
        self._session = session
        self._left = 0  # bytes of the body or chunk to come; None: until the server closes
        self._chunked = 0  # _SIZE, _DATA or _TRAILER; 0: the body is in one piece
        self._keep = True  # the connection can be used for another request
        self._refused = False  # answered before the request was whole
        self._lines = 0  # of head and trailer so far

    # ---- the head

    def _read_head(self, method):
        session = self._session
        status = 0
        while status < 200:  # "100 Continue" and its kind only announce the real one
            line = yield from self._next_line()
            version, status, reason = self._read_status(line)
            session._stream.confirm()
            self.headers = {}
            line = yield from self._next_line()
            while line:
                self._add_header(line)
                line = yield from self._next_line()
        self.status = status
        self.reason = reason
        close = self.headers.get("connection", "").lower()
        self._keep = (
            not self._refused
            and "close" not in close
            and (version != "HTTP/1.0" or "keep-alive" in close)
        )
        if method != "HEAD" and status not in (204, 304):
            self._find_end(version)
        if self._left == 0 and not self._chunked:
            self._end()

    def _next_line(self):
        self._count_line()
        line = self._session._line()
        while line is None:
            yield
            line = self._session._line()
        return line

    def _count_line(self):
        self._lines += 1
        if self._lines > _LINES:
            raise OSError(_EPROTO, "more than %d lines of HTTP headers" % _LINES)

    def _read_status(self, line):
        version, _, rest = _text(line).partition(" ")
        status, _, reason = rest.partition(" ")
        code = _number(status, 10)
        if (
            self._session._cut
            or version not in ("HTTP/1.0", "HTTP/1.1")
            or len(status) != 3
            or not 100 <= code < 600
        ):
            raise OSError(_EPROTO, "the server doesn't speak HTTP")
        return version, code, reason

    def _add_header(self, line):
        name, colon, value = _text(line).partition(":")
        if not colon:
            raise OSError(_EPROTO, "HTTP header without a colon")
        # A blank before the colon, or a line that goes on with the one before it: readers differ.
        if not _is_token(name) or "\r" in value or "\0" in value:
            raise OSError(_EPROTO, "bad HTTP header")
        name = name.lower()
        headers = self.headers
        if self._session._cut:
            # Passed over, unless it says how to read on.
            if name in _FRAMING or name == "connection":
                raise OSError(_EPROTO, "HTTP line over %d bytes" % _LINE)
            return
        value = value.strip()
        if name in headers:
            if name in _FRAMING:
                raise OSError(_EPROTO, "HTTP %s given twice" % name)
            value = headers[name] + ", " + value
        headers[name] = value

    def _find_end(self, version):
        # What says where the body ends (RFC 9112, 6.3).
        coding = self.headers.get("transfer-encoding")
        length = self.headers.get("content-length")
        if coding is not None:
            if coding.lower() != "chunked" or length is not None or version == "HTTP/1.0":
                raise OSError(_EPROTO, "HTTP transfer-encoding is not chunked alone")
            self._chunked = _SIZE
        elif length is not None:
            self._left = _number(length, 10)
            if self._left < 0:
                raise OSError(_EPROTO, "bad HTTP content-length")
        else:
            self._left = None
            self._keep = False

    def _end(self):
        session = self._session
        if session._reading is self:
            session._reading = None
            # More than was announced is nothing that the next answer may begin with.
            session._alive = self._keep and session._lo == session._hi
            if not session._alive:
                session.close()
        self._left = 0
        self._chunked = 0
        return 0

    # ---- the body

    def readinto(self, buf):
        """
        Read a part of the body into buf; returns at once.

        Returns how many bytes, None for nothing yet (session.wait(ms), and again), 0 at the end.
        So a body of any size goes through a small buffer, or through an iterator of a program's
        own. Raises OSError when the body stops short, takes too long, or another request was
        started.
        """
        session = self._session
        if self._left == 0 and not self._chunked:
            return 0
        if session._reading is not self:
            raise OSError(_EPROTO, "the connection is used by another request")
        done = False
        try:
            n = self._read_some(buf)
            done = True
        finally:
            if not done:
                session.close()
        return n

    def _read_some(self, buf):
        session = self._session
        while self._chunked and not self._left:
            line = session._short_line()
            if line is None:
                return None
            if self._next_chunk(line):
                return self._end()
        view = memoryview(buf)
        if self._left is not None and self._left < len(view):
            view = view[: self._left]
        n = min(len(view), session._hi - session._lo)
        if n:
            view[:n] = memoryview(session._buf)[session._lo : session._lo + n]
            session._lo += n
        else:
            try:
                n = session._fill(view)
            except OSError as e:
                if self._left is None and "closed by the peer" in str(e):
                    return self._end()
                raise
        if n and self._left is not None:
            self._left -= n
            if not self._left and not self._chunked:
                self._end()
        return n

    def _next_chunk(self, line):
        # Takes a line between two chunks (RFC 9112, 7.1); True at the end of the last one.
        if self._chunked == _SIZE:
            size = _number(_text(line).partition(";")[0].rstrip(), 16)
            if size < 0:
                raise OSError(_EPROTO, "bad HTTP chunk size")
            self._left = size
            self._chunked = _DATA if size else _TRAILER
        elif self._chunked == _DATA:
            if line:
                raise OSError(_EPROTO, "HTTP chunk is longer than it said")
            self._chunked = _SIZE
        elif line:
            self._count_line()
        return self._chunked == _TRAILER and not line

    def whole(self, limit=16384):
        """
        A generator that reads the body: None wherever it would wait, then the body as bytes.

        Raises OSError for a body over limit bytes (the connection is closed), and as readinto().
        """
        if self._left and self._left > limit:
            self._session.close()
            raise OSError(_EPROTO, "HTTP body of %d bytes, over %d" % (self._left, limit))
        body = bytearray(min(self._left or 512, limit + 1))
        n = 0
        while True:
            if n == len(body):
                if n > limit:
                    self._session.close()
                    raise OSError(_EPROTO, "HTTP body over %d bytes" % limit)
                body.extend(bytes(min(512, limit + 1 - n)))
            got = self.readinto(memoryview(body)[n:])
            if got == 0:
                break
            if got is None:
                yield
            else:
                n += got
        yield bytes(memoryview(body)[:n])

    def read(self, limit=16384):
        """Wait for the body and return it as bytes. Errors: whole()."""
        return self._session.run(self.whole(limit))
