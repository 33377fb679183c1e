"""
ISO 8601 times in UTC, for platforms with and without datetime; loaded when one is asked for.

Where a datetime module can be imported all functions give datetime objects, elsewhere Timestamp.
"""

import time
from collections import namedtuple

try:
    from datetime import datetime, timezone
except ImportError:
    datetime = None


_DAY = 1440  # minutes
_PARTS = ("year", "month", "day", "hour", "minute", "second", "microsecond")


class Timestamp(namedtuple("Timestamp", _PARTS)):
    """A moment in UTC: year, month, day, hour, minute, second, microsecond; can be compared."""

    def isoformat(self, sep="T"):
        """As datetime: 2026-01-05T09:00:07+00:00, with .250000 before the + if not zero."""
        text = "%04d-%02d-%02d{}%02d:%02d:%02d".format(sep) % tuple(self)[:6]
        if self.microsecond:
            text += ".%06d" % self.microsecond
        return text + "+00:00"

    def __str__(self):
        return self.isoformat(" ")


def _make(key):
    if datetime:
        return datetime(*key, tzinfo=timezone.utc)
    return Timestamp(*key)


def _month_days(year, month):
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _numbers(text, sizes, separator):
    # "20260105" or "2026-01-05", (4, 2, 2), "-" -> [2026, 1, 5]; what is absent is left out.
    found = []
    separated = separator in text
    for n in sizes:
        if text:
            if len(text) < n or not text[:n].isdigit():
                raise ValueError
            found.append(int(text[:n]))
            text = text[n:]
            if separated and text:
                if text[0] != separator or len(text) == 1:
                    raise ValueError
                text = text[1:]
    if text:
        raise ValueError
    return found


def _date(text):
    # (year, month, day)
    year, month, day = (_numbers(text, (4, 2, 2), "-") + [1, 1])[:3]
    if not (0 < year and 0 < month < 13 and 0 < day <= _month_days(year, month)):
        raise ValueError
    return year, month, day


def _zone(text):
    # "+01:30", "-0130", "Z" or "" -> minutes east of UTC
    if text in ("", "Z", "z"):
        return 0
    hours, minutes = (_numbers(text[1:], (2, 2), ":") + [0])[:2]
    if hours > 23 or minutes > 59:
        raise ValueError
    minutes += hours * 60
    return minutes if text[0] == "+" else -minutes


def _time(text):
    # (minutes since midnight, second, microsecond)
    text, point, fraction = text.replace(",", ".").partition(".")
    if point and not fraction.isdigit():
        raise ValueError
    hour, minute, second = (_numbers(text, (2, 2, 2), ":") + [0, 0, 0])[:3]
    if hour > 23 or minute > 59 or second > 60:
        raise ValueError
    # A leap second is the last one of its minute: datetime has no 60.
    return hour * 60 + minute, min(second, 59), int((fraction + "000000")[:6])


def _next_day(year, month, day):
    if day < _month_days(year, month):
        return year, month, day + 1
    return (year, month + 1, 1) if month < 12 else (year + 1, 1, 1)


def _day_before(year, month, day):
    if day > 1:
        return year, month, day - 1
    year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return year, month, _month_days(year, month)


def _parse(text):
    date, _, clock = text.strip().replace(" ", "T").partition("T")
    date = _date(date)
    split = len(clock)  # where the zone begins
    for mark in "Zz+-":
        at = clock.find(mark)
        if 0 <= at < split:
            split = at
    minute, second, micro = _time(clock[:split])
    minute -= _zone(clock[split:])
    if minute < 0:
        minute += _DAY
        date = _day_before(*date)
    elif minute >= _DAY:
        minute -= _DAY
        date = _next_day(*date)
    if not 0 < date[0] < 10000:
        raise ValueError
    return _make(date + (minute // 60, minute % 60, second, micro))


def parse(text):
    """
    The moment that an ISO 8601 text names, or None if it doesn't name one, or is no text.

    Extended and basic form, with or without fraction and zone; without a zone it counts as UTC.
    """
    try:
        return _parse(text) if isinstance(text, str) else None
    except (ValueError, IndexError):
        return None


def of(text, at):
    """The moment that text names; at, as time.time() gave it, if it is None or names none."""
    moment = parse(text) if text else None
    if moment is None:
        moment = _make(tuple(time.gmtime(int(at)))[:6] + (int(at % 1 * 1000000),))
    return moment


def now():
    """This moment, or None while the clock was never set."""
    at = time.time()
    return of(None, at) if time.gmtime(int(at))[0] >= 2024 else None
