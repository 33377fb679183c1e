from typing import TypedDict

from iotc import Device
from netstream import Server

class State(TypedDict):
    """What `state` is: for JSON, with nothing secret in it."""

    id: str | None
    name: str
    size: int
    stamp: int
    slice: int
    sent: int

class Upload:
    server: Server | None
    slice: int
    timeout: float
    tries: int
    content_type: str
    size: int
    sent: int
    done: bool
    error: OSError | None
    def __init__(
        self, device: Device, path: str, name: str | None = None, state: State | None = None
    ) -> None: ...
    @property
    def state(self) -> State: ...
    def do_next(self, wait_ms: int = 0) -> bool: ...
    def run(self) -> None: ...
    def give_up(self, why: str = "given up by the device") -> None: ...
    def close(self) -> None: ...
