"""
The cloud's one clock, which whoever runs the cloud may move, and how services write a time.
"""

import math
import time


class Clock:
    """
    source: gives seconds since 1970. ahead: seconds that are added to them; move() sets it.
    on_moved: what is called, without arguments, after the clock was moved: what ends by it (a
    token, a message's life) ends then.
    """

    def __init__(self, source=time.time):
        self.ahead = 0
        self.on_moved = []
        self._source = source

    def now(self):
        """Seconds since 1970."""
        return self._source() + self.ahead

    def now_ms(self):
        """Whole milliseconds since 1970."""
        return int(self.now() * 1000)

    def move(self, seconds):
        """Go ahead by so many seconds in all; negative ones go back."""
        self.ahead = seconds
        for heard in self.on_moved:
            heard()


def utc(seconds, digits=3):
    """Seconds since 1970 as ISO 8601 in UTC: 2026-01-31T12:00:00.123Z. digits: behind the dot."""
    whole = math.floor(seconds)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    if digits:
        text += ".%0*d" % (digits, int((seconds - whole) * 10**digits))
    return text + "Z"
