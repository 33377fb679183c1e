"""
A device of cloud_mqtt that tells Home Assistant of each field when it is first sent, so that it
appears there as a sensor by itself. Stands on cloud_mqtt; cloud_homeassistant_config is loaded for
a new field.
"""

from cloud_mqtt import Service as _Device
from micropython import const
from netstream import load_once

_ANNOUNCED_MAX = const(64)


class Service(_Device):
    """See cloud_device.Device. settings: as cloud_settings.read() returns them."""

    def send(self, fields, name="telemetry", when=None):
        """See cloud_device.Device."""
        number = super().send(fields, name, when)
        self._announce(self._names[name], name, fields)
        return number

    def report(self, fields):
        """See cloud_device.Device."""
        super().report(fields)
        self._announce(self._topics["report"], "state", fields)

    def _announce(self, topic, name, fields):
        told = self._announced
        for field in fields:
            if (name, field) not in told and len(told) < _ANNOUNCED_MAX:
                config = load_once("cloud_homeassistant_config").config
                found = config(self._settings, topic, name, field, fields[field])
                if found:
                    try:
                        self._put(found[0], found[1], True, 1)
                    except OSError:  # no room now: with the next message
                        continue
                told.add((name, field))
