from typing import Any, Iterator, Protocol

from idigi_errors import BlockError as BlockError

class SupportsReadinto(Protocol):
    """A stream that gives a payload."""

    def readinto(self, buf: bytearray) -> int | None: ...

def messages(
    source: bytes | bytearray | SupportsReadinto, limit: int = 32768
) -> Iterator[Any]: ...
