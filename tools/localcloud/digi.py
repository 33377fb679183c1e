"""
Digi's side: monitors over HTTP (/ws/Monitor), and their events pushed over TCP.

    digi = Digi("user", "password", store=...)      store: a store.Store, or None to forget
    digi.add_to(web); await digi.listen(host, port); ... await digi.stop()
    digi.publish("DeviceCore", "882/7", {"devConnectwareId": ...})       one event, to who listens
    digi.throttle(3)                       the next three requests are answered 429
    digi.fault("cut", 1)                   see FAULTS; None instead of a number: until lift()

What the page calls unconfirmed is decided here like this. A refused session is closed after its
answer; an unknown monitor, or one that isn't tcp, is a 400. A second session for a monitor ends
the first. In explicit mode `window` blocks may wait for their acknowledgement; those still waiting
when the connection ends are sent again after the next connect, first and in order. An
acknowledgement counts with status 200 only. Errors are <result><error>text</error></result>.
Monitors with transport http or polling can be made, found and deleted; nothing is pushed to them.

Bounds: MAX_MONITORS; MAX_EVENTS kept for each, the oldest go first; MAX_REQUEST bytes of a
ConnectRequest; CONNECT_S until it is here; a client that doesn't read is not written to.
"""

import asyncio
import base64
import binascii
import collections
import copy
import datetime
import hashlib
import json
import logging
import re
import secrets
import socket
import struct
import xml.etree.ElementTree as ET
import zlib
from xml.sax.saxutils import escape, quoteattr

from aiohttp import web as aioweb

from . import cloud as cloud_module
from . import web

log = logging.getLogger("localcloud.digi")

CONNECT_REQUEST, CONNECT_RESPONSE, PUBLISH, PUBLISH_RECEIVED = 1, 2, 3, 4
OK, BAD_REQUEST, UNAUTHORISED = 200, 400, 403

MAX_MONITORS = 1000
MAX_EVENTS = 10000
MAX_REQUEST = 2 * 65535 + 10
MAX_POINTS = 16384  # bytes of a message whose values are told of
MAX_DEVICES = 10000
MAX_FILE = 120 * 1024  # bytes of a file that is still published
CONNECT_S = 30
PAGE = 1000  # rows of a list when the request doesn't say
UNSENT_HIGH = 1 << 18  # bytes in a connection's buffer until it gets no more blocks

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

# How push connections may misbehave on command; each counts down once for what it hits.
FAULTS = {
    "silent": "a ConnectRequest is never answered",
    "refuse": "a ConnectRequest is answered with `status` (403), and closed",
    "garbage": "a ConnectRequest is answered with bytes that are no message",
    "split": "a block comes in pieces of `bytes` (1), each in a packet of its own",
    "cut": "the connection ends after `bytes` (20) of a block",
    "stall": "nothing comes after `bytes` (20) of a block; the connection stays open",
    "duplicate": "a block is sent twice",
    "unknown": "a message of type `type` (9) with `bytes` (20) comes before a block",
    "short": "a PublishMessage of length 0 comes before a block",
    "empty": "a block with a payload of 0 bytes comes before a block",
    "oversize": "a block of `bytes` (1 MB) comes before a block",
    "compression": "a block's compression byte is `value` (7)",
    "format": "a block's format byte is `value` (7)",
    "damage": "a byte of a block's payload is changed",
    "bomb": "a block that decompresses to `bytes` (16 MB) comes before a block",
    "length": "a block says two different lengths",
}


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status, text):
        self.status = status
        super().__init__(text)


def now():
    """UTC as the service writes it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


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
        return cls(*json.loads(text))

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
        return "<Msg%s>%s</Msg>" % (head, _to_xml(self.kind, self.body))


def _to_xml(name, value):
    if isinstance(value, dict):
        text = "".join(_to_xml(key, inner) for key, inner in value.items())
    elif isinstance(value, list):
        return "".join(_to_xml(name, inner) for inner in value)
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


# ---- conditions


_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<op><=|>=|<>|!=|=|<|>|\(|\))|(?P<word>[\w.-]+))"
)


class Condition:
    """monTopic='a' and (monBatchSize>1 or monStatus like 'IN%'): ValueError when it's none."""

    def __init__(self, text):
        self._tokens = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                raise ValueError("condition: can't read %r" % text[at:])
            self._tokens.append((match.lastgroup, match.group(match.lastgroup)))
            at = match.end()
        self._test = self._or(0)
        if self._tokens:
            raise ValueError("condition: %r is too much" % self._tokens[0][1])

    def __call__(self, row):
        return self._test(row)

    def _next(self, word):
        if self._tokens and self._tokens[0][1].lower() == word:
            return self._tokens.pop(0)

    def _take(self, *kinds):
        if not self._tokens or self._tokens[0][0] not in kinds:
            raise ValueError("condition: it ends too early, or a value is missing")
        return self._tokens.pop(0)[1]

    def _or(self, depth):
        if depth > 20:
            raise ValueError("condition: too many parentheses")
        tests = [self._and(depth)]
        while self._next("or"):
            tests.append(self._and(depth))
        return lambda row: any(test(row) for test in tests)

    def _and(self, depth):
        tests = [self._comparison(depth)]
        while self._next("and"):
            tests.append(self._comparison(depth))
        return lambda row: all(test(row) for test in tests)

    def _comparison(self, depth):
        if self._next("("):
            test = self._or(depth + 1)
            if not self._next(")"):
                raise ValueError("condition: a parenthesis is left open")
            return test
        name = self._take("word")
        if name not in FIELDS and name not in READ_ONLY:
            raise ValueError("condition: there is no field %s" % name)
        op = "like" if self._next("like") else self._take("op")
        value = self._take("text", "word")
        if value[:1] == "'":
            value = value[1:-1].replace("''", "'")
        if op == "like":
            like = re.compile(".*".join(map(re.escape, value.split("%"))), re.DOTALL)
            return lambda row: like.fullmatch(row.get(name, "")) is not None
        try:
            compare = _COMPARE[op]
        except KeyError:
            raise ValueError("condition: %r compares nothing" % op)

        def test(row):
            given = row.get(name, "")
            if given.isdigit() and value.isdigit():
                return compare(int(given), int(value))
            return compare(given, value)

        return test


_COMPARE = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


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
        self._block = secrets.randbelow(65536)  # it rotates, and doesn't start at 0
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
        self.last_connect = now()
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
        """After a PUT: as if it had just been made."""
        if self.connection is not None:
            self.connection.end("the monitor was changed")
            self.connection = None
        self._stop_timer()
        self.queue.clear()
        self.unacked.clear()
        self.status = "INACTIVE"
        self.digi.forget_events(self)

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
        self._block = (self._block + 1) & 0xFFFF
        format_type = self.fields["monFormatType"] == "json"
        if self.explicit:
            self.unacked[self._block] = events
        else:
            self._forget(events)
        self.last_sent = now()
        self.connection.send_block(self._block, len(events), compression, format_type, payload)


class Connection:
    """One push connection."""

    def __init__(self, digi, reader, writer):
        self.digi = digi
        self.reader = reader
        self.writer = writer
        self.monitor = None
        self.acks = []  # block ids, as they came
        self._fault = None  # what has hit this connection and stays with it
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def run(self):
        try:
            request = await asyncio.wait_for(self._read_request(), CONNECT_S)
            status, monitor = self.digi.admit(request)
            if self._hit("silent"):
                await self.reader.read()  # until it gives up
                return
            if self._hit("garbage"):
                self.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            fault = self._hit("refuse")
            if fault:
                status = fault.get("status", UNAUTHORISED)
            if status == OK:
                self.monitor = monitor
                monitor.attach(self)
            self.writer.write(struct.pack(">HIHH", CONNECT_RESPONSE, 4, status, 1))
            if status != OK:
                log.info("push session refused: %d", status)
                return
            log.info("monitor %d is connected", monitor.id)
            while True:
                await self._read_ack()
        except (asyncio.IncompleteReadError, asyncio.TimeoutError, OSError):
            pass
        except Refused as e:
            log.info("push session ended: %s", e)
        finally:
            if self.monitor is not None:
                self.monitor.detach(self)
            try:
                self.writer.close()
            except (OSError, RuntimeError):
                pass

    async def _read_request(self):
        kind, size = struct.unpack(">HI", await self.reader.readexactly(6))
        if kind != CONNECT_REQUEST or size > MAX_REQUEST:
            raise Refused(BAD_REQUEST, "it starts with message %d of %d bytes" % (kind, size))
        return await self.reader.readexactly(size)

    async def _read_ack(self):
        kind, size = struct.unpack(">HI", await self.reader.readexactly(6))
        if kind != PUBLISH_RECEIVED:
            raise Refused(BAD_REQUEST, "message %d from a client" % kind)
        if size != 4:
            # Digi's published SDKs leave the length out: type, block id, 200. With
            # acknowledgements off nobody looks; otherwise it is what its length says.
            if not self.monitor.explicit and size & 0xFFFF == OK:
                self.digi.short_acks += 1
                return
            while size > 0:
                size -= len(await self.reader.readexactly(min(size, 65536)))
            return
        block_id, status = struct.unpack(">HH", await self.reader.readexactly(4))
        self.acks.append(block_id)
        self.monitor.acknowledged(block_id, status)

    def congested(self):
        return self._fault is not None or (
            self.writer.transport.get_write_buffer_size() > UNSENT_HIGH
        )

    def end(self, why):
        """Close, after what was written."""
        log.info("monitor %d: %s", self.monitor.id if self.monitor else -1, why)
        self.writer.close()

    def _hit(self, name):
        return self.digi.hit(name)

    def send_block(self, block_id, count, compression, format_type, payload):
        extra = b""
        fault = self._hit("unknown")
        if fault:
            size = fault.get("bytes", 20)
            extra += struct.pack(">HI", fault.get("type", 9), size) + bytes(size)
        if self._hit("short"):
            extra += struct.pack(">HI", PUBLISH, 0)
        if self._hit("empty"):
            extra += pack_block(0xFFFF, 0, 0, format_type, b"")
        fault = self._hit("oversize")
        if fault:
            extra += pack_block(0xFFFE, 1, 0, format_type, bytes(fault.get("bytes", 1 << 20)))
        fault = self._hit("bomb")
        if fault:
            bomb = zlib.compress(b" " * fault.get("bytes", 1 << 24), 9)
            extra += pack_block(0xFFFD, 1, 1, format_type, bomb)
        fault = self._hit("compression")
        if fault:
            compression = fault.get("value", 7)
        fault = self._hit("format")
        if fault:
            format_type = fault.get("value", 7)
        if self._hit("damage"):
            middle = len(payload) // 2
            payload = payload[:middle] + bytes([payload[middle] ^ 0x55]) + payload[middle + 1 :]
        data = pack_block(block_id, count, compression, format_type, payload)
        if self._hit("length"):
            data = data[:12] + struct.pack(">I", len(payload) + 1) + data[16:]
        if self._hit("duplicate"):
            data += data
        self._write(extra + data)

    def _write(self, data):
        fault = self._hit("cut")
        if fault:
            self._fault = "cut"
            self.writer.write(data[: fault.get("bytes", 20)])
            self.writer.close()
            return
        fault = self._hit("stall")
        if fault:
            self._fault = "stall"
            self.writer.write(data[: fault.get("bytes", 20)])
            return
        fault = self._hit("split")
        if fault:
            self._fault = "split"
            asyncio.ensure_future(self._write_split(data, fault.get("bytes", 1)))
            return
        self.writer.write(data)

    async def _write_split(self, data, size):
        for at in range(0, len(data), size):
            self.writer.write(data[at : at + size])
            await asyncio.sleep(0)
        self._fault = None
        self.monitor.pump()


def pack_block(block_id, count, compression, format_type, payload):
    """A PublishMessage, as it goes over the wire."""
    return (
        struct.pack(">HIHH", PUBLISH, 10 + len(payload), block_id, count)
        + struct.pack(">BBI", compression, format_type, len(payload))
        + payload
    )


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
            values = json.loads(packet.payload)
        except (ValueError, RecursionError):
            return
        if not isinstance(values, dict):
            return
        if isinstance(values.get("d"), dict):  # IBM's wrapper
            values = values["d"]
        for name, value in values.items():
            if isinstance(value, (int, float, str)):
                self.digi.data_point("%s/%s" % (client.client_id, name), value)


class Digi:
    """
    One customer's cloud. store: a store.Store; None keeps nothing. window: blocks that may wait
    for their acknowledgement in explicit mode.
    """

    def __init__(self, username, password, store=None, cst_id=3, window=1):
        self.username = username
        self.password = password
        self.cst_id = cst_id
        self.window = window
        self.monitors = {}
        self.devices = {}  # name -> its DeviceCore
        self.connections = set()
        self.short_acks = 0  # six-byte ones, taken for what was meant
        self.port = self.tls_port = None
        self._servers = []
        self._store = store
        self._faults = {}
        self._throttled = (0, None)
        self._last_id = 178000
        self._last_device = 880
        if store is not None:
            self._restore()

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
        # Files over 120 KB, and files deleted, are not told of.
        if kind in ("FileData", "FileDataCore"):
            size = body.get("fdSize", 0)
            if operation == "DELETION" or (isinstance(size, int) and size > MAX_FILE):
                return
        event = Event(
            "%d/%s/%s" % (self.cst_id, kind, path),
            operation,
            timestamp or now(),
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
            device["dpLastConnectTime"] = now()
        place = "%d/%d" % (device["id"]["devId"], device["id"]["devVersion"])
        self.publish("DeviceCore", place, json.loads(json.dumps(device)), operation)

    def data_point(self, stream, value, units=""):
        """A value of a stream ("device/metric"): DataPoint."""
        milliseconds = int(datetime.datetime.now(datetime.timezone.utc).timestamp() * 1000)
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

    def watch(self, server):
        """Tell of what an mqtt_server.Server sees: who comes and goes, and what is published."""
        server.watchers.append(Watcher(self))

    # ---- misbehaviour

    def throttle(self, count, retry_after=None):
        """Answer the next `count` requests with 429, with a Retry-After of so many seconds."""
        self._throttled = (count, retry_after)

    def fault(self, name, count=1, **how):
        """Let the next `count` connections or blocks suffer it. ValueError if not in FAULTS."""
        if name not in FAULTS:
            raise ValueError("fault: one of %s" % ", ".join(FAULTS))
        self._faults[name] = [count, dict(how, name=name)]

    def lift(self):
        """No faults any more."""
        self._faults.clear()
        self._throttled = (0, None)

    def hit(self, name):
        fault = self._faults.get(name)
        if fault is None:
            return None
        if fault[0] is not None:
            fault[0] -= 1
            if fault[0] <= 0:
                del self._faults[name]
        return fault[1]

    # ---- push

    async def listen(self, host, port, context=None):
        """Open a push port and return its number. context: an ssl.SSLContext; None for plain."""
        server = await asyncio.start_server(self._serve, host, port, ssl=context, backlog=128)
        self._servers.append(server)
        number = server.sockets[0].getsockname()[1]
        if context is None:
            self.port = number
        else:
            self.tls_port = number
        return number

    async def _serve(self, reader, writer):
        connection = Connection(self, reader, writer)
        self.connections.add(connection)
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)

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
        if not self._known(*fields):
            return UNAUTHORISED, None
        monitor = self.monitors.get(int.from_bytes(request[at:], "big"))
        if monitor is None or monitor.fields["monTransportType"] != "tcp":
            return BAD_REQUEST, None
        return OK, monitor

    def _known(self, user, password):
        right = secrets.compare_digest(user, self.username.encode())
        return secrets.compare_digest(password, self.password.encode()) and right

    async def stop(self):
        """Close the push ports and connections."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            if connection.monitor is not None:
                connection.monitor.detach(connection)
            connection.writer.transport.abort()
        for _ in range(100):
            if not self.connections:
                break
            await asyncio.sleep(0.01)

    # ---- HTTP

    def add_to(self, site):
        """Add the paths to a web.Web."""
        for tail in ("", "/", ".json", "/.json", ".xml", "/.xml"):
            site.add("GET", "/ws/Monitor" + tail, self._guard(self._list))
            site.add("GET", "/ws/DeviceCore" + tail, self._guard(self._list_devices))
        for tail in ("", "/"):
            site.add("POST", "/ws/Monitor" + tail, self._guard(self._create))
        one = r"/ws/Monitor/{id:[0-9]{1,10}}{suffix:(\.json|\.xml)?}"
        site.add("GET", one, self._guard(self._get))
        site.add("PUT", one, self._guard(self._update))
        site.add("DELETE", one, self._guard(self._delete))
        site.control("POST", "/digi/event", self._control_event)
        site.control("POST", "/digi/fault", self._control_fault)
        site.control("GET", "/digi/monitors", self._control_monitors)

    def _guard(self, handler):
        """Who it is, and errors as the service words them."""

        async def guarded(request):
            left, retry_after = self._throttled
            try:
                if not self._authorised(request):
                    raise Refused(401, "user name or password is wrong")
                if left > 0:
                    self._throttled = (left - 1, retry_after)
                    raise Refused(429, "too many requests")
                return await handler(request)
            except Refused as e:
                headers = {}
                if e.status == 401:
                    headers["WWW-Authenticate"] = 'Basic realm="localcloud"'
                if e.status == 429 and retry_after is not None:
                    headers["Retry-After"] = str(retry_after)
                body = "<result><error>%s</error></result>" % escape(str(e))
                return _xml_answer(body, e.status, headers)

        return guarded

    def _authorised(self, request):
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "basic":
            return False
        try:
            user, colon, password = base64.b64decode(given, validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        return self._known(user, password) and bool(colon)

    async def _read_monitor(self, request):
        body = await request.read()
        if b"<!" in body:
            raise Refused(400, "a document type is not allowed")
        try:
            root = ET.fromstring(body)
        except (ET.ParseError, ValueError, LookupError) as e:
            raise Refused(400, "the body is not XML: %s" % e)
        if root.tag != "Monitor":
            raise Refused(400, "the body must be a <Monitor>")
        return {child.tag: (child.text or "").strip() for child in root}

    async def _create(self, request):
        fields = check_fields(await self._read_monitor(request))
        if len(self.monitors) >= MAX_MONITORS:
            raise Refused(400, "there are %d monitors already" % MAX_MONITORS)
        self._last_id += 1
        monitor = self.monitors[self._last_id] = Monitor(self, self._last_id, fields)
        self.keep(monitor)
        await self._durable()
        place = "Monitor/%d" % monitor.id
        body = "<result><location>%s</location></result>" % place
        return _xml_answer(body, 201, {"Location": place})

    def remove(self, monitor):
        """Delete a monitor and end its session."""
        monitor.reset()
        del self.monitors[monitor.id]
        if self._store is not None:
            self._store.write("DELETE FROM digi_monitors WHERE id = ?", (monitor.id,))

    def _find(self, request):
        monitor = self.monitors.get(int(request.match_info["id"]))
        if monitor is None:
            raise Refused(404, "there is no monitor %s" % request.match_info["id"])
        return monitor

    async def _get(self, request):
        return _page(request, [self._find(request).row()], "Monitor")

    async def _update(self, request):
        monitor = self._find(request)
        fields = dict(monitor.fields)
        fields.update(await self._read_monitor(request))
        fields = check_fields(fields)
        monitor.reset()
        monitor.configure(fields)
        self.keep(monitor)
        await self._durable()
        return _xml_answer("<result/>")

    async def _delete(self, request):
        self.remove(self._find(request))
        await self._durable()
        return _xml_answer("<result><message>1 items deleted</message></result>")

    async def _list(self, request):
        return _page(request, [monitor.row() for monitor in self.monitors.values()], "Monitor")

    async def _list_devices(self, request):
        rows = [_flat(device) for device in self.devices.values()]
        return _page(request, rows, "DeviceCore")

    # ---- the control side

    async def _control_event(self, request):
        """
        {"topic": "DataPoint/dev/temp", "body": {...}, "operation", "group"}: publish it; or
        {"device": name, "connected": true}; or {"stream": "dev/temp", "data": 1}.
        """
        body = await web.read_json(request)
        try:
            if not isinstance(body, dict):
                raise ValueError("the body must be an object")
            if "device" in body:
                self.device_connected(str(body["device"]), bool(body.get("connected", True)))
            elif "stream" in body:
                self.data_point(str(body["stream"]), body.get("data"))
            else:
                kind, _, path = str(body.get("topic")).partition("/")
                more = {key: body[key] for key in ("operation", "group") if key in body}
                self.publish(kind, path, body.get("body"), **more)
        except ValueError as e:
            raise web.fail(400, str(e))
        return web.json_answer({})

    async def _control_fault(self, request):
        """{"throttle": 3, "retry_after": 1}, {"fault": "cut", "count": 1}, {"lift": true}."""
        body = await web.read_json(request)
        try:
            if not isinstance(body, dict):
                raise ValueError("the body must be an object")
            if "throttle" in body:
                self.throttle(int(body["throttle"]), body.get("retry_after"))
            elif "fault" in body:
                count = body.get("count", 1)
                how = {k: body[k] for k in ("bytes", "status", "type", "value") if k in body}
                if not all(isinstance(value, int) for value in how.values()):
                    raise ValueError("bytes, status, type and value are numbers")
                self.fault(body["fault"], None if count is None else int(count), **how)
            else:
                self.lift()
        except (ValueError, TypeError) as e:
            raise web.fail(400, str(e))
        return web.json_answer({})

    async def _control_monitors(self, request):
        """All monitors, with what waits for whom."""
        return web.json_answer(
            [
                dict(
                    monitor.row(),
                    queued=len(monitor.queue),
                    unacked=len(monitor.unacked),
                    dropped=monitor.dropped,
                )
                for monitor in self.monitors.values()
            ]
        )

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
            monitor = Monitor(self, id, json.loads(fields), status, connected, sent)
            if status == "ACTIVE":  # when we were killed
                monitor.status = "SUSPENDED" if monitor.replays else "INACTIVE"
            kept = store.load(
                "SELECT seq, event FROM digi_events WHERE monitor = ? ORDER BY seq", (id,)
            )
            monitor.restore((seq, Event.from_store(event)) for seq, event in kept)
            self.monitors[id] = monitor
            self._last_id = max(self._last_id, id)

    def keep(self, monitor):
        if self._store is not None and monitor.id in self.monitors:
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
        if self._store is not None:
            self._store.write(
                "INSERT INTO digi_events VALUES (?, ?, ?)",
                (monitor.id, event.seq, event.to_store()),
            )

    def forget_events(self, monitor, events=None):
        """These, or all of a monitor's."""
        if self._store is None:
            return
        if events is None:
            self._store.write("DELETE FROM digi_events WHERE monitor = ?", (monitor.id,))
        for event in events or ():
            self._store.write(
                "DELETE FROM digi_events WHERE monitor = ? AND seq = ?", (monitor.id, event.seq)
            )

    async def _durable(self):
        wait = self._store.durable() if self._store is not None else None
        if wait is not None:
            await wait


def _flat(device):
    row = {key: str(value) for key, value in device.items() if key != "id"}
    row.update({key: str(value) for key, value in device["id"].items()})
    return row


def _xml_answer(body, status=200, headers=None):
    text = '<?xml version="1.0" encoding="ISO-8859-1"?>' + body
    return aioweb.Response(
        body=text.encode("iso-8859-1", "xmlcharrefreplace"),
        status=status,
        headers=headers,
        content_type="application/xml",
        charset="ISO-8859-1",
    )


def _page(request, rows, element):
    """A list as the legacy resources give it; every value in JSON is a string."""
    query = request.query
    try:
        if "condition" in query:
            condition = Condition(query["condition"])
            rows = [row for row in rows if condition(row)]
        start = int(query.get("start", 0))
        size = int(query.get("size", PAGE))
        if start < 0 or not 0 < size <= PAGE:
            raise ValueError("start or size is out of range")
    except ValueError as e:
        raise Refused(400, str(e))
    page = rows[start : start + size]
    head = {
        "resultTotalRows": str(len(rows)),
        "requestedStartRow": str(start),
        "resultSize": str(len(page)),
        "requestedSize": str(size),
        "remainingSize": str(max(0, len(rows) - start - len(page))),
    }
    accept = request.headers.get("Accept", "")
    if request.path.endswith(".json") or "application/json" in accept:
        return web.json_answer(dict(head, items=page))
    body = "".join(_to_xml(name, value) for name, value in head.items())
    body += "".join(_to_xml(element, row) for row in page)
    return _xml_answer("<result>%s</result>" % body)


class Part(cloud_module.Part):
    """Digi's share in the cloud."""

    key = "digi"
    title = "Digi"
    mqtt = False
    ports = (
        cloud_module.Port("--push-port", 3200, "Digi push monitor"),
        cloud_module.Port("--push-tls-port", 3201, "Digi push monitor over TLS"),
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
        self.digi = Digi("digi-user", password, cloud.store, window=cloud.options.digi_window)
        self.digi.add_to(cloud.web)

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
