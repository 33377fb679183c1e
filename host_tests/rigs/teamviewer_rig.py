"""What the TeamViewer tests share: an agent in this process, and the device's half of a test."""

import datetime

import serving
from device_program import program
from localcloud import pki, teamviewer
from localcloud.faults import FaultProxy
from serving import LocalCloud, Refusing


class Agent(LocalCloud):
    """
    A running agent. host, provision_port, port, ca_file as in the ready line. model: the
    teamviewer.Agent (touch it with do()). calls: (topic below the connector, payload) as
    they came. wrap: what provisioning makes of a certificate's PEM before it is sent.

    state: a directory. provision_tls: the provisioning port speaks TLS only, as the newest agents
    may. key_type: of its CA and server, "ec" or "rsa".
    """

    def __init__(self, state, provision_tls=False, key_type="ec"):
        part = _TlsOnly if provision_tls else teamviewer.Part
        super().__init__("--key-type", key_type, parts=[part], state=state)
        self.calls = []
        self.wrap = None

    async def start(self):
        await super().start()
        (self.part,) = self.cloud.parts
        self.model = self.part.agent
        for key, value in self.ready["teamviewer"].items():
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

    def set(self, **values):
        """Set attributes of the model: backend, licensed, broken, mute."""
        for name, value in values.items():
            self.do(setattr, self.model, name, value)

    def show(self):
        return self.do(self.model.show)

    def connectors(self):
        return self.show()["connectors"]

    def send(self, topic, payload, connector=None):
        """Say something to a connector; topic below it."""
        connector = connector or self.connectors()[0]["id"]
        service = self.service("teamviewer")
        self.do(service.deliver, "/v1.0/%s/%s" % (connector, topic), payload, 1)

    def service(self, name):
        return next(s for s in self.server.services if s.name == name)

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


class _TlsOnly(teamviewer.Part):
    async def start(self):
        await super().start()
        mqtt = self.cloud.mqtt
        mqtt.listeners.pop(teamviewer.PROVISION).close()
        await mqtt.listen(teamviewer.PROVISION, "127.0.0.1", 0, self.pki.server_context())


running = Agent.running


class Relay(FaultProxy):
    """
    A line to the agent that the test can cut: with Relay(agent.port) as relay, port is where to
    connect. down(): connections end, new ones end at once; up(): as before.
    """

    def __init__(self, target):
        super().__init__("127.0.0.1", target)

    def down(self):
        self.apply(Refusing, connections=None)
        self.cut()

    def up(self):
        self.lift()


DEVICE = program("teamviewer_rig_device")


class Device(serving.Device):
    """Device programs with an agent to speak to, and a CertFolder of their own."""

    prelude = DEVICE

    def __init__(self, board, agent, folder, **parameters):
        super().__init__(board, agent)
        self.name = board.name
        self.agent = agent
        self.folder = folder
        self._parameters = parameters

    def values(self, **values):
        return dict(parameters=self.agent.parameters(self.folder, **self._parameters), **values)

    def connector(self):
        """The agent's model of the client that was provisioned there."""
        certificate = (self.folder / "client-cert.pem").read_bytes()
        return self.agent.do(self._connector, pki.common_name(certificate))

    def _connector(self, name):
        return self.agent.model.connectors[name]


PROVISION = """
c = client()
c.provision()
report(got=drive(c)[0])
"""


def expired_certificate(agent, folder):
    """A key with its request and a certificate that ended yesterday."""
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.timezone.utc)
    issued = agent.model.authority.issue_client("0" * 32, now - 9 * day, now - day)
    (folder / "client-key.pem").write_bytes(issued.key_pem)
    (folder / "client-cert.pem").write_bytes(issued.pem)


def files(folder):
    """Names of the files there."""
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def run(board, source, agent, folder, timeout=60, values=(), **parameters):
    """Device.run(); parameters: more of the client's."""
    return Device(board, agent, folder, **parameters).run(source, timeout, **dict(values))
