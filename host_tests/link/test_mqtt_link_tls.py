"""
The link over TLS: certificates of both sides, and a peer that breaks off, stalls or garbles
anywhere in handshake and records, with messages in flight at QoS 1 and 2.

What TLS itself promises (verification, names of errors) is netstream's; see test_netstream.py.
"""


import pytest
from link_rig import check_in_flight, forget_session
from listening import Listening, TlsByHand
from localcloud import pki
from localcloud.mqtt import codec as mq
from localcloud.faults import CloseAt, CutAt, FaultProxy, Freeze, GarbleAt
from test_mqtt_link import LINK, nothing_is_allocated_when_idle

# TLS arithmetic is no waiting, but takes its time: a handshake's longest step is about half this
# on a quiet machine. A step that waited would take the 1000 ms of the link's deadline.
STEP_BOUND_US = 250000
# A handshake here is about 800 bytes down and 330 up; what follows are records of MQTT.
DOWN, UP = 800, 330


@pytest.fixture(scope="module")
def authority():
    return pki.Authority()


@pytest.fixture(scope="module")
def server(broker, authority):
    """A TLS listener in front of the broker: host, port."""
    context = authority.issue_server(["127.0.0.1"]).server_context()
    with FaultProxy(broker.host, broker.port, tls=context) as made:
        yield made


@pytest.fixture(scope="module")
def mutual(broker, authority):
    """The same, for those who show a certificate of this authority."""
    context = authority.issue_server(["127.0.0.1"]).server_context(
        client_ca=authority.pem.decode(), client_required=True
    )
    with FaultProxy(broker.host, broker.port, tls=context) as made:
        yield made


def in_flight(board, broker, server, authority, break_it):
    options = {"ssl": {"ca": authority.der}, "timeout": 1}
    check_in_flight(
        board, broker, break_it, behind=server, options=options, bound_us=STEP_BOUND_US
    )


# ---- client certificates


@pytest.mark.parametrize("form", ["der", "pem", "files"])
@pytest.mark.parametrize("key_type", ["ec", "rsa"])
def test_with_a_client_certificate(board, mutual, authority, tmp_path, form, key_type):
    client = authority.issue_client("board-1", key_type=key_type)
    if form == "der":
        cert, key = client.der, client.key_der
    elif form == "pem":
        cert, key = client.pem, client.key_pem
    else:
        cert, key = client.write(tmp_path, "board")
    report = board.run(
        LINK
        + """
link = make("tls-client", ssl={"ca": ca, "cert": cert, "key": key})
link.subscribe("tls/loop", 2)
link.connect()
for qos in (0, 1, 2):
    link.publish("tls/loop", bytes(1500), qos=qos)
run(lambda: len(got) == 3 and not link.inflight)
link.disconnect()
report(got=[len(msg) for topic, msg in got], downs=downs)
""",
        host=mutual.host,
        port=mutual.port,
        ca=authority.pem,
        cert=cert,
        key=key,
    ).report
    assert report == {"got": [1500] * 3, "downs": ["None"]}


@pytest.mark.parametrize("shown", ["none", "a stranger's", "expired"])
def test_a_client_that_is_refused_hears_it_and_tries_again(board, mutual, authority, shown):
    options = {"ca": authority.der}
    if shown != "none":
        signer = authority if shown == "expired" else pki.Authority("stranger")
        end = signer.certificate.not_valid_before_utc if shown == "expired" else None
        client = signer.issue_client("board-1", not_after=end)
        options.update(cert=client.der, key=client.key_der)
    good = authority.issue_client("board-1")
    report = board.run(
        LINK
        + """
link = make("tls-refused", ssl=options, timeout=3)
said = refused(link.connect)
up = link.is_connected()
for _ in range(30):
    link.do_next(10)
attempts = len(downs)
other = make("tls-good", ssl={"ca": options["ca"], "cert": cert, "key": key})
other.connect()
report(said=said, up=up, attempts=attempts, good=other.is_connected())
""",
        host=mutual.host,
        port=mutual.port,
        options=options,
        cert=good.der,
        key=good.key_der,
    ).report
    assert report["said"].split(":")[0] in ("TLSError", "OSError"), report["said"]
    assert report["up"] is False and report["attempts"] > 1 and report["good"]


# ---- large messages


def test_large_messages_go_both_ways(board, server, authority):
    """More than a TLS record, more than the socket takes at once."""
    report = board.run(
        LINK
        + """
link = make("tls-large", ssl={"ca": ca}, max_packet=300100)
link.subscribe("tls/large", 2)
link.connect()
payload = bytes(range(250)) * 1200
for qos in (0, 1, 2):
    link.publish("tls/large", payload, qos=qos)
    run(lambda: len(got) == qos + 1 and not link.inflight)
report(same=[msg == payload for topic, msg in got], downs=downs)
""",
        heap="8m",
        host=server.host,
        port=server.port,
        ca=authority.der,
    ).report
    assert report == {"same": [True] * 3, "downs": []}


# ---- with messages in flight while something breaks


@pytest.mark.parametrize("fault", ["close_at_once", "silent", "never_reads", "one_byte"])
def test_fault(board, broker, server, authority, fault):
    in_flight(board, broker, server, authority, lambda proxy, name: proxy.apply(fault))


@pytest.mark.parametrize("after", [1, 400, 780, 1200])
def test_half_open(board, broker, server, authority, after):
    """After so many bytes nothing comes any more, and no end: in the handshake and behind it."""
    in_flight(board, broker, server, authority, lambda proxy, name: proxy.apply(Freeze, after))


@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.parametrize("kind", [CutAt, CloseAt, GarbleAt], ids=lambda kind: kind.__name__)
def test_broken_at_bytes_all_through_handshake_and_records(
    board, broker, server, authority, kind, direction
):
    """Each connection breaks 29 bytes (a record's size or less) after the last one did."""
    stop = (DOWN if direction == "down" else UP) + 700
    if board.kind == "micropython32" and direction == "down":
        stop += 700  # it speaks TLS 1.3: the server adds two session tickets
    places = list(range(1, stop, 29))
    offset = iter(places)
    name = "tls-" + kind.__name__
    forget_session(broker, name)
    with FaultProxy(server.host, server.port) as proxy:
        proxy.apply(lambda: kind(next(offset), direction), connections=len(places))
        report = board.run(
            LINK
            + """
link = make(name, clean_session=False, timeout=2, ssl={"ca": ca})
link.backoff_ms = link.backoff_max_ms = 4
link.subscribe(name + "/loop", 2)
sent = 0
longest = 0
while len(downs) < count:
    if link.inflight < 4:
        link.publish(name + "/loop", str(sent), qos=2)
        sent += 1
    start = time.ticks_us()
    link.do_next()
    longest = max(longest, time.ticks_diff(time.ticks_us(), start))
    time.sleep_ms(1)
run(lambda: not link.inflight)
run(lambda: len(got) >= sent and not link._unreleased)
report(sent=sent, got=[int(msg) for topic, msg in got], longest=longest)
""",
            timeout=80,
            host=proxy.host,
            port=proxy.port,
            ca=authority.der,
            name=name,
            count=len(places),
        ).report
    assert next(offset, None) is None
    # A byte turned over is noticed by TLS: nothing that arrives is not what was sent.
    assert report["got"] == list(range(report["sent"])) and report["sent"] > 4
    assert report["longest"] < STEP_BOUND_US * 2


def test_nothing_is_allocated_when_idle(board, server, authority):
    nothing_is_allocated_when_idle(board, server, ssl={"ca": authority.der})


def test_a_hundred_connections_leave_the_heap_as_it_was(board, server, authority):
    if board.name == "cpython":
        pytest.skip("CPython has no such figure")
    report = board.run(
        LINK
        + """
link = make("tls-again", ssl={"ca": ca})

def in_use(depth):
    # A conservative collector takes what lies about on the C stack for pointers.
    if depth:
        return in_use(depth - 1)
    gc.collect()
    return gc.mem_alloc()

heaps = []
for _ in range(4):
    for _ in range(25):
        link.connect()
        del ups[:], downs[:]
    heaps.append(min([in_use(depth) for depth in range(8)]))
report(heaps=heaps)
""",
        host=server.host,
        port=server.port,
        ca=authority.der,
    ).report
    first, *_, last = report["heaps"]
    assert last - first < 400, report["heaps"]


class EndsBehindAMessage(Listening):
    """A broker over TLS whose message and good-bye come in one piece, while TCP stays open."""

    def __init__(self, context, packets):
        self._context = context
        self._packets = packets
        super().__init__()

    def serve(self, sock):
        tls = TlsByHand(sock, self._context)
        tls.read()
        tls.write(b"\x20\x02\x00\x00")
        tls.flush()
        tls.read()  # the SUBSCRIBE
        tls.write(self._packets)
        tls.end()
        while sock.recv(4096):
            pass


def test_pain_54_a_command_and_the_end_of_the_stream_in_one_read(board):
    authority = pki.Authority()
    packets = b"".join(
        mq.Publish("a", bytes(size), 1, False, False, size).encode() for size in (1, 200, 40, 600)
    )
    server = EndsBehindAMessage(authority.issue_server(["127.0.0.1"]).server_context(), packets)
    report = board.run(
        """
from mqtt_link import MQTTLink
link = MQTTLink("ends", "127.0.0.1", port, ssl={"ca": ca})
got = []
downs = []
link.set_callback(lambda topic, msg: got.append(len(msg)))
link.on_down = lambda e: downs.append(str(e.args[-1]))
link.subscribe("a")
steps = 0
while not downs:
    before = len(got)
    link.do_next(1000)
    steps += before == 4
report(got=got, downs=downs, steps=steps)
""",
        port=server.port,
        ca=authority.der,
    ).report
    server.stop()
    assert report["got"] == [1, 200, 40, 600]
    assert "connection closed by the peer" in report["downs"][0]
    assert report["steps"] <= 2
