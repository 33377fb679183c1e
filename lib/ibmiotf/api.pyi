from typing import Any, Callable, Iterator, Literal, Sequence, TypedDict

from ibmiotf import Options

class History(TypedDict, total=False):
    """Which events; top, summarize and summarize_type go with a type of device only."""

    evt_type: str
    start: int
    end: int
    top: int
    summarize: Sequence[str] | str
    summarize_type: Literal["avg", "count", "min", "max", "sum", "range", "stdev", "variance"]

class IoTFCReSTException(Exception):
    httpCode: int
    message: str
    response: Any
    def __init__(self, httpCode: int, message: str, response: Any = None) -> None: ...

class Client:
    limit: int
    errorCallback: Callable[[Exception], object] | None
    logger: Any
    def __init__(self, options: Options | dict[str, Any]) -> None: ...
    def getOrganizationDetails(self) -> dict[str, Any]: ...
    def getDevices(self, deviceType: str | None = None) -> list[dict[str, Any]]: ...
    def getDeviceTypes(self) -> list[dict[str, Any]]: ...
    def getDevice(self, deviceType: str, deviceId: str) -> dict[str, Any]: ...
    def registerDevice(
        self, deviceType: str, deviceId: str, metadata: dict[str, Any] | None = None
    ) -> dict[str, Any]: ...
    def updateDevice(
        self, deviceType: str, deviceId: str, metadata: dict[str, Any]
    ) -> dict[str, Any]: ...
    def deleteDevice(self, deviceType: str, deviceId: str) -> None: ...
    def getHistoricalEvents(
        self,
        deviceType: str | None = None,
        deviceId: str | None = None,
        options: History | None = None,
    ) -> list[dict[str, Any]]: ...
    def historicalEvents(
        self,
        deviceType: str | None = None,
        deviceId: str | None = None,
        options: History | None = None,
    ) -> Iterator[dict[str, Any]]: ...
