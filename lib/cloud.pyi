from typing import Any, Callable, Literal

from cloud_device import Device as _Device
from cloud_watcher import Watcher as _Watcher

def Device(settings: dict[str, Any] | str) -> _Device: ...
def Watcher(settings: dict[str, Any] | str) -> _Watcher: ...
def check(
    settings: dict[str, Any] | str,
    role: Literal["Device", "Watcher"] = "Device",
    wait: Callable[[], object] | None = None,
) -> list[str]: ...
