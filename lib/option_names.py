# What is wrong with a program's options, found when a client is made: a name with a slip in it, a
# number that is none. Loaded for that, and let go. Knows no service.

from micropython import const

_PORT_MAX = const(65535)
_SHORT = const(2)  # names so short have too many neighbours that are other words


def _one_slip(one, other):
    # Whether one letter more, less or changed, or two letters exchanged, make the other of it.
    if len(one) > len(other):
        one, other = other, one
    if len(other) - len(one) > 1:
        return False
    i = 0
    while i < len(one) and one[i] == other[i]:
        i += 1
    if len(one) < len(other):
        return one[i:] == other[i + 1 :]
    if one[i + 1 :] == other[i + 1 :]:
        return len(one) > _SHORT or i == len(one)
    exchanged = other[i + 1 : i + 2] + other[i : i + 1] + other[i + 2 :]
    return one[i:] == exchanged


def check_names(given, known):
    """
    Raise ValueError if a name in given is one slip away from one in known, ignoring case; the text
    names both. All other unknown names pass: old programs may hold them.

    given: the names of a program's options, a dict or a sequence. known: a sequence of str.
    """
    for name in given:
        if name not in known:
            for right in known:
                if _one_slip(str(name).lower(), right.lower()):
                    raise ValueError("option %r: write %r" % (name, right))


def number(name, value, low=1, high=_PORT_MAX):
    """
    Return the whole number that value is, as int or as text; None for None and for "".

    name: the option's, for the error. low, high: what it may be; a port by default.
    Raises ValueError, which names the option.
    """
    if value is None or value == "":
        return None
    try:
        found = int(value) if isinstance(value, str) else value
        if isinstance(found, int) and not isinstance(found, bool) and low <= found <= high:
            return found
    except ValueError:
        pass
    raise ValueError("%s: must be a number from %d to %d" % (name, low, high))
