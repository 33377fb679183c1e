"""
The mock broker, rule by rule, spoken to through raw sockets; and by paho-mqtt as a
client that somebody else wrote.
"""

import asyncio
import contextlib
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from localcloud.mqtt import client as mqtt_client
from localcloud.mqtt import codec as mq
from localcloud.mqtt import flow
from localcloud.mqtt import server as mqtt_server
from localcloud.mqtt import session as mqtt_session
from localcloud.mqtt import tree as mqtt_tree
from localcloud_rig import Raw, running
from waiting import until


@pytest.fixture
def broker():
    with running(mqtt_server.OpenBroker()) as (server, port, background):
        yield Broker(server, port, background)


class Broker:
    def __init__(self, server, port, background):
        self.server = server
        self.port = port
        self.background = background
        self.service = server.services[0]

    def client(self, client_id="c", **options):
        return Raw(self.port).connect(client_id, **options)

    def raw(self):
        return Raw(self.port)


# ---- connecting


def test_first_packet_must_be_connect(broker):
    for packet in (mq.Pingreq(), mq.Publish("a"), mq.Subscribe(1, [("a", 0)]), mq.Disconnect()):
        broker.raw().send(packet).closed()


def test_a_second_connect_ends_the_connection(broker):
    broker.client().send(mq.Connect("c")).closed()


@pytest.mark.parametrize("level", [0, 3, 5, 132])
def test_unknown_level_gets_connack_1(broker, level):
    wire = bytearray(mq.Connect("c").encode())
    wire[8] = level
    broker.raw().send(bytes(wire)).expect(mq.Connack(mq.BAD_LEVEL)).closed()


def test_mqtt_5_gets_connack_1_whatever_follows(broker):
    wire = bytes.fromhex("10 10 0004 4d515454 05 02 003c 03 21 00 14 0000")
    broker.raw().send(wire).expect(mq.Connack(mq.BAD_LEVEL)).closed()


def test_mqtt_3_1_is_spoken_with_long_client_ids(broker):
    broker.client("a-client-id-of-more-than-23-characters", level=3).sync().leave()


def test_empty_client_id_needs_a_clean_session(broker):
    broker.raw().send(mq.Connect("", clean=False)).expect(mq.Connack(mq.BAD_CLIENT_ID)).closed()
    a = broker.client("")
    b = broker.client("")
    a.sync()
    b.sync()


def test_nothing_that_a_refused_client_sent_is_processed():
    class Refusing(mqtt_server.OpenBroker):
        published = 0

        def publish(self, client, packet):
            Refusing.published += 1

        async def authenticate(self, client, password):
            await asyncio.sleep(0.05)
            return mq.BAD_USER

    with running(Refusing()) as (_, port, _):
        Raw(port).send(mq.Connect("c"), mq.Publish("a", b"x", 1, pid=1)).expect(
            mq.Connack(mq.BAD_USER)
        ).closed()
    assert Refusing.published == 0


def test_what_comes_before_connack_is_processed_after_it(broker):
    a = broker.raw()
    a.send(mq.Connect("c"), mq.Subscribe(5, [("t", 1)]), mq.Publish("t", b"x", 1, pid=9))
    a.expect(mq.Connack(0), mq.Suback(5, [1]))
    a.expect_all(mq.Puback(9), mq.Publish("t", b"x", 1, pid=1))


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
def test_each_connack_code_a_service_can_give(code):
    class Service(mqtt_server.OpenBroker):
        def authenticate(self, client, password):
            return code

    with running(Service()) as (_, port, _):
        Raw(port).send(mq.Connect("c")).expect(mq.Connack(code)).closed()


def test_nobody_claims_it():
    with running() as (_, port, _):
        Raw(port).send(mq.Connect("c")).expect(mq.Connack(mq.NOT_AUTHORISED)).closed()


def test_user_and_password():
    with running(mqtt_server.OpenBroker("u", "geheim")) as (_, port, _):
        Raw(port).connect("a", user="u", password=b"geheim").sync()
        for options in ({}, {"user": "u"}, {"user": "u", "password": b"x"}, {"user": "v"}):
            Raw(port).send(mq.Connect("b", **options)).expect(mq.Connack(mq.BAD_USER)).closed()


def test_no_connect_in_time():
    with running(mqtt_server.OpenBroker(), connect_timeout=0.3) as (_, port, _):
        Raw(port).send(b"\x10").closed()
        Raw(port).closed()
        Raw(port).connect("c").silent(0.5).sync()


def test_malformed_input_ends_the_connection_and_nothing_else(broker):
    other = broker.client("other").subscribe("#")
    for junk in (
        b"\xff" * 64,
        b"\x00",
        b"\x30\xff\xff\xff\xff\x01",
        b"\x36\x00",
        b"\x82\x02\x00\x01",
    ):
        broker.client().send(mq.Publish("t", b"before"), junk, mq.Publish("t", b"after")).closed()
        other.expect(mq.Publish("t", b"before"))
    other.sync()


def test_packets_for_clients_end_the_connection(broker):
    for packet in (mq.Connack(), mq.Suback(1, [0]), mq.Unsuback(1), mq.Pingresp()):
        broker.client().send(packet).closed()


def test_a_packet_over_the_limit_ends_the_connection():
    with running(mqtt_server.OpenBroker(), max_packet=1000) as (_, port, _):
        Raw(port).connect().send(mq.Publish("t", bytes(900))).sync()
        Raw(port).connect().send(b"\x30\xff\xff\xff\x7f").closed()


def test_more_connections_than_allowed():
    with running(mqtt_server.OpenBroker(), max_clients=2) as (_, port, _):
        a = Raw(port).connect("a")
        b = Raw(port).connect("b")
        Raw(port).closed()
        a.leave()
        until(lambda: Raw(port).send(mq.Connect("d")).read())
        b.sync()


def test_any_split_of_a_conversation(broker):
    wire = b"".join(
        p.encode()
        for p in (
            mq.Connect("c"),
            mq.Subscribe(1, [("t/#", 2)]),
            mq.Publish("t/1", b"one", 1, pid=1),
            mq.Pingreq(),
        )
    )
    answers = [
        mq.Connack(0),
        mq.Suback(1, [2]),
        mq.Puback(1),
        mq.Publish("t/1", b"one", 1, pid=1),
        mq.Pingresp(),
    ]
    byte_by_byte = broker.raw()
    for i in range(len(wire)):
        byte_by_byte.send(wire[i : i + 1])
    byte_by_byte.expect_all(*answers)
    for cut in range(1, len(wire)):
        with broker.raw() as a:
            a.send(wire[:cut])
            a.send(wire[cut:])
            a.expect_all(*answers)


# ---- taking over, keep-alive, the will


def test_the_same_client_id_pushes_the_older_out(broker):
    watcher = broker.client("w").subscribe("will")
    old = broker.client("x", will=mq.Will("will", b"old"))
    new = broker.client("x")
    old.closed()
    new.sync()
    watcher.expect(mq.Publish("will", b"old"))


def test_keepalive_ends_a_silent_client_and_publishes_its_will(broker):
    watcher = broker.client("w").subscribe(("last/words", 2))
    started = time.monotonic()
    silent = broker.client("s", keepalive=1, will=mq.Will("last/words", b"bye", 2, False))
    watcher.expect(mq.Publish("last/words", b"bye", 2, pid=1))
    silent.closed()
    assert time.monotonic() - started >= 1.5


def test_any_packet_counts_as_alive(broker):
    a = broker.client("a", keepalive=1)
    for _ in range(4):
        time.sleep(0.6)
        a.send(mq.Publish("t"))
    a.sync()


def test_keepalive_0_is_never_closed(broker):
    broker.client("a", keepalive=0).silent(2).sync()


@pytest.mark.parametrize("how", ["reset", "garbage", "close"])
def test_will_after_any_end_but_disconnect(broker, how):
    watcher = broker.client("w").subscribe(("will/+", 1))
    a = broker.client("a", will=mq.Will("will/a", b"gone", 1, False))
    if how == "garbage":
        a.send(b"\xf0\x00").closed()
    elif how == "reset":
        a.reset()
    else:
        a.close()
    watcher.expect(mq.Publish("will/a", b"gone", 1, pid=1))


def test_no_will_after_disconnect(broker):
    watcher = broker.client("w").subscribe("will")
    broker.client("a", will=mq.Will("will", b"gone")).leave()
    watcher.silent()


def test_a_retained_will(broker):
    broker.client("a", will=mq.Will("will", b"gone", 1, True)).reset()
    until(lambda: broker.service.retained)
    w = broker.raw().connect("w")
    w.subscribe(("will", 1)).expect(mq.Publish("will", b"gone", 1, True, pid=1))


def test_disconnect_ends_it_even_with_more_behind(broker):
    watcher = broker.client("w").subscribe("#")
    broker.client("a").send(mq.Publish("t"), mq.Disconnect(), mq.Publish("late")).closed()
    watcher.expect(mq.Publish("t")).silent()


# ---- publishing


def test_acknowledgements_at_each_qos(broker):
    a = broker.client()
    a.send(mq.Publish("t")).sync()
    a.send(mq.Publish("t", b"", 1, pid=65535)).expect(mq.Puback(65535))
    a.send(mq.Publish("t", b"", 2, pid=1)).expect(mq.Pubrec(1))
    a.send(mq.Pubrel(1)).expect(mq.Pubcomp(1))
    a.send(mq.Pubrel(77)).expect(mq.Pubcomp(77))


def test_acknowledged_in_the_order_received(broker):
    a = broker.client()
    a.send(*[mq.Publish("t", b"", 1 + i % 2, pid=i) for i in range(1, 101)])
    a.expect(*[(mq.Pubrec if i % 2 else mq.Puback)(i) for i in range(1, 101)])


def test_qos_2_is_told_by_its_id_and_delivered_once(broker):
    w = broker.client("w").subscribe("t")
    a = broker.client("a")
    for dup in (False, True, True, False):
        a.send(mq.Publish("t", b"one", 2, dup=dup, pid=5)).expect(mq.Pubrec(5))
    a.send(mq.Pubrel(5)).expect(mq.Pubcomp(5))
    a.send(mq.Pubrel(5)).expect(mq.Pubcomp(5))
    a.send(mq.Publish("t", b"two", 2, pid=5)).expect(mq.Pubrec(5))
    w.expect(mq.Publish("t", b"one"), mq.Publish("t", b"two")).silent()


def test_qos_2_is_once_across_a_reconnect(broker):
    w = broker.client("w").subscribe("t")
    a = broker.client("a", clean=False)
    a.send(mq.Publish("t", b"one", 2, pid=5)).expect(mq.Pubrec(5))
    a.reset()
    a = broker.client("a", clean=False, present=True)
    a.send(mq.Publish("t", b"one", 2, dup=True, pid=5)).expect(mq.Pubrec(5))
    a.send(mq.Pubrel(5)).expect(mq.Pubcomp(5))
    w.expect(mq.Publish("t", b"one")).silent()


def test_dup_is_not_passed_on(broker):
    w = broker.client("w").subscribe(("t", 1))
    broker.client("a").send(mq.Publish("t", b"", 1, dup=True, pid=3))
    w.expect(mq.Publish("t", b"", 1, pid=1))


def test_delivery_is_at_the_lower_qos(broker):
    sender = broker.client("s")
    for granted in (0, 1, 2):
        for sent in (0, 1, 2):
            with broker.raw().connect("w") as w:
                w.subscribe(("t", granted))
                sender.send(mq.Publish("t", b"", sent, pid=1 if sent else None))
                assert w.read().qos == min(granted, sent)
            if sent == 2:
                sender.send(mq.Pubrel(1))


def test_retained_messages(broker):
    a = broker.client("a")
    live = broker.client("l").subscribe("r/#")
    a.send(mq.Publish("r/1", b"old", 1, True, pid=1)).expect(mq.Puback(1))
    a.send(mq.Publish("r/1", b"new", 1, True, pid=2)).expect(mq.Puback(2))
    live.expect(mq.Publish("r/1", b"old"), mq.Publish("r/1", b"new"))
    w = broker.raw().connect("w")
    for pid in (1, 2):
        # Subscribing again delivers it again.
        w.subscribe(("r/+", 1)).expect(mq.Publish("r/1", b"new", 1, True, pid=pid))
        w.send(mq.Puback(pid))
    a.send(mq.Publish("r/1", b"", 0, True)).sync()
    w.expect(mq.Publish("r/1", b""))
    broker.client("w2").subscribe("r/1").silent()


# ---- subscribing


def test_suback_codes_in_order_and_capped_by_the_service():
    class Service(mqtt_server.OpenBroker):
        max_qos = 1

        def subscribe(self, client, filter, qos):
            return 0x80 if filter == "no" else super().subscribe(client, filter, qos)

    with running(Service()) as (_, port, _):
        a = Raw(port).connect()
        a.subscribe(("a", 0), ("no", 2), ("b", 2), ("c", 1), codes=[0, 0x80, 1, 1])
        a.send(mq.Publish("no"), mq.Publish("b", b"", 2, pid=1))
        a.expect_all(mq.Pubrec(1), mq.Publish("b", b"", 1, pid=1)).silent()


def test_unsubscribe_character_by_character(broker):
    a = broker.client().subscribe("a/+", "a/b")
    a.send(mq.Unsubscribe(2, ["a/#", "never"])).expect(mq.Unsuback(2))
    a.send(mq.Publish("a/b")).expect(mq.Publish("a/b"))
    a.send(mq.Unsubscribe(3, ["a/+"])).expect(mq.Unsuback(3))
    a.send(mq.Publish("a/b")).expect(mq.Publish("a/b"))
    a.send(mq.Unsubscribe(4, ["a/b"])).expect(mq.Unsuback(4))
    a.send(mq.Publish("a/b")).silent()


def test_overlapping_filters_give_the_highest_qos(broker):
    a = broker.client().subscribe(("a/#", 0), ("a/+", 2), ("#", 1))
    a.send(mq.Publish("a/b", b"", 2, pid=1))
    a.expect_all(mq.Pubrec(1), mq.Publish("a/b", b"", 2, pid=1)).silent()


def test_subscriptions_are_bounded(broker, monkeypatch):
    monkeypatch.setattr(mqtt_client, "MAX_SUBSCRIPTIONS", 3)
    broker.client().subscribe("a", "b", "c", "d", codes=[0, 0, 0, 0x80])


TOPICS = st.lists(st.sampled_from(["", "a", "b", "$x"]), min_size=1, max_size=4).map("/".join)
FILTERS = st.tuples(
    st.lists(st.sampled_from(["", "a", "b", "$x", "+"]), min_size=1, max_size=4),
    st.sampled_from([[], ["#"]]),
).map(lambda parts: "/".join(parts[0] + parts[1]))


@settings(max_examples=300)
@given(st.lists(FILTERS, max_size=8), st.lists(FILTERS, max_size=4), st.lists(TOPICS, max_size=6))
def test_the_tree_finds_what_matching_says(filters, removed, topics):
    tree = mqtt_tree.Tree()
    session = object()
    held = {}
    for text in filters:
        if text and text not in held:
            held[text] = mqtt_session.Subscription(text, text, 0)
            tree.add(session, held[text])
    for text in removed:
        if text in held:
            tree.remove(session, held.pop(text))
    for topic in topics:
        expected = any(mq.matches(text, topic) for text in held)
        for _ in range(2):
            assert bool(tree.find(topic, lambda s, t: t)) == expected


# ---- sessions


def test_a_clean_session_leaves_nothing(broker):
    broker.client("a").subscribe(("t", 1)).leave()
    broker.client("b").send(mq.Publish("t", b"", 1, pid=1)).expect(mq.Puback(1))
    broker.client("a", clean=False, present=False).silent()
    assert len(broker.service.sessions["a"].subscriptions) == 0


def test_a_durable_session_keeps_subscriptions_and_qos_1_and_2(broker):
    broker.client("a", clean=False).subscribe(("t", 2)).leave()
    b = broker.client("b")
    b.send(mq.Publish("t", b"0"), mq.Publish("t", b"1", 1, pid=1), mq.Publish("t", b"2", 2, pid=1))
    b.expect(mq.Puback(1), mq.Pubrec(1))
    a = broker.client("a", clean=False, present=True)
    a.expect(mq.Publish("t", b"1", 1, pid=1), mq.Publish("t", b"2", 2, pid=2))


def test_clean_1_forgets_a_durable_session(broker):
    broker.client("a", clean=False).subscribe(("t", 1)).leave()
    broker.client("a", clean=True, present=False).leave()
    broker.client("a", clean=False, present=False)


def test_unacknowledged_is_sent_again_in_order_with_dup_and_its_id(broker):
    a = broker.client("a", clean=False).subscribe(("t", 2))
    b = broker.client("b")
    for i in range(1, 5):
        b.send(mq.Publish("t", b"%d" % i, 1 + i % 2, pid=i))
    assert [a.read().pid for _ in range(4)] == [1, 2, 3, 4]
    a.send(mq.Puback(2), mq.Pubrec(3)).expect(mq.Pubrel(3))
    a.sync().reset()
    a = broker.client("a", clean=False, present=True)
    a.expect(
        mq.Publish("t", b"1", 2, dup=True, pid=1),
        mq.Pubrel(3),
        mq.Publish("t", b"4", 1, dup=True, pid=4),
    )
    a.send(mq.Pubrec(1), mq.Pubcomp(3), mq.Puback(4)).expect(mq.Pubrel(1))
    a.send(mq.Pubcomp(1)).sync().reset()
    broker.client("a", clean=False, present=True).silent()
    assert not broker.service.sessions["a"].inflight


def test_nothing_is_sent_again_within_a_connection(broker):
    a = broker.client("a").subscribe(("t", 1))
    broker.client("b").send(mq.Publish("t", b"", 1, pid=1))
    a.expect(mq.Publish("t", b"", 1, pid=1)).silent(1.5)


def test_acknowledgements_of_nothing_are_ignored(broker):
    broker.client().send(mq.Puback(9), mq.Pubrec(9), mq.Pubcomp(9)).sync()


def test_a_wrong_kind_of_acknowledgement_completes_nothing(broker):
    a = broker.client("a", clean=False).subscribe(("t", 2))
    a.send(mq.Publish("t", b"", 1, pid=1), mq.Publish("t", b"", 2, pid=2))
    delivered = (mq.Publish("t", b"", 1, pid=1), mq.Publish("t", b"", 2, pid=2))
    a.expect_all(mq.Puback(1), mq.Pubrec(2), *delivered)
    a.send(mq.Pubrec(1), mq.Pubcomp(1), mq.Puback(2), mq.Pubcomp(2)).sync()
    assert sorted(broker.service.sessions["a"].inflight) == [1, 2]


def test_the_window_and_the_ids(broker):
    a = broker.client("a").subscribe(("t", 1))
    b = broker.client("b")
    n = mqtt_session.WINDOW + 20
    b.send(*[mq.Publish("t", b"%d" % i, 1, pid=i + 1) for i in range(n)])
    first = [a.read() for _ in range(mqtt_session.WINDOW)]
    a.silent()
    session = broker.service.sessions["a"]
    session.last_pid = 65530
    a.send(*[mq.Puback(p.pid) for p in first[10:]])
    rest = [a.read() for _ in range(20)]
    # Wrapped, and those of the first ten are still in use.
    assert [p.pid for p in rest] == list(range(65531, 65536)) + list(range(11, 26))
    assert [int(p.payload) for p in first + rest] == list(range(n))


def test_the_queue_drops_the_oldest():
    service = mqtt_server.OpenBroker()
    service.queue_limit = 50
    with running(service) as (_, port, _):
        Raw(port).connect("a", clean=False).subscribe(("t/#", 1), ("u", 1)).leave()
        b = Raw(port).connect("b")
        b.send(mq.Publish("u", b"mine", 1, pid=1))
        b.send(*[mq.Publish("t/%d" % i, b"", 1, pid=2) for i in range(120)])
        b.expect(mq.Puback(1), *[mq.Puback(2)] * 120)
        a = Raw(port).connect("a", clean=False, present=True)
        got = [a.read().topic for _ in range(51)]
        a.silent()
        # The bound is each subscription's own.
        assert got == ["u"] + ["t/%d" % i for i in range(70, 120)]
        assert service.sessions["a"].dropped == 70


def test_a_client_that_does_not_read_costs_bounded_memory_and_no_one_else():
    service = mqtt_server.OpenBroker()
    service.queue_limit = 20
    with running(service) as (server, port, background):
        lazy = Raw(port).connect("lazy").subscribe("t")
        quick = Raw(port).connect("quick").subscribe("t")
        b = Raw(port).connect("b")
        for i in range(200):
            b.send(mq.Publish("t", b"%06d" % i + bytes(60000)))
            assert int(quick.read().payload[:6]) == i
        session = service.sessions["lazy"]
        assert session.client.congested and len(session.queue) <= 20 and session.dropped > 20
        seen = []
        while not seen or seen[-1] != 199:
            seen.append(int(lazy.read().payload[:6]))
        assert seen == sorted(set(seen)) and len(seen) == 200 - session.dropped


def test_a_slower_reader_loses_nothing_to_a_faster_publisher():
    service = mqtt_server.OpenBroker()
    service.queue_limit = 400
    with running(service) as (server, port, background):
        reader = Raw(port).connect("reader").subscribe(("t", 1))
        writer = Raw(port).connect("writer", keepalive=1)
        n = 3000
        wire = b"".join(mq.Publish("t", b"%06d" % i + bytes(2000)).encode() for i in range(n))
        thread = threading.Thread(target=writer.send, args=(wire,))
        thread.start()
        for i in range(n):
            assert int(reader.read().payload[:6]) == i
            if i % 100 == 0:
                time.sleep(0.01)
        thread.join(10)
        writer.sync()
        assert service.sessions["reader"].dropped == 0


def test_a_reader_that_stopped_holds_a_publisher_up_once_only():
    service = mqtt_server.OpenBroker()
    service.queue_limit = 20
    with running(service) as (server, port, background):
        stopped = Raw(port).connect("stopped").subscribe(("t", 1))
        writer = Raw(port).connect("writer")
        started = time.monotonic()
        for i in range(500):
            writer.send(mq.Publish("t", b"%d" % i, 1, pid=i + 1)).expect(mq.Puback(i + 1))
        assert time.monotonic() - started < 10 * flow.BRAKE
        assert service.sessions["stopped"].stuck
        # When it goes on it gets what is left, and is waited for again.
        got = []
        while not got or got[-1] != 499:
            packet = stopped.read()
            got.append(int(packet.payload))
            stopped.send(mq.Puback(packet.pid))
        stopped.sync()
        assert got == list(range(mqtt_session.WINDOW)) + list(range(480, 500))
        assert not service.sessions["stopped"].stuck


def test_kept_sessions_are_bounded():
    service = mqtt_server.OpenBroker()
    with running(service, max_sessions=5) as (_, port, _):
        stays = Raw(port).connect("stays", clean=False)
        for i in range(10):
            Raw(port).connect("d%d" % i, clean=False).leave()
        assert sorted(service.sessions) == ["d6", "d7", "d8", "d9", "stays"]
        stays.sync()


# ---- what a service may do


class Recorder(mqtt_server.OpenBroker):
    """Notes what it is told."""

    def __init__(self):
        super().__init__()
        self.ends = []
        self.ups = []

    def connected(self, client, present):
        self.ups.append((client.client_id, present))

    def disconnected(self, client, end):
        self.ends.append((client.client_id, end.reason, client.read_msg, client.write_msg))


def test_a_service_hears_how_each_connection_ends():
    service = Recorder()
    with running(service) as (server, port, background):
        a = Raw(port).connect("normal").subscribe("t")
        a.send(mq.Publish("t"), mq.Publish("u", b"", 1, pid=1))
        a.expect(mq.Publish("t"), mq.Puback(1)).leave()
        Raw(port).connect("lost").reset()
        until(lambda: len(service.ends) == 2)
        Raw(port).connect("protocol").send(b"\xf0").closed()
        Raw(port).connect("keepalive", keepalive=1).closed()
        old = Raw(port).connect("takeover")
        new = Raw(port).connect("takeover")
        old.closed()
        background.do(server.find("takeover")[0].close, "enough")
        new.closed()
        stays = Raw(port).connect("shutdown")
        background.call(server.stop())
        stays.closed()
    assert service.ends == [
        ("normal", "normal", 2, 1),
        ("lost", "lost", 0, 0),
        ("protocol", "protocol", 0, 0),
        ("keepalive", "keepalive", 0, 0),
        ("takeover", "takeover", 0, 0),
        ("takeover", "service", 0, 0),
        ("shutdown", "shutdown", 0, 0),
    ]
    assert service.ups[-1] == ("shutdown", False) and len(service.ups) == 7


def test_a_service_can_refuse_by_closing():
    class Service(mqtt_server.OpenBroker):
        def publish(self, client, packet):
            raise mqtt_server.Close("not here")

        def subscribe(self, client, filter, qos):
            if filter == "close":
                raise mqtt_server.Close("nor there")
            return 0

        def authenticate(self, client, password):
            if client.client_id == "x":
                raise mqtt_server.Close("you never")
            return 0

    with running(Service()) as (_, port, _):
        Raw(port).connect("a").send(mq.Publish("t", b"", 1, pid=1)).closed()
        Raw(port).connect("a").send(mq.Subscribe(1, [("close", 0)])).closed()
        Raw(port).send(mq.Connect("x")).closed()


def test_an_exception_in_a_service_ends_that_connection_only():
    class Service(mqtt_server.OpenBroker):
        def publish(self, client, packet):
            if packet.topic == "later":
                return self.later()
            raise KeyError("a bug")

        async def later(self):
            raise KeyError("another bug")

    with running(Service()) as (_, port, _):
        other = Raw(port).connect("other")
        Raw(port).connect("a").send(mq.Publish("t")).closed()
        Raw(port).connect("a").send(mq.Publish("later", b"", 1, pid=1)).closed()
        Raw(port).connect("a").send(mq.Publish("later", b"")).closed()
        other.sync()


def test_an_acknowledgement_waits_for_the_store_and_keeps_its_place():
    class Service(mqtt_server.OpenBroker):
        waiting = []

        def publish(self, client, packet):
            if packet.topic == "store":
                future = asyncio.get_running_loop().create_future()
                self.waiting.append(future)
                return future

    with running(Service()) as (_, port, background):
        a = Raw(port).connect()
        for topic, qos, pid in (
            ("x", 1, 1),
            ("store", 1, 2),
            ("x", 1, 3),
            ("store", 2, 4),
            ("x", 2, 5),
        ):
            a.send(mq.Publish(topic, b"", qos, pid=pid))
        a.expect(mq.Puback(1)).silent()
        # A duplicate of what is not stored yet must not be acknowledged either.
        a.send(mq.Publish("store", b"", 2, dup=True, pid=4), mq.Pingreq()).expect(mq.Pingresp())
        background.do(Service.waiting[1].set_result, None)
        a.silent()
        background.do(Service.waiting[0].set_result, None)
        a.expect(mq.Puback(2), mq.Puback(3), mq.Pubrec(4), mq.Pubrec(5), mq.Pubrec(4))
        assert len(Service.waiting) == 2


def test_what_could_not_be_stored_is_not_acknowledged_and_may_come_again():
    class Service(mqtt_server.OpenBroker):
        broken = True

        async def publish(self, client, packet):
            if self.broken:
                raise OSError("disk full")

    service = Service()
    with running(service) as (_, port, background):
        Raw(port).connect("a", clean=False).send(mq.Publish("t", b"", 2, pid=1)).closed()
        service.broken = False
        a = Raw(port).connect("a", clean=False, present=True)
        a.send(mq.Publish("t", b"", 2, dup=True, pid=1)).expect(mq.Pubrec(1))


def test_a_service_publishes_to_one_client_and_hears_of_the_acknowledgement():
    service = Recorder()
    with running(service) as (server, port, background):
        heard = []
        a = Raw(port).connect("a", clean=False)

        def send(payload, qos):
            session = service.sessions["a"]
            return background.do(
                session.publish,
                "to/you",
                payload,
                qos,
                False,
                lambda ok: heard.append((payload, ok)),
            )

        assert send(b"0", 0)
        assert send(b"1", 1)
        assert send(b"2", 2)
        a.expect(
            mq.Publish("to/you", b"0"),
            mq.Publish("to/you", b"1", 1, pid=1),
            mq.Publish("to/you", b"2", 2, pid=2),
        )
        a.send(mq.Puback(1), mq.Pubrec(2)).expect(mq.Pubrel(2)).send(mq.Pubcomp(2)).sync()
        assert heard == [(b"1", True), (b"2", True)]
        a.reset()
        until(lambda: service.ends)
        assert not send(b"away", 0)
        assert send(b"kept", 1)
        a = Raw(port).connect("a", clean=False, present=True)
        a.expect(mq.Publish("to/you", b"kept", 1, pid=3))
        Raw(port).connect("a", clean=True)
        assert heard[2:] == [(b"away", False), (b"kept", False)]


def test_topics_are_rewritten_both_ways_and_scoped():
    class Rooms(mqtt_server.OpenBroker):
        def room(self, client):
            return client.client_id[0]

        def publish(self, client, packet):
            return self.deliver(self.room(client) + "/" + packet.topic, packet.payload, packet.qos)

        def subscribe(self, client, filter, qos):
            return qos, self.room(client) + "/" + filter

        def outgoing(self, session, topic):
            return None if topic.endswith("/hidden") else topic[2:]

    with running(Rooms()) as (_, port, _):
        a1 = Raw(port).connect("a1").subscribe("#")
        b1 = Raw(port).connect("b1").subscribe("#")
        Raw(port).connect("a2").send(mq.Publish("hidden"), mq.Publish("seen"))
        a1.expect(mq.Publish("seen"))
        b1.silent()


def test_of_a_group_one_member_gets_each_message():
    class Shared(mqtt_server.OpenBroker):
        def subscribe(self, client, filter, qos):
            return qos, filter, "g" if client.client_id[0] == "g" else None

    with running(Shared()) as (_, port, _):
        members = [Raw(port).connect("g%d" % i).subscribe("t") for i in range(3)]
        alone = Raw(port).connect("alone").subscribe("t")
        b = Raw(port).connect("b")
        b.send(*[mq.Publish("t", b"%d" % i) for i in range(30)])
        for member in members:
            assert len([member.read() for _ in range(10)]) == 10
            member.silent()
        alone.expect(*[mq.Publish("t", b"%d" % i) for i in range(30)])
        members.pop().leave()
        b.send(*[mq.Publish("t", b"%d" % i) for i in range(10)])
        for member in members:
            assert [member.read() for _ in range(5)]
            member.silent()


def test_services_are_asked_in_order_and_keep_apart():
    class First(mqtt_server.OpenBroker):
        name = "first"

        def claims(self, client):
            return client.user == "first"

        def session_key(self, client):
            return None

    with running(First(), mqtt_server.OpenBroker()) as (server, port, _):
        a = Raw(port).connect("same", user="first").subscribe("#")
        a2 = Raw(port).connect("same", user="first", clean=False)
        b = Raw(port).connect("same").subscribe("#")
        b.send(mq.Publish("t")).expect(mq.Publish("t"))
        a.silent()
        a2.sync()
        assert len(server.find("same")) == 3


def test_a_service_may_set_silence_and_clean():
    class Service(mqtt_server.OpenBroker):
        def authenticate(self, client, password):
            client.silence = 0.3
            client.clean = True
            return 0

    with running(Service()) as (_, port, _):
        Raw(port).connect("a", clean=False, keepalive=1000).subscribe("t").closed()
        Raw(port).connect("a", clean=False, present=False)


# ---- many at once


def test_many_clients_come_and_go_and_nothing_is_left(broker):
    def some(n):
        for i in range(20):
            with broker.raw().connect("%d-%d" % (n, i)) as a:
                a.subscribe(("x/%d" % n, 1)).send(mq.Publish("x/%d" % n, b"", 1, pid=1))
                assert {type(a.read()), type(a.read())} == {mq.Puback, mq.Publish}
                if i % 2:
                    a.leave()

    threads = [threading.Thread(target=some, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    until(lambda: not broker.server.clients)
    assert broker.server.accepted == 160
    assert not broker.service.sessions
    assert broker.service.tree.is_empty


def test_bytes_are_counted_from_the_servers_side(broker):
    a = broker.client("a").subscribe("t")
    a.send(mq.Publish("t", b"12345")).expect(mq.Publish("t", b"12345"))
    client = broker.server.find("a")[0]
    sent = len(mq.Connect("a").encode() + mq.Subscribe(1, [("t", 0)]).encode()) + 10
    assert (client.read_bytes, client.read_msg) == (sent, 1)
    assert (client.write_bytes, client.write_msg) == (4 + 5 + 10, 1)


# ---- a client that somebody else wrote


def paho_client(port, client_id, **options):
    from paho.mqtt import client as paho

    if hasattr(paho, "CallbackAPIVersion"):
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, **options)
    else:
        client = paho.Client(client_id, **options)
    client.inbox = []
    client.on_message = lambda c, u, m: c.inbox.append((m.topic, m.payload, m.qos, m.retain))
    client.connect("127.0.0.1", port, 60)
    client.loop_start()
    return client


@contextlib.contextmanager
def stopping(*clients):
    try:
        yield clients
    finally:
        for client in clients:
            client.disconnect()
            client.loop_stop()


def test_paho_speaks_with_it(broker):
    with stopping(paho_client(broker.port, "p1"), paho_client(broker.port, "p2")) as (a, b):
        a.subscribe([("p/#", 2), ("q", 1)])
        until(
            lambda: "p1" in broker.service.sessions and broker.service.sessions["p1"].subscriptions
        )
        for i in range(300):
            b.publish("p/%d" % i, b"x" * i, i % 3)
        until(lambda: len(a.inbox) == 300)
        for qos in (0, 1, 2):  # paho hands QoS 2 on at PUBREL, so only each by itself is in order
            wanted = [("p/%d" % i, b"x" * i, qos, False) for i in range(qos, 300, 3)]
            assert [m for m in a.inbox if m[2] == qos] == wanted


def test_paho_keeps_its_session(broker):
    a = paho_client(broker.port, "dur", clean_session=False)
    with stopping(a):
        a.subscribe("t", 2)
        until(
            lambda: (
                broker.service.sessions.get("dur") and broker.service.sessions["dur"].subscriptions
            )
        )
    with stopping(paho_client(broker.port, "b")) as (b,):
        for i in range(50):
            b.publish("t", b"%d" % i, 2).wait_for_publish(10)
    with stopping(paho_client(broker.port, "dur", clean_session=False)) as (a,):
        until(lambda: len(a.inbox) == 50)
        assert [int(m[1]) for m in a.inbox] == list(range(50))


def test_a_port_that_is_taken_is_an_oserror(broker):
    with pytest.raises(OSError):
        broker.background.call(broker.server.listen("again", "127.0.0.1", broker.port))


def test_small_packets_are_not_held_back(broker):
    """TCP_NODELAY: forty round trips of two small writes each would take 1.6 s with Nagle."""
    a = broker.client("a").subscribe(("t", 1))
    server_side = broker.server.find("a")[0].transport.get_extra_info("socket")
    assert server_side.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    a.sync()
