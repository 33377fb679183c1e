# One conversation: messages both ways at each QoS, a long one, subscriptions that come and go. For
# doubles/sweeping.py. read_most, write_most: bytes that the stream takes at once.
from given import read_most, write_most

import broker_stream
from mqtt_link import Full

LONG = b"l" * 1500
LATER = (Full, MemoryError)  # made once: without memory no clause could make it

class Talk:
    may_act = True

    def __init__(self):
        self.stream = broker_stream.BrokerStream(read_most, write_most)
        self.link = broker_stream.make(self.stream, clean_session=False, window=8, max_packet=600)
        self.link.pid = 0
        self.at = 0
        self.todo = [
            ("subscribe", [(b"down/a", 2), (b"down/b", 2)]),
            ("publish", b"up/0", b"q0", 0), ("publish", b"up/1", b"q1", 1),
            ("publish", b"up/2", b"q2", 2), ("publish", b"up/long", LONG, 1),
            ("publish", b"up/twice", LONG + b"2", 2),
            ("push", b"down/a", b"d0", 0), ("push", b"down/a", b"d1", 1),
            ("push", b"down/b", b"d2", 2), ("push", b"down/b", LONG, 1),
            ("subscribe", [(b"down/c", 1)]),
            ("publish", b"up/last", b"z", 2), ("push", b"down/c", b"end", 2),
        ]

    def act(self):
        # The next thing a program does; again, if it could not be done. at: not pop(), with its
        # heap locked a list can't shrink.
        if self.at == len(self.todo):
            return
        before = self.link.inflight
        done = False
        try:
            done = self.do(self.todo[self.at])
        except LATER:
            pass
        finally:
            # Interrupted, it may have been queued all the same.
            self.at += bool(done or self.link.inflight > before)

    def do(self, what):
        if what[0] == "push":
            return self.stream.push(what[1], what[2], what[3])
        if what[0] == "subscribe":
            self.link.subscribe(what[1])
        elif what[3] or self.link.is_connected():
            self.link.publish(what[1], what[2], False, what[3])
        else:
            return False
        return True

    def step(self):
        if self.may_act:
            self.act()
        self.link.do_next()

    def where(self):
        return self.at, self.link.inflight, self.stream.to_send, self.link.events[-4:]

    def over(self):
        return (
            self.at == len(self.todo) and not self.link.inflight and not self.stream.to_send
            and self.link.is_connected() and not self.link._unreleased
        )

    def wrong(self):
        # What must never be; None when all is well.
        events = self.link.events
        sent = self.stream.received
        for topic, payload, least, most in (
            (b"up/1", b"q1", 1, 9), (b"up/long", LONG, 1, 9), (b"up/2", b"q2", 1, 1),
            (b"up/twice", LONG + b"2", 1, 1), (b"up/last", b"z", 1, 1), (b"up/0", b"q0", 0, 1),
        ):
            count = len([one for one in sent if one[0] == topic])
            if not least <= count <= most or not all([
                one[1] == payload for one in sent if one[0] == topic
            ]):
                return (topic, count)
        for topic, payload, least, most in (
            (b"down/a", b"d0", 0, 1), (b"down/a", b"d1", 1, 9), (b"down/b", b"d2", 1, 1),
            (b"down/c", b"end", 1, 1),
        ):
            count = events.count(("message", topic, payload))
            if not least <= count <= most:
                return (topic, payload, count)
        kinds = [event for event in events if event[0] == "message" and len(event[2]) > 600]
        if kinds:
            return ("a long message was given", len(kinds))
        refused = [event for event in events if event[0] == "ack" and event[2] > 2]
        if refused:
            return refused
        return None
