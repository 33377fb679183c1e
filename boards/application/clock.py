"""
The clock, set from the network: TLS needs it to judge certificates. Stands on `ntptime`.

One try asks once and waits a second for the answer (its DNS look-up takes what the port's resolver
takes). An answer gets lost now and then, and just after joining often: so there are several,
further and further apart.
"""

import time

import ntptime

_PAUSES_S = (0, 1, 2, 4, 8, 15, 30, 60)  # before each try: two minutes in all


def is_set():
    """Whether the clock was set since power came on: boards start in 2000, 2015, 2021 or so."""
    return time.gmtime()[0] >= 2024


def set_by_ntp(wait):
    """
    Ask until an answer comes; two minutes at most. wait: called while waiting, to feed a watchdog.

    Raises OSError when no try succeeded.
    """
    for pause in _PAUSES_S:
        end = time.ticks_add(time.ticks_ms(), pause * 1000)
        while time.ticks_diff(end, time.ticks_ms()) > 0:
            wait()
            time.sleep_ms(100)
        wait()
        if attempt():
            return
    raise OSError(110, "no time from {}: is UDP port 123 open?".format(ntptime.host))


def attempt():
    """One try; returns whether it succeeded. Once a day keeps a clock right that drifts."""
    try:
        ntptime.settime()
    except (OSError, ValueError) as e:  # no answer, half an answer
        print("clock:", e)
        return False
    return is_set()
