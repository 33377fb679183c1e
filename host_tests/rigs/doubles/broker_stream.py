# broker_stream: a link's connection with a small broker at its other end, in memory. Device code:
# for sweeps that let each call and each allocation of a conversation fail in turn.
#
# The broker keeps a session, takes nothing that is no MQTT, and writes down what it saw:
# `received` (topic, payload, qos), each QoS 2 message once; `corrupt`, why a stream was none.

import mqtt_link
from sweeping import Counter


class Hang(Exception):
    """Raised by a rule: the broker hangs up."""


def matches(name, topic):
    """Whether a filter takes a topic, both bytes."""
    if name.endswith(b"#"):
        return topic.startswith(name[:-1])
    levels = topic.split(b"/")
    names = name.split(b"/")
    if len(levels) != len(names):
        return False
    for i in range(len(names)):
        if names[i] != b"+" and names[i] != levels[i]:
            return False
    return True


class BrokerStream(Counter):
    """
    piece: most bytes of a read. room: most bytes of a write. Its calls are counted as Counter
    says. rule: a function (kind of packet, body) called for each packet that comes in; may raise
    Hang.

    A service is a class of its own, which says with takes() and gives() which topics and filters
    it has, and hears of messages in on_message() and on_taken().
    """

    timeout_ms = 10000
    want = 1
    ssl = None
    host = "broker"
    port = 1883
    retry_ms = unheard = 0
    bounded = False

    def __init__(self, piece=1 << 30, room=1 << 30, rule=None):
        super().__init__()
        self.piece = piece
        self.room = room
        self.rule = rule
        self.connections = 0
        self.received = []
        self.corrupt = []
        self.packets = []  # (kind, body) of the present connection
        self.filters = []
        self.qos2 = []  # ids of QoS 2 messages that came in and are not released
        self.to_send = []  # [id, topic, payload, qos, released]: until the link has taken it
        self.next_id = 0
        self.ended = True
        self.answers = True  # whether packets are answered at all
        self.input = bytearray()
        self.output = bytearray()

    # ---- the service

    def takes(self, topic):
        """Whether a client may publish to this topic (bytes)."""
        return topic.startswith(b"up")

    def gives(self, name):
        """Whether a client may subscribe to this filter (bytes)."""
        return name.startswith(b"down")

    def on_message(self, topic, payload, qos):
        """A message has come, before it is acknowledged; one of QoS 2 comes once."""

    def on_taken(self, message):
        """The client has acknowledged a message of to_send."""

    # ---- the stream

    def open(self):
        self.called()
        locked = self.lend()
        self._begin()
        self.give_back(locked)
        yield

    def _begin(self):
        self.input = bytearray()
        self.output = bytearray()
        self.packets = []
        self.ended = False
        self.greeted = False
        self.connections += 1

    def send(self, buf):
        off = 0
        while off < len(buf):
            off += self.write(buf, off, len(buf) - off)
            yield

    def write(self, buf, off, n):
        self.called()
        locked = self.lend()
        try:
            if self.ended:
                raise OSError(104)
            n = min(n, self.room)
            self.input.extend(memoryview(buf)[off : off + n])
            self._take()
            return n
        finally:
            self.give_back(locked)

    def readinto(self, buf):
        self.called()
        locked = self.lend()
        try:
            if not self.output:
                if self.ended:
                    raise OSError(104, "connection closed by the peer")
                return None
            n = min(len(buf), len(self.output), self.piece)
            buf[:n] = self.output[:n]
            self.output = self.output[n:]
            return n
        finally:
            self.give_back(locked)

    def wait(self, ms):
        self.called()
        return 1

    def start_clock(self):
        pass

    def in_time(self, what):
        pass

    def confirm(self):
        self.called()

    def close(self):
        self.ended = True

    # ---- the broker

    def push(self, topic, payload, qos=0):
        """A message for the link, if it has subscribed to topic; else False."""
        if not [name for name in self.filters if matches(name, topic)]:
            return False
        self.next_id += 1
        message = [self.next_id, topic, payload, qos, False]
        if qos:
            self.to_send.append(message)
        if not self.ended and self.greeted:
            self._publish(message, False)
        return True

    def _publish(self, message, again):
        pid, topic, payload, qos, released = message
        if released:
            self.say(0x62, bytes((pid >> 8, pid & 255)))
            return
        body = bytes((0, len(topic))) + topic
        if qos:
            body += bytes((pid >> 8, pid & 255))
        self.say(0x30 | qos << 1 | again << 3, body + payload)

    def say(self, op, body):
        """A packet for the link."""
        head = bytearray((op,))
        n = len(body)
        while n > 127:
            head.append(n & 127 | 128)
            n >>= 7
        head.append(n)
        self.output = self.output + head + body

    def _take(self):
        data = self.input
        while len(data) > 1 and not self.ended:
            n = shift = 0
            i = 1
            while True:
                if i == len(data):
                    return
                n |= (data[i] & 127) << shift
                shift += 7
                i += 1
                if data[i - 1] < 128:
                    break
                if shift > 21:
                    return self._bad("length", data)
            if len(data) < i + n:
                return
            op = data[0]
            body = bytes(data[i : i + n])
            self.input = data = data[i + n :]
            self.packets.append((op, body))
            try:
                if self.rule:
                    self.rule(op, body)
            except Hang:
                self.ended = True
                return
            if self.answers:
                self.answer(op, body)

    def _bad(self, why, data):
        self.corrupt.append((why, bytes(data[:20])))
        self.ended = True

    def answer(self, op, body):
        """What the broker does about a packet of the link's."""
        kind = op & 0xF0
        if not self.greeted:
            if op != 0x10 or body[:7] != b"\0\4MQTT\4":
                return self._bad("CONNECT", body)
            self.greeted = True
            clean = body[7] & 2
            present = not clean and self.connections > 1 and self.filters
            if clean:
                self.filters = []
                self.to_send = []
                self.qos2 = []
            self.say(0x20, bytes((bool(present), 0)))
            for message in self.to_send:
                self._publish(message, True)
        elif kind == 0x30:
            self._on_publish(op, body)
        elif op in (0x40, 0x50, 0x62, 0x70) and len(body) == 2:
            self._on_ack(op, body[0] << 8 | body[1], body)
        elif op == 0x82 or op == 0xA2:
            self._on_subscribe(op, body)
        elif op == 0xC0 and not body:
            self.say(0xD0, b"")
        elif op == 0xE0 and not body:
            self.ended = True
        else:
            self._bad("packet 0x%02x" % op, body)

    def _on_publish(self, op, body):
        qos = op >> 1 & 3
        end = 2 + (body[0] << 8 | body[1])
        topic = body[2:end]
        if qos == 3 or end > len(body) or not self.takes(topic):
            return self._bad("PUBLISH", body)
        if qos:
            pid = body[end : end + 2]
            payload = body[end + 2 :]
            if pid not in self.qos2:
                if qos == 2:
                    self.qos2.append(pid)
                try:
                    self.received.append((topic, payload, qos))
                    self.on_message(topic, payload, qos)
                except MemoryError:
                    if qos == 2:
                        self.qos2.remove(pid)
                    raise
            self.say(0x40 if qos == 1 else 0x50, pid)
        else:
            self.received.append((topic, body[end:], 0))
            self.on_message(topic, body[end:], 0)

    def _on_ack(self, op, pid, body):
        if op == 0x62:
            if body in self.qos2:
                self.qos2.remove(body)
            self.say(0x70, body)
            return
        for message in self.to_send:
            if message[0] == pid:
                if op == 0x50:
                    message[4] = True
                    self.say(0x62, body)
                elif op == (0x40 if message[3] == 1 else 0x70):
                    self.to_send.remove(message)
                    self.on_taken(message)
                return

    def _on_subscribe(self, op, body):
        codes = b""
        at = 2
        while at < len(body):
            n = body[at] << 8 | body[at + 1]
            name = body[at + 2 : at + 2 + n]
            at += 2 + n
            if len(name) != n or not self.gives(name):
                return self._bad("filter", body)
            if op == 0x82:
                codes += body[at : at + 1]
                at += 1
                if name not in self.filters:
                    self.filters = self.filters + [name]
            elif name in self.filters:
                self.filters = [one for one in self.filters if one != name]
        self.say(0x90 if op == 0x82 else 0xB0, body[:2] + codes)


def make(stream, **options):
    """A link on this stream that dials again at once. link.events: what it told."""
    real, mqtt_link.NetStream = mqtt_link.NetStream, lambda *arguments: stream
    try:
        link = mqtt_link.MQTTLink("id", "host", **options)
    finally:
        mqtt_link.NetStream = real
    link.backoff_ms = link.backoff_max_ms = 0
    link.events = events = []
    link.set_callback(lambda *message: events.append(("message",) + message))
    link.on_ack = lambda pid, code: events.append(("ack", pid, code))
    link.on_down = lambda e: events.append(("down", str(e)))
    return link


def run(link, condition, steps=400):
    """Step the link until condition(); returns whether it came to that."""
    for _ in range(steps):
        if condition():
            return True
        link.do_next()
    return condition()
