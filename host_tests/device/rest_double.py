# A stream double: `script` is what each of its answers is, `fail` what its calls raise, in turn.
import rest
from rest import Session

class Stream:
    script = [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"]
    fail = None  # (number of the call, exception)
    calls = 0
    opened = False
    heads = []

    def __init__(self, host, port, *more):
        self.host, self.port = host, port

    def count(self):
        Stream.calls += 1
        if self.fail and Stream.calls == self.fail[0]:
            Stream.fail, error = None, self.fail[1]
            try:
                raise error
            finally:
                error = None  # else its traceback holds itself, and the exchange, on CPython

    def open(self):
        self.close()
        self.count()
        yield
        self.count()
        self.opened = True
        self.coming = b""

    def send(self, data):
        assert self.opened
        self.count()
        yield
        self.count()
        Stream.heads.append(bytes(data))
        self.coming += self.script[0]

    def readinto(self, buf):
        assert self.opened
        self.count()
        n = min(len(buf), len(self.coming), 20)
        buf[:n] = self.coming[:n]
        self.coming = self.coming[n:]
        return n or None

    def wait(self, ms):
        self.count()
        return 1 if self.opened and self.coming else 0

    def start_clock(self):
        self.count()

    def in_time(self, what):
        pass

    def confirm(self):
        self.count()

    def close(self):
        self.opened = False

rest.NetStream = Stream
