"""
TeamViewer IoT agent client: sensors, metrics and their values for the agent on a gateway.

Stands on mqtt_link. What is needed seldom is loaded for it and let go again: teamviewer_setup
(parameters, connecting), teamviewer_provision, teamviewer_question, teamviewer_certificate and
teamviewer_files (to get and keep a certificate), p256 (to make a key), teamviewer_names
(definitions of metrics, words of errors). teamviewer_errors is loaded by the first error, or by a
program that names one. Names, arguments and callbacks are those of TeamViewer's Python SDK. Every
call returns at once; do_next() does the work in bounded steps. Put it where the documents'
examples sleep:

    client = TVCMI_client({"MqttHost": "gateway", "MqttProvisionPort": 18883, "MqttPort": 18884,
                           "CaFile": "TeamViewerAuthority.crt", "CertFolder": "certs"})
    client.on_api_response = client.on_api_error = print_it
    client.provision()
    while True:
        client.do_next(100)
"""

import time

from micropython import const
from umqtt.simple import MQTTException

from netstream import TLSError as _PeerError
from netstream import load_module, load_once

# What __getattr__() finds in teamviewer_errors.
_LATER = (
    "TvcmiError",
    "CallbackError",
    "TLSError",
    "ConnectionParamError",
    "ConnectionError",
    "FileError",
    "ConfigError",
    "InputError",
    "DirectoryError",
    "KeyGenerationError",
    "KeyCertificateError",
    "CertOverrideMode",
)
# The build makes one file of this one and netstream, where TLSError is another class. Since the
# name is bound here, too, the build gives the other one another name; __getattr__() is asked for
# ours.
TLSError = None
del TLSError
__all__ = ("TVCMI_client", "error_name") + _LATER  # noqa: PLE0605

_CALLS_MAX = const(16)  # calls that wait for their answer, sensors listened to
_TIMEOUT = const(30)  # s
_TIMEOUT_MAX = const(500000)  # s: ticks go round after twelve days, and count to half of that
_COPY_MS = const(2000)  # in which the same answer on another topic is a copy
_LEVELS = const(6)  # every answer ends in /inbox, one to so many levels below the connector

# The agent's error codes (teamviewer_names has their names), the SDK's 21, and 22, which is ours.
_UNKNOWN_ERROR = const(0)
_INVALID_JSON = const(4)
_NO_OBJECT = const(5)
_MISSING_PARAMETER = const(6)
_NOT_A_STRING = const(7)
_NOT_A_NUMBER = const(8)
_NOT_A_BOOL = const(9)
_NOT_AN_ARRAY = const(10)
_NOT_AN_INTEGER = const(11)
_UNKNOWN_SENSOR = const(15)
_UNKNOWN_METRIC = const(16)
_FORBIDDEN = const(18)
_OUT_OF_RANGE = const(19)
_TLS_ERROR = const(21)
_NO_ANSWER = const(22)

# CONNACK's codes.
_ACCEPTED = const(0)
_UNAVAILABLE = const(3)  # also for an agent that can't be reached

# What on_ack() of the link says: up to 2 the agent's broker has taken it.
_TAKEN_MAX = const(2)

# Where a client is.
_OFF = const(0)  # no connection is wanted
_CONNECTING = const(1)  # until the subscription for answers stands, and again after each loss
_CONNECTED = const(2)  # on_api_connect was told

# What a program may still have to be told, in this order; see _tell_news().
_NEWS_JOB = const(1)  # there was no memory to provision
_NEWS_ERROR = const(2)  # why a connection, or an attempt at one, has ended
_NEWS_END = const(4)  # that it has ended
_NEWS_CALLS = const(8)  # what became of calls that are lost
_NEWS = (_NEWS_JOB, _NEWS_ERROR, _NEWS_END, _NEWS_CALLS)
# A callback for which there is no memory is called again so often.
_SHORTAGES_MAX = const(2)

# Type of a metric's values -> the code of one that is none, and what it is in Python. None: this
# client didn't create the metric, so the agent decides.
_KINDS = {
    "bool": (_NOT_A_BOOL, (bool,)),
    "string": (_NOT_A_STRING, (str,)),
    "double": (_NOT_A_NUMBER, (int, float)),
    "integer": (_NOT_AN_INTEGER, (int,)),
    None: (_NOT_A_NUMBER, (bool, str, int, float)),
}
_INFINITE = float("inf")
_NO_MEMORY = OSError(12, "not enough memory for what came in")
_WANTED = OSError(0, "Disconnected")  # disconnect_api() was called


def __getattr__(name):
    # The classes of exceptions, and CertOverrideMode.
    return getattr(_errors(), name)


def _errors():
    return load_module("teamviewer_errors")


def error_name(code):
    """The documents' name of an error code: 12 -> "UnknownValueUnit"."""
    return load_once("teamviewer_names").error_name(code)


# -- what a program passes


def _refuse(code, text):
    load_once("teamviewer_names").refuse(code, text)


def _check_id(value, code):
    # A sensor's or metric's id becomes a level of a topic.
    if not isinstance(value, str):
        _refuse(_NOT_A_STRING, "id")
    if not value or [c for c in "/+#\0" if c in value]:
        _refuse(code, value)
    return value


def _object(data):
    # A dict, given as such or as JSON text; a copy, so that the program's stays as it was.
    if isinstance(data, (str, bytes)):
        data = _read_json(data)
        if data is None:
            _refuse(_INVALID_JSON, "metrics")
    if not isinstance(data, dict):
        _refuse(_NO_OBJECT, "metrics")
    return dict(data)


def _check_text(data, key, needed=True):
    if key not in data:
        if needed:
            _refuse(_MISSING_PARAMETER, key)
    elif not isinstance(data[key], str):
        _refuse(_NOT_A_STRING, key)


def _check_metrics(data, check):
    # ({"metrics": [...]}, [InputError, ...]): each element is checked by itself, so that a bad one
    # costs no other; the bad ones are left out.
    data = _object(data)
    if "metrics" not in data:
        _refuse(_MISSING_PARAMETER, "metrics")
    if not isinstance(data["metrics"], (list, tuple)):
        _refuse(_NOT_AN_ARRAY, "metrics")
    good = []
    bad = []
    for metric in data["metrics"]:
        try:
            metric = _object(metric)
            check(metric)
            good.append(metric)
        except _errors().InputError as e:
            bad.append(e)
    data["metrics"] = good
    return data, bad


def _check_named(metric):
    # A metric that is named by its id, to be renamed or deleted.
    _check_text(metric, "metricId")
    for key in ("name", "valueAnnotation"):
        _check_text(metric, key, False)


# -- JSON


def _read_json(text):
    # The value, or None for what is no JSON: many answers are plain text.
    json_text = load_module("json_text")
    try:
        return json_text.receive(text)
    except ValueError:
        return None


def _write_json(value):
    # JSON text; InputError for what has none, such as half a surrogate pair.
    json_text = load_module("json_text")
    try:
        return json_text.dumps(value)
    except ValueError as e:
        _refuse(_INVALID_JSON, str(e))


# -- what the agent sends


def _mark(body):
    # What tells one call from another both in request and answer: a name, or matchingIds.
    if isinstance(body, dict):
        if "metrics" not in body:
            return body.get("name")
        body = body["metrics"]
    if isinstance(body, list):
        return [isinstance(m, dict) and m.get("matchingId") for m in body]


def _file(tail):
    return lambda client: client._path + tail


def _text_of(path):
    return lambda client: load_once("teamviewer_files").read(path(client)).decode()


class _Call:
    # One call that waits for its answer.

    def __init__(self, routes, body, callback, timeout, quiet):
        self.routes = routes  # where the answer may come, without the connector and "/inbox"
        self.body = body
        self.callback = callback
        self.quiet = quiet  # the agent need not answer it
        self.learn = None  # what to make of the answer
        self.pid = 0  # of the message that carries it
        self.taken = False  # the agent's broker has it
        self.late = False  # it was told as unanswered; its answer, if one comes, is dropped
        self.lost = None  # why no answer will come, once that is known
        self.ended = False  # it is told of, or was
        self.shortages = 0  # in how many steps there was no memory to tell that it is late
        self.ms = int(min(timeout, _TIMEOUT_MAX) * 1000)
        self.since = time.ticks_ms()

    def wait_again(self):
        self.since = time.ticks_ms()

    def is_due(self):
        # Below 0: so long ago that ticks went round.
        return not 0 <= time.ticks_diff(time.ticks_ms(), self.since) <= self.ms


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
        on_api_disconnect(user_data, error_str, error_code): the connection has ended: after
            disconnect_api() with code 0; when it was lost with the code that on_api_error heard
        on_api_response(user_data, msg, error_code): an answer; msg: bytes as the agent sent them
        on_api_error(user_data, error_str, error_code): the agent's error, or no connection (codes
            of CONNACK, 3 also for an agent that can't be reached, 21 for TLS), or 22, no answer;
            from provision() also errno of a file, 0 for what has no code
        on_api_log(user_data, msg, error_str, error_code): what is going on; never holds a secret.
            msg and error_str are the same text, error_code is 0
    Each call to the agent also takes `callback`, which then hears its answer instead of the two
    above: callback(user_data, msg, error_code, error_str), error_str None on success.

    The agent's answers carry no id. They are told apart by topic, then by the name or matchingIds
    they hold, then by the order of the calls. timeout: seconds until a call counts as unanswered
    and fails with 22; for as long again its late answer is waited for, and dropped. Calls whose
    answers were lost with a connection fail with 22 too. What is called while there is no
    connection is sent when there is one, in time or not. At most 16 calls wait.

    What the agent would refuse for certain is not sent: the same code comes at once by the same
    callbacks, or, where there are none, as InputError. Of several metrics in one call only the bad
    ones are left out; each is told of, and the others are sent.
    What a callback raises comes out of the call or do_next() that led to it, when that has done
    the rest of its work. But after a MemoryError, which may mean that it never began, it is called
    again in the next step, or on a new connection; twice at most, then that comes out, too.
    Raises ConfigError, InputError, ConnectionParamError for bad parameters.
    """

    on_api_connect = on_api_disconnect = on_api_response = on_api_error = on_api_log = None

    def __init__(self, parameters, user_data=None):
        self.parameters = given = load_once("teamviewer_setup").configure(parameters)
        self.job = None  # the generator of provision(), while it runs
        self._wait_ms = 0  # how long that one may wait in the present step
        self._path = given["CertFolder"] + "/" + given["ClientName"].replace(" ", "")
        self._user_data = user_data
        self._state = _OFF
        self._lost = None  # why the last connection, or attempt at one, has ended
        self._untold = 0  # of _NEWS: what the program has yet to be told
        self._tries = 0  # in how many steps there was no memory to tell the first of it
        self._ending = 0  # how many of _calls are being told of: they take no place
        self._link = None
        self._base = ""  # topic of the connector: everything is below it
        self._inbox = 0  # packet id of the subscription for answers
        self._calls = []
        self._live = {}  # "sensor/<id>" -> callback
        self._kinds = {}  # metric id -> type of its values
        self._copied = None  # an answer that may come again elsewhere: see _is_copy()
        self._raised = None  # by a callback: comes out when the step is over

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
        if self._untold:
            self._tell_news(True)
        if self.job:
            worked = self._step_job(wait_ms)
            wait_ms = 0
        if self._link:
            worked = self._link.do_next(wait_ms) or worked
        elif wait_ms:
            time.sleep_ms(wait_ms)
        for call in self._calls:
            if (call.taken or not call.late) and call.is_due():
                try:
                    self._expire(call)
                except MemoryError as e:
                    # The next step tries again.
                    call.shortages += 1
                    if call.shortages > _SHORTAGES_MAX:
                        call.late = True
                        call.wait_again()
                        self._raised = e
                worked = True
                break
        self._raise()
        return worked

    def _step_job(self, wait_ms):
        # A step of provision(). Returns whether something happened.
        job = self.job
        self._wait_ms = wait_ms
        goes_on = out_of_memory = False
        worked = True
        try:
            worked = next(job) is not False
            goes_on = True
        except StopIteration:
            pass
        except MemoryError:
            out_of_memory = True
        finally:
            # One that was interrupted, by Ctrl-C say, can't go on.
            if not goes_on and self.job is job:
                self.job = None
        if out_of_memory:
            self._untold |= _NEWS_JOB
            self._tell_news()
        return worked

    # -- provisioning and connecting

    def provision(self):
        """
        Get a certificate for this client unless it has one. on_api_response tells the end:
        "Client is successfully provisioned." with error_code 0, or "Client is already
        provisioned." with 1. on_api_error tells why not (no answer in time, the agent says no, a
        file): call provision() again then, it goes on where it was cut short.

        Makes a P-256 key on this board, in small steps; it never leaves CertFolder. A key and
        request made on a computer (tools/certificates) and copied there are used instead.
        OVERRIDE deletes key, request and certificate first. SMART does so when the agent refuses
        the certificate or does not answer a ping; an agent that can't be reached, or whose own
        certificate is not accepted, is reported instead.
        Raises DirectoryError when CertFolder can't be made.
        """
        if not self.job:
            self.job = load_once("teamviewer_provision").provision(self)

    def connect_api(self):
        """
        Connect with the certificate of provision(), and again whenever the connection is lost,
        until disconnect_api(). on_api_connect tells when, on_api_error each attempt that fails.

        Raises FileError or KeyCertificateError when there is no usable certificate (provision()
        first), TLSError when CA, certificate or key can't be used.
        """
        link, base = load_once("teamviewer_setup").connect(self)
        self.disconnect_api()
        self._link = link
        self._base = base
        self._state = _CONNECTING
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
                # Ctrl-C may have ended the wait; or a callback has called this meanwhile.
                link.disconnect(0)
                if self._link is link:
                    self._link = None
                    self._state = _OFF
                    self._lost = _WANTED
                    self._untold = self._untold & _NEWS_JOB | _NEWS_END | _NEWS_CALLS
                    for call in self._calls:
                        call.lost = "disconnected"
            self._tell_news()
            self._raise()

    def get_connector_id(self):
        """
        The id the agent gave this client: the name in its certificate. Raises FileError without
        one, KeyCertificateError for a damaged one.
        """
        return load_once("teamviewer_certificate").certificate(self)[0]

    def removing_certificates(self):
        """Delete key, request and certificate. FileError if one resists."""
        load_once("teamviewer_files").remove_all(self)

    # The link's hooks. Where memory runs out in one the connection ends and is made anew: to stay
    # connected and hear no answers would be worse.

    def _on_up(self, _present):
        # Subscribed anew each time, so that on_api_connect comes when no answer can be missed.
        try:
            filters = [(self._base + "/+" * n + "/inbox", 1) for n in range(1, _LEVELS + 1)]
            self._inbox = self._link.subscribe(filters)
        except MemoryError:
            self._link.drop(_NO_MEMORY)

    def _on_ack(self, pid, code):
        try:
            self._settle(pid, code)
        except MemoryError:
            self._link.drop(_NO_MEMORY)

    def _on_skip(self, topic, size):
        text = "%d bytes are over MaxPacket"
        if self._link.no_memory:
            text = "there was no memory for %d bytes"
        self._log(text % size)

    def _on_down(self, error):
        # An attempt has failed, or the connection was lost. None: the link renews it by itself.
        if error:
            self._lost = error
            self._untold |= _NEWS_ERROR | _NEWS_CALLS
            if self._state == _CONNECTED:
                self._untold |= _NEWS_END
            self._state = _CONNECTING
            # What the agent has not taken is sent again; answers to the rest will never come.
            for call in self._calls:
                if call.taken:
                    call.lost = "connection lost"
            self._tell_news()

    def _tell_news(self, again=False):
        # Where there is no memory to tell of something now, the next step does, `again`.
        lost = self._lost
        for news in _NEWS:
            if self._untold & news:
                told = False
                self._untold &= ~news
                try:
                    self._tell_of(news, lost)
                    self._tries = 0
                    told = True
                except MemoryError as e:
                    self._tries += again
                    if self._tries == _SHORTAGES_MAX:
                        self._tries = 0
                        self._raised = e
                        told = news != _NEWS_CALLS or self._pass_over_lost()
                finally:
                    # Unless the callback has connected or disconnected meanwhile.
                    if not told and self._lost is lost:
                        self._untold |= news
                if not told:
                    return

    def _tell_of(self, news, lost):
        if news == _NEWS_JOB:
            self._fail(_UNKNOWN_ERROR, "not enough memory: call provision() again")
        elif news == _NEWS_CALLS:
            self._finish_lost()
        else:
            code, text = self._reason(lost)
            if news == _NEWS_ERROR:
                self._fail(code, text)
            else:
                self._tell(self.on_api_disconnect, error_str=text, error_code=code)

    def _settle(self, pid, code):
        # The agent's broker has acknowledged a message or a subscription.
        for call in self._calls:
            if call.pid == pid:
                if code > _TAKEN_MAX:
                    call.lost = "the agent does not take it"
                    self._finish_lost()
                elif not call.taken:
                    call.taken = True
                    if call.late:
                        # It was sent late: from now on its answer may come.
                        call.wait_again()
                return
        if code > _TAKEN_MAX:
            self._fail(_FORBIDDEN, "subscription refused")
        elif pid == self._inbox:
            self._state = _CONNECTED
            try:
                text = "Connection successful"
                self._tell(self.on_api_connect, error_str=text, error_code=_ACCEPTED)
            except MemoryError:
                if self._state == _CONNECTED:
                    self._state = _CONNECTING
                raise

    def _reason(self, error):
        # (code, text) for a connection that failed or was lost.
        if error is _WANTED:
            return _ACCEPTED, error.args[1]
        args = error.args or ("connection lost",)
        if isinstance(error, MQTTException) and isinstance(args[0], int):
            return args[0], load_once("teamviewer_names").refusal(args[0])
        code = _TLS_ERROR if isinstance(error, _PeerError) else _UNAVAILABLE
        return code, str(args[-1])

    def _pass_over_lost(self):
        # The first of the lost calls is not told of. Returns False: there may be others.
        for call in self._calls:
            if call.lost and not call.late:
                call.late = True
                break
        return False

    def _finish_lost(self):
        # Callbacks may make calls and end them: after each one the list is looked through anew.
        found = True
        while found:
            found = False
            for call in self._calls:
                if call.lost and not call.ended:
                    found = True
                    break
            if not found:
                return
            if call.quiet and call.taken:
                # Of a call that need not be answered, no word is a good word.
                self._finish(call, None, _UNKNOWN_ERROR, None)
            else:
                self._finish(call, None, _NO_ANSWER, call.lost)

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
        names = load_once("teamviewer_names")
        call = self._call(
            "sensor/%s/metric",
            (sensor_id,),
            metric_def,
            lambda metric: names.definition(metric, _check_text),
            callback,
            timeout,
        )
        if call:
            # Kept until the answer: loading it then would make for a long step of do_next().
            call.learn = names.learn

    def describe_metric(self, metric_id, sensor_id, callback=None, timeout=_TIMEOUT):
        """Ask for a metric's definition (JSON)."""
        ids = (sensor_id, metric_id)
        self._call("sensor/%s/metric/%s/inventory", ids, {}, None, callback, timeout)

    def update_metrics(self, sensor_id, metric_info, callback=None, timeout=_TIMEOUT):
        """Rename metrics: {"metrics": [{"metricId", "name", "valueAnnotation"}, ...]}."""
        path = "sensor/%s/metric/update"
        self._call(path, (sensor_id,), metric_info, _check_named, callback, timeout)

    def delete_metric(self, msg, sensor_id, callback=None, timeout=_TIMEOUT):
        """Delete metrics of one sensor: {"metrics": [{"metricId"}, ...]}, dict or JSON text."""
        path = "sensor/%s/metric/delete"
        self._call(path, (sensor_id,), msg, _check_named, callback, timeout)

    def push_metrics(
        self, sensor_id, metric_data, timestamp=None, callback=None, timeout=_TIMEOUT
    ):
        """
        Push values: {"metrics": [{"value", "metricId"}, ...]}, dict or JSON text. timestamp: int,
        ms since 1970, default now; a "timestamp" in metric_data serves too.
        """
        path = "sensor/%s|/metric/pushValues"
        check = self._check_value
        self._call(path, (sensor_id,), metric_data, check, callback, timeout, timestamp)

    def listen_live_data(self, sensor_id, callback=None):
        """
        Hear what is pushed to a sensor, by whomever: callback(user_data, msg, error_code), default
        on_api_response. 16 sensors at most, deleted ones too. Raises InputError, ConnectionError.
        """
        sensor = "sensor/" + _check_id(sensor_id, _UNKNOWN_SENSOR)
        if len(self._live) >= _CALLS_MAX and sensor not in self._live:
            _refuse(_OUT_OF_RANGE, "16 sensors")
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
        # check: what each of the metrics in body must pass; None where there are none.
        # Returns the _Call, None when nothing was sent.
        call = text = None
        bad = ()
        errors = _errors()
        try:
            body, bad = self._check_body(body, check, timestamp)
            path, to = (path + "|").split("|")[:2]
            path %= tuple([_check_id(ids[i], _UNKNOWN_SENSOR + i) for i in range(len(ids))])
            if not bad or body["metrics"]:
                text = _write_json(body) if isinstance(body, dict) else body
        except errors.InputError as e:
            bad = (e,)
        heard = callback or self.on_api_error
        # First what is wrong: if there is no memory to tell it, nothing has been sent.
        if heard:
            for e in bad:
                self._answer(callback, None, e.error_code, e.message)
        if text is not None:
            call = self._send(path, to, body, text, callback, timeout)
        if bad and not heard:
            raise bad[0]
        self._raise()
        return call

    def _check_body(self, body, check, timestamp):
        # (what to send: dict or text, the errors of the metrics that are left out of it)
        bad = ()
        if check:
            body, bad = _check_metrics(body, check)
            if timestamp is not None:
                body["timestamp"] = timestamp
            if type(body.get("timestamp", 0)) is not int:
                _refuse(_NOT_AN_INTEGER, "timestamp")
        elif isinstance(body, dict):
            _check_text(body, "name", False)
        elif not isinstance(body, str):
            _refuse(_NOT_A_STRING, "error_message")
        return body, bad

    def _send(self, path, to, body, text, callback, timeout):
        link = self._connected()
        if len(self._calls) - self._ending >= _CALLS_MAX:
            text = "16 calls wait for answers: do_next(), then try again"
            raise _errors().ConnectionError(None, text)
        routes = [path]
        parts = path.split("/")
        if len(parts) > 3 and parts[-1] in ("delete", "inventory"):
            # Agents leave the metric out of where they answer these, or answer on both.
            routes.append("/".join(parts[:2] + parts[-1:]))
        quiet = path == "delete" or to.endswith("error")
        call = _Call(routes, body, callback, timeout, quiet)
        # It waits from now on: what was sent without that would be told to nobody.
        self._calls.append(call)
        try:
            call.pid = link.publish(self._base + "/" + path + to, text, qos=1)
        except OSError as e:
            raise _errors().ConnectionError(None, str(e.args[-1]))
        finally:
            if not call.pid:
                self._calls.remove(call)
        return call

    def _connected(self):
        if not self._link:
            raise _errors().ConnectionError(None, "call connect_api() first")
        return self._link

    def _check_value(self, metric):
        # One metric of push_metrics().
        _check_text(metric, "metricId")
        if "value" not in metric:
            _refuse(_MISSING_PARAMETER, "value")
        value = metric["value"]
        code, types = _KINDS[self._kinds.get(metric["metricId"])]
        if type(value) not in types or value != value:
            _refuse(code, "value of " + metric["metricId"])
        if value in (_INFINITE, -_INFINITE):
            _refuse(_OUT_OF_RANGE, "value of " + metric["metricId"])

    # -- answers

    def _hear(self, topic, msg):
        try:
            route = topic[len(self._base) + 1 :].decode()
        except UnicodeError:
            return
        if route.endswith("/livedata"):
            callback = self._live.get(route[: -len("/livedata")]) or self.on_api_response
            self._tell(callback, msg=msg, error_code=_UNKNOWN_ERROR)
            return
        route = route[: -len("/inbox")]
        failed = route.endswith("error")
        if failed:
            route = route[: -len("/error")]
        elif route.endswith("/info"):
            route = route[: -len("/info")]
        if not self._is_copy(topic, route, msg):
            self._on_answer(topic, route, msg, failed)

    def _on_answer(self, topic, route, msg, failed):
        code, text = self._error_of(msg) if failed else (_UNKNOWN_ERROR, None)
        answer = None if failed else _read_json(msg)
        call = self._find(route, _mark(answer))
        if call:
            if len(call.routes) > 1:
                # An agent that answers this on several topics sends the same there again.
                self._copied = ([topic], call.routes, msg, time.ticks_ms())
            if call.learn and isinstance(answer, list):
                call.learn(self._kinds, call.body["metrics"], answer)
            self._finish(call, msg, code, text)
        elif failed:
            self._fail(code, text)
        else:
            self._log("nobody waits for this answer: " + route)

    def _is_copy(self, topic, route, msg):
        # Whether this is the last answer once more, on another of its call's topics.
        if not self._copied:
            return False
        seen, routes, last, at = self._copied
        if msg != last or route not in routes or topic in seen:
            return False
        if not 0 <= time.ticks_diff(time.ticks_ms(), at) < _COPY_MS:
            return False
        seen.append(topic)
        return True

    def _error_of(self, payload):
        # (code, text) of an agent's error; the payload itself when it isn't what is documented.
        error = _read_json(payload)
        if not isinstance(error, dict):
            return _UNKNOWN_ERROR, str(payload)[2:-1]  # escaped, whatever it is
        try:
            code = int(error.get("errorcode", error.get("errorCode", _UNKNOWN_ERROR)))
        except (ValueError, TypeError, OverflowError):
            code = _UNKNOWN_ERROR
        return code, str(error.get("errorMessage") or error_name(code))

    def _find(self, route, mark):
        # The call that an answer is for, or None.
        found = None
        for call in self._calls:
            if route in call.routes:
                if mark and _mark(call.body) == mark:
                    return call
                if not found or found.quiet and not call.quiet:
                    found = call
        return found

    def _finish(self, call, msg, code, text):
        # Tells of the end of a call, which leaves the list by that; once, and not before.
        if call.ended:
            return
        call.ended = True
        self._ending += 1
        try:
            if not call.late:
                self._answer(call.callback, msg, code, text)
            self._tries = 0
        except MemoryError:
            call.ended = False
            raise
        finally:
            self._ending -= 1
            if call.ended:
                self._calls.remove(call)

    def _expire(self, call):
        if call.late or call.quiet and call.taken:
            # Not told again; and of a call that need not be answered, no word is a good word.
            self._finish(call, None, _UNKNOWN_ERROR, None)
        else:
            # It keeps its place, lest its late answer be taken for the next call's: until then,
            # or, where the agent doesn't have it yet, until it has.
            since = call.since
            call.late = True
            call.wait_again()
            try:
                self._answer(call.callback, None, _NO_ANSWER, "no answer in time")
            except MemoryError:
                call.late = False
                call.since = since
                raise

    # -- telling the program

    def _answer(self, callback, msg, code, text):
        if callback:
            self._tell(callback, msg=msg, error_code=code, error_str=text)
        elif text is not None:
            self._fail(code, text)
        elif msg is not None:
            self._tell(self.on_api_response, msg=msg, error_code=code)

    def _tell(self, callback, **values):
        # Call back. An exception waits until what is being done is finished. But for want of
        # memory it may never have begun: then it is for the caller to see that it is told again.
        if callback:
            try:
                callback(user_data=self._user_data, **values)
            except MemoryError:
                raise
            except Exception as e:
                self._raised = e

    def _raise(self):
        e = self._raised
        if e:
            self._raised = None
            raise e

    def _fail(self, code, text):
        if self.on_api_log:
            self._log("error %s: %s" % (code, text))
        self._tell(self.on_api_error, error_str=text, error_code=code)

    def _log(self, text):
        # Nothing depends on it: what there is no memory for is left out.
        try:
            self._tell(self.on_api_log, msg=text, error_str=text, error_code=_UNKNOWN_ERROR)
        except MemoryError:
            pass

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
