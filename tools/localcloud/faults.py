"""
A misbehaving peer: a TCP proxy in front of a real MQTT server that breaks the rules on command.

    with FaultProxy(host, port) as proxy:      # proxy.host, proxy.port: what a client connects to
        proxy.apply("drop_acks", connections=1)  # the next connection only; None: until lift()
        ...
        proxy.lift()
        proxy.connections, proxy.seen["up"][PUBLISH]  # what came through, packet by packet

FAULTS names every fault. Those about packets cut the stream into packets with a framing of their
own (header and length, nothing else), so that a fault hits packet borders exactly; with TLS in the
stream only the byte faults make sense: put the TLS server behind (then they hit the handshake
too), or give `tls` to end TLS here.

"up" is client to server, "down" is server to client. What a fault does not concern passes, so the
real server behind it shows whether the client recovers.
"""

import asyncio
import collections
import contextlib
import socket
import struct

from .background import Background

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14
ACKS = (PUBACK, PUBREC, PUBCOMP)

_CHUNK = 65536


class Framer:
    """Cuts a byte stream into MQTT packets; feed() returns those that are whole now."""

    def __init__(self):
        self._rest = b""

    def feed(self, data):
        data = self._rest + data
        packets = []
        while True:
            length = shift = 0
            at = 1
            while at < len(data):
                length |= (data[at] & 127) << shift
                at += 1
                if data[at - 1] < 128:
                    break
                shift += 7
            else:
                break
            if at + length > len(data):
                break
            packets.append(data[: at + length])
            data = data[at + length :]
        self._rest = data
        return packets


class Fault:
    """
    Lets everything pass; subclasses don't. One object serves one connection.

    up() and down() are given one packet and yield the pieces to pass on instead; nothing yielded
    passes nothing. Fault.CUT ends the connection on the spot, as a reset; Fault.END properly, as
    an end of stream.
    """

    CUT = object()
    END = object()
    framed = True  # False: up() and down() see bytes as they come
    cut = False  # whether it has cut the connection: both ends see a reset then

    def up(self, data):
        yield data

    def down(self, data):
        yield data

    async def accept(self, reader, writer):
        """Before anything else; return False to have the connection closed."""
        return True


class Silent(Fault):
    """Takes everything, the CONNECT too, and never answers."""

    framed = False

    def up(self, data):
        return ()

    def down(self, data):
        return ()


class StallMidPacket(Fault):
    """The nth packet of a type comes down half; after that nothing does, and nothing goes up."""

    def __init__(self, kind=PUBLISH, nth=1):
        self.kind, self.left, self.stalled = kind, nth, False

    def up(self, data):
        if not self.stalled:
            yield data

    def down(self, data):
        if self.stalled:
            return
        if data[0] >> 4 == self.kind:
            self.left -= 1
            if not self.left:
                self.stalled = True
                data = data[: max(1, len(data) // 2)]
        yield data


class HalfThenEnd(Fault):
    """The first packet of a type comes down half, and then the stream ends."""

    def __init__(self, kind=PUBLISH):
        self.kind = kind

    def down(self, data):
        if data[0] >> 4 == self.kind:
            yield data[: len(data) // 2]
            yield Fault.END
        else:
            yield data


class OneByte(Fault):
    """Everything passes, one byte at a time, each in a segment of its own."""

    framed = False

    def down(self, data):
        for i in range(len(data)):
            yield data[i : i + 1]

    up = down


class AtByte(Fault):
    """Something happens when `count` bytes have passed in one direction ("up" or "down")."""

    framed = False

    def __init__(self, count, direction="down"):
        self.left, self.direction = count, direction

    def _pass(self, data, direction):
        if direction != self.direction or self.left is None:
            yield data
        elif len(data) < self.left:
            self.left -= len(data)
            yield data
        else:
            at, self.left = self.left, None
            yield data[:at]
            yield from self.happen(data[at:])

    def up(self, data):
        return self._pass(data, "up")

    def down(self, data):
        return self._pass(data, "down")


class CutAt(AtByte):
    """The connection is reset there."""

    def happen(self, rest):
        yield Fault.CUT


class CloseAt(AtByte):
    """The connection is closed there, in an orderly way but in the middle of whatever it was."""

    def happen(self, rest):
        yield Fault.END


class GarbleAt(AtByte):
    """The next byte arrives with all its bits turned over, everything else as it was."""

    def happen(self, rest):
        if rest:
            yield bytes((rest[0] ^ 255,)) + rest[1:]
        else:
            self.left = 0  # it comes with the next piece


class HalfOpen(Fault):
    """After `count` packets down nothing passes any more either way, but no end is seen."""

    def __init__(self, count=3):
        self.left = count

    def up(self, data):
        if self.left > 0:
            yield data

    def down(self, data):
        self.left -= 1
        if self.left >= 0:
            yield data


class Freeze(Fault):
    """HalfOpen by bytes, for streams that are no MQTT: after `count` bytes down nothing passes."""

    framed = False

    def __init__(self, count=50):
        self.left = count

    def up(self, data):
        if self.left > 0:
            yield data

    def down(self, data):
        yield data[: max(0, self.left)]
        self.left -= len(data)


class DuplicateAcks(Fault):
    """Each PUBACK, PUBREC and PUBCOMP comes twice."""

    def down(self, data):
        yield data
        if data[0] >> 4 in ACKS:
            yield data


class ReorderAcks(Fault):
    """Acknowledgements come in pairs, the later one first; an odd one waits for a PINGRESP."""

    def __init__(self):
        self.held = None

    def down(self, data):
        kind = data[0] >> 4
        if kind not in ACKS and kind != PINGRESP:
            yield data
        elif kind in ACKS and self.held is None:
            self.held = data
        else:
            held, self.held = self.held, None
            yield data
            if held is not None:
                yield held


class DropAcks(Fault):
    """The first `count` acknowledgements never arrive."""

    def __init__(self, count=3):
        self.left = count

    def down(self, data):
        if data[0] >> 4 in ACKS and self.left:
            self.left -= 1
            return
        yield data


class SwallowPings(Fault):
    """No PINGRESP; everything else is as it should be."""

    def down(self, data):
        if data[0] >> 4 != PINGRESP:
            yield data


class Inject(Fault):
    """Says `words` of its own behind the nth packet down (the CONNACK is the first)."""

    def __init__(self, words, nth=2, then_silent=False):
        self.words, self.left, self.then_silent = words, nth, then_silent

    def down(self, data):
        if self.left <= 0 and self.then_silent:
            return
        yield data
        self.left -= 1
        if self.left == 0:
            yield self.words


class Flood(Fault):
    """Right behind the CONNACK come `count` messages at QoS 0 that nobody asked for."""

    def __init__(self, count=2000, size=100):
        self.count = count
        self.packet = b"\x30" + bytes((7 + size,)) + b"\x00\x05flood" + bytes(size)

    def down(self, data):
        yield data
        if data[0] >> 4 == CONNACK:
            yield self.packet * self.count


class Connack(Fault):
    """Refuses with this code whatever the server thinks."""

    def __init__(self, code):
        self.code = code

    def down(self, data):
        if data[0] >> 4 == CONNACK:
            yield bytes((0x20, 2, 0, self.code))
            yield Fault.END


class CloseAtOnce(Fault):
    """Accepts, reads the first bytes (a TLS ClientHello, a CONNECT) and closes."""

    framed = False

    def up(self, data):
        yield Fault.CUT


class NeverReads(Fault):
    """Accepts and never takes a byte: the client's send buffers fill."""

    async def accept(self, reader, writer):
        writer.transport.pause_reading()
        await asyncio.sleep(3600)
        return False


class PublishFirst(Fault):
    """A PUBLISH comes before the CONNACK."""

    def down(self, data):
        if data[0] >> 4 == CONNACK:
            yield b"\x30\x04\x00\x01ab"
        yield data


FAULTS = {
    "silent": Silent,
    "stall_mid_packet": StallMidPacket,
    "stall_mid_connack": lambda: StallMidPacket(CONNACK),
    "stall_mid_suback": lambda: StallMidPacket(SUBACK),
    "stall_mid_ack": lambda: StallMidPacket(PUBREC),
    "half_packet_then_end": HalfThenEnd,
    "one_byte": OneByte,
    "cut": CutAt,
    "half_open": HalfOpen,
    "freeze": Freeze,
    "duplicate_acks": DuplicateAcks,
    "reorder_acks": ReorderAcks,
    "drop_acks": DropAcks,
    "swallow_pings": SwallowPings,
    "flood": Flood,
    "garbage": lambda: Inject(b"\xff" * 64),
    "random_garbage": lambda: Inject(bytes(range(7, 250, 3))),
    "wrong_flags": lambda: Inject(b"\x4f\x02\x00\x01"),
    "reserved_type_0": lambda: Inject(b"\x00\x00"),
    "reserved_type_15": lambda: Inject(b"\xf0\x00"),
    "client_packet": lambda: Inject(b"\x82\x06\x00\x01\x00\x01a\x00"),
    "qos_3": lambda: Inject(b"\x36\x05\x00\x01a\x00\x01"),
    "second_connack": lambda: Inject(b"\x20\x02\x00\x00"),
    "five_byte_length": lambda: Inject(b"\x30\xff\xff\xff\xff\x01"),
    "length_256_mb": lambda: Inject(b"\x30\xff\xff\xff\x7f\x00\x01a", then_silent=True),
    "topic_past_end": lambda: Inject(b"\x30\x05\x00\x09abc"),
    "packet_id_0": lambda: Inject(b"\x32\x05\x00\x01a\x00\x00"),
    "puback_too_long": lambda: Inject(b"\x40\x03\x00\x01\x00"),
    "connack_1": lambda: Connack(1),
    "connack_2": lambda: Connack(2),
    "connack_3": lambda: Connack(3),
    "connack_4": lambda: Connack(4),
    "connack_5": lambda: Connack(5),
    "connack_9": lambda: Connack(9),
    "publish_before_connack": PublishFirst,
    "close_at_once": CloseAtOnce,
    "never_reads": NeverReads,
}


class FaultProxy:
    """
    host, port: the server behind. tls: an ssl.SSLContext with which the proxy is the TLS server.
    delay: seconds that everything is under way, for both directions or as (up, down); it may be
    set anew at any time. Like a long line it delays and doesn't slow down.

    connections: how many came. seen: {"up": Counter, "down": Counter} of packet types that came in
    (before a fault changed them). bytes: the same of bytes. last_fault: the Fault object of the
    newest connection.
    """

    def __init__(self, host, port, tls=None, delay=0):
        self._server_at = (host, port)
        self._tls = tls
        self.delay = delay
        self._make = None
        self._uses = 0
        self._skip = 0
        self._writers = set()
        self.connections = 0
        self.last_fault = None
        self.seen = {"up": collections.Counter(), "down": collections.Counter()}
        self.bytes = {"up": 0, "down": 0}
        self._background = Background()
        try:
            self._server = self._background.call(
                asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
            )
        except BaseException:
            self._background.stop()
            raise
        self.host, self.port = self._server.sockets[0].getsockname()[:2]

    def apply(self, fault, *args, connections=1, after=0):
        """
        fault: a name of FAULTS, with args for it, or a callable that makes a Fault. connections:
        how many of the next connections it befalls; None: all until lift(). after: how many come
        before those and are served properly.
        """
        make = FAULTS[fault] if isinstance(fault, str) else fault
        self._make = lambda: make(*args)
        self._uses = -1 if connections is None else connections
        self._skip = after

    def lift(self):
        """New connections are served properly again; those that are broken stay so."""
        self._uses = 0

    def cut(self):
        """Reset every connection there is."""
        self._background.do(self._cut_all)

    def _cut_all(self):
        for writer in list(self._writers):
            _reset(writer)

    def stop(self):
        """Close everything."""
        self._background.do(self._server.close)  # in its own thread: it counts connections there
        self._background.stop()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    @property
    def is_idle(self):
        """Nobody is connected through it."""
        return not self._writers

    async def _serve(self, reader, writer):
        self.connections += 1
        fault = Fault()
        fault.framed = False  # whatever it is that passes, MQTT or not
        if self._skip:
            self._skip -= 1
        elif self._uses:
            self._uses -= self._uses > 0
            fault = self._make()
        self.last_fault = fault
        self._writers.add(writer)
        server_writer = None
        try:
            if not await fault.accept(reader, writer):
                return
            server_reader, server_writer = await asyncio.open_connection(*self._server_at)
            self._writers.add(server_writer)
            pumps = [
                asyncio.ensure_future(self._pump(reader, server_writer, "up", fault)),
                asyncio.ensure_future(self._pump(server_reader, writer, "down", fault)),
            ]
            done, pending = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pending:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):  # stop() cancels what still runs
            pass
        finally:
            for end in (writer, server_writer):
                if end is not None:
                    self._writers.discard(end)
                    if fault.cut:
                        _reset(end)  # closed, it would look like a server's own decision
                    else:
                        end.close()

    async def _pump(self, reader, writer, direction, fault):
        """One direction of one connection, until it ends."""
        handle = getattr(fault, direction)
        framer, counter = Framer(), Framer()
        line = _Line(self, direction, writer)
        try:
            while True:
                data = await reader.read(_CHUNK)
                if not data:
                    await line.end()
                    return
                self.bytes[direction] += len(data)
                for packet in counter.feed(data):
                    self.seen[direction][packet[0] >> 4] += 1
                for piece in framer.feed(data) if fault.framed else (data,):
                    for part in handle(piece):
                        fault.cut = fault.cut or part is Fault.CUT
                        await line.send(part)
                        if part is Fault.CUT or part is Fault.END:
                            await line.end()
                            return
        finally:
            line.stop()


def _reset(writer):
    """End with a TCP reset; abort() alone may look like a proper end to the peer."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class _Line:
    """A line with a length: what is sent arrives `delay` later, in order; at 0 at once."""

    def __init__(self, proxy, direction, writer):
        self._proxy = proxy
        self._index = 0 if direction == "up" else 1
        self._writer = writer
        self._under_way = collections.deque()
        self._carrier = None

    async def send(self, part):
        delay = self._proxy.delay
        if isinstance(delay, (tuple, list)):
            delay = delay[self._index]
        if not delay and self._carrier is None:
            await self._arrive(part)
            return
        self._under_way.append((asyncio.get_running_loop().time() + delay, part))
        if self._carrier is None:
            self._carrier = asyncio.ensure_future(self._carry())

    async def _carry(self):
        while self._under_way:
            when, part = self._under_way[0]
            await asyncio.sleep(max(0, when - asyncio.get_running_loop().time()))
            await self._arrive(part)
            self._under_way.popleft()
        self._carrier = None

    async def _arrive(self, part):
        writer = self._writer
        if part is Fault.CUT:
            await writer.drain()
            _reset(writer)
        elif part and not writer.is_closing():
            writer.write(part)
            if len(part) == 1:
                # A segment of its own: let the loop send it before the next one.
                await asyncio.sleep(0)
            await writer.drain()

    async def end(self):
        """Everything under way has arrived."""
        if self._carrier is not None:
            await self._carrier

    def stop(self):
        if self._carrier is not None:
            self._carrier.cancel()
