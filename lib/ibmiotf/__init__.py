"""
IBM IoT Foundation (Watson IoT Platform, Maximo Application Suite), and any broker with its topics.

Here: the errors, the payload codecs, and what the device and the application client have in common
(the topic grammar is in topics.py). Stands on mqtt_link. `import ibmiotf.device` or
`import ibmiotf.application` for the clients; each serves two kinds of program: one that calls
connect() as the old libraries' documents show, and one that only calls do_next() in its loop.
"""

import time

import json_text
from micropython import const
from mqtt_link import MQTTLink

_MAX_PAYLOAD = const(131072)  # bytes; the service refuses more
_NAME = const(36)  # longest device type or id, and the only level with a rule for its characters
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
_ROOM_WAIT = const(5000)  # ms that a publish waits for a place in the window: under 8 s watchdogs

# Options for every client of this program, below its own: a board can say once, in boot.py,
# `ibmiotf.defaults["ca"] = "/ca.der"`, and then run programs that know nothing of it.
defaults = {}


class ConnectionException(Exception):
    """The service can't be reached, or refused something; the text says what to do."""


class ConfigurationException(ConnectionException):
    """An option is missing or wrong; the text names it."""


class UnsupportedAuthenticationMethod(ConnectionException):
    """auth-method is not the one that this kind of client has."""


class InvalidEventException(ValueError):
    """A message that the service's rules forbid: its topic, or what it holds."""


class MissingMessageEncoderException(InvalidEventException):
    """No encoder for this format: setMessageEncoderModule() adds one."""


class MissingMessageDecoderException(InvalidEventException):
    """A message came in a format without decoder: setMessageEncoderModule() adds one."""


def level(what, value, n=32):
    """
    Return value if it may stand as one level of a topic; what names it in the error.

    n: most characters; 36, a device's type or id, also limits them to A-Z a-z 0-9 - _ and dot.
    Raises ValueError.
    """
    if isinstance(value, str) and 0 < len(value) <= n:
        # What is left when letters are stripped off both ends begins with what is none.
        if not (
            value.strip(_LETTERS) if n == _NAME else "/" in value or "+" in value or "#" in value
        ):
            return value
    rule = _LETTERS if n == _NAME else "all but / + #"
    raise ValueError("%s: must be 1 to %d of %s, not %r" % (what, n, rule, value))


# --- payloads --------------------------------------------------------------------------------


class Message:
    """data, and timestamp, an ISO 8601 text or None: what a decoder returns."""

    def __init__(self, data, timestamp=None):
        self.data = data
        self.timestamp = timestamp


def encode_json(data, timestamp=None):
    """
    JSON of data (bytes). Raises InvalidEventException, which names the key, for what JSON can't
    hold; so also for data of more than 32 levels, or data that holds itself.
    """
    try:
        return json_text.encode(data)
    except ValueError as e:
        raise InvalidEventException(e)


def encode_iotf(data, timestamp=None):
    """JSON of {"d": data, "ts": timestamp}; data must be a dict, or None for an empty one."""
    data = {"d": {} if data is None else data}
    if not isinstance(data["d"], dict):
        raise InvalidEventException("data: not a dict")
    if timestamp:
        data["ts"] = timestamp.isoformat()
    return encode_json(data)


def decode_json(message):
    """
    Message of message.payload (bytes). The IOTF form, an object of d (an object), maybe ts (a
    text) and nothing else, gives its d and ts; all other JSON is itself the data, without ts.

    Raises InvalidEventException if it isn't JSON.
    """
    try:
        value = json_text.loads(message.payload)
    except ValueError as e:
        raise InvalidEventException(e)
    if isinstance(value, dict) and isinstance(value.get("d"), dict):
        ts = value.get("ts")
        if len(value) == (2 if isinstance(ts, str) else 1):
            return Message(value["d"], ts)
    return Message(value)


# Format -> (encode(data, timestamp) -> bytes or str, decode(message) -> Message), of every client.
# timestamp is None or has isoformat(); message.payload is bytes; both raise ValueError for what
# they can't take.
codecs = {"json": (encode_json, decode_json), "json-iotf": (encode_iotf, decode_json)}


class Event:
    """
    An event or command that came: event (command is the same), format, data, timestamp, payload
    (str; bytes if it isn't UTF-8).
    """

    def __init__(self, name, fmt, payload):
        self.event = self.command = name
        self.format = fmt
        self.payload = payload
        if fmt not in codecs:
            raise MissingMessageDecoderException("no decoder: " + fmt)
        message = codecs[fmt][1](self)
        self.data = message.data
        self._when = message.timestamp, time.time()
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

        return timestamp.of(*self._when)


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
    subscription, a message that came and is over max-packet, or can't be read.
    now: a function that gives the ts of what is sent, as timestamp.now; None: without ts.
    """

    def __init__(self, options, role, keys, method):
        """
        role: the first part of the client id, keys: the options that are the others. method: what
        auth-method must be. Raises as the clients do.
        """
        self.options = own = dict(defaults)
        own.update(options)
        get = own.get
        self.quickstart = get("org") == "quickstart"
        auth = not self.quickstart and get("auth-method") != "none"
        for key in keys + (("auth-method", "auth-token") if auth else ()):
            if not get(key):
                raise ConfigurationException("Missing required property: " + key)
        if auth and get("auth-method") != method:
            raise UnsupportedAuthenticationMethod("auth-method must be " + method)
        ssl = get("ssl")
        if ssl is None:
            ssl = auth and get("port") != 1883
        if ssl is True or ssl == {}:  # an empty dict would be plain TCP
            ssl = {"ca": get("ca")}
        try:
            for key in keys:
                # An application's id has no rules but MQTT's.
                role += ":" + level(key, own[key], 128 if role < "d" else _NAME)
            self.clientId = role
            self.link = link = MQTTLink(
                role,
                get("host")
                or "%s.messaging.%s"
                % (get("org"), get("domain") or "internetofthings.ibmcloud.com"),
                get("port"),
                (get("auth-key") or "use-token-auth") if auth else None,
                get("auth-token") if auth else None,
                60,
                ssl,
                clean_session=get("clean-session") not in (False, "false"),
                max_packet=get("max-packet") or 2048,
                websocket=get("transport") == "websockets" and "/mqtt",
            )
        except ValueError as e:
            raise ConfigurationException(e)
        self.error = self.errorCallback = self.now = None
        self._last = "---"  # front, name, format, topic of the last message
        link.set_callback(self._take, True)
        link.on_down = self._down
        link.on_ack = self._ack
        link.on_skip = self._skip
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
            except Exception as e:
                raise self.error or e  # what _down has made of it

    def setMessageEncoderModule(self, fmt, module):
        """Use module.encode and module.decode for a format; see codecs."""
        codecs[fmt] = module.encode, module.decode

    def _fail(self, e):
        self.error = e
        if self.errorCallback:
            self.errorCallback(e)

    def _down(self, e):
        if e:
            link = self.link
            e = "%s to %s:%d: %s" % (self.clientId, link.server, link.port, e.args[-1])
            if "refused" in e:
                e += "; check auth-token"
            self._fail(ConnectionException(e))

    def _ack(self, what, n):
        # what: a packet id, or the filter of a subscription; n: what became of it.
        if n == 128:
            self._fail(ConnectionException("subscription refused: %s" % what))

    def _skip(self, topic, n):
        self._fail(ConnectionException("over max-packet: %s (%d)" % (topic, n)))

    def _take(self, topic, payload, retained):
        try:
            callback, message = self._read(str(topic, "utf-8"), payload, retained)
        except ValueError as e:
            callback, message = self._fail, e
        if callback:
            callback(message)

    def _send(self, front, name, fmt, data, qos):
        # Both documented forms: (data, qos), sent as IOTF JSON, and (format, data, qos).
        encode = encode_iotf
        if isinstance(fmt, str):
            if fmt not in codecs:
                raise MissingMessageEncoderException("no encoder: " + fmt)
            encode = codecs[fmt][0]
        else:
            if fmt is not None or isinstance(data, int):
                qos = data or qos
                data = fmt
            fmt = "json"
        # Most programs send one event again and again: its topic is kept.
        last = self._last
        if last[0] != front or last[1] != name or last[2] != fmt:
            topic = "%s%s/fmt/%s" % (front, level(front[-4:-1], name), fmt)
            self._last = last = front, name, fmt, topic.encode()
        payload = encode(data, self.now and self.now())
        if len(payload) > _MAX_PAYLOAD:
            raise InvalidEventException("payload over 131072")
        link = self.link
        link.do_next()  # a program that only publishes hears its commands here
        try:
            link.publish(last[3], payload, False, qos, link.is_connected() * _ROOM_WAIT)
        except OSError as e:
            self.error = e
            return False
        return True
