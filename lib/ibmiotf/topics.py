"""
The iot-2 topic grammar in full, as applications and devices on one's own broker speak it: build,
with wildcards where a filter is wanted, and parse, level by level. (A device of the service knows
only "iot-2/evt/<event>/fmt/<format>" and the same with cmd.)
"""

from ibmiotf import COMMAND, EVENT, InvalidEventException, level, name_of
from micropython import const

ALL = "+"
STATUS = "mon"  # a device's coming and going
APP_STATUS = "app"  # an application's

_APPLICATION_ID = const(128)  # longest id of an application
# How many levels follow behind "iot-2/": of an application's status, of a device's type and id,
# and of an event or command behind those.
_APP_LEVELS = const(3)
_DEVICE_LEVELS = const(4)
_MESSAGE_LEVELS = const(4)


def space(deviceType, deviceId, wild=False):
    """A device's part of its topics, "iot-2/type/…/id/…/". wild: "+" may stand for all."""
    if not (wild and deviceType == ALL):
        name_of("deviceType", deviceType)
    if not (wild and deviceId == ALL):
        name_of("deviceId", deviceId)
    return "iot-2/type/%s/id/%s/" % (deviceType, deviceId)


def message(kind, name, fmt, wild=False):
    """What follows for an event (kind "evt") or a command ("cmd")."""
    if not (wild and name == ALL):
        level(kind, name)
    if not (wild and fmt == ALL):
        level("format", fmt)
    return "%s/%s/fmt/%s" % (kind, name, fmt)


def app_status(appId):
    """An application's status; with "+" every one's."""
    return "iot-2/app/%s/mon" % (appId if appId == ALL else level("appId", appId, _APPLICATION_ID))


def _about_device(levels):
    # What follows behind a device's part: (kind, name, format), or None.
    if levels == [STATUS]:
        return STATUS, None, None
    if len(levels) == _MESSAGE_LEVELS:
        kind, name, word, fmt = levels
        if kind in (EVENT, COMMAND) and word == "fmt":
            return kind, name, fmt
    return None


def parse(topic):
    """
    Read a topic (str) level by level: (kind, deviceType, deviceId, name, format).

    kind is EVENT, COMMAND, STATUS (a device's) or APP_STATUS (name is the application's id). What
    a topic doesn't have is None. Raises InvalidEventException for every other topic.
    """
    first, *levels = topic.split("/")
    if first == "iot-2" and "" not in levels:
        if len(levels) == _APP_LEVELS:
            front, name, kind = levels
            if front == "app" and kind == STATUS:
                return APP_STATUS, None, None, name, None
        deviceType = deviceId = None
        if len(levels) > _DEVICE_LEVELS:
            front, type_, word, id_, *rest = levels
            if front == "type" and word == "id":
                deviceType, deviceId, levels = type_, id_, rest
        found = _about_device(levels)
        if found:
            kind, name, fmt = found
            if deviceType or kind != STATUS:
                return kind, deviceType, deviceId, name, fmt
    raise InvalidEventException("not an iot-2 topic: " + topic)
