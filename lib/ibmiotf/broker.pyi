from typing import Any

from ibmiotf import Options, device

class Client(device.Client):
    def __init__(self, options: Options | dict[str, Any], logHandlers: Any = None) -> None: ...
