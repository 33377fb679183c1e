"""
Acknowledgements of one connection: in the order of what they acknowledge, each when it is safe.
"""

import asyncio
import collections

PENDING_ACKS = 2000  # that wait for the store, until the client is not read from


class Acks:
    """add() sends an acknowledgement now or as soon as everything before it, and it, is kept."""

    def __init__(self, client):
        self._client = client
        self._waiting = collections.deque()  # (bytes, future or None)
        self._watched = None  # the future that calls _ready

    def clear(self):
        self._waiting.clear()

    def add(self, data, stored):
        """data: the packet. stored: a future that is done when it may be sent, or None."""
        if not self._waiting and (stored is None or (stored.done() and self._is_kept(stored))):
            self._client.send(data)
            return
        self._waiting.append((data, stored))
        if stored is not None and stored is not self._watched:
            self._watched = stored
            stored.add_done_callback(self._ready)
        if len(self._waiting) >= PENDING_ACKS:
            self._client.flow.pause("store")

    def _ready(self, future):
        client = self._client
        if client.end is not None:
            return
        if self._watched is future:
            self._watched = None
        waiting = self._waiting
        while waiting:
            data, stored = waiting[0]
            if stored is not None:
                if not stored.done():
                    break
                if not self._is_kept(stored):
                    return
            waiting.popleft()
            client.send(data)
        if len(waiting) < PENDING_ACKS // 2:
            client.flow.resume("store")

    def _is_kept(self, future):
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is None:
            return True
        self._client.failed(error)
        return False
