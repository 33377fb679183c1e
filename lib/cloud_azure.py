"""
A device of cloud.py at Azure IoT Central or IoT Hub: messages are telemetry, reports and settings
the twin, commands direct methods (and what is queued as a command). Stands on cloud_device and
iotc.
"""

import time

from cloud_device import Device as _Device
from micropython import const
from netstream import load_once


_NEVER = const(1)  # of sendTelemetry(): no hub would take it


class Service(_Device):
    """
    See cloud_device.Device. settings: as cloud_settings.read() returns them.

    A component's command or setting is called "component.name"; send(fields, name) is telemetry of
    the component `name`, without a name of the device itself; report({"component.name": value}).
    """

    _seldom = "cloud_azure_seldom"

    def _step(self, wait_ms):
        client = self._client
        if not (client.isConnected() or client.isStarting()):
            # At first, and after the service has refused us or could not be reached.
            if self._due is not None and time.ticks_diff(self._due, time.ticks_ms()) > 0:
                time.sleep_ms(wait_ms)
                return False
            load_once(self._seldom).begin(self)
        worked = client.do_next(wait_ms)
        while self._out and self._up and not client.inflight:
            # The hub has acknowledged everything: no event of one may be missing.
            self._on_ack(self._out[0][1], 0)
        return worked

    def _pack(self, properties, text, fields, when):
        if when is not None:
            properties = load_once(self._seldom).dated(properties, when)
        return text, properties

    def _put(self, text, properties):
        client = self._client
        if client.isConnected():  # else there is no hub yet whose link could keep it
            code = client.sendTelemetry(text, properties)
            if not code:
                return text
            if code == _NEVER:
                load_once(self._seldom).never(self, client.error)

    def _on_sent(self, info):
        self._on_ack(info.payload, info.statusCode)
