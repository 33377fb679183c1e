"""
What the Digi client raises. It stands below the files that raise it: idigi_monitor_api, where
programs find these names, idigi_monitors and idigi_messages.
"""


class MonitorError(Exception):
    """
    What the service refused. status: its HTTP or push status; the text has its own words.

    401, and 403 from a session: user name or password. 403: the account may not do this; push
    monitors are a subscription ("Push Monitor") that is paid for. 400: a bad field; from a
    session, a monitor that is unknown, not of transport tcp, or disabled. 404: no such monitor.
    429: too many requests; retry_after: the seconds the service asked to wait, or None.
    """

    def __init__(self, text, status, retry_after=None):
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after


class BlockError(ValueError):
    """A block that can't be used: over a limit, empty, unknown, damaged or cut short."""
