# azure_stream: the Provisioning Service and a hub at the other end of an iotc.Device, in memory.
# Device code.
#
#     service = azure_stream.Service(); service.take_over()
#
# Every link that is made from then on speaks to the one or the other. Calls of both are counted
# together, in `service`.

import json

import iotc  # noqa: F401 (first: as built, its file holds the link that it uses)
import mqtt_link
from broker_stream import BrokerStream
from sweeping import Counter

HUB = "hub.azure-devices.net"
NAME = "sensor-01"

_DPS = b"$dps/registrations/"
_RESULTS = b"$iothub/twin/res/"
_EVENTS = b"devices/sensor-01/messages/events/"
_BOUND = b"devices/sensor-01/messages/devicebound/"


class _End(BrokerStream):
    # One of the two.

    def __init__(self, service):
        super().__init__(40, 30)
        self.service = service
        self.corrupt = service.corrupt

    def called(self):
        self.service.called()

    def lend(self):
        return self.service.lend()

    def give_back(self, locked):
        self.service.give_back(locked)


class _Dps(_End):
    def takes(self, topic):
        return topic.startswith(_DPS)

    def gives(self, name):
        return name == _DPS + b"res/#"

    def on_message(self, topic, payload, qos):
        rid = topic[topic.find(b"$rid=") :].split(b"&")[0]
        if b"/PUT/" in topic:
            code, said = b"202", {"status": "assigning", "operationId": "4.op"}
        else:
            state = {"status": "assigned", "assignedHub": HUB, "deviceId": NAME}
            code, said = b"200", {"status": "assigned", "registrationState": state}
        answer = _DPS + b"res/" + code + b"/?" + rid + b"&retry-after=0"
        self.push(answer, json.dumps(said).encode())


class _Hub(_End):
    def takes(self, topic):
        return topic.startswith(b"$iothub/") or topic.startswith(_EVENTS)

    def gives(self, name):
        return name.startswith(b"$iothub/") or name == _BOUND + b"#"

    def on_message(self, topic, payload, qos):
        service = self.service
        rid = topic[topic.find(b"$rid=") :]
        if topic.startswith(_EVENTS):
            service.telemetry.append(payload)
        elif topic.startswith(b"$iothub/twin/GET"):
            twin = {
                "desired": dict(service.desired, **{"$version": service.version}),
                "reported": dict(service.reported, **{"$version": 1}),
            }
            if service.busy:
                self.push(_RESULTS + b"429/?" + rid, b"")
            else:
                self.push(_RESULTS + b"200/?" + rid, json.dumps(twin).encode())
        elif topic.startswith(b"$iothub/twin/PATCH"):
            service.reported.update(json.loads(payload))
            self.push(_RESULTS + b"204/?" + rid + b"&$version=2", b"")
        else:
            # $iothub/methods/res/<status>/?$rid=<rid>
            service.answers.append((topic.split(b"/")[3], rid, payload))

    def on_taken(self, message):
        self.service.on_taken(message[2])


class Service(Counter):
    """
    telemetry: payloads. desired, version, reported: the twin. answers: to commands, as (status,
    "$rid=...", payload). busy: the twin is asked for in vain. on_taken(payload): a message from
    the cloud was acknowledged.
    """

    def __init__(self):
        super().__init__()
        self.corrupt = []
        self.telemetry = []
        self.desired = {}
        self.version = 1
        self.reported = {}
        self.answers = []
        self.busy = False
        self.dps = _Dps(self)
        self.hub = _Hub(self)

    def take_over(self):
        mqtt_link.NetStream = self._stream
        mqtt_link.tls_context = lambda *given: None

    def _stream(self, host, *more):
        return self.hub if host == HUB else self.dps

    def on_taken(self, payload):
        pass

    def is_up(self):
        """Whether the device has a connection to the hub and listens to it."""
        return not self.hub.ended and self.hub.greeted and len(self.hub.filters) == 4

    def desire(self, name, value):
        self.version += 1
        self.desired[name] = value
        patch = json.dumps({name: value, "$version": self.version}).encode()
        self.hub.push(b"$iothub/twin/PATCH/properties/desired/?$version=%d" % self.version, patch)

    def send(self, payload):
        """A cloud-to-device message."""
        return self.hub.push(_BOUND + b"%24.mid=m", payload, 1)

    def invoke(self, name, rid, payload):
        self.hub.push(b"$iothub/methods/POST/%s/?$rid=%d" % (name, rid), payload)
