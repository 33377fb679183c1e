"""
What the watchers of all services have in common. A service's file (cloud_ibm_watcher.py and its
kind) makes a class of it. Stands on nothing.
"""


class Watcher:
    """
    Hears of many devices; cloud.Watcher() makes it. It connects, reconnects and waits by itself.

    Hooks, None at first; all run inside do_next():
    on_event(device, name, fields, when): a message of a device. fields: a dict, or other JSON;
        when: the time it carries, as time.time() of this board, or None. Comes at least once; if
        it raises, the exception comes out of do_next(), and where the service can keep the
        message (Digi) it comes again.
    on_status(device, connected): a device came (True) or went (False).
    on_answer(device, name, status, answer): what a device said to command(); status 200: done.
    on_up(), on_down(error): the connection, as a Device's.
    on_wait(): called while a step must wait for an answer (Digi's first), to feed a watchdog.

    can: which of "event", "status", "command" this service has; the call of another is a
    NotImplementedError at once. error: the last failure, None at first.
    """

    can = ("event", "status", "command")
    on_event = on_status = on_answer = on_up = on_down = on_wait = error = None
    _up = False
    _raised = None

    def is_connected(self):
        """Return whether the service has accepted the connection and nothing is wrong with it."""
        return self._up

    def watch(self, device="+", name="+"):
        """
        Hear of a device ("+": of all), and of its messages called `name` ("+": all). May be
        called several times, and before the connection. Raises ValueError for what is no name.
        """
        raise NotImplementedError("watch")

    def command(self, device, name, args=None):
        """
        Send a command to a device, at least once where the service has such a thing; returns at
        once. args: any JSON value, None for none.

        Raises ValueError for what JSON can't hold, OSError when there is no room for it.
        """
        raise NotImplementedError("commands can't be sent through this service")

    def do_next(self, wait_ms=0):
        """One bounded step, as a Device's. Returns True when something happened."""
        worked = self._step(wait_ms)
        if self._raised:
            e, self._raised = self._raised, None
            raise e
        return worked

    def disconnect(self, wait_ms=1000):
        """Wait at most wait_ms for what is unacknowledged, and hang up until do_next()."""
        self._link.disconnect(wait_ms)
        if self._up:
            self._on_down(None)

    # -- for the services' files

    def _call(self, f, *args):
        if f:
            try:
                f(*args)
            except Exception as e:
                self._raised = e

    def _on_up(self, *ignored):
        self._up = True
        self._call(self.on_up)

    def _on_down(self, e):
        self._up = False
        if e:
            self.error = e
        self._call(self.on_down, e)
