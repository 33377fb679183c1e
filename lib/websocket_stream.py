# websocket_stream: a NetStream whose bytes travel in WebSocket frames (RFC 6455), for networks
# that only let port 443 out.
#
# Loaded only when a link asks for it. Payload goes out in binary frames of at most 1 KB, each in
# one write, and comes in from frames of any length without being collected: frame borders mean
# nothing to what runs on top (MQTT 3.1.1, 6.0.0-2). Pings are answered here. Whatever a server
# may not send ends the connection with an OSError that names it.

import os
from binascii import b2a_base64
from hashlib import sha1

from micropython import const

from netstream import NetStream, host_port

_ECONNRESET = const(104)
_EPROTO = const(71)
_FRAME_MAX = const(1024)
_ANSWER_MAX = const(2048)
# How many frames without payload (pings, mostly) one readinto() handles: a flood of them must
# not hold up the program.
_FRAMES_MAX = const(8)
_BINARY = const(0x82)
_CLOSE = const(0x88)
_PING = const(0x89)
_PONG = const(0x8A)


def _base64(data):
    return b2a_base64(data).strip()


class WebSocketStream(NetStream):
    """
    NetStream's arguments and methods, and two attributes. path (str): what the GET asks for,
    "/mqtt" unless set; protocol (str): the subprotocol both sides must name (3.1.1, 6.0.0-3).

    Setting a path that is none raises ValueError. Beside NetStream's errors there are
    OSError(EPROTO) when the server will not upgrade, with its status line (check host, port and
    path), or sends what it may not; OSError(ECONNRESET) with code and reason when it closes.
    """

    protocol = "mqtt"
    _path = "/mqtt"
    _open = False  # whether the server has upgraded: from then on bytes go out in frames
    _out = None  # the frame on its way out; made once: a kilobyte in one piece may get rare

    @property
    def path(self):
        return self._path

    @path.setter
    def path(self, path):
        if path[:1] != "/" or min(path) < "!":
            raise ValueError("websocket: a path such as /mqtt, without spaces")
        self._path = path

    def open(self):
        """A generator that connects and upgrades; see NetStream.open()."""
        yield from NetStream.open(self)
        self._out = self._out or bytearray(_FRAME_MAX + 8)
        self._out_at = self._out_end = 0  # the part of _out not yet written
        self._taken = 0  # payload bytes of the caller's in that frame
        self._pong = None
        self._head = bytearray(10)
        self._view = memoryview(self._head)
        self._part = self._first = self._view[:2]  # where the next bytes of a frame's head
        # or of a control frame's payload go
        self._got = 0  # bytes of the head read so far
        self._left = 0  # payload bytes of the frame still to be read
        self._body = self._body_of = None
        self._control = None  # payload of a control frame being read
        self._expected = _BINARY  # or 0x80, a continuation, within a fragmented message
        key = _base64(os.urandom(16))
        host = host_port(self.name, self.port)
        if self.port == (443 if self.ssl else 80):
            host = host[: host.rfind(":")]
        yield from self.send(
            b"GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: %s\r\n"
            b"Sec-WebSocket-Key: %s\r\n\r\n"
            % (self._path.encode(), host.encode(), self.protocol.encode(), key)
        )
        self.start_clock()
        answer = bytearray()
        one = bytearray(1)
        # Byte by byte: what follows the blank line belongs to the frames.
        while not answer.endswith(b"\r\n\r\n"):
            if len(answer) > _ANSWER_MAX:
                raise OSError(_EPROTO, "WebSocket: answer over 2 KB")
            if NetStream.readinto(self, one):
                answer += one
            else:
                self.in_time("WebSocket answer")
                yield
        self._check_answer(bytes(answer).split(b"\r\n"), key)
        self._open = True

    def _check_answer(self, lines, key):
        # What RFC 6455, 4.1 has a client validate.
        if lines[0].split(b" ")[:2] != [b"HTTP/1.1", b"101"]:
            raise OSError(_EPROTO, "no WebSocket at %s: %s" % (self._path, lines[0][:80]))
        headers = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        accept = _base64(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        for name, good in (
            ("Upgrade", headers.get(b"upgrade", b"").lower() == b"websocket"),
            ("Connection", b"upgrade" in headers.get(b"connection", b"").lower()),
            ("Accept", headers.get(b"sec-websocket-accept") == accept),
            ("Protocol", headers.get(b"sec-websocket-protocol") == self.protocol.encode()),
            ("Extensions", b"sec-websocket-extensions" not in headers),
        ):
            if not good:
                raise OSError(_EPROTO, "WebSocket: wrong " + name + " in the answer")

    def write(self, buf, off, n):
        """
        NetStream.write(). A frame that went out in part counts as 0 until it is through: offer
        the same bytes again.
        """
        if not self._open:
            return NetStream.write(self, buf, off, n)
        if not self._taken:
            if not self._flush():
                return 0
            self._taken = min(n, _FRAME_MAX)
            self._frame(_BINARY, buf, off, self._taken)
        if not self._flush():
            return 0
        n, self._taken = self._taken, 0
        return n

    def _flush(self):
        # Writes what is left of the frame in _out. Returns whether it is through.
        left = self._out_end - self._out_at
        if left:
            n = NetStream.write(self, self._out, self._out_at, left)
            self._out_at += n
            left -= n
        return not left

    def _answer(self):
        # The pong that is due, once the frame on its way is through.
        if self._flush() and self._pong is not None:
            data, self._pong = self._pong, None
            self._frame(_PONG, data, 0, len(data))
            self._flush()

    def _frame(self, first, data, off, n):
        out = self._out
        out[0] = first
        i = 2
        if n < 126:
            out[1] = 0x80 | n
        else:
            out[1] = 0xFE
            out[2] = n >> 8
            out[3] = n & 255
            i = 4
        # A mask nobody can foretell keeps a program's data from posing as something else to a
        # proxy (10.3).
        mask = os.urandom(4)
        out[i : i + 4] = mask
        i += 4
        for k in range(n):
            out[i + k] = data[off + k] ^ mask[k & 3]
        self._out_at = 0
        self._out_end = i + n

    def readinto(self, buf):
        """
        NetStream.readinto() of payload bytes. Answers pings. None may also mean that there were
        several frames without payload; what follows them can be read at once.
        """
        self._answer()
        for _ in range(_FRAMES_MAX):
            if not self._left and not self._read_head():
                return None
            if self._control is not None:
                if not self._read_control():
                    return None
            elif self._left:
                part = buf
                if self._left < len(buf):
                    # Kept for the next try: waiting for the rest of a frame must cost no heap.
                    if self._body_of is not buf:
                        self._body_of = buf
                        self._body = memoryview(buf)[: self._left]
                    part = self._body
                n = NetStream.readinto(self, part)
                if n:
                    self._left -= n
                    self._body_of = None
                return n

    def _read_head(self):
        # Returns False when the head is not whole yet.
        head = self._head
        while True:
            n = NetStream.readinto(self, self._part)
            if n is None:
                return False
            self._got += n
            need = 2
            if self._got > 1:
                first, n = head[0], head[1]
                if self._got == 2:
                    self._check_head(first, n)
                if n > 125:
                    need = n * 6 - 752  # 4 for 126, 10 for 127
                if self._got == need:
                    break
            self._part = self._view[self._got : need]
        self._got = 0
        self._part = self._first
        self._left = n if need == 2 else int.from_bytes(self._view[2:need], "big")
        if first >= _CLOSE:
            self._control = bytearray(n)
            self._part = memoryview(self._control)
        return True

    def _check_head(self, first, n):
        if n < 126 and _CLOSE <= first <= _PONG:
            return
        # What is left must be the binary data that is its turn: no RSV bits, no mask, no text, no
        # reserved opcode, and control frames are neither long nor in parts.
        if first | 0x80 != self._expected or n > 127:
            raise OSError(_EPROTO, "WebSocket: forbidden frame 0x%02x%02x" % (first, n))
        self._expected = _BINARY if first & 0x80 else 0x80

    def _read_control(self):
        # Returns False when the frame is not whole yet; acts on it when it is.
        data = self._control
        while self._left:
            n = NetStream.readinto(self, self._part)
            if n is None:
                return False
            self._left -= n
            self._part = self._part[n:]
        self._part = self._first
        self._control = None
        if self._head[0] == _PING:
            # Only the newest need be answered (5.5.3).
            self._pong = data
            self._answer()
        elif self._head[0] == _CLOSE:
            code = data[0] << 8 | data[1] if len(data) > 1 else 1005
            raise OSError(_ECONNRESET, "WebSocket closed: %d %s" % (code, bytes(data[2:])))
        return True

    def close(self):
        """Say goodbye if there is room for it, and close."""
        if self._open:
            self._open = False
            # Behind a frame that went out in part it would be read as that one's payload.
            if self._out_at == self._out_end:
                try:
                    self._frame(_CLOSE, b"\x03\xe8", 0, 2)
                    NetStream.write(self, self._out, 0, self._out_end)
                except Exception:
                    pass  # for lack of memory, too
        NetStream.close(self)
