from typing import Any, Callable, Literal, TypedDict

from netstream import Server
from mqtt_link import Full as Full
from mqtt_link import MQTTLink as MQTTLink
from umqtt.simple import MQTTException as MQTTException

# What a call returns: 0, or one of IOTConnectionState.
Code = int
Event = Literal[
    "ConnectionStatus",
    "MessageSent",
    "Command",
    "EnqueuedCommand",
    "Message",
    "PropertiesUpdated",
    "Properties",
    "Updated",
    "SettingsUpdated",
]
PropertyValue = str | int | float | bool

class Certificate(TypedDict, total=False):
    """keyORCert of X.509: file name, or the PEM or DER itself."""

    keyfile: str | bytes
    certfile: str | bytes
    key_file: str | bytes
    cert_file: str | bytes

class ModelId(TypedDict):
    modelId: str

class _ConnectType:
    IOTC_CONNECT_SYMM_KEY: Literal[1]
    IOTC_CONNECT_X509_CERT: Literal[2]
    IOTC_CONNECT_DEVICE_KEY: Literal[3]

class _LogLevel:
    IOTC_LOGGING_DISABLED: Literal[1]
    IOTC_LOGGING_API_ONLY: Literal[2]
    IOTC_LOGGING_ALL: Literal[16]

class _QosLevel:
    IOTC_QOS_AT_MOST_ONCE: Literal[0]
    IOTC_QOS_AT_LEAST_ONCE: Literal[1]

class _Protocol:
    IOTC_PROTOCOL_MQTT: Literal[1]
    IOTC_PROTOCOL_AMQP: Literal[2]
    IOTC_PROTOCOL_HTTP: Literal[4]

class _ConnectionState:
    IOTC_CONNECTION_EXPIRED_SAS_TOKEN: Literal[1]
    IOTC_CONNECTION_DEVICE_DISABLED: Literal[2]
    IOTC_CONNECTION_BAD_CREDENTIAL: Literal[4]
    IOTC_CONNECTION_RETRY_EXPIRED: Literal[8]
    IOTC_CONNECTION_NO_NETWORK: Literal[16]
    IOTC_CONNECTION_COMMUNICATION_ERROR: Literal[32]
    IOTC_CONNECTION_OK: Literal[64]

class _MessageStatus:
    IOTC_MESSAGE_ACCEPTED: Literal[1]
    IOTC_MESSAGE_REJECTED: Literal[2]
    IOTC_MESSAGE_ABANDONED: Literal[4]

IOTConnectType: _ConnectType
IOTLogLevel: _LogLevel
IOTQosLevel: _QosLevel
IOTProtocol: _Protocol
IOTConnectionState: _ConnectionState
IOTMessageStatus: _MessageStatus

def from_connection_string(
    text: str, certificate: Certificate | dict[str, Any] | None = None
) -> Device: ...

class IOTCallbackInfo:
    client: Device
    eventName: str
    payload: Any
    tag: str | None
    statusCode: int | None
    interface: Any
    messageId: str | None
    responseCode: int | None
    responseMessage: Any
    callback: Callable[[], object] | None
    def __init__(
        self,
        client: Device,
        eventName: str,
        payload: Any,
        tag: str | None,
        statusCode: int | None,
        interface: Any = None,
        messageId: str | None = None,
    ) -> None: ...
    def getClient(self) -> Device: ...
    def getEventName(self) -> str: ...
    def getPayload(self) -> Any: ...
    def getTag(self) -> str | None: ...
    def getStatusCode(self) -> int: ...
    def getInterface(self) -> Any: ...
    def getMessageId(self) -> str | None: ...
    def getResponseCode(self) -> int | None: ...
    def getResponseMessage(self) -> Any: ...
    def getCallback(self) -> Callable[[], object] | None: ...
    def setResponse(self, responseCode: int, responseMessage: Any = None) -> None: ...
    def setCallback(self, callback: Callable[[], object]) -> None: ...

class Device:
    ca: str | bytes
    keepalive: int
    timeout: float
    max_packet: int
    convention: Literal["A", "B", "C"]
    certificate_file: str | None
    tls: bool
    server: Server | None
    websocket: bool | None
    error: Exception | None
    dps_payload: Any
    def __init__(
        self,
        scopeId: str | None,
        keyORCert: str | bytes | Certificate | dict[str, Any],
        deviceId: str,
        credType: Literal[1, 2, 3],
    ) -> None: ...
    def setLogLevel(self, logLevel: Literal[1, 2, 16]) -> Code: ...
    def setExitOnError(self, isEnabled: bool) -> Code: ...
    def setModelData(self, modelJSON: str | ModelId | dict[str, Any]) -> Code: ...
    def setInterfaces(self, interfaceJSON: dict[str, str]) -> Code: ...
    def setTokenExpiration(self, totalSeconds: float) -> Code: ...
    def setServiceHost(self, url: str) -> Code: ...
    def setDPSEndpoint(self, url: str) -> Code: ...
    def setQosLevel(self, qosLevel: Literal[0, 1]) -> Code: ...
    def on(
        self, eventName: Event, callback: Callable[[IOTCallbackInfo], object] | None
    ) -> Code: ...
    def connect(self, hostName: str | None = None) -> Code: ...
    def start(self, hostName: str | None = None) -> Code: ...
    def isStarting(self) -> bool: ...
    def disconnect(self) -> Code: ...
    def isConnected(self) -> bool: ...
    @property
    def inflight(self) -> int: ...
    def getHostName(self) -> str | None: ...
    def getDeviceHostName(self) -> str | None: ...
    def do_next(self, wait_ms: int = 0) -> bool: ...
    def doNext(self, idleTime: float = 1) -> Code: ...
    def sendTelemetry(
        self, payload: Any, properties: dict[str, PropertyValue] | None = None
    ) -> Code: ...
    def sendState(
        self, payload: Any, properties: dict[str, PropertyValue] | None = None
    ) -> Code: ...
    def sendEvent(
        self, payload: Any, properties: dict[str, PropertyValue] | None = None
    ) -> Code: ...
    def sendProperty(
        self, payload: dict[str, Any] | str, component: str | None = None
    ) -> Code: ...
    def sendCommandUpdate(
        self,
        interface_name: str | None,
        command_name: str,
        request_id: str | None,
        status_code: int,
        update_message: Any,
    ) -> Code: ...
    def getDeviceProperties(self) -> Code: ...
