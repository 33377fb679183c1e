"""
A watcher of cloud.py on any MQTT broker, for devices that use the topics of cloud_mqtt. Stands on
cloud_watcher, mqtt_link and json_text.
"""

from cloud_time import seconds
from cloud_watcher import Watcher as _Watcher
from json_text import dumps, loads
from micropython import const
from mqtt_link import MQTTLink

_EACCES = const(13)


class Service(_Watcher):
    """See cloud_watcher.Watcher. settings: as cloud_settings.read() returns them."""

    def __init__(self, settings):
        self._topics = settings["topics"]
        self._link = link = MQTTLink(
            settings["id"],
            settings["host"],
            settings.get("port") or 0,
            settings.get("user"),
            settings.get("password"),
            ssl=settings["ca"] and {"ca": settings["ca"]},
        )
        self._asked = []
        link.set_callback(self._on_message)
        link.on_up = self._on_up
        link.on_down = self._on_down
        link.on_ack = self._on_ack
        self._step = link.do_next

    def watch(self, device="+", name="+"):
        """See cloud_watcher.Watcher."""
        filters = [(self._topic("event", device, name), 1)]
        for kind in ("status", "answer"):
            filters.append((self._topic(kind, device, "+"), 1))
        self._asked.append(self._link.subscribe(filters))

    def command(self, device, name, args=None):
        """See cloud_watcher.Watcher."""
        topic = self._topic("command", device, name)
        self._link.publish(topic, "" if args is None else dumps(args), False, 1)

    def _topic(self, kind, device, name):
        return self._topics[kind].replace("{id}", device).replace("{name}", name)

    def _on_ack(self, pid, code):
        if pid in self._asked:
            self._asked.remove(pid)
            if code > 2:
                text = "the broker refuses the subscription: see its access rules"
                self.error = OSError(_EACCES, text)

    def _match(self, kind, topic):
        # (device, name) of a topic of this kind, None for another.
        levels = self._topics[kind].split("/")
        found = {"{id}": "", "{name}": ""}
        if len(levels) == len(topic):
            for wanted, level in zip(levels, topic):
                if wanted in found:
                    found[wanted] = level
                elif wanted != level:
                    return None
            return found["{id}"], found["{name}"]

    def _on_message(self, topic, msg):
        levels = str(topic, "utf-8").split("/")
        for kind in ("status", "answer", "event"):
            found = self._match(kind, levels)
            if found:
                break
        else:
            return
        device, name = found
        if kind == "status":
            if msg:  # empty: a retained status that was cleared
                self._call(self.on_status, device, msg == b"online")
            return
        try:
            fields = loads(msg)
        except ValueError as e:
            self.error = e
            return
        if kind == "answer":
            if isinstance(fields, dict):
                self._call(
                    self.on_answer, device, name, fields.get("status"), fields.get("answer")
                )
            return
        when = isinstance(fields, dict) and seconds(fields.get("ts"))
        self._call(self.on_event, device, name, fields, None if when is False else when)
