"""What the Digi tests share: a Digi cloud in this process, and a server that does as told."""

import asyncio
import base64
import contextlib
import http.client
import http.server
import json
import socket
import ssl
import struct
import threading
import xml.etree.ElementTree as ET

import pytest
import serving
from localcloud import pki, store, web
from localcloud.digi import Digi, check_fields, pack_block
from localcloud.kept import NOWHERE
from localcloud_rig import Control
from device_program import program
from waiting import until

USER = "alice"
PASSWORD = "s3cret \u00fc&<>"  # more bytes than characters, and what XML minds

ACCEPTED = bytes.fromhex("00020000000400c80001")


def credentials(**more):
    """For push_client(**...): of a server without TLS on this computer."""
    given = {"username": USER, "password": PASSWORD, "hostname": "127.0.0.1", "secure": False}
    return dict(given, **more)


def connect_request(monitor_id, user=USER, password=PASSWORD):
    """A ConnectRequest, made by hand."""
    user, password = user.encode(), password.encode()
    body = struct.pack(">HH", 1, len(user)) + user
    body += struct.pack(">H", len(password)) + password + struct.pack(">I", monitor_id)
    return struct.pack(">HI", 1, len(body)) + body


def ack(block_id, status=200):
    return struct.pack(">HIHH", 4, 4, block_id, status)


def block(block_id, payload, count=1, compression=0, format_type=1):
    return pack_block(block_id, count, compression, format_type, payload)


class Cloud(serving.Cloud):
    """
    A running Digi. host, http_port, https_port, push_port, push_tls_port, ca (file, DER) for
    clients; digi: the model, to be touched with do() only.

    tls: False leaves out the ports with TLS. keep: remember in directory / "cloud.db". options:
    for Digi.
    """

    host = "localhost"

    def __init__(self, directory, tls=True, keep=False, **options):
        directory.mkdir(exist_ok=True)
        authority = pki.Authority.load(str(directory))
        self._context = authority.issue_server().server_context() if tls else None
        self._database = str(directory / "cloud.db") if keep else None
        self._options = options
        self.ca = str(directory / "ca.der")
        self.ca_pem = str(directory / "ca.pem")

    async def start(self):
        self._kept = store.Store(self._database) if self._database else None
        self.digi = Digi(USER, PASSWORD, self._kept or NOWHERE, **self._options)
        self.site = web.Web()
        self.digi.add_to(self.site)
        await self.site.start()
        self.http_port = await self.site.listen("127.0.0.1", 0)
        self.push_port = await self.digi.listen("127.0.0.1", 0)
        if self._context is not None:
            self.https_port = await self.site.listen("127.0.0.1", 0, self._context)
            self.push_tls_port = await self.digi.listen("127.0.0.1", 0, self._context)

    async def stop(self):
        await self.digi.stop()
        await self.site.stop()
        if self._kept is not None:
            await self._kept.close()
        await asyncio.sleep(0)

    def arguments(self, secure=True, **more):
        """For push_client(**...)."""
        given = {"username": USER, "password": PASSWORD, "hostname": self.host, "secure": secure}
        if secure:
            given.update(ca_certs=self.ca, port=self.https_port, push_port=self.push_tls_port)
        else:
            given.update(port=self.http_port, push_port=self.push_port)
        return dict(given, **dict({"timeout": 5}, **more))

    def make(self, topics="DataPoint", **fields):
        """A monitor made without HTTP; its id. fields without "mon": BatchSize=1."""

        def make():
            wanted = {"monTopic": topics, "monTransportType": "tcp", "monFormatType": "json"}
            wanted.update(monBatchSize="1", monBatchDuration="0")
            wanted.update({"mon" + name: str(value) for name, value in fields.items()})
            return self.digi.make(check_fields(wanted)).id

        return self.do(make)

    def monitor(self, monitor_id):
        return self.digi.monitors[int(monitor_id)]

    def point(self, value, stream="dev/n"):
        """Publish one DataPoint."""
        self.do(self.digi.data_point, stream, value)

    def fault(self, name, count=1, **how):
        self.do(self.digi.faults.order, name, count, **how)

    def wait(self, test, what="it", timeout=30):
        until(test, timeout, what)

    def wait_status(self, monitor_id, status):
        monitor = self.monitor(monitor_id)
        self.wait(lambda: monitor.status == status, "{} of {}".format(status, monitor.status))

    def cut(self):
        """End all push connections as a crash does."""

        def abort():
            for connection in list(self.digi.connections):
                connection.writer.transport.abort()

        self.do(abort)

    def acks(self):
        """The block ids that connections still open have acknowledged."""
        return self.do(lambda: [n for c in self.digi.connections for n in c.acks])


running = Cloud.running


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A Cloud shared by the tests of one file."""
    with running(tmp_path_factory.mktemp("digi")) as cloud:
        yield cloud


@pytest.fixture
def digi(shared):
    """The file's Cloud; what a test leaves of monitors and faults goes."""
    yield shared
    shared.do(shared.digi.lift)
    for monitor in list(shared.digi.monitors.values()):
        shared.do(shared.digi.remove, monitor)


class Push:
    """A push client by hand, for what the real service would see. Every wait ends after 10 s."""

    def __init__(self, cloud, monitor_id=None, **credentials):
        self.sock = socket.create_connection(("127.0.0.1", cloud.push_port), 10)
        if monitor_id is not None:
            self.sock.sendall(connect_request(monitor_id, **credentials))

    def read(self, n):
        data = b""
        while len(data) < n:
            part = self.sock.recv(n - len(data))
            if not part:
                raise EOFError(data)
            data += part
        return data

    def message(self):
        """The next message: (type, payload), None at the end of the stream."""
        try:
            kind, size = struct.unpack(">HI", self.read(6))
            return kind, self.read(size)
        except (EOFError, ConnectionError):
            return None

    def connected(self):
        assert self.message() == (2, bytes.fromhex("00c80001"))
        return self

    def block(self):
        """The next block: (id, count, compression, format, payload)."""
        kind, data = self.message()
        assert kind == 3, kind
        block_id, count, compression, format_type, size = struct.unpack(">HHBBI", data[:10])
        assert size == len(data) - 10
        return block_id, count, compression, format_type, data[10:]

    def silent(self, seconds=0.2):
        """Nothing may come for so long."""
        self.sock.settimeout(seconds)
        try:
            raise AssertionError(self.sock.recv(100))
        except socket.timeout:
            pass
        self.sock.settimeout(10)

    def ack(self, block_id, status=200):
        self.sock.sendall(ack(block_id, status))

    def close(self):
        self.sock.close()


class Script:
    """
    A plain push server that does exactly what it is told: play(sock, number) is called in a thread
    for each connection (number: 0, 1, ...) after its ConnectRequest was read; the connection is
    closed when it returns. requests: those ConnectRequests.
    """

    def __init__(self, play, host="127.0.0.1", port=0):
        self._play = play
        self._listener = socket.create_server((host, port))
        self._listener.settimeout(0.1)
        self.port = self._listener.getsockname()[1]
        self.requests = []
        self.failed = None
        self._ended = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def arguments(self, **more):
        return credentials(**dict({"push_port": self.port, "timeout": 5}, **more))

    def _serve(self):
        while not self._ended:
            try:
                sock, _ = self._listener.accept()
            except socket.timeout:
                continue
            except OSError:
                return
            sock.settimeout(10)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                with sock:
                    self.requests.append(self.read_request(sock))
                    self._play(sock, len(self.requests) - 1)
            except (OSError, EOFError):
                pass  # the client has gone; the test sees what it misses
            except Exception as e:  # the test must see it
                self.failed = e

    def read_request(self, sock):
        head = read_exactly(sock, 6)
        return head + read_exactly(sock, int.from_bytes(head[2:], "big"))

    def stop(self):
        self._ended = True
        self._thread.join(15)
        self._listener.close()
        if self.failed:
            raise self.failed


def read_exactly(sock, n):
    data = b""
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            raise EOFError(data)
        data += part
    return data


def nothing(sock, seconds=0.3):
    """Whether the peer says nothing for so long."""
    sock.settimeout(seconds)
    try:
        return not sock.recv(1)
    except socket.timeout:
        return True
    finally:
        sock.settimeout(10)


@contextlib.contextmanager
def scripted(play, host="127.0.0.1", port=0):
    script = Script(play, host, port)
    try:
        yield script
    finally:
        script.stop()


class WebServer:
    """Answers each request with the next of `answers`: (status, headers, body). requests: seen."""

    def __init__(self, answers):
        self.requests = []
        requests = self.requests
        waiting = list(answers)

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                requests.append((self.command, self.path, dict(self.headers), body))
                status, headers, body = waiting.pop(0)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def arguments(self, **more):
        return credentials(**dict({"port": self.server.server_address[1], "timeout": 5}, **more))


@contextlib.contextmanager
def answering(*answers):
    server = WebServer(answers)
    try:
        yield server
    finally:
        server.server.shutdown()
        server.thread.join()
        server.server.server_close()


class NOBODY:
    """In the place of a server, for a Device that is to reach none."""

    arguments = staticmethod(credentials)


class Device(serving.Device):
    """
    Device programs with a push_client, `client`, of a Cloud, a Script, a WebServer or NOBODY.
    options: more of its arguments, or others.
    """

    prelude = program("digi_rig_client")

    def __init__(self, board, rig, **options):
        super().__init__(board, rig)
        self.options = options

    def values(self, **values):
        return dict(values, K=self.rig.arguments(**self.options))


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def xml(self):
        return ET.fromstring(self.body)


def ask(cloud, method, path, body=None, user=USER, password=PASSWORD, tls=False, **headers):
    if tls:
        context = ssl.create_default_context(cafile=cloud.ca_pem)
        line = http.client.HTTPSConnection(
            "localhost", cloud.https_port, timeout=10, context=context
        )
    else:
        line = http.client.HTTPConnection("localhost", cloud.http_port, timeout=10)
    if user is not None:
        pair = base64.b64encode("{}:{}".format(user, password).encode()).decode()
        headers["Authorization"] = "Basic " + pair
    try:
        line.request(method, path, body, headers)
        return Answer(line.getresponse())
    finally:
        line.close()


class OpenRequest:
    """A request to make a monitor that lacks its body: it stays open until finish() or close()."""

    def __init__(self, cloud, body, user=USER, password=PASSWORD):
        pair = base64.b64encode("{}:{}".format(user, password).encode()).decode()
        self._body = body.encode()
        self._line = http.client.HTTPConnection("localhost", cloud.http_port, timeout=30)
        self._line.putrequest("POST", "/ws/Monitor")
        self._line.putheader("Authorization", "Basic " + pair)
        self._line.putheader("Content-Length", str(len(self._body)))
        self._line.endheaders()

    def finish(self):
        """Send the body; the Answer."""
        self._line.send(self._body)
        return self.answer()

    def answer(self):
        return Answer(self._line.getresponse())

    def end(self, way):
        """Leave: "close", "reset", or "half": close after half of the body."""
        if way == "half":
            self._line.send(self._body[:20])
        if way == "reset":
            gone = struct.pack("ii", 1, 0)
            self._line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, gone)
        self._line.close()


def control(ready, *request):
    return Control(ready)(*request)


class Ready:
    """A started cloud's ready line, for Push and ask()."""

    def __init__(self, ready):
        self.push_port = ready["digi"]["push_port"]
        self.http_port = ready["digi"]["http_port"]
        self.https_port = ready["digi"]["https_port"]
        self.ca_pem = ready["ca_pem"]
        self.given = {key: ready["digi"][key] for key in ("username", "password")}

    def ask(self, method, path, body=None, **more):
        user, password = self.given["username"], self.given["password"]
        return ask(self, method, path, body, user, password, **more)

    def make(self, topics, **fields):
        fields = dict({"BatchSize": 1, "BatchDuration": 0, "FormatType": "json"}, **fields)
        body = "<Monitor><monTopic>{}</monTopic>{}</Monitor>".format(
            topics,
            "".join(
                "<mon{0}>{1}</mon{0}>".format(*item)
                for item in dict(fields, TransportType="tcp").items()
            ),
        )
        answer = self.ask("POST", "/ws/Monitor", body, tls=True)
        assert answer.status == 201, answer.body
        return int(answer.headers["Location"].split("/")[-1])

    def push(self, monitor):
        user, password = self.given["username"], self.given["password"]
        return Push(self, monitor, user=user, password=password).connected()
