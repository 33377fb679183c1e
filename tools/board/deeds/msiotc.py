# Microsoft's iotc (Azure/iot-central-micropython-client), to compare: azure.py's deed, as far as
# it can do it. Its telemetry is QoS 0, so nothing is acknowledged; it is told its hub, as azure.py
# is (it would ask DPS by HTTPS); and it never verifies a certificate: here it does, as that is
# what TLS costs. `least_heap.py --library DIR` names a directory that has its package.
# argv: port, ca, scope, group key.

import sys
import time

import tls


class _Ssl:
    """What umqtt.simple asks of the ssl module, which this board has no room for."""

    @staticmethod
    def wrap_socket(sock, **ignored):
        context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        with open(sys.argv[2], "rb") as file:
            context.load_verify_locations(file.read())
        return context.wrap_socket(sock, server_hostname="localhost")


class _None:
    """A module that it imports, and needs for DPS only."""


sys.modules["ssl"] = sys.modules["ussl"] = _Ssl
sys.modules["urequests"] = _None

import iotc  # noqa: E402
from iotc import provision  # noqa: E402
from umqtt.robust import MQTTClient  # noqa: E402


def to_port(client_id, server, port, *args, **keys):
    return MQTTClient(client_id, server, int(sys.argv[1]), *args, **keys)


def register(self):
    # The last lines of its own, for a hub that is known.
    resource = "localhost/devices/sensor-01"
    expiry = time.time() + 3600
    sign = provision.encode_uri_component
    signature = sign(self._compute_key(self._device_key, "{}\n{}".format(resource, expiry)))
    self._clean_imports()
    return provision.Credentials(
        "localhost",
        "localhost/sensor-01/?api-version=2019-03-30",
        "SharedAccessSignature sr={}&sig={}&se={}".format(resource, signature, expiry),
    )


iotc.MQTTClient = to_port
provision.ProvisioningClient.register = register
device = iotc.IoTCClient(
    sys.argv[3], "sensor-01", iotc.IoTCConnectType.SYMM_KEY, sys.argv[4],
    iotc.ConsoleLogger(iotc.IoTCLogLevel.DISABLED),
)  # fmt: skip
device.connect()
for _ in range(20):
    device.send_telemetry({"celsius": 21.5})
print("cut")
# Its next message notices the cut and connects again, after some that are lost.
first = device._mqtt_client.sock
while device._mqtt_client.sock is first:
    device.send_telemetry({"celsius": 21.5})
    time.sleep_ms(100)
device.send_telemetry({"celsius": 21.5})
print("done")
