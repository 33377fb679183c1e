from typing import Literal

Kind = Literal["evt", "cmd"]

ALL: Literal["+"]
STATUS: Literal["mon"]
APP_STATUS: Literal["app"]

def space(deviceType: str, deviceId: str, wild: bool = False) -> str: ...
def message(kind: Kind, name: str, fmt: str, wild: bool = False) -> str: ...
def app_status(appId: str) -> str: ...

# Kind, deviceType, deviceId, name or application's id, format.
Parsed = tuple[Literal["evt", "cmd", "mon", "app"], str | None, str | None, str | None, str | None]

def parse(topic: str) -> Parsed: ...
