# digi_clock: a clock that only a test moves. Device code.
#
#     idigi_monitor_api.time = clock = Clock()
#
# A pause of the client moves it by exactly as long as the client pauses, so pauses can be read off
# it however busy the machine is. It goes round as ticks do on a 32-bit board.

import time

PERIOD = 1 << 30


class Clock:
    """Stands in for the module `time`. now: ms since the beginning, never goes round."""

    def __init__(self, start=PERIOD - 5000):
        self.now = start

    def ticks_ms(self):
        return self.now % PERIOD

    def ticks_diff(self, one, other):
        return (one - other + PERIOD // 2) % PERIOD - PERIOD // 2

    def ticks_add(self, ticks, ms):
        return (ticks + ms) % PERIOD

    def sleep_ms(self, ms):
        assert ms >= 0
        self.now += ms

    # As built, it is also the clock of what lies below the client.
    gmtime = time.gmtime


class Highest:
    """Stands in for the module `os`: random numbers are the largest there are."""

    @staticmethod
    def urandom(n):
        return b"\xff" * n
