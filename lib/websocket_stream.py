# websocket_stream: a NetStream whose bytes travel in WebSocket frames (RFC 6455), for networks that only let port 443 out.
#
# Loaded only when a link asks for it. Payload goes out in binary frames of at most 1 KB and comes in from frames of any
# length without being collected: frame borders mean nothing to what runs on top (MQTT 3.1.1, 6.0.0-2).

import os
from binascii import b2a_base64
from hashlib import sha1

from micropython import const

from netstream import NetStream

_ECONNRESET = const(104)
_EPROTO = const(71)
_FRAME_MAX = const(1024)
_ANSWER_MAX = const(2048)
_CONTINUED = const(0)
_BINARY = const(2)
_CLOSE = const(8)
_PING = const(9)
_PONG = const(10)


def _base64(data):
    return b2a_base64(data).strip()


class WebSocketStream(NetStream):
    """
    NetStream's arguments and methods. path: what the GET asks for (attribute, "/mqtt"); protocol: the subprotocol both sides
    must name (attribute, "mqtt").

    Raises OSError with the server's status line when it will not upgrade, and for frames a server may not send.
    """

    path = "/mqtt"
    protocol = "mqtt"
    _open = False  # whether the server has upgraded: from then on bytes go out in frames

    def open(self):
        """A generator that connects and upgrades; see NetStream.open()."""
        yield from NetStream.open(self)
        self._out = bytearray(_FRAME_MAX + 8)
        self._out_at = self._out_end = 0  # the part of _out not yet written
        self._taken = 0  # payload bytes of the caller's in that frame
        self._head = bytearray(10)
        self._head_view = memoryview(self._head)
        self._first_two = self._head_view[:2]
        self._got = 0  # bytes of the frame head read so far
        self._left = 0  # payload bytes of the frame still to be read
        self._control = None  # payload of a control frame being read
        self._pong = None
        self._inside = False  # of a fragmented message
        key = _base64(os.urandom(16))
        yield from self.send(
            b"GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n"
            % (self.path.encode(), self._host_header(), key, self.protocol.encode())
        )
        yield from self._upgraded(key)
        self._open = True

    def _host_header(self):
        usual = 443 if self.ssl else 80
        return (self.name if self.port == usual else "%s:%d" % (self.name, self.port)).encode()

    def _upgraded(self, key):
        # Byte by byte: what follows the blank line belongs to the frames.
        self.start_clock()
        answer = bytearray()
        one = bytearray(1)
        while not answer.endswith(b"\r\n\r\n"):
            if len(answer) > _ANSWER_MAX:
                raise OSError(_EPROTO, "WebSocket: answer over 2 KB")
            if NetStream.readinto(self, one):
                answer += one
            else:
                self.in_time("WebSocket answer")
                yield
        lines = bytes(answer).split(b"\r\n")
        status = lines[0].split(b" ", 2)
        if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or status[1] != b"101":
            raise OSError(_EPROTO, "WebSocket refused: %s; check path %s" % (lines[0][:80], self.path))
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        accept = _base64(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        if headers.get(b"sec-websocket-accept") != accept:
            raise OSError(_EPROTO, "WebSocket: wrong Sec-WebSocket-Accept; is this a WebSocket server?")
        if headers.get(b"sec-websocket-protocol") != self.protocol.encode():
            raise OSError(_EPROTO, "WebSocket: server does not speak " + self.protocol)

    def write(self, buf, off, n):
        """NetStream.write(). A frame that went out in part counts as 0 until it is through: offer the same bytes again."""
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
        # Writes what is left of the frame in _out; then a pong that is due. Returns whether nothing is left.
        while True:
            if self._out_at < self._out_end:
                self._out_at += NetStream.write(self, self._out, self._out_at, self._out_end - self._out_at)
                if self._out_at < self._out_end:
                    return False
            if self._pong is None or self._taken:
                return True
            data, self._pong = self._pong, None
            self._frame(_PONG, data, 0, len(data))

    def _frame(self, opcode, data, off, n):
        out = self._out
        out[0] = 0x80 | opcode
        if n < 126:
            out[1] = 0x80 | n
            i = 2
        else:
            out[1] = 0xFE
            out[2] = n >> 8
            out[3] = n & 255
            i = 4
        # A mask nobody can foretell keeps a program's data from posing as something else to a proxy (10.3).
        mask = os.urandom(4)
        out[i : i + 4] = mask
        i += 4
        for k in range(n):
            out[i + k] = data[off + k] ^ mask[k & 3]
        self._out_at = 0
        self._out_end = i + n

    def readinto(self, buf):
        """NetStream.readinto() of payload bytes. Answers pings; a close frame is an OSError."""
        if not self._taken:
            self._flush()
        while True:
            if not self._left:
                if not self._read_head():
                    return None
                continue
            if self._control is None:
                n = NetStream.readinto(self, buf if self._left >= len(buf) else memoryview(buf)[: self._left])
                if n is None:
                    return None
                self._left -= n
                return n
            at = len(self._control) - self._left
            n = NetStream.readinto(self, memoryview(self._control)[at:])
            if n is None:
                return None
            self._left -= n
            if not self._left:
                self._on_control()

    def _read_head(self):
        # Returns False when the head is not whole yet.
        head = self._head
        need = 2
        while True:
            if self._got >= 2:
                need = {126: 4, 127: 10}.get(head[1], 2)
                if self._got == need:
                    break
            part = self._head_view[self._got : need] if self._got else self._first_two
            n = NetStream.readinto(self, part)
            if n is None:
                return False
            self._got += n
        self._got = 0
        opcode = head[0] & 15
        self._left = head[1] if need == 2 else int.from_bytes(self._head_view[2:need], "big")
        self._control = None
        if opcode >= _CLOSE:
            if head[0] & 0x70 or not head[0] & 0x80 or head[1] > 125 or opcode > _PONG:
                raise OSError(_EPROTO, "WebSocket: malformed control frame")
            self._control = bytearray(self._left)
            if not self._left:
                self._on_control()
        elif head[0] & 0x70 or head[1] & 0x80 or opcode != (_CONTINUED if self._inside else _BINARY):
            raise OSError(_EPROTO, "WebSocket: not an unmasked binary frame: 0x%02x%02x" % (head[0], head[1]))
        else:
            self._inside = not head[0] & 0x80
        return True

    def _on_control(self):
        opcode = self._head[0] & 15
        data, self._control = self._control, None
        if opcode == _PING:
            self._pong = data
            if not self._taken:
                self._flush()
        elif opcode == _CLOSE:
            code = data[0] << 8 | data[1] if len(data) > 1 else 0
            raise OSError(_ECONNRESET, "WebSocket closed by the peer, code %d" % code)

    def close(self):
        """Say goodbye if there is room for it, and close."""
        if self._open:
            self._open = False
            if not self._taken:
                try:
                    if self._out_at == self._out_end:
                        self._frame(_CLOSE, b"\x03\xe8", 0, 2)
                        NetStream.write(self, self._out, 0, self._out_end)
                except OSError:
                    pass
        NetStream.close(self)
