# The stream alone, on a socket made of a list: exact counts, every split.
import gc
import websocket_stream
from binascii import b2a_base64
from hashlib import sha1
from websocket_stream import WebSocketStream

class Wire:
    # pieces: what comes, None for "nothing yet". room: how many bytes each write takes, in turn.
    def __init__(self, pieces, room=(100000,)):
        self.pieces, self.room, self.turn = pieces, room, 0
        self.sent = bytearray()
        self.greeted = False
    def readinto(self, buf):
        if not self.pieces:
            return None
        piece = self.pieces[0]
        if piece is None:
            self.pieces.pop(0)
            return None
        n = min(len(buf), len(piece))
        buf[:n] = piece[:n]
        if n == len(piece):
            self.pieces.pop(0)
        else:
            self.pieces[0] = piece[n:]
        return n
    def write(self, buf, off, n):
        n = min(n, self.room[self.turn % len(self.room)])
        self.turn += 1
        self.sent += bytes(memoryview(buf)[off : off + n])
        if not self.greeted and self.sent.endswith(b"\r\n\r\n"):
            self.greeted = True
            self.request, self.sent = bytes(self.sent), bytearray()
            key = self.request.split(b"Key: ")[1].split(b"\r")[0]
            accept = b2a_base64(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            self.pieces.insert(0, b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Protocol: mqtt\r\n"
                b"Sec-WebSocket-Accept: " + accept.strip() + b"\r\n\r\n")
        return n or None
    def close(self):
        pass

def opened(self):
    self.sock = self.wire
    yield

websocket_stream.NetStream.open = opened

def make(pieces, room=(100000,), port=80):
    stream = WebSocketStream("example.org", port)
    stream.wire = Wire(pieces, room)
    for _ in stream.open():
        pass
    return stream

def unmask(data):
    # Our own frames (short ones) -> [(first byte, payload)]
    frames = []
    while data:
        n = data[1] & 127
        at = 2
        if n == 126:
            n = data[2] << 8 | data[3]
            at = 4
        frames.append((data[0], bytes(data[at + 4 + i] ^ data[at + (i & 3)] for i in range(n))))
        data = data[at + 4 + n:]
    return frames
