"""
tools/bench/link.py: that it measures what it says, on a small scale. Speeds are never judged here;
what is exact (writes, segments, bytes, garbage) is.
"""

import json
import os
import socket
import subprocess
import sys
import textwrap

import pytest
import workshop

TOOLS = workshop.ROOT / "tools"

pytestmark = pytest.mark.skipif(
    not workshop.micropython(), reason=workshop.why_no_micropython() or "needs MicroPython"
)


def bench(*arguments):
    command = [sys.executable, TOOLS / "bench", "link"] + list(arguments)
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """(what a short run printed, the JSON it wrote)"""
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    done = bench(
        "--quick",
        "--only",
        "qos1,wire,receive",
        "--lines",
        "loopback",
        "--no-delay-line",
        "--json",
        path,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout, json.loads(path.read_text())


def row(found, figure, client):
    rows = [row for row in found["rows"] if row["figure"] == figure and row["client"] == client]
    assert len(rows) == 1, (figure, client)
    return rows[0]


def test_every_client_has_a_rate_and_its_ratio_to_umqtt_simple(quick):
    found = quick[1]
    base = row(found, "QoS 1, one at a time", "umqtt.simple")
    assert base["value"] > 0 and base["ratio"] is None
    for client in ("MQTTLink", "umqtt.robust", "paho-mqtt"):
        one = row(found, "QoS 1, one at a time", client)
        assert one["ratio"] == pytest.approx(one["value"] / base["value"], abs=0.01)
        assert one["samples"] and one["line"] == "loopback" and one["in_flight"] == 1


def test_what_a_client_cannot_do_is_said_and_its_best_is_the_measure(quick):
    found = quick[1]
    cannot = row(found, "QoS 1, 20 in flight", "umqtt.simple")
    assert cannot["value"] is None and cannot["text"] == "cannot"
    ours = row(found, "QoS 1, 20 in flight", "MQTTLink")
    best = row(found, "QoS 1, one at a time", "umqtt.simple")["value"]
    assert ours["ratio"] == pytest.approx(ours["value"] / best, abs=0.01)


def test_writes_per_publish_are_counted(quick):
    for figure in ("plain: write calls", "TLS: write calls"):
        assert row(quick[1], figure, "umqtt.simple")["value"] == 4
        assert row(quick[1], figure, "MQTTLink")["value"] == 1


def test_what_a_client_receives_is_counted(quick):
    for client in ("MQTTLink", "umqtt.simple", "paho-mqtt"):
        for figure in ("QoS 0, 10 bytes", "QoS 1, 10 bytes", "QoS 0, 1 KB", "QoS 1, 1 KB"):
            assert row(quick[1], figure, client)["value"] > 0


def test_the_table_shows_the_same(quick):
    text, found = quick
    line = next(line for line in text.split("\n") if "QoS 1, 20 in flight" in line)
    assert "cannot" in line and "shall" in text
    assert "{:,.0f}".format(row(found, "QoS 1, 20 in flight", "MQTTLink")["value"]) in line


def test_what_was_left_out_is_said_and_not_made_up(quick):
    text, found = quick
    assert found["left_out"] and found["left_out"][0] in text
    assert not [row for row in found["rows"] if "segments" in row["figure"]]


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--only", "speed"], "--only: speed is none of qos0"),
        (["--lines", "30"], "--lines: 30 is none of loopback"),
        (["--client", "mqtt_as"], "say NAME=PATH"),
        (["--client", "mosquitto=/bin/ls"], "say NAME=PATH"),
        (["--client", "mqtt_as=/no/such/file.py"], "there is no file /no/such/file.py"),
    ],
)
def test_a_bad_option_is_named(arguments, text):
    done = bench(*arguments)
    assert done.returncode == 2
    assert text in done.stdout


def test_another_client_gets_the_name_programs_import_it_by(tmp_path):
    from bench import contenders as bench_contenders

    source = tmp_path / "newer.py"
    source.write_text("class MQTTClient:\n pass\n")
    line_up = bench_contenders.line_up(
        ["umqtt.simple@new=" + str(source), "mqtt_as=" + str(source)], tmp_path
    )
    labels = [contender.label for contender in line_up]
    assert labels[0] == "MQTTLink" and labels[-1] == "paho-mqtt"
    newer = next(contender for contender in line_up if contender.label == "umqtt.simple@new")
    package = newer.more[-1] / "umqtt"
    assert (package / "simple.py").read_text() == source.read_text()
    assert (package / "robust.py").exists()


def test_a_client_that_hangs_is_ended_and_reported(tmp_path):
    """umqtt.simple waits for ever for a CONNACK; the bench does not."""
    from bench import contenders as bench_contenders
    from bench import stalls as bench_stalls

    class Run:
        """As much of a run as one stall needs."""

        class plan:
            stall_s = 1
            keepalive = 2

        failures = []

        def job(self, contender, task, line, tls, **more):
            at = {"host": "127.0.0.1", "port": server.getsockname()[1], "tls": None}
            return dict(at, task=task, id="hang", **more)

    never_answers = bench_stalls.kinds(False)[0]
    ours, umqtt = bench_contenders.line_up([], tmp_path)[:2]
    with socket.create_server(("127.0.0.1", 0)) as server:
        hung = bench_stalls.run(Run(), never_answers, umqtt)
        lived = bench_stalls.run(Run(), never_answers, ours)
    assert hung == {"longest": None, "noticed_s": None, "error": "it hung"}
    assert lived["longest"] > 0
    assert Run.failures == []


def test_report_ratios_and_verdicts():
    from bench import report as bench_report

    report = bench_report.Report(["MQTTLink", "umqtt.simple"])
    report.add("A", "rate", "umqtt.simple", 20.0)
    report.add("A", "rate", "MQTTLink", 50.0, line="loopback")
    report.add("A", "not here", "MQTTLink", text=bench_report.NOT_MEASURED)
    report.add("A", "hung", "MQTTLink", text="> 14 s")
    for label in ("rate", "not here", "hung"):
        report.aim("A", label, "> 40", lambda value, figure: value > 40)
    ours = {row["figure"]: row for row in report.rows() if row["client"] == "MQTTLink"}
    assert ours["rate"]["ratio"] == 2.5 and ours["rate"]["met"] is True
    assert ours["not here"]["met"] is None
    assert ours["hung"]["met"] is False
    assert "50 (2.5x)" in report.table()
    assert json.loads(report.as_json(machine={}))["rows"] == report.rows()


_LINE_PROGRAM = """
import json, socket, sys, threading, time
from bench import delay_line

try:
    delay_line.enter_namespace()
    line = delay_line.DelayLine()
except delay_line.Unavailable as error:
    print(json.dumps({"unavailable": str(error)}))
    sys.exit()
listener = socket.socket()
listener.bind((delay_line.LOCAL, 0))
listener.listen()
port = listener.getsockname()[1]


def echo():
    while True:
        sock = listener.accept()[0]
        data = sock.recv(100)
        sock.sendall(data * 2)


threading.Thread(target=echo, daemon=True).start()
found = {}
for rtt in (0, 50):
    address = line.address(rtt, 7)
    start = time.monotonic()
    client = socket.create_connection((address, port), 5)
    connected = time.monotonic()
    client.sendall(b"x" * 10)
    client.recv(100)
    found[rtt] = [connected - start, time.monotonic() - connected, line.counts(address)]
line.vanish(line.address(0, 8))
try:
    socket.create_connection((line.address(0, 8), port), 1)
    found["vanished"] = False
except socket.timeout:
    found["vanished"] = True
line.stop()
print(json.dumps(found))
"""


def test_the_delay_line_delays_counts_and_makes_vanish():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_LINE_PROGRAM)],
        env=dict(os.environ, PYTHONPATH=str(TOOLS)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if "unavailable" in found:
        pytest.skip(found["unavailable"])
    # A delay is never shorter than asked for; how much longer is the machine's business.
    assert found["50"][0] >= 0.05 and found["50"][1] >= 0.05
    for rtt in ("0", "50"):
        counts = found[rtt][2]
        assert (counts["up"]["segments"], counts["up"]["payload"]) == (1, 10)
        assert (counts["down"]["segments"], counts["down"]["payload"]) == (1, 20)
        assert counts["up"]["packets"] >= 3  # SYN, its acknowledgement, the data
    assert found["vanished"]


def test_garbage_is_counted_on_a_32_bit_heap(heap32, tmp_path):
    from bench import contenders as bench_contenders
    from bench import link as bench

    by_label = {one.label: one for one in bench_contenders.line_up([], tmp_path)}
    umqtt = bench.heap32_figures(by_label["umqtt.simple"])
    assert umqtt["qos0"] == 64  # a bytearray and a packed length
    assert umqtt["import"] > 3000
    ours = bench.heap32_figures(by_label["MQTTLink"])
    assert not isinstance(ours, Exception), str(ours)
    assert ours["qos0"] < umqtt["qos0"]
    assert ours["idle"] == 0
