"""
TeamViewer IoT agent client: sensors, metrics and their values for the agent on a gateway.

Stands on mqtt_link. What is needed seldom (parameters, certificates, provisioning, definitions of
metrics) stands in teamviewer_setup, which is loaded for it and let go again; p256 only to make a
key. Names, arguments and callbacks are those of TeamViewer's Python SDK. Every call returns at
once; do_next() does the work in bounded steps. Put it where the documents' examples sleep:

    client = TVCMI_client({"MqttHost": "gateway", "MqttProvisionPort": 18883, "MqttPort": 18884,
                           "CaFile": "TeamViewerAuthority.crt", "CertFolder": "certs"})
    client.on_api_response = client.on_api_error = print_it
    client.provision()
    while True:
        client.do_next(100)
"""

import json
import sys
import time

from micropython import const
from umqtt.simple import MQTTException

from netstream import TLSError as _PeerError

_CALLS_MAX = const(16)  # calls that wait for their answer, sensors listened to
_TIMEOUT = const(30)  # s
_COPY_MS = const(2000)  # in which the same answer on another topic is a copy

_UNAVAILABLE = const(3)  # CONNACK's "server unavailable": also for an agent that can't be reached
_TLS_ERROR = const(21)
_NO_ANSWER = const(22)

# Type of a metric's values -> the code of one that is none, and what it is in Python. None: this
# client didn't create the metric, so the agent decides.
_KINDS = {
    "bool": (9, (bool,)),
    "string": (7, (str,)),
    "double": (8, (int, float)),
    "integer": (11, (int,)),
    None: (8, (bool, str, int, float)),
}


class TvcmiError(Exception):
    """What the calls here raise. error_code: int or None; message: what is wrong, and the cure."""

    def __init__(self, error_code=None, message="An error occurred."):
        super().__init__(message)
        self.error_code = error_code
        self.message = message


class CallbackError(TvcmiError):
    """Kept for programs that name it; what a callback raises comes out of do_next() as it is."""


class TLSError(TvcmiError):
    """CA, certificate or key can't be used for TLS."""


class ConnectionParamError(TvcmiError):
    """A number among the parameters is none, or out of bounds; the text names it."""


class ConnectionError(TvcmiError):
    """Call connect_api() first; or 16 calls wait for answers: do_next(), then try again."""


class FileError(TvcmiError):
    """A file is missing, or can't be read or written. error_code: errno."""


class ConfigError(TvcmiError):
    """The parameters are neither JSON nor a readable configuration file."""


class InputError(TvcmiError):
    """An argument or parameter is missing or wrong. error_code: what the agent would say."""


class DirectoryError(TvcmiError):
    """CertFolder can't be made. error_code: errno."""


class KeyGenerationError(TvcmiError):
    """No private key could be made on this board."""


class KeyCertificateError(TvcmiError):
    """A certificate is damaged, ended, or another key's."""


class CertOverrideMode:
    """OverrideCerts: what provision() does about files that exist. The number or the name."""

    OVERRIDE = 1  # delete them and provision
    NOT_OVERRIDE = 2  # keep them
    SMART = 3  # keep them if the agent accepts them


def _setup():
    # Loaded for this once: a running client needs its heap for other things.
    import teamviewer_setup

    sys.modules.pop("teamviewer_setup", None)
    return teamviewer_setup


def error_name(code):
    """The documents' name of an error code: 12 -> "UnknownValueUnit"."""
    return _setup().error_name(code)


# -- what a program passes


def _refuse(code, text):
    raise InputError(code, error_name(code) + ": " + text)


def _id(value, code):
    # A sensor's or metric's id becomes a level of a topic.
    if not isinstance(value, str):
        _refuse(7, "id")
    if not value or [c for c in "/+#\0" if c in value]:
        _refuse(code, value)
    return value


def _object(data):
    # A dict, given as such or as JSON text.
    if isinstance(data, (str, bytes)):
        try:
            data = json.loads(data)
        except (ValueError, RuntimeError):
            _refuse(4, "metrics")
    if not isinstance(data, dict):
        _refuse(5, "metrics")
    return dict(data)


def _text(data, key, needed=True):
    if key not in data:
        if needed:
            _refuse(6, key)
    elif not isinstance(data[key], str):
        _refuse(7, key)


def _metrics(data, check):
    # {"metrics": [...]}, each element checked; a copy, so that the program's stays as it was.
    data = _object(data)
    if "metrics" not in data:
        _refuse(6, "metrics")
    if not isinstance(data["metrics"], (list, tuple)):
        _refuse(10, "metrics")
    data["metrics"] = metrics = [_object(m) for m in data["metrics"]]
    for metric in metrics:
        check(metric)
    return data


def _named(metric):
    _text(metric, "metricId")
    for key in ("name", "valueAnnotation"):
        _text(metric, key, False)


# -- what the agent sends


def _loads(payload):
    try:
        return json.loads(payload)
    except (ValueError, RuntimeError):  # RuntimeError: nested deeper than the parser goes
        return None  # many answers are plain text


def _key(body):
    # What tells one call from another both in request and answer: a name, or matchingIds.
    if isinstance(body, dict):
        if "metrics" not in body:
            return body.get("name")
        body = body["metrics"]
    if isinstance(body, list):
        return [isinstance(m, dict) and m.get("matchingId") for m in body]


def _error_of(payload):
    # (code, text) of an agent's error; the payload itself when it isn't what is documented.
    error = _loads(payload)
    if not isinstance(error, dict):
        return 0, str(payload)[2:-1]  # escaped, whatever it is
    try:
        code = int(error.get("errorcode", error.get("errorCode", 0)))
    except (ValueError, TypeError, OverflowError):
        code = 0
    return code, str(error.get("errorMessage") or error_name(code))


def _reason(error):
    # (code, text) for a connection that failed or was lost.
    args = error.args or ("connection lost",)
    code = _UNAVAILABLE
    if isinstance(error, _PeerError):
        code = _TLS_ERROR
    elif isinstance(error, MQTTException) and isinstance(args[0], int):
        code = args[0]
    return code, str(args[-1])


def _file(tail):
    return lambda client: client._path + tail


def _text_of(path):
    return lambda client: _setup().read(path(client)).decode()


class _Call:
    # One call that waits for its answer.

    taken = late = False
    learn = None  # what to make of the answer

    def __init__(self, routes, body, callback, timeout):
        self.routes = routes  # where the answer may come, without the connector and "/inbox"
        self.body = body
        self.callback = callback
        self.ms = int(timeout * 1000)
        self.due = time.ticks_add(time.ticks_ms(), self.ms)


class TVCMI_client:
    """
    One connector of a TeamViewer IoT agent.

    parameters: dict, JSON text, or the name of a configuration file with one `Key value` a line
    (# starts a comment). MqttHost, MqttProvisionPort, MqttPort, CaFile and CertFolder are needed;
    MqttKeepAlive is ignored, as the documents say (it is 60 s). Optional:
        ClientName (default "client"): name in the certificate request, start of the files' names
        OverrideCerts (default NOT_OVERRIDE): see CertOverrideMode and provision()
        ServerName (default MqttHost): name in the agent's certificate, often "localhost"
        MaxPacket (default 4096): bytes of the longest answer taken in; a longer one is skipped
        ProvisionTimeout (default 30): seconds that provision() gives the agent
    user_data: handed to every callback.

    Callbacks are attributes: None, or a function that takes keyword arguments. They may make
    calls, but not call do_next().
        on_api_connect(user_data, error_str, error_code): connected; again after each reconnect
        on_api_disconnect(user_data, error_str, error_code): after disconnect_api()
        on_api_response(user_data, msg, error_code): an answer; msg: bytes as the agent sent them
        on_api_error(user_data, error_str, error_code): the agent's error, or no connection (codes
            of CONNACK, 3 also for an agent that can't be reached, 21 for TLS), or 22, no answer;
            from provision() also errno of a file, 0 for what has no code
        on_api_log(msg), without keyword: what is going on; never holds a secret
    Each call to the agent also takes `callback`, which then hears its answer instead of the two
    above: callback(user_data, msg, error_code, error_str), error_str None on success.

    The agent's answers carry no id. They are told apart by topic, then by the name or matchingIds
    they hold, then by the order of the calls. timeout: seconds until a call counts as unanswered
    and fails with 22; for as long again its late answer is waited for, and dropped. Calls whose
    answers were lost with a connection fail with 22 too. What is called while there is no
    connection is sent when there is one, in time or not. At most 16 calls wait.

    What the agent would refuse for certain is not sent: the same code comes at once by the same
    callbacks, or, where there are none, as InputError.
    Raises ConfigError, InputError, ConnectionParamError for bad parameters.
    """

    on_api_connect = on_api_disconnect = on_api_response = on_api_error = on_api_log = None
    # What has no underscore and is not documented is for teamviewer_setup.
    job = _link = None
    wait_ms = _inbox = 0
    _copy = ((), (), None, 0)

    def __init__(self, parameters, user_data=None):
        self.parameters = given = _setup().configure(parameters)
        self._path = given["CertFolder"] + "/" + given["ClientName"].replace(" ", "")
        self._user_data = user_data
        self._calls = []
        self._live = {}  # "sensor/<id>" -> callback
        self._kinds = {}  # metric id -> type of its values

    def set_user_data(self, user_data):
        """What callbacks get as user_data from now on."""
        self._user_data = user_data

    def do_next(self, wait_ms=0):
        """
        One bounded step of everything: provisioning, connecting, sending, hearing, deadlines.

        wait_ms: how long to wait at most when there is nothing to do yet. Returns True when
        something happened. Only exceptions of the program's own callbacks come out of it.
        """
        worked = False
        job = self.job
        if job:
            self.wait_ms = wait_ms
            wait_ms = 0
            try:
                worked = next(job) is not False
            except StopIteration:
                worked = True
                if self.job is job:
                    self.job = None
        if self._link:
            worked = self._link.do_next(wait_ms) or worked
        elif wait_ms:
            time.sleep_ms(wait_ms)
        for call in self._calls:
            if call.taken or not call.late:
                if time.ticks_diff(time.ticks_ms(), call.due) > 0:
                    self._expire(call)
                    return True
        return worked

    # -- provisioning and connecting

    def provision(self):
        """
        Get a certificate for this client unless it has one. on_api_response tells the end:
        "Client is successfully provisioned." with error_code 0, or "Client is already
        provisioned." with 1. on_api_error tells why not (no answer in time, the agent says no, a
        file): call provision() again then, it goes on where it was cut short.

        Makes a P-256 key on this board, in small steps; it never leaves CertFolder. A key and
        request made on a computer (tools/make_rsa_key.py) and copied there are used instead.
        OVERRIDE deletes key, request and certificate first. SMART does so when the agent refuses
        the certificate or does not answer a ping; an agent that can't be reached, or whose own
        certificate is not accepted, is reported instead.
        Raises DirectoryError when CertFolder can't be made.
        """
        if not self.job:
            self.job = _setup().provision(self)

    def connect_api(self):
        """
        Connect with the certificate of provision(), and again whenever the connection is lost,
        until disconnect_api(). on_api_connect tells when, on_api_error each attempt that fails.

        Raises FileError or KeyCertificateError when there is no usable certificate (provision()
        first), TLSError when CA, certificate or key can't be used.
        """
        link, base = _setup().connect(self)
        self.disconnect_api()
        self._link = link
        self._base = base
        for sensor in self._live:
            link.subscribe(base + "/" + sensor + "/livedata")

    def disconnect_api(self):
        """Send what is queued (1 s at most), disconnect, stay away. Waiting calls fail with 22."""
        link = self._link
        if link:
            link.on_down = None
            try:
                link.disconnect()
            finally:
                # A callback may have raised meanwhile.
                link.disconnect(0)
                self._link = None
            self.on_down(None)
            self._lose(self._calls, "disconnected")

    def get_connector_id(self):
        """
        The id the agent gave this client: the name in its certificate. Raises FileError without
        one, KeyCertificateError for a damaged one.
        """
        return _setup().certificate(self)[0]

    def removing_certificates(self):
        """Delete key, request and certificate. FileError if one resists."""
        _setup().remove(self)

    def on_up(self, _present):
        # Every answer ends in /inbox, one to six levels below us. Subscribed anew each time, so
        # that on_api_connect comes when no answer can be missed.
        filters = [(self._base + "/+" * n + "/inbox", 1) for n in range(1, 7)]
        self._inbox = self._link.subscribe(filters)

    def on_ack(self, pid, code):
        if code > 2:
            self.fail(18, "subscription refused")
        elif pid == self._inbox:
            self.tell(self.on_api_connect, error_str="Connection successful", error_code=0)
        for call in self._calls:
            if call.pid == pid:
                call.taken = True
                if call.late:
                    call.due = time.ticks_add(time.ticks_ms(), call.ms)

    def on_down(self, error):
        if not error:
            self.tell(self.on_api_disconnect, error_str="Disconnected", error_code=0)
            return
        self.fail(*_reason(error))
        # What the agent has not taken is sent again; answers to the rest will never come.
        self._lose([call for call in self._calls if call.taken], "connection lost")

    def _lose(self, calls, text):
        for call in calls[:]:
            if call.quiet and call.taken:
                # Of a call that need not be answered, no word is a good word.
                self._finish(call, None, 0, None)
            else:
                self._finish(call, None, _NO_ANSWER, text)

    # -- calls

    def check_connection(self, callback=None, timeout=_TIMEOUT):
        """Ask the agent for a sign of life."""
        self._call("ping", (), {"request": "Ping"}, None, callback, timeout)

    def list_sensors(self, callback=None, timeout=_TIMEOUT):
        """Ask for this client's sensors and the ids of their metrics (JSON)."""
        self._call("inventory", (), {}, None, callback, timeout)

    def create_sensor(self, sensor_name, callback=None, timeout=_TIMEOUT):
        """Make a sensor; the answer (JSON) holds its "sensorId"."""
        self._call("sensor|/create", (), {"name": sensor_name}, None, callback, timeout)

    def update_sensor_description(self, sensor_id, sensor_name, callback=None, timeout=_TIMEOUT):
        """Rename a sensor."""
        body = {"name": sensor_name}
        self._call("sensor/%s/update", (sensor_id,), body, None, callback, timeout)

    def delete_sensor(self, sensor_id, callback=None, timeout=_TIMEOUT):
        """Delete a sensor with its metrics and data."""
        self._call("sensor/%s/delete", (sensor_id,), {}, None, callback, timeout)

    def create_metric(self, metric_def, sensor_id, callback=None, timeout=_TIMEOUT):
        """
        Make metrics. metric_def: {"metrics": [{"matchingId", "name", and either "valueUnit" or
        "valueType" with "valueAnnotation"}, ...]}, a dict or JSON text, its elements too. The
        answer (JSON) is a list of {"matchingId", "metricId"}.
        """
        setup = _setup()
        check = setup.definition
        call = self._call("sensor/%s/metric", (sensor_id,), metric_def, check, callback, timeout)
        if call:
            # Kept until the answer: loading it then would make for a long step of do_next().
            call.learn = setup.learn

    def describe_metric(self, metric_id, sensor_id, callback=None, timeout=_TIMEOUT):
        """Ask for a metric's definition (JSON)."""
        ids = (sensor_id, metric_id)
        self._call("sensor/%s/metric/%s/inventory", ids, {}, None, callback, timeout)

    def update_metrics(self, sensor_id, metric_info, callback=None, timeout=_TIMEOUT):
        """Rename metrics: {"metrics": [{"metricId", "name", "valueAnnotation"}, ...]}."""
        self._call("sensor/%s/metric/update", (sensor_id,), metric_info, _named, callback, timeout)

    def delete_metric(self, msg, sensor_id, callback=None, timeout=_TIMEOUT):
        """Delete metrics of one sensor: {"metrics": [{"metricId"}, ...]}, dict or JSON text."""
        self._call("sensor/%s/metric/delete", (sensor_id,), msg, _named, callback, timeout)

    def push_metrics(
        self, sensor_id, metric_data, timestamp=None, callback=None, timeout=_TIMEOUT
    ):
        """
        Push values: {"metrics": [{"value", "metricId"}, ...]}, dict or JSON text. timestamp: int,
        ms since 1970, default now; a "timestamp" in metric_data serves too.
        """
        path = "sensor/%s|/metric/pushValues"
        self._call(path, (sensor_id,), metric_data, self._value, callback, timeout, timestamp)

    def listen_live_data(self, sensor_id, callback=None):
        """
        Hear what is pushed to a sensor, by whomever: callback(user_data, msg, error_code), default
        on_api_response. 16 sensors at most, deleted ones too. Raises InputError, ConnectionError.
        """
        sensor = "sensor/" + _id(sensor_id, 15)
        if len(self._live) >= _CALLS_MAX and sensor not in self._live:
            _refuse(19, "16 sensors")
        self._connected().subscribe(self._base + "/" + sensor + "/livedata")
        self._live[sensor] = callback

    def client_error(self, error_message, callback=None, timeout=_TIMEOUT):
        """Report an error of this client to the agent, as text. The agent need not answer."""
        self._call("|error", (), error_message, None, callback, timeout)

    def sensor_error(self, error_message, sensor_id, callback=None, timeout=_TIMEOUT):
        """Report an error of a sensor to the agent, as text. The agent need not answer."""
        self._call("sensor/%s|/error", (sensor_id,), error_message, None, callback, timeout)

    def metric_error(self, error_message, metric_id, sensor_id, callback=None, timeout=_TIMEOUT):
        """Report an error of a metric to the agent, as text. The agent need not answer."""
        ids = (sensor_id, metric_id)
        self._call("sensor/%s/metric/%s|/error", ids, error_message, None, callback, timeout)

    def deprovision(self, callback=None, timeout=_TIMEOUT):
        """
        Have the agent delete this client with its sensors, metrics and data. The agent need not
        answer. The files stay until removing_certificates().
        """
        self._call("delete", (), {}, None, callback, timeout)

    def _call(self, path, ids, body, check, callback, timeout, timestamp=None):
        # path: topic below the connector; the answer's lacks what stands behind |.
        try:
            if check:
                body = _metrics(body, check)
            elif isinstance(body, dict):
                _text(body, "name", False)
            elif not isinstance(body, str):
                _refuse(7, "error_message")
            if timestamp is not None:
                body["timestamp"] = timestamp
            if check and type(body.get("timestamp", 0)) is not int:
                _refuse(11, "timestamp")
            path, to = (path + "|").split("|")[:2]
            path %= tuple([_id(value, 15 + i) for i, value in enumerate(ids)])
        except InputError as e:
            if not (callback or self.on_api_error):
                raise
            self._answer(callback, None, e.error_code, e.message)
            return
        link = self._connected()
        if len(self._calls) >= _CALLS_MAX:
            raise ConnectionError(None, "16 calls wait for answers: do_next(), then try again")
        routes = [path]
        parts = path.split("/")
        if len(parts) > 3 and parts[-1] in ("delete", "inventory"):
            # Agents leave the metric out of where they answer these, or answer on both.
            routes.append("/".join(parts[:2] + parts[-1:]))
        call = _Call(routes, body, callback, timeout)
        # The agent need not answer these.
        call.quiet = path == "delete" or to.endswith("error")
        if isinstance(body, dict):
            body = json.dumps(body)
        try:
            call.pid = link.publish(self._base + "/" + path + to, body, qos=1)
        except OSError as e:
            raise ConnectionError(None, str(e.args[-1]))
        self._calls.append(call)
        return call

    def _connected(self):
        if not self._link:
            raise ConnectionError(None, "call connect_api() first")
        return self._link

    def _value(self, metric):
        _text(metric, "metricId")
        if "value" not in metric:
            _refuse(6, "value")
        value = metric["value"]
        code, types = _KINDS[self._kinds.get(metric["metricId"])]
        if type(value) not in types or value != value:
            _refuse(code, "value")
        if value in (float("inf"), -float("inf")):
            _refuse(19, "value")

    # -- answers

    def on_message(self, topic, msg):
        try:
            route = topic[len(self._base) + 1 :].decode()
        except UnicodeError:
            return
        if route.endswith("/livedata"):
            callback = self._live.get(route[:-9]) or self.on_api_response
            return self.tell(callback, msg=msg, error_code=0)
        route = route[:-6]
        code, text = 0, None
        failed = route.endswith("error")
        if failed:
            route = route[:-6]
            code, text = _error_of(msg)
        elif route.endswith("/info"):
            route = route[:-5]
        seen, routes, last, at = self._copy
        now = time.ticks_ms()
        if msg == last and route in routes and topic not in seen:
            if time.ticks_diff(now, at) < _COPY_MS:
                seen.append(topic)
                return
        answer = None if failed else _loads(msg)
        call = self._find(route, _key(answer))
        if call:
            if len(call.routes) > 1:
                # An agent that answers this on several topics sends the same there again.
                self._copy = ([topic], call.routes, msg, now)
            if call.learn and isinstance(answer, list):
                call.learn(self._kinds, call.body["metrics"], answer)
            self._finish(call, msg, code, text)
        elif failed:
            self.fail(code, text)
        else:
            self.log("nobody waits for this answer: " + route)

    def _find(self, route, key):
        found = None
        for call in self._calls:
            if route in call.routes:
                if key and _key(call.body) == key:
                    return call
                if not found or found.quiet and not call.quiet:
                    found = call
        return found

    def _finish(self, call, msg, code, text):
        if call in self._calls:
            self._calls.remove(call)
        if not call.late:
            self._answer(call.callback, msg, code, text)

    def _expire(self, call):
        if call.late or call.quiet and call.taken:
            self._lose([call], None)
        else:
            # It keeps its place, lest its late answer be taken for the next call's: until then,
            # or, where the agent doesn't have it yet, until it has.
            call.late = True
            call.due = time.ticks_add(call.due, call.ms)
            self._answer(call.callback, None, _NO_ANSWER, "no answer in time")

    def _answer(self, callback, msg, code, text):
        if callback:
            self.tell(callback, msg=msg, error_code=code, error_str=text)
        elif text is not None:
            self.fail(code, text)
        elif msg is not None:
            self.tell(self.on_api_response, msg=msg, error_code=code)

    def tell(self, callback, **values):
        if callback:
            callback(user_data=self._user_data, **values)

    def fail(self, code, text):
        self.log("error %s: %s" % (code, text))
        self.tell(self.on_api_error, error_str=text, error_code=code)

    def log(self, text):
        if self.on_api_log:
            self.on_api_log(text)

    # -- files

    get_cert_path = _file("-cert.pem")
    get_key_path = _file("-key.pem")
    get_csr_path = _file("-csr.pem")
    get_cert_der_path = _file("-cert.der")
    get_key_der_path = _file("-key.der")

    def get_ca_path(self):
        return self.parameters["CaFile"]

    def get_ca_der_path(self):
        return self.parameters["CertFolder"] + "/ca.der"

    # Text of the file; FileError when it can't be read.
    read_cert_from_file = _text_of(get_cert_path)
    read_key_from_file = _text_of(get_key_path)
    read_ca_from_file = _text_of(get_ca_path)
