from typing import Any, Callable

from ibmiotf import Options, application
from ibmiotf.application import Command as Command
from ibmiotf.application import Event as Event
from ibmiotf.application import ParseConfigFile as ParseConfigFile
from ibmiotf.application import Status as Status

class Client(application.Client):
    def __init__(self, options: Options | dict[str, Any], logHandlers: Any = None) -> None: ...
    @property
    def eventCallback(self) -> Callable[[Event], object] | None: ...
    @eventCallback.setter
    def eventCallback(self, f: Callable[[Event], object] | None) -> None: ...
    @property
    def statusCallback(self) -> Callable[[Status], object] | None: ...
    @statusCallback.setter
    def statusCallback(self, f: Callable[[Status], object] | None) -> None: ...
