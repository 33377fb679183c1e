"""
The link fails safe: each call of its stream and each allocation of a conversation fails in turn,
with each kind of exception. Whatever it is, no stream is corrupt, no link says "connected" and
hears nothing, nothing is lost or doubled that is not to be, and do_next() raises nothing of it.
"""

import pytest
import sweep_rig
from board_rig import DOUBLES
from device_program import program


CONVERSATION = program("mqtt_link_safe_conversation")
WHOLE = {"read_most": 1 << 30, "write_most": 1 << 30}


@pytest.mark.parametrize("error", sweep_rig.ERRORS + sweep_rig.INTERRUPTS)
def test_pain_33_each_call_of_the_stream_fails_in_turn(board, error):
    sweep_rig.calls(board, CONVERSATION, error, 30, **WHOLE)


@pytest.mark.parametrize("error", sweep_rig.ERRORS[:2] + sweep_rig.INTERRUPTS[:1])
def test_pain_33_each_third_call_of_a_stream_in_small_pieces_fails_in_turn(board, error):
    sweep_rig.calls(board, CONVERSATION, error, 60, step=3, read_most=7, write_most=40)


def test_pain_33_no_memory_from_any_call_on_and_in_any_step(board):
    sweep_rig.no_memory(board, CONVERSATION, 80, read_most=30, write_most=200)


def test_pain_33_each_allocation_of_each_step_fails_in_turn(board):
    small = {"read_most": 60, "write_most": 400}
    sweep_rig.full_heap(board, CONVERSATION, 300, 2400, 96, heap="300k", **small)


# A program that never has the memory for one of two messages.
SHORTAGE = """
import broker_stream
stream = broker_stream.BrokerStream()
link = broker_stream.make(stream, clean_session=False)
link.subscribe([(b"down/a", QOS)])
heard = []
skipped = []
def hear(topic, msg):
    heard.append(msg)
    if msg == b"large":
        raise MemoryError
link.set_callback(hear)
link.on_skip = lambda topic, size: skipped.append((topic, size, link.no_memory))
broker_stream.run(link, lambda: stream.filters and link.is_connected())
stream.push(b"down/a", b"large", QOS)
stream.push(b"down/a", bytes(4000), QOS)
stream.push(b"down/a", b"good", QOS)
over = broker_stream.run(link, lambda: not stream.to_send)
report(over=over, heard=heard, skipped=skipped, connections=stream.connections)
"""


@pytest.mark.parametrize("qos", [1, 2])
def test_pain_33_a_message_for_which_there_is_no_memory_comes_again_and_is_then_passed_over(
    board, qos
):
    report = board.run(SHORTAGE, before_lib=DOUBLES, QOS=qos).report
    assert report["over"] and report["connections"] == 3
    assert report["heard"].count("large") == 3 and report["heard"].count("good") == 1
    # The link says of each why: no memory for it, or too long.
    assert report["skipped"][0] == ["down/a", 5, True]
    assert [why for _, _, why in report["skipped"]] == [True, False]


def test_pain_33_what_was_passed_over_costs_the_next_message_no_try(board):
    report = board.run(
        """
import broker_stream
stream = broker_stream.BrokerStream()
link = broker_stream.make(stream, clean_session=False)
link.subscribe([(b"down/a", 1)])
heard = []
skipped = []
SHORT = {b"one": 0, b"two": 9, b"three": 1}
def hear(topic, msg):
    heard.append(msg)
    if heard.count(msg) <= SHORT[msg]:
        raise MemoryError
link.set_callback(hear)
link.on_skip = lambda topic, size: skipped.append(size)
broker_stream.run(link, lambda: stream.filters and link.is_connected())
for msg in (b"one", b"two", b"three"):
    stream.push(b"down/a", msg, 1)
over = broker_stream.run(link, lambda: not stream.to_send)
report(over=over, heard=heard, skipped=skipped)
""",
        before_lib=DOUBLES,
    ).report
    assert report["over"] and report["skipped"] == [3]
    assert [report["heard"].count(msg) for msg in ("two", "three")] == [3, 2]


@pytest.mark.parametrize("text", ["two", "one"])
def test_pain_33_each_message_has_its_own_tries(board, text):
    """One that found memory the third time takes nothing from the next, even of the same words."""
    report = board.run(
        """
import broker_stream
stream = broker_stream.BrokerStream()
link = broker_stream.make(stream, clean_session=False)
link.subscribe([(b"down/a", 1)])
heard = []
skipped = []
def hear(topic, msg):
    heard.append(msg)
    if len(heard) not in (3, 6):
        raise MemoryError
link.set_callback(hear)
link.on_skip = lambda topic, size: skipped.append(size)
broker_stream.run(link, lambda: stream.filters and link.is_connected())
stream.push(b"down/a", b"one", 1)
stream.push(b"down/a", TEXT, 1)
over = broker_stream.run(link, lambda: not stream.to_send)
report(over=over, heard=heard, skipped=skipped)
""",
        before_lib=DOUBLES,
        TEXT=text.encode(),
    ).report
    assert report == {"over": True, "heard": ["one"] * 3 + [text] * 3, "skipped": []}


def test_pain_33_a_wait_that_fails_ends_the_connection_and_it_comes_back(board):
    report = board.run(
        """
import broker_stream
stream = broker_stream.BrokerStream()
link = broker_stream.make(stream)
broker_stream.run(link, link.is_connected)
wait = stream.wait
def fail(ms):
    stream.wait = wait
    raise MemoryError
stream.wait = fail
while stream.connections == 1:
    link.do_next(20)
report(up=broker_stream.run(link, link.is_connected), downs=len(link.events))
""",
        before_lib=DOUBLES,
    ).report
    assert report == {"up": True, "downs": 1}


def test_pain_33_an_end_that_could_not_be_told_is_told_in_the_next_step(board):
    report = board.run(
        """
import broker_stream
stream = broker_stream.BrokerStream()
link = broker_stream.make(stream)
told = []
def down(e):
    told.append(str(e))
    if len(told) == 1:
        raise MemoryError
link.on_down = down
broker_stream.run(link, link.is_connected)
stream.ended = True
up = broker_stream.run(link, lambda: len(told) > 1 and link.is_connected())
for _ in range(5):
    link.do_next()
report(up=up, told=told)
""",
        before_lib=DOUBLES,
    ).report
    assert report["up"] and len(report["told"]) == 2
    assert report["told"][0] == report["told"][1] and "closed" in report["told"][0]


def test_while_credentials_are_renewed_new_messages_wait_for_the_next_connection(board):
    report = board.run(
        """
import broker_stream
stream = broker_stream.BrokerStream()
link = broker_stream.make(stream, credentials=lambda: ("u", "p", 0.01), clean_session=False)
link.connect()
stream.answers = False
link.publish(b"up/old", b"1", qos=1)
# Its acknowledgement is awaited, so that the renewal, due at once, is not over yet.
import time
start = time.ticks_ms()
while time.ticks_diff(time.ticks_ms(), start) < 400:
    link.do_next(10)
link.publish(b"up/new", b"2", qos=1)
link.publish(b"up/new", b"3", qos=0)
for _ in range(5):
    link.do_next()
early = [body for op, body in stream.packets if b"up/new" in body]
stream.answers = True
for op, body in stream.packets:
    if op & 0xF0 == 0x30:
        stream.answer(op, body)
start = time.ticks_ms()
over = False
while not over and time.ticks_diff(time.ticks_ms(), start) < 30000:
    link.do_next()
    over = not link.inflight and len(stream.received) == 3
report(early=len(early), over=over, got=[one[1] for one in stream.received],
       connections=stream.connections > 1)
""",
        before_lib=DOUBLES,
    ).report
    assert report == {"early": 0, "over": True, "got": ["1", "2", "3"], "connections": True}
