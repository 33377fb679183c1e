from typing import Any, Callable, Literal, overload

from ibmiotf import AbstractClient, Options, QoS
from ibmiotf import Event as _Event
from ibmiotf.api import Client as _Api
from ibmiotf.timestamp import Moment

_Parsed = tuple[str, str | None, str | None, str | None, str | None]

class Event(_Event):
    device: str
    deviceType: str
    deviceId: str
    def __init__(self, parsed: _Parsed, payload: bytes) -> None: ...

Command = Event

class Status:
    device: str | None
    deviceType: str | None
    deviceId: str | None
    appId: str | None
    retained: bool
    payload: dict[str, Any]
    action: Literal["Connect", "Disconnect"] | str | None
    time: Moment | None
    clientAddr: str | None
    clientId: str | None
    port: int | None
    protocol: str | None
    user: str | None
    connectTime: Moment | None
    reason: str | None
    readBytes: int | None
    readMsg: int | None
    writeBytes: int | None
    writeMsg: int | None
    closeCode: str | None
    secure: bool | None
    durable: bool | None
    def __init__(self, parsed: _Parsed, payload: bytes, retained: bool = False) -> None: ...

class Client(AbstractClient):
    deviceEventCallback: Callable[[Event], object] | None
    deviceCommandCallback: Callable[[Event], object] | None
    deviceStatusCallback: Callable[[Status], object] | None
    appStatusCallback: Callable[[Status], object] | None
    def __init__(self, options: Options | dict[str, Any], logHandlers: Any = None) -> None: ...
    @property
    def api(self) -> _Api: ...
    def subscribeToDeviceEvents(
        self,
        deviceType: str = "+",
        deviceId: str = "+",
        event: str = "+",
        msgFormat: str = "+",
        qos: QoS = 0,
    ) -> bool: ...
    def subscribeToDeviceCommands(
        self,
        deviceType: str = "+",
        deviceId: str = "+",
        command: str = "+",
        msgFormat: str = "+",
        qos: QoS = 1,
    ) -> bool: ...
    def subscribeToDeviceStatus(
        self, deviceType: str = "+", deviceId: str = "+", qos: QoS = 0
    ) -> bool: ...
    def subscribeToAppStatus(self, appId: str = "+", qos: QoS = 0) -> bool: ...
    @overload
    def publishEvent(
        self,
        deviceType: str,
        deviceId: str,
        event: str,
        msgFormat: dict[str, Any] | None = None,
        data: QoS | None = None,
    ) -> bool: ...
    @overload
    def publishEvent(
        self,
        deviceType: str,
        deviceId: str,
        event: str,
        msgFormat: dict[str, Any] | None = None,
        *,
        qos: QoS = 0,
    ) -> bool: ...
    @overload
    def publishEvent(
        self,
        deviceType: str,
        deviceId: str,
        event: str,
        msgFormat: str,
        data: Any = None,
        qos: QoS = 0,
    ) -> bool: ...
    @overload
    def publishCommand(
        self,
        deviceType: str,
        deviceId: str,
        command: str,
        msgFormat: dict[str, Any] | None = None,
        data: QoS | None = None,
    ) -> bool: ...
    @overload
    def publishCommand(
        self,
        deviceType: str,
        deviceId: str,
        command: str,
        msgFormat: dict[str, Any] | None = None,
        *,
        qos: QoS = 0,
    ) -> bool: ...
    @overload
    def publishCommand(
        self,
        deviceType: str,
        deviceId: str,
        command: str,
        msgFormat: str,
        data: Any = None,
        qos: QoS = 0,
    ) -> bool: ...

def ParseConfigFile(path: str) -> dict[str, Any]: ...
