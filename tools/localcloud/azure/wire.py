"""
Azure over MQTT: the provisioning service (DPS) and IoT Hub, as two services of the mock broker.

Both stand on one model.Registry and are told apart by the user name of a CONNECT. They are as
strict as the real ones are known to be; where that is not known, what is done here is said beside
it.
"""

import asyncio
import base64
import functools
import json
import logging
import re
import secrets
import urllib.parse

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from .. import pki
from ..mqtt import codec as mq
from ..mqtt.server import Close, Service
from .certificates import DPS_VERSION, FILTER, HUB_VERSION, error_body
from .model import Refused, load_json, make_bag, parse_bag, why_not

log = logging.getLogger("localcloud.azure")

# The documents ask for skn=registration; Microsoft's Python client leaves it out and is let in.
DPS_POLICIES = ("registration", None)
KEEPALIVE_CAP = 1767  # seconds that Hub's load balancer lets a line be idle
MAX_SUBSCRIPTIONS = 5
METHOD_SIZE = 131072


class _Side(Service):
    """What DPS and Hub have in common: how a token lets in, and how it puts out again."""

    def __init__(self, azure):
        super().__init__()
        self.azure = azure
        self.registry = azure.registry

    def await_end(self, client, end):
        """Close when the token or the certificate ends, in seconds since 1970."""
        client.data["ends"] = end
        self._arm(client)

    def _arm(self, client):
        left = client.data["ends"] + self.azure.grace - self.azure.now()
        if left <= 0:
            client.close("its token or certificate has ended", "service", 401003)
            return
        # Never asleep for longer than a day: the clock may be moved.
        loop = asyncio.get_running_loop()
        client.data["timer"] = loop.call_later(min(left, 86400), self._rearm, client)

    def _rearm(self, client):
        if client.end is None:
            self._arm(client)

    def end_expired(self):
        for session in list(self.sessions.values()):
            client = session.client
            if client is not None and "timer" in client.data:
                client.data["timer"].cancel()
                self._arm(client)

    def disconnected(self, client, end):
        if client.data and "timer" in client.data:
            client.data["timer"].cancel()

    def ordered(self, place, client, name, go_on):
        """
        A CONNECT's ordered failure: CONNACK code, or a coroutine for silence and delays. go_on: is
        called for the code when there is none.
        """
        how = self.azure.fault(place, name)
        if how.get("silent"):
            return asyncio.sleep(3600, mq.UNAVAILABLE)
        if how.get("delay"):
            return self._later(how["delay"], lambda: how.get("connack") or go_on())
        return how["connack"] if "connack" in how else go_on()

    @staticmethod
    async def _later(seconds, do):
        await asyncio.sleep(seconds)
        return do()

    @staticmethod
    def refuse(client, why):
        raise Refused(401, why)


class Dps(_Side):
    """
    The device provisioning service over MQTT (1.4).

    A registration with the right credentials but a disabled enrolment is let in and told so.
    """

    name = "azure-dps"
    RESPONSES = "$dps/registrations/res/#"
    _USER = re.compile(r"([^/]*)/registrations/([^/]*)/(\??)api-version=([^&]*)(.*)", re.S)
    _REQUEST = re.compile(
        r"\$dps/registrations/(PUT/iotdps-register|GET/iotdps-get-operationstatus)/\?(.*)", re.S
    )
    _ID = re.compile(r"(?=.{1,128}$)[A-Za-z0-9\-._:]*[A-Za-z0-9\-]")
    VERSION = re.compile(r"20[12][0-9]-[01][0-9]-[0-3][0-9](-preview)?")

    def __init__(self, azure):
        super().__init__(azure)
        self._operations = {}  # id -> [registration id, polls still to be answered "assigning"]

    def claims(self, client):
        return self._USER.fullmatch(client.user or "") is not None

    def session_key(self, client):
        return client.client_id.lower()

    def authenticate(self, client, password):
        client.clean = True
        registration = self._USER.fullmatch(client.user).group(2)
        return self.ordered(
            "dps.connect", client, registration, lambda: self._let_in(client, password)
        )

    def _let_in(self, client, password):
        scope, registration, _, version, _ = self._USER.fullmatch(client.user).groups()
        if (
            not self._ID.fullmatch(registration)
            or client.client_id.lower() != registration.lower()
        ):
            self.refuse(client, "client id and user name need one valid registration id")
        if not self.VERSION.fullmatch(version):
            self.refuse(client, "api-version %r" % version)
        client.data = {"id": registration, "name": None, "keys": None, "thumbprint": None}
        client.data["version"] = version
        why = self._why_not(client, scope, registration, password)
        if why is not None:
            if self.azure.refuse == "connack":
                self.refuse(client, why)
            log.info("%r will be refused: %s", client, why)
            wrong = (401000, "Unauthorized") if password else (401002, "Invalid certificate.")
            client.data["refused"] = wrong
        return mq.ACCEPTED

    def _why_not(self, client, scope, registration, password):
        """None, or why this registration is not let in; fills client.data in."""
        registry = self.registry
        if scope != registry.scope_id:
            return "the ID scope is %r" % scope
        if password is None:
            return self._why_not_x509(client, registration)
        why = "no enrolment has a symmetric key for it"
        for name, keys in registry.keys_for(registration):
            path = "%s/registrations/%s" % (scope, registration)
            text = password.decode("utf-8", "replace")
            now = self.azure.now() - self.azure.grace
            why, token = why_not(text, path, keys, now, DPS_POLICIES, 3)
            if token is not None:
                client.data.update(name=name, keys=keys)
                self.await_end(client, token.se)
                return None
        return why

    def _why_not_x509(self, client, registration):
        der = client.certificate
        if der is None:
            return "neither token nor certificate"
        if pki.common_name(der) != registration:
            return "the certificate is for %r" % pki.common_name(der)
        if not pki.is_valid(der, self.azure.now()):
            return "the certificate is not valid now"
        print_ = pki.thumbprint(der)
        found = self.registry.individual(registration)
        if found is not None:
            name, record = found
            if record.get("thumbprint") != print_:
                return "another certificate is enrolled"
        else:
            name = self._group_of(der)
            if name is None:
                return "no enrolment knows the certificate's issuer"
        client.data.update(name=name, thumbprint=print_)
        return None

    def _group_of(self, der):
        for name, record in self.registry.enrolments.items():
            if record["kind"] == "group-x509" and issued_by(der, record["ca"]):
                return name
        return None

    def subscribe(self, client, filter, qos):
        if filter != self.RESPONSES:
            return mq.SUBACK_FAILURE
        return min(qos, 1)

    def publish(self, client, packet):
        if packet.qos == 2:
            raise Close("DPS has no QoS 2")
        match = self._REQUEST.fullmatch(packet.topic)
        if match is None:
            raise Close("DPS knows no topic %r" % packet.topic)
        query = parse_bag(match.group(2))
        rid = query.get("$rid")
        if not rid:
            raise Close("a request without $rid")
        poll = match.group(1).startswith("GET")
        how = self.azure.fault("dps.poll" if poll else "dps.register", client.data["id"])
        if how.get("silent"):
            return None
        if how.get("delay"):
            return self._later(
                how["delay"], lambda: self._answer(client, packet, poll, query, rid, how)
            )
        return self._answer(client, packet, poll, query, rid, how)

    def _answer(self, client, packet, poll, query, rid, how):
        after = how.get("retry_after")
        try:
            if "body" in how:
                status, body = how.get("status", 200), how["body"]
            elif "failed" in how:
                status, body = 200, self._failed(client, how["failed"])
            elif "status" in how:
                raise Refused(how["status"], "ordered by a test", how.get("code"))
            elif client.data.get("refused"):
                code, text = client.data["refused"]
                raise Refused(401, text, code)
            elif poll:
                status, body = self._poll(client, query.get("operationId"))
            else:
                status, body = self._register(client, packet.payload)
        except Refused as e:
            status, body = e.status, e.details()
        if status == 202 and after is None:
            after = self.azure.retry_after
        topic = "$dps/registrations/res/%d/?$rid=%s" % (status, urllib.parse.quote(rid, ""))
        if after is not None:
            topic += "&retry-after=%d" % after
        subscription = client.session.subscriptions.get(self.RESPONSES)
        if subscription is not None:
            client.publish(topic, json.dumps(body).encode(), min(packet.qos, subscription.qos))

    @staticmethod
    def _failed(client, code):
        state = {
            "registrationId": client.data["id"],
            "status": "failed",
            "errorCode": code,
            "errorMessage": "ordered by a test",
        }
        return {"operationId": "5.0", "status": "failed", "registrationState": state}

    def _register(self, client, payload):
        body = load_json(payload) if payload.strip() else {}
        if not isinstance(body, dict):
            raise Refused(400, "the body is a JSON object")
        given = body.get("registrationId", client.data["id"])
        if not isinstance(given, str) or given.lower() != client.data["id"].lower():
            raise Refused(400, "registrationId is not that of the user name")
        if len(self._operations) > 10000:
            self._operations.clear()
        csr = body.get("csr") if client.data["version"] >= DPS_VERSION else None
        if csr is not None:
            try:
                self.azure.certificates.read_csr(csr)
            except ValueError as e:
                raise Refused(400, str(e))
        operation = "5.%s.%s" % (secrets.token_hex(8), secrets.token_hex(16))
        entry = [client.data["id"], self.azure.polls, body.get("payload"), csr]
        self._operations[operation] = entry
        return 202, {"operationId": operation, "status": "assigning"}

    def _poll(self, client, operation):
        entry = self._operations.get(operation)
        registration = client.data["id"]
        if entry is None or entry[0].lower() != registration.lower():
            raise Refused(404, "Operation not found", 404201)
        if entry[1]:
            entry[1] -= 1
            return 202, {"operationId": operation, "status": "assigning"}
        registry = self.registry
        name = client.data["name"]
        record = registry.enrolments.get(name)
        if record is None:
            raise Refused(404, "Enrollment not found", 404204)
        if not record["enabled"]:
            state = registry.state(name, registration, None, "disabled")
            return 200, {
                "operationId": operation,
                "status": "disabled",
                "registrationState": state,
            }
        keys, thumbprint = client.data["keys"], client.data["thumbprint"]
        thumbprints = [thumbprint] if thumbprint else []
        csr = entry[3] if record.get("credential_policy", "default") else None
        if csr is not None:
            # From now on the device is known at the hub by what is issued to it, and only so.
            keys, thumbprints = [], []
        before = registry.find(record["device_id"] or registration)
        device, state = registry.assign(name, registration, keys, thumbprints, entry[2])
        if csr is not None:
            spoiled = self.azure.fault("dps.certificate", registration).get("chain")
            chain = self.azure.certificates.chain(device, csr, spoiled)
            if chain is not None:
                state["issuedCertificateChain"] = chain
        if state["substatus"] == "deviceDataMigrated" and before is not None:
            self.azure.hub.hang_up(device, "the device moved to another hub")
        return 200, {"operationId": operation, "status": "assigned", "registrationState": state}


class Hub(_Side):
    """
    IoT Hub over MQTT (1.6 to 1.8), for all hubs of the registry: the user name tells which.

    Every refusal of a CONNECT is CONNACK 5: a wrong token, an unknown or disabled device, a quota
    that is used up. An unknown or a sixth filter closes the connection (azure.filter_refusal).
    Choices where the sheet has "unconfirmed": an undocumented topic, an oversize message and QoS 2
    close the connection; keep-alive 0 counts as 1767 s; twin and method subscriptions belong to
    the session.

    A hub answers to <name>.device.azure-devices.net as well, where it speaks TLS 1.3.
    """

    name = "azure-hub"
    METHODS = "methods"
    _USER = re.compile(r"([^/]+)/([^/]+)(?:/([^/?]+))?/(\??)api-version=([^&]*)(.*)", re.S)
    _EVENTS = re.compile(r"devices/([^/]+)/messages/events/(.*)", re.S)
    _TWIN = re.compile(r"\$iothub/twin/(GET|PATCH/properties/reported)/\?(.*)", re.S)
    _METHOD = re.compile(r"\$iothub/methods/res/(-?[0-9]{1,9})/\?(.*)", re.S)
    _METHOD_FILTER = re.compile(r"\$iothub/methods/POST/([^/+#]+)/#")
    _CREDENTIAL = re.compile(r"\$iothub/credentials/POST/issueCertificate/\?\$rid=([^&]+)", re.S)

    def __init__(self, azure):
        super().__init__(azure)
        self._lent = {}  # (device id, message id) -> the session that has the message now
        self._tasks = set()  # certificates being issued

    def claims(self, client):
        match = self._USER.fullmatch(client.user or "")
        return match is not None and self.hub_name(match.group(1)) in self.registry.hubs

    @staticmethod
    def hub_name(host):
        """The hub that a client means: the device endpoint's name is another one for it."""
        return host.lower().replace(".device.azure-devices.net", ".azure-devices.net")

    def session_key(self, client):
        return client.data["host"] + "/" + client.data["id"]

    def authenticate(self, client, password):
        device_id = self._USER.fullmatch(client.user).group(2)
        return self.ordered(
            "hub.connect", client, device_id, lambda: self._let_in(client, password)
        )

    def _let_in(self, client, password):
        host, device_id, module, _, version, more = self._USER.fullmatch(client.user).groups()
        hub = self.hub_name(host)
        if module is not None or client.client_id != device_id:
            self.refuse(client, "the client id is the device id (modules are not served)")
        if not Dps.VERSION.fullmatch(version):
            self.refuse(client, "api-version %r" % version)
        if self.azure.spent_all(hub):
            self.refuse(client, "the day's quota of %s is used up" % hub)
        device = self.registry.find(device_id, hub)
        if device is None:
            self.refuse(client, "there is no such device in %s" % host)
        if not device.enabled:
            self.refuse(client, "the device is disabled")
        client.data = {
            "host": hub,
            "id": device_id,
            "device": device,
            "preview": version.endswith("-preview"),
            "version": version,
        }
        if password is None:
            if client.certificate is None:
                self.refuse(client, "neither token nor certificate")
            if pki.thumbprint(client.certificate) not in device.thumbprints:
                why, end = self.azure.certificates.why_not(device, client.certificate)
                if why is not None:
                    self.refuse(client, why)
                self.await_end(client, end)
            elif not pki.is_valid(client.certificate, self.azure.now()):
                self.refuse(client, "the certificate is not valid now")
        else:
            why = self._await_token(client, device, host, password)
            if why is not None:
                self.refuse(client, why)
        if client.will is not None and self._events(client, client.will.topic) is None:
            self.refuse(client, "a will is telemetry: %r is not" % client.will.topic)
        self._note_model(device, version, more)
        silence = client.keepalive * 1.5
        client.silence = min(silence or KEEPALIVE_CAP, KEEPALIVE_CAP)
        return mq.ACCEPTED

    def _await_token(self, client, device, host, password):
        text = password.decode("utf-8", "replace")
        now = self.azure.now() - self.azure.grace
        # A token may be for either of the hub's names.
        for name in dict.fromkeys((host.lower(), self.hub_name(host))):
            path = "%s/devices/%s" % (name, device.id)
            why, token = why_not(text, path, device.keys, now)
            if token is not None:
                break
        if token is None:
            for name, key in self.registry.policies.items():
                other, token = why_not(text, path, [key], now, (name,))
                if token is not None:
                    break
        if token is None:
            return why
        self.await_end(client, token.se)
        return None

    def _note_model(self, device, version, more):
        # Only these versions know what model-id means (Plug and Play).
        model = parse_bag(more).get("model-id") if version >= "2020-09-30" else None
        if model and device.record["model"] != model:
            device.record["model"] = model
            self.registry.keep(device)

    # ---- filters

    def subscribe(self, client, filter, qos):
        how = self.azure.fault("hub.subscribe", client.data["id"])
        what = self._filter(client, filter)
        mine = client.session.subscriptions
        full = filter not in mine and len(mine) >= MAX_SUBSCRIPTIONS
        if "delay" in how:
            client.data["suback"] = asyncio.ensure_future(asyncio.sleep(how["delay"]))
        if what is None or full or "status" in how:
            log.info("%r: filter %r refused", client, filter)
            if self.azure.filter_refusal == "close" and "status" not in how:
                raise Close("a %s filter: %r" % ("sixth" if full else "strange", filter), 400000)
            return mq.SUBACK_FAILURE
        return min(qos, 1)

    def suback_waits(self, client):
        return client.data.pop("suback", None)

    @staticmethod
    def _filter(client, filter):
        """What a filter is about: "bound", "events", "desired", "res", METHODS, or None."""
        own = "devices/%s/messages/" % client.data["id"]
        if filter.startswith(own):
            return {"devicebound/#": "bound", "events/#": "events"}.get(filter[len(own) :].lower())
        if Hub._METHOD_FILTER.fullmatch(filter):
            return Hub.METHODS
        if filter == FILTER:
            return "credentials" if client.data["version"] >= HUB_VERSION else None
        return {
            "$iothub/twin/res/#": "res",
            "$iothub/twin/PATCH/properties/desired/#": "desired",
            "$iothub/methods/POST/#": Hub.METHODS,
            "$iothub/methods/#": Hub.METHODS,
        }.get(filter)

    def _subscription(self, client, what, method=None):
        for filter, subscription in client.session.subscriptions.items():
            if self._filter(client, filter) == what:
                named = Hub._METHOD_FILTER.fullmatch(filter)
                if named is None or named.group(1) == method:
                    return subscription
        return None

    def subscribed(self, client, filter, code):
        what = self._filter(client, filter)
        if what == "bound":
            self.send_messages(client.data["device"])
        elif what == "credentials":
            self.azure.certificates.deliver(self, client.data["device"])

    def connected(self, client, present):
        # With a session that outlived its connection, what waits comes without a new SUBSCRIBE.
        self.send_messages(client.data["device"])
        self.azure.certificates.deliver(self, client.data["device"])

    # ---- from the device

    def publish(self, client, packet):
        if packet.qos == 2:
            raise Close("IoT Hub has no QoS 2")
        topic = packet.topic
        if topic.startswith("devices/"):
            return self._on_telemetry(client, packet)
        match = self._TWIN.fullmatch(topic)
        if match is not None:
            return self._on_twin(client, match.group(1), parse_bag(match.group(2)), packet)
        match = self._METHOD.fullmatch(topic)
        if match is not None:
            return self._on_answer(client, match, packet)
        match = self._CREDENTIAL.fullmatch(topic)
        if match is not None and client.data["version"] >= HUB_VERSION:
            return self._on_credential(client, urllib.parse.unquote(match.group(1)), packet)
        raise Close("IoT Hub knows no topic %r" % topic)

    def will(self, client, packet):
        packet.topic += "&" if not packet.topic.endswith("/") else ""
        packet.topic += "iothub-MessageType=Will"
        return self.publish(client, packet)

    @staticmethod
    def _events(client, topic):
        """The property bag of a telemetry topic of this device, or None."""
        match = Hub._EVENTS.fullmatch(topic)
        return match.group(2) if match and match.group(1) == client.data["id"] else None

    def _on_telemetry(self, client, packet):
        how = self.azure.fault("hub.telemetry", client.data["id"])
        bag = self._events(client, packet.topic)
        if bag is None:
            raise Close("%s may not publish to %r" % (client.data["id"], packet.topic))
        # From a device a "?" in front belongs to the first property's name.
        properties = parse_bag(bag, False)
        if not self.azure.spend(client.data["host"]):
            raise Close("the day's quota is used up", 403002)
        if packet.retain:
            properties["mqtt-retain"] = "true"
        try:
            self.registry.add_telemetry(client.data["device"], packet.payload, properties)
        except Refused as e:
            raise Close(str(e))
        self.azure.telemetry_came()
        kept = self.registry.durable()
        if "delay" not in how:
            return kept
        late = asyncio.ensure_future(asyncio.sleep(how["delay"]))
        return late if kept is None else asyncio.gather(late, kept)

    def _on_twin(self, client, verb, query, packet):
        device = client.data["device"]
        rid = query.get("$rid")
        if not rid:
            raise Close("a twin request without $rid")
        how = self.azure.fault("hub.twin.get" if verb == "GET" else "hub.twin.patch", device.id)
        if how.get("silent"):
            return None
        if how.get("delay"):
            return self._later(
                how["delay"], lambda: self._answer_twin(client, verb, rid, packet, {})
            )
        return self._answer_twin(client, verb, rid, packet, how)

    def _answer_twin(self, client, verb, rid, packet, how):
        device = client.data["device"]
        more, body, kept = "", b"", None
        try:
            if "status" in how:
                raise Refused(how["status"], "ordered by a test")
            if verb == "GET":
                status = 200
                body = json.dumps(device.document(), ensure_ascii=False).encode()
            else:
                status = 204
                patch = load_json(packet.payload)
                version = device.patch("reported", patch, client.data["preview"])
                self.registry.keep(device)
                more = "&$version=%d" % version
                kept = self.registry.durable()
        except Refused as e:
            status, body = e.status, e.body()
        subscription = self._subscription(client, "res")
        if subscription is not None:
            quoted = urllib.parse.quote(rid, "")
            topic = "$iothub/twin/res/%d/?$rid=%s%s" % (status, quoted, more)
            client.publish(topic, body, 0)
        return kept

    def _on_answer(self, client, match, packet):
        device = client.data["device"]
        self.azure.fault("hub.method", device.id)
        rid = match.group(2)
        if not rid.startswith("$rid="):
            raise Close("a method's answer without $rid")
        if len(packet.payload) > METHOD_SIZE:
            raise Close("a method's answer of more than 128 KB")
        payload = None
        if packet.payload:
            try:
                payload = load_json(packet.payload)
            except Refused as e:
                raise Close("a method's answer is JSON or empty: %s" % e)
        self.azure.answer(device, rid[5:], int(match.group(1)), payload)

    def _on_credential(self, client, rid, packet):
        device = client.data["device"]
        how = self.azure.fault("hub.certificate", device.id)
        try:
            later = self.azure.certificates.answer(self, client, rid, packet.payload, how)
        except Refused as e:
            self.send_credential(device, rid, e.status, error_body(e))
            return
        if later is not None:
            # Nothing waits for it, the acknowledgement of the request least of all.
            task = asyncio.ensure_future(later)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # ---- to the device

    def send_credential(self, device, rid, status, body):
        """Answer a request to issue a certificate; False when the device doesn't listen."""
        client = self.listener(device, "credentials")
        if client is None:
            return False
        topic = "$iothub/credentials/res/%d/?$rid=%s" % (status, urllib.parse.quote(rid, ""))
        qos = self._subscription(client, "credentials").qos
        client.publish(topic, json.dumps(body).encode(), qos)
        return True

    def client_of(self, device):
        session = self.sessions.get(device.hub + "/" + device.id)
        return session.client if session is not None else None

    def listener(self, device, what, method=None):
        """The device's connection, if it listens to that (of methods: to this one)."""
        client = self.client_of(device)
        if client is None or not self._subscription(client, what, method):
            return None
        return client

    def hang_up(self, device, why):
        for hub in self.registry.hubs:
            session = self.sessions.get(hub + "/" + device.id)
            if session is not None and session.client is not None:
                session.client.close(why)

    def send_desired(self, device, patch, version):
        client = self.listener(device, "desired")
        if client is not None:
            body = json.dumps(dict(patch, **{"$version": version}), ensure_ascii=False)
            topic = "$iothub/twin/PATCH/properties/desired/?$version=%d" % version
            client.publish(topic, body.encode())

    def send_messages(self, device):
        """Hand what waits for the device to its session; each is done when acknowledged."""
        client = self.listener(device, "bound")
        if client is None:
            return
        filter = next(
            f for f in client.session.subscriptions if self._filter(client, f) == "bound"
        )
        qos = client.session.subscriptions[filter].qos
        for message in list(device.messages):
            lent = (device.id, message["id"])
            if self._lent.get(lent) is client.session:
                continue
            properties = {
                "$.mid": message["id"],
                "$.to": "/devices/%s/messages/deviceBound" % device.id,
            }
            if message["ack"]:
                properties["iothub-ack"] = message["ack"]
            properties.update(message["properties"])
            self._lent[lent] = client.session
            message["deliveries"] += 1
            done = functools.partial(self._message_done, device, message)
            body = base64.b64decode(message["body"])
            client.publish(filter[:-1] + make_bag(properties), body, qos, False, done)
            if not qos:
                done(True)

    def _message_done(self, device, message, taken):
        self._lent.pop((device.id, message["id"]), None)
        if taken and message in device.messages:
            device.messages.remove(message)
            self.azure.report(device, message, "Success")
        self.registry.keep(device)


def issued_by(der, ca_pem):
    """Has the CA (PEM) signed this certificate (DER)?"""
    try:
        ca = x509.load_pem_x509_certificate(ca_pem.encode())
        x509.load_der_x509_certificate(der).verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
