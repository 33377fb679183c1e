"""lib/iotc_constants.py: the light SDK's numbers, by every way that programs import them."""

NAMES = {
    "IOTConnectType": {"SYMM_KEY": 1, "X509_CERT": 2, "DEVICE_KEY": 3},
    "IOTLogLevel": {"DISABLED": 1, "API_ONLY": 2, "ALL": 16},
    "IOTQosLevel": {"AT_MOST_ONCE": 0, "AT_LEAST_ONCE": 1},
    "IOTProtocol": {"MQTT": 1, "AMQP": 2, "HTTP": 4},
    "IOTConnectionState": {
        "EXPIRED_SAS_TOKEN": 1,
        "DEVICE_DISABLED": 2,
        "BAD_CREDENTIAL": 4,
        "RETRY_EXPIRED": 8,
        "NO_NETWORK": 16,
        "COMMUNICATION_ERROR": 32,
        "OK": 64,
    },
    "IOTMessageStatus": {"ACCEPTED": 1, "REJECTED": 2, "ABANDONED": 4},
}
PREFIX = {
    "IOTConnectType": "IOTC_CONNECT_",
    "IOTLogLevel": "IOTC_LOGGING_",
    "IOTQosLevel": "IOTC_QOS_",
    "IOTProtocol": "IOTC_PROTOCOL_",
    "IOTConnectionState": "IOTC_CONNECTION_",
    "IOTMessageStatus": "IOTC_MESSAGE_",
}


def test_every_constant_by_every_import(board):
    got = board.run(
        """
        import iotc
        from iotc import IOTConnectType, IOTConnectionState, IOTLogLevel, IOTMessageStatus
        from iotc import IOTProtocol, IOTQosLevel
        here = globals()
        for name in names:
            for group in (here[name], getattr(iotc, name)):
                report(name=name, values={
                    key: getattr(group, prefix[name] + key, None) for key in names[name]})
        import sys
        report(stays="iotc_constants" in sys.modules, other=hasattr(iotc, "IOTNothing"),
            unknown=hasattr(iotc, "nothing"), none=hasattr(IOTConnectType, "IOTC_CONNECT_X"))
        """,
        names=NAMES,
        prefix=PREFIX,
    ).reports
    assert got[-1] == {"stays": False, "other": False, "unknown": False, "none": False}
    assert len(got) == 2 * len(NAMES) + 1
    for report in got[:-1]:
        assert report["values"] == NAMES[report["name"]]
