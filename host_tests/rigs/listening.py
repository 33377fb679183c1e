"""Small servers of tests, on loopback: a thread for each connection."""

import contextlib
import socket
import ssl
import threading


class Listening:
    """A server at a port: serve(sock) runs in a thread for each connection, which ends with it."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock):
        try:
            with sock:
                self.serve(sock)
        except OSError:
            pass  # the client has gone

    def serve(self, sock):
        raise NotImplementedError

    def stop(self):
        with contextlib.suppress(OSError):  # stopped before
            self._listener.shutdown(socket.SHUT_RDWR)  # close() alone leaves accept() waiting
        self._listener.close()


class EchoServer(Listening):
    """
    Echoes what comes, over TLS with a context. peers: the clients' certificates; names: what they
    asked for by SNI.
    """

    def __init__(self, context=None):
        self._context = context
        self.peers = []
        self.names = []
        if context:
            context.sni_callback = lambda sock, name, context: self.names.append(name)
        super().__init__()

    def serve(self, sock):
        if self._context:
            sock = self._context.wrap_socket(sock, server_side=True)
            self.peers.append(sock.getpeercert(binary_form=True))
        while True:
            data = sock.recv(4096)
            if not data:
                return
            sock.sendall(data)


class TlsByHand:
    """The server's side of TLS on a socket, shaken hands; what is written waits for end()."""

    def __init__(self, sock, context):
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._do(self._tls.do_handshake)

    def _do(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.flush()
                self._incoming.write(self._sock.recv(4096))

    def read(self):
        return self._do(lambda: self._tls.read(100))

    def write(self, data):
        self._tls.write(data)

    def flush(self):
        self._sock.sendall(self._outgoing.read())

    def end(self):
        """What was written, and TLS's good-bye, in one piece; TCP stays open."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the client's good-bye is not here yet
        self.flush()


@contextlib.contextmanager
def several(make):
    """Gives start(...), which is make(...) but for stop() at the end."""
    started = []

    def start(*arguments, **options):
        started.append(make(*arguments, **options))
        return started[-1]

    try:
        yield start
    finally:
        for server in started:
            server.stop()
