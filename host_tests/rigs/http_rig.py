"""What the tests of HTTP share: a server that answers byte for byte as its script says."""

import socket
import threading
import time

from listening import Listening, several

OK = b"HTTP/1.1 200 OK\r\n"


class Script(Listening):
    """
    A server that answers each path with its script: bytes are sent as they are, a number is a
    pause in seconds, "close" and "hang" say what follows (else: the next request).

    requests: every request head that came, as text; bodies; connections: how many there were.
    """

    def __init__(self, scripts, tls=None):
        self.scripts = scripts
        self.requests = []
        self.bodies = []
        self.connections = 0
        self._tls = tls
        self._over = threading.Event()
        super().__init__()

    def serve(self, sock):
        self.connections += 1
        sock.settimeout(20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls:
            sock = self._tls.wrap_socket(sock, server_side=True)
        with sock:
            while self._answer(sock):
                pass

    def _answer(self, sock):
        head = b""
        while b"\r\n\r\n" not in head:
            got = sock.recv(4096)
            if not got:
                return False
            head += got
        head, _, body = head.partition(b"\r\n\r\n")
        text = head.decode("utf-8")
        size = 0
        for line in text.split("\r\n"):
            if line.lower().startswith("content-length:"):
                size = int(line.split(":")[1])
        while len(body) < size:
            body += sock.recv(4096)
        self.requests.append(text)
        self.bodies.append(body)
        for item in self.scripts[text.split(" ")[1]]:
            if item == "close":
                return False
            if item == "hang":
                self._over.wait(20)
                return False
            if isinstance(item, bytes):
                sock.sendall(item)
            else:
                time.sleep(item)
        return True

    def stop(self):
        self._over.set()
        super().stop()


def scripts():
    """Gives start(scripts, tls=None) -> Script; all are stopped at the end."""
    return several(Script)
