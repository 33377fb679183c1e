"""
A device of cloud.py at IBM IoT Foundation, Maximo, or whatever speaks its grammar: messages are
events in its IOTF form, commands are answered by an event "answer". Stands on cloud_device;
cloud_ibm_seldom makes it.
"""

from cloud_device import Device as _Device
from netstream import load_once


class Service(_Device):
    """See cloud_device.Device. settings: as cloud_settings.read() returns them."""

    can = ("command", "report")
    _seldom = "cloud_ibm_seldom"

    def _lacks(self, f=None):
        if f:
            load_once(self._seldom).lacks()

    on_setting = property(_lacks, _lacks)

    def _pack(self, topic, text, fields, when):
        if when is not None:
            text += ',"ts":"%s"' % load_once(self._seldom).stamp(when)
        # What the link's publish() takes.
        return topic, '{"d":' + text + "}", False, 1
