"""ibmiotf/timestamp.py: ISO 8601 in UTC, with datetime and without."""

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

# A board without datetime (MicroPython has none built in), and one with.
KINDS = {
    "Timestamp": "import sys\nsys.modules['datetime'] = None\n"
    "from ibmiotf import timestamp\ntimestamp.datetime = None\n",
    "datetime": "from ibmiotf import timestamp\n",
}


@pytest.fixture(params=["Timestamp", "datetime"])
def start(request, board):
    if request.param == "datetime" and board.name == "micropython":
        pytest.skip("the unix wheel has no datetime")
    return KINDS[request.param]


GOOD = {
    "2026-01-05T09:00:07.250Z": "2026-01-05T09:00:07.250000+00:00",
    "2026-01-05T09:00:07Z": "2026-01-05T09:00:07+00:00",
    "2026-01-05T09:00:07": "2026-01-05T09:00:07+00:00",  # naive: UTC
    "2026-01-05 09:00:07": "2026-01-05T09:00:07+00:00",
    "2026-01-05T09:00:07,5z": "2026-01-05T09:00:07.500000+00:00",
    "2026-01-05T09:00:07.123456789Z": "2026-01-05T09:00:07.123456+00:00",
    "2026-01-05T09:00": "2026-01-05T09:00:00+00:00",
    "2026-01-05T09": "2026-01-05T09:00:00+00:00",
    "2026-01-05": "2026-01-05T00:00:00+00:00",
    "2026-01": "2026-01-01T00:00:00+00:00",
    "2026": "2026-01-01T00:00:00+00:00",
    "20260105T090007Z": "2026-01-05T09:00:07+00:00",
    "2021-04-30T19:12:08-05:00": "2021-05-01T00:12:08+00:00",
    "2014-12-31T23:30:00-0130": "2015-01-01T01:00:00+00:00",
    "2026-01-01T00:30:00+01": "2025-12-31T23:30:00+00:00",
    "2024-03-01T00:30:00+01:00": "2024-02-29T23:30:00+00:00",
    "2023-02-28T23:30:00-01:00": "2023-03-01T00:30:00+00:00",
    "1900-02-28T23:30:00-01:00": "1900-03-01T00:30:00+00:00",
    "2016-12-31T23:59:60Z": "2016-12-31T23:59:59+00:00",  # a leap second
    "  2026-01-05T09:00:07Z ": "2026-01-05T09:00:07+00:00",
}
BAD = [
    "",
    "yesterday",
    "26-01-05",
    "2026-0105",
    "2026-01-",
    "2026-1-05",
    "2026-01-05T09:0007",
    "2026-01-05T09:00:",
    "2026-13-01",
    "2026-00-01",
    "2026-02-29",
    "2026-01-32",
    "2026-01-05T24:00:00",
    "2026-01-05T09:60:00",
    "2026-01-05T09:00:61",
    "2026-01-05T09:00:07.x",
    "2026-01-05T09:00:07+25:00",
    "2026-01-05T09:00:07+01:00:00",
    "2026-01-05T09:00:07Zz",
    "0000-01-01",
    "0001-01-01T00:00:00+01:00",
    "9999-12-31T23:30:00-01:00",
    "\u00b2026-01-05",
    None,
    5,
    {},
]


def test_texts_are_read_as_utc(board, start):
    run = board.run(
        start + "for t in texts:\n    report(got=timestamp.parse(t).isoformat())", texts=list(GOOD)
    )
    assert [r["got"] for r in run.reports] == list(GOOD.values())


def test_what_names_no_moment_is_none(board, start):
    run = board.run(start + "for t in texts:\n    report(got=timestamp.parse(t))", texts=BAD)
    for text, report in zip(BAD, run.reports):
        assert report["got"] is None, text
    assert len(run.reports) == len(BAD)


def test_every_zone_is_turned_to_utc_as_datetime_does(board, start):
    """Property: 400 moments and zones of one seed, checked against datetime on this side."""
    moments = []

    @settings(max_examples=400, derandomize=True)
    @given(
        st.datetimes(datetime.datetime(1, 1, 3), datetime.datetime(9999, 12, 29)),
        st.integers(-1439, 1439),
    )
    def collect(moment, minutes):
        zone = datetime.timezone(datetime.timedelta(minutes=minutes))
        moments.append(moment.replace(tzinfo=zone))

    collect()
    run = board.run(
        start + "for t in texts:\n    report(got=timestamp.parse(t).isoformat())",
        texts=[m.isoformat() for m in moments],
    )
    got = [r["got"] for r in run.reports]
    assert got == [m.astimezone(datetime.timezone.utc).isoformat() for m in moments]


def test_moments_can_be_compared_printed_and_used_as_keys(board, start):
    run = board.run(
        start
        + """
a = timestamp.parse("2026-01-05T09:00:07.25Z")
b = timestamp.parse("2026-01-05T10:00:07.25+01:00")
c = timestamp.parse("2026-01-05T09:00:07.250001Z")
report(
    same=[a == b, a <= b, a >= b, hash(a) == hash(b), not a != b, len({a: 1, b: 2})],
    less=[a < c, a <= c, c > a, c >= a, not c < a, not a > c, a != c, not a == 5],
    text=str(a),
    parts=[a.year, a.month, a.day, a.hour, a.minute, a.second, a.microsecond],
)
"""
    )
    got = run.report
    assert got["same"] == [True] * 5 + [1]
    assert got["less"] == [True] * 8
    assert got["text"] == "2026-01-05 09:00:07.250000+00:00"
    assert got["parts"] == [2026, 1, 5, 9, 0, 7, 250000]


def test_of_prefers_the_text_and_falls_back_to_the_time_of_receipt(board, start):
    run = board.run(
        start
        + """
import time
at = 86400 * 365 + 0.25
epoch = time.gmtime(0)[0]
report(got=[timestamp.of(t, at).isoformat() for t in ("2026-01-05", None, "", "nonsense")],
       epoch=epoch)
"""
    )
    got = run.report
    received = "%d-01-01T00:00:00.250000+00:00" % (got["epoch"] + 1)
    assert got["got"] == ["2026-01-05T00:00:00+00:00", received, received, received]


def test_now_is_none_until_the_clock_is_set(board, start):
    run = board.run(
        start
        + """
import time

class Clock:
    gmtime = time.gmtime

    def time(self):
        return self.at

timestamp.time = clock = Clock()
clock.gmtime = time.gmtime
clock.at = 1000
early = timestamp.now()
clock.at = time.time()
report(early=early, now=timestamp.now().year, real=time.gmtime()[0])
"""
    )
    got = run.report
    assert got["early"] is None and got["now"] == got["real"]
