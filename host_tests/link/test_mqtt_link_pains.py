"""
mqtt_link against what the field throws at it: brokers with limits, messages that no broker takes,
ill-formed text, clocks that wrap, interrupts and threads in the middle of a call.
"""

import pytest
from board_rig import DOUBLES
from device_program import program


START = program("mqtt_link_pains_start")


def device(board, source, **values):
    return board.run(START + source, before_lib=DOUBLES, **values).report


# ---- limits on one packet


def test_pain_28_at_most_eight_filters_in_a_packet(board):
    report = device(
        board,
        """
def rule(op, body):
    if op in (0x82, 0xA2) and filters(op, body) > 8:
        raise Hang()

def filters(op, body):
    at, n = 2, 0
    while at < len(body):
        at += 2 + (body[at] << 8 | body[at + 1]) + (op == 0x82)
        n += 1
    return n

stream = BrokerStream(rule=rule)
link = make(stream)
for i in range(9):
    link.subscribe("down/%d" % i, 1)
all_at_once = link.subscribe([("down/l/%d" % i, 0) for i in range(20)])
first = run(link, lambda: count(link, "ack") == 10)
stream.ended = True  # and all of it once more
again = run(link, lambda: stream.connections == 2 and len(stream.filters) == 29)
run(link, lambda: False, 20)
sizes = [filters(op, body) for op, body in stream.packets if op == 0x82]
stream.ended = True
for i in range(9):
    link.unsubscribe("down/%d" % i)
gone = run(link, lambda: count(link, "ack") == 19)
report(first=first, again=again, sizes=sizes, gone=gone, left=len(stream.filters),
       code=link.events.count(("ack", all_at_once, 0)), hung=stream.connections)
""",
    )
    assert report["first"] and report["again"] and report["gone"]
    assert sum(report["sizes"]) == 29 and max(report["sizes"]) <= 8
    assert report["code"] == 1  # one acknowledgement for the call, whatever its packets
    assert report["hung"] == 3


def test_one_refused_filter_of_many_packets_is_the_answer_to_the_call(board):
    report = device(
        board,
        """
stream = BrokerStream()
stream.answers = False
link = make(stream)
stream.answers = True
say = stream.say
def refuse(op, body):
    if op == 0x90 and len(body) == 10:  # the first eight, of twelve
        body = body[:4] + bytes((0x80,)) + body[5:]
    say(op, body)
stream.say = refuse
pid = link.subscribe([("down/%d" % i, 1) for i in range(12)])
run(link, lambda: count(link, "ack"))
run(link, lambda: False, 20)
report(acks=[event for event in link.events if event[0] == "ack"], pid=pid)
""",
    )
    assert report["acks"] == [["ack", report["pid"], 0x80]]


def test_an_empty_list_of_filters_is_a_valueerror(board):
    report = device(
        board,
        "link = make(BrokerStream())\n"
        "report(said=[said(link.subscribe, []), said(link.unsubscribe, ())])",
    )
    assert report["said"] == [
        "ValueError: subscribe: an empty list", "ValueError: topic must be str or bytes",
    ]  # fmt: skip


# ---- time


@pytest.mark.parametrize("days", [7, 9, 30])
def test_pain_31_disconnected_for_days(board, days):
    report = device(
        board,
        """
clock = Clock()
stream = BrokerStream()
link = make(stream)
link.backoff_ms = link.backoff_max_ms = 1000
link.connect()
link.disconnect()
clock.now += days * 86400000
link.connect(timeout=3)
report(up=link.is_connected(), slept=clock.now % 86400000)
""",
        days=days,
    )
    assert report["up"]


@pytest.mark.parametrize("days", [7, 9])
def test_pain_31_a_failure_after_days_is_no_other_client(board, days):
    report = device(
        board,
        """
clock = Clock()
stream = BrokerStream()
link = make(stream, keepalive=0)
for _ in range(4):
    run(link, link.is_connected)
    for _ in range(days * 24):
        clock.now += 3600000
        link.do_next()
    stream.ended = True
    run(link, lambda: not link.is_connected())
    clock.now += 1000
report(downs=[event[1] for event in link.events if event[0] == "down"])
""",
        days=days,
    )
    assert len(report["downs"]) == 4
    assert not any("another client" in down for down in report["downs"])


def test_pain_31_a_program_that_was_away_for_days_goes_on(board):
    report = device(
        board,
        """
clock = Clock()
stream = BrokerStream()
link = make(stream)
link.connect()
stream.answers = False
link.publish("up", "x", qos=1)
clock.now += 7 * 86400000
run(link, lambda: not link.is_connected(), 10)
stream.answers = True
clock.now += 7 * 86400000
done = run(link, lambda: not link.inflight)
report(done=done, downs=count(link, "down"))
""",
    )
    assert report == {"done": True, "downs": 1}


def test_pain_38_a_wait_is_over_when_nothing_has_moved_for_so_long(board):
    report = device(
        board,
        """
clock = Clock()
stream = BrokerStream()
stream.timeout_ms = 1000
link = make(stream)
link.connect()
stream.answers = False
pid = link.subscribe("down/x", 1)
for i in range(60):  # retained messages go before the answer, for three seconds
    clock.now += 50
    stream.say(0x30, b"\\0\\1r" + bytes(20))
    link.do_next()
up = link.is_connected()
asked = [body for op, body in stream.packets if op == 0x82][0]
stream.say(0x90, asked[:2] + b"\\1")
run(link, lambda: count(link, "ack"), 20)
acks = count(link, "ack")
link.subscribe("down/y", 1)
for i in range(60):  # now nothing moves
    clock.now += 50
    link.do_next()
    if not link.is_connected():
        break
report(up=up, acks=acks, late=clock.now, why=str(link.error))
""",
    )
    assert report["up"] and report["acks"] == 1
    assert report["why"].endswith("no SUBACK")


def test_pain_38_an_acknowledgement_behind_an_upload_is_waited_for(board):
    report = device(
        board,
        """
clock = Clock()
stream = BrokerStream(room=20)
stream.timeout_ms = 1000
link = make(stream, keepalive=1)
link.connect()
link.publish("up/long", bytes(9000), qos=1)
while stream.input or not stream.received:
    clock.now += 300
    link.do_next()
    if not link.is_connected():
        break
run(link, lambda: not link.inflight, 20)
report(up=link.is_connected(), inflight=link.inflight, ms=clock.now)
""",
    )
    assert report["up"] and not report["inflight"]
    assert report["ms"] > 3000


# ---- payloads and text


def test_pain_32_a_memoryview_of_an_array_is_sent_with_all_its_bytes(board):
    report = device(
        board,
        """
from array import array
stream = BrokerStream()
link = make(stream)
link.connect()
numbers = array("h", range(1000, 1004))
for qos in (0, 1, 2):
    link.publish("up", memoryview(numbers), qos=qos)
link.publish("up", memoryview(array("h", range(900))), qos=1)
link.publish("up", memoryview(b"plain"), qos=1)
run(link, lambda: not link.inflight)
report(same=[one[1] == bytes(memoryview(numbers)) for one in stream.received[:3]],
       sizes=[len(one[1]) for one in stream.received], array=said(link.publish, "up", numbers))
""",
    )
    assert report["same"] == [True] * 3
    assert report["sizes"] == [8, 8, 8, 1800, 5]
    assert report["array"] == "ValueError: msg must be str or bytes"


ILL_FORMED = [
    b"\xed\xa0\xbd",
    b"\xed\xbf\xbf",
    b"\xc0\x80",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xff",
    b"\x80",
    b"a\xc3",
    b"\xe2\x98",
    b"a\0b",
]
WELL_FORMED = [
    b"a",
    "é☃$😀".encode(),
    b"\xed\x9f\xbf",
    b"\xee\x80\x80",
    b"\xf4\x8f\xbf\xbf",
    b"\xf0\x90\x80\x80",
    b"\xe0\xa0\x80",
    b"\xc2\x80",
]


def test_pain_36_ill_formed_utf_8_is_refused_wherever_it_is_given(board):
    report = device(
        board,
        """
def calls(text):
    link = make(BrokerStream())
    return [
        said(link.publish, text, b"x", qos=1), said(link.subscribe, text),
        said(link.unsubscribe, text), said(link.set_last_will, text, b"x"),
        said(MQTTLink, text, "host"), said(MQTTLink, "id", "host", user=text),
    ]
report(bad=[[str(one)[:10] for one in calls(text)] for text in bad],
       good=[[str(one)[:10] for one in calls(text)] for text in good])
""",
        bad=ILL_FORMED,
        good=WELL_FORMED,
    )
    assert report["bad"] == [["ValueError"] * 6] * len(ILL_FORMED)
    assert not any("ValueError" in call for call in report["good"])


def test_pain_36_ill_formed_user_from_credentials_fails_the_attempt(board):
    report = device(
        board,
        """
link = make(BrokerStream(), credentials=lambda: (b"\\xed\\xa0\\xbd", "x"))
report(said=said(link.connect), up=link.is_connected())
""",
    )
    assert report["said"].startswith("OSError: ") and "user" in report["said"]
    assert not report["up"]


@pytest.mark.parametrize("topic", ILL_FORMED)
def test_pain_36_an_ill_formed_topic_from_the_broker_ends_the_connection(board, topic):
    report = device(
        board,
        """
stream = BrokerStream()
link = make(stream)
link.connect()
stream.say(0x32, bytes((0, len(topic))) + topic + b"\\0\\7x")
run(link, lambda: not link.is_connected(), 5)
report(messages=count(link, "message"), down=count(link, "down"))
""",
        topic=topic,
    )
    assert report == {"messages": 0, "down": 1}


def test_a_connack_with_reserved_flags_is_refused(board):
    report = device(
        board,
        """
stream = BrokerStream()
say = stream.say
stream.say = lambda op, body: say(op, b"\\2\\0" if op == 0x20 else body)
report(said=said(make(stream).connect))
""",
    )
    assert report["said"].startswith("MQTTException: CONNACK with reserved flags")


# ---- messages that no broker takes

POISON = """
def rule(op, body):
    if op & 0xF6 == KIND and b"poison" in body:
        raise Hang()

stream = BrokerStream(rule=rule)
link = make(stream, clean_session=False)
link.connect()
before = link.publish("up/1", "good", qos=1)
bad = link.publish("up/poison", "x", qos=QOS)
good = link.publish("up/1", "also good", qos=1)
done = run(link, lambda: not link.inflight)
report(done=done, acks=[event[1:] for event in link.events if event[0] == "ack"],
       ids=[before, bad, good], received=[one[1] for one in stream.received],
       downs=[event[1] for event in link.events if event[0] == "down"],
       connections=stream.connections)
"""


@pytest.mark.parametrize("qos", [1, 2])
def test_pain_35_a_message_on_which_the_broker_hangs_up_is_given_up(board, qos):
    report = device(board, POISON.replace("KIND", "0x3%d" % (2 * qos)).replace("QOS", str(qos)))
    before, bad, good = report["ids"]
    assert report["done"]
    assert [bad, 0xFF] in report["acks"]
    assert [before, 0] in report["acks"] and [good, 0] in report["acks"]
    assert report["received"][0] == "good" and report["received"][-1] == "also good"
    assert report["connections"] <= 6
    told = report["downs"][-1]
    assert "message %d" % bad in told and "given up" in told
    assert not any("another client" in down for down in report["downs"])
    if qos == 2:
        # As NATS does on every one of them.
        assert "QoS 2" in told


def test_pain_35_a_line_that_breaks_on_a_message_again_and_again_gives_nothing_up(board):
    report = device(
        board,
        """
stream = BrokerStream()
link = make(stream, clean_session=False)
link.connect()
breaks = [20]
def rule(op, body):
    if op & 0xF0 == 0x30 and breaks[0]:
        breaks[0] -= 1
        raise OSError(104)
stream.rule = rule
link.publish("up/1", "x", qos=1)
done = run(link, lambda: not link.inflight)
report(done=done, acks=[event[2] for event in link.events if event[0] == "ack"])
""",
    )
    assert report == {"done": True, "acks": [0]}


def test_pain_35_what_was_blamed_wrongly_is_acknowledged_all_the_same(board):
    # The broker goes away three times while a message is under way; the fourth time it stays.
    report = device(
        board,
        """
left = [3]
def rule(op, body):
    if op & 0xF0 == 0x30 and left[0]:
        left[0] -= 1
        raise Hang()
stream = BrokerStream(rule=rule)
link = make(stream, clean_session=False)
link.connect()
for i in range(3):
    link.publish("up/1", str(i), qos=1)
done = run(link, lambda: not link.inflight)
report(done=done, codes=[event[2] for event in link.events if event[0] == "ack"],
       received=[one[1] for one in stream.received])
""",
    )
    assert report["done"] and report["codes"] == [0] * 3
    assert report["received"] == ["0", "1", "2"]


def test_pain_71_puback_settles_a_qos_2_message_and_is_told_once(board):
    report = device(
        board,
        """
stream = BrokerStream()
say = stream.say
stream.say = lambda op, body: say(0x40 if op == 0x50 else op, body)
link = make(stream)
link.connect()
link.publish("up", "x", qos=2)
done = [run(link, lambda: not link.inflight)]
told = str(link.error)
link.error = None
link.publish("up", "y", qos=2)
done.append(run(link, lambda: not link.inflight))
report(done=done, told=told, again=link.error, up=link.is_connected(), downs=count(link, "down"),
       codes=[event[2] for event in link.events if event[0] == "ack"])
""",
    )
    assert report["done"] == [True, True] and report["codes"] == [0, 0]
    assert "no QoS 2" in report["told"] and report["again"] is None
    assert report["up"] and not report["downs"]


@pytest.mark.parametrize(
    "code, words", [(2, ["client id", "keepalive"]), (5, ["not authorized"]), (9, ["code 9"])]
)
def test_pain_49_a_refusal_names_all_likely_causes(board, code, words):
    report = device(
        board,
        """
stream = BrokerStream()
say = stream.say
stream.say = lambda op, body: say(op, bytes((0, code)) if op == 0x20 else body)
report(said=said(make(stream).connect))
""",
        code=code,
    )
    assert all(word in report["said"] for word in words)


def test_another_client_is_named_from_the_third_short_connection_on(board):
    report = device(
        board,
        """
stream = BrokerStream()
link = make(stream)
for _ in range(4):
    run(link, link.is_connected)
    stream.ended = True
    run(link, lambda: not link.is_connected())
report(named=["another client" in event[1] for event in link.events if event[0] == "down"])
""",
    )
    assert report["named"] == [False, False, True, True]


# ---- interrupts and threads


def test_pain_37_an_interrupt_that_publishes_in_the_middle_of_a_publish(board):
    # A scheduled callback runs between two steps of the interpreter: here in the middle of a
    # write, which is as far in as it can come.
    report = device(
        board,
        """
stream = BrokerStream()
link = make(stream)
link.connect()
write = stream.write
refused = []
inside = [False]
def interrupted(buf, off, n):
    if not inside[0]:
        inside[0] = True
        for qos in (0, 1):
            refused.append(said(link.publish, "up/interrupt", "i" * 40, qos=qos))
        refused.append(said(link.subscribe, "down/x"))
        refused.append(said(link.disconnect))
        refused.append(said(link.discard))
        refused.append(said(link.drop, OSError("a test")))
        inside[0] = False
    return write(buf, off, n)
stream.write = interrupted
for qos in (0, 1, 2):
    link.publish("up/program", "p" * 30, qos=qos)
run(link, lambda: not link.inflight)
stream.write = write
link.publish("up/interrupt", "later", qos=1)
run(link, lambda: not link.inflight)
report(refused=[str(one)[:8] for one in refused], received=stream.received, bad=stream.corrupt)
""",
    )
    assert set(report["refused"]) == {"OSError:"}
    assert report["bad"] == []
    assert [one[:2] for one in report["received"]] == [["up/program", "p" * 30]] * 3 + [
        ["up/interrupt", "later"]
    ]


def test_pain_37_scheduled_callbacks_at_any_place(board):
    if board.name != "micropython":
        pytest.skip("CPython schedules nothing")
    report = device(
        board,
        """
import micropython
stream = BrokerStream()
link = make(stream, window=200)
link.connect()
counts = [0, 0]
def tick(n):
    try:
        link.publish("up/t%d" % (n % 7), "t%d" % (n % 7) * 10, qos=n & 1)
        counts[0] += 1
    except OSError:
        counts[1] += 1
for i in range(4000):
    try:
        micropython.schedule(tick, i)
    except RuntimeError:
        pass
    try:
        link.publish("up/p%d" % (i % 9), "p%d" % (i % 9) * 10, qos=i & 1)
    except OSError:
        pass
    link.do_next()
run(link, lambda: not link.inflight)
torn = [one for one in stream.received if one[1] != one[0][3:] * 10]
report(torn=torn[:3], bad=stream.corrupt, some=counts[0] > 0, inflight=link.inflight)
""",
        heap="8m",
    )
    assert report == {"torn": [], "bad": [], "some": True, "inflight": 0}


def test_pain_37_two_threads(board):
    report = device(
        board,
        program("mqtt_link_pains_two_threads"),
        heap="64m",
    )
    assert report == {"torn": [], "bad": [], "sent": True, "inflight": 0, "downs": 0}


def test_a_callback_interrupted_from_the_keyboard_ends_the_connection_and_it_comes_back(board):
    report = device(
        board,
        """
stream = BrokerStream()
link = make(stream, clean_session=False)
interrupts = [1]
def up(present):
    if interrupts:
        interrupts.pop()
        raise KeyboardInterrupt
link.on_up = up
link.subscribe("down/x", 1)
came = 0
while not link.is_connected() or not stream.filters:
    try:
        link.do_next()
    except KeyboardInterrupt:
        came += 1
stream.push(b"down/x", b"1", 1)
run(link, lambda: count(link, "message"))
report(came=came, messages=count(link, "message"), connections=stream.connections)
""",
    )
    assert report == {"came": 1, "messages": 1, "connections": 2}


# ---- bounds and failures


def test_pain_33_qos_0_that_waits_for_room_while_the_connection_drops_is_an_oserror(board):
    report = device(
        board,
        """
stream = BrokerStream(room=0)
link = make(stream, window=2)
stream.room = 1 << 30
link.connect()
stream.room = 0
for i in range(2):
    link.publish("up", "x")
reads = [0]
readinto = stream.readinto
def drops(buf):
    reads[0] += 1
    if reads[0] > 3:
        stream.ended = True
    return readinto(buf)
stream.readinto = drops
link.backoff_ms = 60000
report(said=said(link.publish, "up", "waits", wait_ms=5000))
""",
    )
    assert report["said"].startswith("OSError: ")
    assert "not connected" in report["said"]


@pytest.mark.parametrize("window", [4, 16, 40])
@pytest.mark.parametrize("qos", [1, 2])
def test_pain_52_answers_that_the_peer_does_not_take_are_bounded(board, window, qos):
    # One read brings far more messages than may wait for an answer.
    report = device(
        board,
        """
stream = BrokerStream()
link = make(stream, window=window, max_packet=2048)
link.connect()
stream.filters = [b"down/x"]
stream.room = 0
for i in range(200):
    stream.push(b"down/x", bytes((i & 255,)), qos)
run(link, lambda: False, 50)
stuck = count(link, "message")
stream.room = 7
run(link, lambda: not stream.to_send, 3000)
report(stuck=stuck, all=count(link, "message"), left=len(stream.to_send), bad=stream.corrupt)
""",
        window=window,
        qos=qos,
    )
    assert 0 < report["stuck"] <= 32
    assert report["all"] == 200 and report["left"] == 0 and report["bad"] == []


def test_acknowledgements_of_one_read_go_out_in_one_write(board):
    report = device(
        board,
        """
stream = BrokerStream()
link = make(stream)
link.connect()
stream.filters = [b"down/x"]
for i in range(12):
    stream.push(b"down/x", b"x", 1)
write = stream.write
writes = []
def counted(buf, off, n):
    writes.append(n)
    return write(buf, off, n)
stream.write = counted
run(link, lambda: not stream.to_send)
report(writes=writes)
""",
    )
    assert report["writes"] == [48]


def test_an_ack_for_a_message_not_sent_on_this_connection_is_not_for_it(board):
    report = device(
        board,
        """
stream = BrokerStream(room=0)
link = make(stream)
stream.room = 1 << 30
link.connect()
stream.room = 0
link.publish("up", "stuck")  # holds up what follows
pid = link.publish("up", "x", qos=1)
stream.say(0x40, bytes((pid >> 8, pid & 255)))
run(link, lambda: False, 5)
early = count(link, "ack")
stream.room = 1 << 30
run(link, lambda: not link.inflight)
report(early=early, received=[one[1] for one in stream.received], acks=count(link, "ack"))
""",
    )
    assert report == {"early": 0, "received": ["stuck", "x"], "acks": 1}


def test_after_renewed_credentials_qos_0_offline_is_an_error_again(board):
    report = device(
        board,
        """
clock = Clock()
stream = BrokerStream()
link = make(stream, credentials=lambda: ("user", "token", 10))
link.connect()
clock.now += 9000
run(link, lambda: not link.is_connected(), 20)
kept = said(link.publish, "up", "kept")  # while it dials with new ones
run(link, link.is_connected)
run(link, lambda: stream.received)
stream.answers = False
for i in range(link.window):
    link.publish("up", "fills the window", qos=1)
apart = said(link.publish, "up", "needs no place there")
link.discard()
stream.received = stream.received[:1]
stream.ended = True
run(link, lambda: not link.is_connected(), 20)
link.backoff_ms = 60000
report(apart=apart, kept=kept, received=[one[1] for one in stream.received],
       then=said(link.publish, "up", "x"))
""",
    )
    assert report["kept"] == 0 and report["received"] == ["kept"]
    assert report["apart"] == 0
    assert report["then"].startswith("OSError: ")


def test_a_renewal_that_fails_keeps_no_more_of_qos_0(board):
    report = device(
        board,
        """
clock = Clock()
stream = BrokerStream()
link = make(stream, credentials=lambda: ("user", "token", 10))
link.connect()
def nobody():
    raise OSError(111, "refused")
    yield
stream.open = nobody
clock.now += 9000
run(link, lambda: link.error)
link.backoff_ms = 60000
report(said=said(link.publish, "up", "x"), inflight=link.inflight)
""",
    )
    assert report["said"].startswith("OSError: ") and report["inflight"] == 0


@pytest.mark.parametrize("hook", ["cb", "on_ack", "on_up", "on_down", "on_skip"])
def test_discard_from_any_callback(board, hook):
    report = device(
        board,
        """
stream = BrokerStream()
link = make(stream, clean_session=False, window=40, max_packet=64)
link.connect()
link.subscribe("down/x", 2)
run(link, lambda: stream.filters)
given_up = []
inner = getattr(link, hook)
def hooked(*args):
    if not link.error:
        link.error = "once"
        for qos in (1, 2, 1, 2):
            link.publish("up", "a" * 20, qos=qos)
        link.discard()
    if inner:
        inner(*args)
setattr(link, hook, hooked)
link.error = None
for qos in (1, 2, 2, 1):
    link.publish("up", "b" * 20, qos=qos)
stream.push(b"down/x", b"x", 2)
stream.push(b"down/x", b"x" * 100, 1)
link.do_next()
stream.ended = True
run(link, lambda: False, 30)
link.publish("up", "end", qos=2)
done = run(link, lambda: not link.inflight)
report(done=done, up=link.is_connected(), end=[one[1] for one in stream.received].count(b"end"),
       bad=stream.corrupt)
""",
        hook=hook,
    )
    assert report == {"done": True, "up": True, "end": 1, "bad": []}


def test_what_came_before_a_connection_is_dropped_is_acknowledged(board):
    report = device(
        board,
        """
stream = BrokerStream()
link = make(stream, clean_session=False)
link.subscribe([(b"down/a", 1)])
run(link, lambda: link.is_connected() and stream.filters)
def hear(topic, msg):
    if msg == b"2":
        link.drop(OSError(5))
link.set_callback(hear)
left = []
link.on_down = lambda e: left.append([message[1:3] for message in stream.to_send])
stream.push(b"down/a", b"1", 1)
stream.push(b"down/a", b"2", 1)
run(link, lambda: left)
report(left=left[0])
""",
    )
    assert report["left"] == [["down/a", "2"]]


def test_until_an_heir_is_up_it_keeps_qos_0_too(board):
    report = device(
        board,
        """
old, new = BrokerStream(), BrokerStream()
link = make(old)
link.connect()
heir = make(new)
link.discard(heir)
heir.publish(b"up/kept", b"1", qos=0)
early = len(new.received)
over = run(heir, lambda: new.received)
report(early=early, got=new.received)
""",
    )
    assert report == {"early": 0, "got": [["up/kept", "1", 0]]}


@pytest.mark.parametrize("ssl, port", [(None, 1883), (False, 1883), ({"verify": False}, 8883)])
def test_the_usual_ports(board, ssl, port):
    report = device(
        board,
        """
import netstream
seen = []
def stream(host, port, *more):
    seen.append(port)
    return BrokerStream()
mqtt_link.NetStream = netstream.NetStream = stream
MQTTLink("id", "host", ssl=ssl)
report(seen=seen)
""",
        ssl=ssl,
    )
    assert report["seen"] == [port]


# ---- what a board with lwIP needs


@pytest.mark.parametrize("size", [20, 100, 300, 512, 700, 1000, 2000, 5000])
@pytest.mark.parametrize("qos", [0, 1])
def test_pain_55_what_is_unheard_is_bounded_and_a_sign_of_life_is_asked_for(board, size, qos):
    report = device(
        board,
        program("mqtt_link_pains_unheard"),
        size=size,
        qos=qos,
    )
    # A packet that has begun goes on; none begins when more than 4 KB are unheard.
    assert report["silent"] <= max(4096 + 256, 4096 + size * 1.3)
    assert report["pings"] == 1 and report["up"] and report["refused"] > 0
    assert report["sent"] == 60 and report["came"] >= 60 and report["bad"] == []
