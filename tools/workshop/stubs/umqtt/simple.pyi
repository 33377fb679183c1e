from typing import Any, Callable

# For boards whose own stubs lack umqtt.simple (it is frozen into some firmware only).

class MQTTException(Exception): ...

class MQTTClient:
    client_id: Any
    sock: Any
    server: Any
    port: int
    ssl: Any
    ssl_params: Any
    pid: int
    cb: Callable[..., object] | None
    user: Any
    pswd: Any
    keepalive: int
    lw_topic: Any
    lw_msg: Any
    lw_qos: int
    lw_retain: bool
    def __init__(
        self,
        client_id: Any,
        server: Any,
        port: int = 0,
        user: Any = None,
        password: Any = None,
        keepalive: int = 0,
        ssl: Any = None,
        ssl_params: Any = {},
    ) -> None: ...
    def set_callback(self, f: Callable[..., object]) -> None: ...
    def set_last_will(self, topic: Any, msg: Any, retain: bool = False, qos: int = 0) -> None: ...
    def connect(self, clean_session: bool = True) -> bool: ...
    def disconnect(self) -> None: ...
    def ping(self) -> None: ...
    def publish(self, topic: Any, msg: Any, retain: bool = False, qos: int = 0) -> None: ...
    def subscribe(self, topic: Any, qos: int = 0) -> None: ...
    def unsubscribe(self, topic: Any) -> None: ...
    def wait_msg(self) -> Any: ...
    def check_msg(self) -> Any: ...
