"""
What the tests of Azure share: an Azure in this process, on ports of its own, whose service side a
test reaches as Python objects; the known keys; tokens and MQTT packets made without lib/.
"""

import asyncio
import base64
import hmac
import pathlib
import re
import shutil
import ssl
import tempfile
import time
import urllib.parse

import localcloud_rig
import pytest
import serving
from localcloud import azure as azure_module
from localcloud import pki, web
from localcloud.azure import api as azure_files
from localcloud.azure import derive_key
from localcloud.mqtt import server as mqtt_server
from localcloud_rig import Raw
from device_program import program

SCOPE = "0ne00ABCDEF"
GROUP_KEY = base64.b64encode(bytes(range(64))).decode()
DEVICE = "sensor-01"
DEVICE_KEY = "AjovQRagSicIHgvC+IaHN/oeUQcVO1iCiFB33IYSeJE="
HUB = "hub-7.azure-devices.net"
OTHER_HUB = "hub-8.azure-devices.net"
DPS = azure_module.DPS_HOST
# A whole program as the light SDK's document has them; not a .py, lest it be taken for a tool.
PROGRAM = pathlib.Path(__file__).with_name("iotc_greenhouse.txt")


def token(key, path, end=None, skn=None, quote=urllib.parse.quote, safe=""):
    """A shared access signature (bytes), as 1.2 says; end: seconds since 1970, else in an hour."""
    sr = quote(path, safe)
    signed = "%s\n%d" % (sr, end or time.time() + 3600)
    digest = hmac.digest(base64.b64decode(key), signed.encode(), "sha256")
    sig = urllib.parse.quote(base64.b64encode(digest).decode(), safe)
    text = "SharedAccessSignature sr=%s&sig=%s&se=%s" % (sr, sig, signed.split("\n")[1])
    return (text + ("&skn=" + skn if skn else "")).encode()


class Rig(serving.Cloud):
    """
    azure: the azure.Azure, whose methods are called with do() and call(). server; port, tls_port,
    websocket_port, and https_port of file uploads; pki: a pki.Pki, authority: its pki.Authority;
    ca_der and ca_pem (file names).

    directory: for certificates.
    """

    def __init__(self, directory):
        self.pki = certificates(directory)
        self.authority = self.pki.authority
        self.ca_pem = self.pki.ca_pem
        self.ca_der = self.pki.ca_der

    async def start(self):
        context = self.pki.server_context(ask_client=True)
        self.azure = azure_module.Azure(
            (HUB, OTHER_HUB), trust=pki.truster(context), scope_id=SCOPE, group_key=GROUP_KEY
        )
        self.azure.retry_after = 0
        self.server = mqtt_server.Server()
        self.azure.add_to(self.server)
        self.port = (await self.server.listen("mqtt", "127.0.0.1", 0)).port
        self.tls_port = (await self.server.listen("mqtts", "127.0.0.1", 0, context)).port
        listener = await self.server.listen("wss", "127.0.0.1", 0, context, True)
        self.websocket_port = listener.port
        self.site = web.Web()
        azure_files.add_to(self.site, self.azure)
        await self.site.start()
        self.https_port = await self.site.listen("127.0.0.1", 0, context)

    async def stop(self):
        await self.server.stop()
        await self.site.stop()

    def device(self, device_id=DEVICE):
        return self.azure.registry.find(device_id)

    def create(self, device_id=DEVICE, **options):
        """A device that needs no DPS, with the known key."""
        return self.do(self.azure.create, device_id, dict({"keys": [DEVICE_KEY]}, **options))

    def telemetry(self, count=1, device_id=DEVICE, timeout=15):
        """The first `count` messages as (body, properties); fails after timeout seconds."""

        def enough():
            device = self.device(device_id)
            return device is not None and device.received >= count

        self.until(enough, timeout, "%d messages of telemetry" % count)
        return [(body, bag) for _, _, body, bag in self.device(device_id).telemetry]

    def invoke(self, name, payload=None, timeout=15, device_id=DEVICE):
        return self.call(
            self.azure.invoke(self.device(device_id), name, payload, timeout), timeout + 5
        )

    def start_invoke(self, name, payload=None, timeout=15):
        """invoke() under way: a future."""
        coroutine = self.azure.invoke(self.device(), name, payload, timeout)
        return asyncio.run_coroutine_threadsafe(coroutine, self.background.loop)

    def desire(self, patch, device_id=DEVICE):
        return self.do(self.azure.set_desired, self.device(device_id), patch)

    def send(self, body, ack=None, device_id=DEVICE, **properties):
        properties = {name.replace("_", "-"): value for name, value in properties.items()}
        return self.do(self.azure.send, self.device(device_id), body, properties, ack)

    def reported(self, device_id=DEVICE):
        return self.do(lambda: dict(self.device(device_id).twin["reported"]["properties"]))

    def raw(self, tls=None):
        return Raw(self.tls_port if tls else self.port, tls=tls)

    def hub(self, device_id=DEVICE, key=DEVICE_KEY, host=HUB, version="2021-04-12", **options):
        """A raw client signed in to the hub."""
        return self.raw().connect(
            device_id,
            user="%s/%s/?api-version=%s" % (host, device_id, version),
            password=token(key, "%s/devices/%s" % (host, device_id)),
            **options,
        )

    def dps(self, registration=DEVICE, key=DEVICE_KEY, scope=SCOPE, **options):
        """A raw client signed in to DPS and listening."""
        path = "%s/registrations/%s" % (scope, registration)
        client = self.raw().connect(
            registration,
            user=path + "/api-version=2019-03-31",
            password=token(key, path, skn="registration"),
            **options,
        )
        return client.subscribe(("$dps/registrations/res/#", 1))


_made = []  # the temporary directory with this process's certificates


def certificates(directory):
    """
    A pki.Pki of RSA, as the real services have it, in this directory. Its keys take half a second
    to make: they are made once.
    """
    if not _made:
        _made.append(tempfile.TemporaryDirectory())
        pki.Pki(_made[0].name, azure_module.NAMES, "rsa")
    shutil.copytree(_made[0].name, str(directory), dirs_exist_ok=True)
    return pki.Pki(str(directory), azure_module.NAMES, "rsa")


running = Rig.running


def client_context(rig, certificate, key):
    """TLS for a raw client that shows a certificate (PEM file names)."""
    context = ssl.create_default_context(cafile=rig.ca_pem)
    context.load_cert_chain(certificate, key)
    return context


# ---- device programs

PRELUDE = program("azure_rig_prelude")

# A device that the hub knows already, and today's time to connect: known() first.
CONNECT = """
d = device(name=NAME)
assert d.connect(HUB) == 0, d.error
"""


class DeviceProgram(serving.Device):
    """Device programs against a rig; every program has its own device id (name)."""

    prelude = PRELUDE

    def __init__(self, board, rig, name):
        super().__init__(board, rig)
        self.name = name
        self.key = derive_key(GROUP_KEY, name)

    def values(self, **values):
        given = {
            "CA": self.rig.ca_der,
            "SERVER": "127.0.0.1:%d" % self.rig.tls_port,
            "SCOPE": SCOPE,
            "GROUP": GROUP_KEY,
            "NAME": self.name,
            "HUB": HUB,
        }
        given.update(values)
        return given

    def known(self, **options):
        """Let the hub know the device, so that connect(HUB) can do without DPS."""
        return self.rig.create(self.name, keys=[self.key], **options)

    def __getattr__(self, name):
        """The rig's telemetry(), invoke(), desire() ..., for this device."""
        found = getattr(self.rig, name)

        def call(*args, **values):
            return found(*args, device_id=self.name, **values)

        return call


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """A Rig shared by the tests of one file."""
    with running(tmp_path_factory.mktemp("tls")) as made:
        yield made


@pytest.fixture
def fresh(tmp_path):
    """A Rig of one's own."""
    with running(tmp_path / "tls") as made:
        yield made


@pytest.fixture
def dev(board, rig, request):
    """A DeviceProgram with a device id of its own, on the shared rig."""
    name = re.sub("[^a-z0-9]", "-", request.node.name.lower())[-60:].strip("-")
    return DeviceProgram(board, rig, name)


def Control(cloud):
    """The service side of a running cloud (its ready line), over HTTP."""
    return localcloud_rig.Control(cloud, "/azure")
