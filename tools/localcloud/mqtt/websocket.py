"""
The server's half of RFC 6455, as far as MQTT needs it (MQTT 3.1.1, section 6).

read_request() and answer() are the handshake, Frames turns the client's bytes into payload in any
split, frame() wraps ours. Strict: unmasked or reserved frames, text, wrong lengths and oversize
control frames end the connection with the status that RFC 6455 names. No sockets here.
"""

import base64
import binascii
import hashlib
import ipaddress

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# IBM's clients ask for "/" (the maker's for Node) or "/mqtt" (the one for Python).
PATHS = ("/", "/mqtt", "/$iothub/websocket")
MAX_HEAD = 8192  # bytes of an HTTP request head

CONTINUATION = 0
TEXT = 1
BINARY = 2
CLOSE = 8
PING = 9
PONG = 10

# Close codes, RFC 6455 7.4.1.
PROTOCOL_ERROR = 1002
UNSUPPORTED = 1003
TOO_BIG = 1009


class WebSocketError(Exception):
    """The client broke RFC 6455 or section 6 of MQTT; code is what our close frame says."""

    def __init__(self, code, text):
        self.code = code
        super().__init__(text)


class BadRequest(Exception):
    """An upgrade that is refused; answer is the whole HTTP response."""

    def __init__(self, status, text, extra=""):
        body = text.encode() + b"\n"
        self.answer = (
            "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
            "Connection: close\r\n%s\r\n" % (status, len(body), extra)
        ).encode() + body
        super().__init__(text)


class Request:
    """method, path (without the query), headers {lower-case name: value, joined by commas}."""

    def __init__(self, method, path, headers):
        self.method = method
        self.path = path
        self.headers = headers

    def has(self, name, token):
        """Whether the header's comma-separated list holds the token, in any case."""
        return token in [t.strip().lower() for t in self.headers.get(name, "").split(",")]

    @property
    def upgrade(self):
        return "upgrade" in self.headers


def read_request(data):
    """
    (Request, the bytes after its head) of an HTTP request, or None when its head is unfinished.

    BadRequest when it is no HTTP/1.1 request or its head is over MAX_HEAD bytes.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0 and len(data) <= MAX_HEAD:
        return None
    if end < 0 or end > MAX_HEAD:
        raise BadRequest("431 Request Header Fields Too Large", "the request head is too large")
    lines = data[:end].decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest("400 Bad Request", "this is no HTTP request")
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or not name:
            raise BadRequest("400 Bad Request", "a header line without a name")
        name = name.lower()
        value = value.strip()
        headers[name] = headers[name] + "," + value if name in headers else value
    return Request(words[0], words[1].partition("?")[0], headers), data[end + 4 :]


def accept_key(key):
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key, both str."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


class Visitors:
    """
    Which pages and host names may open a WebSocket. A browser lets any page of the web connect to
    a port of this machine; only the Origin and Host that it sends tell.

    hosts: names under which this server is reached, beside addresses and localhost ("*.name" for
    every name below it); None: any.
    origins: pages that may connect though they are not of this machine, as "https://host:port".
    """

    def __init__(self, hosts=(), origins=()):
        self.hosts = None if hosts is None else {name.lower() for name in hosts}
        self.origins = {origin.lower().rstrip("/") for origin in origins}

    def check(self, request):
        """BadRequest 403 for a page or a name that is not let in."""
        host = request.headers.get("host")
        if host is not None and not self._is_ours(_host_of(host)):
            raise BadRequest("403 Forbidden", "this server has no such name as the Host header's")
        origin = request.headers.get("origin")
        if origin is None or origin.lower() in self.origins:
            return
        if not _is_local(_host_of(origin.partition("://")[2])):
            raise BadRequest(
                "403 Forbidden", "this page may not connect; --allow-origin ORIGIN lets it in"
            )

    def _is_ours(self, host):
        if self.hosts is None or host in self.hosts or _is_local(host) or _is_address(host):
            return True
        return "*." + host.partition(".")[2] in self.hosts


def _host_of(text):
    """The host of "host:port" or "[address]:port", in lower case."""
    text = text.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _is_address(host):
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_local(host):
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def answer(request, visitors=None):
    """The bytes of the 101 answer to an upgrade that is right; BadRequest for any other."""
    if visitors is not None:
        visitors.check(request)
    if request.method != "GET":
        raise BadRequest("405 Method Not Allowed", "a WebSocket starts with GET", "Allow: GET\r\n")
    if request.path not in PATHS:
        raise BadRequest("404 Not Found", "MQTT is at %s" % " and ".join(PATHS))
    if not request.has("upgrade", "websocket") or not request.has("connection", "upgrade"):
        raise BadRequest("400 Bad Request", "Upgrade: websocket and Connection: Upgrade must be")
    if request.headers.get("sec-websocket-version") != "13":
        raise BadRequest(
            "426 Upgrade Required", "only version 13 is spoken", "Sec-WebSocket-Version: 13\r\n"
        )
    key = request.headers.get("sec-websocket-key", "")
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise ValueError
    except (ValueError, binascii.Error):
        raise BadRequest("400 Bad Request", "Sec-WebSocket-Key must be 16 bytes in base64")
    for protocol in ("mqtt", "mqttv3.1"):
        if request.has("sec-websocket-protocol", protocol):
            break
    else:
        # MQTT-6.0.0-3: the client must offer it.
        raise BadRequest("400 Bad Request", "Sec-WebSocket-Protocol must offer mqtt")
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n"
        % (accept_key(key), protocol)
    ).encode()


def frame(opcode, payload):
    """One unmasked, final frame."""
    n = len(payload)
    if n < 126:
        head = bytes((128 | opcode, n))
    elif n < 65536:
        head = bytes((128 | opcode, 126)) + n.to_bytes(2, "big")
    else:
        head = bytes((128 | opcode, 127)) + n.to_bytes(8, "big")
    return head + payload


def mask(data, key):
    """data XOR the four bytes of key, repeated (RFC 6455, 5.3)."""
    n = len(data)
    if not n:
        return b""
    pad = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(n, "big")


class Frames:
    """
    The client's bytes -> what they mean.

        frames.feed(data)
        for opcode, payload in frames: ...

    gives BINARY with MQTT bytes (whole frames; how they are cut means nothing, MQTT-6.0.0-2),
    PING, PONG and CLOSE. limit bounds one frame's payload. The iteration raises WebSocketError for
    what is forbidden, after everything before it was given; from then on the object is of no use.
    """

    def __init__(self, limit=1 << 20):
        self.limit = limit
        self._buf = bytearray()
        self._pos = 0
        self._fragmented = False

    def feed(self, data):
        del self._buf[: self._pos]
        self._pos = 0
        self._buf += data

    def __iter__(self):
        return self

    def __next__(self):
        buf = self._buf
        pos = self._pos
        have = len(buf)
        if have - pos < 2:
            raise StopIteration
        first = buf[pos]
        n = buf[pos + 1] & 127
        opcode = first & 15
        if first & 0x70:
            raise WebSocketError(PROTOCOL_ERROR, "reserved bits are set")
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise WebSocketError(PROTOCOL_ERROR, "reserved opcode %d" % opcode)
        if opcode == TEXT:
            raise WebSocketError(UNSUPPORTED, "MQTT travels in binary frames [MQTT-6.0.0-1]")
        if not buf[pos + 1] & 128:
            raise WebSocketError(PROTOCOL_ERROR, "a client's frame must be masked")
        if opcode >= CLOSE and (n > 125 or not first & 128):
            raise WebSocketError(PROTOCOL_ERROR, "a control frame is short and in one piece")
        if opcode == CONTINUATION and not self._fragmented:
            raise WebSocketError(PROTOCOL_ERROR, "a continuation of nothing")
        if opcode == BINARY and self._fragmented:
            raise WebSocketError(PROTOCOL_ERROR, "a new message within a fragmented one")
        pos += 2
        if n >= 126:
            size = 2 if n == 126 else 8
            if have - pos < size:
                raise StopIteration
            n = int.from_bytes(buf[pos : pos + size], "big")
            pos += size
            if n < (126 if size == 2 else 65536):
                raise WebSocketError(PROTOCOL_ERROR, "a length in more bytes than it needs")
        if n > self.limit:
            raise WebSocketError(TOO_BIG, "a frame of %d bytes" % n)
        if have - pos < 4 + n:
            raise StopIteration
        payload = mask(bytes(buf[pos + 4 : pos + 4 + n]), bytes(buf[pos : pos + 4]))
        self._pos = pos + 4 + n
        if opcode in (BINARY, CONTINUATION):
            self._fragmented = not first & 128
            opcode = BINARY
        return opcode, payload
