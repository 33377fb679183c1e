"""What the TeamViewer tests share: an agent in this process, and the device's half of a test."""

import argparse
import contextlib
import socket
import threading

from localcloud import cloud, pki, teamviewer
from localcloud.background import Background
from device_program import program


class Agent:
    """
    A running agent. host, provision_port, port, ca_file as in the ready line. model: the
    teamviewer.Agent (touch it with do()). calls: (topic below the connector, payload) as
    they came. wrap: what provisioning makes of a certificate's PEM before it is sent.
    """

    def __init__(self, running, background):
        self.cloud = running
        self.background = background
        self.part = running.parts[0]
        self.model = self.part.agent
        self.calls = []
        self.wrap = None
        for key, value in self.part.ready().items():
            setattr(self, key, value)
        self._watch()

    def parameters(self, folder, **more):
        """For TVCMI_client."""
        return dict(
            {
                "MqttHost": "localhost",
                "MqttProvisionPort": self.provision_port,
                "MqttPort": self.port,
                "CaFile": self.ca_file,
                "CertFolder": str(folder),
            },
            **more,
        )

    def do(self, function, *args):
        return self.background.do(function, *args)

    def set(self, **values):
        """Set attributes of the model: backend, licensed, broken, mute."""
        for name, value in values.items():
            self.do(setattr, self.model, name, value)

    def show(self):
        return self.do(self.model.show)

    def connectors(self):
        return self.show()["connectors"]

    def cut(self):
        """End all connections as a crash does."""

        def abort():
            for client in list(self.cloud.mqtt.clients):
                client.abort()

        self.do(abort)

    def send(self, topic, payload, connector=None):
        """Say something to a connector; topic below it."""
        connector = connector or self.connectors()[0]["id"]
        service = self.service("teamviewer")
        self.do(service.deliver, "/v1.0/%s/%s" % (connector, topic), payload, 1)

    def service(self, name):
        return next(s for s in self.cloud.mqtt.services if s.name == name)

    def _watch(self):
        connectors = self.service("teamviewer")
        publish = connectors.publish

        def watched(client, packet):
            base = "/v1.0/%s/" % client.data.id
            self.calls.append((packet.topic.replace(base, "", 1), packet.payload))
            return publish(client, packet)

        connectors.publish = watched
        provisioning = self.service("teamviewer-provision")
        deliver = provisioning.deliver

        def wrapped(topic, payload, *more):
            if self.wrap and not topic.endswith("/error"):
                payload = self.wrap(payload)
            return deliver(topic, payload, *more)

        provisioning.deliver = wrapped


@contextlib.contextmanager
def running(state, port=0, provision_port=0, provision_tls=False, key_type="ec"):
    """
    An Agent with its state in a directory. provision_tls: the provisioning port speaks TLS only,
    as the newest agents may. key_type: of its CA and server, "ec" or "rsa".
    """
    options = argparse.Namespace(
        host="127.0.0.1",
        state=str(state),
        key_type=key_type,
        open_broker=None,
        allow_origin=(),
        mqtt_port=0,
        mqtts_port=0,
        ws_port=0,
        wss_port=0,
        http_port=0,
        https_port=0,
        tv_port=port,
        tv_provision_port=provision_port,
    )
    with Background() as background:
        made = cloud.Cloud(options, [_TlsOnly if provision_tls else teamviewer.Part])
        background.call(made.start())
        try:
            yield Agent(made, background)
        finally:
            background.call(made.stop())


class _TlsOnly(teamviewer.Part):
    async def start(self):
        await super().start()
        mqtt = self.cloud.mqtt
        mqtt.listeners.pop(teamviewer.PROVISION).close()
        await mqtt.listen(teamviewer.PROVISION, "127.0.0.1", 0, self.pki.server_context())


class Relay:
    """
    A line to the agent that the test can cut: with Relay(agent.port) as relay, port is where to
    connect. down(): connections end, new ones end at once; up(): as before.
    """

    def __init__(self, target):
        self._target = target
        self._is_up = True
        self._ended = False
        self._socks = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended = True
        self._thread.join(10)
        self.down()
        self._listener.close()

    def down(self):
        self._is_up = False
        for sock in list(self._socks):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def up(self):
        self._is_up = True

    def _serve(self):
        while not self._ended:
            try:
                near, _ = self._listener.accept()
            except socket.timeout:
                continue
            if not self._is_up:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._target), 10)
            far.settimeout(None)
            near.settimeout(None)
            self._socks |= {near, far}
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source, target):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                if not data:
                    break
                target.sendall(data)
        for sock in (source, target):
            self._socks.discard(sock)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class Device:
    """A board with an agent to speak to, and a CertFolder of its own."""

    def __init__(self, board, agent, folder):
        self.board = board
        self.name = board.name
        self.agent = agent
        self.folder = folder

    def run(self, source, **values):
        """Board.run() with DEVICE before the source."""
        return self.board.run(
            DEVICE + source, parameters=self.agent.parameters(self.folder), **values
        )

    def start(self, source, **values):
        return self.board.start(
            DEVICE + source, parameters=self.agent.parameters(self.folder), **values
        )

    def connector(self):
        """The agent's model of the client that was provisioned there."""
        certificate = (self.folder / "client-cert.pem").read_bytes()
        return self.agent.do(self._connector, pki.common_name(certificate))

    def _connector(self, name):
        return self.agent.model.connectors[name]


DEVICE = program("teamviewer_rig_device")

PROVISION = """
c = client()
c.provision()
report(got=drive(c)[0])
"""


def files(folder):
    """Names of the files there."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def run(board, source, agent, folder, **more):
    """Board.run() with DEVICE before the source; more: parameters of the client."""
    timeout = more.pop("timeout", 30)
    values = more.pop("values", {})
    return board.run(
        DEVICE + source, timeout=timeout, parameters=agent.parameters(folder, **more), **values
    )
