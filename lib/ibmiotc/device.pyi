from typing import Any

from ibmiotf import Options, device
from ibmiotf.device import Command as Command
from ibmiotf.device import ParseConfigFile as ParseConfigFile

class Client(device.Client):
    def __init__(self, options: Options | dict[str, Any], logHandlers: Any = None) -> None: ...
