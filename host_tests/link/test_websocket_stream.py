"""
websocket_stream, read as its specification: MQTT over WebSocket, plain and over verified TLS,
against aiohttp, against the local cloud's own listeners, and against a server that breaks every
rule of RFC 6455.
"""

import itertools
import textwrap
import threading

from workshop import processes
import pytest
import websocket_rig
from link_rig import check_in_flight, forget_session
from localcloud import pki
from localcloud.faults import CutAt, FaultProxy, Freeze
from localcloud.mqtt import codec as mq
from test_mqtt_link import LINK, nothing_is_allocated_when_idle
from websocket_rig import AiohttpBridge, FrameServer, accept, answer, bridge, frame, ordinary
from device_program import program
from waiting import until

OVER = {"websocket": "/mqtt"}
# A step that waits waits for its deadline, 500 ms here; a busy machine takes its 50 now and then.
STEP_BOUND_US = 250000


@pytest.fixture(scope="module")
def authority():
    return pki.Authority()


@pytest.fixture(scope="module")
def open_cloud(tmp_path_factory):
    """The local cloud, serving MQTT to anybody; its ready line."""
    process, ready = processes.start_cloud(
        "--open-broker", state=tmp_path_factory.mktemp("open-cloud")
    )
    yield ready
    process.stop()


class Peer:
    """Where a link connects to, and with what options."""

    def __init__(self, host, port, ssl=None):
        self.host = host
        self.port = port
        self.options = dict(OVER, ssl=ssl) if ssl else OVER


@pytest.fixture(params=["aiohttp", "aiohttp over TLS", "cloud", "cloud over TLS"])
def peer(request, broker, authority):
    """Each of the servers that keep the rules."""
    tls = "TLS" in request.param
    if "cloud" in request.param:
        cloud = request.getfixturevalue("open_cloud")
        port = cloud["mqtt"]["wss_port" if tls else "ws_port"]
        yield Peer(cloud["mqtt"]["host"], port, {"ca": cloud["ca_der"]} if tls else None)
        return
    context = authority.issue_server(["127.0.0.1"]).server_context() if tls else None
    with AiohttpBridge(broker, context) as made:
        yield Peer(made.host, made.port, {"ca": authority.pem} if tls else None)


@pytest.fixture
def serve():
    """serve(*scenes, ...) starts a FrameServer; see websocket_rig."""
    made = []

    def start(*scenes, **options):
        made.append(FrameServer(*scenes, **options))
        return made[-1]

    yield start
    for server in made:
        server.stop()
    for server in made:
        assert not server.errors, "the client broke RFC 6455: {}".format(server.errors)


def source(text):
    return LINK + textwrap.dedent(text)


def on(board, server, text, **values):
    """Runs a program with `options` for its link; its one report."""
    values.setdefault("options", OVER)
    run = board.run(source(text), host=server.host, port=server.port, heap="8m", **values)
    return run.report


# ---- the conversation


def test_messages_of_any_size_travel_both_ways_at_every_qos(board, peer):
    report = on(
        board,
        peer,
        """
        link = make(max_packet=100000, **options)
        link.subscribe("ws/#", 2)
        link.connect()
        run(lambda: acks)
        wrong = []
        for qos in (0, 1, 2):
            for n in (0, 1, 117, 118, 119, 120, 1014, 1015, 1016, 5000, 65530, 70000):
                payload = (bytes(range(251)) * (n // 251 + 1))[:n]
                del got[:]
                link.publish("ws/%d" % qos, payload, qos=qos)
                run(lambda: got and not link.inflight and not link._unreleased)
                if got != [(b"ws/%d" % qos, payload)]:
                    wrong.append((qos, n, [len(msg) for topic, msg in got]))
        link.disconnect()
        report(wrong=wrong, downs=downs)
        """,
        options=peer.options,
    )
    assert report == {"wrong": [], "downs": ["None"]}


def test_the_link_cannot_tell_the_difference(board, peer):
    """What the link promises holds: will, retained flag, session, filters in one SUBSCRIBE."""
    report = on(
        board,
        peer,
        """
        heard = []
        watcher = make("ws-watcher", **options)
        watcher.set_callback(lambda *message: heard.append(message), retained=True)
        watcher.connect()
        watcher.publish("wsx/kept", "old", retain=True, qos=1)
        link = make("ws-device", clean_session=False, **options)

        def both(condition):
            run(lambda: condition() or watcher.do_next(1) and False)

        link.set_last_will("wsx/will", "gone", qos=1)
        present = [link.connect(clean_session=True), link.connect(clean_session=False)]
        watcher.subscribe([("wsx/kept", 1), ("wsx/will", 1)])
        link.subscribe("wsx/down", 2)
        both(lambda: len(acks) == 3 and heard)
        link.disconnect()
        watcher.publish("wsx/down", "while away", qos=2)
        both(lambda: not watcher.inflight)
        present.append(link.connect())
        run(lambda: got)
        # A crash has no goodbye: the will comes.
        link._stream.sock.close()
        both(lambda: len(heard) == 2)
        watcher.unsubscribe("wsx/kept")
        watcher.publish("wsx/kept", "", retain=True, qos=1)
        both(lambda: not watcher.inflight)
        report(present=present, got=got, heard=heard)
        """,
        options=peer.options,
    )
    assert report["present"] == [False, False, True]
    assert report["got"] == [["wsx/down", "while away"]]
    assert report["heard"] == [["wsx/kept", "old", True], ["wsx/will", "gone", False]]


def test_tls_is_verified(board, broker, authority):
    context = authority.issue_server(["127.0.0.1"]).server_context()
    with AiohttpBridge(broker, context) as server:
        stranger = pki.Authority("stranger").der
        report = on(
            board,
            server,
            """
            report(stranger=refused(make(websocket="/mqtt", ssl={"ca": stranger}).connect),
                   none=refused(make, websocket="/mqtt", ssl=True))
            """,
            stranger=stranger,
        )
    assert report["stranger"].startswith("TLSError: ") and "ca: " in report["stranger"]
    assert report["none"].startswith("ValueError: ssl: ")


def test_loaded_only_when_asked_for(board):
    report = board.run(
        """
        import sys
        from mqtt_link import MQTTLink
        MQTTLink("x", "localhost")
        before = "websocket_stream" in sys.modules
        MQTTLink("x", "localhost", websocket="/mqtt")
        report(before=before, after="websocket_stream" in sys.modules)
        """
    ).report
    assert report == {"before": False, "after": True}


# ---- the upgrade


def test_the_request_is_the_one_of_rfc_6455(board, serve):
    server = serve(ordinary)
    on(
        board,
        server,
        """
        for _ in range(2):
            link = make(websocket="/$iothub/websocket?x=%20y")
            link.connect()
            link.disconnect()
        report()
        """,
    )
    keys = set()
    for request in server.requests:
        first, *lines = request.decode().split("\r\n")
        assert first == "GET /$iothub/websocket?x=%20y HTTP/1.1"
        headers = dict(line.split(": ", 1) for line in lines if line)
        keys.add(headers.pop("Sec-WebSocket-Key"))
        assert headers == {
            "Host": "127.0.0.1:{}".format(server.port),
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": "mqtt",
        }
    assert len(keys) == 2 and all(len(key) == 24 for key in keys)


def test_usual_ports_and_paths_that_are_none(board):
    report = board.run(
        source(
            """
            report(ports=[MQTTLink("x", "h", websocket="/").port,
                          MQTTLink("x", "h", websocket="/", ssl={"verify": False}).port],
                   said=[refused(make, websocket=path) for path in paths])
            """
        ),
        host="h",
        port=0,
        paths=["mqtt", "ws://h/mqtt", "/a b", "/a\r\nX: y", "/\0"],
    ).report
    assert report["ports"] == [80, 443]
    assert all(said.startswith("ValueError: websocket: ") for said in report["said"])


@pytest.mark.parametrize(
    "answered",
    [
        lambda key: answer(key, Upgrade=b"WebSocket", Connection=b"keep-alive, UPGRADE"),
        lambda key: answer(key, Server=b"x: y: z", Date=b""),
        lambda key: answer(key, status=b"HTTP/1.1 101"),
        lambda key: answer(key, Sec_WebSocket_Protocol=b"  mqtt  "),
        lambda key: (
            b"HTTP/1.1 101 Switching Protocols\r\nUPGRADE:websocket\r\nconnection:Upgrade\r\n"
            b"sec-websocket-ACCEPT:" + accept(key) + b"\r\n"
            b"SEC-WEBSOCKET-protocol:mqtt\r\n\r\n"
        ),
    ],
    ids=["words", "others", "no reason", "spaces", "case of names"],
)
def test_answers_that_are_right(board, serve, answered):
    async def scene(peer):
        await peer.read_request()
        peer.send(answered(peer.key))
        await peer.packets()
        peer.send(frame(mq.Connack().encode()))
        await peer.rest()

    assert on(board, serve(scene), "report(said=refused(make(**options).connect))") == {
        "said": None
    }


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"Sec_WebSocket_Accept": b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, "wrong Accept"),
        ({"Sec_WebSocket_Accept": None}, "wrong Accept"),
        ({"Sec_WebSocket_Protocol": None}, "wrong Protocol"),
        ({"Sec_WebSocket_Protocol": b"mqttv3.1"}, "wrong Protocol"),
        ({"Sec_WebSocket_Protocol": b"MQTT"}, "wrong Protocol"),
        ({"Sec_WebSocket_Extensions": b"permessage-deflate"}, "wrong Extensions"),
        ({"Upgrade": None}, "wrong Upgrade"),
        ({"Upgrade": b"h2c"}, "wrong Upgrade"),
        ({"Connection": None}, "wrong Connection"),
        ({"Connection": b"close"}, "wrong Connection"),
        ({"status": b"HTTP/1.1 404 Not Found"}, "no WebSocket at /mqtt: b'HTTP/1.1 404 Not"),
        ({"status": b"HTTP/1.1 302 Found", "Location": b"http://x/"}, "HTTP/1.1 302 Found"),
        ({"status": b"HTTP/1.1 200 OK"}, "HTTP/1.1 200 OK"),
        ({"status": b"HTTP/1.1 503 " + b"x" * 500}, "HTTP/1.1 503 xxx"),
        ({"status": b"HTTP/1.0 101 Switching Protocols"}, "HTTP/1.0 101"),
        ({"status": b"HTTP/1.1 1010 x"}, "HTTP/1.1 1010"),
        ({"status": b"\xff\xfe\x80 garbage"}, "no WebSocket at /mqtt"),
        ({"status": b""}, "no WebSocket at /mqtt"),
    ],
)
def test_answers_that_are_refused_are_named_and_the_link_tries_again(board, serve, changes, why):
    async def scene(peer):
        await peer.read_request()
        peer.send(answer(peer.key, **dict(changes)))
        await peer.rest()

    report = on(
        board,
        serve(scene, ordinary),
        """
        link = make(**options)
        said = refused(link.connect)
        run(link.is_connected)
        report(said=said, downs=len(downs))
        """,
    )
    assert report["said"].startswith("OSError: ") and why in report["said"]
    assert len(report["said"]) < 250 and report["downs"] == 1


async def never_answers(peer):
    await peer.read_request()
    await peer.frames()


async def stalls_halfway(peer):
    await peer.read_request()
    peer.send(answer(peer.key)[:-3])
    await peer.frames()


async def drips(peer):
    await peer.read_request()
    while True:
        peer.send(b"X")
        await peer.writer.drain()
        await websocket_rig.asyncio.sleep(0.05)


async def endless_header(peer):
    await peer.read_request()
    while True:
        peer.send(b"X: endless\r\n" * 100)
        await peer.writer.drain()


async def ends(peer):
    await peer.read_request()
    peer.send(answer(peer.key)[:40])


@pytest.mark.parametrize(
    "scene, why",
    [
        (never_answers, "no WebSocket answer within"),
        (stalls_halfway, "no WebSocket answer within"),
        (drips, "no WebSocket answer within"),
        (endless_header, "answer over 2 KB"),
        (ends, "connection closed by the peer"),
    ],
)
def test_an_upgrade_that_does_not_come_ends_at_its_deadline_in_short_steps(
    board, serve, scene, why
):
    report = on(
        board,
        serve(scene, ordinary),
        """
        link = make(timeout=0.5, **options)
        longest = 0
        while not link.is_connected():
            start = time.ticks_us()
            link.do_next()
            longest = max(longest, time.ticks_diff(time.ticks_us(), start))
            time.sleep_ms(1)
        report(downs=downs, longest=longest)
        """,
    )
    assert len(report["downs"]) == 1 and why in report["downs"][0]
    assert report["longest"] < STEP_BOUND_US


# ---- frames down


@pytest.mark.parametrize("n", [0, 5, 125, 126, 127, 65535, 65536, 100000])
def test_frames_of_every_length_form(board, serve, n):
    """One packet that fills a frame of exactly n bytes (none fits into 0)."""
    head = 2 + 1 + 1 + (1 if n < 130 else 2 if n < 16387 else 3)
    payload = bytes(i & 255 for i in range(max(0, n - head)))
    packet = mq.Publish("t", payload).encode() if n else b""
    assert len(packet) == n

    async def scene(peer):
        await peer.accept_mqtt()
        peer.send(frame(packet), frame(mq.Publish("end").encode()))
        await peer.rest()

    report = on(
        board,
        serve(scene),
        """
        link = make(max_packet=100100, **options)
        link.connect()
        run(lambda: (b"end", b"") in got)
        found = [msg == bytes(i & 255 for i in range(size)) for topic, msg in got[:-1]]
        report(found=found, downs=downs)
        """,
        size=len(payload),
    )
    assert report == {"found": [True] if n else [], "downs": []}


def test_a_packet_over_max_packet_is_passed_over_whatever_its_frames_are(board, serve):
    long = mq.Publish("t/long", bytes(90000), 1, pid=7).encode()

    async def scene(peer):
        await peer.accept_mqtt()
        peer.send(frame(long), frame(mq.Publish("a").encode()))
        peer.send(*[frame(long[i : i + 1000]) for i in range(0, len(long), 1000)])
        peer.send(frame(mq.Publish("b").encode()))
        await peer.rest()

    report = on(
        board,
        serve(scene),
        """
        link = make(max_packet=256, **options)
        skipped = []
        link.on_skip = lambda topic, size: skipped.append((topic, size))
        link.connect()
        run(lambda: len(got) == 2)
        report(got=[topic for topic, msg in got], skipped=skipped)
        """,
    )
    assert report["got"] == ["a", "b"]
    assert report["skipped"] == [["t/long", 2 + 6 + 2 + 90000]] * 2


MESSAGES = [mq.Publish("m/%d" % i, bytes([i]) * (i * 9), i % 3, pid=i or None) for i in range(20)]
for message in MESSAGES:
    if not message.qos:
        message.pid = None


def one_frame(data):
    return frame(data)


def byte_frames(data):
    return b"".join(frame(data[i : i + 1]) for i in range(len(data)))


def odd_frames(data):
    return b"".join(frame(data[i : i + 7]) for i in range(0, len(data), 7))


def one_fragmented_message(data):
    """Fragments of all sizes, empty ones and pings among them."""
    wire = frame(b"", 0x02)
    at = 0
    for size in itertools.cycle((1, 0, 126, 5, 300)):
        if at >= len(data):
            return wire + frame(b"", 0x80)
        wire += frame(data[at : at + size], 0x00) + frame(b"p%d" % size, 0x89)
        at += size


@pytest.mark.parametrize(
    "shape", [one_frame, byte_frames, odd_frames, one_fragmented_message], ids=lambda f: f.__name__
)
def test_packets_and_frames_have_nothing_to_do_with_each_other(board, serve, shape):
    """CONNACK and twenty messages in one frame, in many, in fragments: it is all the same."""
    stream = mq.Connack().encode() + b"".join(message.encode() for message in MESSAGES)

    async def scene(peer):
        await peer.upgrade()
        await peer.packets()
        peer.send(shape(stream))
        await peer.rest()

    server = serve(scene)
    report = on(
        board,
        server,
        """
        link = make(**options)
        run(lambda: len(got) == 20)
        # What is unread when a socket closes makes it a reset, which may overtake our answers.
        for _ in range(20):
            link.do_next(2)
        up = not downs
        link.disconnect()
        report(got=[(topic, len(msg), msg[:1]) for topic, msg in got], up=up)
        """,
    )
    assert report["up"]
    assert report["got"] == [[m.topic, len(m.payload), m.payload[:1].decode()] for m in MESSAGES]
    until(lambda: (2, mq.Disconnect().encode()) in server.frames)
    acks = b"".join(
        wire for opcode, wire in server.frames if opcode == 2 and wire[0] in (0x40, 0x50)
    )
    assert acks == b"".join(
        (mq.Puback if m.qos == 1 else mq.Pubrec)(m.pid).encode() for m in MESSAGES if m.qos
    )


@pytest.mark.parametrize(
    "wire, why",
    [
        (frame(b"\x30\x02\x00\x00", 0x81), "0x8104"),
        (frame(b"\x30", 0x01), "0x0101"),
        (frame(b"\xd0\x00", masked=True), "0x8282"),
        (frame(b"\xd0\x00", 0xC2), "0xc202"),
        (frame(b"\xd0\x00", 0xA2), "0xa202"),
        (frame(b"\xd0\x00", 0x92), "0x9202"),
        (frame(b"\xd0\x00", 0x83), "0x8302"),
        (frame(b"", 0x8B), "0x8b00"),
        (frame(b"", 0x8F), "0x8f00"),
        (frame(b"\xd0\x00", 0x80), "0x8002"),
        (frame(b"\xd0\x00", 0x00), "0x0002"),
        (frame(b"\xd0", 0x02) + frame(b"\x00"), "0x8201"),
        (frame(b"\xd0", 0x02) + frame(b"\x00", 0x02), "0x0201"),
        (frame(b"", 0x09), "0x0900"),
        (frame(b"", 0x08), "0x0800"),
        (frame(b"x" * 126, 0x89), "0x897e"),
        (frame(b"x", 0x89, "u16"), "0x897e"),
        (frame(b"x", 0x8A, "u64"), "0x8a7f"),
        (frame(b"x", 0x89, masked=True), "0x8981"),
        (frame(b"x" * 200, 0x88), "0x887e"),
        (frame(b"x", 0xC9), "0xc901"),
        # The two bytes that tell suffice: nothing is waited for.
        (b"\x89\x7f", "0x897f"),
        (b"\x81\x05", "0x8105"),
    ],
)
def test_frames_a_server_may_not_send_end_the_connection(board, serve, wire, why):
    async def scene(peer):
        await peer.accept_mqtt()
        peer.send(wire)
        await peer.rest()

    server = serve(scene, ordinary)
    report = on(
        board,
        server,
        """
        link = make(**options)
        link.connect()
        run(lambda: len(ups) == 2)
        link.publish("still/works", "x", qos=1)
        run(lambda: not link.inflight)
        report(downs=downs)
        """,
    )
    (said,) = report["downs"]
    assert "WebSocket: forbidden frame " + why in said


@pytest.mark.parametrize(
    "body, why",
    [
        (b"", "WebSocket closed: 1005"),
        (b"\x03\xe8", "WebSocket closed: 1000"),
        (b"\x03\xf0policy \xff", "WebSocket closed: 1008 b'policy"),
        (b"\x03", "WebSocket closed: 1005"),
    ],
)
def test_a_close_frame_is_answered_and_named(board, serve, body, why):
    closed = []

    async def scene(peer):
        await peer.accept_mqtt()
        peer.send(frame(mq.Publish("before").encode()), frame(body, 0x88))
        while True:
            found = await peer.frames()
            closed.extend(payload for opcode, payload in found if opcode == 8)
            if not found:
                return

    report = on(
        board,
        serve(scene, ordinary),
        """
        link = make(**options)
        link.connect()
        run(lambda: len(ups) == 2)
        report(downs=downs, got=[topic for topic, msg in got])
        """,
    )
    assert why in report["downs"][0] and report["got"] == ["before"]
    assert closed == [b"\x03\xe8"]


def test_disconnect_says_goodbye_in_both_languages(board, serve):
    server = serve(ordinary)
    on(
        board,
        server,
        """
        link = make(**options)
        link.connect()
        link.disconnect()
        report()
        """,
    )
    until(lambda: len(server.frames) == 3)
    assert server.frames[1:] == [(2, b"\xe0\x00"), (8, b"\x03\xe8")]


# ---- frames up


def test_one_small_packet_is_one_frame_is_one_write(board, serve):
    server = serve(ordinary)
    report = on(
        board,
        server,
        """
        link = make(**options)
        link.connect()

        class Counting:
            def __init__(self, sock):
                self.readinto, self.close, self._write = sock.readinto, sock.close, sock.write
            def write(self, buf, off, n):
                writes.append(n)
                return self._write(buf, off, n)

        writes = []
        link._stream.sock = Counting(link._stream.sock)
        for qos in (0, 1, 2):
            link.publish("a" * 20, b"b" * 80, qos=qos)
        link.publish("a" * 20, b"b" * 102)
        report(writes=writes)
        """,
    )
    # Head 2 or 4, mask 4.
    assert report["writes"] == [104 + 6, 106 + 6, 106 + 6, 126 + 8]


def test_frames_are_masked_each_with_a_key_of_its_own(board, serve):
    server = serve(ordinary)
    on(
        board,
        server,
        """
        link = make(**options)
        link.connect()
        for _ in range(50):
            link.publish("same", "same", qos=0)
        link.publish("end", "", qos=1)
        run(lambda: not link.inflight)
        report()
        """,
    )
    packet = mq.Publish("same", b"same").encode()
    assert server.frames.count((2, packet)) == 50
    wires = {part[:4] for part in server.wire.split(bytes((0x82, 0x80 | len(packet))))[1:]}
    assert len(wires) >= 49 and b"\0\0\0\0" not in wires


@pytest.mark.parametrize("n, frames", [(1025, [1024, 1]), (3000, [1024, 1024, 952])])
def test_what_is_over_a_kilobyte_goes_in_several_frames(board, serve, n, frames):
    server = serve(ordinary)
    on(
        board,
        server,
        """
        link = make(**options)
        link.connect()
        link.publish("t", bytes(n), qos=0)
        link.publish("end", "", qos=1)
        run(lambda: not link.inflight)
        report()
        """,
        n=n,
    )
    packets = [payload for opcode, payload in server.frames if opcode == 2]
    assert [len(packet) for packet in packets[2:-1]] == frames
    assert packets[1] + b"".join(packets[2:-1]) == mq.Publish("t", bytes(n)).encode()


def test_pings_are_answered_with_their_body(board, serve):
    bodies = [b"", b"x", bytes(range(125))]

    async def scene(peer):
        await peer.read_request()
        # The very first frame, together with the answer; and one within a packet.
        packet = mq.Publish("t", b"data").encode()
        peer.send(answer(peer.key), frame(b"first", 0x89))
        await peer.packets()
        peer.send(frame(mq.Connack().encode()), frame(packet[:5]))
        for body in bodies:
            peer.send(frame(body, 0x89))
            await peer.until((10, body))
        peer.send(frame(b"unasked", 0x8A), frame(packet[5:]))
        await peer.rest()

    server = serve(scene)
    report = on(
        board,
        server,
        """
        link = make(**options)
        link.connect()
        run(lambda: got)
        report(got=got, downs=downs)
        """,
    )
    assert report == {"got": [["t", "data"]], "downs": []}
    until(lambda: (10, b"first") in server.frames)


def test_a_ping_is_answered_behind_the_frame_that_is_half_written(board, serve):
    """The server takes nothing for a while and pings: its pong must not tear a frame apart."""
    full, asked = threading.Event(), threading.Event()
    size = 1000000

    async def scene(peer):
        await peer.accept_mqtt()
        wait_in_thread = websocket_rig.asyncio.get_running_loop().run_in_executor
        await wait_in_thread(None, full.wait, 30)
        peer.send(frame(b"now", 0x89))
        await wait_in_thread(None, asked.wait, 30)
        await peer.rest()

    server = serve(scene, receive_buffer=4096)
    program = board.start(
        source(
            """
            link = make(timeout=60, **options)
            link.connect()
            # SO_SNDBUF, so that a little suffices to fill what lies between the two.
            link._stream.sock.setsockopt(1, 7, 4096)
            link.publish("t", bytearray(size), qos=1)
            idle = 0
            while idle < 20:  # until everything in between is full for good
                idle = 0 if link.do_next() else idle + 1
                time.sleep_ms(10)
            report(half=link._stream._taken > 0)
            for _ in range(30):
                link.do_next()
                time.sleep_ms(10)
            report(half=link._stream._taken > 0)
            run(lambda: not link.inflight, 60000)
            link.disconnect()
            report(downs=downs)
            """
        ),
        heap="8m",
        host=server.host,
        port=server.port,
        options=OVER,
        size=size,
    )
    assert program.next_report(60) == {"half": True}
    full.set()
    assert program.next_report(60) == {"half": True}
    asked.set()
    assert program.next_report(60) == {"downs": ["None"]}
    until(lambda: server.frames[-1][0] == 8)
    assert (10, b"now") in server.frames
    assert size < sum(len(payload) for opcode, payload in server.frames if opcode == 2) < size + 99


def test_a_flood_of_pings_does_not_hold_up_the_program(board, serve):
    """Ten thousand at once take many steps; the newest is answered, and messages go on."""

    async def scene(peer):
        await peer.accept_mqtt()
        peer.send(b"".join(frame(b"%d" % i, 0x89) for i in range(10000)))
        peer.send(frame(mq.Publish("end").encode()))
        await peer.rest()

    server = serve(scene)
    report = on(
        board,
        server,
        """
        link = make(**options)
        link.connect()
        steps = 0
        while not got:
            link.do_next()
            steps += 1
        link.publish("x", "", qos=1)
        run(lambda: not link.inflight)
        report(steps=steps, downs=downs)
        """,
    )
    assert report["steps"] >= 10000 / 8 and report["downs"] == []
    until(lambda: (10, b"9999") in server.frames)


# ---- every byte of it

BARE = program("websocket_stream_bare")

# Every kind of frame, ended by a close.
DOWN = (
    frame(b"one", 0x89)
    + frame(b"ab")
    + frame(b"")
    + frame(b"c", 0x02)
    + frame(b"", 0x89)
    + frame(b"", 0x00)
    + frame(b"d" * 130, 0x00)
    + frame(b"unasked", 0x8A)
    + frame(b"e", 0x80)
    + frame(b"fgh", length="u16")
    + frame(b"ij", length="u64")
    + frame(b"last", 0x89)
    + frame(b"k")
    + frame(b"\x03\xe9", 0x88)
)


def test_any_split_of_the_frames_gives_the_same_and_waiting_costs_no_heap(board):
    report = board.run(
        BARE
        + """
def play(pieces, size):
    stream = make(pieces)
    buf = bytearray(size)
    out = b""
    while True:
        try:
            n = stream.readinto(buf)
        except OSError as e:
            return out, unmask(stream.wire.sent), str(e)
        if n:
            out += bytes(buf[:n])
        elif not stream.wire.pieces:
            before = gc.mem_alloc()
            for _ in range(5):
                stream.readinto(buf)
            cost.append(gc.mem_alloc() - before)
            stream.wire.pieces.append(rest.pop())

cost = []
results = []
for size in (1, 3, 500):
    for k in range(len(down)):
        rest = [down[k:]]
        results.append(play([down[:k]] if k else [None], size))
    bytewise = [part for i in range(len(down)) for part in (down[i : i + 1], None)]
    results.append(play(bytewise, size))
report(same=all(result == results[0] for result in results), first=results[0],
       cost=max(cost), count=len(cost))
""",
        down=DOWN,
    ).report
    assert report["same"]
    payload, frames, said = report["first"]
    assert payload == "abc" + "d" * 130 + "efghijk"
    assert frames == [[0x8A, "one"], [0x8A, ""], [0x8A, "last"]]
    assert "WebSocket closed: 1001" in said
    assert report["cost"] == 0 and report["count"] >= 3 * (len(DOWN) - 1)


def test_any_split_of_the_writes_gives_whole_frames(board):
    """The socket takes 1, 2, 3 ... bytes at a time and then none; a ping comes in each frame."""
    report = board.run(
        BARE
        + """
results = []
for k in range(1, 60):
    pieces = []
    stream = make(pieces)
    stream.wire.room = (k, 0)
    buf = bytearray(10)
    at = pinged = 0
    while at < len(data):
        # What was refused is offered again, as NetStream.write() asks for.
        n = stream.write(data, at, min(50, len(data) - at))
        at += n
        if stream._taken and pinged <= at:
            pieces.append(b"\\x89\\x04ping")
            pinged = at + 1
        stream.readinto(buf)
    stream.wire.room = (1000,)
    stream.readinto(buf)
    frames = unmask(stream.wire.sent)
    results.append((b"".join(payload for first, payload in frames if first == 0x82),
                    set(frame for frame in frames if frame[0] != 0x82)))
report(good=[result == (data, {(0x8A, b"ping")}) for result in results].count(True))
""",
        data=bytes(range(256)) * 3,
    ).report
    assert report["good"] == 59


def test_eight_empty_frames_are_a_read_s_fill(board):
    report = board.run(
        BARE
        + """
stream = make([down])
buf = bytearray(10)
reads = []
while len(reads) < 6:
    reads.append(stream.readinto(buf))
heads = [make([], port=port).wire.request for port in (80, 81)]
report(reads=reads, hosts=[head.split(b"\\r\\n")[1] for head in heads])
""",
        down=frame(b"p", 0x89) * 20 + frame(b"") * 10 + frame(b"x"),
    ).report
    assert report["reads"] == [None, None, None, 1, None, None]
    assert report["hosts"] == ["Host: example.org", "Host: example.org:81"]


def test_close_tears_no_frame_apart_and_what_was_half_said_is_forgotten(board):
    report = board.run(
        BARE
        + """
stream = make([], (1000, 5, 1000))
out = stream._out
buf = bytearray(10)
stream.wire.turn = 1
torn = stream.write(b"x" * 20, 0, 20)
stream.close()
said = [bytes(stream.wire.sent[:2]), len(stream.wire.sent)]
stream.wire = Wire([b"\\x89\\x00"])
for _ in stream.open():
    pass
stream.readinto(buf)
stream.write(b"y", 0, 1)
stream.close()
report(torn=torn, said=said, then=unmask(stream.wire.sent), same=out is stream._out)
"""
    ).report
    assert report["torn"] == 0 and report["said"] == ["hex:8294", 5]
    assert report["then"] == [[0x8A, ""], [0x82, "y"], [0x88, "hex:03e8"]]
    # A kilobyte in one piece is not asked for twice.
    assert report["same"]


def test_nothing_is_allocated_when_idle(board, peer):
    nothing_is_allocated_when_idle(board, peer, **peer.options)


# ---- with messages in flight while something breaks


class Bridge:
    """A frame server in front of the broker, with frames of an odd shape."""

    def __init__(self, serve, broker):
        self._server = serve(bridge(broker, odd_frames))
        self.host, self.port = self._server.host, self._server.port


@pytest.mark.parametrize(
    "fault, args",
    [
        ("silent", ()),
        ("one_byte", ()),
        ("close_at_once", ()),
        ("never_reads", ()),
        (Freeze, (60,)),
        (Freeze, (300,)),
    ],
)
def test_fault(board, broker, serve, fault, args):
    check_in_flight(
        board,
        broker,
        lambda proxy, name: proxy.apply(fault, *args),
        behind=Bridge(serve, broker),
        # Byte by byte a whole answer to the upgrade takes its time on a busy machine.
        options=dict(OVER, timeout=3) if fault == "one_byte" else OVER,
    )


@pytest.mark.parametrize("direction, upgrade", [("down", 129), ("up", 190)])
def test_cut_at_every_byte_of_the_upgrade_and_of_a_conversation(
    board, broker, serve, direction, upgrade
):
    """Each new connection ends one byte later than the one before it; QoS 2 stays exactly once."""
    last = upgrade + 250
    offset = itertools.count(1)
    forget_session(broker, "ws-cut")
    behind = Bridge(serve, broker)
    with FaultProxy(behind.host, behind.port) as proxy:
        proxy.apply(lambda: CutAt(next(offset), direction), connections=last)
        report = board.run(
            source(
                """
                link = make("ws-cut", clean_session=False, timeout=2, **options)
                link.backoff_ms = link.backoff_max_ms = 4
                link.subscribe("ws-cut/loop", 2)
                sent = 0
                while len(downs) < last:
                    if link.inflight < 4:
                        link.publish("ws-cut/loop", str(sent), qos=2)
                        sent += 1
                    link.do_next(5)
                run(lambda: not link.inflight)
                run(lambda: len(got) >= sent and not link._unreleased)
                report(sent=sent, got=[int(msg) for topic, msg in got])
                """
            ),
            timeout=60,
            host=proxy.host,
            port=proxy.port,
            options=OVER,
            last=last,
        ).report
    assert next(offset) == last + 1
    assert report["got"] == list(range(report["sent"])) and report["sent"] > 4
