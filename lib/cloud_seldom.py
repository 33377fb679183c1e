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

_NAME = const(32)  # most characters of a message's name
_NAMES = const(16)  # names that are remembered
_PAUSE_MS = const(2000)  # longest pause before the second attempt; doubled after each failure ...
_PAUSE_MAX_MS = const(300000)  # ... up to this. The pause is a random part of its second half.
_OK = const(200)
_REFUSED = const(400)
_NOBODY = const(404)
_BROKEN = const(500)


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


def full(keep):
    """So many messages wait."""
    raise Full(_ENOBUFS, "%d messages wait: call do_next(), send again later" % keep)


def refusal(code):
    """Return the exception for what was refused with a code, or by an exception."""
    if isinstance(code, Exception):
        return code
    return OSError(_EIO, "refused by the service, code %d" % code)


def stamp(when):
    """Return time.time() of this board as ISO 8601 text in UTC."""
    return "%04d-%02d-%02dT%02d:%02d:%02dZ" % time.gmtime(int(when))[:6]


def named(names, name, template):
    """
    Remember template with name in the place of {name}, in names (dict). ValueError for a name
    that can't stand as one level of a topic with every service.
    """
    good = isinstance(name, str) and 0 < len(name) <= _NAME
    if not good or [c for c in name if c in "/+# \0"]:
        raise ValueError("name: 1 to %d characters without space / + #, not %r" % (_NAME, name))
    if len(names) >= _NAMES:
        names.clear()
    names[name] = template.replace("{name}", name)


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
