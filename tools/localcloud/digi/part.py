"""Digi's share in the cloud: its push ports, its HTTP paths, its control paths."""

from ..kept import NOWHERE
from ..part import Part as AnyPart
from ..part import Port
from .api import Api
from .control import Control
from .model import Cloud, Watcher
from .wire import PushServer


class Digi(Cloud):
    """A model.Cloud that is served. port, tls_port: its push ports, None for one that isn't."""

    def __init__(self, username, password, store=NOWHERE, cst_id=3, window=1, clock=None):
        super().__init__(username, password, store, cst_id, window, clock)
        self._push = PushServer(self)

    @property
    def port(self):
        return self._push.port

    @property
    def tls_port(self):
        return self._push.tls_port

    @property
    def connections(self):
        """The push connections that are open."""
        return self._push.connections

    @property
    def short_acks(self):
        """How many six-byte acknowledgements were taken for what was meant."""
        return self._push.short_acks

    async def listen(self, host, port, context=None):
        """Open a push port and return its number. context: an ssl.SSLContext; None for plain."""
        return await self._push.listen(host, port, context)

    def add_to(self, site):
        """Add the HTTP paths to a web.Web."""
        Api(self).add_to(site)

    def watch(self, server):
        """Tell of what an mqtt server sees: who comes and goes, and what is published."""
        server.watchers.append(Watcher(self))

    async def stop(self):
        """Close the push ports and connections."""
        await self._push.stop()


class Part(AnyPart):
    """Digi's share in the cloud."""

    key = "digi"
    title = "Digi"
    mqtt = False
    ports = (
        Port("--push-port", 3200, "Digi push monitor"),
        Port("--push-tls-port", 3201, "Digi push monitor over TLS"),
    )

    @staticmethod
    def options(group):
        group.add_argument(
            "--digi-window",
            type=int,
            default=1,
            metavar="N",
            help="blocks that may wait for an explicit acknowledgement (default: %(default)s)",
        )

    def __init__(self, cloud):
        super().__init__(cloud)
        password = cloud.secret_file("digi-password")
        window = cloud.options.digi_window
        self.digi = Digi("digi-user", password, cloud.store, window=window, clock=cloud.clock)
        self.digi.add_to(cloud.web)
        self.faults = self.digi.faults

    def controls(self):
        return Control(self.digi).paths()

    async def start(self):
        cloud = self.cloud
        options = cloud.options
        self.digi.watch(cloud.mqtt)
        for port, option, context in (
            (options.push_port, "--push-port", None),
            (options.push_tls_port, "--push-tls-port", cloud.pki.server_context()),
        ):
            try:
                await self.digi.listen(cloud.host, port, context)
            except OSError as e:
                raise cloud.port_error(port, option, e)

    def introduce(self):
        entry = self.ready()
        return [
            ("user", "{username}, password {password}".format(**entry)),
            ("HTTP", "port {http_port}, with TLS {https_port}".format(**entry)),
            ("push", "port {push_port}, with TLS {push_tls_port}".format(**entry)),
        ]

    def command(self):
        entry = self.ready()
        return (
            "DIGI_PASSWORD={password} python3 tools/push_client.py --host localhost"
            " --port {https_port} --push-port {push_tls_port} --ca {ca}"
            " --topics DeviceCore,DataPoint {username}"
        ).format(ca=self.cloud.pki.ca_pem, **entry)

    def ready(self):
        return {
            "host": self.cloud.host,
            "http_port": self.cloud.web.port,
            "https_port": self.cloud.web.tls_port,
            "push_port": self.digi.port,
            "push_tls_port": self.digi.tls_port,
            "username": self.digi.username,
            "password": self.digi.password,
        }

    async def stop(self):
        await self.digi.stop()
