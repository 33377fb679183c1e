"""ibmiotf.application as ibmiotc had it: Client connects at once, and has two older callbacks."""

from ibmiotf import application
from ibmiotf.application import Command, Event, ParseConfigFile, Status  # noqa: F401


class Client(application.Client):
    """As ibmiotf's; the constructor connects, and raises what connect() raises."""

    def __init__(self, options, logHandlers=None):
        super().__init__(options, logHandlers)
        self.connect()

    @property
    def eventCallback(self):
        """The older name of deviceEventCallback."""
        return self.deviceEventCallback

    @eventCallback.setter
    def eventCallback(self, f):
        self.deviceEventCallback = f

    @property
    def statusCallback(self):
        """The older name of deviceStatusCallback."""
        return self.deviceStatusCallback

    @statusCallback.setter
    def statusCallback(self, f):
        self.deviceStatusCallback = f
