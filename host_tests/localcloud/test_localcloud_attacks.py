"""
What a hostile or unlucky world does to the local cloud: it stays within bounds, says so once, and
serves the others.
"""

import contextlib
import resource
import socket
import sqlite3
import ssl
import subprocess
import sys

import azure_rig
import pytest
import workshop
from workshop import processes
from localcloud import pki, store
from localcloud.background import Background
from localcloud.mqtt import codec as mq
from localcloud.mqtt import server as mqtt_server
from localcloud.mqtt import websocket
from localcloud_rig import Http, Raw, running
from waiting import until

# ---- the disk


@contextlib.contextmanager
def persistent_broker(directory):
    """(port, store) of a broker whose sessions are kept in directory."""
    with Background() as background:

        async def start():
            kept = store.Store(str(directory / "db"))
            server = mqtt_server.Server(store.SessionStore(kept))
            server.add(mqtt_server.OpenBroker(persistent=True))
            return kept, server, (await server.listen("mqtt")).port

        kept, server, port = background.call(start())
        try:
            yield port, kept
        finally:
            background.call(server.stop())
            background.call(kept.close())


def _disk_is_full(batch):
    raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "kept"])
def test_a_message_that_can_t_be_kept_reaches_nobody(tmp_path, qos, clean):
    """Its publisher sends it again when there is room; then everybody has each message once."""
    with persistent_broker(tmp_path) as (port, kept):
        # A session that is kept makes the broker write each message.
        Raw(port).connect("away", clean=False).subscribe(("t", 1)).leave()
        here = Raw(port).connect("here", clean=clean).subscribe(("t", qos))
        number = 0
        for _ in range(20):
            publisher = Raw(port).connect("p", clean=True)
            real, kept.commit = kept.commit, _disk_is_full
            batch = [mq.Publish("t", b"%d" % (number + i), qos, pid=i + 1) for i in range(5)]
            publisher.send(*batch).closed()
            kept.commit = real
            publisher = Raw(port).connect("p", clean=True)
            publisher.send(*batch)
            for packet in batch:
                publisher.expect(mq.Puback(packet.pid) if qos == 1 else mq.Pubrec(packet.pid))
            publisher.close()
            number += 5
        got = []
        while len(got) < number:
            packet = here.read()
            if packet.type == mq.PUBREL:
                here.send(mq.Pubcomp(packet.pid))
                continue
            got.append(int(packet.payload))
            here.send(mq.Puback(packet.pid) if qos == 1 else mq.Pubrec(packet.pid))
        assert got == list(range(number)), "each once, in order"


# ---- what is too large


def test_topics_and_filters_have_a_bounded_number_of_levels():
    with running(mqtt_server.OpenBroker()) as (_, port, _):
        deep = "/".join("a" * 200)
        other = Raw(port).connect("other").subscribe("#")
        Raw(port).connect("c").subscribe(deep).send(mq.Publish(deep, b"x")).expect(
            mq.Publish(deep, b"x")
        )
        other.expect(mq.Publish(deep, b"x"))
        for levels in (201, 5000, 30000):
            name = "/" * (levels - 1)
            Raw(port).connect("c").send(mq.Publish(name, b"x")).closed()
            Raw(port).connect("c").send(mq.Subscribe(1, [(name, 0)])).closed()
        other.sync()


def _resident(pid):
    """Bytes of memory that a process holds."""
    with open("/proc/%d/statm" % pid) as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _open_files(pid):
    return len(list((workshop.Path("/proc/%d/fd" % pid)).iterdir()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells the memory")
def test_handshakes_that_nobody_finishes_take_little_memory(start_cloud):
    ready = start_cloud()
    pid = ready["process"].pid
    before = _resident(pid)
    files = _open_files(pid)
    lines = []
    try:
        for _ in range(600):
            line = socket.create_connection(("127.0.0.1", ready["mqtt"]["tls_port"]), 10)
            line.sendall(b"\x16\x03\x01\x02\x00\x01")  # the first bytes of a ClientHello
            lines.append(line)
        until(lambda: _open_files(pid) >= files + 600)
        assert _resident(pid) - before < 80 << 20
    finally:
        for line in lines:
            line.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prlimit is Linux's")
def test_no_file_descriptors_left_is_told_once_and_passes():
    process, ready = processes.start_cloud()
    lines = []
    try:
        limit = _open_files(process.pid) + 20
        subprocess.run(
            ["prlimit", "--pid", str(process.pid), "--nofile=%d:%d" % (limit, limit)], check=True
        )
        for _ in range(100):
            lines.append(socket.create_connection(("127.0.0.1", ready["mqtt"]["port"]), 10))
        until(lambda: any("no new connections for now" in line for line in process.err), 30)
        # Each turn of the event loop meets the same again; what is told is one line.
        until(lambda: len(lines) == 100)
        with pytest.raises((OSError, AssertionError)):
            Raw(ready["mqtt"]["port"], timeout=3).connect("x")
        assert sum("no new connections" in line for line in process.err) == 1
        for line in lines:
            line.close()
        raw = Raw(ready["mqtt"]["port"], timeout=30)
        raw.send(mq.Connect("x")).expect(mq.Connack(mq.NOT_AUTHORISED))
        assert len(process.err) < 400
    finally:
        for line in lines:
            line.close()
        process.stop()


# ---- who may come in


def _upgrade(port, **headers):
    """The status line's number that a WebSocket request with these headers gets."""
    given = {
        "Host": "localhost:%d" % port,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": "mqtt",
    }
    given.update(headers)
    head = "".join("%s: %s\r\n" % item for item in given.items() if item[1] is not None)
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(("GET /mqtt HTTP/1.1\r\n%s\r\n" % head).encode())
        return int(sock.recv(1000).split()[1])


def test_a_page_of_the_web_may_not_open_a_websocket(start_cloud):
    port = start_cloud()["mqtt"]["ws_port"]
    assert _upgrade(port) == 101
    assert _upgrade(port, Origin="http://localhost:8000") == 101
    assert _upgrade(port, Origin="http://127.0.0.1") == 101
    assert _upgrade(port, Origin="http://[::1]:3000") == 101
    for origin in ("http://evil.example", "https://localhost.evil.example", "null", ""):
        assert _upgrade(port, Origin=origin) == 403, origin
    for host in ("evil.example", "evil.example:%d" % port):
        assert _upgrade(port, Host=host) == 403, "a name that was made to lead here"
    assert _upgrade(port, Host="abc123.messaging.internetofthings.ibmcloud.com") == 101
    allowed = start_cloud("--allow-origin=https://page.example:8443")["mqtt"]["ws_port"]
    assert _upgrade(allowed, Origin="https://page.example:8443") == 101
    assert _upgrade(allowed, Origin="https://page.example") == 403


def test_visitors_of_a_server_on_a_network():
    anywhere = websocket.Visitors(hosts=None)
    request = websocket.Request("GET", "/mqtt", {"host": "gateway.lan:9001"})
    anywhere.check(request)
    request.headers["origin"] = "http://gateway.lan"
    with pytest.raises(websocket.BadRequest, match="--allow-origin"):
        anywhere.check(request)


def test_an_emptied_secret_lets_nobody_in(start_cloud, tmp_path):
    start_cloud(state=tmp_path / "state")["process"].stop()
    (tmp_path / "state" / "control-token").write_text("")
    done = subprocess.run(
        [sys.executable, str(workshop.ROOT / "tools" / "localcloud"), "--state"]
        + [str(tmp_path / "state")]
        + [text for port in processes.CLOUD_PORTS for text in (port, "0")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "control-token is empty: delete it" in done.stderr


# ---- which parts, which ports


def _taken():
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock, sock.getsockname()[1]


def test_all_ports_that_are_taken_are_named():
    (one, first), (two, second) = _taken(), _taken()
    with one, two:
        options = {port: "0" for port in processes.CLOUD_PORTS}
        options["--mqtt-port"], options["--push-port"] = str(first), str(second)
        done = subprocess.run(
            [sys.executable, str(workshop.ROOT / "tools" / "localcloud")]
            + [text for item in options.items() for text in item],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1
        assert "port %d of 127.0.0.1 (--mqtt-port) is taken" % first in done.stderr
        assert "port %d of 127.0.0.1 (--push-port) is taken" % second in done.stderr
        # A part that isn't served needs no port.
        process, ready = processes.start_cloud(
            "--parts=ibm,azure", "--push-port=%d" % second, "--tv-port=%d" % first
        )
        assert process.stop() == 0
        assert {"ibm", "azure", "mqtt", "http", "control"} <= set(ready)
        assert not {"teamviewer", "digi"} & set(ready)


def test_a_cloud_without_mqtt(start_cloud):
    ready = start_cloud("--parts=digi")
    assert "mqtt" not in ready and ready["digi"]["push_port"]
    context = ssl.create_default_context(cafile=ready["ca_pem"])
    with socket.create_connection(("127.0.0.1", ready["digi"]["https_port"]), 10) as sock:
        assert context.wrap_socket(sock, server_hostname="localhost").version()
    assert pki.client_context(ready["ca_pem"])


def test_a_part_that_does_not_exist_is_told():
    done = subprocess.run(
        [sys.executable, str(workshop.ROOT / "tools" / "localcloud"), "--parts=ibm,azur"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and "'azur'" in done.stderr and "azure" in done.stderr


# ---- a twin

NO_TWIN = [
    b'{"a":[{"b":null}]}',
    b'{"a":[null]}',
    b'{"a":{"b":[[{"c":{"d":null}}]]}}',
    b'{"a":"\\ud800"}',
    b'{"\\udc00":1}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\xff"}',
    b'{"a":NaN}',
    b'{"a":1e999}',
    b'{"a":9007199254740993}',
    b'{"a":' * 500 + b"1" + b"}" * 500,
    b"[" * 100000,
    b"[]",
    b"null",
    b"{",
    b"",
]


def _short(payload):
    return repr(payload)[:30]


@pytest.fixture(scope="module")
def azure(tmp_path_factory):
    with azure_rig.running(tmp_path_factory.mktemp("tls")) as rig:
        yield rig


@pytest.mark.parametrize("payload", NO_TWIN, ids=_short)
def test_twins_that_hub_refuses_are_refused_and_the_connection_stays(azure, payload):
    """400 on the topic; what follows is served, and nothing of it was kept."""
    azure.create("twin-1")
    results = "$iothub/twin/res/"
    topic = "$iothub/twin/PATCH/properties/reported/?$rid="
    with azure.hub("twin-1") as client:
        client.subscribe((results + "#", 1))
        client.send(mq.Publish(topic + "bad", payload, 0))
        assert client.read().topic == results + "400/?$rid=bad"
        client.send(mq.Publish(topic + "good", b'{"kept": {"x": 1}}', 0))
        assert client.read().topic.startswith(results + "204/?$rid=good")
    assert azure.reported("twin-1") == {"kept": {"x": 1}}


def test_twins_that_hub_refuses_are_refused_from_the_service_side_too(start_cloud):
    """They would reach the device."""
    cloud = start_cloud("--parts=azure")
    control = azure_rig.Control(cloud)
    assert control("PUT", "/devices/twin-2", {"keys": [azure_rig.DEVICE_KEY]})[0] == 200
    http = Http(int(cloud["http"]["url"].rpartition(":")[2]))
    path = "/localcloud/v1/azure/twins/twin-2"
    bearer = {"Authorization": "Bearer " + control.token}
    for payload in NO_TWIN[:-5]:
        body = b'{"properties":{"desired":' + payload + b"}}"
        assert http("PATCH", path, body, **bearer)[0] == 400, payload[:40]
    for payload in NO_TWIN:
        assert http("PATCH", path, payload, **bearer)[0] == 400, payload[:40]
    status, found = control("GET", "/twins/twin-2")
    assert status == 200 and found["properties"]["desired"] == {"$version": 1}
    good = {"properties": {"desired": {"a": [{"b": 1}], "c": None}}}
    assert control("PATCH", "/twins/twin-2", good)[1] == {"version": 2}
