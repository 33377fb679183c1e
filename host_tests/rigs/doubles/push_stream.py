# push_stream: the other end of a push connection, made of lists. Device code.
#
#     idigi_monitor_api.NetStream = Service(blocks, fail_at, error).stream
#
# Every call that a session makes on its stream is counted; the one with number `fail_at` raises.

ACCEPTED = b"\x00\x02\x00\x00\x00\x04\x00\xc8\x00\x01"


def block(number, payload):
    size = len(payload)
    head = b"\x00\x03" + (10 + size).to_bytes(4, "big") + number.to_bytes(2, "big")
    return head + b"\x00\x01\x00\x01" + size.to_bytes(4, "big") + payload


class Service:
    """
    A push service that accepts everybody and sends what is not acknowledged yet, in pieces.

    payloads: of its blocks, numbered from 1. fail_at: which call on a stream raises error, 0 for
    none. calls: how many there were. sent: what each connection has written. open: connections
    that are open now.
    """

    def __init__(self, payloads, fail_at=0, error=None, piece=7):
        self.payloads = payloads
        self.fail_at = fail_at
        self.error = error
        self.piece = piece
        self.calls = 0
        self.sent = []
        self.acknowledged = set()
        self.open = 0

    def stream(self, host, port, context=None, name=None, timeout=10):
        return Stream(self, host, port)

    def called(self):
        self.calls += 1
        if self.calls == self.fail_at:
            raise self.error


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
        self.service.sent.append(b"")
        yield
        self.service.called()
        self.is_open = True
        self.service.open += 1
        self.answer = b""

    def send(self, data):
        for at in range(0, len(data), 5):  # in pieces, as a full socket takes them
            self.service.called()
            self.service.sent[-1] += bytes(data[at : at + 5])
            yield
        if len(self.service.sent[-1]) == len(data):  # the ConnectRequest
            self.answer = ACCEPTED + b"".join(
                block(number, payload)
                for number, payload in enumerate(self.service.payloads, 1)
                if number not in self.service.acknowledged
            )
        else:
            self.service.acknowledged.add(data[6] << 8 | data[7])

    def readinto(self, view):
        self.service.called()
        assert self.is_open, "a read on a closed connection"
        n = min(len(view), len(self.answer), self.service.piece)
        if not n:
            return None
        view[:n] = self.answer[:n]
        self.answer = self.answer[n:]
        return n

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
