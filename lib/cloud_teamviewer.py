"""
A device of cloud.py at a TeamViewer IoT agent: a message's name is a sensor, its fields are
metrics. Both are made when they are first sent, and remembered in a file beside the certificate.
One message is on its way at a time, so that the order holds. Stands on cloud_device and
teamviewer_iot.
"""

import time

from cloud_device import Device as _Device
from micropython import const
from netstream import load_once

# Where the connection is.
_AWAY = const(0)  # begin, or begin again, when it is due
_PROVISIONING = const(1)
_CONNECTED = const(2)  # once; the client reconnects by itself

# What the agent is asked just now.
_NOTHING = const(0)
_PUSH = const(1)
_MAKE = const(2)  # a sensor or metrics

# How the agent calls a type of values.
_KINDS = {bool: "bool", int: "double", float: "double", str: "string"}


class Service(_Device):
    """See cloud_device.Device. settings: as cloud_settings.read() returns them."""

    can = ("report",)
    _seldom = "cloud_teamviewer_seldom"
    _most = 65536
    _template = "{name}"
    _stage = _AWAY
    _asked = _NOTHING
    _due = None  # when (ticks_ms) to go on after a failure
    _failures = 0
    _message = None  # on its way to the agent: (sensor's name, fields, timestamp)

    def _lacks(self, f=None):
        if f:
            load_once("cloud_seldom").lacks()

    on_command = on_setting = property(_lacks, _lacks)

    def _step(self, wait_ms):
        if self._due is not None:
            left = time.ticks_diff(self._due, time.ticks_ms())
            if left <= 0:
                self._due = None
            elif self._stage == _AWAY:
                time.sleep_ms(min(left, wait_ms))
                return False
        elif self._stage == _AWAY:
            load_once(self._seldom).begin(self)
        elif self._message and self._up and not self._asked:
            name, fields, when = self._message
            sensor, metrics = self._sensors.get(name) or (None, ())
            self._asked = _MAKE
            if [field for field in fields if field not in metrics]:
                load_once(self._seldom).define(self, name, fields, sensor, metrics)
            else:
                self._asked = _PUSH
                values = [{"metricId": metrics[f][0], "value": fields[f]} for f in fields]
                values = {"metrics": values}
                self._client.push_metrics(sensor, values, when, callback=self._on_answer)
        return self._client.do_next(wait_ms)

    def _pack(self, name, text, fields, when):
        metrics = self._sensors.get(name, ((), ()))[1]
        for field in fields:
            if field not in metrics or metrics[field][1] != _KINDS.get(type(fields[field])):
                load_once(self._seldom).check(fields, metrics, _KINDS)
                break
        return name, dict(fields), when if when is None else (int(when) + self._to_1970) * 1000

    def _put(self, *message):
        if not self._message and self._up:
            self._message = message
            return message

    def _on_answer(self, msg=None, error_code=0, error_str=None, **ignored):
        asked = self._asked
        self._asked = _NOTHING
        if error_str is not None:
            load_once(self._seldom).refused(self, error_code, error_str)
        elif asked == _MAKE:
            load_once(self._seldom).made(self, msg, _KINDS)
        else:
            self._failures = 0
            message = self._message
            self._message = None
            self._on_ack(message)

    def _on_connection(self, msg=None, error_code=0, error_str=None, **ignored):
        self._hear(msg, error_code, error_str)
