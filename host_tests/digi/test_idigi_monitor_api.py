"""
The Digi push monitor client: monitors over HTTP, sessions over TCP, and what a bad network does.

The service side is localcloud.digi in this process (`digi`), or a script that sends exact bytes.
"""

import contextlib
import json
import random
import re
import signal
import socket
import struct
import threading
import time
import zlib

import pytest
import workshop
from board_rig import DOUBLES
from cpython_port import Port
from cpython_port.device import OSError as DeviceError
from digi_rig import (
    ACCEPTED,
    NOBODY,
    PASSWORD,
    Device,
    ack,
    answering,
    block,
    connect_request,
    nothing,
    read_exactly,
    scripted,
)
from hypothesis import given
from hypothesis import strategies as st
from localcloud import pki
from localcloud.digi import FAULTS
from waiting import until
from device_program import program

SECRET = PASSWORD
API = Port([str(workshop.LIB), str(workshop.DEVICE_LIB)]).load("idigi_monitor_api")


class Says:
    """
    Sends data on each connection and reads so many bytes, which are in heard. For scripted() and
    play_loop().
    """

    def __init__(self, data, wanted=10):
        self.data = data
        self.wanted = wanted
        self.heard = []

    def __call__(self, sock, number):
        sock.sendall(self.data)
        self.heard.append(read_exactly(sock, self.wanted))


def seen(reports, key):
    return [report[key] for report in reports if key in report]


# ---- monitors


def test_create_monitor_with_the_defaults_of_2012(board, digi):
    made = (
        Device(board, digi)
        .run(
            'report(id=client.create_monitor(["DeviceCore", "FileData"]))',
        )
        .report["id"]
    )
    assert isinstance(made, str)
    row = digi.monitor(made).row()
    assert row["monTopic"] == "DeviceCore,FileData"
    assert row["monTransportType"] == "tcp"
    assert row["monBatchSize"] == "1"
    assert row["monBatchDuration"] == "0"
    assert row["monFormatType"] == "json"
    assert row["monCompression"] == "zlib"  # asked for as gzip
    assert "monAckOption" not in row and "monAutoReplayOnConnect" not in row


def test_create_monitor_with_newer_options(board, digi):
    made = (
        Device(board, digi)
        .run(
            """
report(id=client.create_monitor("DataPoint[U]", 20, 3, "zlib", "xml", ackOption="explicit",
                                autoReplay=True, description="<Tür> & \\"Tor\\""))
""",
        )
        .report["id"]
    )
    row = digi.monitor(made).row()
    assert row["monTopic"] == "DataPoint[U]"
    assert (row["monBatchSize"], row["monBatchDuration"]) == ("20", "3")
    assert (row["monCompression"], row["monFormatType"]) == ("zlib", "xml")
    assert row["monAckOption"] == "explicit"
    assert row["monAutoReplayOnConnect"] == "true"
    assert row["monDescription"] == '<Tür> & "Tor"'


def test_create_monitor_request(board):
    """The name gzip goes out as it was given: services of any age know it."""
    with answering((201, {"Location": "Monitor/7"}, b"")) as web:
        report = (
            Device(board, web)
            .run(
                'report(id=client.create_monitor(["DeviceCore"], autoReplay=False))',
            )
            .report
        )
    assert report["id"] == "7"
    ((method, path, headers, body),) = web.requests
    assert (method, path) == ("POST", "/ws/Monitor")
    assert headers["Content-Type"] == "text/xml"
    assert headers["Authorization"].startswith("Basic ")
    assert body.decode() == (
        "<Monitor><monTransportType>tcp</monTransportType><monTopic>DeviceCore</monTopic>"
        "<monBatchSize>1</monBatchSize><monBatchDuration>0</monBatchDuration>"
        "<monFormatType>json</monFormatType><monCompression>gzip</monCompression>"
        "<monAutoReplayOnConnect>false</monAutoReplayOnConnect></Monitor>"
    )


@pytest.mark.parametrize(
    "headers, body",
    [
        ({"Location": "Monitor/178008"}, b""),
        ({"Location": "https://remotemanager.digi.com/ws/Monitor/178008"}, b"<result/>"),
        (
            {},
            b'<?xml version="1.0" encoding="ISO-8859-1"?><result>'
            b"<location>Monitor/178008</location></result>",
        ),
    ],
    ids=["header", "whole URL", "body"],
)
def test_create_monitor_finds_the_id_in_either_place(board, headers, body):
    with answering((201, headers, body)) as web:
        report = (
            Device(board, web)
            .run(
                'report(id=client.create_monitor(["DeviceCore"]))',
            )
            .report
        )
    assert report == {"id": "178008"}


@pytest.mark.parametrize(
    "arguments, named",
    [
        ('"DeviceCore", compression="bzip2"', "bzip2"),
        ('"DeviceCore", format_type="yaml"', "yaml"),
        ('"DeviceCore", ackOption="on"', "on"),
    ],
)
def test_create_monitor_refuses_unknown_words(board, arguments, named):
    report = (
        Device(board, NOBODY)
        .run(
            """
try:
    client.create_monitor({})
except ValueError as e:
    report(text=str(e))
""".format(arguments),
        )
        .report
    )
    assert named in report["text"]


def test_get_monitor(board, digi):
    """The first tcp one with exactly these topics; one pushed to a web server is passed over."""
    http_one = {"TransportType": "http", "TransportUrl": "http://127.0.0.1:9/"}
    digi.make("Alarm,Job", **http_one)
    wanted = digi.make("Alarm,Job")
    digi.make("Alarm,Job")
    report = (
        Device(board, digi)
        .run(
            """
report(found=client.get_monitor(["Alarm", "Job"]), none=client.get_monitor(["Job"]))
""",
        )
        .report
    )
    assert report == {"found": str(wanted), "none": None}


def test_delete_monitor(board, digi):
    one, two = digi.make(), digi.make()
    report = (
        Device(board, digi)
        .run(
            """
client.delete_monitor(one)
client.delete_monitor(str(two))
try:
    client.delete_monitor(one)
except MonitorError as e:
    report(text=str(e), status=e.status)
""",
            one=one,
            two=two,
        )
        .report
    )
    assert one not in digi.digi.monitors and two not in digi.digi.monitors
    assert report["status"] == 404
    assert report["text"].startswith("Monitor Could not be Deleted (404): ")


@pytest.mark.parametrize("status", [400, 401, 403, 500, 302])
def test_http_errors_have_the_documented_text(board, status):
    body = b"<result><error>no \xfc</error></result>"
    with answering(*[(status, {}, body)] * 3) as web:
        reports = (
            Device(board, web)
            .run(
                """
def attempt(f, *args):
    try:
        f(*args)
    except Exception as e:
        report(text=str(e), status=e.status, name=type(e).__name__)

attempt(client.create_monitor, ["DeviceCore"])
attempt(client.get_monitor, ["DeviceCore"])
attempt(client.delete_monitor, 1)
""",
            )
            .reports
        )
    for report, word in zip(reports, ("Created", "Retrieved", "Deleted")):
        assert report["name"] == "MonitorError"
        assert report["status"] == status
        text = "Monitor Could not be {} ({}): {}".format(word, status, body.decode("iso-8859-1"))
        assert report["text"] == text
        assert SECRET not in text


def test_wrong_password_is_not_told(board, digi):
    report = (
        Device(board, digi, password="quite-wrong-secret")
        .run(
            """
try:
    client.create_monitor(["DeviceCore"])
except MonitorError as e:
    report(text=str(e), status=e.status)
"""
        )
        .report
    )
    assert report["status"] == 401
    assert "quite-wrong-secret" not in report["text"]


def test_throttled_requests_are_tried_again(board, digi):
    digi.do(digi.digi.throttle, 1)
    report = (
        Device(board, digi)
        .run(
            """
waits = [0]
def on_wait():
    waits[0] += 1
client.on_wait = on_wait
report(id=client.create_monitor(["DeviceCore"]), waits=waits[0])
""",
        )
        .report
    )
    assert int(report["id"]) in digi.digi.monitors
    assert report["waits"] >= 200  # a watchdog is fed at least every 5 ms


def test_throttled_for_too_long_is_an_error(board):
    with answering(*[(429, {}, b"slow down")] * 5) as web:
        report = (
            Device(board, web, timeout=3600)
            .run(
                """
import sys
import idigi_monitor_api
from digi_clock import Clock
idigi_monitor_api.time = clock = Clock()
before = clock.now
try:
    client.create_monitor(["DeviceCore"])
except MonitorError as e:
    report(status=e.status, paused=clock.now - before)
""",
                before_lib=DOUBLES,
            )
            .report
        )
    assert report["status"] == 429
    assert len(web.requests) == 5
    assert report["paused"] >= 15000  # 1, 2, 4 and 8 s


def test_no_answer_is_an_error_in_time(board):
    """pain 01: a server that takes the request and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        report = (
            Device(board, NOBODY, port=silent.getsockname()[1], timeout=1)
            .run(
                """
try:
    client.create_monitor(["DeviceCore"])
except OSError as e:
    report(text=str(e))
"""
            )
            .report
        )
    assert "answer" in report["text"]


# Where a client would dial for a request and for a session: (host, port, whether with TLS).
WHERE_TO = """
import idigi_monitor_api
import rest

def where_to(client):
    dialled = []
    def spy(host, port, context=None, *more):
        dialled.append((host, port, context is not None))
        raise OSError("nobody is dialled here")
    idigi_monitor_api.NetStream = rest.NetStream = spy
    for call in (client.delete_monitor, lambda monitor: client.create_session(print, monitor)):
        try:
            call(1)
        except OSError:
            pass
    return dialled
"""


def test_tls_needs_a_root_certificate(board):
    report = board.run(
        """
from idigi_monitor_api import push_client
try:
    push_client("user", "password")
except ValueError as e:
    report(text=str(e))
push_client.ca_certs = {"verify": False}
"""
        + WHERE_TO
        + "report(where=where_to(push_client('user', 'password')))"
    ).reports
    assert "ca_certs" in report[0]["text"]
    host = "remotemanager.digi.com"
    assert report[1]["where"] == [[host, 443, True], [host, 3201, True]]


def test_plain_ports_are_the_documented_ones(board):
    report = board.run(
        """
from idigi_monitor_api import push_client
"""
        + WHERE_TO
        + "report(where=where_to(push_client('user', 'password', 'my.idigi.com', False)))"
    ).report
    assert report["where"] == [["my.idigi.com", 80, False], ["my.idigi.com", 3200, False]]


def test_a_foreign_certificate_is_refused(board, digi, tmp_path):
    """Neither monitors nor sessions give the password to who can't prove to be the service."""
    other = pki.Authority("another CA")
    (tmp_path / "other.der").write_bytes(other.der)
    reports = (
        Device(board, digi, ca_certs=str(tmp_path / "other.der"))
        .run(
            """
from netstream import TLSError
try:
    client.create_monitor(["DeviceCore"])
except TLSError as e:
    report(http=str(e.args[1]))
session = client.create_session(print, 1)
run(lambda: session.error, client)
report(push=str(session.error.args[1]), kind=isinstance(session.error, TLSError))
"""
        )
        .reports
    )
    assert reports[0]["http"].startswith("ca:")
    assert reports[1]["push"].startswith("ca:") and reports[1]["kind"]


# ---- a session


def test_connect_request_byte_by_byte(board):
    """A block as the protocol's description draws it."""
    with scripted(lambda sock, n: sock.sendall(ACCEPTED) or time.sleep(0.2)) as server:
        Device(board, server, username="user1", password="pw").run(
            """
session = client.create_session(print, "9001")
run(session.is_connected, client)
""",
        )
    wanted = "00 01 00 00 00 11 00 01 00 05 75 73 65 72 31 00 02 70 77 00 00 23 29"
    assert server.requests[0] == bytes.fromhex(wanted.replace(" ", ""))


def test_pain_18_user_and_password_are_counted_in_bytes(board, digi):
    """PASSWORD has an umlaut: its length in characters would be refused."""
    monitor = digi.make()
    Device(board, digi).run(
        """
session = client.create_session(print, monitor)
run(session.is_connected, client)
report(error=session.error)
""",
        monitor=monitor,
    )
    assert digi.monitor(monitor).last_connect


@pytest.mark.parametrize("what", ["monitor_id=None", "monitor_id=-1", "monitor_id='Monitor/7'"])
def test_a_bad_monitor_id_is_refused_at_once(board, what):
    report = (
        Device(board, NOBODY)
        .run(
            """
try:
    client.create_session(print, {})
except ValueError as e:
    report(text=str(e))
""".format(what),
        )
        .report
    )
    assert report["text"]


@pytest.mark.parametrize("secure", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("format_type", ["json", "xml"])
@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_callback_gets_the_payload(board, digi, secure, format_type, compression):
    monitor = digi.make(
        FormatType=format_type, Compression=compression, BatchSize=3, BatchDuration=60
    )
    program = Device(board, digi, secure=secure).start(
        """
got = []
session = client.create_session(got.append, monitor)
run(session.is_connected, client)
report(up=True)
run(lambda: got, client)
report(data=got[0], kind=type(got[0]).__name__)
""",
        monitor=monitor,
    )
    program.next_report()
    for value in (1, "zwölf", 2.5):
        digi.point(value)
    report = program.next_report()
    assert report["kind"] == "bytes"
    if format_type == "json":
        points = json.loads(report["data"])["Document"]["Msg"]
        assert [point["DataPoint"]["data"] for point in points] == [1, "zwölf", 2.5]
    else:
        assert report["data"].startswith("<Document><Msg topic=")
        assert re.findall("<data>(.*?)</data>", report["data"]) == ["1", "zwölf", "2.5"]


def test_only_true_is_acknowledged_with_ten_bytes(board):
    """Traps 29 and 31: the published SDKs' six-byte ack, and their callbacks that return None."""
    heard = []

    def play(sock, number):
        sock.sendall(ACCEPTED)
        for n in range(6):
            sock.sendall(block(0x0700 + n, b'{"n":%d}' % n))
        heard.append(read_exactly(sock, 20))
        heard.append(nothing(sock))

    with scripted(play) as server:
        report = (
            Device(board, server)
            .run(
                """
got = []
answers = [None, True, False, 1, "yes", True]
def callback(data):
    got.append(data)
    return answers[len(got) - 1]
session = client.create_session(callback, 5)
run(lambda: session.error, client)
report(got=len(got))
""",
            )
            .report
        )
    assert report["got"] == 6
    assert heard == [ack(0x0701) + ack(0x0705), True]
    assert ack(0x0701) == bytes.fromhex("0004 0000 0004 0701 00c8".replace(" ", ""))


def test_messages_of_a_batch_one_by_one(board, digi):
    monitor = digi.make(Compression="zlib", BatchSize=50, BatchDuration=60, AckOption="explicit")
    program = Device(board, digi).start(
        """
def callback(messages):
    report(kind=type(messages).__name__)
    for message in messages:
        report(topic=message["topic"], data=message["DataPoint"]["data"])
    return True
session = client.create_session(callback, monitor, messages=True)
run(session.is_connected, client)
report(up=True)
while True:
    client.do_next(100)
""",
        monitor=monitor,
    )
    assert program.next_report() == {"up": True}
    for n in range(50):
        digi.point(n, "dev/{}")
    assert program.next_report() == {"kind": "generator"}
    for n in range(50):
        assert program.next_report() == {"topic": "3/DataPoint/dev/{}", "data": n}
    digi.wait(lambda: not digi.monitor(monitor).unacked, "the acknowledgement")


def test_messages_that_turn_out_damaged_are_not_acknowledged(board):
    """The good ones before the damage are seen; BlockError ends the loop and comes to on_skip."""
    good = b'{"Document":{"Msg":[{"n":1},{"n":2},'
    whole = b'{"Document":{"Msg":{"n":4}}}'
    broken = block(3, b"<Document><Msg>1</Msg><Msg>2", format_type=0)
    play = Says(
        ACCEPTED + block(1, good) + block(2, good + b'{"n":nope}]}}') + broken + block(4, whole)
    )
    with scripted(play) as server:
        report = (
            Device(board, server)
            .run(
                """
got = []
skipped = []
def callback(messages):
    for message in messages:
        got.append(message)
    return True
def on_skip(number, size, why):
    skipped.append((number, size, type(why).__name__))
session = client.create_session(callback, 5, messages=True)
session.on_skip = on_skip
run(lambda: session.error, client)
report(got=got, skipped=skipped)
""",
            )
            .report
        )
    bad = [{"n": 1}, {"n": 2}]
    assert report["got"] == bad + bad + ["<Msg>1</Msg>", {"n": 4}]
    assert [entry[0] for entry in report["skipped"]] == [1, 2, 3]
    assert {entry[2] for entry in report["skipped"]} == {"BlockError"}
    assert play.heard == [ack(4)]


def test_hooks_tell_up_and_down(board, digi):
    monitor = digi.make()
    program = Device(board, digi).start(
        """
session = client.create_session(print, monitor)
session.backoff_ms = 50
session.on_up = lambda: report(up=session.is_connected())
session.on_down = lambda error: report(down=isinstance(error, OSError), up=session.is_connected())
while True:
    client.do_next(100)
""",
        monitor=monitor,
    )
    assert program.next_report() == {"up": True}
    digi.cut()
    assert program.next_report() == {"down": True, "up": False}
    assert program.next_report() == {"up": True}


def test_stop_and_start(board, digi):
    monitor = digi.make(AutoReplayOnConnect="true")
    program = Device(board, digi).start(
        """
import sys
session = client.create_session(lambda data: report(data=data), monitor)
run(session.is_connected, client)
session.stop()
report(stopped=client.sessions == [], connected=session.is_connected(), step=client.do_next(10))
sys.stdin.readline()
session.start()
session.start()
report(sessions=len(client.sessions))
run(lambda: False, client)
""",
        monitor=monitor,
    )
    assert program.next_report() == {"stopped": True, "connected": False, "step": False}
    digi.wait_status(monitor, "SUSPENDED")
    digi.point("missed")
    program.send("go on")
    assert program.next_report() == {"sessions": 1}
    data = json.loads(program.next_report()["data"])["Document"]["Msg"]
    assert (data["DataPoint"]["data"], data["replay"]) == ("missed", True)


def test_a_callback_may_stop_its_session_and_is_still_acknowledged(board):
    heard = []

    def play(sock, number):
        sock.sendall(ACCEPTED + block(9, b"{}") + block(10, b"{}"))
        heard.append(read_exactly(sock, 10))
        try:
            heard.append(sock.recv(1))
        except ConnectionError:  # block 10 was never read
            heard.append(b"")

    with scripted(play) as server:
        program = Device(board, server).start(
            """
import sys
got = []
def callback(data):
    got.append(data)
    client.stop_all()
    return True
session = client.create_session(callback, 5)
run(lambda: got, client)
report(got=len(got), sessions=len(client.sessions), worked=client.do_next(20))
sys.stdin.readline()
""",
        )
        assert program.next_report() == {"got": 1, "sessions": 0, "worked": False}
        until(lambda: len(heard) == 2, what="the end of the connection")
    assert heard == [ack(9), b""]


def test_what_a_callback_raises_comes_out_of_do_next(board):
    """The block stays unacknowledged, the session goes on."""
    play = Says(ACCEPTED + block(1, b"{}") + block(2, b"{}"))
    with scripted(play) as server:
        report = (
            Device(board, server)
            .run(
                """
got = []
raised = []
def callback(data):
    got.append(data)
    if len(got) == 1:
        raise KeyError("the program's own")
    return True
session = client.create_session(callback, 5)
while len(got) < 2:
    try:
        client.do_next(50)
    except KeyError as e:
        raised.append(e.args[0])
report(raised=raised, error=session.error)
""",
            )
            .report
        )
    assert report == {"raised": ["the program's own"], "error": None}
    assert play.heard == [ack(2)]


def test_several_sessions_in_one_client(board, digi):
    """
    Each hears its own; one whose callback always raises keeps nobody from anything; a quiet one
    holds nobody up (twenty blocks, each sent when the last is acknowledged, a wait of 1 s each).
    """
    monitors = [digi.make("DataPoint/dev{}".format(n), AckOption="explicit") for n in range(4)]
    program = Device(board, digi, secure=False).start(
        """
import json
seen = [0, 0, 0, 0]
def listener(n):
    def callback(data):
        seen[n] += 1
        if n == 0:
            raise ValueError
        assert json.loads(data)["Document"]["Msg"]["DataPoint"]["streamId"] == "dev%d/x" % n
        return True
    return callback
sessions = [client.create_session(listener(n), monitors[n]) for n in range(4)]
run(lambda: all(s.is_connected() for s in sessions), client)
report(up=True)
raised = 0
while seen[1:] != [20, 20, 20]:
    try:
        client.do_next(1000)
    except ValueError:
        raised += 1
report(raised=raised, seen=seen)
client.stop_all()
""",
        monitors=monitors,
    )
    program.next_report()
    for _ in range(20):
        for n in range(4):
            digi.point(1, "dev{}/x".format(n))
    report = program.next_report(12)
    assert report["seen"] == [1, 20, 20, 20]
    assert report["raised"] == 1
    for monitor in monitors[1:]:
        digi.wait(lambda m=monitor: not digi.monitor(m).unacked)


def test_a_callback_that_calls_do_next_gets_nothing_done(board, digi):
    monitor = digi.make()
    program = Device(board, digi).start(
        """
def callback(data):
    report(inner=session.do_next(), all=client.do_next())
session = client.create_session(callback, monitor)
run(session.is_connected, client)
report(up=True)
run(lambda: False, client)
""",
        monitor=monitor,
    )
    program.next_report()
    digi.point(1)
    assert program.next_report() == {"inner": False, "all": False}


# ---- who drives

# A whole program as the library's document has them: a callback, a loop that only sleeps, Ctrl-C.
SLEEPER = """
import json
import time
from idigi_monitor_api import push_client

cloud = push_client("alice", {password!r})
watched = cloud.create_monitor(["DeviceCore", "FileData"])

def on_block(block):
    print("block " + json.dumps(json.loads(block)))

try:
    cloud.create_session(on_block, watched)
    while True:
        time.sleep(0.25)
except KeyboardInterrupt:
    print("leaving")
finally:
    cloud.stop_all()
    cloud.delete_monitor(watched)
    print("left")
"""


def test_a_program_that_only_sleeps_runs_as_it_is(board, digi):
    """Where to connect is set once, as a board's boot.py would."""
    before = set(digi.digi.monitors)
    program = board.start(
        """
import idigi_monitor_api
for name, value in K.items():
    setattr(idigi_monitor_api.push_client, name, value)
"""
        + SLEEPER.format(password=PASSWORD),
        K={
            "hostname": "localhost",
            "ca_certs": digi.ca,
            "port": digi.https_port,
            "push_port": digi.push_tls_port,
        },
    )
    digi.wait(lambda: set(digi.digi.monitors) - before, "the monitor")
    (monitor,) = set(digi.digi.monitors) - before
    digi.wait_status(monitor, "ACTIVE")
    digi.do(digi.digi.device_connected, "gateway", False)
    line = program.process.next_line(15)
    assert line.startswith("block ")
    message = json.loads(line[len("block ") :])["Document"]["Msg"]
    assert message["DeviceCore"]["dpConnectionStatus"] == 0
    assert message["topic"].startswith("3/DeviceCore/")
    program.process.signal(signal.SIGINT)
    assert program.process.next_line(15) == "leaving"
    assert program.process.next_line(15) == "left"
    assert program.wait().rc == 0
    assert monitor not in digi.digi.monitors


def test_do_next_takes_over_from_the_thread(board, digi):
    """From then on callbacks come from do_next() only; a new session starts no thread."""
    one, two = digi.make("DataPoint/a"), digi.make("DataPoint/b")
    program = Device(board, digi).start(
        """
import _thread
main = _thread.get_ident()
def callback(data):
    report(own=_thread.get_ident() == main)
first = client.create_session(callback, one)
while not first.is_connected():
    time.sleep_ms(10)
report(thread=True)
import sys
sys.stdin.readline()
client.do_next()
second = client.create_session(callback, two)
report(second=True)
run(second.is_connected, client)
run(lambda: False, client)
""",
        one=one,
        two=two,
    )
    assert program.next_report() == {"thread": True}
    digi.point(1, "a/x")
    assert program.next_report() == {"own": False}
    program.send("take over")
    assert program.next_report() == {"second": True}
    digi.wait_status(two, "ACTIVE")
    digi.point(1, "a/x")
    assert program.next_report() == {"own": True}
    digi.point(1, "b/x")
    assert program.next_report() == {"own": True}


def test_the_thread_survives_a_raising_callback_and_ends_with_stop_all(board, digi):
    monitor = digi.make()
    program = Device(board, digi).start(
        """
got = []
def callback(data):
    got.append(data)
    raise ValueError("of the program")
session = client.create_session(callback, monitor)
while not session.is_connected():
    time.sleep_ms(10)
report(up=True)
while len(got) < 3:
    time.sleep_ms(10)
client.stop_all()
report(sessions=len(client.sessions), got=len(got))
session = client.create_session(callback, monitor)
while not session.is_connected():
    time.sleep_ms(10)
report(again=True)
client.stop_all()
""",
        monitor=monitor,
    )
    program.next_report()
    for n in range(3):
        digi.point(n)
    assert program.next_report() == {"sessions": 0, "got": 3}
    assert program.next_report() == {"again": True}
    done = program.wait()
    assert done.rc == 0
    told = [line for line in (done.out + done.err).splitlines() if line.startswith("ValueError")]
    assert told == ["ValueError: of the program"] * 3


def test_without_threads_nothing_runs_by_itself(board, digi):
    monitor = digi.make()
    report = (
        Device(board, digi, threads=False)
        .run(
            """
session = client.create_session(print, monitor)
time.sleep_ms(300)
report(connected=session.is_connected(), error=session.error)
""",
            monitor=monitor,
        )
        .report
    )
    assert report == {"connected": False, "error": None}


# ---- a bad network: one script for each way


LOOP = """
got = []
skipped = []
downs = []
steps = [0]

def callback(data):
    got.append(data)
    return True

def on_skip(number, size, why):
    skipped.append((number, size, type(why).__name__))
    return take_skipped

session = client.create_session(callback, 5)
session.backoff_ms = 50
session.on_skip = on_skip
session.on_down = downs.append
run(lambda: len(got) >= wanted, client)
report(got=got, skipped=skipped, downs=[str(e) for e in downs], count=session.skipped)
"""


def play_loop(board, play, wanted, source=LOOP, take_skipped=False, heap=None, **arguments):
    with scripted(play) as server:
        report = loop(board, server, wanted, source, take_skipped, heap, **arguments)
    return report, server


def loop(board, server, wanted, source=LOOP, take_skipped=False, heap=None, **arguments):
    device = Device(board, server, **arguments)
    return device.run(source, heap=heap, wanted=wanted, take_skipped=take_skipped).report


good = Says(ACCEPTED + block(1, b"good"))


def test_pain_24_split_at_every_byte(board):
    """A block is seen when it is whole, wherever TCP cuts it; trap 32."""
    payload = b'{"Document":{"Msg":[]}}'
    stream = block(0x0102, payload)
    heard = []

    def play(sock, number):
        for at in range(1, len(ACCEPTED)) if number == 0 else ():
            sock.sendall(ACCEPTED[at - 1 : at])
            time.sleep(0.002)
        sock.sendall(ACCEPTED[-1:])
        for at in range(1, len(stream)):
            sock.sendall(stream[:at])
            time.sleep(0.003)
            sock.sendall(stream[at:])
        for byte in stream:
            sock.sendall(bytes([byte]))
            time.sleep(0.001)
        heard.append(read_exactly(sock, 10 * len(stream)))

    report, _ = play_loop(board, play, len(stream))
    assert report["got"] == [payload.decode()] * len(stream)
    assert heard == [ack(0x0102) * len(stream)]
    assert not report["skipped"]


def test_a_cut_at_every_byte_of_a_block(board):
    """Half a block is never delivered and never acknowledged; what comes again is."""
    stream = block(3, b'{"whole":1}')
    whole = Says(ACCEPTED + stream)

    def play(sock, number):
        if number < len(stream):
            sock.sendall(ACCEPTED + stream[:number])
        else:
            whole(sock, number)

    source = LOOP.replace("backoff_ms = 50", "backoff_max_ms = 1")
    report, _ = play_loop(board, play, 1, source)
    assert report["got"] == ['{"whole":1}']
    assert len(report["downs"]) == len(stream)
    assert whole.heard == [ack(3)]


TROUBLE = {
    # name: (what comes before a good block, its size, and the exception that on_skip hears)
    "unknown type": (b"\0\x09\0\0\0\x05hello", None, 5, "BlockError"),
    "answer again": (ACCEPTED, None, 4, "BlockError"),
    "unknown type, empty": (b"\xff\xff\0\0\0\0", None, 0, "BlockError"),
    "length 0": (b"\0\x03\0\0\0\0", None, 0, "BlockError"),
    "length 9": (b"\0\x03\0\0\0\x09" + bytes(9), None, 9, "BlockError"),
    "empty": (block(77, b""), 77, 0, "BlockError"),
    "oversize": (block(77, bytes(70000)), 77, 70000, "BlockError"),
    "just oversize": (block(77, bytes(4097)), 77, 4097, "BlockError"),
    "compression 2": (block(77, b"{}", compression=2), 77, 2, "BlockError"),
    "compression 255": (block(77, b"{}", compression=255), 77, 2, "BlockError"),
    "format 2": (block(77, b"{}", format_type=2), 77, 2, "BlockError"),
    "not zlib": (block(77, b"nonsense", compression=1), 77, 8, "OSError"),
    "gzip": (
        block(77, bytes.fromhex("1f8b08000000000002ffababe50200fdc1dbf003000000"), compression=1),
        77,
        23,
        "OSError",
    ),
    "zlib cut short": (
        block(77, zlib.compress(b"{}" * 50)[:-5], compression=1),
        77,
        None,
        "EOFError",
    ),
    "zlib checksum": (
        block(77, zlib.compress(b"{}" * 50)[:-1] + b"\xff", compression=1),
        77,
        None,
        "OSError",
    ),
    "bomb": (block(77, zlib.compress(bytes(3000000), 9), compression=1), 77, None, "BlockError"),
    "just too much": (
        block(77, zlib.compress(bytes(8193)), compression=1),
        77,
        None,
        "BlockError",
    ),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_a_block_that_cannot_be_used_is_passed_over(board, name):
    """pain 14: it is reported, not acknowledged, and the next one is as good as ever."""
    data, number, size, why = TROUBLE[name]
    heard = []

    def play(sock, _):
        sock.sendall(ACCEPTED + data + block(78, b"good"))
        heard.append(read_exactly(sock, 10))
        heard.append(nothing(sock, 10))  # until the program ends

    report, server = play_loop(board, play, 1, max_block=4096, max_data=8192, heap="160k")
    assert report["got"] == ["good"]
    assert heard == [ack(78), True]
    (skipped,) = report["skipped"]
    assert report["count"] == 1
    assert skipped[0] == number and skipped[2] == why
    assert size is None or skipped[1] == size
    assert len(server.requests) == 1


def test_limits_are_what_they_say(board):
    """max_block and max_data bytes are taken, one more isn't ("just ..." above)."""
    noise = bytes(i * i * 7 % 251 for i in range(4096))
    blank = zlib.compress(bytes(8192))
    play = Says(ACCEPTED + block(1, noise) + block(2, blank, compression=1), 20)
    source = LOOP.replace("got.append(data)", "got.append(len(data))")
    report, _ = play_loop(board, play, 2, source, max_block=4096, max_data=8192)
    assert report["got"] == [4096, 8192]


@pytest.mark.parametrize("half, max_data", [(3000, 6000), (12000, 24000), (16000, 32768)])
def test_zlib_may_look_back_as_far_as_there_is_data(board, half, max_data):
    """The window is no larger than max_data asks for, and large enough."""
    noise = random.Random(1).randbytes(half)
    play = Says(ACCEPTED + block(1, zlib.compress(noise * 2), compression=1))
    same = "got.append(hash(data) == hash(data[:%d] * 2))" % half
    source = LOOP.replace("got.append(data)", same)
    report, _ = play_loop(board, play, 1, source, max_data=max_data, max_block=20000)
    assert report["got"] == [True] and not report["skipped"]


def test_on_skip_may_acknowledge(board):
    """So that a server in explicit mode, which waits for it, goes on."""
    heard = []

    def play(sock, _):
        sock.sendall(ACCEPTED + b"\0\x09\0\0\0\0" + block(77, bytes(20000)))
        heard.append(read_exactly(sock, 10))
        sock.sendall(block(78, b"good"))
        heard.append(read_exactly(sock, 10))

    report, _ = play_loop(board, play, 1, take_skipped=True)
    assert heard == [ack(77), ack(78)]
    assert report["got"] == ["good"]


def test_a_message_by_message_bomb_is_stopped(board):
    """Sixteen times max_data in all, max_data for one message."""
    many = b'{"Document":{"Msg":[' + b'{"n":1},' * 20000 + b'{"n":1}]}}'
    one = b'{"Document":{"Msg":{"n":"' + b"x" * 9000 + b'"}}}'
    spaces = b" " * 1000000
    packed = [zlib.compress(data) for data in (many, one, spaces)]
    bombs = b"".join(block(n, data, compression=1) for n, data in enumerate(packed))
    with scripted(Says(ACCEPTED + bombs + block(9, b'{"Document":{"Msg":{"n":2}}}'))) as server:
        report = (
            Device(board, server, max_data=8192)
            .run(
                """
counts = []
skipped = []
def callback(messages):
    n = 0
    for message in messages:
        n += 1
    counts.append(n)
    return True
session = client.create_session(callback, 5, messages=True)
session.on_skip = lambda number, size, why: skipped.append(number)
run(lambda: counts, client, 60)
report(counts=counts, skipped=skipped)
""",
                timeout=90,
                heap="200k",
            )
            .report
        )
    assert report == {"counts": [1], "skipped": [0, 1, 2]}


def test_pain_14_no_memory_for_a_block(board):
    """Larger than the heap, though allowed: passed over, reported, and the session goes on."""
    if board.name == "cpython":
        pytest.skip("CPython's heap has no end")
    packed = block(2, zlib.compress(bytes(400000)), compression=1)
    play = Says(ACCEPTED + block(1, bytes(1000000)) + packed + block(3, b"good"))
    report, _ = play_loop(board, play, 1, heap="300k", max_block=1 << 21, max_data=1 << 21)
    assert report["got"] == ["good"]
    assert [(entry[0], entry[2]) for entry in report["skipped"]] == [
        (1, "MemoryError"),
        (2, "MemoryError"),
    ]


NOISE = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "0xff": b"\xff" * 64,
    "nothing": b"",
    "half an answer": ACCEPTED[:5],
    "wrong length": b"\0\x02\0\0\0\x05\0\xc8\0\x01\0",
    "wrong type": b"\0\x04\0\0\0\x04\0\xc8\0\x01",
}


@pytest.mark.parametrize("name", NOISE)
def test_pain_25_noise_instead_of_an_answer(board, name):
    def play(sock, number):
        if number == 0:
            sock.sendall(NOISE[name])
        else:
            good(sock, number)

    report, server = play_loop(board, play, 1)
    assert report["got"] == ["good"] and len(report["downs"]) == 1
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "noise",
    [
        b"\xff" * 64,
        b"\0\x03\xff\xff\xff\xff" + bytes(20),
        block(1, b"{}")[:12] + b"\0\0\0\x03{}",
        b"\0\x02\x01\0\0\0",
    ],
    ids=["0xff", "4 GB", "two lengths", "16 MB answer"],
)
def test_pain_25_noise_in_mid_stream(board, noise):
    """What can't be a message ends the connection; nothing of it is swallowed for ever."""

    def play(sock, number):
        if number == 0:
            sock.sendall(ACCEPTED + noise)
            read_exactly(sock, 1)
        good(sock, number)

    report, server = play_loop(board, play, 1)
    assert report["got"] == ["good"] and len(report["downs"]) == 1
    # The address may be a web server's: what to look at is said.
    assert "not with a push message: is 127.0.0.1:" in report["downs"][0]
    assert "push port (3200, with TLS 3201)" in report["downs"][0]


def test_pain_22_the_end_of_the_stream_is_seen(board):
    def play(sock, number):
        if number == 2:
            good(sock, number)
        else:
            sock.sendall(ACCEPTED)

    report, server = play_loop(board, play, 1)
    assert len(server.requests) == 3
    assert all("closed by the peer" in text for text in report["downs"])


@pytest.mark.parametrize(
    "first",
    [b"", ACCEPTED[:7], ACCEPTED + b"\0\3\0", ACCEPTED + block(1, b"x" * 100)[:50]],
    ids=["no answer", "half an answer", "half a header", "half a block"],
)
def test_pain_01_a_server_that_falls_silent(board, first):
    """Each wait has its end; no step waits longer than it was told."""
    ended = threading.Event()

    def play(sock, number):
        if number == 0:
            sock.sendall(first)
            ended.wait(30)
        else:
            good(sock, number)

    with scripted(play) as server:
        program = Device(board, server, timeout=1).start(
            """
got = []
longest = 0
session = client.create_session(got.append, 5)
session.backoff_ms = 1
while not session.error:
    t = time.ticks_us()
    client.do_next(0)
    longest = max(longest, time.ticks_diff(time.ticks_us(), t))
    time.sleep_ms(1)
report(text=str(session.error), longest=longest)
run(lambda: got, client)
report(got=len(got))
"""
        )
        report = program.next_report()
        ended.set()
        assert program.next_report() == {"got": 1}
    assert "no rest of a message within" in report["text"]
    assert report["longest"] < 500000


def test_a_quiet_server_is_dialled_anew_after_max_idle(board):
    def play(sock, number):
        if number == 1:
            good(sock, number)
        else:
            sock.sendall(ACCEPTED)
            with contextlib.suppress(EOFError):
                read_exactly(sock, 1)

    report, server = play_loop(board, play, 1, max_idle=1)
    assert len(server.requests) == 2
    assert "max_idle" in report["downs"][0]


@pytest.mark.parametrize("status", [403, 400, 500])
def test_refused_sessions_tell_why_and_go_on_trying(board, status):
    def play(sock, number):
        if number < 2:
            sock.sendall(b"\0\x02\0\0\0\x04" + status.to_bytes(2, "big") + b"\0\x01")
        else:
            good(sock, number)

    report, server = play_loop(board, play, 1)
    assert report["got"] == ["good"]
    assert len(report["downs"]) == 2
    for text in report["downs"]:
        assert text.startswith("Session refused ({})".format(status))
        assert SECRET not in text


def test_refused_by_the_service(board, digi):
    """403 for a wrong password, 400 for an unknown monitor and one that isn't tcp."""
    http_one = digi.make(TransportType="http", TransportUrl="http://127.0.0.1:9/")
    one = digi.make()
    reports = (
        Device(board, digi)
        .run(
            """
def attempt(client, monitor):
    session = client.create_session(print, monitor)
    run(lambda: session.error, client)
    report(status=session.error.status, name=type(session.error).__name__)
    client.stop_all()

attempt(client, unknown)
attempt(client, http_one)
K["password"] = "wrong"
attempt(push_client(**K), one)
""",
            unknown=99,
            http_one=http_one,
            one=one,
        )
        .reports
    )
    assert seen(reports, "status") == [400, 400, 403]
    assert set(seen(reports, "name")) == {"MonitorError"}


# Pauses are read off a clock that moves by exactly as long as the client pauses.
PAUSES = """
import idigi_monitor_api
from digi_clock import Clock, Highest
idigi_monitor_api.os = Highest
idigi_monitor_api.time = clock = Clock()
session = client.create_session(print, 5)
session.backoff_ms = 1000
session.backoff_max_ms = 10000
ends = []
def on_up():
    clock.now += held
session.on_up = on_up
session.on_down = lambda e: ends.append(clock.now)
run(lambda: len(ends) == 7, client)
report(
    pauses=[ends[n] - ends[n - 1] - held for n in range(1, len(ends))], error=str(session.error)
)
"""


def pauses(board, server, held, **arguments):
    device = Device(board, server, threads=False, **arguments)
    return device.run(PAUSES, before_lib=DOUBLES, held=held).report


def test_backoff_doubles_up_to_its_limit_with_full_jitter(board):
    """Nobody there: the ceilings of the pauses, seen through a random number at its highest."""
    report = pauses(board, NOBODY, 0, push_port=9)
    assert report["pauses"] == pytest.approx([1000, 2000, 4000, 8000, 10000, 10000], abs=1)
    assert "can't connect to 127.0.0.1:9" in report["error"]


@pytest.mark.parametrize("held", [0, 4000, 5001, 7 * 24 * 3600 * 1000])
def test_backoff_starts_anew_only_after_a_connection_that_held(board, held):
    """
    Longer than `timeout`, 5 s here. A service that accepts and closes at once, over and over, is
    dialled as seldom as one that isn't there.
    """
    with scripted(lambda sock, number: sock.sendall(ACCEPTED)) as server:
        report = pauses(board, server, held)
    doubled = [1000, 2000, 4000, 8000, 10000, 10000]
    wanted = doubled if held < 5000 else [1000] * 6
    assert report["pauses"] == pytest.approx(wanted, abs=1)


def test_pain_29_an_address_counts_once_the_service_has_answered(board):
    """The first one takes TCP and closes; the second one is the service, and is dialled again."""

    def serve(sock, number):
        if number == 2:
            good(sock, number)
        else:
            sock.sendall(ACCEPTED)

    with scripted(lambda sock, number: None) as dead:
        with scripted(serve, "127.0.0.2", dead.port) as service:
            hosts = ["127.0.0.1", "127.0.0.2"]
            assert loop(board, dead, 1, threads=False, hostname=hosts)["got"] == ["good"]
            assert len(dead.requests) == 1
            assert len(service.requests) == 3


@pytest.mark.parametrize("hostname", ["::1", "[::1]"])
def test_pain_43_ipv6(board, hostname):
    """With or without brackets; the texts have them."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")

    def play(sock, number):
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with contextlib.suppress(OSError):
            sock.recv(1000)

    listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    port = listener.getsockname()[1]
    with listener:
        thread = threading.Thread(target=lambda: play(listener.accept()[0], 0), daemon=True)
        thread.start()
        device = Device(board, NOBODY, hostname=hostname, push_port=port, threads=False)
        report = device.run(
            """
session = client.create_session(print, 5)
run(lambda: session.error, client)
report(text=str(session.error))
"""
        ).report
    assert "is [::1]:{} a Remote Manager push port".format(port) in report["text"]


def test_explicit_mode_loses_nothing(board, digi):
    """
    Connections that break anywhere, a callback that now and then fails: every event is taken in
    the end, and the service has heard of each block only after the callback said so.
    """
    monitor = digi.make(
        "DataPoint/chaos",
        AckOption="explicit",
        AutoReplayOnConnect="true",
        Compression="zlib",
        BatchSize=4,
        BatchDuration=1,
    )
    total = 60
    chaos = Device(board, digi).start(program("idigi_chaos"), monitor=monitor, total=total)
    chaos.next_report()
    model = digi.monitor(monitor)
    faults = ["cut", "split", "duplicate", "unknown", "stall", "short", "damage"]
    for n in range(total):
        digi.point(n, "chaos/x")
        if n % 6 == 0:
            name = faults[n // 6 % len(faults)]
            if name == "damage":  # it would come again, damaged no more, only after a reconnect
                continue
            digi.fault(name, **({"bytes": 1 + n} if FAULTS[name] else {}))
        time.sleep(0.02)
        if n % 17 == 0:
            digi.cut()
    assert chaos.next_report(60)["taken"] == list(range(total))
    digi.wait(lambda: not model.unacked and not model.queue, "all acknowledgements")


def test_replay_comes_first_and_says_so(board, digi):
    monitor = digi.make("DataPoint/replay", AutoReplayOnConnect="true")
    program = Device(board, digi).start(
        """
def callback(messages):
    for m in messages:
        report(data=m["DataPoint"]["data"], replay=m.get("replay", False))
    return True
session = client.create_session(callback, monitor, messages=True)
session.backoff_ms = 400
session.on_up = lambda: report(up=True)
session.on_down = lambda e: report(up=False)
run(lambda: False, client, 60)
""",
        monitor=monitor,
    )
    assert program.next_report() == {"up": True}
    digi.point(1, "replay/x")
    assert program.next_report() == {"data": 1, "replay": False}

    def cut_and_publish():
        for connection in list(digi.digi.connections):
            connection.end("a test")
            connection.monitor.detach(connection)
        digi.digi.data_point("replay/x", 2)
        digi.digi.data_point("replay/x", 3)

    digi.do(cut_and_publish)
    assert program.next_report() == {"up": False}
    assert program.next_report() == {"up": True}
    digi.point(4, "replay/x")
    assert program.next_report() == {"data": 2, "replay": True}
    assert program.next_report() == {"data": 3, "replay": True}
    assert program.next_report() == {"data": 4, "replay": False}


def test_pain_02_one_tls_connection_at_a_time(board, digi):
    """A request's connection is closed before its answer is returned: a session needs the heap."""
    program = Device(board, digi).start(
        """
import sys
made = client.create_monitor(["DeviceCore"])
report(made=made)
sys.stdin.readline()
try:
    client.delete_monitor(1)
except MonitorError:
    report(failed=True)
sys.stdin.readline()
""",
    )
    program.next_report()
    digi.wait(lambda: not digi.site.doors, "the end of the connection")
    program.send("go on")
    program.next_report()
    digi.wait(lambda: not digi.site.doors, "the end of the connection")


def test_ctrl_c_in_a_callback_leaves_the_session_usable(board):
    def play(sock, number):
        sock.sendall(ACCEPTED + block(number, b"{}"))
        if number:
            read_exactly(sock, 10)
        else:
            with contextlib.suppress(EOFError, ConnectionError):
                read_exactly(sock, 1)

    with scripted(play) as server:
        report = (
            Device(board, server, threads=False)
            .run(
                """
calls = []
def callback(data):
    calls.append(data)
    if len(calls) == 1:
        raise KeyboardInterrupt
    return True
session = client.create_session(callback, 5)
session.backoff_ms = 10
try:
    run(lambda: False, client)
except KeyboardInterrupt:
    report(interrupted=len(calls))
run(lambda: len(calls) == 2, client)
report(error=type(session.error).__name__)
""",
            )
            .reports
        )
    assert report == [{"interrupted": 1}, {"error": "KeyboardInterrupt"}]


@pytest.mark.parametrize("platform, wanted", [("rp2", False), ("esp32", True), ("linux", True)])
def test_which_boards_get_a_thread(board, platform, wanted):
    """Not the Pico: its second core can't use the network. threads=True overrides that."""
    report = (
        Device(board, NOBODY)
        .run(
            """
import idigi_monitor_api
class Sys:
    pass
Sys.platform = platform
idigi_monitor_api.sys = Sys
report(default=push_client(**K).threads, told=push_client(threads=True, **K).threads)
""",
            platform=platform,
        )
        .report
    )
    assert report == {"default": wanted, "told": True}


# ---- any stream in any pieces, on CPython


class Stream:
    """A netstream that has everything and gives it in pieces of these sizes."""

    timeout_ms = 5000
    host = "h"
    port = 3200

    def __init__(self, data, sizes):
        self.data = data
        self.sizes = sizes
        self.count = 0
        self.sent = b""

    def open(self):
        return iter(())

    def send(self, data):
        self.sent += bytes(data)
        return iter(())

    def readinto(self, view):
        size = min(self.sizes[self.count % len(self.sizes)], len(view), len(self.data))
        self.count += 1
        if not self.data:
            raise DeviceError(104, "connection closed by the peer")
        if not size:
            return None
        view[:size] = self.data[:size]
        self.data = self.data[size:]
        return size

    def wait(self, ms):
        return 1

    def start_clock(self):
        pass

    def confirm(self):
        pass

    def in_time(self, what):
        pass

    def close(self):
        pass


def over(stream, callback):
    """A client and its session on this stream."""
    usual, API.NetStream = API.NetStream, lambda *address: stream
    try:
        client = API.push_client(
            "u", "p", hostname="h", secure=False, threads=False, max_block=400
        )
        return client, client.create_session(callback, 5)
    finally:
        API.NetStream = usual


def good_block(block_id, payload, packed):
    data = zlib.compress(payload) if packed else payload
    return block(block_id, data, compression=int(packed)), payload


GOOD = st.builds(
    good_block, st.integers(0, 65535), st.binary(min_size=1, max_size=300), st.booleans()
)
BAD = st.one_of(
    st.builds(
        lambda kind, data: struct.pack(">HI", kind, len(data)) + data,
        st.integers(4, 65535),
        st.binary(max_size=50),
    ),
    st.builds(lambda size: struct.pack(">HI", 3, size) + bytes(size), st.integers(0, 9)),
    st.builds(lambda size: block(1, bytes(size)), st.one_of(st.just(0), st.integers(401, 3000))),
    st.builds(
        lambda byte, data: block(1, data, compression=byte),
        st.integers(2, 255),
        st.binary(min_size=1, max_size=50),
    ),
    st.builds(lambda data: block(1, b"\xff" + data, compression=1), st.binary(max_size=50)),
).map(lambda data: (data, None))


@given(
    st.lists(st.one_of(GOOD, BAD), max_size=8),
    st.lists(st.integers(0, 700), min_size=1, max_size=6).filter(any),
    st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=4),
)
def test_any_blocks_in_any_pieces(parts, sizes, answers):
    """What is good is called back once, in order; what got True is acknowledged; nothing else."""
    got = []

    def callback(data):
        got.append(data)
        return answers[len(got) % len(answers)]

    stream = Stream(ACCEPTED + b"".join(part for part, _ in parts), sizes)
    client, session = over(stream, callback)
    skipped = []
    session.on_skip = lambda *args: skipped.append(args)
    for _ in range(100000):
        client.do_next()
        if session.error:
            break
    assert "closed by the peer" in str(session.error)
    payloads = [payload for _, payload in parts if payload is not None]
    assert got == payloads
    assert len(skipped) == len(parts) - len(payloads)
    ids = [int.from_bytes(part[6:8], "big") for part, payload in parts if payload is not None]
    taken = [ids[n] for n in range(len(ids)) if answers[(n + 1) % len(answers)] is True]
    request = connect_request(5, "u", "p")
    assert stream.sent == request + b"".join(ack(number) for number in taken)


@given(st.binary(max_size=200), st.lists(st.integers(1, 60), min_size=1, max_size=4))
def test_any_noise_ends_a_connection_or_is_passed_over(noise, sizes):
    client, session = over(Stream(ACCEPTED + noise, sizes), lambda data: True)
    for _ in range(1000):
        client.do_next()
        if session.error:
            break
    assert isinstance(session.error, OSError)


# ---- what it costs


@pytest.mark.parametrize("secure", [True, False], ids=["tls", "plain"])
def test_nothing_is_allocated_while_idle(board, digi, secure):
    if board.name == "cpython":
        pytest.skip("only MicroPython can tell")
    monitors = [digi.make(), digi.make()]
    report = (
        Device(board, digi, secure=secure)
        .run(
            """
import gc
sessions = [client.create_session(print, m) for m in monitors]
run(lambda: all(s.is_connected() for s in sessions), client)
for n in range(20):
    client.do_next(1)
gc.collect()
gc.disable()
before = gc.mem_alloc()
for n in range(1000):
    client.do_next(0)
report(allocated=gc.mem_alloc() - before)
""",
            monitors=monitors,
        )
        .report
    )
    assert report["allocated"] == 0


def test_a_session_lives_in_little_memory(board, digi):
    """A zlib block of 30 KB decompressed, in a heap of 200 KB on 64 bits, TLS and all."""
    if board.name == "cpython":
        pytest.skip("only MicroPython can tell")
    monitor = digi.make(Compression="zlib", BatchSize=115, BatchDuration=60, AckOption="explicit")
    program = Device(board, digi).start(
        """
session = client.create_session(lambda data: report(size=len(data)) or True, monitor)
session.on_skip = lambda *args: report(skipped=args)
run(session.is_connected, client)
report(up=True)
run(lambda: False, client, 30)
""",
        heap="200k",
        monitor=monitor,
    )
    program.next_report()
    for n in range(115):
        digi.point(n, "small/n")
    assert 26000 < program.next_report()["size"] < 32768
    model = digi.monitor(monitor)
    digi.wait(lambda: model.last_sent and not model.unacked, "the acknowledgement")


def test_pain_20_the_password_is_in_no_text(board, digi):
    done = Device(board, digi).run(
        """
session = client.create_session(print, 99)
run(lambda: session.error, client)
report(text=repr(session.error) + str(session.error) + repr(session) + repr(client))
""",
    )
    assert SECRET not in done.out + done.err


def test_heap_of_a_session_on_32_bits(heap32):
    heap = heap32.run(
        "from idigi_monitor_api import push_client",
        "client = push_client('u', 'p', hostname='h', secure=False, threads=False)",
        "session = client.create_session(print, 5)",
    ).heap
    assert heap[2] - heap[1] <= 300
    # 410 of it the NetStream: each state has a name, one of them that lwIP had no memory.
    assert heap[3] - heap[2] <= 784
