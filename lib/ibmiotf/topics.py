"""
The iot-2 topic grammar in full, as applications and devices on one's own broker speak it: build,
with wildcards where a filter is wanted, and parse, level by level. (A device of the service knows
only "iot-2/evt/<event>/fmt/<format>" and the same with cmd.)
"""

from ibmiotf import InvalidEventException, level


def _level(what, value, wild, n=32):
    return value if wild and value == "+" else level(what, value, n)


def space(deviceType, deviceId, wild=False):
    """A device's part of its topics, "iot-2/type/…/id/…/". wild: "+" may stand for all."""
    return "iot-2/type/%s/id/%s/" % (
        _level("deviceType", deviceType, wild, 36),
        _level("deviceId", deviceId, wild, 36),
    )


def message(kind, name, fmt, wild=False):
    """What follows for an event (kind "evt") or a command ("cmd")."""
    return kind + "/" + _level(kind, name, wild) + "/fmt/" + _level("format", fmt, wild)


def app_status(appId):
    """An application's status, or every one's."""
    return "iot-2/app/%s/mon" % _level("appId", appId, True, 128)


def parse(topic):
    """
    Read a topic (str) level by level: (kind, deviceType, deviceId, name, format).

    kind is "evt", "cmd", "mon" (a device's status) or "app" (an application's; name is its id).
    What a topic doesn't have is None. Raises InvalidEventException for every other topic.
    """
    t = topic.split("/")
    n = len(t)
    deviceType = deviceId = None
    if t[0] == "iot-2" and "" not in t and n > 3:
        if n > 5 and t[1] == "type" and t[3] == "id":
            deviceType, deviceId = t[2], t[4]
            t = t[4:]
        if t[1] in ("evt", "cmd") and len(t) == 5 and t[3] == "fmt":
            return t[1], deviceType, deviceId, t[2], t[4]
        if t[-1] == "mon":
            if n == 6 and deviceType:
                return "mon", deviceType, deviceId, None, None
            if n == 4 and t[1] == "app":
                return "app", None, None, t[2], None
    raise InvalidEventException("not an iot-2 topic: " + topic)
