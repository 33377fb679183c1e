"""
What a device of cloud_teamviewer does seldom: being made, provisioning and connecting, making
sensors and metrics, judging what the agent refuses. Loaded for each of these and let go again.
Stands on teamviewer_iot, json_text and cloud_seldom.
"""

import json
import os
import time

import teamviewer_iot
from cloud_seldom import later
from json_text import loads
from micropython import const
from netstream import load_once

_EIO = const(5)
_UNKNOWN_SENSOR = const(15)
_UNKNOWN_METRIC = const(16)
# The agent's own trouble, which passes: no backend, no licence, out of order, no answer.
_PASSING = (1, 2, 3, 22)
_TO_1970 = const(946684800)  # seconds from 1970 to 2000, where some boards' time begins

# Where the connection is, as in cloud_teamviewer.
_AWAY = const(0)
_PROVISIONING = const(1)
_CONNECTED = const(2)


def make(device, settings):
    """Make the client of a device."""
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
    client.on_api_response = client.on_api_connect = device._on_connection
    client.on_api_error = client.on_api_disconnect = device._on_connection
    # {sensor's name: [its id, {field: [metric's id, kind of value]}]}
    device._sensors = {}
    try:
        with open(device._file) as f:
            device._sensors = dict(json.load(f))
    except (OSError, ValueError, TypeError):
        pass  # there is none yet, or it was cut short


def disconnect(device, wait_ms):
    """Send what is queued, at most a second, and hang up until do_next()."""
    device._stage = _AWAY
    device._due = None
    device._client.disconnect_api()
    if device.is_connected():
        device._on_down(None)


# -- the connection


def begin(device):
    """Provision; connecting follows."""
    device._stage = _PROVISIONING
    try:
        device._client.provision()
    except teamviewer_iot.TvcmiError as e:
        _failed(device, e)


def tell(device, fields):
    """Report fields, as metrics of the sensor "state"."""
    return device._put(*device._pack("state", "", fields, None))


def hear(device, msg, code, text):
    """
    What the client says of provisioning and the connection. msg: an answer, or None; code, text:
    an error's; with code 0 of the connection: there (text or not), or ended by us.
    """
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
            device._on_up()
    elif stage == _CONNECTED:
        if device.is_connected():
            # Lost, most likely; if it was about something else the agent answers.
            device._client.check_connection(callback=device._on_connection)
        device._on_down(OSError(code, text))


def _failed(device, e):
    device._stage = _AWAY
    device._due = later(device._failures)
    device._failures += 1
    device._on_down(e)


# -- sensors and metrics


def check(fields, metrics, kinds):
    """Raise ValueError for values that the agent can't take, or not with what it has already."""
    for field in fields:
        kind = kinds.get(type(fields[field]))
        if not kind or field in metrics and metrics[field][1] != kind:
            text = "%s: the agent takes numbers, texts and truth values, always of one kind"
            raise ValueError(text % field)


def define(device, name, fields, sensor, metrics):
    """Ask for the sensor of a message, or for the metrics that it lacks."""
    client = device._client
    try:
        if not sensor:
            client.create_sensor(name, callback=device._on_answer)
        else:
            new = [field for field in fields if field not in metrics]
            wanted = load_once("cloud_teamviewer_metrics").definitions(new, fields, device._units)
            client.create_metric(wanted, sensor, callback=device._on_answer)
    except teamviewer_iot.TvcmiError as e:
        device._asked = 0
        _pause(device, e)


def made(device, msg, kinds):
    """The agent's answer to define(): remember the ids."""
    name, fields, _ = device._message
    try:
        said = loads(msg)
        if name not in device._sensors:
            device._sensors[name] = [str(said["sensorId"]), {}]
        else:
            for metric in said:
                field = metric["matchingId"]
                if field in fields:
                    kind = kinds[type(fields[field])]
                    device._sensors[name][1][field] = [metric["metricId"], kind]
    except (ValueError, KeyError, TypeError):
        _pause(device, OSError(_EIO, "the agent made nothing for " + name))
    _remember(device)


def refused(device, code, text):
    """The agent would not do what a message needs."""
    e = OSError(code or _EIO, "the agent: %s" % text)
    message = device._message
    if code in (_UNKNOWN_SENSOR, _UNKNOWN_METRIC) and message[0] in device._sensors:
        # Deleted at the agent, or from the time of another certificate: made again.
        del device._sensors[message[0]]
        _remember(device)
        _pause(device, e)
    elif code in _PASSING:
        _pause(device, e)
    else:
        device._message = None
        device._on_ack(message, e)


def _pause(device, e):
    device.error = e
    device._due = later(device._failures)
    device._failures += 1


def _remember(device):
    # Whole or not at all: a reset in between leaves the old file.
    try:
        with open(device._file + ".new", "w") as f:
            json.dump(device._sensors, f)
        os.rename(device._file + ".new", device._file)
    except OSError as e:
        device.error = e
