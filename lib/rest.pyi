from typing import Callable, Generator, Iterable, TypeVar

from netstream import SSL, Server, SupportsResolve

_T = TypeVar("_T")
Headers = dict[str, str]
_Bytes = bytes | bytearray | memoryview
Body = str | _Bytes | tuple[int, Callable[[], Iterable[_Bytes]]] | None

class Session:
    def __init__(
        self,
        host: Server,
        port: int | str = 0,
        ssl: SSL = True,
        user: str | None = None,
        password: str | None = "",
        timeout: float = 10,
        limit: float = 60,
        resolver: SupportsResolve | None = None,
    ) -> None: ...
    def start(
        self,
        method: str,
        path: str,
        body: Body = None,
        headers: Headers | None = None,
    ) -> Generator[Response | None, None, None]: ...
    @property
    def bounded(self) -> bool: ...
    def wait(self, ms: int) -> None: ...
    def run(self, steps: Generator[_T | None, None, None]) -> _T: ...
    def request(
        self,
        method: str,
        path: str,
        body: Body = None,
        headers: Headers | None = None,
    ) -> Response: ...
    def close(self) -> None: ...

class Response:
    status: int
    reason: str
    headers: Headers
    def __init__(self, session: Session) -> None: ...
    def readinto(self, buf: bytearray | memoryview) -> int | None: ...
    def whole(self, limit: int = 16384) -> Generator[bytes | None, None, None]: ...
    def read(self, limit: int = 16384) -> bytes: ...
