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


def _digits(text, sizes, separator):
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


def parse(text):
    """
    The moment that an ISO 8601 text names, or None if it doesn't name one.

    Extended and basic form, with or without fraction and zone; without a zone it counts as UTC.
    """
    try:
        text = text.strip().replace(" ", "T")
        date, _, clock = text.partition("T")
        date = _digits(date, (4, 2, 2), "-")
        sign = offset = micro = 0
        if clock[-1:] in ("Z", "z"):
            clock = clock[:-1]
        for c in "+-":
            if c in clock:
                clock, _, zone = clock.partition(c)
                zone = _digits(zone, (2, 2), ":") + [0]
                if zone[0] > 23 or zone[1] > 59:
                    raise ValueError
                sign = 1 if c == "+" else -1
                offset = zone[0] * 60 + zone[1]
        clock, _, fraction = clock.replace(",", ".").partition(".")
        if fraction:
            micro = int((fraction + "00000")[:6]) if fraction.isdigit() else -1
        clock = _digits(clock, (2, 2, 2), ":")
        year, month, day = (date + [1, 1])[:3]
        hour, minute, second = (clock + [0, 0, 0])[:3]
        if not (
            0 < year
            and 0 < month < 13
            and 0 < day <= _month_days(year, month)
            and hour < 24
            and minute < 60
            and second < 61
            and micro >= 0
        ):
            raise ValueError
    except (ValueError, AttributeError, TypeError):
        return None
    # A leap second is the last one of its minute: datetime has no 60.
    second = min(second, 59)
    minute += hour * 60 - sign * offset
    if minute < 0:
        minute += 1440
        day -= 1
        if not day:
            month -= 1
            if not month:
                year -= 1
                month = 12
            day = _month_days(year, month)
    elif minute >= 1440:
        minute -= 1440
        day += 1
        if day > _month_days(year, month):
            day = 1
            month += 1
            if month > 12:
                year += 1
                month = 1
    if not 0 < year < 10000:
        return None
    return _make((year, month, day, minute // 60, minute % 60, second, micro))


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
