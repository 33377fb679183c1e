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
from netstream import host_port, load_module, load_once, places

# What a topic tells: an event of a device, or a command for one.
EVENT = "evt"
COMMAND = "cmd"
# The first part of a client id.
DEVICE = "d"
APPLICATION = "a"
SHARED_APPLICATION = "A"
TOKEN_USER = "use-token-auth"  # the user name of every device
NAME = const(36)  # longest device type or id with Maximo, and on one's own broker
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

_PAYLOAD_MAX = const(131072)  # bytes; the service refuses more
_REFUSED = const(0x80)  # in a SUBACK
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


# --- names in topics -------------------------------------------------------------------------


def name_of(what, value, most=NAME):
    """
    Return value if it may be a device's type or id: 1 to `most` of A-Z a-z 0-9 - _ and dot. what
    names it in the error. Raises ValueError.
    """
    # What is left when letters are stripped off both ends begins with what is none.
    if isinstance(value, str) and 0 < len(value) <= most and not value.strip(_LETTERS):
        return value
    raise ValueError("%s: must be 1 to %d of %s, not %r" % (what, most, _LETTERS, value))


def level(what, value, n=32):
    """
    Return value if it may stand as one level of a topic; what names it in the error.

    n: most characters; 36 means a device's type or id, whose characters are limited as name_of()
    says. Raises ValueError.
    """
    if n == NAME:
        return name_of(what, value)
    if isinstance(value, str) and 0 < len(value) <= n:
        if not ("/" in value or "+" in value or "#" in value or min(value) < " "):
            return value
    raise ValueError("%s: must be 1 to %d of all but / + #, not %r" % (what, n, value))


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
        raise InvalidEventException(str(e))


def encode_iotf(data, timestamp=None):
    """JSON of {"d": data, "ts": timestamp}; data must be a dict, or None for an empty one."""
    if data is None:
        data = {}
    elif not isinstance(data, dict):
        raise InvalidEventException("data: not a dict")
    message = {"d": data}
    if timestamp:
        message["ts"] = timestamp.isoformat()
    return encode_json(message)


def decode_json(message):
    """
    Message of message.payload (bytes). The IOTF form, an object of d (an object), maybe ts (a
    text) and nothing else, gives its d and ts; all other JSON is itself the data, without ts.

    Raises InvalidEventException if it isn't JSON.
    """
    try:
        value = json_text.receive(message.payload)
    except ValueError as e:
        raise InvalidEventException(str(e))
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
        return load_module("ibmiotf.timestamp").of(*self._when)


# --- what both clients are -------------------------------------------------------------------


class AbstractClient:
    """
    The connection, its errors, and publishing. Programs use device.Client or application.Client.

    do_next(wait_ms=0): one step of everything, connecting and reconnecting included, waiting at
    most wait_ms for work; True if something happened. Callbacks run in it, and what they raise
    comes out of it; the network's failures, and what others send, never do.
    disconnect(): waits at most 1 s for acknowledgements, and stays away until connect().
    isConnected(): True between the service's acceptance and the end of the connection.
    link: the MQTTLink. error: the last failure (an exception) or None. errorCallback(exception):
    hears what no call of the program can raise: a lost or refused connection, a refused
    subscription, a message that came and is over max-packet, or can't be read.
    now: a function that gives the ts of what is sent, as timestamp.now; None: without ts.
    options: as given, on top of `defaults`, under their documented names. clientId: the MQTT
    client id. quickstart: whether org is "quickstart". logger: of micropython-lib's logging,
    named "ibmiotf"; None where that isn't installed.
    """

    def __init__(self, options, role, keys, method, logHandlers=None):
        """
        role: the first part of the client id, keys: the options that are the others. method: what
        auth-method must be. logHandlers: one for the logger, or a list. Raises as the clients do.
        """
        reader = load_once("ibmiotf.options")
        try:
            self.options = own = reader.read(options, defaults)
            self.quickstart = own.get("org") == "quickstart"
            auth = not self.quickstart and own.get("auth-method") != "none"
            self._require(keys + ("auth-method", "auth-token") if auth else keys, auth and method)
            closed = reader.leads_to_closed(own)
            address = load_once("ibmiotf.address")
            self.clientId = address.client_id(own, role, keys, closed)
            port = reader.usual_port(own)
            user = self._user() if auth else None
            self.link = link = address.link(MQTTLink, own, self.clientId, user, port)
        except ValueError as e:
            raise ConfigurationException(str(e))
        self.error = None
        self.errorCallback = None
        self.now = None
        self.logger = reader.logger(logHandlers)
        self._closed = reader.CLOSED if closed else ""  # a hint, until there was a connection
        # Of the last message sent: its space, kind, name and format, and the topic they make.
        self._space_sent = self._kind_sent = self._name_sent = self._format_sent = None
        self._topic_sent = b""
        link.set_callback(self._take, True)
        link.on_up = self._up
        link.on_down = self._down
        link.on_ack = self._ack
        link.on_skip = self._skip
        self.do_next = link.do_next
        self.disconnect = link.disconnect
        self.isConnected = link.is_connected

    def _require(self, keys, method):
        # All of keys must be given; auth-method must be `method`, if there is one.
        get = self.options.get
        for key in keys:
            if not get(key):
                raise ConfigurationException("Missing required property: " + key)
        if method and get("auth-method") != method:
            raise UnsupportedAuthenticationMethod("auth-method must be " + method)

    def _user(self):
        return self.options.get("auth-key") or TOKEN_USER

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

    # -- what the link tells

    def _log(self, text, what):
        if self.logger:
            self.logger.debug(text, what)

    def _fail(self, e):
        self.error = e
        if self.logger:
            self.logger.error("%s", e)
        if self.errorCallback:
            self.errorCallback(e)

    def _up(self, present):
        self._closed = ""
        if self.logger:
            self.logger.info("Connected successfully: %s", self.clientId)

    def _down(self, e):
        if e:
            link = self.link
            why = str(e.args[-1]) if e.args else type(e).__name__
            where = [host_port(*place) for place in places(link.server, link.port)]
            text = "%s to %s: %s" % (self.clientId, " or ".join(where), why)
            if self._closed:
                text = self._closed + ". " + text
            elif "refused" in why:
                text += "; check auth-token"
            self._fail(ConnectionException(text))

    def _ack(self, what, code):
        # what: a packet id, or the filter of a subscription; code: what became of it.
        if code == _REFUSED:
            self._fail(ConnectionException("subscription refused: %s" % what))

    def _skip(self, topic, n):
        why = "no memory for" if self.link.no_memory else "over max-packet:"
        self._fail(ConnectionException("%s %s (%d)" % (why, topic, n)))

    def _take(self, topic, payload, retained):
        try:
            callback, message = self._read(str(topic, "utf-8"), payload, retained)
        except MemoryError:
            raise  # it comes again
        except Exception as e:  # of a decoder, too: it costs this message, and no other
            self._fail(e)
            return
        if callback and message:
            self._log("Received: %s", topic)
            callback(message)

    # -- sending

    def _send(self, space, kind, name, fmt, data, qos):
        """
        Send data as `name`: an event or a command (`kind`) in a device's part of the topics
        (`space`, which ends in "/"). Returns and raises as device.Client.publishEvent.
        """
        # There are two documented forms: (data, qos), sent as IOTF JSON, and (format, data, qos).
        if isinstance(fmt, str):
            if fmt not in codecs:
                raise MissingMessageEncoderException("no encoder: " + fmt)
            encode = codecs[fmt][0]
        else:
            if fmt is not None or isinstance(data, int):  # else data came by its name
                qos = data or qos
                data = fmt
            fmt = "json"
            encode = encode_iotf
        topic = self._topic(space, kind, name, fmt)
        data = encode(data, self.now and self.now())
        if len(data) > _PAYLOAD_MAX:
            raise InvalidEventException("payload over %d bytes" % _PAYLOAD_MAX)
        self.do_next()  # a program that only publishes hears its commands here
        try:
            self.link.publish(topic, data, False, qos, _ROOM_WAIT if self.isConnected() else 0)
        except OSError as e:
            self.error = e
            return False
        if self.logger:
            self.logger.debug("Sent: %s", topic)
        return True

    def _topic(self, space, kind, name, fmt):
        # Most programs send one event again and again: its topic is kept. (Making it is another
        # method, so that this one's frame takes nothing from the heap.)
        if (
            name == self._name_sent
            and fmt == self._format_sent
            and kind == self._kind_sent
            and space == self._space_sent
        ):
            return self._topic_sent
        return self._new_topic(space, kind, name, fmt)

    def _new_topic(self, space, kind, name, fmt):
        topic = "%s%s/%s/fmt/%s" % (space, kind, level(kind, name), fmt)
        self._topic_sent = topic.encode()
        self._space_sent = space
        self._kind_sent = kind
        self._name_sent = name
        self._format_sent = fmt
        return self._topic_sent
