# What the conversations of a device and of an application have in common, for doubles/sweeping.py.
from given import OPTIONS

import json
import ibm_stream
import ibmiotf
import mqtt_link
from mqtt_link import Full, MQTTLink
from sweeping import Slots, forget

MQTTLink.backoff_ms = MQTTLink.backoff_max_ms = 0
LATER = (Full, MemoryError)
LONG = "l" * 700

class AnyTalk:
    # todo: ("send", name, data, qos), or ("push", topic, payload, qos). more: options.
    def __init__(self, todo, make, **more):
        self.stream = self.service = service = ibm_stream.Service()
        service.on_taken = self.taken
        service.take_over()
        forget("mqtt_qos2", "ibmiotf.timestamp")
        self.client = make(dict(OPTIONS, **more))
        self.publish = self.client.link.publish
        self.client.link.publish = self.queue
        self.queued = False
        self.todo = todo
        self.may_act = True
        self.at = 0
        self.early = []
        self.heard = Slots()
        self.errors = 0
        self.client.errorCallback = self.on_error

    def on_error(self, e):
        self.errors += 1

    def hear(self, message):
        self.heard.add(message.data if hasattr(message, "data") else message.payload)

    def taken(self, message):
        if json.loads(message[2]) not in self.heard.all():
            self.early.append(message[2])

    def act(self):
        if self.at == len(self.todo):
            return
        what, name, data, qos = self.todo[self.at]
        done = self.queued = False
        try:
            if what == "push":
                done = self.service.push(name, data, qos)
            elif qos or self.client.isConnected():
                done = self.send(name, data, qos)
        except LATER:
            pass
        finally:
            self.at += bool(done or self.queued)

    def queue(self, *message):
        # What the client hands to its link; it may be queued although the call was interrupted.
        before = self.client.link.inflight
        try:
            return self.publish(*message)
        finally:
            self.queued = self.client.link.inflight > before

    def step(self):
        if self.may_act:
            self.act()
        self.client.do_next(20)

    def where(self):
        return self.at, self.client.link.inflight, self.missing(), str(self.client.error)

    def missing(self):
        heard = self.heard.all()
        lost = []
        for what, name, data, qos in self.todo:
            if what == "push":
                n = heard.count(json.loads(data))
                if n == 0 and qos or n > 1 and qos == 2:
                    lost.append((name, data[:20], n))
            else:
                n = 0
                for topic, payload, _ in self.service.received:
                    if (b"/%s/" % name.encode()) in topic and json.loads(payload) == {"d": data}:
                        n += 1
                if n == 0 and qos or n > 1 and qos == 2:
                    lost.append((name, n))
        return lost

    def over(self):
        return (
            self.at == len(self.todo) and not self.client.link.inflight and self.service.is_up()
            and self.client.isConnected() and not self.service.to_send
        )

    def wrong(self):
        return self.early or self.missing() or None
