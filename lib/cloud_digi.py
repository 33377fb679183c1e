"""
A watcher of cloud.py at Digi Remote Manager: a monitor for the topics of the settings, made when
there is none, and kept. Stands on cloud_watcher and idigi_monitor_api.
"""

import time

import idigi_monitor_api
from cloud_time import seconds
from cloud_watcher import Watcher as _Watcher
from micropython import const

_REFUSALS_MAX = const(3)  # then a block for which on_event raises is given up
_PAUSE_MS = const(10000)  # before the service is asked again for a monitor


class Service(_Watcher):
    """
    See cloud_watcher.Watcher. settings: as cloud_settings.read() returns them.

    A DataPoint of the stream "device/temperature" is on_event("device", "DataPoint",
    {"temperature": 21.5}, when); other topics carry their object as fields. The first do_next()
    asks for the monitor, and may take as long as that answer, a minute at most; on_wait() is
    called meanwhile, to feed a watchdog. A block for which on_event raises comes again, three
    times.
    """

    can = ("event", "status")
    _session = None
    _due = None  # when (ticks_ms) to ask for a monitor again
    _refusals = 0  # how often on_event has raised for the same block
    _is_again = False  # the block shall come again
    _watched = ()  # (device, name) of each watch()

    def __init__(self, settings):
        get = settings.get
        self._topics = settings["topics"]
        secure = bool(settings["ca"])
        self._client = idigi_monitor_api.push_client(
            settings["username"],
            settings["password"],
            get("host"),
            secure,
            settings["ca"],
            port=get("port"),
            push_port=get("push_port"),
            threads=False,
        )

    def disconnect(self, wait_ms=1000):
        """Hang up until do_next(); the monitor stays, and keeps what comes meanwhile."""
        if self._session:
            self._session.stop()
            self._session = None
            self._on_down(None)

    def watch(self, device="+", name="+"):
        """See cloud_watcher.Watcher. name: one of Digi's topics, such as "DataPoint"."""
        self._watched = self._watched + ((device, name),)

    def _step(self, wait_ms):
        if not self._session:
            left = time.ticks_diff(self._due, time.ticks_ms()) if self._due is not None else 0
            if left > 0:
                time.sleep_ms(min(left, wait_ms))
                return False
            self._due = time.ticks_add(time.ticks_ms(), _PAUSE_MS)
            self._open()
            return True
        worked = self._session.do_next(wait_ms)
        if self._is_again:
            # The service sends a block that was not taken on the next connection.
            self._is_again = False
            self._session.stop()
            self._session.start()
        return worked

    def _open(self):
        client = self._client
        client.on_wait = self.on_wait
        topics = self._topics
        try:
            # Explicit: a block stays with the service until on_event has returned for it.
            monitor = client.get_monitor(topics) or client.create_monitor(
                topics, ackOption="explicit", autoReplay=True
            )
            self._session = session = client.create_session(self._on_messages, monitor, True)
        except (OSError, ValueError, idigi_monitor_api.MonitorError) as e:
            self._on_down(e)
            return
        session.on_up = self._on_up
        session.on_down = self._on_down
        session.on_skip = self._on_skip

    def _on_skip(self, number, size, why):
        self.error = why
        return True  # it would come again and again

    def _on_messages(self, messages):
        for message in messages:
            if isinstance(message, dict):
                self._on_message(message)
            if self._raised and self._refusals < _REFUSALS_MAX:
                self._refusals += 1
                self._is_again = True
                return False
        self._refusals = 0
        return True

    def _on_message(self, message):
        kind = message["topic"].split("/")[1]
        body = message.get(kind)
        when = seconds(message.get("timestamp"))
        if not isinstance(body, dict):
            return
        if kind == "DeviceCore":
            device = body.get("dpDescription") or body.get("devConnectwareId") or ""
            if self._is_watched(device, None):
                self._call(self.on_status, device, bool(body.get("dpConnectionStatus")))
            return
        device, name = "", kind
        if kind == "DataPoint":
            device, _, stream = str(body.get("streamId")).rpartition("/")
            body = {stream: body.get("data")}
        if self._is_watched(device, name):
            self._call(self.on_event, device, name, body, when)

    def _is_watched(self, device, name):
        for one, what in self._watched:
            if one in ("+", device) and (name is None or what in ("+", name)):
                return True
        return False
