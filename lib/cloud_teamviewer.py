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

_SENSORS = const("cloud_teamviewer_sensors")

# What the agent is asked just now, if anything.
_PUSH = const(1)  # to take the values of the message
_MAKE = const(2)  # a sensor or metrics

_METRICS = const(1)  # of what is known of a sensor: {field: (metric's id, types of its values)}


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
            (sensor_id, metrics, _), fields, when = self._message
            values = []
            try:
                for field in fields:
                    values.append({"metricId": metrics[field][0], "value": fields[field]})
                push = self._client.push_metrics
                push(sensor_id, {"metrics": values}, when, callback=self._said.update)
                self._asked = _PUSH
            except Exception as e:
                # A metric that is new, or the client can't ask just now.
                load_once(_SENSORS).define(self, e)
        # If this ends with a MemoryError an answer may be lost: then it is asked anew.
        asked, self._asked = self._asked, None
        worked = self._client.do_next(wait_ms)
        self._asked = asked
        # The client has put an answer there. It comes once: if memory is too short for what it
        # means, there is some in a later step.
        said = self._said
        if said and asked:
            if asked == _MAKE or said["error_str"] is not None:
                load_once(_SENSORS).answered(self, **said)
            else:
                self._on_ack(self._message, 0)
                self._message = None
            self._asked = None
        said.clear()
        return worked

    def _pack(self, sensor, text, fields, when):
        metrics = sensor[_METRICS]
        for field in fields:
            if field in metrics and type(fields[field]) not in metrics[field][1]:
                load_once(self._seldom).refuse(field)
        if when is not None:
            when = load_once(self._seldom).stamp(when)
        return sensor, dict(fields), when

    def _put(self, *message):
        if not self._message and self._up:
            self._message = message
            return message
