from given import CA, GROUP, SCOPE, SERVER, report

import iotc
import time
from iotc import IOTConnectType, IOTConnectionState, IOTLogLevel, IOTQosLevel
iotc.Device.ca = CA
iotc.Device.server = SERVER

def device(key=GROUP, name="sensor-01", kind=1, scope=SCOPE):
    return iotc.Device(scope, key, name, kind)

def watch(device, *names):
    def hear(info):
        report(
            event=info.getEventName(), tag=info.getTag(), interface=info.getInterface(),
            payload=info.getPayload(), status=info.getStatusCode(), id=info.getMessageId(),
        )
    for name in names:
        device.on(name, hear)

def step(device, until, ms=15000):
    start = time.ticks_ms()
    while not until():
        device.do_next(20)
        assert time.ticks_diff(time.ticks_ms(), start) < ms, "in vain"

def quiet(device, ms=1000):
    # Until nothing more comes. An answer may take its time on a busy machine.
    while device.do_next(ms):
        pass


def go_on(device):
    while device.isConnected():
        device.doNext(0.05)
