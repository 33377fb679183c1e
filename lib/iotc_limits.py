# iotc_limits: what IoT Hub takes into a twin, counted as the hub counts it.
#
# Loaded with the first properties that a device reports; it stays then.

from micropython import const

_TWIN_MAX = const(32768)  # of the desired or the reported properties
_LEVELS = const(10)
_NAME_MAX = const(1024)
_TEXT_MAX = const(4096)
_INTEGER_MAX = const(4503599627370495)
# What one value adds to the size of a twin; a text adds its UTF-8.
_NUMBER_SIZE = const(8)
_BOOL_SIZE = const(4)

_PREVIEW = "$iotin:"


def check(value):
    """Raises ValueError for properties that no twin takes; the text says why."""
    if size(value) > _TWIN_MAX:
        raise ValueError("over 32 KB of properties, which is all that a twin takes")


def _check_name(name):
    # A name in a twin: up to 1 KB, without control characters, "." "$" and space. The preview's
    # "$iotin:" may stand in front of one.
    if not isinstance(name, str):
        raise ValueError("not for JSON: a name must be text")
    bare = name[len(_PREVIEW) :] if name[: len(_PREVIEW)] == _PREVIEW else name
    good = 0 < len(name) <= _NAME_MAX >= len(name.encode())
    for c in bare:
        good = good and c > " " and c not in ".$" and not "\x7f" <= c <= "\x9f"
    if not good:
        raise ValueError("a twin takes no such name: 1 KB at most, without . $ space and control")


def size(value, level=0, in_list=False):
    """
    Return the size of properties as Hub counts it: names and texts in UTF-8, 8 bytes a number, 4 a
    bool; what JSON puts around them is free.

    Raises ValueError for a name, text, integer or depth that no twin takes, and for a null within
    a list. level, in_list: where value stands.
    """
    if isinstance(value, (dict, list, tuple)):
        if level >= _LEVELS:
            raise ValueError("a twin takes 10 levels at most")
        total = 0
        named = isinstance(value, dict)
        for item in value:
            if named:
                _check_name(item)
                total += len(item.encode())
                item = value[item]
            total += size(item, level + 1, in_list or not named)
        return total
    if isinstance(value, str):
        total = len(value.encode())
        if total > _TEXT_MAX:
            raise ValueError("a twin takes texts of 4 KB at most")
        return total
    # On MicroPython a bool is no int.
    if value is True or value is False:
        return _BOOL_SIZE
    if isinstance(value, int) and not -_INTEGER_MAX - 1 <= value <= _INTEGER_MAX:
        raise ValueError("a twin takes integers of 53 bits at most")
    if value is not None:
        return _NUMBER_SIZE
    if in_list:
        # It deletes a property; a list is replaced as a whole, so there is nothing to delete.
        raise ValueError("a twin takes no null within a list")
    return 0
