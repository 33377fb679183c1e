"""ibmiotf.device as ibmiotc had it: Client connects at once."""

from ibmiotf import device
from ibmiotf.device import Command, ParseConfigFile  # noqa: F401


class Client(device.Client):
    """As ibmiotf's; the constructor connects, and raises what connect() raises."""

    def __init__(self, options, logHandlers=None):
        super().__init__(options, logHandlers)
        self.connect()
