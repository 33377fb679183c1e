from typing import Any, Generator, Protocol, Sequence, TypedDict

Buffer = bytes | bytearray | memoryview

class TLSOptions(TypedDict, total=False):
    """What `ssl` may be as a dict: file names, or the PEM or DER itself."""

    ca: str | bytes | None
    cadata: str | bytes | None
    cert: str | bytes | None
    key: str | bytes | None
    verify: bool
    server_hostname: str

class TLSContext(Protocol):
    """Any object with the wrap_socket() of MicroPython's tls.SSLContext."""

    wrap_socket: Any

SSL = bool | TLSOptions | TLSContext | None
Server = str | Sequence[str]

class SupportsResolve(Protocol):
    """resolver.Resolver, or anything that looks names up as it does."""

    def resolve(self, host: str) -> Generator[Any, None, list[str]]: ...
    def wait(self, ms: int) -> None: ...

class TLSError(OSError): ...

def load_module(name: str) -> Any: ...
def load_once(name: str) -> Any: ...
def reason(short: str, what: str, *args: Any) -> str: ...
def tls_context(ssl: SSL, params: TLSOptions | dict[str, Any] | None = None) -> Any: ...
def clock_is_set() -> bool: ...
def places(host: Server, port: int | str) -> list[tuple[str, int]]: ...
def host_port(host: str, port: int) -> str: ...

class NetStream:
    host: str
    port: int
    name: str
    ssl: Any
    timeout_ms: int
    resolver: SupportsResolve | None
    want: int
    retry_ms: int
    unheard: int
    bounded: bool
    sock: Any
    def __init__(
        self,
        host: Server,
        port: int | str,
        ssl: Any = None,
        name: str | None = None,
        timeout: float = 10,
        resolver: SupportsResolve | None = None,
    ) -> None: ...
    def start_clock(self) -> None: ...
    def in_time(self, what: str) -> None: ...
    def confirm(self) -> None: ...
    def open(self) -> Generator[None, None, None]: ...
    def wait(self, ms: int) -> int: ...
    def readinto(self, buf: bytearray | memoryview) -> int | None: ...
    def write(self, buf: Buffer, off: int, n: int) -> int: ...
    def send(self, buf: Buffer) -> Generator[None, None, None]: ...
    def close(self) -> None: ...
