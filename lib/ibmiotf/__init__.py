"""
IBM IoT Foundation (Watson IoT Platform, Maximo Application Suite), and any broker with its topics.

Here: the errors, the iot-2 topic grammar, the payload codecs, and what the device and the
application client have in common. Stands on mqtt_link. `import ibmiotf.device` or
`import ibmiotf.application` for the clients; each serves two kinds of program: one that calls
connect() as the old libraries' documents show, and one that only calls do_next() in its loop.
"""

import json
import time

from micropython import const
from mqtt_link import MQTTLink
from umqtt.simple import MQTTException

_MAX_PAYLOAD = const(131072)  # bytes; the service refuses more
_NAME = const(36)  # longest device type or id, and the only level with a rule for its characters
_ROOM_WAIT = const(5000)  # ms that a publish waits for a place in the window: under 8 s watchdogs

# Options for every client of this program, below its own: a board can say once, in boot.py,
# `ibmiotf.defaults["ca"] = "/ca.der"`, and then run programs that know nothing of it.
defaults = {}

_SCALAR = (int, str, bool)  # MicroPython: a bool is not an int
_INF = float("inf")


class ConnectionException(Exception):
    """The service can't be reached, or refused something; the text says what to do."""


class ConfigurationException(ConnectionException):
    """An option is missing or wrong; the text names it."""


class UnsupportedAuthenticationMethod(ConnectionException):
    """auth-method is not the one that this kind of client has."""


class InvalidEventException(ValueError):
    """A message that the service's rules forbid: its topic, or what it holds."""


class MissingMessageEncoderException(InvalidEventException):
    """No encoder for this format: setMessageEncoderModule(format, module), or send "json"."""


class MissingMessageDecoderException(InvalidEventException):
    """A message came in a format without decoder: setMessageEncoderModule(format, module)."""


# --- topic grammar ---------------------------------------------------------------------------


def level(what, value, n=32):
    """
    Return value if it may stand as one level of a topic; what names it in the error.

    n: most characters; 36, a device's type or id, also limits them to A-Z a-z 0-9 - _ and dot.
    Raises ValueError.
    """
    ok = isinstance(value, str) and 0 < len(value) <= n
    if ok:
        for c in value:
            if n == _NAME:
                ok = c < "\x7f" and (c.isalpha() or c.isdigit()) or c in "-_."
            else:
                ok = c > " " and c not in "/+#"
            if not ok:
                break
    if not ok:
        what += ": 1 to %d %s, not %r"
        raise ValueError(
            what % (n, "of A-Z a-z 0-9 - _ ." if n == _NAME else "without / + #", value)
        )
    return value


def parse(topic):
    """
    Read a topic (bytes) level by level: (kind, deviceType, deviceId, name, format).

    kind is "evt", "cmd", "mon" (a device's status) or "app" (an application's; name is its id).
    What a topic doesn't have is None. Raises InvalidEventException for every other topic.
    """
    try:
        t = str(topic, "utf-8").split("/")
    except UnicodeError:
        t = [""]
    if t[0] == "iot-2" and "" not in t:
        deviceType = deviceId = None
        n = len(t)
        if n > 5 and t[1] == "type" and t[3] == "id":
            deviceType, deviceId = t[2], t[4]
            t = t[4:]
        if len(t) == 5 and t[1] in ("evt", "cmd") and t[3] == "fmt":
            return t[1], deviceType, deviceId, t[2], t[4]
        if t[-1] == "mon":
            if n == 6 and deviceType:
                return "mon", deviceType, deviceId, None, None
            if n == 4 and t[1] == "app":
                return "app", None, None, t[2], None
    raise InvalidEventException("not an iot-2 topic: %r" % topic)


# --- payloads --------------------------------------------------------------------------------


def _check(value, where):
    # MicroPython's json.dumps doesn't complain: it writes nan, {1, 2} or <object>.
    if value is None or isinstance(value, _SCALAR):
        return
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, _SCALAR):
                raise InvalidEventException("data: key %r is not text" % (key,))
            _check(value[key], key)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, where)
    elif not isinstance(value, float) or value != value or abs(value) == _INF:
        if not isinstance(value, float):
            value = type(value)
        raise InvalidEventException("data: JSON can't hold %s of %r" % (value, where))


class Message:
    """data, and timestamp, an ISO 8601 text or None: what a codec's decode() returns."""

    def __init__(self, data, timestamp=None):
        self.data = data
        self.timestamp = timestamp


class JsonCodec:
    """
    Formats "json" and (IotfCodec) "json-iotf". A codec, found by its format's name in `codecs`, is
    any object or module with the two functions that are here. Both may raise ValueError.
    """

    def encode(data, timestamp=None):
        """
        Payload (str or bytes) of data; timestamp is None, or has isoformat().

        Raises InvalidEventException, naming the key, for what JSON can't hold.
        """
        try:
            _check(data, "data")
            return json.dumps(data)
        except RuntimeError:
            raise InvalidEventException("data: too deep, or holds itself")

    def decode(message):
        """
        Message of message.payload (bytes). The IOTF form, an object of d (an object), maybe ts (a
        text) and nothing else, gives its d and ts; all other JSON is itself the data, without ts.

        Raises InvalidEventException if it isn't JSON.
        """
        payload = message.payload
        try:
            value = json.loads(payload)
            # MicroPython's parser takes the comma in {"a":1,}; look for it outside of strings.
            rest = payload.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
            rest = b"".join(b'"'.join(rest).split())
            if b",}" in rest or b",]" in rest:
                raise ValueError
        except (ValueError, RuntimeError, MemoryError):
            raise InvalidEventException("not JSON: payload of %d bytes" % len(payload))
        if isinstance(value, dict) and isinstance(value.get("d"), dict):
            ts = value.get("ts")
            if len(value) == 1 or len(value) == 2 and isinstance(ts, str):
                return Message(value["d"], ts)
        return Message(value)


class IotfCodec(JsonCodec):
    """{"d": data, "ts": timestamp}: what the documents' publishEvent(event, data) sends."""

    def encode(data, timestamp=None):
        """As JsonCodec.encode; data must be a dict, or None for an empty one."""
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise InvalidEventException('data: must be a dict (or give msgFormat "json")')
        data = {"d": data}
        if timestamp:
            data["ts"] = timestamp.isoformat()
        return JsonCodec.encode(data)


codecs = {"json": JsonCodec, "json-iotf": IotfCodec}  # format -> codec, for every client


class Received:
    """What came: format, data, timestamp, payload (str; bytes if it isn't UTF-8)."""

    def __init__(self, parsed, payload):
        self.payload = payload
        self.format = parsed[4]
        self._at = time.time()
        codec = codecs.get(self.format)
        if not codec:
            raise MissingMessageDecoderException(self.format)
        self._message = codec.decode(self)
        self.data = self._message.data
        try:
            self.payload = str(payload, "utf-8")
        except UnicodeError:
            pass

    @property
    def timestamp(self):
        """
        When it happened: the payload's ts, else when it came; UTC. A datetime where the platform
        has that module, else a timestamp.Timestamp: isoformat(), comparison, year ... microsecond.
        """
        from ibmiotf import timestamp

        return timestamp.of(self._message.timestamp, self._at)


# --- what both clients are -------------------------------------------------------------------


class AbstractClient:
    """
    The connection, its errors, and publishing. Programs use device.Client or application.Client.

    do_next(wait_ms=0): one step of everything, connecting and reconnecting included, waiting at
    most wait_ms for work; True if something happened. Callbacks run in it, and what they raise
    comes out of it; the network's failures never do.
    disconnect(): waits at most 1 s for acknowledgements, and stays away until connect().
    isConnected(): True between the service's acceptance and the end of the connection.
    link: the MQTTLink. error: the last failure (an exception) or None. errorCallback(exception):
    hears what no call of the program can raise: a lost or refused connection, a refused
    subscription, a message that was given up, or that came and can't be read.
    now: a function that gives the ts of what is sent, as timestamp.now; None: without ts.
    """

    def __init__(self, options, role, keys, method, need):
        """Raises ConfigurationException or UnsupportedAuthenticationMethod: what to change."""
        self.options = own = dict(defaults)
        own.update(options)
        get = own.get
        self.quickstart = get("org") == "quickstart"
        auth = not self.quickstart and get("auth-method") != "none"
        for key in keys + (need if auth else ()):
            if not get(key):
                raise ConfigurationException("Missing required property: " + key)
        if auth and get("auth-method") != method:
            raise UnsupportedAuthenticationMethod(get("auth-method"))
        host = get("host") or "%s.messaging.%s" % (
            get("org"),
            get("domain") or "internetofthings.ibmcloud.com",
        )
        port = get("port")
        ssl = get("ssl")
        if ssl is None:  # not an empty dict, which is plain TCP to netstream
            ssl = auth and port != 1883
        if ssl is True or isinstance(ssl, dict):
            tls = {"ca": get("ca")}
            tls.update(ssl if ssl is not True else ())
            ssl = tls
        web = get("transport") == "websockets"
        self.clientId = role
        try:
            for key in keys:
                limit = _NAME if role == "d" or key == "org" else 128
                self.clientId += ":" + level(key, own[key], limit)
            self.link = link = MQTTLink(
                self.clientId,
                host,
                port or (443 if web else 0),
                auth and (get("auth-key") or "use-token-auth") or None,
                auth and get("auth-token") or None,
                get("keep-alive") or 60,
                ssl,
                clean_session=role == "A" or get("clean-session") not in (False, "false"),
                max_packet=get("max-packet") or 2048,
                websocket="/mqtt" if web else None,
            )
        except ValueError as e:
            raise ConfigurationException(str(e))
        self.error = self.errorCallback = self.now = None
        self._asked = {}  # SUBSCRIBE's packet id -> filter, until SUBACK
        link.set_callback(self._on_message, True)
        link.on_down = self._on_down
        link.on_ack = self._on_ack
        link.on_skip = self._on_skip
        # The link's own: do_next(wait_ms=0), disconnect(), is_connected().
        self.do_next = link.do_next
        self.disconnect = link.disconnect
        self.isConnected = link.is_connected

    def connect(self):
        """
        Connect; returns when the service has accepted, after 10 s at the latest.

        Raises ConnectionException with the reason and what to do. do_next() goes on trying.
        """
        if not self.isConnected():
            try:
                self.link.connect(timeout=10)
            except (OSError, MQTTException):
                raise self.error

    def setMessageEncoderModule(self, messageFormat, module):
        """Put a codec into `codecs`, and give codecs the time with each message (`now`)."""
        from ibmiotf import timestamp

        self.now = timestamp.now
        codecs[messageFormat] = module

    def _fail(self, e):
        self.error = e
        if self.errorCallback:
            self.errorCallback(e)

    def _on_down(self, e):
        # Say which server, and what to look at when it has refused.
        if e:
            link = self.link
            text = "%s:%d: %s" % (link.server, link.port, e.args[-1] if e.args else e)
            if isinstance(e, MQTTException):
                text += "; refused %s: is it registered, its auth-token right?" % self.clientId
            self._fail(ConnectionException(text))

    def _on_ack(self, pid, code):
        what = self._asked.pop(pid, pid)
        if code > 2:
            self._fail(ConnectionException("refused: %s" % what))

    def _on_skip(self, topic, size):
        self._fail(InvalidEventException("%d bytes came, over max-packet: %r" % (size, topic)))

    def _on_message(self, topic, payload, retained):
        try:
            callback, message = self._read(parse(topic), payload, retained)
        except ValueError as e:
            callback, message = self._fail, e
        if callback:
            callback(message)

    def _hear(self, topic, qos):
        self._asked[self.link.subscribe(topic, qos)] = topic
        return True

    def _send(self, front, name, fmt, data, qos):
        # Both documented forms: (data, qos), sent as IOTF JSON, and (format, data, qos).
        codec = IotfCodec
        if isinstance(fmt, str):
            codec = codecs.get(fmt)
            if not codec:
                raise MissingMessageEncoderException(fmt)
        else:
            if fmt is not None:
                qos = data or qos
                data = fmt
            fmt = "json"
        topic = front + level("event or command", name) + "/fmt/" + fmt
        payload = codec.encode(data, self.now and self.now())
        if isinstance(payload, str):
            payload = payload.encode()
        if len(payload) > _MAX_PAYLOAD:
            raise InvalidEventException("payload of %d bytes, over 131072" % len(payload))
        link = self.link
        link.do_next()  # a program that only publishes hears its commands here
        try:
            link.publish(topic, payload, False, qos, _ROOM_WAIT if link.is_connected() else 0)
        except OSError as e:
            self.error = e
            return False
        return True
