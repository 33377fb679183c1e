# Registering, connecting, the twin, and messages of every kind in both directions, for
# doubles/sweeping.py.
from given import HOST, REFUSALS, SCOPE

import gc
import json
import sys
import time
import azure_stream
import iotc
import mqtt_link
from sweeping import Slots, forget

iotc.MQTTLink.backoff_ms = iotc.MQTTLink.backoff_max_ms = 0
KEY = "AjovQRagSicIHgvC+IaHN/oeUQcVO1iCiFB33IYSeJE="
LONG = b"l" * 700
UNANSWERED_MAX = 40  # steps that a command may wait while the connection stands

class Clock:
    # A pause of iotc ends at once: each look at the clock is 70 ms after the last one.
    now = 0
    def ticks_ms(self):
        self.now = (self.now + 70) & 0x3FFFFFFF
        return self.now
    def ticks_diff(self, one, other):
        return one - other
    def ticks_add(self, ticks, ms):
        return ticks + ms
    # As built, it is also the clock of what lies below the client.
    gmtime = time.gmtime
    time = time.time

iotc.time = Clock()

class Talk:
    def __init__(self):
        self.stream = self.service = service = azure_stream.Service()
        service.on_taken = self.taken
        service.desired["fan"] = 5
        service.take_over()
        forget("iotc_twin", "iotc_limits")
        self.device = device = iotc.Device(SCOPE, KEY, azure_stream.NAME, 3)
        device.setQosLevel(1)
        self.may_act = True
        self.at = self.rid = self.age = self.connection = self.refusals = 0
        self.refusals_max = REFUSALS  # answers that a callback raised: it had no memory itself
        self.value = None  # of the command that waits for its answer
        self.early = []  # what was told, or acknowledged, before it had happened
        self.messages = Slots()
        self.sent = Slots()
        self.commands = Slots()
        self.settings = Slots()
        self.status = None
        for name in ("Message", "MessageSent", "Command", "PropertiesUpdated", "ConnectionStatus"):
            device.on(name, getattr(self, "on_" + name))
        self.todo = [
            ("telemetry", b"t1"), ("command", b"c1"), ("property", "p1"), ("message", b'"m1"'),
            ("desire", 6), ("telemetry", LONG), ("message", b'"m2"'), ("command", b"c2"),
            ("property", "p2"), ("telemetry", b"t2"), ("desire", 7),
        ]

    # -- what the program hears

    def on_Message(self, info):
        self.messages.add(info.payload)

    def on_MessageSent(self, info):
        self.sent.add(info.payload)
        if isinstance(info.payload, dict):
            there = self.is_reported(info.payload)
        else:
            there = info.payload in self.service.telemetry
        if not there and info.statusCode == 0:
            self.early.append(info.payload)

    def on_Command(self, info):
        self.commands.add(info.payload)
        info.setResponse(200, info.payload)

    def on_PropertiesUpdated(self, info):
        self.settings.add(info.payload)

    def on_ConnectionStatus(self, info):
        self.status = info.statusCode

    def taken(self, payload):
        if json.loads(payload) not in self.messages.all():
            self.early.append(payload)

    def is_reported(self, patch):
        for name in patch:
            if self.service.reported.get(name) != patch[name]:
                return False
        return True

    # -- what happens

    def act(self):
        device = self.device
        if not device.isConnected() and not device.isStarting():
            device.start(HOST)
        if self.value is not None:
            self.look_for_answer()
        elif self.at < len(self.todo):
            what, value = self.todo[self.at]
            if what == "telemetry":
                done = device.sendTelemetry(value) == 0
            elif what == "property":
                done = device.sendProperty({value: self.at}) == 0
            elif not self.service.is_up():
                done = False
            elif what == "message":
                done = self.service.send(value)
            elif what == "desire":
                self.service.desire("fan", value)
                done = True
            else:
                self.value = value
                self.invoke()
                done = True
            self.at += done

    def invoke(self):
        self.rid += 1
        self.age = 0
        self.connection = self.service.hub.connections
        self.service.invoke(b"echo", self.rid, b'"%s"' % self.value)

    def look_for_answer(self):
        # A command whose answer was lost with the connection is sent anew; on one that stands it
        # must come.
        service = self.service
        for answer in service.answers:
            if answer[1] == b"$rid=%d" % self.rid:
                if self.value.decode() not in self.commands.all():
                    self.early.append(answer)
                if answer[0] == b"200" and answer[2] == b'"%s"' % self.value:
                    self.value = None
                    return
                self.refusals += 1
                self.invoke()
                return
        self.age += 1
        if not service.is_up():
            self.age = 0
        elif service.hub.connections != self.connection:
            self.invoke()
        elif self.age > UNANSWERED_MAX:
            self.early.append("no answer to %s" % self.value)
            self.invoke()

    def step(self):
        if self.may_act:
            self.act()
        self.device.do_next(20)

    # -- how it ended

    def where(self):
        return self.at, self.value, self.device.inflight, self.missing(), str(self.device.error)

    def missing(self):
        # What was said and not heard.
        service = self.service
        sent = self.sent.all()
        fan = service.reported.get("fan") or {}
        lost = []
        for what, value in self.todo:
            if what == "telemetry":
                if value not in service.telemetry or value not in sent:
                    lost.append((what, value[:9]))
            elif what == "property":
                if value not in service.reported:
                    lost.append((what, value))
            elif what == "message" and json.loads(value) not in self.messages.all():
                lost.append((what, value))
        if fan.get("value") != 7 or fan.get("av") != service.version or fan.get("ac") != 200:
            lost.append(("fan", fan))
        return lost

    def over(self):
        return (
            self.at == len(self.todo) and self.value is None and not self.device.inflight
            and self.service.is_up() and not self.service.hub.to_send and not self.missing()
        )

    def wrong(self):
        if self.early or self.refusals > self.refusals_max:
            return self.early, self.refusals
        if not self.device.isConnected() or self.status != 0:
            return "told", self.status
