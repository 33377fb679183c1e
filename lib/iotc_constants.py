# iotc_constants: Azure's constants. iotc loads it when a program asks for one of them and lets it
# go again.


class IOTConnectType:
    """What keyORCert is."""

    IOTC_CONNECT_SYMM_KEY = 1  # a group's key
    IOTC_CONNECT_X509_CERT = 2
    IOTC_CONNECT_DEVICE_KEY = 3


class IOTLogLevel:
    """What gets printed."""

    IOTC_LOGGING_DISABLED = 1
    IOTC_LOGGING_API_ONLY = 2
    IOTC_LOGGING_ALL = 16


class IOTQosLevel:
    """How surely a message arrives."""

    IOTC_QOS_AT_MOST_ONCE = 0
    IOTC_QOS_AT_LEAST_ONCE = 1


class IOTProtocol:
    """The light SDK's; only MQTT is spoken here."""

    IOTC_PROTOCOL_MQTT = 1
    IOTC_PROTOCOL_AMQP = 2
    IOTC_PROTOCOL_HTTP = 4


class IOTConnectionState:
    """Error codes of connect() and of ConnectionStatus."""

    IOTC_CONNECTION_EXPIRED_SAS_TOKEN = 1
    IOTC_CONNECTION_DEVICE_DISABLED = 2
    IOTC_CONNECTION_BAD_CREDENTIAL = 4
    IOTC_CONNECTION_RETRY_EXPIRED = 8
    IOTC_CONNECTION_NO_NETWORK = 16
    IOTC_CONNECTION_COMMUNICATION_ERROR = 32
    IOTC_CONNECTION_OK = 64


class IOTMessageStatus:
    """The light SDK's, for cloud-to-device messages."""

    IOTC_MESSAGE_ACCEPTED = 1
    IOTC_MESSAGE_REJECTED = 2
    IOTC_MESSAGE_ABANDONED = 4
