"""Azure's two services and its storage, what they share, and its share in the local cloud."""

import asyncio
import json

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from .. import pki, web
from ..fault_values import Faults
from ..mqtt.server import Close
from ..part import CloudError
from ..part import Part as AnyPart
from . import api
from .certificates import Certificates
from .control import Control
from .model import Records, Refused, Registry
from .wire import METHOD_SIZE, Dps, Hub

# What a server certificate must carry so that clients may call us by the real services' names.
NAMES = (
    "global.azure-devices-provisioning.net",
    "*.azure-devices-provisioning.net",
    "*.azure-devices.net",
    "*.device.azure-devices.net",  # where TLS 1.3 is spoken
    api.ACCOUNT,
)
DPS_HOST = "global.azure-devices-provisioning.net"
# Seconds by which a clock may be wrong: so long after its end a token still lets in, and so long a
# connection lives on (5 to 10 minutes have been seen).
GRACE = 300
DAY = 86400  # seconds that a quota is for

# Places where a failure can be ordered, and how it may look:
#   connack (int)                  the CONNECT is refused with this code
#   status (int), retry_after (s)  the request is answered so
#   code (int)                     its six-digit error code, beside status
#   failed (int)                   DPS: the registration has failed with this code
#   body (JSON)                    DPS answers with this body; status then defaults to 200
#   delay (s)                      the answer (CONNACK, SUBACK, PUBACK ...) comes that much later
#   silent (true)                  the request is not answered
#   close (true)                   the connection is closed instead
#   accepted (true)                hub.certificate: "202" comes first
#   chain (word)                   certificates: "none", "other" (another key's) or "garbage"
#   word (text)                    the storage's own error code, beside status
#   cut (int)                      the storage resets the connection after so many bytes of a body
#   deaf (true)                    it takes them, and resets the connection instead of answering
#   lost (true)                    it takes a block, says so, and forgets it
FAULTS = {
    "dps.connect": "connack delay silent close",
    "dps.register": "status code body failed retry_after delay silent close",
    "dps.poll": "status code body failed retry_after delay silent close",
    "hub.connect": "connack delay silent close",
    "hub.subscribe": "status delay silent close",
    "hub.telemetry": "delay close",
    "hub.twin.get": "status delay silent close",
    "hub.twin.patch": "status delay silent close",
    "hub.method": "close",
    "dps.certificate": "chain",
    "hub.certificate": "status code retry_after accepted chain delay silent close",
    "hub.files.start": "status code retry_after close",
    "hub.files.notify": "status code retry_after close",
    "storage.block": "status word retry_after cut deaf lost close",
    "storage.list": "status word retry_after cut deaf close",
    "storage.blob": "status word retry_after cut deaf close",
}


class Azure:
    """
    The two services, what they share, and what the service side may do.

    hubs: host names; the first is where devices go unless their enrolment says otherwise.
    retry_after: seconds DPS asks for between polls; polls: how many are answered "assigning".
    refuse: "reply" or "connack": how DPS refuses a wrong token or an unknown registration. The
    real one has been seen to let it in and answer 401; a refusal by CONNACK is documented, too.
    filter_refusal: "close" or "suback": how Hub refuses a filter it doesn't know, or a sixth one.
    quota: messages that a hub takes a day from all devices, 0 for any number; when they are used
    up it lets nobody in. grace: seconds that a token is good for after its end. signed_for:
    seconds that a device has for the upload of a file.
    trust: called with the PEM of a certificate that TLS shall accept from a client.
    """

    def __init__(self, hubs=("localhost",), dps_host="localhost", trust=None, **registry):
        self.registry = Registry(hubs, **registry)
        self.dps_host = dps_host
        self.trust = trust
        self.retry_after = 1
        self.polls = 0
        self.refuse = "reply"
        self.filter_refusal = "close"
        self.quota = 0
        self.grace = GRACE
        self.signed_for = api.SIGNED_FOR
        self._spent = {}  # (hub, day) -> messages
        self.feedback = []  # of cloud-to-device messages: {"device", "message", "status"}
        self.events = asyncio.Event()  # set, and replaced, whenever telemetry came in
        self.certificates = Certificates(self.registry)
        self.faults = Faults(FAULTS)
        self.fail = self.faults.order
        self._rid = 0
        self._calls = {}  # rid of a method -> (device id, future)
        self.dps = Dps(self)
        self.hub = Hub(self)
        self.registry.clock.on_moved += [self.hub.end_expired, self.dps.end_expired]
        self.files = api.Files(self)

    def add_to(self, server):
        server.add(self.dps)
        server.add(self.hub)
        for record in self.registry.enrolments.values():
            self._trust(record)
        self._trust({"ca": self.certificates.root_pem})

    def ready(self):
        """The part "azure" of the ready line."""
        registry = self.registry
        return {
            "dps_host": self.dps_host,
            "hub_host": registry.hubs[0],
            "scope_id": registry.scope_id,
            "group_key": registry.group_key,
            "device_id": "sensor-01",
        }

    # ---- failures on command

    def fault(self, place, device):
        """What is to happen now, as it was ordered; {} for nothing. "close" is done here."""
        how = self.faults.take(place, device)
        if how is None:
            return {}
        if how.get("close"):
            raise Close("closed on command at " + place)
        return how

    # ---- quota

    def spend(self, hub):
        """A message for this hub: is it within the day's quota?"""
        day = hub, int(self.now()) // DAY
        self._spent[day] = self._spent.get(day, 0) + 1
        return not self.quota or self._spent[day] <= self.quota

    def spent_all(self, hub):
        day = hub, int(self.now()) // DAY
        return bool(self.quota) and self._spent.get(day, 0) >= self.quota

    # ---- the service side

    def enrol(self, name, record):
        record = self.registry.enrol(name, record)
        self._trust(record)
        return record

    def _trust(self, record):
        pem = record.get("ca") or record.get("certificate")
        if pem and self.trust is not None:
            self.trust(pem)

    def now(self):
        return self.registry.now()

    def move_clock(self, seconds):
        """Let the cloud's clock go ahead by `seconds` in all; tokens that end by it do so now."""
        self.registry.clock.move(seconds)

    def create(self, device_id, options):
        """An identity made without DPS: keys, or thumbprints, or the certificate (PEM)."""
        prints = list(options.get("thumbprints") or ())
        pem = options.get("certificate")
        if pem:
            certificate = x509.load_pem_x509_certificate(pem.encode())
            prints.append(pki.thumbprint(certificate.public_bytes(serialization.Encoding.DER)))
            self._trust(options)
        keys = options.get("keys")
        return self.registry.create(device_id, options.get("hub"), keys, prints)

    def set_enabled(self, device, enabled):
        device.record["enabled"] = bool(enabled)
        self.registry.keep(device)
        if not enabled:
            self.hub.hang_up(device, "the device was disabled")

    def revoke(self, device):
        self.certificates.revoke(device)
        self.hub.hang_up(device, "its certificates were revoked")

    def remove(self, device):
        self.registry.remove(device)
        self.hub.hang_up(device, "the device was removed")

    def set_desired(self, device, patch):
        """Merge into the desired properties, tell the device if it listens; the new version."""
        version = device.patch("desired", patch, preview=True)
        self.registry.keep(device)
        self.hub.send_desired(device, patch, version)
        return version

    async def invoke(self, device, name, payload, timeout=30):
        """
        Call a direct method; (status, payload) of the device's answer. payload: JSON value or
        None for an empty body. Refused: 404 not connected or not listening, 504 no answer in time
        (unconfirmed number), 413 too long.
        """
        body = b"" if payload is None else json.dumps(payload).encode()
        if len(body) > METHOD_SIZE:
            raise Refused(413, "a method's body has at most 128 KB")
        client = self.hub.listener(device, Hub.METHODS, name)
        if client is None:
            raise Refused(404, "the device is not online", 404103)
        self._rid += 1
        rid = "%x" % self._rid
        future = asyncio.get_running_loop().create_future()
        self._calls[rid] = device, future
        try:
            client.publish("$iothub/methods/POST/%s/?$rid=%s" % (name, rid), body)
            return await asyncio.wait_for(future, timeout)
        except asyncio.TimeoutError:
            raise Refused(504, "the device did not answer within %g s" % timeout, 504101)
        finally:
            del self._calls[rid]

    def answer(self, device, rid, status, payload):
        """A method's answer came; a second one, or one to nothing, is only counted."""
        device.answers.append((rid, status))
        asked, future = self._calls.get(rid, (None, None))
        if asked is device and not future.done():
            future.set_result((status, payload))

    def send(self, device, body, properties, ack=None, life=None):
        """Queue a cloud-to-device message (bytes); its record."""
        self._report_gone(device)
        message = self.registry.queue(device, body, properties, ack, life)
        self.hub.send_messages(device)
        return message

    def _report_gone(self, device):
        for message, word in self.registry.expire(device):
            self.report(device, message, word)

    def report(self, device, message, word):
        """What became of a message, for those who asked with iothub-ack."""
        wanted = {"full": True, "positive": word == "Success", "negative": word != "Success"}
        if wanted.get(message["ack"]):
            self.feedback.append({"device": device.id, "message": message["id"], "status": word})

    def telemetry_came(self):
        self.events.set()
        self.events = asyncio.Event()


class Part(AnyPart):
    """Azure's share in the local cloud."""

    key = "azure"
    title = "Azure"

    @staticmethod
    def options(group):
        group.add_argument(
            "--azure-hubs",
            default="localhost",
            metavar="HOSTS",
            help="names of the hubs that devices are assigned to, separated by commas, the first "
            "for those whose enrolment says nothing else (default: %(default)s)",
        )
        group.add_argument(
            "--azure-scope", metavar="ID", help="the ID scope (default: made up at first start)"
        )
        group.add_argument(
            "--azure-group-key",
            metavar="KEY",
            help="key of the default enrolment group, base64 (default: made up at first start)",
        )

    @staticmethod
    def names(options):
        return list(NAMES) + options.azure_hubs.split(",")

    def __init__(self, cloud):
        super().__init__(cloud)
        options = cloud.options
        try:
            self.azure = Azure(
                options.azure_hubs.split(","),
                trust=pki.truster(cloud.tls),
                scope_id=options.azure_scope,
                group_key=options.azure_group_key,
                records=Records(cloud.store),
                clock=cloud.clock,
            )
        except Refused as e:
            raise CloudError("--azure-group-key: %s" % e)
        self.azure.add_to(cloud.mqtt)
        api.add_to(cloud.web, self.azure)
        self.faults = self.azure.faults

    def controls(self):
        return Control(self.azure).paths()

    def introduce(self):
        entry = self.azure.ready()
        where = self.cloud.mqtt_place()
        return [
            ("scope", "{scope_id}, provisioning at {dps_host}".format(**entry)),
            ("group key", entry["group_key"]),
            ("hub", "{} port {} with TLS".format(entry["hub_host"], where["port"])),
        ]

    def device(self):
        entry = self.azure.ready()
        return {
            "service": "azure",
            "id": entry["device_id"],
            "scope": entry["scope_id"],
            "key": entry["group_key"],
            "ca": self.cloud.pki.ca_der,
            "server": "{host}:{port}".format(**self.cloud.mqtt_place()),
        }

    def ready(self):
        entry = self.azure.ready()
        entry["service_url"] = web.CONTROL + "/" + self.key
        return entry
