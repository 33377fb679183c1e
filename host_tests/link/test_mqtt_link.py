"""
mqtt_link, read as its specification: what a program may rely on, against a broker that is not
ours.

How it stands up to a peer that breaks the rules is in test_mqtt_link_faults.py.
"""

import textwrap

import pytest
from link_rig import Observer
from localcloud.faults import CONNECT, PUBACK, SUBACK, SUBSCRIBE, Connack, Fault, FaultProxy
from device_program import program

LINK = program("mqtt_link_start")


@pytest.fixture
def observer(broker):
    made = Observer(broker.host, broker.port, "out/#")
    yield made
    made.stop()


@pytest.fixture
def proxy(broker):
    with FaultProxy(broker.host, broker.port) as made:
        yield made


def on(board, peer, source, **values):
    source = LINK + textwrap.dedent(source)
    return board.run(source, host=peer.host, port=peer.port, **values).reports


def start(board, peer, source, **values):
    source = LINK + textwrap.dedent(source)
    return board.start(source, host=peer.host, port=peer.port, **values)


class Recorder(Fault):
    """Keeps the packets that went up, over all connections it is applied to."""

    packets = None

    def up(self, data):
        self.packets.append(data)
        yield data

    @classmethod
    def on(cls, proxy):
        kind = type("Recording", (cls,), {"packets": []})
        proxy.apply(kind, connections=None)
        return kind.packets


class RefuseFilters(Fault):
    """Every SUBACK says 0x80."""

    def down(self, data):
        yield data[:4] + b"\x80" * len(data[4:]) if data[0] >> 4 == SUBACK else data


# ---- messages out


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publish_returns_at_once_and_the_acknowledgement_follows(board, broker, observer, qos):
    (report,) = on(
        board,
        broker,
        """
        link = make()
        link.connect()
        pid = link.publish("out/x", b"hello", qos=qos)
        waiting = link.inflight
        run(lambda: not link.inflight)
        link.disconnect()
        report(pid=pid, waiting=waiting, acks=acks)
        """,
        qos=qos,
    )
    assert observer.wait("out/x", 1) == [b"hello"]
    if qos:
        assert report["waiting"] == 1 and report["acks"] == [[report["pid"], 0]]
    else:
        assert report["pid"] == 0 and report["waiting"] == 0 and report["acks"] == []


def test_pain_13_packet_ids_wrap_and_skip_those_in_use(board, broker):
    (report,) = on(
        board,
        broker,
        """
        link = make(window=6)
        link.pid = 65533
        ids = [link.publish("out/x", b"", qos=1) for _ in range(4)]
        link.pid = 65533
        ids.append(link.publish("out/x", b"", qos=2))
        link.connect()
        run(lambda: not link.inflight)
        report(ids=ids, acked=sorted(pid for pid, code in acks))
        """,
    )
    assert report["ids"] == [65534, 65535, 1, 2, 3]
    assert report["acked"] == sorted(report["ids"])


def test_the_70000th_message_is_like_the_first(board, broker):
    (report,) = on(
        board,
        broker,
        """
        link = make(window=20)
        link.connect()
        link.on_ack = None
        for i in range(70000):
            while link.inflight >= 20:
                link.do_next(1000)
            link.publish(b"none/listens", b"x", qos=1)
        run(lambda: not link.inflight)
        report(downs=downs, pid=link.pid)
        """,
    )
    assert report["downs"] == [] and 0 < report["pid"] <= 65535


def test_a_topic_in_a_bytearray_may_change_between_two_publishes(board, broker, observer):
    on(
        board,
        broker,
        """
        link = make()
        link.connect()
        topic = bytearray(b"out/a")
        link.publish(topic, b"1", qos=1)
        topic[4] = 98
        link.publish(topic, b"2", qos=1)
        run(lambda: not link.inflight)
        """,
    )
    assert observer.wait("out/a", 1) == [b"1"] and observer.wait("out/b", 1) == [b"2"]


def test_full_window_raises_or_waits_as_the_caller_chooses(board, broker, observer):
    (report,) = on(
        board,
        broker,
        """
        link = make(window=3)
        for i in range(3):
            link.publish("out/x", str(i), qos=1)
        offline = refused(link.publish, "out/x", "3", qos=1)
        start = time.ticks_ms()
        link.connect()
        for i in range(3, 20):
            link.publish("out/x", str(i), qos=2, wait_ms=5000)
        run(lambda: not link.inflight)
        report(offline=offline, isinstance=issubclass(Full, OSError))
        """,
    )
    assert report["offline"].startswith("Full: ") and "window full" in report["offline"]
    assert observer.wait("out/x", 20) == [b"%d" % i for i in range(20)]


def test_offline_qos_0_is_refused_and_qos_1_and_2_are_kept(board, broker, observer):
    (report,) = on(
        board,
        broker,
        """
        link = make()
        said = refused(link.publish, "out/x", "0")
        link.publish("out/x", "1", qos=1)
        link.publish("out/x", "2", qos=2)
        link.connect()
        run(lambda: not link.inflight)
        report(said=said)
        """,
    )
    assert "not connected" in report["said"]
    assert observer.wait("out/x", 2) == [b"1", b"2"]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_large_payload_is_sent_from_where_it_lies(board, broker, observer, qos):
    size = 300000
    (report,) = on(
        board,
        broker,
        """
        link = make()
        link.connect()
        link.publish("out/x", b"warm", qos=qos)
        run(lambda: not link.inflight)
        payload = bytearray(size)
        for i in range(size):
            payload[i] = i & 255
        gc.collect()
        before = gc.mem_alloc()
        link.publish("out/x", payload, qos=qos)
        grown = gc.mem_alloc() - before
        run(lambda: not link.inflight)
        link.disconnect()
        report(grown=grown)
        """,
        qos=qos,
        size=size,
    )
    assert observer.wait("out/x", 2)[1] == bytes(i & 255 for i in range(size))
    if board.name == "micropython":
        assert report["grown"] < 1000


def test_pain_18_non_ascii_topic_payload_and_credentials_keep_their_length(
    board, broker, observer, proxy
):
    packets = Recorder.on(proxy)
    on(
        board,
        proxy,
        """
        link = make("gerät", user="jürgen", password="pässwörd☃")
        link.connect()
        link.publish("out/größe", "°C ✓", qos=1)
        run(lambda: not link.inflight)
        """,
    )
    assert observer.wait("out/größe", 1) == ["°C ✓".encode()]
    for text in ("gerät", "jürgen", "pässwörd☃"):
        text = text.encode()
        assert len(text).to_bytes(2, "big") + text in packets[0]


def test_pain_26_one_packet_is_one_write(board, broker):
    (report,) = on(
        board,
        broker,
        """
        link = make()
        link.connect()
        writes = []
        write = link._stream.write
        def counted(buf, off, n):
            sent = write(buf, off, n)
            writes.append(sent)
            return sent
        link._stream.write = counted
        link.publish("a" * 20, b"b" * 80)
        link.publish("a" * 20, b"b" * 80, qos=1)
        link.publish("a" * 20, b"b" * 80, qos=2)
        report(writes=writes)
        """,
    )
    assert report["writes"] == [104, 106, 106]


@pytest.mark.parametrize(
    "topic, payload, options, why",
    [
        ("", "x", {}, "1 to 65535 bytes"),
        ("a/+/b", "x", {}, "+"),
        ("a/#", "x", {}, "#"),
        ("a\0b", "x", {}, "NUL"),
        ("a" * 65536, "x", {}, "65535"),
        (None, "x", {}, "topic must be str or bytes"),
        ("a", None, {}, "msg must be str or bytes"),
        ("a", 5, {}, "msg must be str or bytes"),
        ("a", "x", {"qos": 3}, "qos: 0, 1 or 2"),
    ],
)
def test_publish_refuses_what_mqtt_forbids(board, broker, topic, payload, options, why):
    (report,) = on(
        board,
        broker,
        """
        link = make()
        link.connect()
        said = refused(link.publish, topic, payload, **options)
        link.publish("still/works", "x", qos=1)
        run(lambda: not link.inflight)
        report(said=said, downs=downs)
        """,
        topic=topic,
        payload=payload,
        options=options,
    )
    assert report["said"].startswith("ValueError: ") and why in report["said"]
    assert report["downs"] == []


# ---- messages in


def test_messages_arrive_whole_with_topic_and_payload_as_bytes(board, broker, observer):
    program = start(
        board,
        broker,
        """
        link = make()
        link.connect()
        link.subscribe([("in/+", 2), ("in/deep/#", 1)])
        run(lambda: acks)
        report(acks=acks)
        run(lambda: len(got) == 4)
        report(got=got, types=[type(part).__name__ for part in got[0]])
        """,
    )
    assert len(program.next_report()["acks"]) == 1
    observer.publish("in/a", b"0", 0)
    observer.publish("in/b", b"1", 1)
    observer.publish("in/c", b"2", 2)
    observer.publish("in/deep/er", b"", 2)
    report = program.next_report()
    assert report["got"] == [["in/a", "0"], ["in/b", "1"], ["in/c", "2"], ["in/deep/er", ""]]
    assert report["types"] == ["bytes", "bytes"]


def test_retain_flag_reaches_those_who_want_it(board, broker, observer):
    observer.publish("kept/x", b"old", 1, retain=True)
    (report,) = on(
        board,
        broker,
        """
        link = make()
        heard = []
        link.set_callback(lambda topic, msg, flag: heard.append((msg, flag)), retained=True)
        link.connect()
        link.subscribe("kept/x", 1)
        run(lambda: heard)
        link.publish("kept/x", b"new", retain=True, qos=1)
        run(lambda: len(heard) == 2)
        report(heard=heard)
        """,
    )
    observer.publish("kept/x", b"", 1, retain=True)
    assert report["heard"] == [["old", True], ["new", False]]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_pain_14_oversize_message_is_passed_over_and_reported(board, broker, observer, qos):
    program = start(
        board,
        broker,
        """
        link = make(max_packet=256, clean_session=False)
        skipped = []
        link.on_skip = lambda topic, size: skipped.append((topic, size))
        link.connect()
        link.subscribe("in/x", qos)
        run(lambda: acks)
        report(ready=True)
        gc.collect()
        before = gc.mem_alloc()
        run(lambda: skipped)
        grown = gc.mem_alloc() - before
        run(lambda: got)
        link.disconnect()
        link.connect()
        for _ in range(20):
            link.do_next(5)
        report(skipped=skipped, got=got, grown=grown)
        """,
        qos=qos,
    )
    program.next_report()
    observer.publish("in/x", b"z" * 200000, qos)
    observer.publish("in/x", b"small", qos)
    report = program.next_report()
    size = 2 + len("in/x") + 200000 + (2 if qos else 0)
    assert report["skipped"] == [["in/x", size]]
    assert report["got"] == [["in/x", "small"]]
    if board.name == "micropython":
        assert report["grown"] < 20000


def test_an_exception_in_the_callback_comes_out_of_do_next_and_costs_one_message(
    board, broker, observer
):
    program = start(
        board,
        broker,
        """
        link = make(clean_session=False)
        def fragile(topic, msg):
            got.append(msg)
            if msg == b"bad":
                raise OSError("from the program itself")
        link.set_callback(fragile)
        link.connect()
        link.subscribe("in/x", 1)
        run(lambda: acks)
        report(ready=True)
        raised = []
        while len(got) < 3:
            try:
                link.do_next(10)
            except Exception as e:
                raised.append(str(e))
        for _ in range(20):
            link.do_next(5)
        report(got=got, raised=raised, downs=downs)
        """,
    )
    program.next_report()
    for payload in (b"one", b"bad", b"two"):
        observer.publish("in/x", payload, 1)
    report = program.next_report()
    assert report["got"] == ["one", "bad", "two"]
    assert report["raised"] == ["from the program itself"] and report["downs"] == []


def test_a_callback_may_drop_the_connection_and_acknowledges_nothing(
    board, broker, proxy, observer
):
    """So a broker that keeps the rules sends again what a program could not take."""
    program = start(
        board,
        proxy,
        """
        link = make()
        def take(topic, msg):
            got.append(msg)
            link.drop(OSError(12, "no room for it now"))
        link.set_callback(take)
        link.subscribe("in/drop", 1)
        run(lambda: acks)
        report(ready=True)
        run(lambda: got and len(ups) > 1)
        report(got=got, downs=downs, connected=link.is_connected())
        """,
    )
    assert program.next_report() == {"ready": True}
    observer.publish("in/drop", b"one", 1)
    last = program.next_report()
    assert last["got"] == ["one"] and last["connected"]
    assert len(last["downs"]) == 1 and "no room" in last["downs"][0]
    assert proxy.seen["up"][PUBACK] == 0


def test_a_callback_may_publish_subscribe_and_disconnect(board, broker, observer):
    (report,) = on(
        board,
        broker,
        """
        link = make()
        def busy(topic, msg):
            got.append(msg)
            if msg == b"start":
                link.publish("out/x", "from inside", qos=2)
                link.subscribe("in/other")
                link.publish("in/x", "stop", qos=1)
            else:
                link.disconnect()
        link.set_callback(busy)
        link.connect()
        link.subscribe("in/x", 1)
        run(lambda: acks)
        link.publish("in/x", "start", qos=1)
        run(lambda: len(got) == 2)
        for _ in range(10):
            link.do_next(5)
        report(got=got, up=link.is_connected(), inside=link.do_next())
        """,
    )
    assert report == {"got": ["start", "stop"], "up": False, "inside": False}
    assert observer.wait("out/x", 1) == [b"from inside"]


# ---- subscriptions


def test_several_filters_travel_in_one_subscribe(board, broker, proxy):
    packets = Recorder.on(proxy)
    (report,) = on(
        board,
        proxy,
        """
        link = make()
        first = link.subscribe([("a", 0), ("b/+", 1)])
        second = link.subscribe("c/#", 2)
        link.connect()
        run(lambda: len(acks) == 2)
        report(ids=[first, second], acks=acks)
        """,
    )
    assert [packet[0] >> 4 for packet in packets[:2]] == [CONNECT, SUBSCRIBE]
    assert packets[1][4:] == b"\x00\x01a\x00\x00\x03b/+\x01\x00\x03c/#\x02"
    assert report["acks"] == [[report["ids"][0], 1], [report["ids"][1], 2]]


def test_pain_05_subscriptions_are_made_again_after_a_reconnect(board, broker, proxy, observer):
    packets = Recorder.on(proxy)
    program = start(
        board,
        proxy,
        """
        link = make()
        link.subscribe([("in/a", 1), ("in/b", 1), ("in/c", 1)])
        link.connect()
        run(lambda: acks)
        link.unsubscribe("in/b")
        run(lambda: len(acks) == 2)
        report(ready=True)
        run(lambda: len(ups) == 2)
        run(lambda: not link._waiting)
        report(again=True)
        run(lambda: len(got) == 2)
        report(got=got)
        """,
    )
    program.next_report()
    proxy.cut()
    program.next_report()
    for name in "abc":
        observer.publish("in/" + name, name, 1)
    assert program.next_report()["got"] == [["in/a", "a"], ["in/c", "c"]]
    assert [packet[0] >> 4 for packet in packets].count(SUBSCRIBE) == 2


def test_a_durable_session_is_not_subscribed_again(board, broker, proxy, observer):
    packets = Recorder.on(proxy)
    program = start(
        board,
        proxy,
        """
        link = make("durable", clean_session=False)
        link.connect(clean_session=True)
        link.connect(clean_session=False)
        link.subscribe("in/x", 1)
        run(lambda: acks)
        link.disconnect()
        report(ready=True)
        sys.stdin.readline()
        present = link.connect()
        run(lambda: got)
        link.disconnect()
        report(present=present, got=got)
        """,
    )
    program.next_report()
    observer.publish("in/x", "while away", 1)
    program.send("go")
    assert program.next_report() == {"present": True, "got": [["in/x", "while away"]]}
    assert [packet[0] >> 4 for packet in packets].count(SUBSCRIBE) == 1


def test_a_refused_filter_is_noticed_and_the_link_lives_on(board, proxy):
    proxy.apply(RefuseFilters, connections=None)
    (report,) = on(
        board,
        proxy,
        """
        link = make()
        link.connect()
        pid = link.subscribe([("a", 1), ("b", 1)])
        run(lambda: acks)
        link.publish("x", "y", qos=1)
        run(lambda: not link.inflight)
        report(pid=pid, acks=acks[:1], downs=downs)
        """,
    )
    assert report["acks"] == [[report["pid"], 0x80]] and report["downs"] == []


@pytest.mark.parametrize(
    "name", ["", "a#", "a/#/b", "a+", "+a/b", "#/a", "#/#", "a\0", "x" * 65536]
)
def test_bad_filters_are_refused(board, broker, name):
    (report,) = on(
        board, broker, "link = make()\nreport(said=refused(link.subscribe, name))", name=name
    )
    assert report["said"].startswith("ValueError: topic")


def test_good_filters_are_taken(board, broker):
    (report,) = on(
        board,
        broker,
        """
        link = make()
        link.connect()
        for name in ("#", "+", "/", "+/+", "/+", "a/+/b/#", "a//b", "$SYS/x", b"bytes", "ä/ö"):
            link.subscribe(name)
        run(lambda: len(acks) == 10)
        report(codes=[code for _, code in acks])
        """,
    )
    assert report["codes"] == [0] * 10


# ---- connecting and coming back


def test_connect_waits_and_says_whether_there_was_a_session(board, broker):
    (report,) = on(
        board,
        broker,
        """
        link = make("comes-back", clean_session=False)
        link.connect(clean_session=True)
        present = [link.connect(clean_session=False), link.connect()]
        report(present=present, up=link.is_connected())
        """,
    )
    assert report == {"present": [False, True], "up": True}


def test_do_next_alone_connects(board, broker):
    (report,) = on(
        board,
        broker,
        """
        link = make()
        run(link.is_connected)
        report(ups=ups)
        """,
    )
    assert report["ups"] == [False]


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 9])
def test_refused_connack_is_named_and_tried_again(board, proxy, code):
    proxy.apply(Connack, code)
    (report,) = on(
        board,
        proxy,
        """
        link = make(password="s3cret", user="me")
        said = refused(link.connect)
        run(link.is_connected)
        report(said=said, downs=downs)
        """,
    )
    assert report["said"].startswith("MQTTException: ({}, 'refused".format(code))
    assert len(report["downs"]) == 1 and "s3cret" not in str(report)


def test_nobody_listening_is_an_oserror_that_names_host_and_port(board):
    (report,) = board.run(
        LINK
        + """
link = make(timeout=2)
said = refused(link.connect)
name = MQTTLink("x", "no-such-host.invalid", 1883, timeout=2)
report(said=said, dns=refused(name.connect))
""",
        host="127.0.0.1",
        port=1,
    ).reports
    assert "can't connect to 127.0.0.1:1" in report["said"]
    assert "DNS can't resolve no-such-host.invalid" in report["dns"]


def test_pain_17_and_08_each_attempt_asks_for_fresh_credentials(board, broker, proxy):
    packets = []

    class Expired(Connack):
        def up(self, data):
            packets.append(data)
            yield data

    proxy.apply(lambda: Expired(5), connections=2)
    program = start(
        board,
        proxy,
        """
        asked = []
        def credentials():
            asked.append(1)
            return "user", "token-%d" % len(asked)
        link = make(credentials=credentials)
        run(link.is_connected)
        report(asked=len(asked))
        """,
    )
    assert program.next_report() == {"asked": 3}
    assert [packet[-7:] for packet in packets] == [b"token-1", b"token-2"]


def test_credentials_that_raise_are_a_failed_attempt_and_no_crash(board, broker):
    (report,) = on(
        board,
        broker,
        """
        asked = []
        def credentials():
            asked.append(1)
            if len(asked) == 1:
                raise ValueError("clock not set: sync NTP before connecting")
            return None, None
        link = make(credentials=credentials)
        said = refused(link.connect)
        run(link.is_connected)
        report(said=said, downs=downs)
        """,
    )
    assert "clock not set" in report["said"] and len(report["downs"]) == 1


def test_credentials_are_renewed_before_they_end_and_nothing_is_lost(
    board, broker, observer, proxy
):
    """Three lifetimes pass while messages of all three kinds flow both ways."""
    packets = Recorder.on(proxy)
    program = start(
        board,
        proxy,
        """
        asked = []
        def credentials():
            asked.append(1)
            return "user", "token-%d" % len(asked), 1
        link = make("renewing", credentials=credentials, clean_session=False, window=8)
        link.connect(clean_session=True)
        link.connect(clean_session=False)
        link.subscribe("loop/#", 2)
        run(lambda: acks)
        sent = 0
        while len(asked) < 6:
            if link.inflight < 6:
                for qos in (0, 1, 2):
                    try:
                        link.publish("loop/%d" % qos, str(sent), qos=qos)
                    except OSError as e:
                        assert not qos, e  # only while it dials, and not for a renewal
                sent += 1
            for _ in range(4):
                link.do_next()
                time.sleep_ms(1)
        run(lambda: not link.inflight)
        run(lambda: len(ups) == len(asked))
        run(lambda: sum(topic == b"loop/2" for topic, _ in got) == sent)
        numbers = [[int(msg) for topic, msg in got if topic == b"loop/%d" % qos] for qos in (1, 2)]
        report(sent=sent, downs=downs, once=numbers[1] == list(range(sent)),
               at_least=sorted(set(numbers[0])) == list(range(sent)))
        """,
    )
    report = program.next_report(20)
    assert report["at_least"] and report["once"] and report["sent"] > 20
    # Planned: each goodbye was said by the link itself, one reconnect for each token.
    assert report["downs"] == ["None"] * len(report["downs"])
    connects = [packet for packet in packets if packet[0] >> 4 == CONNECT]
    assert [packet[-7:] for packet in connects] == [
        b"token-%d" % (i + 1) for i in range(len(connects))
    ]
    assert len(connects) == 6


def test_a_will_may_have_65535_bytes(board):
    report = board.run(
        """
        from mqtt_link import MQTTLink
        link = MQTTLink("wills", "127.0.0.1", 1)
        link.set_last_will("t", bytes(65535))
        link.set_last_will("t" * 65535, b"")
        try:
            link.set_last_will("t", bytes(65536))
        except ValueError as e:
            report(error=str(e))
        """
    ).report
    assert "65535" in report["error"]


def test_last_will_comes_when_the_device_just_vanishes(board, broker, observer):
    program = start(
        board,
        broker,
        """
        link = make()
        link.set_last_will("out/will", "gone ✝", retain=False, qos=1)
        link.connect()
        report(ready=True)
        sys.stdin.readline()
        """,
    )
    program.next_report()
    assert observer.payloads("out/will") == []
    program.stop()
    assert observer.wait("out/will", 1) == ["gone ✝".encode()]


def test_no_will_after_disconnect(board, broker, observer):
    on(
        board,
        broker,
        """
        link = make()
        link.set_last_will("out/will", "gone")
        link.connect()
        link.disconnect()
        link.set_last_will("out/end", "end", qos=1)
        link.connect()
        link.publish("out/done", "x", qos=1)
        link.disconnect()
        """,
    )
    observer.wait("out/done", 1)
    assert observer.payloads("out/will") == []


def test_disconnect_stays_away_until_connect(board, broker):
    (report,) = on(
        board,
        broker,
        """
        link = make()
        link.connect()
        link.disconnect()
        steps = [link.do_next(1) for _ in range(5)]
        again = link.connect()
        report(steps=steps, ups=len(ups), downs=downs)
        """,
    )
    assert report == {"steps": [False] * 5, "ups": 2, "downs": ["None"]}


def test_connect_ends_when_somebody_disconnects_meanwhile(board, broker):
    run = board.run(
        LINK
        + """
link = make()
link.on_up = lambda present: link.disconnect()
report(why=refused(link.connect), up=link.is_connected())
link.on_up = None
report(present=link.connect(), up=link.is_connected())
link.disconnect()
""",
        host=broker.host,
        port=broker.port,
    )
    assert "disconnect() was called" in run.reports[0]["why"] and not run.reports[0]["up"]
    assert run.reports[1] == {"present": False, "up": True}


def test_a_list_is_nothing_to_unsubscribe_from(board):
    """What subscribe() takes as a list would be subscribed to once more."""
    run = board.run(
        LINK
        + """
link = make()
report(why=[refused(link.unsubscribe, given) for given in ([("a", 1)], ["a", "b"], [])])
""",
        host="127.0.0.1",
        port=1,
    )
    assert all("topic" in why for why in run.report["why"])


def test_disconnect_ends_the_connection_even_if_a_callback_raises_meanwhile(board, broker):
    (report,) = on(
        board,
        broker,
        """
        link = make()
        def fragile(pid, code):
            raise ValueError("from on_ack")
        link.on_ack = fragile
        link.connect()
        link.publish("x", "y", qos=1)
        said = refused(link.disconnect)
        report(said=said, up=link.is_connected(), step=link.do_next())
        """,
    )
    assert report == {"said": "ValueError: from on_ack", "up": False, "step": False}


def test_backoff_doubles_with_full_jitter_and_first_tries_within_a_second(board, broker):
    (report,) = board.run(
        LINK
        + """
import mqtt_link
now = 0
mqtt_link.ticks_ms = lambda: now
mqtt_link.ticks_diff = lambda a, b: a - b
def sleep(ms):
    global now
    now += ms
mqtt_link.sleep_ms = sleep

def waits(count):
    # How long a link that finds nobody waits before each new attempt.
    link = MQTTLink("x", "127.0.0.1", 1)
    ends = []
    link.on_down = lambda e: ends.append(now)
    while len(ends) < count:
        link.do_next(1000)
    return [b - a for a, b in zip(ends, ends[1:])]

runs = [waits(13) for _ in range(60)]
firsts = [one[0] for one in runs]
laters = [wait for one in runs for wait in one[8:]]
report(first=max(firsts), spread=max(firsts) - min(firsts), later=max(laters), low=min(laters),
       mean=sum(laters) / len(laters))
""",
        host="",
        port=0,
    ).reports
    assert report["first"] <= 1000 and report["spread"] > 500
    assert 32000 < report["later"] <= 64000 and report["low"] < 32000
    # Each is counted from the failure before it: 240 samples, five times their mean's deviation.
    assert 26000 < report["mean"] < 38000


@pytest.mark.parametrize(
    "options, why",
    [
        ({"keepalive": 65536}, "keepalive"),
        ({"keepalive": -1}, "keepalive"),
        ({"ssl": {}}, ""),
        ({"ssl": True}, "root certificate"),
        ({"ssl": {"ca": "no-such-file.der"}}, "no-such-file.der"),
        ({"ssl": {"ca": b"nonsense"}}, "bad ca"),
    ],
)
def test_bad_options_are_refused_when_the_link_is_made(board, broker, options, why):
    (report,) = on(board, broker, "report(said=refused(make, **options))", options=options)
    if options == {"ssl": {}}:
        assert report["said"] is None  # plain, like ssl=None
    else:
        assert report["said"].startswith("ValueError: ") and why in report["said"]


class Piggyback(Fault):
    """What follows the CONNACK comes in the same segment as it."""

    def __init__(self):
        self.held = b""

    def down(self, data):
        self.held += data
        if len(self.held) > 30:
            yield self.held
            self.held = b""


def test_packets_in_one_read_with_the_connack_are_all_handled(board, broker, proxy, observer):
    program = start(
        board,
        proxy,
        """
        link = make("piggyback", clean_session=False, timeout=1)
        link.connect(clean_session=True)
        link.connect(clean_session=False)
        link.subscribe("in/x", 2)
        run(lambda: acks)
        link.disconnect()
        report(ready=True)
        sys.stdin.readline()
        link.connect()
        ups.clear()
        run(lambda: len(got) == 5)
        for _ in range(20):
            link.do_next(10)
        report(got=[msg for topic, msg in got], downs=downs)
        """,
    )
    program.next_report()
    for i in range(5):
        observer.publish("in/x", str(i), 2)
    proxy.apply(Piggyback, connections=None)
    program.send("go")
    report = program.next_report()
    assert report["got"] == ["0", "1", "2", "3", "4"]
    assert report["downs"] == ["None"] * len(report["downs"])


def test_pain_15_two_clients_with_one_id_are_told_so(board, broker):
    (report,) = on(
        board,
        broker,
        """
        link = make("twin")
        other = make("twin")
        while not (link.error and "another client with this id" in str(link.error)):
            link.do_next(5)
            other.do_next(5)
        report(error=link.error)
        """,
    )
    assert "connection" in report["error"]


def test_a_negative_wait_is_no_wait(board, broker):
    (report,) = on(
        board,
        broker,
        """
        link = make()
        link.connect()
        for _ in range(20):
            link.do_next(5)
        report(idle=link.do_next(-1))
        """,
    )
    assert report == {"idle": False}


def test_given_up_messages_are_told(board, broker):
    (report,) = on(
        board,
        broker,
        """
        link = make()
        ids = [link.publish("x", "y", qos=1), link.publish("x", b"z" * 5000, qos=2)]
        link.discard()
        report(ids=ids, acks=acks, inflight=link.inflight)
        """,
    )
    assert report["acks"] == [[pid, 0xFF] for pid in report["ids"]] and report["inflight"] == 0


def test_what_is_given_up_may_go_to_another_link(board, broker, observer):
    """
    In its order, with its ids, and as if it had never been sent: a broker that has not seen a
    message is not told that it is a repeated one (DUP).
    """
    (report,) = on(
        board,
        broker,
        """
        old = link = make("old")
        old.connect()
        old._read = lambda: False  # no acknowledgement is heard
        ids = [old.publish("out/moved", str(i), qos=1) for i in range(3)]
        ids.append(old.publish("out/moved", b"z" * 5000, qos=1))
        old.do_next()
        old.disconnect(0)

        link = make("new")
        old.discard(link)
        counts = [old.inflight, link.inflight, len(acks)]
        ids.append(link.publish("out/last", "", qos=1))
        first_bytes = []
        write = link._stream.write
        def spy(buf, off, n):
            first_bytes.append(buf[off])
            return write(buf, off, n)
        link._stream.write = spy
        link.connect()
        run(lambda: not link.inflight)
        report(
            ids=ids, acks=sorted(acks), counts=counts,
            published=[byte for byte in first_bytes if byte & 0xF0 == 0x30],
        )
        """,
    )
    assert report["counts"] == [0, 4, 0]
    assert report["acks"] == sorted([pid, 0] for pid in report["ids"])
    assert report["published"] == [0x32] * 5
    observer.wait("out/last", 1)
    # What the old link had sent has come, too.
    assert observer.payloads("out/moved")[-4:] == [b"0", b"1", b"2", b"z" * 5000]


def test_unsubscribing_while_offline_reaches_a_durable_session(board, broker, observer):
    (report,) = on(
        board,
        broker,
        """
        link = make("leaver", clean_session=False)
        link.connect(clean_session=True)
        link.connect(clean_session=False)
        link.subscribe([("in/x", 1), ("in/y", 1)])
        run(lambda: acks)
        link.disconnect()
        pid = link.unsubscribe("in/x")
        present = link.connect()
        run(lambda: len(acks) == 2)
        link.publish("in/x", "unheard", qos=1)
        link.publish("in/y", "heard", qos=1)
        run(lambda: got)
        report(present=present, told=acks[1][0] == pid, code=acks[1][1], got=got)
        """,
    )
    assert report == {"present": True, "told": True, "code": 0, "got": [["in/y", "heard"]]}


# ---- what it costs


def nothing_is_allocated_when_idle(board, peer, **options):
    if board.name == "cpython":
        pytest.skip("CPython has no such figure")
    source = LINK + program("mqtt_link_idle")
    run = board.run(source, host=peer.host, port=peer.port, options=options)
    assert run.report == {"idle": 0, "waiting": 0}


def test_nothing_is_allocated_when_idle(board, broker):
    nothing_is_allocated_when_idle(board, broker)


def test_a_publish_allocates_the_packet_and_little_else(board, broker):
    if board.name == "cpython":
        pytest.skip("CPython has no such figure")
    (report,) = on(
        board,
        broker,
        """
        link = make(window=64)
        link.connect()
        topic = b"a" * 20
        payload = b"b" * 80
        for qos in (0, 1, 2):
            for _ in range(20):
                link.publish(topic, payload, qos=qos)
            run(lambda: not link.inflight)
        costs = []
        for qos in (0, 1, 2):
            gc.collect()
            gc.disable()
            before = gc.mem_alloc()
            for _ in range(10):
                link.publish(topic, payload, qos=qos)
            costs.append((gc.mem_alloc() - before) / 10)
            gc.enable()
            run(lambda: not link.inflight)
        report(costs=costs)
        """,
    )
    # MicroPython 1.25 makes an object of every slice: two a publish, 16 bytes each on 32 bits.
    assert report["costs"][0] == (32 if board.kind == "micropython32" else 0)
    assert all(cost <= 106 + 64 for cost in report["costs"]), report


# ---- umqtt.simple underneath


def test_what_umqtt_simple_offers_still_works(board, broker, observer):
    (report,) = on(
        board,
        broker,
        """
        from umqtt.simple import MQTTClient
        link = make()
        link.connect()
        link.subscribe(b"loop")
        link.publish(b"loop", b"1")
        while not got:
            link.wait_msg()
        link.publish(b"loop", b"2")
        while len(got) < 2:
            link.check_msg()
        link.ping()
        link.disconnect()
        report(got=got, kin=isinstance(link, MQTTClient))
        """,
    )
    assert report == {"got": [["loop", "1"], ["loop", "2"]], "kin": True}


def test_missing_umqtt_simple_is_an_error_that_says_what_to_do(board, tmp_path):
    (tmp_path / "umqtt").mkdir()
    (tmp_path / "umqtt" / "__init__.py").write_text("")  # with no `simple` in it
    result = board.run(
        """
        try:
            import mqtt_link
        except ImportError as e:
            report(said=str(e))
        """,
        before_lib=(tmp_path,),
    )
    assert "mip install umqtt.simple" in result.report["said"]
