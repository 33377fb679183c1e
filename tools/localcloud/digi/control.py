"""
What whoever runs the cloud may ask of Digi's side: events, faults, and how the account stands.
"""

from .. import web
from ..refused import Refused
from .model import OPERATIONS


class Control:
    """The control paths for a model.Cloud."""

    def __init__(self, digi):
        self.digi = digi

    def paths(self):
        return (
            ("POST", "/event", self._event),
            ("POST", "/fault", self._fault),
            ("GET", "/monitors", self._monitors),
        )

    async def _event(self, request):
        """
        {"topic": "DataPoint/dev/temp", "body": {...}, "operation", "group"}: publish it; or
        {"device": name, "connected": true}; or {"stream": "dev/temp", "data": 1}.
        """
        body = await web.read_object(request)
        try:
            if "device" in body:
                self.digi.device_connected(str(body["device"]), bool(body.get("connected", True)))
            elif "stream" in body:
                self.digi.data_point(str(body["stream"]), body.get("data"))
            else:
                kind, _, path = str(body.get("topic")).partition("/")
                operation = body.get("operation", OPERATIONS["U"])
                group = body.get("group", "*")
                if not isinstance(operation, str):
                    raise ValueError("operation: one of %s" % ", ".join(OPERATIONS.values()))
                self.digi.publish(kind, path, body.get("body"), operation, group)
        except ValueError as e:
            raise Refused(400, str(e))
        return web.json_answer({})

    async def _fault(self, request):
        """
        {"throttle": 3, "retry_after": 1}, {"rate": 240} or null (requests in a minute),
        {"at_once": 4} or null (requests that are open at a time), {"subscribed": false},
        {"disable": monitor id}, {"lift": true}. A {"fault": "cut"} is what {"place": "cut"} is for
        /digi/faults.
        """
        body = await web.read_object(request)
        try:
            if "throttle" in body:
                count = _number(body, "throttle", 0, 1 << 20)
                self.digi.throttle(count, _number(body, "retry_after", 0, 1 << 20, None))
            elif "rate" in body:
                self.digi.rate = _number(body, "rate", 0, 1 << 20, None)
            elif "at_once" in body:
                self.digi.at_once = _number(body, "at_once", 0, 1 << 20, None)
            elif "subscribed" in body:
                if not isinstance(body["subscribed"], bool):
                    raise ValueError("subscribed: true or false")
                self.digi.subscribed = body["subscribed"]
            elif "disable" in body:
                monitor = self.digi.monitors.get(_number(body, "disable", 0, 1 << 32))
                if monitor is None:
                    raise ValueError("disable: there is no such monitor")
                monitor.disable()
            elif "fault" in body:
                self.digi.faults.order(body.pop("fault"), body.pop("count", 1), **body)
            else:
                self.digi.lift()
        except ValueError as e:
            raise Refused(400, str(e))
        return web.json_answer({})

    async def _monitors(self, request):
        """All monitors, with what waits for whom."""
        return web.json_answer(
            [
                dict(
                    monitor.row(),
                    queued=len(monitor.queue),
                    unacked=len(monitor.unacked),
                    dropped=monitor.dropped,
                )
                for monitor in self.digi.monitors.values()
            ]
        )


def _number(body, name, least, most, *default):
    # A whole number; with a default null, or nothing, stands for that.
    value = body.get(name)
    if value is None and default:
        return default[0]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError("%s: a whole number, %d to %d" % (name, least, most))
    return value
