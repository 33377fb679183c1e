"""
The local cloud as a program: its ready line, its options, how it starts, stops and is killed.
"""

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys

import pytest
import workshop
from workshop import processes
from localcloud import pki
from localcloud.mqtt import codec as mq
from localcloud_rig import Http, Raw

TOOL = str(workshop.ROOT / "tools" / "localcloud")


def run(*arguments, timeout=60):
    """Run it to its end; (status, stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return done.returncode, done.stdout, done.stderr


def device(ready, **options):
    """The ready line's device, connected."""
    ibm = ready["ibm"]
    d = ibm["device"]
    client_id = "d:%s:%s:%s" % (ibm["org"], d["type"], d["id"])
    return Raw(ready["mqtt"]["port"]).connect(
        client_id, user="use-token-auth", password=d["token"].encode(), **options
    )


def application(ready, **options):
    ibm = ready["ibm"]
    a = ibm["application"]
    return Raw(ready["mqtt"]["port"]).connect(
        "a:%s:%s" % (ibm["org"], a["id"]), user=a["key"], password=a["token"].encode(), **options
    )


def test_the_ready_line_is_the_contract(cloud):
    assert cloud["ready"] is True
    for name in ("ca_pem", "ca_der"):
        assert os.path.isfile(cloud[name])
    assert set(cloud["mqtt"]) == {"host", "port", "tls_port", "ws_port", "wss_port"}
    assert set(cloud["http"]) == {"url", "tls_url"}
    assert set(cloud["ibm"]) == {"org", "domain", "device", "application"}
    assert set(cloud["ibm"]["device"]) == {"type", "id", "token"}
    assert set(cloud["ibm"]["application"]) == {"id", "key", "token"}
    # Nothing but that line is on stdout.
    assert len(cloud["process"].out) == 1


def test_what_it_promises_works(cloud):
    app = application(cloud).subscribe("iot-2/type/+/id/+/evt/+/fmt/+")
    device(cloud).send(mq.Publish("iot-2/evt/e/fmt/json", b"{}")).sync()
    assert app.read().payload == b"{}"
    names = [
        "localhost",
        "%s.messaging.%s" % (cloud["ibm"]["org"], cloud["ibm"]["domain"]),
        "zzz999.messaging." + cloud["ibm"]["domain"],
    ]
    for port in (cloud["mqtt"]["tls_port"], cloud["mqtt"]["wss_port"]):
        for name in names:
            with socket.create_connection((cloud["mqtt"]["host"], port), 10) as s:
                tls = pki.client_context(cloud["ca_pem"]).wrap_socket(s, server_hostname=name)
                assert tls.version() in ("TLSv1.2", "TLSv1.3")
    with socket.create_connection((cloud["mqtt"]["host"], cloud["mqtt"]["tls_port"]), 10) as s:
        with pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(s, server_hostname="localhost")


def test_both_http_ports(cloud):
    for url, ca in ((cloud["http"]["url"], None), (cloud["http"]["tls_url"], cloud["ca_pem"])):
        status, _, body = Http(int(url.rpartition(":")[2]), ca)("GET", "/nothing")
        assert status == 404 and body["message"]


def test_http_is_answered_on_the_websocket_ports_too(cloud):
    assert Http(cloud["mqtt"]["ws_port"])("GET", "/nothing")[0] == 404
    assert Http(cloud["mqtt"]["wss_port"], cloud["ca_pem"])("GET", "/nothing")[0] == 404


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_websocket_and_https_on_one_port(start_cloud):
    port = free_port()
    ready = start_cloud("--wss-port=%d" % port, "--https-port=%d" % port)
    assert ready["mqtt"]["wss_port"] == port
    assert ready["http"]["tls_url"] == "https://127.0.0.1:%d" % port
    app = ready["ibm"]["application"]
    http = Http(port, ready["ca_pem"], app["key"], app["token"])
    for _ in range(3):
        assert http("GET", "/api/v0001/")[0] == 200
    assert http("POST", "/api/v0001/devices", {"type": "t", "id": "i"})[0] == 201


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(start_cloud, number):
    ready = start_cloud()
    client = device(ready)
    ready["process"].signal(number)
    client.closed()
    assert ready["process"].wait(10) == 0
    assert not any("Traceback" in line for line in ready["process"].err)
    with pytest.raises(OSError):
        Raw(ready["mqtt"]["port"])


def test_without_a_state_directory_nothing_is_left():
    process, ready = processes.start_cloud()
    directory = os.path.dirname(os.path.dirname(ready["ca_pem"]))
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert process.stop() == 0
    assert not os.path.exists(directory)


def test_with_one_everything_is_kept_and_secrets_are_private(start_cloud, tmp_path):
    state = tmp_path / "state"
    first = start_cloud(state=state)
    first["process"].stop()
    second = start_cloud("--log=debug", state=state)
    for key in ("ca_pem", "ca_der", "ibm"):
        assert first[key] == second[key]
    assert stat.S_IMODE(os.stat(str(state)).st_mode) == 0o700
    tokens = [second["ibm"]["device"]["token"], second["ibm"]["application"]["token"]]
    application(second).leave()
    device(second).leave()
    second["process"].stop()
    for root, _, names in os.walk(str(state)):
        for name in names:
            path = os.path.join(root, name)
            with open(path, "rb") as f:
                content = f.read()
            if any(token.encode() in content for token in tokens):
                assert name == "ibm-abc123.json"
                assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    told = "\n".join(second["process"].err)
    assert "d:abc123:board:board-1" in told and not any(token in told for token in tokens)


def test_options_add_devices_and_keys(start_cloud):
    ready = start_cloud(
        "--ibm-org=Org123",
        "--ibm-device=pump:p1:tok:with:colons",
        "--ibm-device=pump:p2:tok2",
        "--ibm-key=a-zyx987-k:t",
        "--ibm-domain=iot.example",
    )
    assert ready["ibm"]["org"] == "Org123" and ready["ibm"]["domain"] == "iot.example"
    for id, token in (("p1", b"tok:with:colons"), ("p2", b"tok2")):
        Raw(ready["mqtt"]["port"]).connect(
            "d:Org123:pump:" + id, user="use-token-auth", password=token
        ).leave()
    Raw(ready["mqtt"]["port"]).connect("a:zyx987:x", user="a-zyx987-k", password=b"t").leave()


def test_the_open_broker_is_off_unless_asked_for(cloud, start_cloud):
    Raw(cloud["mqtt"]["port"]).send(mq.Connect("x")).expect(mq.Connack(5)).closed()
    ready = start_cloud("--open-broker")
    a = Raw(ready["mqtt"]["port"]).connect("x").subscribe("#")
    a.send(mq.Publish("any/topic")).expect(mq.Publish("any/topic"))
    ready = start_cloud("--open-broker=u:secret")
    Raw(ready["mqtt"]["port"]).connect("x", user="u", password=b"secret").leave()
    Raw(ready["mqtt"]["port"]).send(mq.Connect("x")).expect(mq.Connack(4)).closed()


def test_rsa_certificates(start_cloud):
    ready = start_cloud("--key-type=rsa")
    with open(ready["ca_pem"], "rb") as f:
        from cryptography import x509

        assert x509.load_pem_x509_certificate(f.read()).public_key().key_size == 2048
    Raw(ready["mqtt"]["tls_port"], tls=pki.client_context(ready["ca_pem"])).send(
        mq.Connect("x")
    ).expect(mq.Connack(5))


# ---- what it says when it can't


ALL_ZERO = [text for port in processes.CLOUD_PORTS for text in (port, "0")]


@pytest.mark.parametrize("option", ["--mqtt-port", "--wss-port", "--http-port", "--https-port"])
def test_a_port_that_is_taken(option):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        status, out, err = run(*ALL_ZERO, option, port)
    assert status == 1 and out == "" and "Traceback" not in err
    assert "port %d of 127.0.0.1 (%s) is taken" % (port, option) in err


def test_a_state_directory_in_use_or_impossible(start_cloud, tmp_path):
    start_cloud(state=tmp_path / "used")
    status, _, err = run(*ALL_ZERO, "--state", tmp_path / "used")
    assert status == 1 and "in use by another local cloud" in err
    (tmp_path / "file").write_text("x")
    status, _, err = run(*ALL_ZERO, "--state", tmp_path / "file")
    assert status == 1 and "can't be used" in err and "Traceback" not in err
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "ibm-abc123.json").write_text("{")
    status, _, err = run(*ALL_ZERO, "--state", tmp_path / "damaged")
    assert status == 1 and "ibm-abc123.json is damaged: delete it" in err
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "cloud.db").write_bytes(b"junk" * 1000)
    status, _, err = run(*ALL_ZERO, "--state", tmp_path / "bad")
    assert status == 1 and "can't be used as a database" in err and "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--mqtt-port", "70000"],
        ["--mqtt-port", "x"],
        ["--ibm-org", "toolong1"],
        ["--ibm-device", "no-token"],
        ["--ibm-device", "a/b:c:d"],
        ["--ibm-key", "wrong:token"],
        ["--ibm-history", "0"],
        ["--nonsense"],
    ],
)
def test_bad_options_are_told(arguments):
    status, out, err = run(*arguments)
    assert status == 2 and out == "" and arguments[0] in err


def test_help_explains_every_option():
    status, out, _ = run("--help")
    assert status == 0
    for option in (
        "--host --state --mqtt-port --mqtts-port --ws-port --wss-port --http-port --https-port"
        " --tv-provision-port --tv-port --push-port --push-tls-port --open-broker --ibm-org"
    ).split():
        assert option in out
    assert "1883" in out and "8883" in out


# ---- killed


def test_nothing_that_was_acknowledged_is_lost_on_kill_9(start_cloud, tmp_path):
    state = tmp_path / "state"
    ready = start_cloud(state=state)
    app = application(ready, clean=False).subscribe(("iot-2/type/+/id/+/evt/+/fmt/+", 2))
    app.leave()
    key = ready["ibm"]["application"]
    http = Http(
        int(ready["http"]["tls_url"].rpartition(":")[2]), ready["ca_pem"], key["key"], key["token"]
    )
    made = http("POST", "/api/v0001/devices", {"type": "t", "id": "kept"})
    gone = http("POST", "/api/v0001/devices", {"type": "t", "id": "gone"})
    assert made[0] == gone[0] == 201 and http("DELETE", "/api/v0001/devices/t/gone")[0] == 204
    publisher = device(ready)
    acknowledged = []
    for i in range(1, 501):
        qos = 1 + i % 2
        publisher.send(mq.Publish("iot-2/evt/e/fmt/json", b'{"d":{"i":%d}}' % i, qos, pid=i))
    # Killed in the midst of it: only what was acknowledged by then counts.
    while len(acknowledged) < 300:
        acknowledged.append(publisher.read().pid)
    ready["process"].signal(signal.SIGKILL)
    while True:
        packet = publisher.read()
        if packet is None:
            break
        acknowledged.append(packet.pid)
    assert ready["process"].wait(10) == -signal.SIGKILL

    ready = start_cloud(state=state)
    app = application(ready, clean=False, present=True)
    received = []
    while not set(acknowledged) <= set(received):
        packet = app.read()
        if packet.type == mq.PUBREL:
            app.send(mq.Pubcomp(packet.pid))
            continue
        received.append(json.loads(packet.payload)["d"]["i"])
        app.send(mq.Puback(packet.pid) if packet.qos == 1 else mq.Pubrec(packet.pid))
    assert len(set(received)) == len(received) and received == sorted(received)
    http = Http(
        int(ready["http"]["tls_url"].rpartition(":")[2]), ready["ca_pem"], key["key"], key["token"]
    )
    assert http("GET", "/api/v0001/devices/t/kept")[0] == 200
    assert http("GET", "/api/v0001/devices/t/gone")[0] == 404
    recorded = []
    headers = {}
    while True:
        _, answer, page = http("GET", "/api/v0001/historian/board/board-1", **headers)
        if not page:
            break
        recorded += [record["evt"]["i"] for record in page]
        headers = {
            "cursorId": answer["cursorId"],
            "Cookie": answer["Set-Cookie"].partition(";")[0],
        }
    assert set(acknowledged) <= set(recorded)
    assert len(set(recorded)) == len(recorded)
