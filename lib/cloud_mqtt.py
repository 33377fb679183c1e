"""
A device of cloud.py on any MQTT broker: topics by template, its status as retained message and
last will. Stands on cloud_device; cloud_mqtt_seldom makes it.
"""

from cloud_device import Device as _Device
from netstream import load_once


class Service(_Device):
    """See cloud_device.Device. settings: as cloud_settings.read() returns them."""

    _seldom = "cloud_mqtt_seldom"

    def _pack(self, topic, text, fields, when):
        if when is not None and "ts" not in fields:
            text = self._text(dict(fields, ts=load_once(self._seldom).stamp(when)))
        # What the link's publish() takes.
        return topic, text, False, 1
