# push_stream: the other end of a push connection, made of lists. Device code.
#
#     idigi_monitor_api.NetStream = Service(blocks, request, answers).stream
#
# Every call that a session makes on its stream is counted (sweeping.Counter).

from sweeping import Counter

ACCEPTED = b"\x00\x02\x00\x00\x00\x04\x00\xc8\x00\x01"


def block(number, payload):
    size = len(payload)
    head = b"\x00\x03" + (10 + size).to_bytes(4, "big") + number.to_bytes(2, "big")
    return head + b"\x00\x01\x00\x01" + size.to_bytes(4, "big") + payload


class Service(Counter):
    """
    A push service that accepts everybody and sends what is not acknowledged yet, in pieces.

    payloads: of its blocks, numbered from 1. request: the ConnectRequest that must come. acks:
    the acknowledgements that may follow. corrupt: what a connection wrote that is neither.
    connections: how many there were. open: those that are open now.
    """

    def __init__(self, payloads, request, acks, piece=7):
        super().__init__()
        self.payloads = payloads
        self.request = request
        self.acks = acks
        self.piece = piece
        self.connections = 0
        self.corrupt = []
        self.acknowledged = set()
        self.open = 0

    def stream(self, host, port, context=None, name=None, timeout=10):
        return Stream(self, host, port)


class Stream:
    timeout_ms = 5000

    def __init__(self, service, host, port):
        self.service = service
        self.host = host
        self.port = port
        self.is_open = False

    def open(self):
        self.service.called()
        self.close_now()
        self.service.connections += 1
        yield
        self.service.called()
        self.is_open = True
        self.service.open += 1
        self.answer = b""
        self.sent = b""

    def send(self, data):
        for at in range(0, len(data), 5):  # in pieces, as a full socket takes them
            self.service.called()
            locked = self.service.lend()
            self.sent += bytes(data[at : at + 5])
            self.look()
            self.service.give_back(locked)
            yield

    def look(self):
        # At what was written so far: one message, or the beginning of one.
        service = self.service
        if self.sent == service.request:
            self.sent = b""
            self.answer = ACCEPTED + b"".join(
                block(number, payload)
                for number, payload in enumerate(service.payloads, 1)
                if number not in service.acknowledged
            )
        elif self.sent in service.acks:
            service.acknowledged.add(self.sent[6] << 8 | self.sent[7])
            self.sent = b""
        elif not [one for one in [service.request] + service.acks if one.startswith(self.sent)]:
            service.corrupt.append(self.sent)

    def readinto(self, view):
        self.service.called()
        assert self.is_open, "a read on a closed connection"
        locked = self.service.lend()
        n = min(len(view), len(self.answer), self.service.piece)
        if n:
            view[:n] = self.answer[:n]
            self.answer = self.answer[n:]
        self.service.give_back(locked)
        return n or None

    def wait(self, ms):
        self.service.called()
        return 1 if self.is_open and self.answer else 0

    def confirm(self):
        self.service.called()

    def start_clock(self):
        self.service.called()

    def in_time(self, what):
        self.service.called()

    def close(self):
        self.service.called()
        self.close_now()

    def close_now(self):
        if self.is_open:
            self.is_open = False
            self.service.open -= 1
