from typing import Any, Callable, Literal, Sequence

from netstream import SSL as SSL
from netstream import Buffer as Buffer
from netstream import NetStream as NetStream
from netstream import Server, SupportsResolve
from netstream import tls_context as tls_context
from umqtt.simple import MQTTClient
from umqtt.simple import MQTTException as MQTTException

QoS = Literal[0, 1, 2]
Text = str | Buffer
# (user, password), with a lifetime in seconds if they end.
Credentials = tuple[Text | None, Text | None] | tuple[Text | None, Text | None, float]

class Full(OSError): ...

class MQTTLink(MQTTClient):
    backoff_ms: int
    backoff_max_ms: int
    on_up: Callable[[bool], object] | None
    on_down: Callable[[Exception | None], object] | None
    on_ack: Callable[[int, int], object] | None
    on_skip: Callable[[bytes | None, int], object] | None
    no_memory: bool
    error: Exception | None
    cb: Callable[..., object] | None
    clean_session: bool
    credentials: Callable[[], Credentials] | None
    pid: int
    pswd: Text | None
    user: Text | None
    window: int
    server: str
    port: int
    keepalive: int
    def __init__(
        self,
        client_id: Text,
        server: Server,
        port: int = 0,
        user: Text | None = None,
        password: Text | None = None,
        keepalive: int = 60,
        ssl: SSL = None,
        ssl_params: Any = {},
        *,
        credentials: Callable[[], Credentials] | None = None,
        clean_session: bool = True,
        window: int = 16,
        max_packet: int | bytearray = 2048,
        timeout: float = 10,
        websocket: str | None | Literal[False] = None,
        resolver: SupportsResolve | None = None,
    ) -> None: ...
    @property
    def inflight(self) -> int: ...
    def is_connected(self) -> bool: ...
    def set_callback(self, f: Callable[..., object], retained: bool = False) -> None: ...
    # umqtt.simple's own stub knows neither what these return nor which qos there are.
    def set_last_will(  # type: ignore[override]
        self, topic: Text, msg: Text, retain: bool = False, qos: QoS = 0
    ) -> None: ...
    def connect(self, clean_session: bool | None = None, timeout: float | None = None) -> bool: ...
    def disconnect(self, wait_ms: int = 1000) -> None: ...
    def drop(self, error: Exception) -> None: ...
    def publish(  # type: ignore[override]
        self, topic: Text, msg: Text, retain: bool = False, qos: QoS = 0, wait_ms: int = 0
    ) -> int: ...
    def subscribe(  # type: ignore[override]
        self, topic: Text | Sequence[tuple[Text, QoS]], qos: QoS | None = 0
    ) -> int: ...
    def unsubscribe(self, topic: Text) -> int: ...  # type: ignore[override]
    def discard(self, heir: MQTTLink | None = None) -> None: ...
    def do_next(self, wait_ms: int = 0) -> bool: ...
    def check_msg(self, wait_ms: int = 0) -> bool: ...
    def ping(self, wait_ms: int = 0) -> bool: ...  # type: ignore[override]
    def wait_msg(self) -> bool: ...
