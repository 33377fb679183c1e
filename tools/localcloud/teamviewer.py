"""
The TeamViewer IoT agent's MQTT side: a port to get a certificate on, and one with mutual TLS.

teamviewer_agent.py decides, this file carries: topics to calls, answers to topics. An answer goes
where the documentation says and also where shipped SDKs listen, or they would wait for ever. A
connector sees and uses nothing outside /v1.0/<its id>.

The provisioning port speaks MQTT plain, as the documents say, and over TLS, as the SDK 1.1.0 does
there: the first byte tells. The data port is TLS 1.2, as the agent's.
"""

import asyncio
import json
import logging
import os
import re
import shutil
import socket
import ssl

from . import cloud, pki, web
from .mqtt import codec as mq
from .mqtt.server import Client, Listener, Service
from .teamviewer_agent import Agent, Refused, encode

log = logging.getLogger("localcloud.teamviewer")

PROVISION = "teamviewer-provision"
DATA = "teamviewer"
REQUEST_MAX = 16384  # bytes of a certificate request
PEEK_MAX = 200  # connections whose first byte is awaited; more are closed at once

_CERT_BACK = re.compile(r"/certBack/[0-9a-f]{64}(/error|/\+)?")


class Part(cloud.Part):
    """The agent's share in the local cloud, with a CA of its own, as on a gateway."""

    key = "teamviewer"
    title = "TeamViewer agent"
    mqtt = False
    ports = (
        cloud.Port("--tv-provision-port", 18883, "TeamViewer agent, provisioning (plain MQTT)"),
        cloud.Port("--tv-port", 18884, "TeamViewer agent, data (MQTT over mutual TLS)"),
    )

    def __init__(self, cloud):
        super().__init__(cloud)
        self.pki = pki.Pki(
            os.path.join(cloud.state, "teamviewer"), key_type=cloud.options.key_type
        )
        self.ca_file = os.path.join(self.pki.directory, "TeamViewerAuthority.crt")
        shutil.copyfile(self.pki.ca_pem, self.ca_file)
        self.agent = Agent(self.pki.authority, Records(cloud.store))
        cloud.mqtt.add(Provisioning(self.agent))
        cloud.mqtt.add(Connectors(self.agent))
        cloud.web.control("GET", "/teamviewer", self._show)
        cloud.web.control("POST", "/teamviewer", self._command)

    async def start(self):
        options = self.cloud.options
        tls = self.pki.server_context(client_required=True)
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
        await self.cloud.listen(DATA, options.tv_port, "--tv-port", tls)
        port = options.tv_provision_port
        listener = TwoVoices(
            self.cloud.mqtt, PROVISION, self.cloud.host, self.pki.server_context()
        )
        try:
            listener.open(port)
        except OSError as e:
            raise self.cloud.port_error(port, "--tv-provision-port", e)

    def ready(self):
        listeners = self.cloud.mqtt.listeners
        return {
            "host": self.cloud.host,
            "provision_port": listeners[PROVISION].port,
            "port": listeners[DATA].port,
            "ca_file": self.ca_file,
        }

    async def _show(self, request):
        """Every connector with its sensors, metrics, newest values and reports."""
        return web.json_answer(self.agent.show())

    async def _command(self, request):
        """
        {"backend": bool, "licensed": bool, "broken": bool, "mute": bool}, any of them: calls are
        refused with 1, 2, 3 or not answered at all; {"deprovision": connector id}.
        """
        body = await web.read_json(request)
        if not isinstance(body, dict):
            raise web.fail(400, "the body is not a JSON object")
        for key in ("backend", "licensed", "broken", "mute"):
            if isinstance(body.get(key), bool):
                setattr(self.agent, key, body[key])
        connector = self.agent.connectors.get(body.get("deprovision"))
        if connector is not None:
            self.agent.deprovision(connector)
        return web.json_answer(self.agent.show())


class Records:
    """What Agent keeps, in the cloud's database."""

    def __init__(self, store):
        self._store = store
        store.script(
            "CREATE TABLE IF NOT EXISTS teamviewer (kind TEXT NOT NULL, key TEXT NOT NULL,"
            " value TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;"
        )

    def load(self, kind):
        rows = self._store.load("SELECT key, value FROM teamviewer WHERE kind = ?", (kind,))
        return {key: json.loads(value) for key, value in rows}

    def save(self, kind, key, value):
        self._store.write(
            "INSERT OR REPLACE INTO teamviewer VALUES (?, ?, ?)", (kind, key, json.dumps(value))
        )

    def drop(self, kind, key):
        self._store.write("DELETE FROM teamviewer WHERE kind = ? AND key = ?", (kind, key))

    def durable(self):
        return self._store.durable()


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
            self.deliver(back + "/error", e.payload(), 1)
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
        base = "/v1.0/%s/" % connector.id
        if not _owns(connector, packet.topic):
            refused = Refused(18, "%s is another's" % packet.topic)
            self.deliver(base + "error/inbox", refused.payload(), 1)
            return None
        path = packet.topic[len(base) :]
        if path.endswith(("inbox", "livedata")):
            return None  # the agent's to say, not a client's
        # Who subscribed to everything below its id hears its own calls too.
        self.deliver(packet.topic, packet.payload, min(packet.qos, 1))
        if not packet.topic.startswith(base) or self.agent.mute:
            return None
        call, ids, answers, errors = _find(path)
        live = None
        try:
            if call is not _ping:
                self._check_health()
            answer, live = call(self.agent, connector, ids, packet.payload)
        except Refused as e:
            log.info("%s: %s", path, e)
            answers, answer = errors, e.payload()
        else:
            if isinstance(answer, str):
                answer = answer.encode()
            elif answer is not None:
                answer = encode(answer)
        messages = [(base + topic, answer) for topic in answers if answer is not None]
        if live is not None:
            messages.append(("%ssensor/%s/livedata" % (base, ids[0]), encode(live)))
        return self._answer(connector, messages)

    async def _answer(self, connector, messages):
        # What is answered is kept. All calls wait for the same thing, so their order stays.
        await self.agent.kept()
        for topic, payload in messages:
            self.deliver(topic, payload, 1)
        if connector.id not in self.agent.connectors:
            self._part_with(connector)

    def _check_health(self):
        agent = self.agent
        if agent.broken:
            raise Refused(3, "the agent is out of order")
        if not agent.licensed:
            raise Refused(2, "the licence has ended")
        if not agent.backend:
            raise Refused(1, "the agent can't reach its backend")

    def _part_with(self, connector):
        """Close what a deleted connector has open, after the answers have left."""
        for session in list(self.sessions.values()):
            client = session.client
            if client is not None and client.data is connector:
                asyncio.get_running_loop().call_later(0.2, client.close, "deprovisioned")


def _owns(connector, topic):
    # The second form is what SDKs' sensor_error() and metric_error() use: they forget the slashes.
    base = "/v1.0/" + connector.id
    return topic.startswith((base + "/", base + "sensor"))


# ---- calls: (agent, connector, ids of the path, payload) -> (answer: text, JSON or None, live
# data or None)


def _inventory(agent, connector, ids, payload):
    return agent.inventory(connector), None


def _delete(agent, connector, ids, payload):
    agent.deprovision(connector)
    return "Client was deleted.", None


def _ping(agent, connector, ids, payload):
    # The documents show the request echoed.
    return agent.parse(payload), None


def _create_sensor(agent, connector, ids, payload):
    return agent.create_sensor(connector, payload), None


def _update_sensor(agent, connector, ids, payload):
    agent.update_sensor(connector, *ids, payload)
    return "Datasource Changed", None


def _delete_sensor(agent, connector, ids, payload):
    agent.delete_sensor(connector, *ids)
    return "Sensor was deleted.", None


def _create_metrics(agent, connector, ids, payload):
    return agent.create_metrics(connector, *ids, payload), None


def _update_metrics(agent, connector, ids, payload):
    agent.update_metrics(connector, *ids, payload)
    return "All metrics were successfully modified.", None


def _delete_metrics(agent, connector, ids, payload):
    agent.delete_metrics(connector, *ids, payload)
    return "All metrics were successfully deleted.", None


def _describe_metric(agent, connector, ids, payload):
    return agent.describe_metric(connector, *ids), None


def _push(agent, connector, ids, payload):
    return "All metrics were successfully updated.", agent.push(connector, *ids, payload)


def _report(agent, connector, ids, payload):
    agent.report(connector, ids, payload)
    return None, None


def _nothing(agent, connector, ids, payload):
    raise Refused(0, "there is no such call")


# Where a call goes (+ stands for an id), the call, where its answers and its errors go; %s are the
# ids. Several: documentation first, then what SDKs listen to.
_S = "sensor/%s/"
_M = "sensor/%s/metric/"
_CALLS = (
    ("inventory", _inventory, ["inventory/inbox"], ["inventory/error/inbox"]),
    (
        "sensor/list",
        _inventory,
        ["sensor/list/inbox", "inventory/inbox"],
        ["sensor/list/error/inbox", "inventory/error/inbox"],
    ),
    ("delete", _delete, ["delete/info/inbox"], ["delete/error/inbox"]),
    ("ping", _ping, ["ping/info/inbox"], ["ping/error/inbox"]),
    ("sensor/create", _create_sensor, ["sensor/inbox"], ["sensor/error/inbox"]),
    ("sensor/+/update", _update_sensor, [_S + "update/info/inbox"], [_S + "update/error/inbox"]),
    ("sensor/+/delete", _delete_sensor, [_S + "delete/info/inbox"], [_S + "delete/error/inbox"]),
    ("sensor/+/metric", _create_metrics, [_M + "inbox"], [_M + "error/inbox"]),
    ("sensor/+/metric/create", _create_metrics, [_M + "inbox"], [_M + "error/inbox"]),
    (
        "sensor/+/metric/update",
        _update_metrics,
        [_M + "update/info/inbox"],
        [_M + "update/error/inbox"],
    ),
    (
        "sensor/+/metric/delete",
        _delete_metrics,
        [_M + "delete/info/inbox", _M + "delete/inbox", _S + "delete/info/inbox"],
        [_M + "delete/error/inbox", _S + "delete/error/inbox"],
    ),
    ("sensor/+/metric/pushValues", _push, [_S + "info/inbox"], [_S + "error/inbox"]),
    ("sensor/+", _push, [_S + "info/inbox"], [_S + "error/inbox"]),
    (
        "sensor/+/metric/+/inventory",
        _describe_metric,
        [_M + "%s/inventory/inbox"],
        [_M + "%s/inventory/error/inbox", _S + "inventory/error/inbox"],
    ),
    ("error", _report, [], ["error/inbox"]),
    ("sensor/+/error", _report, [], [_S + "error/inbox"]),
    ("sensor/+/metric/+/error", _report, [], [_M + "%s/error/inbox"]),
)


def _find(path):
    """(call, ids, topics of the answer, topics of an error) for a topic below the connector."""
    levels = path.split("/")
    for pattern, call, answers, errors in _CALLS:
        wanted = pattern.split("/")
        if len(wanted) == len(levels):
            if all(w in ("+", level) for w, level in zip(wanted, levels)):
                ids = [level for w, level in zip(wanted, levels) if w == "+"]
                return (
                    call,
                    ids,
                    [topic % tuple(ids[: topic.count("%")]) for topic in answers],
                    [topic % tuple(ids[: topic.count("%")]) for topic in errors],
                )
    return _nothing, [], [], ["error/inbox"]


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
