"""
A watcher of cloud.py at IBM IoT Foundation, or whatever speaks its grammar: an application.
Devices are called "type:id". Stands on cloud_watcher and ibmiotf.application.
"""

import ibmiotf.application
from cloud_time import seconds
from cloud_watcher import Watcher as _Watcher
from micropython import const

_ENOBUFS = const(105)


class Service(_Watcher):
    """See cloud_watcher.Watcher. settings: as cloud_settings.read() returns them."""

    def __init__(self, settings):
        get = settings.get
        self._client = client = ibmiotf.application.Client(
            {
                "org": settings["org"],
                "id": settings["id"],
                "auth-method": "apikey",
                "auth-key": get("key"),
                "auth-token": get("token"),
                "host": get("host"),
                "port": get("port") or (None if settings["ca"] else 1883),
                "ca": settings["ca"],
                "ssl": bool(settings["ca"]),
            }
        )
        client.deviceEventCallback = self._on_device_event
        client.deviceStatusCallback = self._on_device_status
        client.errorCallback = self._on_trouble
        self._link = client.link
        self._link.on_up = self._on_up
        self._step = client.do_next

    def watch(self, device="+", name="+"):
        """See cloud_watcher.Watcher. device: "type:id", either of them may be "+"."""
        kind, number = _split(device)
        self._client.subscribeToDeviceEvents(kind, number, name, "+", 1)
        if name != "+":
            self._client.subscribeToDeviceEvents(kind, number, "answer", "+", 1)
        self._client.subscribeToDeviceStatus(kind, number, 1)

    def command(self, device, name, args=None):
        """See cloud_watcher.Watcher."""
        kind, number = _split(device)
        if self._link.inflight >= self._link.window:
            raise OSError(_ENOBUFS, "no room for the command: call do_next(), send it again later")
        if not self._client.publishCommand(kind, number, name, "json", args, 1):
            raise self._client.error

    def _on_trouble(self, e):
        self.error = e
        if not self._link.is_connected():
            self._on_down(e)

    def _on_device_event(self, event):
        fields = event.data
        if event.event == "answer" and isinstance(fields, dict) and "command" in fields:
            status = fields.get("status")
            f = self.on_answer
            return self._call(f, event.device, fields["command"], status, fields.get("answer"))
        when = seconds(event.timestamp.isoformat())
        self._call(self.on_event, event.device, event.event, fields, when)

    def _on_device_status(self, status):
        if status.device:
            self._call(self.on_status, status.device, status.action == "Connect")


def _split(device):
    kind, _, number = device.partition(":")
    return kind, number or "+"
