"""
Not reading: from who is not let in yet, from who is ahead of the store, and for a while (BRAKE)
from who publishes faster than a connected subscriber reads. So a subscriber that is merely slower
loses nothing; one that has stopped reading holds nobody up for longer than that.
"""

import asyncio

BRAKE = 1  # seconds at most that a publisher waits for a slow subscriber


class Flow:
    """Why one connection is not read from. paused: whether it is so now."""

    def __init__(self, client):
        self._client = client
        self._reasons = set()
        self._timer = None

    @property
    def paused(self):
        return bool(self._reasons)

    def pause(self, why):
        if not self._reasons:
            self._client.transport.pause_reading()
        self._reasons.add(why)

    def resume(self, why):
        if why in self._reasons:
            self._reasons.discard(why)
            transport = self._client.transport
            if not self._reasons and not transport.is_closing():
                self._client.heard_now()
                transport.resume_reading()

    def hold_for(self, session):
        """Don't read from this publisher until the session's backlog is smaller; BRAKE at most."""
        if "brake" not in self._reasons and self._client.end is None:
            self.pause("brake")
            session.held_up.append(self)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(BRAKE, self._brake_is_over, session)

    def _brake_is_over(self, session):
        session.stuck = True
        session.let_go()

    def let_go(self):
        self._timer.cancel()
        self.resume("brake")
