from typing import Any, Callable, Literal, Protocol, TypedDict

from mqtt_link import MQTTLink as MQTTLink
from netstream import SSL, Server

from .timestamp import Moment

QoS = Literal[0, 1, 2]
JSON = dict[str, Any] | list[Any] | str | int | float | bool | None

# The options of every client; `defaults` holds those of all of them.
Options = TypedDict(
    "Options",
    {
        "org": str,
        "type": str,
        "id": str,
        "auth-method": Literal["token", "apikey", "none"],
        "auth-token": str,
        "auth-key": str,
        "ca": str | bytes,
        "domain": str,
        "host": Server,
        "port": int | str,
        "ssl": SSL,
        "transport": Literal["tcp", "websockets"],
        "websocket-path": str,
        "clean-session": bool | Literal["true", "false"],
        "max-packet": int | str,
        "api-host": str,
        "api-port": int | str,
        "authMethod": Literal["token", "apikey", "none"],
        "authToken": str,
        "authKey": str,
    },
    total=False,
)

class SupportsIsoformat(Protocol):
    """A datetime, or a timestamp.Timestamp."""

    def isoformat(self) -> str: ...

class SupportsPayload(Protocol):
    """What a decoder gets."""

    payload: Any

class Codec(Protocol):
    """A module, or an object, with encode and decode."""

    encode: Encoder
    decode: Decoder

Encoder = Callable[[Any, SupportsIsoformat | None], bytes | str]
Decoder = Callable[[Any], "Message"]

defaults: dict[str, Any]
codecs: dict[str, tuple[Encoder, Decoder]]

class ConnectionException(Exception): ...
class ConfigurationException(ConnectionException): ...
class UnsupportedAuthenticationMethod(ConnectionException): ...
class InvalidEventException(ValueError): ...
class MissingMessageEncoderException(InvalidEventException): ...
class MissingMessageDecoderException(InvalidEventException): ...

# Here once ibmiotf.api is loaded.
class IoTFCReSTException(Exception):
    httpCode: int
    message: str
    response: Any

EVENT: Literal["evt"]
COMMAND: Literal["cmd"]
DEVICE: Literal["d"]
APPLICATION: Literal["a"]
SHARED_APPLICATION: Literal["A"]
TOKEN_USER: str
NAME: int

def name_of(what: str, value: str, most: int = 36) -> str: ...
def level(what: str, value: str, n: int = 32) -> str: ...

class Message:
    data: Any
    timestamp: str | None
    def __init__(self, data: Any, timestamp: str | None = None) -> None: ...

def encode_json(data: Any, timestamp: SupportsIsoformat | None = None) -> bytes: ...
def encode_iotf(
    data: dict[str, Any] | None, timestamp: SupportsIsoformat | None = None
) -> bytes: ...
def decode_json(message: SupportsPayload) -> Message: ...

class Event:
    event: str
    command: str
    format: str
    payload: str | bytes
    data: Any
    def __init__(self, name: str, fmt: str, payload: bytes) -> None: ...
    @property
    def timestamp(self) -> Moment: ...

class AbstractClient:
    options: dict[str, Any]
    clientId: str
    quickstart: bool
    link: MQTTLink
    error: Exception | None
    errorCallback: Callable[[Exception], object] | None
    now: Callable[[], SupportsIsoformat | None] | None
    logger: Any
    def __init__(
        self,
        options: Options | dict[str, Any],
        role: str,
        keys: tuple[str, ...],
        method: str,
        logHandlers: Any = None,
    ) -> None: ...
    def do_next(self, wait_ms: int = 0) -> bool: ...
    def disconnect(self, wait_ms: int = 1000) -> None: ...
    def isConnected(self) -> bool: ...
    def connect(self) -> None: ...
    def setMessageEncoderModule(self, fmt: str, module: Codec | Any) -> None: ...
