"""The misbehaving peer: each fault does what it says, and only where it is asked to."""

import contextlib
import socket
import threading
import time

import pytest
from localcloud import faults, pki
from localcloud.faults import FAULTS, FaultProxy
from localcloud.mqtt import codec as mq
from localcloud.mqtt import server as mqtt_server
from localcloud_rig import Raw, running
from waiting import until


@pytest.fixture(scope="module")
def server():
    with running(mqtt_server.OpenBroker()) as (server, port, _):
        yield port


@pytest.fixture
def proxy(server):
    with FaultProxy("127.0.0.1", server) as proxy:
        yield proxy


def echo(a, *payloads, qos=1):
    """Publish and get each back, by a client that subscribed to it."""
    for i, payload in enumerate(payloads):
        a.send(mq.Publish("echo", payload, qos, pid=100 + i if qos else None))
    return [a.read() for _ in range((2 if qos else 1) * len(payloads))]


def rest(sock):
    """All that still comes until the end, an end as a reset included; None if none comes."""
    data = b""
    sock.settimeout(0.3)
    try:
        while True:
            more = sock.recv(65536)
            if not more:
                return data, "closed"
            data += more
    except socket.timeout:
        return data, "silent"
    except ConnectionError:
        return data, "reset"


def test_without_a_fault_it_is_not_there(proxy):
    a = Raw(proxy.port).connect("plain").subscribe(("echo", 1))
    payloads = [bytes([i]) * 1000 for i in range(50)]
    got = [p.payload for p in echo(a, *payloads) if p.type == mq.PUBLISH]
    assert got == payloads
    a.sync().leave()
    assert proxy.connections == 1
    assert proxy.seen["up"][faults.PUBLISH] == 50 and proxy.seen["down"][faults.PUBACK] == 50
    up = len(mq.Connect("plain").encode()) + len(mq.Subscribe(1, [("echo", 1)]).encode())
    up += 50 * len(mq.Publish("echo", bytes(1000), 1, pid=1).encode()) + 2 + 2
    assert proxy.bytes["up"] == up


def test_which_connections_are_hit(proxy):
    proxy.apply("connack_5", connections=2, after=1)
    codes = [Raw(proxy.port).send(mq.Connect("n")).read().code for _ in range(5)]
    assert codes == [0, 5, 5, 0, 0]
    proxy.apply("connack_3", connections=None)
    assert [Raw(proxy.port).send(mq.Connect("n")).read().code for _ in range(3)] == [3, 3, 3]
    proxy.lift()
    assert Raw(proxy.port).send(mq.Connect("n")).read().code == 0
    assert proxy.connections == 9


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
def test_each_connack_code(proxy, code):
    proxy.apply("connack_%d" % code)
    Raw(proxy.port).send(mq.Connect("x")).expect(mq.Connack(code)).closed()


def test_silent(proxy):
    proxy.apply("silent")
    Raw(proxy.port).send(mq.Connect("x"), mq.Pingreq()).silent(0.3)


@pytest.mark.parametrize(
    "fault, packet",
    [
        ("stall_mid_connack", mq.Connack(0)),
        ("stall_mid_suback", mq.Suback(1, [1])),
        ("stall_mid_packet", mq.Publish("echo", b"x", 1, pid=1)),
    ],
)
def test_stalls_in_mid_packet(proxy, fault, packet):
    proxy.apply(fault)
    a = Raw(proxy.port).send(mq.Connect("x"), mq.Subscribe(1, [("echo", 1)]))
    a.send(mq.Publish("echo", b"x", 1, pid=1), mq.Pingreq())
    data, end = rest(a.sock)
    wire = packet.encode()
    assert end == "silent" and data.endswith(wire[: len(wire) // 2]) and wire not in data


def test_half_a_packet_and_a_proper_end(proxy):
    proxy.apply("half_packet_then_end")
    a = Raw(proxy.port).connect("x").subscribe("t").send(mq.Publish("t", b"12345"))
    with pytest.raises(AssertionError, match="within a packet"):
        a.read()


def test_one_byte_at_a_time(proxy, monkeypatch):
    proxy.apply("one_byte")
    a = Raw(proxy.port).connect("x").subscribe(("echo", 1))
    assert [type(p) for p in echo(a, b"hello" * 20)] == [mq.Publish, mq.Puback]
    segments = [part for part in faults.OneByte().down(b"abc")]
    assert segments == [b"a", b"b", b"c"]


@pytest.mark.parametrize("fault, end", [("cut", "reset"), (faults.CloseAt, "closed")])
def test_the_end_at_every_byte_of_a_conversation(proxy, fault, end):
    whole = mq.Connack(0).encode() + mq.Suback(1, [1]).encode() + b"\xd0\x00"
    for count in range(len(whole)):
        proxy.apply(fault, count)
        with Raw(proxy.port) as a:
            a.send(mq.Connect("x"), mq.Subscribe(1, [("t", 1)]), mq.Pingreq())
            data, how = rest(a.sock)
            assert data == whole[:count] and how == end


def test_the_end_at_every_byte_of_what_the_client_says(proxy):
    words = mq.Connect("up").encode() + mq.Publish("echo", b"x", 1, pid=1).encode()
    for count in range(1, len(words)):
        proxy.apply("cut", count, "up")
        with Raw(proxy.port) as a, contextlib.suppress(ConnectionError):
            a.send(words)
            data, how = rest(a.sock)
            assert how != "silent" and data in (b"", mq.Connack(0).encode())


def test_half_open(proxy):
    proxy.apply("half_open", 2)
    a = Raw(proxy.port).connect("x").subscribe("t")
    a.send(mq.Pingreq(), mq.Publish("t")).silent(0.3)


def test_acknowledgements_twice_out_of_order_and_dropped(proxy):
    def acks(fault, *args):
        proxy.apply(fault, *args)
        a = Raw(proxy.port).connect("acks")
        a.send(*[mq.Publish("nobody", b"", 1, pid=i) for i in range(1, 6)], mq.Pingreq())
        got = []
        while not got or got[-1] != "ping":
            packet = a.read()
            got.append("ping" if packet.type == mq.PINGRESP else packet.pid)
        a.sock.settimeout(0.2)
        with contextlib.suppress(socket.timeout):
            got.append(a.read().pid)
        return got

    assert acks("duplicate_acks") == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, "ping"]
    assert acks("reorder_acks") == [2, 1, 4, 3, "ping", 5]
    assert acks("drop_acks") == [4, 5, "ping"]
    assert acks("drop_acks", 1) == [2, 3, 4, 5, "ping"]


def test_pings_are_swallowed_and_nothing_else(proxy):
    proxy.apply("swallow_pings")
    a = Raw(proxy.port).connect("x").subscribe(("echo", 1))
    a.send(mq.Pingreq())
    assert len(echo(a, b"1", b"2")) == 4
    a.silent()


MALFORMED = {
    "garbage": "reserved-type",
    "wrong_flags": "bad-flags",
    "reserved_type_0": "reserved-type",
    "reserved_type_15": "reserved-type",
    "qos_3": "publish-qos-3",
    "five_byte_length": "length-too-long",
    "topic_past_end": "truncated",
    "packet_id_0": "zero-packet-id",
    "puback_too_long": "wrong-length",
}


@pytest.mark.parametrize("fault", sorted(MALFORMED))
def test_injected_words_are_as_wrong_as_they_say(proxy, fault):
    proxy.apply(fault)
    a = Raw(proxy.port).connect("x").subscribe("t")
    with pytest.raises(mq.ProtocolError) as caught:
        a.read()
    assert caught.value.name == MALFORMED[fault]


@pytest.mark.parametrize(
    "fault, words",
    [
        ("second_connack", mq.Connack(0)),
        ("client_packet", mq.Subscribe(1, [("a", 0)])),
    ],
)
def test_good_packets_in_the_wrong_place(proxy, fault, words):
    proxy.apply(fault)
    Raw(proxy.port).connect("x").subscribe("t").expect(words)


def test_a_publish_before_the_connack(proxy):
    proxy.apply("publish_before_connack")
    Raw(proxy.port).send(mq.Connect("x")).expect(mq.Publish("a", b"b"), mq.Connack(0))


def test_a_length_of_256_mb(proxy):
    proxy.apply("length_256_mb")
    a = Raw(proxy.port).send(mq.Connect("x"), mq.Subscribe(1, [("t", 0)]), mq.Pingreq())
    data, end = rest(a.sock)
    data = data[len(mq.Connack(0).encode() + mq.Suback(1, [0]).encode()) :]
    assert data[:5] == b"\x30\xff\xff\xff\x7f" and end == "silent"


def test_a_flood(proxy):
    proxy.apply("flood", 5000)
    a = Raw(proxy.port).connect("x")
    for _ in range(5000):
        assert a.read() == mq.Publish("flood", bytes(100))
    a.sync()


def test_one_byte_garbled(proxy):
    proxy.apply(faults.GarbleAt, 4)
    a = Raw(proxy.port).connect("x").send(mq.Pingreq(), mq.Pingreq())
    data, _ = rest(a.sock)
    assert data == b"\x2f\x00\xd0\x00"


def test_never_reads(proxy):
    proxy.apply("never_reads")
    a = Raw(proxy.port, timeout=1)
    with pytest.raises(socket.timeout):
        for _ in range(1000):
            a.send(bytes(65536))


def test_freeze(proxy):
    proxy.apply("freeze", 6)
    a = Raw(proxy.port).send(mq.Connect("x"), mq.Subscribe(1, [("t", 0)]), mq.Pingreq())
    assert rest(a.sock) == (mq.Connack(0).encode() + mq.Suback(1, [0]).encode()[:2], "silent")


def test_cutting_all_there_is(proxy):
    a = Raw(proxy.port).connect("a")
    b = Raw(proxy.port).connect("b")
    proxy.cut()
    for each in (a, b):
        each.closed()
    Raw(proxy.port).connect("a").sync()


def test_the_client_is_gone_the_server_hears_it(server, proxy):
    w = Raw(server).connect("w").subscribe("will")
    a = Raw(proxy.port).connect("a", will=mq.Will("will", b"gone"))
    a.close()
    w.expect(mq.Publish("will", b"gone"))


def test_every_fault_has_been_here():
    """Each name of the table is in some test above, or is one of these made the same way."""
    with open(__file__) as f:
        text = f.read()
    same = {"random_garbage", "connack_9", "stall_mid_ack", "close_at_once"}
    missing = [n for n in FAULTS if '"%s"' % n not in text and not n.startswith("connack_")]
    assert set(missing) <= same


# ---- a line with a length


def test_delay_delays_and_does_not_slow_down(server):
    with FaultProxy("127.0.0.1", server, delay=0.1) as proxy:
        started = time.monotonic()
        a = Raw(proxy.port).connect("d").subscribe(("echo", 1))
        assert time.monotonic() - started >= 0.4
        started = time.monotonic()
        for i in range(50):
            a.send(mq.Publish("echo", b"%d" % i, 1, pid=i + 1))
            time.sleep(0.001)
        got = [a.read() for _ in range(100)]
        # One round trip, not fifty: 0.2 s and what the machine adds.
        assert 0.2 <= time.monotonic() - started < 5
        assert [int(p.payload) for p in got if p.type == mq.PUBLISH] == list(range(50))


def test_delay_in_one_direction_only(server):
    with FaultProxy("127.0.0.1", server, delay=(0.3, 0)) as proxy:
        w = Raw(server).connect("w").subscribe("t")
        a = Raw(proxy.port).connect("d")
        started = time.monotonic()
        a.send(mq.Publish("t"))
        w.expect(mq.Publish("t"))
        assert time.monotonic() - started >= 0.3
        proxy.delay = 0
        a.sync()


# ---- TLS: in front of it, and ended here


def test_bytes_are_cut_within_the_handshake(tmp_path):
    ca = pki.Pki(str(tmp_path))
    client = pki.client_context(ca.ca_pem)
    with running(mqtt_server.OpenBroker(), tls=ca.server_context()) as (_, port, _):
        with FaultProxy("127.0.0.1", port) as proxy:
            for count in (1, 5, 100, 700):
                proxy.apply("cut", count)
                with pytest.raises(OSError):
                    Raw(proxy.port, tls=client)
            proxy.apply("close_at_once")
            with pytest.raises(OSError):
                Raw(proxy.port, tls=client)
            proxy.apply("one_byte")
            Raw(proxy.port, tls=client).connect("x").leave()


def test_packets_are_broken_inside_tls_when_it_ends_here(server, tmp_path):
    ca = pki.Pki(str(tmp_path))
    client = pki.client_context(ca.ca_pem)
    with FaultProxy("127.0.0.1", server, tls=ca.server_context()) as proxy:
        Raw(proxy.port, tls=client).connect("x").sync().leave()
        proxy.apply("duplicate_acks")
        a = Raw(proxy.port, tls=client).connect("x")
        a.send(mq.Publish("t", b"", 1, pid=3)).expect(mq.Puback(3), mq.Puback(3))


def test_many_connections_through_it(proxy):
    def some(n):
        for _ in range(10):
            with Raw(proxy.port).connect("m%d" % n) as a:
                a.send(mq.Publish("x", b"", 1, pid=1)).expect(mq.Puback(1))

    threads = [threading.Thread(target=some, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    until(lambda: proxy.is_idle)
    assert proxy.connections == 50
