from typing import Callable, Protocol

class SupportsDoNext(Protocol):
    """MQTTLink, and every client here."""

    def do_next(self, wait_ms: int = 0) -> bool | None: ...

async def run(
    client: SupportsDoNext, idle_ms: int = 20, until: Callable[[], object] | None = None
) -> None: ...
