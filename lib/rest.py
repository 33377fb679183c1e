"""
One HTTPS request at a time, on a netstream: for management APIs, whose requests carry passwords.

Verified TLS and Basic authentication; every wait has a deadline; headers and bodies are bounded.
Cooperative underneath: start() gives a generator for a program's own loop, request() waits.
A redirect is handed to the program and never followed, so credentials go to this host only.
"""

import binascii
import time

from micropython import const

from netstream import NetStream, tls_context

_ETIMEDOUT = const(110)
_EPROTO = const(71)
_LINE = const(1024)  # longest header or chunk-size line, bytes
_LINES = const(64)  # header lines of one answer
_SIZE = const(1)  # between chunks, what the next line is: a chunk's size,
_DATA = const(2)  # the end of a chunk's data,
_TRAILER = const(3)  # a trailer field, or the end of all


class Session:
    """
    A server's address and the credentials for it; keeps one connection open between requests.

    ssl: a dict {"ca": file name or bytes, ...} or an SSLContext, as netstream.tls_context takes
    them; "server_hostname" in the dict overrides the name to verify. False is plain HTTP, with
    the password readable: only for one's own machine. port: default 443, or 80.
    timeout: seconds without progress; limit: seconds for a whole exchange.
    Raises ValueError for a missing or unreadable certificate file.
    """

    def __init__(self, host, port=0, ssl=True, user=None, password="", timeout=10, limit=60):
        # Nothing but False is plain: an empty dict would be, to tls_context.
        context = None if ssl is False else tls_context(ssl or True)
        name = ssl.get("server_hostname") if isinstance(ssl, dict) else None
        usual = 443 if context else 80
        self._stream = NetStream(host, port or usual, context, name, timeout)
        self._limit_ms = int(limit * 1000)
        self._due = 0
        self._front = "Host: %s\r\n" % (
            host if self._stream.port == usual else "%s:%d" % (host, port)
        )
        if user is not None:
            pair = bytes(user + ":" + (password or ""), "utf-8")
            self._front += (
                "Authorization: Basic " + binascii.b2a_base64(pair).decode().strip() + "\r\n"
            )
        self._buf = bytearray(_LINE)
        self._lo = self._hi = 0
        self._alive = False  # the connection is open, and no answer is on its way
        self._reading = None  # the response that owns the connection

    def start(self, method, path, body=None, headers=None):
        """
        A generator that makes one request: it yields None wherever it would wait, then a Response.

        path: as on the wire, starting with "/". body: str or bytes or None; a type other than
        JSON goes into headers, a dict. In a loop: `r = next(steps)` until it isn't None; between
        two steps wait(ms) sleeps until the network has something.
        Raises ValueError at once for a path or header that HTTP forbids. The generator raises
        OSError: no connection, no answer in time, or an answer that isn't HTTP. A request is
        sent a second time only if a kept-alive connection turns out closed, and never a POST.
        """
        if body is None:
            body = b""
        elif isinstance(body, str):
            body = bytes(body, "utf-8")
        lines = {"Content-Type": "application/json"} if body else {}
        lines.update(headers or {})
        if body or method in ("POST", "PUT"):
            lines["Content-Length"] = str(len(body))
        text = "%s %s HTTP/1.1\r\n%s" % (method, path, self._front)
        for key in lines:
            line = key + ": " + lines[key]
            if ":" in key or "\n" in line or "\r" in line:
                raise ValueError("header %r: no ':' in names, no line ends" % key)
            text += line + "\r\n"
        if path[:1] != "/" or any(c <= " " or c > "~" for c in path):
            raise ValueError("path %r: must start with / and be percent-encoded" % path)
        return self._exchange(method, bytes(text + "\r\n", "utf-8") + body)

    def _exchange(self, method, request):
        stream = self._stream
        if self._reading:
            self.close()  # the last answer was not read to its end
        # Something to read before we asked is the server's good-bye.
        if self._alive and stream.wait(0):
            self.close()
        self._due = time.ticks_add(time.ticks_ms(), self._limit_ms)
        while True:
            kept = self._alive
            if not kept:
                yield from stream.open()
            self._alive = False
            self._lo = self._hi = 0
            self._reading = response = Response(self)
            try:
                yield from stream.send(request)
                stream.start_clock()
                yield from response._read_head(method)
                break
            except OSError:
                self.close()
                if not kept or response.status or method == "POST":
                    raise
        yield response

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

    # Received bytes wait in _buf[_lo:_hi].

    def _fill(self, buf):
        # Read into buf. The number of bytes, or None for nothing yet; OSError when it is late.
        n = self._stream.readinto(buf)
        if n is None:
            self._stream.in_time("answer")
            if time.ticks_diff(self._due, time.ticks_ms()) <= 0:
                raise OSError(_ETIMEDOUT, "the whole exchange took too long")
        return n

    def _line(self):
        # One line without its end, or None when it isn't here yet.
        buf = self._buf
        at = self._lo
        while True:
            while at < self._hi:
                if buf[at] == 10:
                    line = bytes(memoryview(buf)[self._lo : at]).rstrip(b"\r")
                    self._lo = at + 1
                    return line
                at += 1
            if self._lo:
                self._hi -= self._lo
                at -= self._lo
                buf[: self._hi] = buf[self._lo : self._lo + self._hi]
                self._lo = 0
            if self._hi == _LINE:
                raise OSError(_EPROTO, "HTTP line over %d bytes" % _LINE)
            n = self._fill(memoryview(buf)[self._hi :])
            if n is None:
                return None
            self._hi += n


class Response:
    """status, reason, headers (names in lower case; repeated ones joined by ", "), and a body."""

    def __init__(self, session):
        self.status = 0
        self.reason = ""
        self.headers = {}
        self._session = session
        self._left = 0  # bytes of the body or chunk to come; None: until the server closes
        self._chunked = 0
        self._keep = True

    def _read_head(self, method):
        line = self._session._line
        for _ in range(_LINES):  # "100 Continue" and its kind only announce the real one
            text = None
            while text is None:
                text = line()
                if text is None:
                    yield
            try:
                version, status, *reason = str(text, "utf-8").split(" ", 2)
                status = int(status)
                if version not in ("HTTP/1.0", "HTTP/1.1") or not 100 <= status < 600:
                    raise ValueError
            except ValueError:
                raise OSError(_EPROTO, "the server doesn't speak HTTP")
            self._session._stream.confirm()
            self.headers = headers = {}
            for _ in range(_LINES):
                text = None
                while text is None:
                    text = line()
                    if text is None:
                        yield
                if not text:
                    break
                try:
                    key, value = str(text, "utf-8").split(":", 1)
                except ValueError:
                    raise OSError(_EPROTO, "HTTP header without a colon")
                key = key.lower()
                value = value.strip()
                headers[key] = headers[key] + ", " + value if key in headers else value
            else:
                raise OSError(_EPROTO, "more than %d HTTP headers" % _LINES)
            if status >= 200:
                break
        else:
            raise OSError(_EPROTO, "HTTP server doesn't come to the point")
        self.status = status
        self.reason = reason[0] if reason else ""
        close = headers.get("connection", "").lower()
        self._keep = "close" not in close and (version != "HTTP/1.0" or "keep-alive" in close)
        if method == "HEAD" or status in (204, 304):
            pass
        elif "transfer-encoding" in headers:
            # RFC 9112, 6.1: it overrides a Content-Length, and only chunked is allowed here.
            if headers["transfer-encoding"].lower() != "chunked":
                raise OSError(_EPROTO, "HTTP transfer-encoding is not chunked")
            self._chunked = _SIZE
        elif "content-length" in headers:
            if not headers["content-length"].isdigit():
                raise OSError(_EPROTO, "bad HTTP content-length")
            self._left = int(headers["content-length"])
        else:
            self._left = None
            self._keep = False
        if self._left == 0 and not self._chunked:
            self._end()

    def _end(self):
        session = self._session
        if session._reading is self:
            session._reading = None
            session._alive = self._keep
            if not self._keep:
                session.close()
        self._left = 0
        self._chunked = 0
        return 0

    def readinto(self, buf):
        """
        Read a part of the body into buf; returns at once.

        Returns how many bytes, None for nothing yet (session.wait(ms), and again), 0 at the end.
        Raises OSError when the body stops short, takes too long, or another request was started.
        """
        session = self._session
        if self._left == 0 and not self._chunked:
            return 0
        if session._reading is not self:
            raise OSError(_EPROTO, "the connection is used by another request")
        try:
            return self._some(session, buf)
        except OSError:
            session.close()
            raise

    def _some(self, session, buf):
        while self._chunked and not self._left:  # between two chunks (RFC 9112, 7.1)
            line = session._line()
            if line is None:
                return None
            if self._chunked == _SIZE:
                try:
                    size = int(str(line, "utf-8").split(";")[0], 16)
                except ValueError:
                    size = -1
                if size < 0:
                    raise OSError(_EPROTO, "bad HTTP chunk size")
                self._left = size
                self._chunked = _DATA if size else _TRAILER
            elif not line:
                if self._chunked == _TRAILER:
                    return self._end()
                self._chunked = _SIZE
            elif self._chunked == _DATA:
                raise OSError(_EPROTO, "HTTP chunk is longer than it said")
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
        if n:
            session._stream.start_clock()
            if self._left is not None:
                self._left -= n
                if not self._left and not self._chunked:
                    self._end()
        return n

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
