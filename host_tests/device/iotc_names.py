# ruff: noqa: F821 (what stands before it defines the rest)
# What the module and an event answer by themselves. azure_rig_prelude.py is there.
from given import NAME, report

d = device(name=NAME)
info = iotc.IOTCallbackInfo(d, "E", 1, "t", 0, "i", "m")
def later():
    pass
info.setCallback(later)
info.setResponse(207)
report(
    client=info.getClient() is d, name=info.getEventName(), payload=info.getPayload(),
    tag=info.getTag(), status=info.getStatusCode(), interface=info.getInterface(),
    id=info.getMessageId(), code=info.getResponseCode(),
    message=info.getResponseMessage(), callback=info.getCallback() is later,
    other=hasattr(info, "getNothing") or hasattr(info, "nothing"),
)
names = "ConnectType Protocol LogLevel QosLevel ConnectionState MessageStatus".split()
types = [getattr(iotc, "IOT" + name) for name in names]
report(
    connect=[types[0].IOTC_CONNECT_SYMM_KEY, types[0].IOTC_CONNECT_X509_CERT,
        types[0].IOTC_CONNECT_DEVICE_KEY],
    protocol=[types[1].IOTC_PROTOCOL_MQTT, types[1].IOTC_PROTOCOL_AMQP,
        types[1].IOTC_PROTOCOL_HTTP],
    log=[types[2].IOTC_LOGGING_DISABLED, types[2].IOTC_LOGGING_API_ONLY,
        types[2].IOTC_LOGGING_ALL],
    qos=[types[3].IOTC_QOS_AT_MOST_ONCE, types[3].IOTC_QOS_AT_LEAST_ONCE],
    state=[types[4].IOTC_CONNECTION_EXPIRED_SAS_TOKEN,
        types[4].IOTC_CONNECTION_DEVICE_DISABLED, types[4].IOTC_CONNECTION_BAD_CREDENTIAL,
        types[4].IOTC_CONNECTION_RETRY_EXPIRED, types[4].IOTC_CONNECTION_NO_NETWORK,
        types[4].IOTC_CONNECTION_COMMUNICATION_ERROR, types[4].IOTC_CONNECTION_OK],
    message=[types[5].IOTC_MESSAGE_ACCEPTED, types[5].IOTC_MESSAGE_REJECTED,
        types[5].IOTC_MESSAGE_ABANDONED],
    other=hasattr(types[0], "IOTC_CONNECT_NOTHING"),
)
