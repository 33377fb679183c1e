"""
IBM IoT Foundation (Watson IoT Platform, Maximo Application Suite), and any broker with its topics.

Here: the errors, the iot-2 topic grammar, the payload codecs, and what the device and the
application client have in common. Stands on mqtt_link. `import ibmiotf.device` or
`import ibmiotf.application` for the clients; each works from two kinds of program: one that calls
connect() as the old libraries' documents show, and one that only calls do_next() in its loop.
"""

import json
import time

from mqtt_link import Full, MQTTLink
from umqtt.simple import MQTTException

DOMAIN = "internetofthings.ibmcloud.com"
MAX_PAYLOAD = 131072  # bytes; the service refuses more

# Options for every client of this program, below its own: a board can say once, in boot.py,
# `ibmiotf.defaults["ca"] = "/ca.der"`, and run programs that know nothing of it.
defaults = {}

_QOS_WAIT = 5000  # ms a publish may wait for a place in the window; under an 8 s watchdog
_CONNECT_WAIT = 10  # s, as the old libraries' connect()
_SCALAR = (int, str, bool)  # MicroPython: bool is not an int
_LIST = (list, tuple)
_INF = float("inf")
_NINF = -_INF


class ConnectionException(Exception):
    """The service can't be reached, or refused this client; the text says what to do."""


class ConfigurationException(ConnectionException):
    """An option is missing or wrong; the text names it."""


class UnsupportedAuthenticationMethod(ConnectionException):
    """auth-method is neither "token" (device) nor "apikey" (application)."""

    def __init__(self, method):
        super().__init__("Unsupported authentication method: %s" % method)


class InvalidEventException(ValueError):
    """A message that the service's rules forbid: its topic, or a payload that can't be held."""


class MissingMessageEncoderException(InvalidEventException):
    """No encoder for this format: put one into `codecs`, or send "json"."""


class MissingMessageDecoderException(InvalidEventException):
    """A message came in a format nobody registered a decoder for in `codecs`."""


# --- topic grammar ---------------------------------------------------------------------------


def level(what, value, name=False, wild=False):
    """
    Return value if it may stand as one level of a topic; what names it in the error.

    name: a device type or id (1 to 36 of A-Z a-z 0-9 - _ .), else an event, command or format (1
    to 32 characters, none of / + #). wild: "+" may stand for all. Raises ValueError.
    """
    if wild and value == "+":
        return value
    ok = isinstance(value, str) and 0 < len(value) <= (36 if name else 32)
    if ok:
        for c in value:
            if name:
                ok = c in "-_." or c < "\x7f" and (c.isalpha() or c.isdigit())
            else:
                ok = c not in "/+#" and c >= " "
            if not ok:
                break
    if not ok:
        rule = "36 of A-Z a-z 0-9 - _ ." if name else "32 characters, none of / + #"
        raise ValueError("%s %r: must be 1 to %s" % (what, value, rule))
    return value


def space(deviceType, deviceId, wild=False):
    """The front part of a device's full topics, "iot-2/type/…/id/…/". Raises ValueError."""
    return "iot-2/type/%s/id/%s/" % (
        level("deviceType", deviceType, True, wild),
        level("deviceId", deviceId, True, wild),
    )


def topic(kind, name, fmt, front="iot-2/", wild=False):
    """An event's (kind "evt") or a command's ("cmd") topic behind front. Raises ValueError."""
    level("event" if kind == "evt" else "command", name, False, wild)
    return front + kind + "/" + name + "/fmt/" + level("format", fmt, False, wild)


def parse(topic):
    """
    Read a topic (str or bytes) level by level: (kind, deviceType, deviceId, name, format).

    kind is "evt", "cmd", "mon" (a device's status) or "app" (an application's; name is its id).
    What a topic doesn't have is None. Raises InvalidEventException for every other topic.
    """
    try:
        t = str(topic, "utf-8").split("/") if isinstance(topic, bytes) else topic.split("/")
    except UnicodeError:
        t = ("",)
    n = len(t)
    if t[0] == "iot-2" and "" not in t:
        if n == 4 and t[1] == "app" and t[3] == "mon":
            return "app", None, None, t[2], None
        deviceType = deviceId = None
        if n > 5 and t[1] == "type" and t[3] == "id":
            if n == 6 and t[5] == "mon":
                return "mon", t[2], t[4], None, None
            deviceType, deviceId = t[2], t[4]
            t = t[4:]
            n -= 4
        if n == 5 and t[1] in ("evt", "cmd") and t[3] == "fmt":
            return t[1], deviceType, deviceId, t[2], t[4]
    raise InvalidEventException("not an iot-2 topic: %r" % topic)


# --- payloads --------------------------------------------------------------------------------


def check_json(value, path="data"):
    """
    Raise InvalidEventException, naming the place, if JSON can't hold value.

    MicroPython's json.dumps doesn't complain: it writes nan, {1, 2} or <object>.
    """
    if value is None or isinstance(value, _SCALAR):
        return
    if isinstance(value, float):
        if _NINF < value < _INF:
            return
    elif isinstance(value, dict):
        for key in value:
            if not isinstance(key, _SCALAR):
                raise InvalidEventException("%s: key %r is not text" % (path, key))
            check_json(value[key], key)
        return
    elif isinstance(value, _LIST):
        for item in value:
            check_json(item, path)
        return
    raise InvalidEventException(
        "%s: JSON can't hold %s" % (path, value if isinstance(value, float) else type(value))
    )


def is_iotf(value):
    """True for the IOTF form: an object with d (an object), maybe ts (a text), and nothing else."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("d"), dict)
        and (len(value) == 1 or len(value) == 2 and isinstance(value.get("ts"), str))
    )


def _dumps(value):
    try:
        check_json(value)
        return json.dumps(value)
    except RuntimeError:
        raise InvalidEventException("data is nested too deeply, or holds itself")


def _encode_iotf(data):
    if data is None:
        data = {}
    elif not isinstance(data, dict):
        raise InvalidEventException('data must be a dict; send others with msgFormat "json"')
    return '{"d":' + _dumps(data) + "}"


def decode_json(payload):
    """
    Return (data, ts) of a JSON payload: d and ts of the IOTF form, else the whole and None.

    Raises InvalidEventException if it isn't JSON.
    """
    try:
        value = json.loads(payload)
    except (ValueError, RuntimeError, MemoryError):
        raise InvalidEventException("payload of %d bytes is not JSON" % len(payload))
    if is_iotf(value):
        return value["d"], value.get("ts")
    return value, None


# format -> (encode(data) -> str or bytes, decode(payload: bytes) -> (data, ISO 8601 text or None));
# either may be None. Programs add their own formats here.
codecs = {
    "json": (_dumps, decode_json),
    "json-iotf": (_encode_iotf, decode_json),
}


class Message:
    """What came: payload (str, bytes if not UTF-8), format, data, timestamp."""

    def __init__(self, payload, fmt):
        codec = codecs.get(fmt)
        if not codec or not codec[1]:
            raise MissingMessageDecoderException("no decoder for format %r" % fmt)
        self.format = fmt
        self._at = time.time()
        self.data, self._ts = codec[1](payload)
        try:
            payload = str(payload, "utf-8")
        except UnicodeError:
            pass
        self.payload = payload


# --- what both clients are -------------------------------------------------------------------


class AbstractClient:
    """
    The connection, its errors, and publishing. Programs use device.Client or application.Client.

    Attributes: link (the MQTTLink), error (the last failure, an exception, or None),
    errorCallback(exception): called for everything that no call of the program can raise: a lost
    or refused connection, a refused subscription, a message that can't be read.
    """

    def __init__(self, options, role, names, method, user):
        """Raises ConfigurationException or UnsupportedAuthenticationMethod, with what to change."""
        own = dict(defaults)
        for key in options:
            if options[key] is not None:
                own["type" if key == "typ" else key] = options[key]
        self.options = own
        option = self._option
        org = self.organizationCode = option("org")
        self._quickstart = org == "quickstart"
        parts = [role, org]
        for key in names:
            parts.append(option(key))
        try:
            level("org", org, True)
            for key in names:
                level(key, own[key], key != "id" or role == "d")
        except ValueError as e:
            raise ConfigurationException(str(e))
        self.clientId = ":".join(parts)
        password = None
        if self._quickstart:
            user = None
        else:
            auth = option("auth-method")
            if auth != method:
                raise UnsupportedAuthenticationMethod(auth)
            user = user or option("auth-key")
            password = option("auth-token")
        host = own.get("host") or "%s.messaging.%s" % (org, own.get("domain") or DOMAIN)
        web = "/mqtt" if own.get("transport") == "websockets" else None
        ssl = own.get("ssl")
        port = int(own.get("port") or 0)
        if ssl is None:
            ssl = not (self._quickstart or port == 1883)
        if ssl in (True, "true"):
            ssl = {}
        elif ssl in (False, "false"):
            ssl = None
        self._tls = ssl is not None
        if isinstance(ssl, dict):
            ssl = dict(ssl)
            ssl.setdefault("ca", own.get("ca"))
            if not ssl["ca"] and ssl.get("verify", True):
                raise ConfigurationException(
                    'TLS needs the service\'s CA certificate: pass "ca" (file name or bytes, '
                    'PEM or DER) in the options, or "ssl": False to go without TLS'
                )
            ssl.setdefault("server_hostname", host)
        port = port or (443 if web else 8883 if self._tls else 1883)
        self._where = "%s:%d" % (host, port)
        self.error = None
        self.errorCallback = None
        self._inside = False  # in one of the program's callbacks
        self._pending = {}  # SUBSCRIBE's packet id -> filter, until SUBACK
        self.link = link = MQTTLink(
            self.clientId,
            host,
            port,
            user,
            password,
            int(own.get("keep-alive") or 60),
            ssl,
            clean_session=own.get("clean-session", True) in (True, "true", "True"),
            max_packet=int(own.get("max-packet") or 2048),
            websocket=web,
        )
        link.set_callback(self._on_message, True)
        link.on_down = self._on_down
        link.on_ack = self._on_ack

    def _option(self, key):
        value = self.options.get(key)
        if not value:
            raise ConfigurationException("Missing required property: " + key)
        return value

    def connect(self):
        """
        Connect; returns when the service has accepted, after 10 s at the latest.

        Raises ConnectionException with the reason and what to do. do_next() goes on trying.
        """
        self._check_clock()
        try:
            self.link.connect(self.link.clean_session, _CONNECT_WAIT)
        except (OSError, MQTTException) as e:
            self.error = e = self._explain(e)
            raise e

    def do_next(self, wait_ms=0):
        """
        One step of everything: connecting, reconnecting, callbacks; True if something happened.

        Waits at most wait_ms for work. Never raises for the network (see errorCallback);
        an exception of the program's own callback comes out here.
        """
        if self._tls:
            try:
                self._check_clock()
            except ConnectionException as e:
                self._fail(e)
                return False
        return self.link.do_next(wait_ms)

    def disconnect(self):
        """Say good-bye and close. connect() or do_next() connects again."""
        self.link.disconnect()

    def isConnected(self):
        """True between the service's acceptance and the end of the connection."""
        return self.link.is_connected()

    def _check_clock(self):
        # A certificate can't be valid in 1970 or 2000; without this the handshake's failure
        # names the certificate and everybody looks there.
        if self._tls and time.gmtime()[0] < 2024:
            raise ConnectionException(
                "the clock was never set, and TLS needs it: call ntptime.settime() first"
            )

    def _explain(self, e):
        """The link's exception as a ConnectionException that says what to do."""
        code = e.args[0] if isinstance(e, MQTTException) and e.args else None
        if code in (4, 5):
            text = (
                "%s refused %s (code %d): check that it is registered there, that auth-key and "
                "auth-token are right and not revoked, and belong to this org"
            ) % (self._where, self.clientId, code)
        elif code == 2:
            text = "%s refused the client id %s" % (self._where, self.clientId)
        else:
            text = "%s: %s; check the network, host and port (Maximo: 443)" % (self._where, e)
        return ConnectionException(text)

    def _fail(self, e):
        """Keep e; tell the program unless it was the last thing it was told."""
        last = self.error
        self.error = e
        if self.errorCallback and str(last) != str(e):
            self._tell(self.errorCallback, e)

    def _tell(self, callback, value):
        inside = self._inside
        self._inside = True
        try:
            callback(value)
        finally:
            self._inside = inside

    def _on_down(self, e):
        if e:
            self._fail(self._explain(e))

    def _on_ack(self, pid, code):
        what = self._pending.pop(pid, None)
        if code > 2:
            self._fail(
                ConnectionException("%s refused %s" % (self._where, what))
                if what
                else ConnectionException("message %d was given up" % pid)
            )

    def _on_message(self, topic, msg, retained=False):
        try:
            callback, message = self._understand(parse(topic), msg, retained)
        except ValueError as e:
            self.error = None  # tell each
            self._fail(e)
            return
        if callback:
            self._tell(callback, message)

    def _subscribe(self, topic, qos):
        self._pending[self.link.subscribe(topic, qos)] = topic
        return True

    def _publish(self, front, kind, name, msgFormat, data, qos):
        """
        Both documented forms: (data, qos), sent as IOTF JSON, and (msgFormat, data, qos).
        """
        if isinstance(msgFormat, str):
            fmt = msgFormat
            codec = codecs.get(fmt)
            encode = codec and codec[0]
            if not encode:
                raise MissingMessageEncoderException("no encoder for format %r" % fmt)
        else:
            fmt = "json"
            encode = _encode_iotf
            if msgFormat is not None:
                if data is not None:
                    qos = data
                data = msgFormat
        where = topic(kind, name, fmt, front)
        msg = encode(data)
        if len(msg) > MAX_PAYLOAD // 4:  # only then its length in bytes may matter
            n = len(msg if isinstance(msg, bytes) else bytes(msg, "utf-8"))
            if n > MAX_PAYLOAD:
                raise InvalidEventException("payload of %d bytes, over %d" % (n, MAX_PAYLOAD))
        link = self.link
        wait_ms = 0
        if not self._inside:
            self.do_next()  # a program that only publishes hears its commands here
            if link.is_connected():
                wait_ms = _QOS_WAIT
        try:
            link.publish(where, msg, False, qos, wait_ms)
        except (Full, OSError) as e:
            self.error = e
            return False
        return True


def read_config(path, section, keys):
    """
    The options of an INI file: of [section], or of all lines if the file has no section line.

    Missing keys are None, as in the old libraries. Raises ConfigurationException.
    """
    options = dict.fromkeys(keys)
    here = None
    found = False
    try:
        with open(path) as f:
            for line in f:
                line = line.strip()
                if line[:1] == "[":
                    here = line[1:].split("]")[0].strip()
                elif line and line[0] not in "#;" and (here is None or here == section):
                    key, sep, value = line.partition("=")
                    if not sep:
                        raise ConfigurationException("%s: no '=' in %r" % (path, key[:20]))
                    key = key.strip()
                    options["type" if key == "typ" else key] = value.strip()
                    found = True
    except OSError as e:
        raise ConfigurationException("Error reading configuration file %s: %s" % (path, e))
    if not found:
        raise ConfigurationException("%s has no [%s] section" % (path, section))
    return options
