"""
The agent's MQTT side: the provisioning port and the data port.

A connector sees and uses nothing outside /v1.0/<its id>. The provisioning port speaks MQTT plain,
as the documents say, and over TLS, as the SDK 1.1.0 does there: the first byte tells. The data
port is TLS 1.2, as the agent's.
"""

import asyncio
import logging
import re
import socket
import ssl

from .. import pki
from ..mqtt import codec as mq
from ..mqtt.server import Client, Listener, Service
from . import api
from .model import Refused, encode

log = logging.getLogger("localcloud.teamviewer")

PROVISION = "teamviewer-provision"
DATA = "teamviewer"
REQUEST_MAX = 16384  # bytes of a certificate request
GOODBYE_S = 0.2  # in which the answer to a connector's deletion leaves
PEEK_MAX = 200  # connections whose first byte is awaited; more are closed at once

_CERT_BACK = re.compile(r"/certBack/[0-9a-f]{64}(/error|/\+)?")


class Provisioning(Service):
    """Certificates for requests. Anybody on the gateway's net may ask."""

    name = "teamviewer-provision"

    def __init__(self, agent):
        super().__init__()
        self.agent = agent

    def claims(self, client):
        return client.listener == PROVISION

    def authenticate(self, client, password):
        client.clean = True
        return mq.ACCEPTED

    def session_key(self, client):
        return None

    def subscribe(self, client, filter, qos):
        if not _CERT_BACK.fullmatch(filter):
            return mq.SUBACK_FAILURE
        return min(qos, 1), filter

    def publish(self, client, packet):
        if packet.topic != "/createConnector":
            log.info("nothing is done for %s on the provisioning port", packet.topic)
            return None
        back = "/certBack/" + pki.thumbprint(packet.payload, "sha256").lower()
        try:
            if len(packet.payload) > REQUEST_MAX:
                raise Refused(19, "a request has at most %d bytes" % REQUEST_MAX)
            answer = self.agent.provision(packet.payload)
        except Refused as e:
            log.info("no certificate: %s", e)
            self.deliver(back + "/error", e.body(), 1)
            return None
        return self._answer(back, answer)

    async def _answer(self, topic, answer):
        # A certificate that is handed out is one that is known after a restart too.
        await self.agent.kept()
        self.deliver(topic, answer, 1)


class Connectors(Service):
    """Provisioned clients. client.data: its Connector."""

    name = "teamviewer"

    def __init__(self, agent):
        super().__init__()
        self.agent = agent
        agent.on_deleted = self._part_with
        self._ending = set()

    def claims(self, client):
        return client.listener == DATA

    def authenticate(self, client, password):
        client.data = self.agent.connector(client.certificate)
        client.clean = True
        return mq.ACCEPTED if client.data is not None else mq.NOT_AUTHORISED

    def session_key(self, client):
        return client.data.id, client.client_id

    def subscribe(self, client, filter, qos):
        if not _owns(client.data, filter):
            return mq.SUBACK_FAILURE
        return min(qos, 1), filter

    def publish(self, client, packet):
        connector = client.data
        if connector.id not in self.agent.connectors:
            return None  # deleted: its session is about to end
        base = "/v1.0/%s/" % connector.id
        if not _owns(connector, packet.topic):
            refused = Refused(18, "%s is another's" % packet.topic)
            self.deliver(base + "error/inbox", refused.body(), 1)
            return None
        path = packet.topic[len(base) :]
        if path.endswith(("inbox", "livedata")):
            return None  # the agent's to say, not a client's
        # Who subscribed to everything below its id hears its own calls too.
        self.deliver(packet.topic, packet.payload, min(packet.qos, 1))
        if not packet.topic.startswith(base) or self.agent.mute:
            return None
        call, ids, answers, errors = api.find(path)
        live = None
        try:
            if api.needs_health(call):
                self._check_health()
            answer, live = call(self.agent, connector, ids, packet.payload)
        except Refused as e:
            log.info("%s: %s", path, e)
            answers, answer = errors, e.body()
        else:
            if isinstance(answer, str):
                answer = answer.encode()
            elif answer is not None:
                answer = encode(answer)
        messages = [(base + topic, answer) for topic in answers if answer is not None]
        if live is not None:
            messages.append(("%ssensor/%s/livedata" % (base, ids[0]), encode(live)))
        return self.answer(connector, messages)

    async def answer(self, connector, messages):
        """Send a connector its answers: [(topic, payload)]. Tests put delays in its place."""
        # What is answered is kept. All calls wait for the same thing, so their order stays.
        await self.agent.kept()
        for topic, payload in messages:
            self.deliver(topic, payload, 1)

    def _check_health(self):
        agent = self.agent
        if agent.broken:
            raise Refused(3, "the agent is out of order")
        if not agent.licensed:
            raise Refused(2, "the licence has ended")
        if not agent.backend:
            raise Refused(1, "the agent can't reach its backend")

    def _part_with(self, connector):
        # Its sessions can do nothing any more: each call asks for the connector anew.
        task = asyncio.get_running_loop().create_task(self._end_sessions(connector))
        self._ending.add(task)  # the loop itself holds a task only weakly
        task.add_done_callback(self._ending.discard)

    async def _end_sessions(self, connector):
        """Close what a deleted connector has open, after the answers have left."""
        await self.agent.kept()
        await asyncio.sleep(GOODBYE_S)
        for session in list(self.sessions.values()):
            client = session.client
            if client is not None and client.data is connector:
                client.close("deprovisioned")


def _owns(connector, topic):
    # The second form is what SDKs' sensor_error() and metric_error() use: they forget the slashes.
    base = "/v1.0/" + connector.id
    return topic.startswith((base + "/", base + "sensor"))


class TwoVoices(Listener):
    """A port for MQTT both plain and over TLS: a client's first byte tells which."""

    def __init__(self, server, name, host, tls):
        super().__init__(name, host, False, False)
        self._server = server
        self._context = tls
        self._secure = Listener(name, host, True, False)
        self._waiting = set()
        self._tasks = set()
        self.server = self  # what Server.stop() closes

    def open(self, port):
        self._loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._sock = socket.create_server((self.host, port), family=family, backlog=1024)
        self._sock.setblocking(False)
        self.port = self._secure.port = self._sock.getsockname()[1]
        self._loop.add_reader(self._sock, self._accept)
        self._server.listeners[self.name] = self

    def close(self):
        self._loop.remove_reader(self._sock)
        self._sock.close()
        for sock in list(self._waiting):
            self._drop(sock)

    def _accept(self):
        try:
            sock, _ = self._sock.accept()
        except OSError:
            return
        if len(self._waiting) >= PEEK_MAX:
            sock.close()
            return
        sock.setblocking(False)
        self._waiting.add(sock)
        self._loop.add_reader(sock, self._peek, sock)
        self._loop.call_later(self._server.connect_timeout, self._drop, sock)

    def _drop(self, sock):
        if sock in self._waiting:
            self._waiting.discard(sock)
            self._loop.remove_reader(sock)
            sock.close()

    def _peek(self, sock):
        try:
            first = sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            first = b""
        if not first:
            self._drop(sock)
            return
        self._waiting.discard(sock)
        self._loop.remove_reader(sock)
        # 22 is a TLS handshake record.
        secure = first == b"\x16"
        # The loop itself holds a task only weakly.
        task = self._loop.create_task(self._serve(sock, secure))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock, secure):
        listener = self._secure if secure else self
        options = {}
        if secure:
            options = {"ssl": self._context, "ssl_handshake_timeout": self._server.connect_timeout}
        try:
            await self._loop.connect_accepted_socket(
                lambda: Client(self._server, listener), sock, **options
            )
        except (OSError, ssl.SSLError) as e:
            log.info("a TLS handshake on the provisioning port failed: %s", e)
