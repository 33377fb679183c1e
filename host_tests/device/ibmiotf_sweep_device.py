# ruff: noqa: F821 (what stands before it defines the rest)
# A device sends events and hears commands. Follows ibmiotf_sweep_conversation.py.
from given import OWN

import ibmiotf.device
import ibmiotf.broker

COMMAND = (b"iot-2/type/pump/id/p1" if OWN else b"iot-2") + b"/cmd/reboot/fmt/json"

class Talk(AnyTalk):
    def __init__(self):
        super().__init__([
            ("send", "q0", {"a": 0}, 0), ("send", "q1", {"a": 1}, 1), ("send", "q2", {"a": 2}, 2),
            ("push", COMMAND, b'{"n": 1}', 2), ("send", "long", {"a": LONG}, 1),
            ("push", COMMAND, b'{"n": 2}', 1), ("push", COMMAND, b'{"d": {"n": 3}}', 2),
            ("send", "last", {"a": 3}, 2),
        ], (ibmiotf.broker if OWN else ibmiotf.device).Client)
        self.client.commandCallback = self.hear
        self.send = self.client.publishEvent

    def taken(self, message):
        if message[2] != b'{"d": {"n": 3}}':
            super().taken(message)

    def missing(self):
        lost = [one for one in super().missing() if one[1] != b'{"d": {"n": 3}}']
        return lost + ([] if self.heard.all().count({"n": 3}) == 1 else ["n 3"])
