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

# What the agent is asked just now, if anything.
_PUSH = const(1)  # to take the values of the message
_MAKE = const(2)  # a sensor or metrics

# Of what is known of a sensor.
_ID = const(0)  # None: still to be made
_METRICS = const(1)  # {field: (metric's id, types of its values)}


class Service(_Device):
    """See cloud_device.Device. settings: as cloud_settings.read() returns them."""

    can = ("report",)
    _seldom = "cloud_teamviewer_seldom"

    def _lacks(self, f=None):
        if f:
            load_once(self._seldom).lacks()

    on_command = on_setting = property(_lacks, _lacks)

    def _step(self, wait_ms):
        if self._due is not None:
            if time.ticks_diff(self._due, time.ticks_ms()) <= 0:
                load_once(self._seldom).start(self)
        elif self._message and self._up and not self._asked:
            sensor, fields, when = self._message
            metrics = sensor[_METRICS]
            self._asked = _PUSH
            values = []
            try:
                for field in fields:
                    values.append({"metricId": metrics[field][0], "value": fields[field]})
                values = {"metrics": values}
                self._client.push_metrics(sensor[_ID], values, when, callback=self._on_answer)
            except Exception as e:
                # A metric that is new, or the client can't ask just now.
                self._asked = None
                load_once(self._seldom).define(self, e)
        return self._client.do_next(wait_ms)

    def _pack(self, sensor, text, fields, when):
        metrics = sensor[_METRICS]
        for field in fields:
            if field in metrics and type(fields[field]) not in metrics[field][1]:
                load_once(self._seldom).refuse(field)
        return sensor, dict(fields), when if when is None else (int(when) + self._to_1970) * 1000

    def _put(self, *message):
        if not self._message and self._up:
            self._message = message
            return message

    def _on_answer(self, error_str=None, **answer):
        asked, self._asked = self._asked, None
        if asked == _MAKE or error_str is not None:
            load_once(self._seldom).answered(self, error_str, **answer)
        else:
            message, self._message = self._message, None
            self._on_ack(message, 0)
