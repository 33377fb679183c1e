"""
What Azure's side knows: enrolments, devices with their twins and waiting messages, telemetry.

No MQTT and no HTTP here. With Records (SQLite) everything outlives the process.

Where the service's documents name a limit, it is enforced here, with Refused.
"""

import base64
import collections
import hmac
import json
import re
import secrets
import time
import urllib.parse

from .. import strict_json
from ..clock import Clock
from ..clock import utc as clock_utc
from ..kept import NOWHERE, OddRows
from ..kept import Records as AnyRecords
from ..refused import Refused as AnyRefused

TELEMETRY_KEPT = 10000  # messages of each device; the oldest go first
C2D_PENDING = 50  # messages waiting for one device (IoT Hub, quotas)
C2D_SIZE = 65536
C2D_LIFE = 3600  # seconds
MESSAGE_SIZE = 262144  # of telemetry: body and properties
TWIN_SIZE = 32768  # of desired and of reported
TWIN_DEPTH = 10
REFUSALS = ("reply", "connack")  # how DPS says no to a wrong token
FILTER_REFUSALS = ("close", "suback")  # how a hub says no to a filter
INTEGERS = range(-(1 << 52), 1 << 52)


class Records(AnyRecords):
    """JSON values by kind and key, and telemetry, in a store.Store."""

    def __init__(self, store=NOWHERE):
        self.odd = OddRows()  # of the store, which could not be read
        super().__init__("azure_records", store, self.odd)
        store.script(
            """
            CREATE TABLE IF NOT EXISTS azure_telemetry (
                device TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL,
                body BLOB NOT NULL, properties TEXT NOT NULL, PRIMARY KEY (device, number));
            """
        )

    def load_telemetry(self, device, count):
        """The newest (number, at, body, properties), oldest of them first."""
        rows = self.store.load(
            "SELECT number, at, body, properties FROM azure_telemetry WHERE device = ?"
            " ORDER BY number DESC LIMIT ?",
            (device, count),
        )
        return [
            (n, at, bytes(body), strict_json.loads(bag)) for n, at, body, bag in reversed(rows)
        ]

    def add_telemetry(self, device, message, oldest):
        number, at, body, properties = message
        self.store.write(
            "INSERT OR REPLACE INTO azure_telemetry VALUES (?, ?, ?, ?, ?)",
            (device, number, at, body, json.dumps(properties)),
        )
        if number % 100 == 0:
            self.drop_telemetry(device, oldest)

    def drop_telemetry(self, device, oldest):
        self.store.write(
            "DELETE FROM azure_telemetry WHERE device = ? AND number < ?", (device, oldest)
        )


class Refused(AnyRefused):
    """What the service answers instead: status, its six-digit error code and the text."""

    def __init__(self, status, text, code=None):
        super().__init__(status, text, code=code or status * 1000 + 4)

    def details(self):
        """The error of DPS and Hub (JSON object); every one has a tracking id of its own."""
        return {
            "errorCode": self.code,
            "trackingId": secrets.token_hex(16),
            "message": str(self),
            "timestampUtc": utc(time.time()),
        }

    def body(self):
        return json.dumps(self.details()).encode()


# ---- keys and tokens (1.2, 1.3)


def new_key():
    return base64.b64encode(secrets.token_bytes(64)).decode()


def derive_key(group_key, registration_id):
    """The device key of a group's member."""
    secret = base64.b64decode(group_key)
    return base64.b64encode(hmac.digest(secret, registration_id.encode(), "sha256")).decode()


def check_key(text):
    """Return a symmetric key as it is; Refused unless it is base64 of 16 to 64 bytes."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raw = b""
    if not 16 <= len(raw) <= 64:
        raise Refused(400, "a symmetric key is base64 of 16 to 64 bytes")
    return text


class Token:
    """
    A shared access signature, taken apart. Raises ValueError when it is none.

    sr: as received, undecoded; path: sr decoded; se: its end, seconds since 1970; skn or None.
    """

    def __init__(self, text):
        head, _, rest = text.partition(" ")
        fields = dict(pair.partition("=")[::2] for pair in rest.split("&"))
        if head != "SharedAccessSignature" or not {"sr", "sig", "se"} <= set(fields):
            raise ValueError("no SharedAccessSignature with sr, sig and se")
        if not re.fullmatch("[0-9]{1,12}", fields["se"]):
            raise ValueError("se is no whole number of seconds")
        self.sr = fields["sr"]
        self.path = urllib.parse.unquote(self.sr)
        self.se = int(fields["se"])
        self.skn = fields.get("skn")
        self._signed = (self.sr + "\n" + fields["se"]).encode()
        self._sig = base64.b64decode(urllib.parse.unquote(fields["sig"]), validate=True)

    def signed_by(self, key):
        wanted = hmac.digest(base64.b64decode(key), self._signed, "sha256")
        return hmac.compare_digest(wanted, self._sig)

    def covers(self, path, folded=1):
        """Is sr a segment-wise prefix of path? Case is ignored in the first `folded` segments."""
        own = self.path.split("/")
        other = path.split("/")[: len(own)]
        return len(own) == len(other) and all(
            a == b or (i < folded and a.lower() == b.lower())
            for i, (a, b) in enumerate(zip(own, other))
        )


def why_not(text, path, keys, now, skn=(None,), folded=1):
    """
    Return (None, token) when the token opens path, else (reason, None).

    keys: symmetric keys in base64, any of which may have signed it. skn: the policy names (None:
    no name) that are taken.
    """
    try:
        token = Token(text)
    except ValueError as e:
        return "malformed token: %s" % e, None
    if not any(token.signed_by(key) for key in keys):
        return "the signature is wrong", None
    if not token.covers(path, folded):
        return "the token is for %s, not for %s" % (token.path, path), None
    if token.skn not in skn:
        return "skn is %s" % token.skn, None
    if token.se <= now:
        return "the token ended %d s ago" % (now - token.se), None
    return None, token


# ---- property bags (1.7, 1.8)


def parse_bag(text, pass_over=True):
    """
    {"a": "1", "b": "", "c": None} of "a=1&b=&c". One leading "?" is passed over, or with
    pass_over=False part of the first name.
    """
    bag = {}
    for pair in text[pass_over and text.startswith("?") :].split("&"):
        name, sep, value = pair.partition("=")
        if pair:
            bag[urllib.parse.unquote(name)] = urllib.parse.unquote(value) if sep else None
    return bag


def make_bag(properties):
    """What Hub writes: everything encoded, "$" too; None is a name alone."""
    quote = urllib.parse.quote
    return "&".join(
        quote(name, "") + ("" if value is None else "=" + quote(str(value), ""))
        for name, value in properties.items()
    )


def utc(seconds):
    """Seconds since 1970 as Azure writes a time."""
    return clock_utc(seconds, 7)


# ---- twins (1.8)


def check_twin(value, preview=False, depth=1, in_array=False):
    """
    Refused(400) for what a twin can't hold. preview: names may start with "$iotin:". A null
    deletes a property, and is refused anywhere within an array (in_array), which is replaced as a
    whole.
    """
    if isinstance(value, dict):
        if depth > TWIN_DEPTH:
            raise Refused(400, "more than %d levels" % TWIN_DEPTH)
        for name, item in value.items():
            bare = name[7:] if preview and name.startswith("$iotin:") else name
            if not 0 < len(name.encode()) <= 1024 or re.search(r"[\x00-\x1f\x7f-\x9f.$ ]", bare):
                raise Refused(400, "a property can't be named %r" % name[:80])
            check_twin(item, preview, depth + 1, in_array)
    elif isinstance(value, list):
        for item in value:
            check_twin(item, preview, depth + 1, True)
    elif value is None and in_array:
        raise Refused(400, "a null within an array")
    elif isinstance(value, str):
        if len(value.encode()) > 4096:
            raise Refused(400, "a text of more than 4 KB")
    elif isinstance(value, int) and value not in INTEGERS and not isinstance(value, bool):
        raise Refused(400, "an integer of more than 53 bits")


def twin_size(value):
    """
    Bytes of a section of a twin as Hub counts them: names and texts in UTF-8, 8 for a number, 4
    for a bool. What JSON puts around them doesn't count.
    """
    if isinstance(value, dict):
        return sum(len(name.encode()) + twin_size(item) for name, item in value.items())
    if isinstance(value, list):
        return sum(map(twin_size, value))
    if isinstance(value, str):
        return len(value.encode())
    if value is None:
        return 0
    return 4 if isinstance(value, bool) else 8


def merge(document, patch):
    """RFC 7386 in place: null deletes, objects merge, everything else (arrays too) replaces."""
    for name, value in patch.items():
        if value is None:
            document.pop(name, None)
        elif isinstance(value, dict):
            inner = document.get(name)
            if not isinstance(inner, dict):
                inner = document[name] = {}
            merge(inner, value)
        else:
            document[name] = value


def load_json(payload, what="body"):
    """JSON as RFC 8259 has it (strict_json), in texts that UTF-8 can hold; or Refused(400)."""
    try:
        value = strict_json.loads(payload.decode())
        # Half of a surrogate pair can be written in JSON, but not in what goes out again.
        json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError) as e:
        raise Refused(400, "malformed %s: %s" % (what, e))


class Device:
    """
    One identity in a hub. record is what is stored: id, hub, enabled, keys (list) or certificate
    names, twin and messages. Change it through Registry.
    """

    def __init__(self, record):
        self.record = record
        self.telemetry = collections.deque(maxlen=TELEMETRY_KEPT)
        self.received = 0  # telemetry messages, ever
        self.answers = []  # (rid, status) of method answers, in order, unasked ones included

    id = property(lambda self: self.record["id"])
    hub = property(lambda self: self.record["hub"])
    enabled = property(lambda self: self.record["enabled"])
    keys = property(lambda self: self.record["keys"])
    thumbprints = property(lambda self: self.record["thumbprints"])
    twin = property(lambda self: self.record["twin"])
    messages = property(lambda self: self.record["messages"])

    def document(self):
        """The twin as a device reads it."""
        return {
            part: dict(self.twin[part]["properties"], **{"$version": self.twin[part]["version"]})
            for part in ("desired", "reported")
        }

    def patch(self, part, patch, preview=False):
        """Merge into "desired" or "reported"; the new version. Refused for what doesn't fit."""
        if not isinstance(patch, dict):
            raise Refused(400, "a patch is a JSON object")
        patch = {name: value for name, value in patch.items() if name != "$version"}
        check_twin(patch, preview)
        old = self.twin[part]
        merged = json.loads(json.dumps(old["properties"]))
        merge(merged, patch)
        if twin_size(merged) > TWIN_SIZE:
            raise Refused(413, "%s properties of more than 32 KB" % part)
        self.twin[part] = {"properties": merged, "version": old["version"] + 1}
        return old["version"] + 1


class Registry:
    """
    scope_id: of the provisioning service; made up once and kept when None. hubs: host names of the
    hubs devices may be assigned to. records: Records; else nothing is kept. clock: a Clock.

    enrolments: {name: record}. A record has "kind" (one of the names below), "enabled" and
        group:       keys                      symmetric group
        group-x509:  ca (PEM)                  certificates that this CA has signed
        device:      keys, device_id           individual, symmetric
        device-x509: thumbprint, device_id     individual, one certificate (SHA-1, upper case)
    and, all of them: hub (None: the first), desired (initial), payload (answered to the device),
    connection_profile (of the hub, answered to the device; None: not a word about it),
    credential_policy ("default": who asks for a certificate gets one; None: nobody does).
    """

    def __init__(self, hubs, scope_id=None, group_key=None, records=None, clock=None):
        self.hubs = [host.lower() for host in hubs]
        self.records = records = records or Records()
        self.clock = clock or Clock()
        self.durable = records.durable  # what an acknowledgement must wait for: a future or None
        self.enrolments = records.load("enrolment")
        self.devices = {}
        for key, record in records.load("device").items():
            with records.odd.telling("device " + key):
                device = Device(record)
                device.telemetry.extend(records.load_telemetry(device.id, TELEMETRY_KEPT))
                if device.telemetry:
                    device.received = device.telemetry[-1][0]
                self.devices[key] = device
        self.settings = records.load("setting")
        # What was made up at the first start is found again at the next.
        self.scope_id = self._setting(
            "scope_id", scope_id, lambda: "0ne" + secrets.token_hex(4).upper()
        )
        if "default" not in self.enrolments:
            self.enrol("default", {"kind": "group", "keys": [group_key or new_key()]})
        elif group_key:
            self.enrol("default", dict(self.enrolments["default"], keys=[group_key]))
        self.group_key = self.enrolments["default"]["keys"][0]
        # A hub's own policies: name -> key. With them a service may sign for any of its devices.
        self.policies = {"device": self._setting("policy_key", None, new_key)}

    def now(self):
        return self.clock.now()

    # ---- what is kept

    def _setting(self, name, given, make):
        value = given or self.settings.get(name) or make()
        if self.settings.get(name) != value:
            self.settings[name] = value
            self.records.save("setting", name, value)
        return value

    def setting(self, name, make):
        """What is kept under this name (JSON); made by make() at the first start."""
        return self._setting(name, None, make)

    def keep(self, device):
        """The device's record was changed: store it."""
        self.records.save("device", self.key(device.hub, device.id), device.record)

    # ---- enrolments

    def enrol(self, name, record):
        """Add or replace an enrolment; returns the record. Refused(400) for an impossible one."""
        base = {
            "enabled": True, "hub": None, "desired": {}, "payload": None, "device_id": None,
            "connection_profile": None, "credential_policy": "default",
        }  # fmt: skip
        record = dict(base, **record)
        kind = record.get("kind")
        if kind in ("group", "device"):
            keys = record.setdefault("keys", None) or [new_key(), new_key()]
            record["keys"] = [check_key(key) for key in keys]
        elif kind == "device-x509":
            record["thumbprint"] = re.sub(
                "[^0-9A-F]", "", str(record.get("thumbprint", "")).upper()
            )
            if len(record["thumbprint"]) != 40:
                raise Refused(400, "thumbprint: SHA-1 of the certificate, 40 hex digits")
        elif kind == "group-x509":
            if "-----BEGIN CERTIFICATE" not in str(record.get("ca")):
                raise Refused(400, "ca: a certificate in PEM")
        else:
            raise Refused(400, "kind: group, group-x509, device or device-x509")
        if record["hub"] is not None and record["hub"].lower() not in self.hubs:
            raise Refused(400, "hub: one of %s" % ", ".join(self.hubs))
        check_twin(record["desired"])
        self.enrolments[name] = record
        self.records.save("enrolment", name, record)
        return record

    def unenrol(self, name):
        if self.enrolments.pop(name, None) is None:
            raise Refused(404, "there is no enrolment %r" % name)
        self.records.drop("enrolment", name)

    def individual(self, registration_id):
        """(name, record) of an individual enrolment, which goes before every group, or None."""
        for name, record in self.enrolments.items():
            if name.lower() == registration_id.lower() and record["kind"].startswith("device"):
                return name, record
        return None

    def keys_for(self, registration_id):
        """[(enrolment name, keys)] that this registration may have signed with."""
        found = self.individual(registration_id)
        if found is not None:
            name, record = found
            return [(name, record["keys"])] if record["kind"] == "device" else []
        return [
            (name, [derive_key(key, registration_id) for key in record["keys"]])
            for name, record in self.enrolments.items()
            if record["kind"] == "group"
        ]

    # ---- devices

    @staticmethod
    def key(hub, device_id):
        return hub.lower() + "/" + device_id

    def find(self, device_id, hub=None):
        """The device, in any hub unless told; None when there is none."""
        if hub is not None:
            return self.devices.get(self.key(hub, device_id))
        for host in self.hubs:
            if self.key(host, device_id) in self.devices:
                return self.devices[self.key(host, device_id)]
        return None

    def get(self, device_id):
        """As find(), but Refused(404)."""
        device = self.find(device_id)
        if device is None:
            raise Refused(404, "there is no device %r" % device_id)
        return device

    def create(self, device_id, hub=None, keys=None, thumbprints=(), desired=None):
        """A new identity, or new credentials for one that is there (its twin stays)."""
        if not re.fullmatch(r"[A-Za-z0-9\-:.+%_#*?!(),=@$']{1,128}", device_id):
            raise Refused(400, "a device id can't be %r" % device_id[:140])
        hub = (hub or self.hubs[0]).lower()
        if hub not in self.hubs:
            raise Refused(400, "hub: one of %s" % ", ".join(self.hubs))
        device = self.devices.get(self.key(hub, device_id))
        if device is None:
            device = Device(
                {
                    "id": device_id,
                    "hub": hub,
                    "enabled": True,
                    "model": None,
                    "twin": {
                        "desired": {"properties": desired or {}, "version": 1},
                        "reported": {"properties": {}, "version": 1},
                    },
                    "messages": [],
                }
            )
            self.devices[self.key(hub, device_id)] = device
        if keys is None and not thumbprints:
            keys = [new_key(), new_key()]
        device.record["keys"] = [check_key(key) for key in keys or ()]
        device.record["thumbprints"] = list(thumbprints)
        self.keep(device)
        return device

    def remove(self, device):
        del self.devices[self.key(device.hub, device.id)]
        self.records.drop("device", self.key(device.hub, device.id))
        self.records.drop_telemetry(device.id, device.received + 1)

    def assign(self, name, registration_id, keys, thumbprints, payload):
        """
        What DPS does when an enrolment lets a registration in: the device's identity, in the
        enrolment's hub, and the body that tells the device so. Keeps the data of a device that
        moves to another hub.
        """
        record = self.enrolments[name]
        device_id = record["device_id"] or registration_id
        hub = (record["hub"] or self.hubs[0]).lower()
        before = self.find(device_id)
        substatus = "initialAssignment"
        if before is not None and before.hub != hub:
            self.remove(before)
            before.record["hub"] = hub
            self.devices[self.key(hub, device_id)] = before
            substatus = "deviceDataMigrated"
        device = self.create(device_id, hub, keys, thumbprints, record["desired"])
        model = payload.get("modelId") if isinstance(payload, dict) else None
        if model:
            device.record["model"] = model
            self.keep(device)
        return device, self.state(name, registration_id, device, "assigned", substatus)

    def state(self, name, registration_id, device, status, substatus=None):
        """A registrationState."""
        now = utc(self.now())
        state = {
            "registrationId": registration_id,
            "createdDateTimeUtc": now,
            "lastUpdatedDateTimeUtc": now,
            "status": status,
            "etag": base64.b64encode(secrets.token_bytes(12)).decode(),
        }
        if device is not None:
            state.update(assignedHub=device.hub, deviceId=device.id, substatus=substatus)
            record = self.enrolments[name]
            if record["payload"] is not None:
                state["payload"] = record["payload"]
            if record.get("connection_profile") is not None:
                state["connectionProfile"] = record["connection_profile"]
        return state

    # ---- messages

    def add_telemetry(self, device, body, properties):
        """Keep a message (bytes, dict). Refused(413) when it is over 256 KB."""
        size = len(body) + sum(len(k) + len(v or "") for k, v in properties.items())
        if size > MESSAGE_SIZE:
            raise Refused(413, "a message of %d bytes, 256 KB are allowed" % size)
        device.received += 1
        message = (device.received, self.now(), body, properties)
        device.telemetry.append(message)
        self.records.add_telemetry(device.id, message, device.telemetry[0][0])

    def queue(self, device, body, properties, ack=None, life=None):
        """Put a message (bytes) into the device's queue; its record. Refused when it is full."""
        self.expire(device)
        if len(body) > C2D_SIZE:
            raise Refused(413, "a cloud-to-device message has at most 64 KB")
        if len(device.messages) >= C2D_PENDING:
            raise Refused(403, "%d messages wait already" % C2D_PENDING, 403004)
        message = {
            "id": properties.get("$.mid") or secrets.token_hex(8),
            "body": base64.b64encode(body).decode(),
            "properties": {k: v for k, v in properties.items() if k != "$.mid"},
            "ack": ack,
            "ends": self.now() + (life or C2D_LIFE),
            "deliveries": 0,
        }
        device.messages.append(message)
        self.keep(device)
        return message

    def expire(self, device):
        """
        Drop messages past their life; their outcomes as (message, word). However often one was
        delivered: the count rises when a message is abandoned, which MQTT can't do.
        """
        gone = [
            (message, "Expired") for message in device.messages if message["ends"] <= self.now()
        ]
        for message, _ in gone:
            device.messages.remove(message)
        if gone:
            self.keep(device)
        return gone
