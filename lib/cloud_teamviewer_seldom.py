"""
What a device of cloud_teamviewer does seldom: being made, provisioning and connecting, making
sensors and metrics, judging what the agent refuses. Loaded for each of these and let go again.
Stands on teamviewer_iot, json_text and cloud_seldom.
"""

import json
import os
import time

import teamviewer_iot
from json_text import loads
from micropython import const
from netstream import load_once

cloud_seldom = load_once("cloud_seldom")
acknowledged = cloud_seldom.acknowledged
lacks = cloud_seldom.lacks

_MOST = const(65536)  # bytes of a message's text
_EIO = const(5)
_UNKNOWN_SENSOR = const(15)
_UNKNOWN_METRIC = const(16)
# The agent's own trouble, which passes: no backend, no licence, out of order, no answer.
_PASSING = (1, 2, 3, 22)
_TO_1970 = const(946684800)  # seconds from 1970 to 2000, where some boards' time begins

# Where the connection is.
_AWAY = const(0)  # begin, or begin again, when it is due
_PROVISIONING = const(1)
_CONNECTED = const(2)  # once; the client reconnects by itself

_MAKE = const(2)  # what the agent is asked, as in cloud_teamviewer

# Of what is known of a sensor: a list.
_ID = const(0)  # None: still to be made
_METRICS = const(1)  # {field: (metric's id, types of its values)}
_NAME = const(2)

# How the agent calls a kind of values, and the types that are of it.
_KINDS = {"bool": (bool,), "double": (int, float), "string": (str,)}


def make(device, settings):
    """Make the client of a device."""
    cloud_seldom.prepare(device, settings)
    folder = settings["folder"].rstrip("/")
    device._units = settings.get("units") or {}
    device._file = folder + "/metrics.json"
    device._to_1970 = _TO_1970 if time.gmtime(0)[0] == 2000 else 0
    device._client = client = teamviewer_iot.TVCMI_client(
        {
            "MqttHost": settings["host"],
            "MqttProvisionPort": settings["provision_port"],
            "MqttPort": settings["port"],
            "CaFile": settings["ca"],
            "CertFolder": folder,
            "ServerName": settings.get("server_name") or settings["host"],
            "ClientName": settings.get("id") or "client",
        }
    )
    client.on_api_response = client.on_api_connect = device._hear
    client.on_api_error = client.on_api_disconnect = device._hear
    device._stage = _AWAY
    device._failures = 0
    device._due = time.ticks_ms()  # when to begin, or to go on after a failure
    device._message = None  # on its way to the agent: (sensor, fields, timestamp)
    device._asked = None
    device._sensors = _remembered(device._file)


def _remembered(file):
    # {sensor's name: what is known of it}
    sensors = {}
    try:
        with open(file) as f:
            known = json.load(f)
        for name in known:
            sensor, metrics = known[name]
            for field in metrics:
                metric, kind = metrics[field]
                metrics[field] = metric, _KINDS[kind]
            sensors[name] = [sensor, metrics, name]
    except (OSError, ValueError, TypeError, KeyError):
        pass  # there is none yet, or it was cut short
    return sensors


def look(device, name):
    """See cloud_seldom.look(); a message has a sensor, which may be still to be made."""
    names = cloud_seldom.look(device, name)
    names[name] = _sensor(device, name)


def _sensor(device, name):
    return device._sensors.setdefault(name, [None, {}, name])


def text(fields):
    """Return fields as JSON text; ValueError for what the service can't take."""
    made = cloud_seldom.text(fields, _MOST)
    for field in fields:
        if not _kind(fields[field]):
            refuse(field)
    return made


def disconnect(device, wait_ms):
    """Send what is queued, at most a second, and hang up until do_next()."""
    device._stage = _AWAY
    device._due = time.ticks_ms()
    device._client.disconnect_api()
    if device.is_connected():
        cloud_seldom.down(device, None)


# -- the connection


def start(device):
    """A pause is over: provision, and connecting follows; or the message is tried again."""
    if device._stage == _AWAY:
        # Whatever happens in here, it is tried again.
        device._due = cloud_seldom.later(device._failures)
        try:
            device._client.provision()
            device._stage = _PROVISIONING
        except teamviewer_iot.TvcmiError as e:
            _failed(device, e)
            return
    device._due = None


def tell(device):
    """Report what is to be reported, as metrics of the sensor "state"."""
    fields = device._state
    message = device._pack(_sensor(device, "state"), "", fields, None)
    cloud_seldom.told(device, device._put(*message))


def hear(device, msg=None, error_code=0, error_str=None, **ignored):
    """
    What the client says of provisioning and the connection. msg: an answer, or None; error_code,
    error_str: an error's; with code 0 of the connection: there (text or not), or ended by us.
    """
    code, text = error_code, error_str
    stage = device._stage
    if stage == _PROVISIONING and msg is not None:
        try:
            device._client.connect_api()
            device._stage = _CONNECTED
        except teamviewer_iot.TvcmiError as e:
            _failed(device, e)
    elif stage == _PROVISIONING:
        _failed(device, OSError(code or _EIO, text))
    elif stage == _CONNECTED and not code:
        if not device.is_connected():
            device._failures = 0
            cloud_seldom.up(device)
    elif stage == _CONNECTED:
        if device.is_connected():
            # Lost, most likely; if it was about something else the agent answers.
            device._client.check_connection(callback=device._hear)
        cloud_seldom.down(device, OSError(code, text))


def _failed(device, e):
    device._stage = _AWAY
    device._due = cloud_seldom.later(device._failures)
    device._failures += 1
    cloud_seldom.down(device, e)


# -- sensors and metrics


def refuse(field):
    """Raise ValueError for a value that the agent can't take, or not with what it has already."""
    text = "%s: the agent takes numbers, texts and truth values, always of one kind"
    raise ValueError(text % field)


def _kind(value):
    for kind in _KINDS:
        if type(value) in _KINDS[kind]:
            return kind


def define(device, e):
    """
    The message could not be pushed, because of e. Of a KeyError: ask for the sensor, or for the
    metrics that it lacks.
    """
    if not isinstance(e, KeyError):
        _pause(device, e)
        return
    client = device._client
    sensor, fields, _ = device._message
    metrics = sensor[_METRICS]
    device._asked = _MAKE
    try:
        if not sensor[_ID]:
            client.create_sensor(sensor[_NAME], callback=device._on_answer)
        else:
            new = [field for field in fields if field not in metrics]
            wanted = load_once("cloud_teamviewer_metrics").definitions(new, fields, device._units)
            client.create_metric(wanted, sensor[_ID], callback=device._on_answer)
    except (teamviewer_iot.TvcmiError, MemoryError) as e:
        device._asked = None
        _pause(device, e)


def answered(device, error_str, msg=None, error_code=0, **ignored):
    """The agent has made what define() asked for, or would not do what a message needs."""
    if error_str is None:
        _made(device, msg)
    else:
        e = OSError(error_code or _EIO, "the agent: %s" % error_str)
        _refused(device, e, error_code)


def _made(device, msg):
    sensor, fields, _ = device._message
    try:
        said = loads(msg)
        if not sensor[_ID]:
            sensor[_ID] = str(said["sensorId"])
        else:
            for metric in said:
                field = metric["matchingId"]
                if field in fields:
                    types = _KINDS[_kind(fields[field])]
                    sensor[_METRICS][field] = metric["metricId"], types
        device._failures = 0
    except (ValueError, KeyError, TypeError):
        _pause(device, OSError(_EIO, "the agent made nothing for " + sensor[_NAME]))
    _remember(device)


def _refused(device, e, code):
    message = device._message
    sensor = message[0]
    if code in (_UNKNOWN_SENSOR, _UNKNOWN_METRIC) and sensor[_ID]:
        # Deleted at the agent, or from the time of another certificate: made again.
        sensor[_ID] = None
        sensor[_METRICS].clear()
        _remember(device)
        _pause(device, e)
    elif code in _PASSING:
        _pause(device, e)
    else:
        device._message = None
        cloud_seldom.acknowledged(device, message, e)


def _pause(device, e):
    device.error = e
    device._due = cloud_seldom.later(device._failures)
    device._failures += 1


def _remember(device):
    # Whole or not at all: a reset in between leaves the old file.
    sensors = {}
    for name in device._sensors:
        sensor, metrics, _ = device._sensors[name]
        if sensor:
            sensors[name] = sensor, {f: (metrics[f][0], _name(metrics[f][1])) for f in metrics}
    try:
        with open(device._file + ".new", "w") as f:
            json.dump(sensors, f)
        os.rename(device._file + ".new", device._file)
    except OSError as e:
        device.error = e


def _name(types):
    for kind in _KINDS:
        if _KINDS[kind] == types:
            return kind
