# iotc_reasons: what is wrong, in words: with a call's argument, or why a hub may have refused a
# device. iotc loads it when that happens and lets it go again.
#
# IoT Hub answers every refusal with the same CONNACK code, 5. What can be known is what was true
# before: a hub that has taken this device an hour ago does not find its key wrong now.

WRONG = {
    "callback": "connect: not in a callback",
    "connect": "connect: hostName is a text, the hub's name",
    "doNext": "doNext: a number of seconds",
    "on": "on: the name of an event, and a function",
    "setInterfaces": "setInterfaces: a dict, {name: id}",
    "setLogLevel": "setLogLevel: one of IOTLogLevel",
    "setQosLevel": "setQosLevel: Hub has QoS 0 and 1",
    "setServiceHost": 'setServiceHost: before connect() only, and a text, "host" or "host:port"',
    "setTokenExpiration": "setTokenExpiration: at least 1 s",
}


def refused(host, by_certificate, accepted):
    """
    The text about a CONNACK 4 or 5 of a hub, likely causes first.

    host: the hub. by_certificate: the device shows a certificate, not a key. accepted: this hub
    has taken this device since the program started.
    """
    if accepted:
        causes = (
            "the hub took this device before, so most likely its daily quota is used up, it is"
            " throttled, or the device was disabled or removed there; less likely its %s was"
            " changed, or this board's clock"
        )
    else:
        causes = (
            "most likely the %s is not this device's, or the device is unknown there or disabled;"
            " or this board's clock is wrong, or the hub's daily quota is used up"
        )
    thing = "certificate" if by_certificate else "key"
    return "not authorized: hub " + host + " refused the device: " + causes % thing
