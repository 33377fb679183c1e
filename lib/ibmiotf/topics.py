"""
The iot-2 topic grammar in full, as applications and devices on one's own broker speak it: build,
with wildcards where a filter is wanted, and parse, level by level. (A device of the service knows
only "iot-2/evt/<event>/fmt/<format>" and the same with cmd.)
"""

from ibmiotf import COMMAND, EVENT, InvalidEventException, level, name_of

ALL = "+"
STATUS = "mon"  # a device's coming and going
APP_STATUS = "app"  # an application's

_APPLICATION_ID = 128


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
    if len(levels) == 4 and levels[0] in (EVENT, COMMAND) and levels[2] == "fmt":
        return levels[0], levels[1], levels[3]
    if levels == [STATUS]:
        return STATUS, None, None
    return None


def parse(topic):
    """
    Read a topic (str) level by level: (kind, deviceType, deviceId, name, format).

    kind is EVENT, COMMAND, STATUS (a device's) or APP_STATUS (name is the application's id). What
    a topic doesn't have is None. Raises InvalidEventException for every other topic.
    """
    levels = topic.split("/")
    if levels[0] == "iot-2" and "" not in levels:
        if len(levels) == 4 and levels[1] == "app" and levels[3] == STATUS:
            return APP_STATUS, None, None, levels[2], None
        deviceType = deviceId = None
        rest = levels[1:]
        if len(levels) > 5 and levels[1] == "type" and levels[3] == "id":
            deviceType, deviceId = levels[2], levels[4]
            rest = levels[5:]
        found = _about_device(rest)
        if found and (deviceType or found[0] != STATUS):
            return found[0], deviceType, deviceId, found[1], found[2]
    raise InvalidEventException("not an iot-2 topic: " + topic)
