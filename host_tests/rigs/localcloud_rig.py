"""What the tests of the local cloud share: a server in a thread, a client of a raw socket."""

import base64
import contextlib
import http.client
import json
import socket
import urllib.parse

from localcloud import pki
from localcloud.mqtt import codec as mq
from serving import LocalCloud, Server
from waiting import PATIENCE_S


@contextlib.contextmanager
def running(*services, **options):
    """A serving.Server with these services: gives (server, port, background)."""
    with Server.running(*services, **options) as made:
        yield made.server, made.port, made.background


class Raw:
    """An MQTT client that does exactly what it is told. Every wait ends after timeout s."""

    def __init__(self, port, timeout=PATIENCE_S, tls=None, host="127.0.0.1"):
        self.sock = socket.create_connection((host, port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname=host)
        self.parser = mq.Parser()

    def send(self, *packets):
        """Packets or bytes, in one write."""
        self.sock.sendall(b"".join(p if isinstance(p, bytes) else p.encode() for p in packets))
        return self

    def read(self):
        """The next packet; None at the end of the stream."""
        while True:
            packet = next(self.parser, None)
            if packet is not None:
                return packet
            try:
                data = self.sock.recv(65536)
            except (ConnectionError, OSError) as e:
                if isinstance(e, socket.timeout):
                    raise
                return None
            if not data:
                assert not self.parser.pending, "the stream ends within a packet"
                return None
            self.parser.feed(data)

    def expect(self, *packets):
        """The next packets must be these."""
        for packet in packets:
            got = self.read()
            assert got == packet, "%r instead of %r" % (got, packet)
        return self

    def expect_all(self, *packets):
        """The next packets must be these, in any order."""
        got = [self.read() for _ in packets]
        assert sorted(map(repr, got)) == sorted(map(repr, packets)), got
        return self

    def silent(self, seconds=0.2):
        """Nothing may come for so long."""
        assert next(self.parser, None) is None
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(1)
        except socket.timeout:
            return self
        finally:
            self.sock.settimeout(PATIENCE_S)
        raise AssertionError("unexpected: %r" % data)

    def closed(self):
        """The server must close, without another word."""
        assert self.read() is None
        return self

    def connect(self, client_id="c", present=False, **options):
        self.send(mq.Connect(client_id, **options))
        assert self.read() == mq.Connack(0, present)
        return self

    def subscribe(self, *filters, pid=1, codes=None):
        """filters: (filter, qos) or filter."""
        filters = [(f, 0) if isinstance(f, str) else f for f in filters]
        self.send(mq.Subscribe(pid, filters))
        assert self.read() == mq.Suback(pid, [q for _, q in filters] if codes is None else codes)
        return self

    def sync(self):
        """Everything sent so far has been handled when this returns."""
        return self.send(mq.Pingreq()).expect(mq.Pingresp())

    def leave(self):
        self.send(mq.Disconnect())
        self.closed()
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """End the connection as a crash does, without a goodbye."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


@contextlib.contextmanager
def cloud_running(*arguments, parts=(), state=None):
    """A whole local cloud in this process with these parts: (Cloud, ready line, background)."""
    with LocalCloud.running(*arguments, parts=parts, state=state) as made:
        yield made.cloud, made.ready, made.background


class Http:
    """One request after the other over one connection; answers are (status, headers, JSON)."""

    def __init__(
        self, port, ca_pem=None, user=None, password=None, host="localhost", timeout=PATIENCE_S
    ):
        if ca_pem is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        else:
            context = pki.client_context(ca_pem)
            self.connection = http.client.HTTPSConnection(
                "localhost", port, timeout=timeout, context=context
            )
        self.headers = {"Host": host}
        if user is not None:
            text = base64.b64encode(("%s:%s" % (user, password)).encode()).decode()
            self.headers["Authorization"] = "Basic " + text

    def __call__(self, method, path, body=None, **headers):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        sent = dict(self.headers, **headers)
        self.connection.request(
            method, path, body, {k: v for k, v in sent.items() if v is not None}
        )
        answer = self.connection.getresponse()
        text = answer.read()
        return answer.status, answer.headers, json.loads(text) if text else None


class Control:
    """
    The control side of a running cloud (its ready line): control(method, path, body) gives
    (status, JSON). part: what all paths begin with, as "/azure". token: which lets in.
    """

    def __init__(self, ready, part=""):
        address = urllib.parse.urlsplit(ready["control"]["url"])
        self._port = address.port
        self._base = address.path + part
        with open(ready["control"]["token_file"], encoding="utf-8") as file:
            self.token = file.read().strip()

    def __call__(self, method, path, body=None, token=None):
        line = Http(self._port)
        try:
            bearer = "Bearer " + (token or self.token)
            status, _, answer = line(method, self._base + path, body, Authorization=bearer)
            return status, answer
        finally:
            line.connection.close()
