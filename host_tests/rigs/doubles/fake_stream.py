# fake_stream: what stands in for a link's connection in the property tests. Device code: the same
# file runs on MicroPython and, through the port, inside the tests' own process.

import mqtt_link

CONNACK = b"\x20\x02\x00\x00"


class FakeStream:
    """
    A netstream whose other end is two lists.

    pieces: what arrives, one bytes object for each read at most, None for "nothing yet"; an
    exception is raised. room: how many bytes each write takes, in turn and over again. poison:
    the byte that fills what a read leaves of its buffer: nobody may look there.
    """

    timeout_ms = 10000
    want = 1
    ssl = None
    retry_ms = unheard = 0
    bounded = False

    def __init__(self, pieces=(), room=(1 << 30,), poison=0):
        self.pieces = list(pieces)
        self.room = room
        self.poison = poison
        self.written = bytearray()
        self.writes = 0
        self.reads = 0
        self.opened = self.closed = 0

    def open(self):
        self.opened += 1
        yield

    def send(self, buf):
        off = 0
        while off < len(buf):
            off += self.write(buf, off, len(buf) - off)
            yield

    def readinto(self, buf):
        self.reads += 1
        if not self.pieces:
            return None
        piece = self.pieces.pop(0)
        if piece is None:
            return None
        if isinstance(piece, Exception):
            raise piece
        n = min(len(buf), len(piece))
        buf[:n] = piece[:n]
        for i in range(n, len(buf)):
            buf[i] = self.poison
        if n < len(piece):
            self.pieces.insert(0, piece[n:])
        return n

    def write(self, buf, off, n):
        n = min(n, self.room[self.writes % len(self.room)])
        self.writes += 1
        self.written += bytes(memoryview(buf)[off : off + n])
        return n

    def wait(self, ms):
        return 1

    def start_clock(self):
        pass

    def in_time(self, what):
        pass

    def confirm(self):
        pass

    def close(self):
        self.closed += 1


def on_stream(stream, *arguments, **options):
    """MQTTLink(*arguments, **options), on this stream."""
    real, mqtt_link.NetStream = mqtt_link.NetStream, lambda *its: stream
    try:
        return mqtt_link.MQTTLink(*arguments, **options)
    finally:
        mqtt_link.NetStream = real


def connected(stream, **options):
    """
    A link on this stream, connected, its packet ids starting at 1. link.events: what it told, as
    ("message", topic, payload, retained), ("ack", id, code), ("skip", topic, size), ("down", the
    error's kind). What it wrote so far is forgotten.
    """
    link = on_stream(stream, "id", "host", clean_session=False, **options)
    link.double = stream
    link.pid = 0
    link.events = events = []
    link.set_callback(lambda *message: events.append(("message",) + message), retained=True)
    link.on_ack = lambda pid, code: events.append(("ack", pid, code))
    link.on_skip = lambda topic, size: events.append(("skip", topic, size))
    link.on_down = lambda e: events.append(("down", type(e).__name__))
    pieces, stream.pieces = stream.pieces, [CONNACK]
    while not link.is_connected():
        link.do_next()
    link.do_next()
    stream.pieces = pieces
    stream.written = bytearray()
    return link


def prepare(link, messages, filters):
    """Publish [(qos, payload)] and subscribe to [list of filters], so that acks can come."""
    for qos, payload in messages:
        link.publish("out", payload, qos=qos)
    for names in filters:
        link.subscribe([(name, 1) for name in names])
    rest(link)


def rest(link):
    """Step the link until it has nothing to do or the connection has ended."""
    stream = link.double
    for _ in range(1000000):
        before = stream.writes
        if not link.is_connected() or not link.do_next() and stream.writes == before:
            return
    raise AssertionError("it does not come to rest")


def play(link):
    """
    Step the link until everything that arrives is read or the connection has ended. Raises
    AssertionError when a step neither reads nor writes nor ends.
    """
    stream = link.double
    while stream.pieces and link.is_connected():
        before = stream.reads + stream.writes
        link.do_next()
        assert stream.reads + stream.writes > before or not link.is_connected(), "an empty step"
    rest(link)


def case(pieces, messages, filters, max_packet, poison=0, room=(1 << 30,)):
    """One case, whole: returns (events, what was written from the first piece on)."""
    stream = FakeStream((), poison=poison)
    link = connected(stream, window=64, max_packet=max_packet)
    prepare(link, messages, filters)
    stream.room = room
    stream.pieces = list(pieces)
    stream.written = bytearray()
    play(link)
    return link.events, bytes(stream.written)
