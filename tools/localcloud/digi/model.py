"""
What a Digi cloud knows: monitors with the events that wait for them, devices, and who may come in.

No TCP and no HTTP here. What the documents leave open is decided like this: in explicit mode
`window` blocks may wait for their acknowledgement; those still waiting when the connection ends
are sent again after the next connect, first and in order. An acknowledgement counts with status
200 only. A second session for a monitor ends the first. Monitors with transport http or polling
can be made, found and deleted; nothing is pushed to them. A monitor that is DISABLED (disable())
refuses sessions with 400 and gathers nothing, until a PUT or a reset enables it. An account
without the subscription (subscribed = False) is refused everything about monitors with 403, and
its sessions, too.

Bounds: MAX_MONITORS; MAX_EVENTS kept for each, the oldest go first.
"""

import asyncio
import collections
import contextlib
import copy
import hashlib
import json
import logging
import re
import secrets
import time
import zlib
from xml.sax.saxutils import escape, quoteattr

from .. import strict_json
from ..clock import Clock, utc
from ..fault_values import Faults
from ..kept import NOWHERE, OddRows, until_kept
from ..refused import Refused as AnyRefused

log = logging.getLogger("localcloud.digi")

OK, BAD_REQUEST, UNAUTHORISED, TOO_MANY = 200, 400, 403, 429

MAX_MONITORS = 1000
MAX_EVENTS = 10000
MAX_POINTS = 16384  # bytes of a message whose values are told of
MAX_DEVICES = 10000
AT_ONCE = 4  # requests of an account that are open at a time, as a Premier account has it
MAX_FILE = 120 * 1024  # bytes of a file that is still published

TOPICS = frozenset(
    "alert_status devices jobs Alarm AlarmStatus DataPoint DataStream DeviceCore FileData"
    " FileDataCore Job JobResult XbeeCore DiaChannelDataFull XbeeAttributeDataCore"
    " XbeeEventDataCore".split()
)
OPERATIONS = {"C": "INSERTION", "U": "UPDATE", "D": "DELETION"}
# Fields that a client may set -> what is allowed. str: any text; a tuple: one of these; int: a
# number not under 0.
FIELDS = {
    "monTopic": str,
    "monTransportType": ("tcp", "http", "polling"),
    "monTransportUrl": str,
    "monTransportToken": str,
    "monTransportMethod": ("PUT", "POST"),
    "monTransportHeaders": str,
    "monConnectTimeout": int,
    "monResponseTimeout": int,
    "monFormatType": ("xml", "json"),
    "monBatchSize": int,
    "monBatchDuration": int,
    "monCompression": ("none", "zlib", "gzip"),
    "monAckOption": ("off", "explicit"),
    "monAutoReplayOnConnect": ("true", "false"),
    "monSchemaType": ("handlebars",),
    "monSchemaData": str,
    "monDescription": str,
}
READ_ONLY = ("monId", "cstId", "monStatus", "monLastConnect", "monLastSent", "monLastSentUuid")
DEFAULTS = {
    "monTransportType": "http",
    "monFormatType": "xml",
    "monBatchSize": "100",
    "monBatchDuration": "10",
    "monCompression": "none",
}

# How push connections may misbehave on command, and what can be said about it; each counts down
# once for what it hits.
FAULTS = {
    "silent": "",  # a ConnectRequest is never answered
    "refuse": "status",  # a ConnectRequest is answered with it (403), and closed
    "garbage": "",  # a ConnectRequest is answered with bytes that are no message
    "split": "bytes",  # a block comes in pieces of so many (1), each in a packet of its own
    "cut": "bytes",  # the connection ends after so many (20) of a block
    "stall": "bytes",  # nothing comes after so many (20) of a block; the connection stays open
    "duplicate": "",  # a block is sent twice
    "unknown": "type bytes",  # a message of a type (9) with so many bytes (20) before a block
    "short": "",  # a PublishMessage of length 0 comes before a block
    "empty": "",  # a block with a payload of 0 bytes comes before a block
    "oversize": "bytes",  # a block of so many (1 MB) comes before a block
    "compression": "value",  # a block's compression byte (7)
    "format": "value",  # a block's format byte (7)
    "damage": "",  # a byte of a block's payload is changed
    "bomb": "bytes",  # a block that decompresses to so many (16 MB) comes before a block
    "length": "",  # a block says two different lengths
}


class Refused(AnyRefused):
    """A request that is answered with an error, in XML. retry_after: seconds to wait, or None."""

    content_type = "application/xml"
    charset = "ISO-8859-1"

    def __init__(self, status, text, retry_after=None):
        headers = {}
        if status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="localcloud"'
        if retry_after is not None:
            headers["Retry-After"] = str(retry_after)
        super().__init__(status, text, headers)

    def body(self):
        return xml_document("<result><error>%s</error></result>" % escape(str(self)))


def xml_document(body):
    """A document (bytes) as the legacy resources write them."""
    text = '<?xml version="1.0" encoding="ISO-8859-1"?>' + body
    return text.encode("iso-8859-1", "xmlcharrefreplace")


# ---- events


class Event:
    """
    One message: topic (with the customer's number in front), operation, timestamp, group, kind
    (the topic's first word), body (dict), the path that monitors' topics are compared with.
    replay: it was published before. seq: its place in a monitor's queue.
    """

    KEPT = ("topic", "operation", "timestamp", "group", "kind", "body", "path")

    def __init__(self, topic, operation, timestamp, group, kind, body, path):
        self.topic = topic
        self.operation = operation
        self.timestamp = timestamp
        self.group = group
        self.kind = kind
        self.body = body
        self.path = path
        self.replay = False
        self.seq = 0

    def to_store(self):
        return json.dumps([getattr(self, name) for name in self.KEPT])

    @classmethod
    def from_store(cls, text):
        """ValueError or TypeError for what to_store() has not written."""
        topic, operation, timestamp, group, kind, body, path = strict_json.loads(text)
        if not isinstance(body, dict):
            raise ValueError("an event's body is no object")
        for value in (topic, operation, timestamp, group, kind, path):
            if not isinstance(value, str):
                raise ValueError("an event's fields are texts")
        return cls(topic, operation, timestamp, group, kind, body, path)

    def to_json(self):
        message = {
            "topic": self.topic,
            "operation": self.operation,
            "timestamp": self.timestamp,
            "group": self.group,
        }
        if self.replay:
            message["replay"] = True
        message[self.kind] = self.body
        return message

    def to_xml(self):
        attributes = [("topic", self.topic), ("operation", self.operation)]
        attributes += [("timestamp", self.timestamp), ("group", self.group)]
        if self.replay:
            attributes.append(("replay", "true"))
        head = "".join(" %s=%s" % (name, quoteattr(value)) for name, value in attributes)
        return "<Msg%s>%s</Msg>" % (head, to_xml(self.kind, self.body))


def to_xml(name, value):
    if isinstance(value, dict):
        text = "".join(to_xml(key, inner) for key, inner in value.items())
    elif isinstance(value, list):
        return "".join(to_xml(name, inner) for inner in value)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    else:
        text = "" if value is None else escape(str(value))
    return "<%s>%s</%s>" % (name, text, name)


def document(events, format_type):
    """The payload of a block, bytes. One message is an object in JSON, several are an array."""
    if format_type == "xml":
        return ("<Document>%s</Document>" % "".join(e.to_xml() for e in events)).encode()
    messages = [e.to_json() for e in events]
    inner = messages[0] if len(messages) == 1 else messages
    return json.dumps({"Document": {"Msg": inner}}, separators=(",", ":")).encode()


class Pattern:
    """One of a monitor's topics: `[group=Name]` Kind/path/with/* `[U]`, or ValueError."""

    def __init__(self, text):
        match = re.fullmatch(r"(?:\[group=([^\]]*)\])?([^\[\]]+)(?:\[([A-Z,]+)\])?", text.strip())
        if match is None:
            raise ValueError("monTopic: can't read %r" % text)
        self.group, path, letters = match.groups()
        self.path = path.split("/")
        if self.path[0] not in TOPICS:
            raise ValueError("monTopic: there is no topic %r" % self.path[0])
        letters = letters.split(",") if letters else list(OPERATIONS)
        unknown = set(letters) - set(OPERATIONS)
        if unknown:
            raise ValueError("monTopic: there is no operation [%s]" % sorted(unknown)[0])
        self.operations = {OPERATIONS[letter] for letter in letters}

    def matches(self, event):
        if event.operation not in self.operations:
            return False
        if self.group is not None and event.group != self.group:
            return False
        path = event.path.split("/")
        return len(self.path) <= len(path) and all(
            wanted in ("*", given) for wanted, given in zip(self.path, path)
        )


def patterns(text):
    if not text:
        raise ValueError("monTopic is missing")
    return [Pattern(part) for part in text.split(",")]


# ---- monitors


def check_fields(fields):
    """What a client wants a monitor to be (dict of str), with defaults. Refused if it can't be."""
    wanted = {}
    for name, value in fields.items():
        if name in READ_ONLY:
            continue
        allowed = FIELDS.get(name)
        if allowed is None:
            raise Refused(400, "there is no field %s" % name)
        if allowed is int and not re.fullmatch("[0-9]{1,9}", value):
            raise Refused(400, "%s must be a number" % name)
        if isinstance(allowed, tuple) and value not in allowed:
            raise Refused(400, "%s must be one of %s" % (name, ", ".join(allowed)))
        wanted[name] = value
    for name, value in DEFAULTS.items():
        wanted.setdefault(name, value)
    try:
        patterns(wanted.get("monTopic"))
    except ValueError as e:
        raise Refused(400, str(e))
    if wanted["monCompression"] == "gzip":
        wanted["monCompression"] = "zlib"  # an old name for the same thing
    if wanted["monBatchSize"] == "0":
        raise Refused(400, "monBatchSize must be at least 1")
    if wanted["monTransportType"] == "http" and not wanted.get("monTransportUrl"):
        raise Refused(400, "monTransportUrl is missing")
    if wanted["monTransportType"] != "tcp" and "monAckOption" in wanted:
        raise Refused(400, "monAckOption is for transport tcp only")
    return wanted


class Monitor:
    """
    One monitor: its fields, the events that wait, and its connection.

    queue: events to be sent. unacked: block id -> its events, in the order sent.
    """

    def __init__(self, digi, id, fields, status="INACTIVE", last_connect="", last_sent=""):
        self.digi = digi
        self.id = id
        self.status = status
        self.last_connect = last_connect
        self.last_sent = last_sent
        self.queue = collections.deque()
        self.unacked = collections.OrderedDict()
        self.connection = None
        self.dropped = 0
        self.block_id = secrets.randbelow(65536)  # the last one; they rotate, and don't start at 0
        self._seq = 0
        self._timer = None
        self.configure(fields)

    def configure(self, fields):
        self.fields = fields
        self.patterns = patterns(fields["monTopic"])
        self.batch_size = int(fields["monBatchSize"])
        self.batch_duration = int(fields["monBatchDuration"])
        self.explicit = fields.get("monAckOption") == "explicit"
        self.replays = fields.get("monAutoReplayOnConnect") == "true"

    def row(self):
        """All fields as a list shows them, every value a str."""
        row = {"monId": str(self.id), "cstId": str(self.digi.cst_id)}
        row.update(self.fields)
        row["monStatus"] = self.status
        if self.last_connect:
            row["monLastConnect"] = self.last_connect
        if self.last_sent:
            row["monLastSent"] = self.last_sent
        row.pop("monTransportToken", None)  # a secret
        return row

    def offer(self, event):
        """An event that somebody published: queued if it is wanted, and will be sent."""
        if self.status == "DISABLED":
            return
        if self.connection is None and self.status != "SUSPENDED":
            return
        if not any(pattern.matches(event) for pattern in self.patterns):
            return
        event = copy.copy(event)
        event.replay = self.connection is None
        event.seq = self._seq = self._seq + 1
        self.queue.append(event)
        if self.replays:
            self.digi.keep_event(self, event)
        if len(self.queue) > MAX_EVENTS:
            self._forget([self.queue.popleft()])
            self.dropped += 1
            log.warning("monitor %d: %d events wait, the oldest is lost", self.id, MAX_EVENTS)
        self.pump()

    def _forget(self, events):
        if self.replays:
            self.digi.forget_events(self, events)

    # -- its connection

    def attach(self, connection):
        if self.connection is not None:
            self.connection.end("another session for the same monitor")
            self.detach(self.connection)
        self.connection = connection
        self.status = "ACTIVE"
        self.last_connect = self.digi.time()
        self.digi.keep(self)
        asyncio.get_running_loop().call_soon(self.pump)

    def detach(self, connection):
        """The connection has ended. What wasn't acknowledged is sent again, first and in order."""
        if self.connection is not connection:
            return
        self.connection = None
        self._stop_timer()
        waiting = [event for events in self.unacked.values() for event in events]
        self.unacked.clear()
        if not self.replays:
            self.queue.clear()  # published to nobody
        self.queue.extendleft(reversed(waiting))
        for event in self.queue:
            event.replay = True
        self.status = "SUSPENDED" if self.replays else "INACTIVE"
        self.digi.keep(self)

    def acknowledged(self, block_id, status):
        if status != OK or block_id not in self.unacked:
            log.info("monitor %d: acknowledgement %d of block %d", self.id, status, block_id)
            return
        self._forget(self.unacked.pop(block_id))
        self.pump()

    def reset(self):
        """After a PUT, or on request: as if it had just been made."""
        if self.connection is not None:
            self.connection.end("the monitor was changed")
            self.connection = None
        self._stop_timer()
        self.queue.clear()
        self.unacked.clear()
        self.status = "INACTIVE"
        self.digi.forget_events(self)

    def disable(self):
        """As the service does after a day without success: given up until it is enabled again."""
        self.reset()
        self.status = "DISABLED"
        self.digi.keep(self)

    def restore(self, events):
        """What waited when the cloud was stopped: (seq, Event) each."""
        for seq, event in events:
            event.seq = self._seq = seq
            event.replay = True
            self.queue.append(event)

    # -- sending

    def pump(self, due=False):
        """Send the blocks that are full; when the time is up, or for a replay, all that waits."""
        while self.connection is not None and self.queue:
            if len(self.unacked) >= self.digi.window or self.connection.congested():
                return
            full = len(self.queue) >= self.batch_size
            if not (full or due or self.queue[0].replay or not self.batch_duration):
                break
            events = [self.queue.popleft() for _ in range(min(self.batch_size, len(self.queue)))]
            self._send(events)
        if self.queue and self.connection is not None:
            if self._timer is None:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self.batch_duration, self._time_up)
        else:
            self._stop_timer()

    def _time_up(self):
        self._timer = None
        self.pump(True)

    def _stop_timer(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self, events):
        payload = document(events, self.fields["monFormatType"])
        compression = self.fields["monCompression"] == "zlib"
        if compression:
            payload = zlib.compress(payload)
        self.block_id = (self.block_id + 1) & 0xFFFF
        format_type = self.fields["monFormatType"] == "json"
        if self.explicit:
            self.unacked[self.block_id] = events
        else:
            self._forget(events)
        self.last_sent = self.digi.time()
        self.connection.send_block(self.block_id, len(events), compression, format_type, payload)


# ---- all of it


class Cloud:
    """
    One customer's cloud. store: a store.Store; without one nothing is kept. window: blocks that
    may wait for their acknowledgement in explicit mode. subscribed: whether the account has the
    Push Monitor subscription. rate: requests in a minute before they are answered 429, None for
    any number. at_once: requests that may be open at a time, likewise; open_requests: those that
    are, from the head to the end of the answer; turned_away: how many were one too many.
    """

    def __init__(self, username, password, store=NOWHERE, cst_id=3, window=1, clock=None):
        self.clock = clock or Clock()
        self.username = username
        self.password = password
        self.cst_id = cst_id
        self.window = window
        self.subscribed = True
        self.rate = None
        self.at_once = AT_ONCE
        self.open_requests = 0
        self.turned_away = 0
        self.monitors = {}
        self.devices = {}  # name -> its DeviceCore
        self.odd = OddRows(Refused)  # of the store, which could not be read
        self.faults = Faults(FAULTS, plain=True)
        self._store = store
        self._throttled = (0, None)
        self._requests = collections.deque()  # when the last ones came, for `rate`
        self._last_id = 178000
        self._last_device = 880
        self._restore()

    def time(self):
        """UTC as the service writes it."""
        return utc(self.clock.now())

    # ---- events in

    def publish(self, kind, path, body, operation="UPDATE", group="*", timestamp=None):
        """
        An event, for every monitor that wants it. kind: one of TOPICS; path: what follows it in
        the topic, such as "882/7"; body: dict. Must be called in the event loop. ValueError for
        what can't be published.
        """
        if kind not in TOPICS:
            raise ValueError("there is no topic %r" % (kind,))
        if operation not in OPERATIONS.values():
            raise ValueError("operation: one of %s" % ", ".join(OPERATIONS.values()))
        if not isinstance(path, str) or not isinstance(body, dict) or not isinstance(group, str):
            raise ValueError("path and group must be str, body an object")
        try:
            # What is no JSON would reach a device in a block that it can't read.
            json.dumps(body, allow_nan=False).encode()
            json.dumps([path, group, body], ensure_ascii=False).encode()
        except (ValueError, TypeError, RecursionError) as e:
            raise ValueError("the event can't be written as JSON: %s" % e)
        # Files over 120 KB, and files deleted, are not told of.
        if kind in ("FileData", "FileDataCore"):
            size = body.get("fdSize", 0)
            if operation == "DELETION" or (isinstance(size, int) and size > MAX_FILE):
                return
        event = Event(
            "%d/%s/%s" % (self.cst_id, kind, path),
            operation,
            timestamp or self.time(),
            group,
            kind,
            body,
            "%s/%s" % (kind, path),
        )
        for monitor in list(self.monitors.values()):
            monitor.offer(event)

    def is_wanted(self, kind):
        """Whether an event of this kind may interest anybody."""
        return any(
            pattern.path[0] == kind
            for monitor in self.monitors.values()
            if monitor.connection is not None or monitor.status == "SUSPENDED"
            for pattern in monitor.patterns
        )

    def device_connected(self, name, connected=True, service=""):
        """A device (of any service side) came or went: DeviceCore."""
        device = self.devices.get(name)
        operation = "UPDATE"
        if device is None:
            if len(self.devices) >= MAX_DEVICES:
                del self.devices[next(iter(self.devices))]
            self._last_device += 1
            number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:3], "big")
            device = self.devices[name] = {
                "id": {"devId": self._last_device, "devVersion": 0},
                "devConnectwareId": "00000000-00000000-00409DFF-FF%06X" % number,
                "cstId": self.cst_id,
                "grpId": 1,
                "dpDeviceType": service,
                "dpDescription": name,
            }
            operation = "INSERTION"
        device["id"]["devVersion"] += 1
        device["dpConnectionStatus"] = 1 if connected else 0
        if connected:
            device["dpLastConnectTime"] = self.time()
        place = "%d/%d" % (device["id"]["devId"], device["id"]["devVersion"])
        self.publish("DeviceCore", place, json.loads(json.dumps(device)), operation)

    def data_point(self, stream, value, units=""):
        """A value of a stream ("device/metric"): DataPoint."""
        milliseconds = self.clock.now_ms()
        body = {
            "cstId": self.cst_id,
            "streamId": stream,
            "data": value,
            "timestamp": milliseconds,
            "serverTimestamp": milliseconds,
            "quality": 0,
            "streamUnits": units,
            "description": "",
        }
        self.publish("DataPoint", stream, body, "INSERTION")

    # ---- monitors

    def make(self, fields):
        """A new monitor; fields: what check_fields() gives. Refused when there are too many."""
        if len(self.monitors) >= MAX_MONITORS:
            raise Refused(400, "there are %d monitors already" % MAX_MONITORS)
        self._last_id += 1
        monitor = self.monitors[self._last_id] = Monitor(self, self._last_id, fields)
        self.keep(monitor)
        return monitor

    def change(self, monitor, fields):
        """A PUT: other fields, and the state of a new monitor. Refused for what can't be."""
        fields = check_fields(dict(monitor.fields, **fields))
        monitor.reset()
        monitor.configure(fields)
        self.keep(monitor)

    def enable(self, monitor):
        """As a PUT that changes nothing."""
        self.change(monitor, {})

    def remove(self, monitor):
        """Delete a monitor and end its session."""
        monitor.reset()
        del self.monitors[monitor.id]
        self._store.write("DELETE FROM digi_monitors WHERE id = ?", (monitor.id,))

    # ---- who may do what

    @contextlib.contextmanager
    def request(self):
        """
        To be held while a request is open. Refused for one that comes beside `at_once` others,
        or too soon.
        """
        if self.at_once is not None and self.open_requests >= self.at_once:
            # When one of the others ends is not known: there is no Retry-After.
            self.turned_away += 1
            raise Refused(TOO_MANY, "over %d requests at once" % self.at_once)
        self._check_rate()
        self.open_requests += 1
        try:
            yield
        finally:
            self.open_requests -= 1

    def _check_rate(self):
        # Refused for a request that comes too soon: on command, or over `rate` in a minute.
        left, retry_after = self._throttled
        if left > 0:
            self._throttled = (left - 1, retry_after)
            raise Refused(TOO_MANY, "too many requests", retry_after)
        if self.rate is None:
            return
        now_s = time.monotonic()
        while self._requests and now_s - self._requests[0] >= 60:
            self._requests.popleft()
        if len(self._requests) >= self.rate:
            oldest = self._requests[0] if self._requests else now_s
            wait = int(60 - (now_s - oldest)) + 1
            raise Refused(TOO_MANY, "over %d requests in a minute" % self.rate, wait)
        self._requests.append(now_s)

    def check_subscription(self):
        """Refused for an account that has not bought the service."""
        if not self.subscribed:
            raise Refused(403, "the account is not subscribed to the Push Monitor service")

    def admit(self, request):
        """A ConnectRequest's payload -> (status, monitor)."""
        fields = []
        at = 2
        for _ in range(2):
            size = int.from_bytes(request[at : at + 2], "big")
            fields.append(request[at + 2 : at + 2 + size])
            at += 2 + size
        if len(request) != at + 4 or request[:2] != b"\0\1":
            return BAD_REQUEST, None
        if not self.knows(*fields) or not self.subscribed:
            return UNAUTHORISED, None
        monitor = self.monitors.get(int.from_bytes(request[at:], "big"))
        if monitor is None or monitor.fields["monTransportType"] != "tcp":
            return BAD_REQUEST, None
        if monitor.status == "DISABLED":
            return BAD_REQUEST, None
        return OK, monitor

    def knows(self, user, password):
        """Whether these bytes are the user's name and password."""
        right = secrets.compare_digest(user, self.username.encode())
        return secrets.compare_digest(password, self.password.encode()) and right

    # ---- misbehaviour

    def throttle(self, count, retry_after=None):
        """Answer the next `count` requests with 429, with a Retry-After of so many seconds."""
        self._throttled = (count, retry_after)

    def lift(self):
        """No faults any more."""
        self.faults.clear()
        self._throttled = (0, None)

    # ---- what is kept

    def _restore(self):
        store = self._store
        store.script(
            """
            CREATE TABLE IF NOT EXISTS digi_monitors (
                id INTEGER PRIMARY KEY, fields TEXT NOT NULL, status TEXT NOT NULL,
                last_connect TEXT NOT NULL, last_sent TEXT NOT NULL);
            CREATE TABLE IF NOT EXISTS digi_events (
                monitor INTEGER NOT NULL, seq INTEGER NOT NULL, event TEXT NOT NULL,
                PRIMARY KEY (monitor, seq)) WITHOUT ROWID;
            """
        )
        for id, fields, status, connected, sent in store.load(
            "SELECT id, fields, status, last_connect, last_sent FROM digi_monitors ORDER BY id"
        ):
            self._last_id = max(self._last_id, id)
            with self.odd.telling("monitor %d" % id):
                fields = check_fields(strict_json.loads(fields))
                monitor = Monitor(self, id, fields, status, connected, sent)
                if status == "ACTIVE":  # when we were killed
                    monitor.status = "SUSPENDED" if monitor.replays else "INACTIVE"
                monitor.restore(self._restored_events(id))
                self.monitors[id] = monitor

    def _restored_events(self, id):
        kept = self._store.load(
            "SELECT seq, event FROM digi_events WHERE monitor = ? ORDER BY seq", (id,)
        )
        events = []
        for seq, text in kept:
            with self.odd.telling("event %d of monitor %d" % (seq, id)):
                events.append((seq, Event.from_store(text)))
        return events

    def keep(self, monitor):
        if monitor.id in self.monitors:
            self._store.write(
                "INSERT OR REPLACE INTO digi_monitors VALUES (?, ?, ?, ?, ?)",
                (
                    monitor.id,
                    json.dumps(monitor.fields),
                    monitor.status,
                    monitor.last_connect,
                    monitor.last_sent,
                ),
            )

    def keep_event(self, monitor, event):
        self._store.write(
            "INSERT INTO digi_events VALUES (?, ?, ?)", (monitor.id, event.seq, event.to_store())
        )

    def forget_events(self, monitor, events=None):
        """These, or all of a monitor's."""
        if events is None:
            self._store.write("DELETE FROM digi_events WHERE monitor = ?", (monitor.id,))
        for event in events or ():
            self._store.write(
                "DELETE FROM digi_events WHERE monitor = ? AND seq = ?", (monitor.id, event.seq)
            )

    async def durable(self):
        """Return when everything so far outlives the process."""
        await until_kept(self._store)


class Watcher:
    """What the MQTT side sees, as Digi's events."""

    def __init__(self, digi):
        self.digi = digi

    def connected(self, client):
        self.digi.device_connected(client.client_id, True, client.service.name)

    def disconnected(self, client):
        self.digi.device_connected(client.client_id, False, client.service.name)

    def published(self, client, packet):
        """Each number, text and truth value of a JSON object is a point of its own stream."""
        if len(packet.payload) > MAX_POINTS or not self.digi.is_wanted("DataPoint"):
            return
        try:
            values = strict_json.loads(packet.payload)
        except (ValueError, RecursionError):
            return
        if not isinstance(values, dict):
            return
        if isinstance(values.get("d"), dict):  # IBM's wrapper
            values = values["d"]
        for name, value in values.items():
            if isinstance(value, (int, float, str)):
                self.digi.data_point("%s/%s" % (client.client_id, name), value)
