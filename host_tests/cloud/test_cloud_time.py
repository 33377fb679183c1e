"""lib/cloud_time.py: ISO 8601 texts as this board's time."""

import calendar
import datetime

MOMENTS = {
    "1970-01-01T00:00:00Z": 0,
    "2000-02-29T12:00:00Z": calendar.timegm((2000, 2, 29, 12, 0, 0)),
    "2026-01-05T09:00:00.123Z": calendar.timegm((2026, 1, 5, 9, 0, 0)),
    "2026-01-05T09:00:00+02:00": calendar.timegm((2026, 1, 5, 7, 0, 0)),
    "2026-12-31 23:59:59-0130": calendar.timegm((2027, 1, 1, 1, 29, 59)),
    "2026-03-01T00:00:00": calendar.timegm((2026, 3, 1, 0, 0, 0)),
}


def test_moments_become_seconds(board):
    got = board.run(
        """
import time, cloud_time
shift = 946684800 if time.gmtime(0)[0] == 2000 else 0
report(seconds=[cloud_time.seconds(text) + shift for text in TEXTS])
report(none=[cloud_time.seconds(text) for text in BAD])
""",
        TEXTS=list(MOMENTS),
        BAD=["", "yesterday", None, 5, "2026-01-05", "2026-01T09:00:00Z", "x-01-05T09:00:00Z"],
    ).reports
    assert got[0]["seconds"] == list(MOMENTS.values())
    assert got[1]["none"] == [None] * 7


def test_every_day_of_a_leap_cycle(board):
    day = datetime.date(1999, 12, 31)
    days = [day + datetime.timedelta(n) for n in range(0, 366 * 5, 13)]
    got = board.run(
        """
import time, cloud_time
shift = 946684800 if time.gmtime(0)[0] == 2000 else 0
report(seconds=[cloud_time.seconds(text + "T00:00:00Z") + shift for text in TEXTS])
""",
        TEXTS=[day.isoformat() for day in days],
    ).report
    assert got["seconds"] == [calendar.timegm(day.timetuple()) for day in days]
