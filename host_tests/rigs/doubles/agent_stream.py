# agent_stream: the other end of a TeamViewer client's connection, in memory. Device code.
#
#     agent = agent_stream.Agent(); agent.take_over()
#
# Every link that is made from then on speaks to it. Every call on its stream is counted; the one
# with number `fail_at` raises by calling `failure`.

import json

import mqtt_link


class Agent:
    """
    calls: how many there were. connections: how many were opened. corrupt: why a stream was no
    MQTT. topics: of the calls that came in, below the connector. open: one is open now.
    subscribed: filters of the present connection.
    """

    def __init__(self, base):
        self.base = base
        self.fail_at = 0
        self.failure = None
        self.calls = self.connections = 0
        self.corrupt = []
        self.topics = []
        self.subscribed = []
        self.open = False

    def take_over(self):
        mqtt_link.NetStream = self.stream
        mqtt_link.tls_context = lambda *given: None

    def stream(self, *address):
        return Stream(self)

    def called(self):
        self.calls += 1
        if self.calls == self.fail_at:
            self.failure()

    def spoilt(self, why):
        self.corrupt.append(why)
        raise OSError(104, "connection closed by the peer")

    def answer(self, topic, payload):
        """[(topic below the connector, payload)] that a call is answered with."""
        if topic == b"ping":
            return [(b"ping/info/inbox", payload)]
        if topic == b"sensor/create":
            made = dict(json.loads(payload), sensorId="0" * 32)
            return [(b"sensor/inbox", json.dumps(made).encode())]
        return []


class Stream:
    timeout_ms = 10000
    want = 1
    ssl = None
    host = "agent"
    port = 18884
    retry_ms = unheard = 0
    bounded = False

    def __init__(self, agent):
        self.agent = agent
        self.close_now()

    # -- what a link calls

    def open(self):
        self.agent.called()
        yield
        self.agent.called()
        self.close_now()
        self.agent.connections += 1
        self.agent.open = True
        self.agent.subscribed = []

    def send(self, data):
        at = 0
        while at < len(data):
            at += self.write(data, at, len(data) - at)
            yield

    def write(self, data, at, n):
        self.agent.called()
        n = min(n, 20)
        self.input += bytes(memoryview(data)[at : at + n])
        self.understand()
        return n

    def readinto(self, view):
        self.agent.called()
        n = min(len(view), len(self.output), 11)
        if not n:
            return None
        view[:n] = self.output[:n]
        self.output = self.output[n:]
        return n

    def wait(self, ms):
        self.agent.called()
        return 1 if self.output else 0

    def start_clock(self):
        pass

    def in_time(self, what):
        pass

    def confirm(self):
        self.agent.called()

    def close(self):
        self.close_now()

    def close_now(self):
        self.agent.open = False
        self.input = b""
        self.output = b""
        self.greeted = False

    # -- the agent's broker

    def say(self, first, body):
        self.output += bytes((first,)) + length(len(body)) + body

    def understand(self):
        while len(self.input) > 1:
            size = shift = 0
            at = 1
            while True:
                if at == len(self.input):
                    return
                byte = self.input[at]
                size |= (byte & 127) << shift
                shift += 7
                at += 1
                if byte < 128:
                    break
                if shift > 21:
                    self.agent.spoilt("a length that is none")
            if len(self.input) < at + size:
                return
            first, body = self.input[0], self.input[at : at + size]
            self.input = self.input[at + size :]
            self.hear(first, body)

    def hear(self, first, body):
        kind = first & 0xF0
        if not self.greeted:
            if first != 0x10 or body[:7] != b"\0\4MQTT\4":
                self.agent.spoilt("it begins with 0x%02x" % first)
            self.greeted = True
            self.say(0x20, b"\0\0")
        elif first == 0x82:
            self.hear_subscribe(body)
        elif kind == 0x30:
            self.hear_publish(first, body)
        elif first == 0xC0:
            self.say(0xD0, b"")
        elif not (first == 0x40 and len(body) == 2 or first == 0xE0):
            self.agent.spoilt("packet 0x%02x" % first)

    def hear_subscribe(self, body):
        at = 2
        codes = b""
        while at < len(body):
            size = body[at] << 8 | body[at + 1]
            name = body[at + 2 : at + 2 + size]
            if not name.startswith(self.agent.base):
                self.agent.spoilt("a filter %s" % name)
            self.agent.subscribed.append(name)
            at += 3 + size
            codes += b"\1"
        self.say(0x90, body[:2] + codes)

    def hear_publish(self, first, body):
        end = 2 + (body[0] << 8 | body[1])
        topic = body[2:end]
        if first & 6 != 2 or not topic.startswith(self.agent.base):
            self.agent.spoilt("a PUBLISH to %s" % topic)
        self.say(0x40, body[end : end + 2])
        below = topic[len(self.agent.base) :]
        self.agent.topics.append(below)
        for name, payload in self.agent.answer(below, body[end + 2 :]):
            name = self.agent.base + name
            self.say(0x30, bytes((len(name) >> 8, len(name) & 255)) + name + payload)


def length(n):
    out = b""
    while n > 127:
        out += bytes((n & 127 | 128,))
        n >>= 7
    return out + bytes((n,))
