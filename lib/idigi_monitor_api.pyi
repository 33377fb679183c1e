from typing import Any, Callable, Literal, Sequence

from idigi_errors import BlockError as BlockError
from idigi_errors import MonitorError as MonitorError
from netstream import SSL, Server

Compression = Literal["none", "zlib", "gzip"]
# What hears a block: its bytes, or with messages=True an iterator over its messages.
BlockCallback = Callable[[Any], object]

class PushSession:
    backoff_ms: int
    backoff_max_ms: int
    client: push_client
    callback: BlockCallback
    monitor_id: int | str
    messages: bool
    on_up: Callable[[], object] | None
    on_down: Callable[[Exception], object] | None
    on_skip: Callable[[int | None, int, Exception], object] | None
    error: Exception | None
    skipped: int
    def __init__(
        self,
        client: push_client,
        callback: BlockCallback,
        monitor_id: int | str,
        messages: bool = False,
    ) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def is_connected(self) -> bool: ...
    def do_next(self, wait_ms: int = 0) -> bool: ...

class push_client:
    hostname: str
    ca_certs: str | bytes | SSL
    port: int | None
    push_port: int | None
    max_block: int
    max_data: int
    max_idle: int
    on_wait: Callable[[], object] | None
    sessions: list[PushSession]
    threads: bool | None
    def __init__(
        self,
        username: str,
        password: str,
        hostname: Server | None = None,
        secure: bool = True,
        ca_certs: str | bytes | SSL = None,
        workers: int = 1,
        port: int | None = None,
        push_port: int | None = None,
        timeout: float = 10,
        max_block: int = 16384,
        max_data: int = 32768,
        max_idle: float = 1800,
        threads: bool | None = None,
    ) -> None: ...
    def create_monitor(
        self,
        topics: str | Sequence[str],
        batch_size: int = 1,
        batch_duration: int = 0,
        compression: Compression = "gzip",
        format_type: Literal["json", "xml"] = "json",
        ackOption: Literal["explicit", "off"] | None = None,
        autoReplay: bool | None = None,
        description: str | None = None,
    ) -> str: ...
    def get_monitor(self, topics: str | Sequence[str]) -> str | None: ...
    def monitor_status(self, monitor_id: int | str) -> str: ...
    def enable_monitor(self, monitor_id: int | str) -> None: ...
    def delete_monitor(self, monitor_id: int | str) -> None: ...
    def create_session(
        self, callback: BlockCallback, monitor_id: int | str, messages: bool = False
    ) -> PushSession: ...
    def do_next(self, wait_ms: int = 0) -> bool: ...
    def stop_all(self) -> None: ...
