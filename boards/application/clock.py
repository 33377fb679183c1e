"""
The clock, set from the network: TLS needs it to judge certificates, tokens to be signed. Stands on
`ntptime` and lib/resolver.py.

One try asks once and waits a second for the answer. An answer gets lost now and then, and just
after joining often: so it is tried again, further and further apart, for ever; and once a day when
it has worked, for clocks that drift.
"""

import time

import ntptime

_FIRST_MS = 1000  # before the second try; doubled after each ...
_LONGEST_MS = 300000  # ... up to this
_DAY_MS = 24 * 60 * 60 * 1000


class Clock:
    """
    host: of the time server; None: ntptime's own. resolver: looks it up without blocking.

    step() keeps the clock; error: why the last try failed, None after one that succeeded.
    """

    def __init__(self, host, resolver):
        self._host = host or ntptime.host
        self._resolver = resolver
        self._pause_ms = _FIRST_MS
        self._due = time.ticks_ms()
        self._looking = None  # the look-up under way
        self.error = None

    def is_set(self):
        """Whether the clock was set since power came on: boards start in 2000, 2015 or so."""
        return time.gmtime()[0] >= 2025

    def step(self, is_there):
        """What is due: a bit of a look-up, or one try, a second at most. is_there: the network."""
        looking = self._looking
        if not looking and is_there and time.ticks_diff(self._due, time.ticks_ms()) <= 0:
            self._looking = looking = self._resolver.resolve(self._host)
        if looking:
            self._look(looking)

    def _look(self, looking):
        try:
            next(looking)
            return
        except StopIteration as e:
            self._looking = None
            self._ask(e.value)
        except OSError as e:
            self._looking = None
            self._failed(e)

    def _ask(self, addresses):
        ntptime.host = addresses[0]
        try:
            ntptime.settime()
        except (OSError, ValueError, IndexError) as e:  # no answer, or half of one
            self._failed(e)
            return
        if not self.is_set():
            self._failed(OSError(71, "the time server is wrong itself: another one in ntp"))
            return
        self.error = None
        self._pause_ms = _FIRST_MS
        self._due = time.ticks_add(time.ticks_ms(), _DAY_MS)

    def _failed(self, e):
        self.error = e
        print("clock: no time from %s: %s; is UDP port 123 open?" % (self._host, e))
        self._due = time.ticks_add(time.ticks_ms(), self._pause_ms)
        self._pause_ms = min(2 * self._pause_ms, _LONGEST_MS)
