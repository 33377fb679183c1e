# ruff: noqa: F821 (what stands before it defines the rest)
# settle(): with iotc_endurance_clock.py, whose _real time is what passes here.


def words(d):
    "What is looked at in each step: programs may have one of their own."


def settle(d, steps=5, ms=20000):
    "Until nothing is under way, for some steps of 5 ms in a row."
    start = _real.ticks_ms()
    quiet = 0
    while quiet < steps:
        quiet = 0 if d.do_next(5) or d.inflight else quiet + 1
        words(d)
        assert _real.ticks_diff(_real.ticks_ms(), start) < ms, d.error
