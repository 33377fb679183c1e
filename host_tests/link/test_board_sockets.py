"""
What boards' sockets do and Linux's don't, held against the library: lwIP's rules (Pico W, most
STM32) and ESP32's, from rigs/doubles. The double writes down each call that would have blocked.
"""

import socket

import board_rig
import pytest
from http_rig import OK, scripts
from listening import EchoServer
from localcloud import pki
from localcloud.faults import FaultProxy
from websocket_rig import AiohttpBridge
from device_program import program

(DOUBLES,) = board_rig.DOUBLES


def path_of(kind):
    return (DOUBLES / kind, DOUBLES / "sockets")


@pytest.fixture(params=["lwip", "esp32"])
def kind(request):
    return request.param


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return port


@pytest.fixture
def echo():
    server = EchoServer()
    yield server
    server.stop()


# ---- the double keeps the rules it is there for

RAW = program("board_sockets_raw")


def test_lwip_poll_and_errno_of_a_new_and_a_refused_socket(board, closed_port):
    source = (
        RAW
        + """
fresh = polled(socket.socket())
sock, address, dialling = dial(port)
report(fresh=fresh, dialling=dialling, refused=polled(sock, 4), again=code(sock.connect, address),
       read=code(sock.readinto, bytearray(1)), unconnected=code(socket.socket().recv, 1))
"""
    )
    got = board.run(source, before_lib=path_of("lwip"), port=closed_port).report
    assert got == {
        "fresh": 20,
        "dialling": 115,
        "refused": 28,
        "again": 9,
        "read": 104,
        "unconnected": 107,
    }


def test_esp32_shows_only_out_after_a_refusal(board, closed_port, echo):
    source = (
        RAW
        + """
sock, address, dialling = dial(port)
good, good_address, _ = dial(echo)
report(dialling=dialling, refused=polled(sock), read=code(sock.readinto, bytearray(1)),
       fine=polled(good, 4), known=code(good.connect, good_address),
       nothing=good.readinto(bytearray(1)))
"""
    )
    got = board.run(source, before_lib=path_of("esp32"), port=closed_port, echo=echo.port).report
    assert got == {
        "dialling": 119,
        "refused": 4,
        "read": 104,
        "fine": 4,
        "known": 127,
        "nothing": None,
    }


def test_lwip_writes_block_where_the_heap_or_the_queue_ends(board, echo):
    source = (
        RAW
        + """
def writes(size, nodelay):
    sock, address, _ = dial(port)
    polled(sock, 4)
    sock.setsockopt(6, socket.TCP_NODELAY, nodelay)
    line.silent = True
    done = 0
    while not line.violations and code(sock.write, bytes(size), 0, size) == size:
        done += 1
    found = len(line.violations)
    del line.violations[:]
    line.silent = False
    sock.close()
    return done, found
small = writes(30, 1)
large = writes(720, 0)
half = writes(512, 0)
nagle = writes(30, 0)
sock, address, _ = dial(port)
polled(sock, 4)
sock.setsockopt(6, 1, 1)
report(small=small, large=large, half=half, nagle=nagle, warned=line.violations)
"""
    )
    got = board.run(source, before_lib=path_of("lwip"), port=echo.port).report
    assert got["small"] == [32, 1]  # TCP_SND_QUEUELEN
    assert got["large"] == [8, 1]  # the heap ends before the send buffer does
    assert got["half"][1] == 0  # no more than 512 bytes at once: the send buffer ends first
    assert got["nagle"][0] > 150
    assert len(got["warned"]) == 1 and "setsockopt" in got["warned"][0]


def test_lwip_has_five_connections_and_closed_ones_of_a_silent_peer_count(board, echo):
    source = (
        RAW
        + """
def full():
    return code(socket.socket) == 12
socks = [dial(port)[0] for _ in range(5)]
for sock in socks:
    polled(sock, 4)
open_ones = full()
line.silent = True
for sock in socks:
    sock.close()
closed_ones = full()
del line.lingering[:]
report(open=open_ones, closed=closed_ones, later=full())
"""
    )
    got = board.run(source, before_lib=path_of("lwip"), port=echo.port).report
    assert got == {"open": True, "closed": True, "later": False}


# ---- the library on such sockets

STREAM = program("board_sockets_stream")


@pytest.mark.parametrize("kind", ["lwip", "esp32"])
def test_a_stream_does_nothing_that_would_block_or_warn(board, kind, echo):
    got = board.run(
        STREAM + "report(got=talk(port), bad=line.violations)",
        before_lib=path_of(kind),
        port=echo.port,
    ).report
    assert got == {"got": 3000, "bad": []}


@pytest.mark.parametrize("kind", ["lwip", "esp32"])
def test_a_refusal_is_told_as_one(board, kind, closed_port):
    got = board.run(
        STREAM + "report(said=talk(port))", before_lib=path_of(kind), port=closed_port
    ).report["said"]
    assert got.startswith("OSError") and "can't connect to 127.0.0.1:" in got
    assert "EBADF" not in got and "[Errno 9]" not in got


LINK = """
import time
from socket import line
from mqtt_link import MQTTLink

def link_of(name, ssl):
    link = MQTTLink(name, host, port, ssl=ssl, keepalive=30, timeout=5, window=20)
    link.connect()
    return link
"""


@pytest.fixture(scope="module")
def secure(broker):
    """A TLS listener in front of the broker, and its CA."""
    authority = pki.Authority()
    context = authority.issue_server(["127.0.0.1"]).server_context()
    with FaultProxy(broker.host, broker.port, tls=context) as proxy:
        yield {"host": proxy.host, "port": proxy.port, "ssl": {"ca": authority.der}}


@pytest.fixture(params=["plain", "tls"])
def mqtt(request, broker, secure):
    """What a link needs: host, port and ssl."""
    if request.param == "plain":
        return {"host": broker.host, "port": broker.port, "ssl": None}
    return secure


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("kind", ["lwip", "esp32"])
def test_pain_55_nothing_that_is_published_on_a_silent_line_blocks(board, kind, mqtt, qos):
    # On lwIP the first of these calls would have taken ten seconds, in spite of a non-blocking
    # socket.
    source = (
        LINK
        + """
found = {}
handed = 0
for size in (20, 100, 300, 470, 512, 600, 640, 700, 750, 800, 1000, 1500, 2200):
    link = link_of("silent-%d" % size, ssl)
    del line.violations[:]
    line.silent = True
    for _ in range(100):
        try:
            link.publish("t", bytes(size), qos=qos)
        except OSError:
            pass
        link.do_next(0)
    if line.violations:
        found[size] = line.violations[0]
    line.silent = False
    link.disconnect()
    handed = max(handed, line.handed)
report(blocked=found)
"""
    )
    got = board.run(source, 60, before_lib=path_of(kind), qos=qos, **mqtt).report
    assert got["blocked"] == {}


@pytest.mark.parametrize("size", [100, 640, 20000])
def test_pain_55_several_links_share_the_memory_of_a_silent_line(board, mqtt, size):
    # lwIP's memory is for all connections: what one of them holds the next one's write lacks.
    source = (
        LINK
        + """
links = [link_of("shares-%d-%d" % (size, i), ssl) for i in range(3)]
def publish(times):
    for _ in range(times):
        for i, link in enumerate(links):
            try:
                link.publish("t", payload, qos=i % 2)
            except OSError:
                pass
            link.do_next(0)
payload = bytes(size)
del line.violations[:]
line.silent = True
publish(100)
blocked = line.violations[:1]
line.silent = False
start = time.ticks_ms()
while sum([link.inflight for link in links]) and time.ticks_diff(time.ticks_ms(), start) < 60000:
    for link in links:
        link.do_next(5)
report(blocked=blocked, left=[link.inflight for link in links], later=line.violations[:1])
for link in links:
    link.disconnect()
"""
    )
    got = board.run(source, 90, before_lib=path_of("lwip"), size=size, **mqtt).report
    assert got == {"blocked": [], "left": [0, 0, 0], "later": []}


@pytest.mark.parametrize("size", [640, 20000])
def test_pain_55_what_a_silent_connection_held_does_not_block_the_next(board, mqtt, size):
    # A closed connection keeps its memory until its peer answers or ten seconds have passed.
    source = (
        LINK
        + """
link = link_of("holds-%d" % size, ssl)
link.backoff_ms = link.backoff_max_ms = 20
line.silent = True
for _ in range(50):
    try:
        link.publish("t", bytes(size), qos=1)
    except OSError:
        pass
    link.do_next(0)
link.drop(OSError(110, "silent"))
held = 8000 - line.heap
line.silent = False
start = time.ticks_ms()
while link.inflight and time.ticks_diff(time.ticks_ms(), start) < 60000:
    link.do_next(20)
report(held=held, blocked=line.violations[:1], left=link.inflight)
link.disconnect()
"""
    )
    got = board.run(source, 90, before_lib=path_of("lwip"), size=size, **mqtt).report
    assert got["held"] > 3000
    assert got["blocked"] == [] and got["left"] == 0


@pytest.mark.parametrize("kind", ["lwip", "esp32"])
def test_a_link_goes_on_when_the_line_does(board, kind, mqtt):
    source = (
        LINK
        + """
link = link_of("goes-on", ssl)
acked = []
link.on_ack = lambda *args: acked.append(args)
line.silent = True
for i in range(4):
    link.publish("t", b"x" * 100, qos=1)
for _ in range(20):
    link.do_next(1)
line.silent = False
start = time.ticks_ms()
while link.inflight and time.ticks_diff(time.ticks_ms(), start) < 20000:
    link.do_next(20)
report(inflight=link.inflight, acked=len(acked), up=link.is_connected())
link.disconnect()
"""
    )
    got = board.run(source, 40, before_lib=path_of(kind), **mqtt).report
    assert got == {"inflight": 0, "acked": 4, "up": True}


def test_no_place_for_a_connection_is_told_in_words_and_heals(board, mqtt):
    source = (
        LINK
        + """
line.lingering = [time.ticks_add(time.ticks_ms(), 60000) for _ in range(5)]
errors = []
link = MQTTLink("lingers", host, port, ssl=ssl, timeout=5)
link.backoff_ms = link.backoff_max_ms = 20
link.on_down = lambda e: errors.append(str(e))
start = time.ticks_ms()
while not errors and time.ticks_diff(time.ticks_ms(), start) < 20000:
    link.do_next(20)
line.lingering = []
while not link.is_connected() and time.ticks_diff(time.ticks_ms(), start) < 20000:
    link.do_next(20)
report(errors=errors[:1], up=link.is_connected())
link.disconnect()
"""
    )
    got = board.run(source, 40, before_lib=path_of("lwip"), **mqtt).report
    assert got["up"]
    assert len(got["errors"]) == 1 and "no socket is free" in got["errors"][0]


# ---- what stands on a stream


@pytest.mark.parametrize("kind", ["lwip", "esp32"])
def test_http_on_such_sockets(board, kind, closed_port):
    body = b"x" * 20000
    with scripts() as serve:
        answer = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
        server = serve({"/": [answer], "/hang": ["hang"]})
        source = """
from socket import line
from rest import Session

def get(port, path, method="GET", body=None, timeout=10):
    try:
        session = Session("127.0.0.1", port, False, timeout=timeout)
        return len(session.request(method, path, body).read(30000))
    except OSError as e:
        return str(e.args[-1])
report(got=get(port, "/"), put=get(port, "/", "PUT", b"y" * 9000), refused=get(nobody, "/"),
       silent=get(port, "/hang", timeout=0.5), bad=line.violations)
"""
        got = board.run(
            source, before_lib=path_of(kind), port=server.port, nobody=closed_port
        ).report
        assert server.bodies[1] == b"y" * 9000
    assert got["got"] == got["put"] == len(body)
    assert "can't connect" in got["refused"] and "EBADF" not in got["refused"]
    assert "no answer within" in got["silent"]
    assert got["bad"] == []


@pytest.mark.parametrize("kind", ["lwip", "esp32"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_mqtt_over_websocket_on_such_sockets(board, kind, broker, secure):
    authority = pki.Authority()
    context = authority.issue_server(["127.0.0.1"]).server_context() if secure else None
    ssl = {"ca": authority.der} if secure else None
    with AiohttpBridge(broker, context) as bridge:
        source = """
from socket import line
from mqtt_link import MQTTLink
link = MQTTLink("ws-board", host, port, ssl=ssl, websocket="/mqtt", window=20)
got = []
link.set_callback(lambda topic, msg: got.append(len(msg)))
link.subscribe("ws/board", 1)
link.connect()
for size in (20, 700, 1500):
    link.publish("ws/board", bytes(size), qos=1)
while len(got) < 3 or link.inflight:
    link.do_next(10)
line.silent = True
for _ in range(60):
    try:
        link.publish("ws/board", bytes(700))
    except OSError:
        pass
    link.do_next(0)
report(got=got, bad=line.violations[:2])
line.silent = False
link.disconnect()
"""
        got = board.run(
            source, before_lib=path_of(kind), host=bridge.host, port=bridge.port, ssl=ssl
        ).report
    assert got == {"got": [20, 700, 1500], "bad": []}


@pytest.mark.parametrize("kind", ["lwip", "esp32"])
def test_a_push_monitor_on_such_sockets(board, kind, closed_port, cloud):
    digi = cloud["digi"]
    source = """
import time
from socket import line
from idigi_monitor_api import push_client

def session(push_port):
    client = push_client(user, password, hostname="127.0.0.1", secure=False, port=http_port,
                         push_port=push_port, threads=False)
    opened = client.create_session(lambda data: True, client.create_monitor(["DataPoint"]))
    start = time.ticks_ms()
    while not opened.is_connected() and not opened.error:
        opened.do_next(20)
        if time.ticks_diff(time.ticks_ms(), start) > 20000:
            break
    up, error = opened.is_connected(), str(opened.error)
    opened.stop()
    return up, error
good = session(port)
report(up=good[0], refused=session(nobody)[1], bad=line.violations)
"""
    got = board.run(
        source, before_lib=path_of(kind), user=digi["username"], password=digi["password"],
        port=digi["push_port"], http_port=digi["http_port"], nobody=closed_port,
    ).report  # fmt: skip
    assert got["up"] and got["bad"] == []
    assert "can't connect" in got["refused"] and "EBADF" not in got["refused"]
