"""The agent's share in the cloud: its two ports, its CA, its control paths."""

import os
import shutil
import ssl

from .. import pki
from ..part import Part as AnyPart
from ..part import Port
from .control import Control
from .model import Agent
from .wire import DATA, PROVISION, Connectors, Provisioning, TwoVoices


class Part(AnyPart):
    """The agent's share in the local cloud, with a CA of its own, as on a gateway."""

    key = "teamviewer"
    title = "TeamViewer agent"
    mqtt = False
    ports = (
        Port("--tv-provision-port", 18883, "TeamViewer agent, provisioning (plain MQTT)"),
        Port("--tv-port", 18884, "TeamViewer agent, data (MQTT over mutual TLS)"),
    )

    def __init__(self, cloud):
        super().__init__(cloud)
        self.pki = pki.Pki(
            os.path.join(cloud.state, "teamviewer"), key_type=cloud.options.key_type or "ec"
        )
        self.ca_file = os.path.join(self.pki.directory, "TeamViewerAuthority.crt")
        shutil.copyfile(self.pki.ca_pem, self.ca_file)
        self.agent = Agent(self.pki.authority, cloud.store, clock=cloud.clock)
        cloud.mqtt.add(Provisioning(self.agent))
        cloud.mqtt.add(Connectors(self.agent))

    def controls(self):
        return Control(self.agent).paths()

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

    def introduce(self):
        entry = self.ready()
        where = "{host} port {provision_port} for certificates, {port} for data".format(**entry)
        return [("agent", where), ("its certificate", entry["ca_file"])]

    def device(self):
        entry = self.ready()
        return {
            "service": "teamviewer",
            "id": "board-1",
            "host": entry["host"],
            "provision_port": entry["provision_port"],
            "port": entry["port"],
            "ca": entry["ca_file"],
            "folder": os.path.join(self.cloud.state, self.key, "device"),
        }

    def ready(self):
        listeners = self.cloud.mqtt.listeners
        return {
            "host": self.cloud.host,
            "provision_port": listeners[PROVISION].port,
            "port": listeners[DATA].port,
            "ca_file": self.ca_file,
        }
