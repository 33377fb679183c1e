"""
The sensors and metrics of a device of cloud_teamviewer: made when they are first sent, remembered
in a file beside the certificate, made again when the agent has lost them. Loaded for each of these
and let go again. Stands on teamviewer_iot, json_text and cloud_seldom.
"""

import json
import os

import teamviewer_iot
from json_text import loads
from micropython import const
from netstream import load_once

cloud_seldom = load_once("cloud_seldom")

_EIO = const(5)
_UNKNOWN_SENSOR = const(15)
_UNKNOWN_METRIC = const(16)
# The agent's own trouble, which passes: no backend, no licence, out of order, no answer.
_PASSING = (1, 2, 3, 22)

_MAKE = const(2)  # what the agent is asked, as in cloud_teamviewer

# Of what is known of a sensor: a list.
_ID = const(0)  # None: still to be made
_METRICS = const(1)  # {field: (metric's id, types of its values)}
_NAME = const(2)

# How the agent calls a kind of values, and the types that are of it.
_KINDS = {"bool": (bool,), "double": (int, float), "string": (str,)}


def remembered(file):
    """Return {sensor's name: what is known of it} as the file has it, {} where there is none."""
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
            client.create_sensor(sensor[_NAME], callback=device._said.update)
        else:
            new = [field for field in fields if field not in metrics]
            wanted = load_once("cloud_teamviewer_metrics").definitions(new, fields, device._units)
            client.create_metric(wanted, sensor[_ID], callback=device._said.update)
    except (teamviewer_iot.TvcmiError, MemoryError) as e:
        device._asked = None
        _pause(device, e)


def answered(device, error_str=None, msg=None, error_code=0, **ignored):
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
    # Whole or not at all: a reset in between leaves the old file. What could not be written is
    # written with what is made next.
    sensors = {}
    try:
        for name in device._sensors:
            sensor, metrics, _ = device._sensors[name]
            if sensor:
                sensors[name] = sensor, {f: (metrics[f][0], _name(metrics[f][1])) for f in metrics}
        with open(device._file + ".new", "w") as f:
            json.dump(sensors, f)
        os.rename(device._file + ".new", device._file)
    except (OSError, MemoryError) as e:
        device.error = e


def _name(types):
    for kind in _KINDS:
        if _KINDS[kind] == types:
            return kind
