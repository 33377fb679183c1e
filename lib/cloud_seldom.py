"""
What a device of cloud.py does seldom: texts that need a close look, names that are new, answers
to commands and settings. Loaded for each of these and let go again. Stands on json_text.
"""

import os
import time

from json_text import dumps
from micropython import const
from mqtt_link import Full

_ENOBUFS = const(105)
_EIO = const(5)

_CODE_REFUSED = const(0x80)  # from here on an acknowledgement's code is a refusal
_NAME = const(32)  # most characters of a message's name
_NAMES = const(16)  # names that are remembered
_PAUSE_MS = const(2000)  # longest pause before the second attempt; doubled after each failure ...
_PAUSE_MAX_MS = const(300000)  # ... up to this. The pause is a random part of its second half.
_OK = const(200)
_REFUSED = const(400)
_NOBODY = const(404)
_BROKEN = const(500)


def prepare(device, settings):
    """Give a device what it begins with."""
    device._keep = settings["keep"]
    device._kept = []  # (number, message) that the client could not take yet, in order
    device._out = []  # (number, the client's name for it): the client has it, the service not
    device._number = 0  # of the last message
    device._names = {}  # a message's name -> what _pack() makes of it, for the names in use
    device._state = {}  # reported fields that the client has not got yet
    device._told_key = None  # what the client calls the report that it has, and the service not
    device._up = False
    device._raised = None  # what a hook raised in this step


def text(fields, most):
    """Return fields as JSON text, `most` bytes at most. ValueError for what no service takes."""
    if not isinstance(fields, dict):
        raise ValueError("fields: a dict of names and values, not %s" % type(fields).__name__)
    for key in fields:
        if not isinstance(key, str):
            raise ValueError("fields: names are texts, not %r" % (key,))
    made = dumps(fields)
    if len(made.encode()) > most:
        raise ValueError("fields: over %d bytes, more than the service takes" % most)
    return made


def look(device, name):
    """
    Look closely before a device's send(). Raises Full when `keep` messages wait, ValueError for a
    name that can't stand as one level of a topic with every service. Returns the dict in which
    what the service makes of the name is to be remembered.
    """
    if len(device._kept) + len(device._out) >= device._keep:
        raise Full(_ENOBUFS, "%d messages wait: call do_next(), send again later" % device._keep)
    good = isinstance(name, str) and 0 < len(name) <= _NAME
    if not good or [c for c in name if c in "/+# \0"]:
        raise ValueError("name: 1 to %d characters without space / + #, not %r" % (_NAME, name))
    names = device._names
    if len(names) >= _NAMES:
        names.clear()
    return names


def never(device, e):
    """The service will never take the first message that is kept, because of e."""
    number = device._kept.pop(0)[0]
    device.error = e
    device._call(device.on_sent, number, e)


def told(device, key):
    """The client has taken what was to be reported, and calls it key; None: it has not."""
    if key is not None:
        device._told_key = key
        device._state = {}


def acknowledged(device, key, code):
    """
    A report was taken; or the service has refused something of ours. code: the acknowledgement's,
    or an exception.
    """
    if isinstance(code, Exception):
        device.error = code
    elif code >= _CODE_REFUSED:
        device.error = OSError(_EIO, "refused by the service, code %d" % code)
    if key == device._told_key:
        device._told_key = None
        return
    for pair in device._out:
        if pair[1] == key:
            device._out.remove(pair)
            device._call(device.on_sent, pair[0], device.error)
            return


def up(device):
    """The service has accepted the connection."""
    device._up = True
    device._call(device.on_up)


def down(device, e):
    """The connection, or an attempt at one, has ended because of e; None: we wanted it to."""
    device._up = False
    if e:
        device.error = e
    device._call(device.on_down, e)


def stamp(when):
    """Return time.time() of this board as ISO 8601 text in UTC."""
    return "%04d-%02d-%02dT%02d:%02d:%02dZ" % time.gmtime(int(when))[:6]


def later(failures):
    """
    Return when (ticks_ms) to try again after so many failures (0, 1, ...): ever later, up to five
    minutes, and not all devices at once.
    """
    top = min(_PAUSE_MS << min(failures, 16), _PAUSE_MAX_MS)
    pause = top // 2 + (top * int.from_bytes(os.urandom(2), "big") >> 17)
    return time.ticks_add(time.ticks_ms(), pause)


def answer(device, f, name, value):
    """
    Return (status, answer) of what f, the program's on_command or on_setting, makes of something
    that came.
    """
    if not f:
        return _NOBODY, "nobody listens"
    try:
        said = f(name, value)
        dumps(said)
        return _OK, said
    except ValueError as e:
        return _REFUSED, "ValueError: %s" % e
    except Exception as e:
        device.error = e
        return _BROKEN, "%s: %s" % (type(e).__name__, e)


def lacks():
    """For the hook that a service has not."""
    raise NotImplementedError("not with this service: `can` says what it has")
