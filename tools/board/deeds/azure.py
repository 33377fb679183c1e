# iotc: registers with DPS, connects to the hub, sends 20 messages, is cut and comes back.
# argv: port, ca, scope, group key.

import sys

import iotc

device = iotc.Device(
    sys.argv[3], sys.argv[4], "sensor-01", iotc.IOTConnectType.IOTC_CONNECT_SYMM_KEY
)
device.ca = sys.argv[2]
device.server = "localhost:" + sys.argv[1]


def send(count):
    for _ in range(count):
        while not device.isConnected() or device.inflight >= 4:
            device.do_next(100)
        while device.sendTelemetry({"celsius": 21.5}):
            device.do_next(100)
    while device.inflight:
        device.do_next(100)


if device.connect("localhost"):
    print(device.error)
    sys.exit(1)
send(20)
print("cut")
lost = []
device.on("ConnectionStatus", lambda info: lost.append(info.getStatusCode()))
while not lost:
    device.do_next(100)
send(1)
print("done")
