"""
The link fails safe: each call of its stream and each allocation of a conversation fails in turn,
with each kind of exception. Whatever it is, no stream is corrupt, no link says "connected" and
hears nothing, nothing is lost or doubled that is not to be, and do_next() raises nothing of it.
"""

import pytest
import workshop

DOUBLES = (workshop.ROOT / "host_tests" / "rigs" / "doubles",)

# One conversation: messages both ways at each QoS, a long one, subscriptions that come and go.
# `meddle(step)` is called before each step and may break something in it.
CONVERSATION = """
import gc, sys
import broker_stream
from mqtt_link import Full

LONG = b"l" * 1500
LATER = (Full, MemoryError)  # made once: without memory no clause could make it

class Talk:
    def __init__(self, piece=1 << 30, room=1 << 30):
        self.stream = broker_stream.BrokerStream(piece, room)
        self.link = broker_stream.make(self.stream, clean_session=False, window=8, max_packet=600)
        self.link.pid = 0
        self.escaped = None  # what came out of the link's calls
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
        # The next thing a program does; again, if it could not be done.
        what = self.todo[self.at]
        if what[0] == "push":
            if not self.stream.push(what[1], what[2], what[3]):
                return
        elif what[0] == "subscribe":
            self.link.subscribe(what[1])
        elif what[3] or self.link.is_connected():
            self.link.publish(what[1], what[2], False, what[3])
        else:
            return
        self.at += 1  # not pop(): with its heap locked, a list can't shrink

    def step(self, act):
        before = self.link.inflight
        try:
            if act and self.at < len(self.todo):
                try:
                    self.act()
                except LATER:
                    pass
            before = 99
            self.link.do_next()
        except KeyboardInterrupt:
            if self.link.inflight > before:
                self.at += 1  # it had been queued
        except BaseException as e:
            self.escaped = e

    def pushes(self):
        # Whether the next thing is the broker's own, which is not to fail.
        return self.at < len(self.todo) and self.todo[self.at][0] == "push"

    def over(self):
        return (
            self.at == len(self.todo) and not self.link.inflight and not self.stream.to_send
            and self.link.is_connected() and not self.link._unreleased
        )

    def wrong(self):
        # What must never be; None when all is well.
        events = self.link.events
        sent = self.stream.received
        if self.stream.corrupt:
            return ("corrupt", self.stream.corrupt)
        if self.escaped is not None:
            return ("escaped", repr(self.escaped))
        if not self.over():
            return ("deaf", self.at, self.link.inflight, self.stream.to_send, events[-4:])
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
"""

CALLS = (
    CONVERSATION
    + """
def fail():
    raise ERROR

def talk(at, piece, room):
    one = Talk(piece, room)
    one.stream.fail_at = at
    one.stream.failure = fail
    for i in range(600):
        one.step(True)
        if one.over():
            break
    return one

bad = []
count = 0
for piece, room in ((1 << 30, 1 << 30), (7, 40)):
    whole = talk(0, piece, room)
    assert whole.wrong() is None, whole.wrong()
    calls = whole.stream.calls
    for at in range(1, calls + 1, STEP if piece == 7 else 1):
        count += 1
        one = talk(at, piece, room)
        if one.wrong() is not None:
            bad.append((piece, at, one.wrong()))
report(bad=bad[:3], count=count)
"""
)


@pytest.mark.parametrize(
    "error",
    ["OSError(104)", "MemoryError()", "KeyboardInterrupt()", "OSError()", "RuntimeError('deep')"],
)
def test_pain_33_each_call_of_the_stream_fails_in_turn(board, error):
    source = CALLS.replace("ERROR", error)
    report = board.run(source, 110, heap="1m", before_lib=DOUBLES, STEP=3).report
    assert report["bad"] == []
    assert report["count"] > 100


# The heap is locked from one call of the stream on to the end of the step: the next thing that
# needs memory gets none.
LOCKED = (
    CONVERSATION
    + """
import micropython

def talk(at):
    one = Talk(30, 200)
    one.stream.fail_at = at
    locked = []
    def lock():
        locked.append(1)
        micropython.heap_lock()
    one.stream.failure = lock
    for i in range(600):
        try:
            one.step(not one.pushes())
        except MemoryError:  # the test's own, with its heap locked
            pass
        if locked:
            micropython.heap_unlock()
            locked.clear()
        if one.pushes():
            one.act()
        if one.over():
            break
    return one

bad = []
whole = talk(0)
assert whole.wrong() is None, whole.wrong()
for at in range(1, whole.stream.calls + 1):
    one = talk(at)
    if one.wrong() is not None:
        bad.append((at, one.wrong()))
report(bad=bad[:3], count=whole.stream.calls)
"""
)


def test_pain_33_no_memory_from_any_call_on(board):
    if board.name != "micropython":
        pytest.skip("CPython's heap can't be locked")
    report = board.run(LOCKED, 110, heap="1m", before_lib=DOUBLES).report
    assert report["bad"] == []
    assert report["count"] > 80


# The heap is filled to the brim before one step, up to `free` bytes: so each allocation of it
# fails, one after the other.
BRIM = (
    CONVERSATION
    + """
fill = [None] * 4000

def to_the_brim(free):
    gc.collect()
    spare = bytearray(free)
    n = 0
    size = 1 << 16
    while size > 8:
        try:
            fill[n] = bytearray(size)
            n += 1
        except MemoryError:
            size >>= 1
    spare = None
    return n

def talk(at, free):
    one = Talk(60, 400)
    for i in range(300):
        if one.pushes():
            one.act()
        if i == at:
            to_the_brim(free)
        try:
            one.step(not one.pushes())
        except MemoryError:
            pass
        if i == at:
            for n in range(len(fill)):
                fill[n] = None
            gc.collect()
        if one.over():
            break
    one.steps = i
    return one

gc.disable()
bad = []
count = 0
whole = talk(-1, 0)
assert whole.wrong() is None, whole.wrong()
steps = whole.steps
for at in range(steps + 1):
    for free in range(0, 2400, 96):
        count += 1
        one = talk(at, free)
        if one.wrong() is not None:
            bad.append((at, free, one.wrong()))
        one = None
report(bad=bad[:3], count=count, steps=steps)
"""
)


def test_pain_33_each_allocation_of_each_step_fails_in_turn(board):
    if board.name != "micropython":
        pytest.skip("CPython's heap can't be filled")
    report = board.run(BRIM, 115, heap="300k", before_lib=DOUBLES).report
    assert report["bad"] == []
    assert report["count"] > 300
