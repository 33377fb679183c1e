from typing import Any, Callable, overload

from ibmiotf import AbstractClient, Options, QoS
from ibmiotf import Event as Event

Command = Event

class Client(AbstractClient):
    commandCallback: Callable[[Event], object] | None
    def __init__(self, options: Options | dict[str, Any], logHandlers: Any = None) -> None: ...
    @overload
    def publishEvent(
        self, event: str, msgFormat: dict[str, Any] | None = None, data: QoS | None = None
    ) -> bool: ...
    @overload
    def publishEvent(
        self, event: str, msgFormat: dict[str, Any] | None = None, *, qos: QoS = 0
    ) -> bool: ...
    @overload
    def publishEvent(self, event: str, msgFormat: str, data: Any = None, qos: QoS = 0) -> bool: ...

def ParseConfigFile(path: str) -> dict[str, Any]: ...
