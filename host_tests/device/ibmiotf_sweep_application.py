# ruff: noqa: F821 (what stands before it defines the rest)
# An application hears events, statuses and commands, and sends commands. Follows
# ibmiotf_sweep_conversation.py.
import ibmiotf.application

DEVICE = b"iot-2/type/pump/id/p1/"
STATUS = b'{"Action": "Connect", "Time": "2026-01-01T00:00:00Z", "ClientID": "d:o:pump:p1"}'

class Talk(AnyTalk):
    def __init__(self):
        super().__init__([
            ("push", DEVICE + b"evt/status/fmt/json", b'{"n": 1}', 1),
            ("send", "reboot", {"a": 1}, 1), ("send", "stop", {"a": 2}, 2),
            ("push", DEVICE + b"evt/status/fmt/json", b'{"n": 2}', 2),
            ("push", DEVICE + b"mon", STATUS, 1),
            ("push", DEVICE + b"cmd/reboot/fmt/json", b'{"n": 4}', 1),
            ("send", "long", {"a": LONG}, 1), ("push", b"iot-2/app/a/mon", STATUS, 1),
            ("send", "last", {"a": 3}, 2),
        ], ibmiotf.application.Client)
        client = self.client
        client.deviceEventCallback = client.deviceCommandCallback = self.hear
        client.deviceStatusCallback = client.appStatusCallback = self.hear
        client.subscribeToDeviceEvents(qos=2)
        client.subscribeToDeviceStatus(qos=1)
        client.subscribeToDeviceCommands()
        client.subscribeToAppStatus(qos=1)

    def send(self, name, data, qos):
        return self.client.publishCommand("pump", "p1", name, data, qos=qos)
