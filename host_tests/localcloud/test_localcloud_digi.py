"""The local cloud's Digi side, by a client made by hand: monitors, push, faults on command."""

import base64
import http.client
import json
import signal
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
import zlib

import digi_rig
import paho.mqtt.client as paho
import pytest
import workshop
from digi_rig import (  # noqa: F401
    PASSWORD,
    USER,
    OpenRequest,
    Push,
    Ready,
    ask,
    connect_request,
    control,
    digi,
    shared,
)
from localcloud.digi import FAULTS, Condition, Event, Pattern
from localcloud.digi import model as digi_module

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)


CREATE = (
    "<Monitor><monTopic>DeviceCore,FileData</monTopic><monBatchSize>1</monBatchSize>"
    "<monBatchDuration>0</monBatchDuration><monFormatType>json</monFormatType>"
    "<monTransportType>tcp</monTransportType><monCompression>gzip</monCompression></Monitor>"
)


# ---- /ws/Monitor


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_create_tells_the_id_in_both_places(digi, tls):
    """The client of 2012 reads the header, that of 2015 the body."""
    answer = ask(digi, "POST", "/ws/Monitor", CREATE, tls=tls)
    assert answer.status == 201
    place = answer.headers["Location"]
    assert place.startswith("Monitor/") and int(place.split("/")[-1]) in digi.digi.monitors
    assert answer.body.startswith(b'<?xml version="1.0" encoding="ISO-8859-1"?><result>')
    assert answer.xml.find("location").text == place


def test_list_in_json(digi):
    """Every value is a string; gzip is listed as zlib."""
    place = ask(digi, "POST", "/ws/Monitor", CREATE).headers["Location"]
    page = ask(digi, "GET", "/ws/Monitor/.json").json
    assert page == {
        "resultTotalRows": "1",
        "requestedStartRow": "0",
        "resultSize": "1",
        "requestedSize": "1000",
        "remainingSize": "0",
        "items": [
            {
                "monId": place.split("/")[-1],
                "cstId": "3",
                "monTopic": "DeviceCore,FileData",
                "monTransportType": "tcp",
                "monFormatType": "json",
                "monBatchSize": "1",
                "monCompression": "zlib",
                "monStatus": "INACTIVE",
                "monBatchDuration": "0",
            }
        ],
    }
    assert ask(digi, "GET", "/ws/Monitor", Accept="application/json").json == page
    assert ask(digi, "GET", "/ws/" + place + ".json").json == page
    assert ask(digi, "GET", "/ws/" + place, Accept="application/json").json == page


def test_list_in_xml(digi):
    place = ask(digi, "POST", "/ws/Monitor", CREATE.replace("gzip", "none")).headers["Location"]
    for path in ("/ws/Monitor", "/ws/Monitor/", "/ws/" + place, "/ws/" + place + ".xml"):
        root = ask(digi, "GET", path).xml
        assert root.tag == "result" and root.find("resultSize").text == "1"
        (monitor,) = root.findall("Monitor")
        assert monitor.find("monId").text == place.split("/")[-1]
        assert monitor.find("monCompression").text == "none"


def test_defaults(digi):
    body = "<Monitor><monTopic>Job</monTopic><monTransportType>tcp</monTransportType></Monitor>"
    place = ask(digi, "POST", "/ws/Monitor", body).headers["Location"]
    (row,) = ask(digi, "GET", "/ws/" + place + ".json").json["items"]
    assert (row["monBatchSize"], row["monBatchDuration"]) == ("100", "10")
    assert (row["monCompression"], row["monFormatType"]) == ("none", "xml")


def test_condition_and_pages(digi):
    ids = [str(digi.make("Job,Alarm" if n % 2 else "Job", BatchSize=n + 1)) for n in range(10)]

    def listed(query):
        page = ask(digi, "GET", "/ws/Monitor/.json?" + query).json
        return [row["monId"] for row in page["items"]], page

    assert listed("condition=monTopic%3D%27Job%2CAlarm%27")[0] == ids[1::2]
    assert listed("condition=monTopic='Job'+and+monBatchSize>5")[0] == ids[6::2]
    assert listed("condition=monTopic='Unknown'")[1]["resultSize"] == "0"
    found, page = listed("start=2&size=3")
    assert found == ids[2:5]
    assert page["resultTotalRows"] == "10" and page["remainingSize"] == "5"
    for bad in ("condition=monTopic", "condition=x='1'", "condition=('", "size=0", "start=x"):
        assert ask(digi, "GET", "/ws/Monitor/.json?" + bad).status == 400


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("monTopic='a'", True),
        ("monTopic <> 'a'", False),
        ("monTopic like 'a%' and monBatchSize >= 10", True),
        ("monBatchSize < 9", False),
        ("monTopic='x' or (monStatus='ACTIVE' and monBatchSize=10)", True),
        ("monTopic='x' and monStatus='ACTIVE' or monBatchSize=10", True),
        ("monDescription='it''s'", True),
        ("monTransportUrl=''", True),
    ],
)
def test_conditions(text, wanted):
    row = {"monTopic": "a", "monBatchSize": "10", "monStatus": "ACTIVE", "monDescription": "it's"}
    assert Condition(text)(row) is wanted


@pytest.mark.parametrize("text", ["", "a=", "(" * 50, "monTopic='a' monTopic='b'", "monTopic (1)"])
def test_bad_conditions(text):
    with pytest.raises(ValueError, match="condition"):
        Condition(text)


def test_put_updates_and_resets(digi):
    monitor = digi.make("Job", AutoReplayOnConnect="true")
    push = Push(digi, monitor).connected()
    body = "<Monitor><monTopic>Alarm</monTopic><monBatchSize>7</monBatchSize></Monitor>"
    assert ask(digi, "PUT", "/ws/Monitor/{}".format(monitor), body).status == 200
    assert push.message() is None  # its session has ended
    (row,) = ask(digi, "GET", "/ws/Monitor/{}.json".format(monitor)).json["items"]
    assert (row["monTopic"], row["monBatchSize"], row["monStatus"]) == ("Alarm", "7", "INACTIVE")
    assert row["monFormatType"] == "json"
    assert ask(digi, "PUT", "/ws/Monitor/1", body).status == 404


def test_delete(digi):
    monitor = digi.make()
    push = Push(digi, monitor).connected()
    assert ask(digi, "DELETE", "/ws/Monitor/{}".format(monitor)).status == 200
    assert push.message() is None
    assert ask(digi, "DELETE", "/ws/Monitor/{}".format(monitor)).status == 404
    assert ask(digi, "GET", "/ws/Monitor/{}".format(monitor)).status == 404


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not xml",
        "<Monitor>",
        "<Other/>",
        "<Monitor/>",
        "<Monitor><monTopic></monTopic></Monitor>",
        "<Monitor><monTopic>Nonsense</monTopic></Monitor>",
        "<Monitor><monTopic>DataPoint[X]</monTopic></Monitor>",
        "<Monitor><monTopic>Job</monTopic><monTransportType>udp</monTransportType></Monitor>",
        "<Monitor><monTopic>Job</monTopic><monFormatType>yaml</monFormatType></Monitor>",
        "<Monitor><monTopic>Job</monTopic><monCompression>lzma</monCompression></Monitor>",
        "<Monitor><monTopic>Job</monTopic><monBatchSize>many</monBatchSize></Monitor>",
        "<Monitor><monTopic>Job</monTopic><monBatchSize>0</monBatchSize></Monitor>",
        "<Monitor><monTopic>Job</monTopic><monBatchDuration>-1</monBatchDuration></Monitor>",
        "<Monitor><monTopic>Job</monTopic><monUnheardOf>1</monUnheardOf></Monitor>",
        "<Monitor><monTopic>Job</monTopic><monTransportType>http</monTransportType></Monitor>",
        '<!DOCTYPE x [<!ENTITY a "b">]><Monitor><monTopic>&a;</monTopic></Monitor>',
    ],
)
def test_bad_monitors_are_refused(digi, body):
    answer = ask(digi, "POST", "/ws/Monitor", body)
    assert answer.status == 400
    assert answer.xml.find("error").text


@pytest.mark.parametrize(
    "user, password", [(None, ""), ("nobody", PASSWORD), (USER, "wrong"), (USER, ""), ("", "")]
)
def test_who_is_not_known_gets_401(digi, user, password):
    answer = ask(digi, "GET", "/ws/Monitor", user=user, password=password)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert PASSWORD.encode() not in answer.body


def test_throttled_on_command(digi):
    digi.do(digi.digi.throttle, 2, 7)
    for _ in range(2):
        answer = ask(digi, "GET", "/ws/Monitor")
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    assert ask(digi, "GET", "/ws/Monitor").status == 200


def test_a_transport_token_is_not_shown(digi):
    monitor = digi.make(
        TransportType="http", TransportUrl="http://127.0.0.1:9/", TransportToken="u:topsecret"
    )
    answer = ask(digi, "GET", "/ws/Monitor/{}.json".format(monitor))
    assert b"topsecret" not in answer.body


# ---- topics


@pytest.mark.parametrize(
    "pattern, operation, path, group, wanted",
    [
        ("DeviceCore", "UPDATE", "DeviceCore/882/7", "*", True),
        ("DeviceCore", "INSERTION", "DeviceCore/882/7", "*", True),
        ("DeviceCore[U]", "UPDATE", "DeviceCore/882/7", "*", True),
        ("DeviceCore[U]", "INSERTION", "DeviceCore/882/7", "*", False),
        ("DeviceCore[C,D]", "DELETION", "DeviceCore/882/7", "*", True),
        ("DeviceCore", "UPDATE", "DataPoint/x", "*", False),
        ("DataPoint/*/metrics/cellular", "INSERTION", "DataPoint/a/metrics/cellular", "*", True),
        ("DataPoint/*/metrics/cellular", "INSERTION", "DataPoint/a/metrics/wifi", "*", False),
        ("DataPoint/a", "INSERTION", "DataPoint/a/temp", "*", True),
        ("DataPoint/a/temp", "INSERTION", "DataPoint/a", "*", False),
        ("FileData/~%2Ffolder/name.log", "INSERTION", "FileData/~%2Ffolder/name.log", "*", True),
        ("[group=North]DeviceCore", "UPDATE", "DeviceCore/1/1", "North", True),
        ("[group=North]DeviceCore[U]", "UPDATE", "DeviceCore/1/1", "*", False),
    ],
)
def test_topics(pattern, operation, path, group, wanted):
    event = Event("3/" + path, operation, "", group, path.split("/")[0], {}, path)
    assert Pattern(pattern).matches(event) is wanted


# ---- push


def test_connect_answers_byte_by_byte(digi):
    """A connection as the protocol's description draws it, and what is refused."""
    monitor = digi.make()
    assert Push(digi, monitor).read(10) == bytes.fromhex("00020000000400c80001")
    for status, credentials, wanted in (
        (403, {"password": "wrong"}, monitor),
        (403, {"user": "nobody"}, monitor),
        (400, {}, 4711),
        (400, {}, digi.make(TransportType="polling")),
    ):
        push = Push(digi, wanted, **credentials)
        assert push.message() == (2, struct.pack(">HH", status, 1))
        assert push.message() is None  # and the connection is closed


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">HI", 1, 1 << 20),
        struct.pack(">HI", 4, 4) + bytes(4),
        connect_request(1)[:-2],
        connect_request(1)[:6] + b"\0\2" + connect_request(1)[8:],
        struct.pack(">HI", 1, 2) + b"\0\1",
        struct.pack(">HI", 1, 8) + b"\0\1\xff\xff1234",
    ],
)
def test_noise_is_not_let_in(digi, data):
    push = Push(digi)
    push.sock.sendall(data)
    push.sock.shutdown(1)
    answer = push.message()
    assert answer is None or answer == (2, struct.pack(">HH", 400, 1))
    assert push.message() is None


def test_tls_push(digi):
    monitor = digi.make()
    context = ssl.create_default_context(cafile=digi.ca_pem)
    raw = socket.create_connection(("127.0.0.1", digi.push_tls_port), 10)
    with context.wrap_socket(raw, server_hostname="localhost") as sock:
        sock.sendall(connect_request(monitor))
        assert sock.recv(10) == bytes.fromhex("00020000000400c80001")


def test_a_block_byte_by_byte(digi):
    monitor = digi.make("Job")
    push = Push(digi, monitor).connected()
    digi.do(digi.digi.publish, "Job", "1", {"a": 1}, "UPDATE", "*", "2026-01-05T09:00:00.001Z")
    payload = (
        b'{"Document":{"Msg":{"topic":"3/Job/1","operation":"UPDATE",'
        b'"timestamp":"2026-01-05T09:00:00.001Z","group":"*","Job":{"a":1}}}}'
    )
    kind, data = push.message()
    assert kind == 3
    assert data[2:] == b"\0\1\0\1" + struct.pack(">I", len(payload)) + payload


def test_xml_is_escaped(digi):
    monitor = digi.make("Job", FormatType="xml")
    push = Push(digi, monitor).connected()
    body = {"text": "<&>", "list": [1, 2], "none": None, "yes": True, "in": {"ner": "x"}}
    digi.do(digi.digi.publish, "Job", 'a"b', body, group="<g>")
    payload = push.block()[4]
    (message,) = ET.fromstring(payload)
    assert message.get("topic") == '3/Job/a"b' and message.get("group") == "<g>"
    (job,) = message
    assert [child.text for child in job] == ["<&>", "1", "2", None, "true", None]
    assert job.find("in/ner").text == "x"


def test_batches_by_size(digi):
    monitor = digi.make(BatchSize=3, BatchDuration=600, Compression="zlib")
    push = Push(digi, monitor).connected()
    for n in range(7):
        digi.point(n)
    ids = []
    for _ in range(2):
        block_id, count, compression, format_type, payload = push.block()
        assert (count, compression, format_type) == (3, 1, 1)
        assert payload[:1] == b"\x78"
        messages = json.loads(zlib.decompress(payload))["Document"]["Msg"]
        assert [message["operation"] for message in messages] == ["INSERTION"] * 3
        ids.append(block_id)
    assert ids[1] == (ids[0] + 1) & 0xFFFF
    push.silent()


def test_batches_by_duration(digi):
    """What hasn't filled a batch goes out after so many seconds, here one."""
    monitor = digi.make(BatchSize=100, BatchDuration=1)
    push = Push(digi, monitor).connected()
    for n in range(4):
        digi.point(n)
    push.silent(0.3)
    assert push.block()[1] == 4
    digi.point(5)
    assert push.block()[1] == 1


def test_block_ids_go_round(digi):
    monitor = digi.make()
    digi.monitor(monitor).block_id = 0xFFFE
    push = Push(digi, monitor).connected()
    for n in range(3):
        digi.point(n)
    assert [push.block()[0] for _ in range(3)] == [0xFFFF, 0, 1]


def test_ack_off_counts_as_acknowledged_when_sent(digi):
    monitor = digi.make(AutoReplayOnConnect="true")
    push = Push(digi, monitor).connected()
    digi.point(1)
    digi.point(2)
    push.block(), push.block()
    push.close()
    digi.wait_status(monitor, "SUSPENDED")
    Push(digi, monitor).connected().silent()


def test_explicit_waits_and_sends_again_in_order(digi):
    monitor = digi.make(AckOption="explicit", AutoReplayOnConnect="true")

    def value(block):
        message = json.loads(block[4])["Document"]["Msg"]
        return message["DataPoint"]["data"], message.get("replay", False)

    push = Push(digi, monitor).connected()
    for n in range(4):
        digi.point(n)
    first = push.block()
    assert value(first) == (0, False)
    push.silent()  # it does not go on
    push.ack(first[0], 500)  # nor for another status
    push.ack(first[0] ^ 1)  # nor for another block
    push.silent()
    push.ack(first[0])
    assert value(push.block()) == (1, False)
    push.close()
    digi.wait_status(monitor, "SUSPENDED")
    digi.point(4)
    push = Push(digi, monitor).connected()
    for n in range(1, 5):
        block = push.block()
        assert value(block) == (n, True)
        push.ack(block[0])
    digi.point(5)
    assert value(push.block()) == (5, False)


def test_the_window(tmp_path):
    with digi_rig.running(tmp_path / "digi", tls=False, window=3) as digi:
        monitor = digi.make(AckOption="explicit")
        push = Push(digi, monitor).connected()
        for n in range(5):
            digi.point(n)
        ids = [push.block()[0] for _ in range(3)]
        push.silent()
        push.ack(ids[1])
        push.block()
        push.silent()


def test_the_sdks_short_ack(digi):
    """Trap 29: six bytes. Ignored with acknowledgements off, else they are half a message."""
    short = struct.pack(">HHH", 4, 7, 200)
    monitor = digi.make()
    push = Push(digi, monitor).connected()
    before = digi.digi.short_acks
    for n in range(3):
        digi.point(n)
        push.block()
        push.sock.sendall(short)
    digi.wait(lambda: digi.digi.short_acks == before + 3)
    explicit = digi.make(AckOption="explicit")
    push = Push(digi, explicit).connected()
    digi.point(1)
    block = push.block()
    push.sock.sendall(struct.pack(">HHH", 4, block[0], 200))
    push.ack(block[0])
    push.silent()
    assert digi.monitor(explicit).unacked


def test_states(digi):
    plain, replaying = digi.make(), digi.make(AutoReplayOnConnect="true")
    for monitor, after in ((plain, "INACTIVE"), (replaying, "SUSPENDED")):
        assert digi.monitor(monitor).status == "INACTIVE"
        push = Push(digi, monitor).connected()
        assert digi.monitor(monitor).status == "ACTIVE"
        push.close()
        digi.wait_status(monitor, after)
        (row,) = ask(digi, "GET", "/ws/Monitor/{}.json".format(monitor)).json["items"]
        assert row["monStatus"] == after and row["monLastConnect"].endswith("Z")
    digi.point(1)
    assert not digi.monitor(plain).queue and len(digi.monitor(replaying).queue) == 1


def test_a_second_session_ends_the_first(digi):
    monitor = digi.make()
    first = Push(digi, monitor).connected()
    second = Push(digi, monitor).connected()
    assert first.message() is None
    digi.point(1)
    assert second.block()
    assert digi.monitor(monitor).status == "ACTIVE"


def test_what_waits_is_bounded(digi, monkeypatch):
    monkeypatch.setattr(digi_module, "MAX_EVENTS", 5)
    monitor = digi.make(AutoReplayOnConnect="true", BatchSize=100)
    Push(digi, monitor).connected().close()
    digi.wait_status(monitor, "SUSPENDED")
    for n in range(8):
        digi.point(n)
    push = Push(digi, monitor).connected()
    messages = json.loads(push.block()[4])["Document"]["Msg"]
    assert [message["DataPoint"]["data"] for message in messages] == [3, 4, 5, 6, 7]
    assert digi.monitor(monitor).dropped == 3


def test_a_client_that_does_not_read_is_not_written_to(digi):
    monitor = digi.make("Job")
    push = Push(digi, monitor).connected()
    body = {"text": "x" * 50000}
    for _ in range(200):
        digi.do(digi.digi.publish, "Job", "1", body)
    model = digi.monitor(monitor)
    assert len(model.queue) > 50
    count = 0
    push.sock.settimeout(5)
    while count < 200:
        push.block()
        count += 1
        if model.queue:
            digi.do(model.pump)
    assert not model.queue


def test_large_files_and_deleted_ones_are_not_told(digi):
    monitor = digi.make("FileData")
    push = Push(digi, monitor).connected()
    digi.do(digi.digi.publish, "FileData", "a", {"fdSize": 120 * 1024 + 1})
    digi.do(digi.digi.publish, "FileData", "b", {"fdSize": 10}, "DELETION")
    digi.do(digi.digi.publish, "FileData", "c", {"fdSize": 120 * 1024})
    assert b'"topic":"3/FileData/c"' in push.block()[4]


@pytest.mark.parametrize("bad", [("Nonsense", "1", {}), ("Job", "1", []), ("Job", 1, {})])
def test_what_is_no_event_is_refused(digi, bad):
    with pytest.raises(ValueError):
        digi.do(digi.digi.publish, *bad)


# ---- persistence


def test_monitors_and_what_they_missed_survive_a_restart(tmp_path):
    with digi_rig.running(tmp_path / "digi", tls=False, keep=True) as digi:
        kept = digi.make("DataPoint", AutoReplayOnConnect="true", AckOption="explicit")
        plain = digi.make("Job", Description="d")
        gone = digi.make("Alarm")
        push = Push(digi, kept).connected()
        digi.point(0)
        push.ack(push.block()[0])
        digi.point(1)
        assert push.block()  # and not acknowledged
        assert ask(digi, "DELETE", "/ws/Monitor/{}".format(gone)).status == 200
        push.close()
        digi.wait_status(kept, "SUSPENDED")
        digi.point(2)
    with digi_rig.running(tmp_path / "digi", tls=False, keep=True) as digi:
        assert sorted(digi.digi.monitors) == [kept, plain]
        assert digi.monitor(plain).row()["monDescription"] == "d"
        assert digi.monitor(kept).status == "SUSPENDED"
        digi.point(3)
        push = Push(digi, kept).connected()
        for wanted in (1, 2, 3):
            block = push.block()
            message = json.loads(block[4])["Document"]["Msg"]
            assert (message["DataPoint"]["data"], message["replay"]) == (wanted, True)
            push.ack(block[0])
        digi.wait(lambda: not digi.monitor(kept).unacked)
        new = digi.make()
        assert new > gone or new > plain
    with digi_rig.running(tmp_path / "digi", tls=False, keep=True) as digi:
        push = Push(digi, kept).connected()
        push.silent()


# ---- misbehaviour on command


def test_every_fault_does_what_it_says(digi):
    monitor = digi.make()

    def push():
        return Push(digi, monitor).connected()

    def whole(data):
        return struct.unpack(">HIHHBBI", data[:16])

    seen = set()

    def order(name, count=1, **how):
        seen.add(name)
        digi.fault(name, count, **how)

    order("silent")
    Push(digi, monitor).silent()
    order("refuse", status=500)
    assert Push(digi, monitor).message() == (2, struct.pack(">HH", 500, 1))
    order("garbage")
    assert Push(digi, monitor).read(4) == b"HTTP"

    order("cut", bytes=20)
    line = push()
    digi.point(1)
    assert len(line.read(20)) == 20 and line.message() is None

    order("stall", bytes=20)
    line = push()
    digi.point(1)
    line.read(20)
    line.silent()

    line = push()
    order("split", bytes=7)
    digi.point(1)
    assert json.loads(line.block()[4])
    order("duplicate")
    digi.point(1)
    assert line.block() == line.block()
    order("unknown", type=77, bytes=3)
    digi.point(1)
    assert line.message() == (77, bytes(3)) and line.block()
    order("short")
    digi.point(1)
    assert line.message() == (3, b"") and line.block()
    order("empty")
    digi.point(1)
    assert line.block()[4] == b"" and line.block()[4]
    order("oversize", bytes=5000)
    digi.point(1)
    assert len(line.block()[4]) == 5000 and line.block()
    order("compression", value=9)
    digi.point(1)
    assert line.block()[2] == 9
    order("format", value=9)
    digi.point(1)
    assert line.block()[3] == 9
    order("damage")
    digi.point(1)
    with pytest.raises(ValueError):
        json.loads(line.block()[4])
    order("bomb", bytes=100000)
    digi.point(1)
    assert len(zlib.decompress(line.block()[4])) == 100000 and line.block()
    order("length")
    digi.point(1)
    _, size, _, _, _, _, inner = whole(line.read(16))
    assert inner == size - 9
    assert seen == set(FAULTS)
    with pytest.raises(ValueError, match="place"):
        digi.fault("nonsense")


# ---- the whole cloud


def message(push):
    return json.loads(push.block()[4])["Document"]["Msg"]


def test_devices_of_the_other_clouds_are_seen(start_cloud):
    """An IBM device that comes, publishes and goes: DeviceCore, DataPoint, DeviceCore."""
    ready = start_cloud()
    cloud = Ready(ready)
    push = cloud.push(cloud.make("DeviceCore,DataPoint"))
    given = ready["ibm"]["device"]
    name = "d:{}:{}:{}".format(ready["ibm"]["org"], given["type"], given["id"])
    device = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name)
    device.username_pw_set("use-token-auth", given["token"])
    device.connect(ready["mqtt"]["host"], ready["mqtt"]["port"])
    device.loop_start()
    came = message(push)
    assert came["operation"] == "INSERTION"
    assert came["DeviceCore"]["dpConnectionStatus"] == 1
    assert came["DeviceCore"]["dpDescription"] == name
    assert came["DeviceCore"]["devConnectwareId"].startswith("00000000-00000000-")
    device.publish("iot-2/evt/status/fmt/json", json.dumps({"d": {"temp": 21.5, "on": True}}), 1)
    points = [message(push)["DataPoint"] for _ in range(2)]
    assert [(p["streamId"].rsplit("/")[-1], p["data"]) for p in points] == [
        ("temp", 21.5),
        ("on", True),
    ]
    device.disconnect()
    device.loop_stop()
    went = message(push)
    assert (went["operation"], went["DeviceCore"]["dpConnectionStatus"]) == ("UPDATE", 0)
    page = cloud.ask("GET", "/ws/DeviceCore?size=1", Accept="application/json").json
    assert page["items"][0]["dpConnectionStatus"] == "0"


def test_the_control_side(start_cloud):
    ready = start_cloud("--digi-window", "2")
    cloud = Ready(ready)
    monitor = cloud.make("DataPoint,DeviceCore,Job[C]", AckOption="explicit")
    push = cloud.push(monitor)
    assert control(ready, "POST", "/digi/event", {"stream": "a/b", "data": 5})[0] == 200
    first = push.block()
    assert json.loads(first[4])["Document"]["Msg"]["topic"] == "3/DataPoint/a/b"
    assert control(ready, "POST", "/digi/event", {"device": "x", "connected": False})[0] == 200
    assert message(push)["DeviceCore"]["dpConnectionStatus"] == 0
    status, rows = control(ready, "GET", "/digi/monitors")
    assert status == 200
    assert (rows[0]["monStatus"], rows[0]["unacked"], rows[0]["queued"]) == ("ACTIVE", 2, 0)
    push.ack(first[0])
    event = {"topic": "Job/1", "operation": "INSERTION", "body": {"jobId": 1}, "group": "G"}
    assert control(ready, "POST", "/digi/event", event)[0] == 200
    job = message(push)
    assert (job["group"], job["Job"]) == ("G", {"jobId": 1})
    for bad in (
        [],
        {"topic": "Nope/1", "body": {}},
        {"topic": "Job/1", "body": 1},
        {"topic": "Job/1", "body": {}, "operation": "?"},
    ):
        assert control(ready, "POST", "/digi/event", bad)[0] == 400
    assert control(ready, "POST", "/digi/fault", {"throttle": 1, "retry_after": 3})[0] == 200
    assert cloud.ask("GET", "/ws/Monitor").status == 429
    assert control(ready, "POST", "/digi/fault", {"fault": "cut", "bytes": 8})[0] == 200
    assert control(ready, "POST", "/digi/fault", {"lift": True})[0] == 200
    for bad in (
        {"fault": "x"},
        {"fault": ["cut"]},
        {"fault": "cut", "bytes": "many"},
        {"fault": "cut", "bytes": -1},
        {"fault": "compression", "value": 999},
        {"fault": "cut", "count": 0},
        {"throttle": "x"},
        {"throttle": -1},
        {"rate": "fast"},
        {"at_once": "four"},
        {"at_once": -1},
        {"at_once": 1.5},
        {"at_once": True},
        {"subscribed": 1},
        {"disable": "all"},
        {"disable": 4711},
        [],
    ):
        assert control(ready, "POST", "/digi/fault", bad)[0] == 400, bad
    assert control(ready, "POST", "/digi/fault", {"subscribed": False})[0] == 200
    assert cloud.ask("GET", "/ws/Monitor").status == 403
    assert control(ready, "POST", "/digi/fault", {"subscribed": True})[0] == 200
    assert control(ready, "POST", "/digi/fault", {"rate": 0})[0] == 200
    assert cloud.ask("GET", "/ws/Monitor").status == 429
    assert control(ready, "POST", "/digi/fault", {"rate": None})[0] == 200
    assert control(ready, "POST", "/digi/fault", {"at_once": 0})[0] == 200
    assert cloud.ask("GET", "/ws/Monitor").status == 429
    assert control(ready, "POST", "/digi/fault", {"at_once": None})[0] == 200
    assert cloud.ask("GET", "/ws/Monitor").status == 200
    assert control(ready, "POST", "/digi/fault", {"disable": monitor})[0] == 200
    rows = control(ready, "GET", "/digi/monitors")[1]
    assert [row["monStatus"] for row in rows] == ["DISABLED"]


def test_a_killed_cloud_forgets_no_monitor(start_cloud, tmp_path):
    state = tmp_path / "state"
    ready = start_cloud(state=state)
    cloud = Ready(ready)
    monitor = cloud.make("DataPoint", AutoReplayOnConnect="true", AckOption="explicit")
    push = cloud.push(monitor)
    control(ready, "POST", "/digi/event", {"stream": "a/b", "data": 1})
    assert push.block()
    time.sleep(0.3)  # an event is kept soon, not before it is sent
    ready["process"].signal(signal.SIGKILL)
    ready["process"].wait(10)
    ready = start_cloud(state=state)
    again = Ready(ready)
    assert again.given == cloud.given
    push = again.push(monitor)
    replayed = message(push)
    assert (replayed["DataPoint"]["data"], replayed["replay"]) == (1, True)


def test_a_taken_port_is_named(start_cloud):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, str(workshop.ROOT / "tools" / "localcloud")]
        command += ["--push-tls-port", port]
        for option in "mqtt mqtts ws wss http https tv tv-provision push".split():
            command += ["--{}-port".format(option), "0"]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert port in done.stderr and "--push-tls-port" in done.stderr


# ---- an account of today


def test_without_the_subscription_nothing_about_monitors_is_done(digi):
    monitor = digi.make()
    digi.do(setattr, digi.digi, "subscribed", False)
    try:
        for method, path, body in (
            ("POST", "/ws/Monitor", CREATE),
            ("GET", "/ws/Monitor", None),
            ("DELETE", "/ws/Monitor/{}".format(monitor), None),
        ):
            answer = ask(digi, method, path, body)
            assert answer.status == 403
            assert "not subscribed" in answer.xml.find("error").text
        assert Push(digi, monitor).message() == (2, struct.pack(">HH", 403, 1))
        assert ask(digi, "GET", "/ws/DeviceCore").status == 200
    finally:
        digi.do(setattr, digi.digi, "subscribed", True)
    assert ask(digi, "GET", "/ws/Monitor/{}".format(monitor)).status == 200


def test_over_its_rate_requests_are_told_how_long_to_wait(digi):
    digi.do(setattr, digi.digi, "rate", 3)
    try:
        statuses = [ask(digi, "GET", "/ws/Monitor") for _ in range(5)]
        assert [answer.status for answer in statuses] == [200, 200, 200, 429, 429]
        assert 1 <= int(statuses[-1].headers["Retry-After"]) <= 61
    finally:
        digi.do(setattr, digi.digi, "rate", None)


def opened(digi, count):
    """So many requests of which the cloud has seen the head, and no more."""
    begun = [OpenRequest(digi, CREATE) for _ in range(count)]
    digi.until(lambda: digi.digi.open_requests == count)
    return begun


def test_four_requests_may_be_open_at_once(digi):
    """From a request's head to the end of its answer: who lacks a body has not begun to work."""
    first, *others = opened(digi, 4)
    refused = ask(digi, "GET", "/ws/Monitor")
    assert refused.status == 429 and refused.headers["Retry-After"] is None
    assert refused.xml.find("error").text == "over 4 requests at once"
    # The limit is on the account's requests, not on what only looks like one.
    assert ask(digi, "GET", "/ws/Monitor", password="wrong").status == 401
    assert ask(digi, "GET", "/ws/Nothing").status == 404
    # One ends with its answer, one because its client has gone.
    assert first.finish().status == 201
    assert ask(digi, "GET", "/ws/Monitor").status == 200
    again = OpenRequest(digi, CREATE)
    digi.until(lambda: digi.digi.open_requests == 4)
    assert ask(digi, "GET", "/ws/DeviceCore").status == 429
    again.end("close")
    digi.until(lambda: digi.digi.open_requests == 3)
    assert ask(digi, "GET", "/ws/DeviceCore").status == 200
    assert [other.finish().status for other in others] == [201] * 3
    digi.until(lambda: digi.digi.open_requests == 0)


def test_a_request_too_many_is_answered_before_its_body(digi):
    """Neither its body nor its place is waited for; the refused one takes no place."""
    held = opened(digi, 4)
    for _ in range(3):
        late = OpenRequest(digi, CREATE)
        assert late.answer().status == 429
        late.end("close")
    assert digi.digi.open_requests == 4
    for request in held:
        assert request.finish().status == 201


def test_an_answer_that_is_not_read_keeps_its_place(digi):
    """It is open until all of its answer has gone."""
    for _ in range(200):
        digi.make(Description="x" * 100_000)  # more than a socket's buffers hold
    digi.do(setattr, digi.digi, "at_once", 1)
    head = "GET /ws/Monitor HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {}\r\n\r\n"
    pair = base64.b64encode("{}:{}".format(USER, PASSWORD).encode()).decode()
    try:
        with socket.create_connection(("127.0.0.1", digi.http_port), 30) as slow:
            slow.sendall(head.format(pair).encode())
            answer = http.client.HTTPResponse(slow)
            answer.begin()
            assert answer.status == 200
            assert ask(digi, "GET", "/ws/DeviceCore").status == 429
            assert answer.read().endswith(b"</result>")
            digi.until(lambda: digi.digi.open_requests == 0)
            assert ask(digi, "GET", "/ws/DeviceCore").status == 200
    finally:
        digi.do(setattr, digi.digi, "at_once", 4)


def test_one_at_a_time_is_enough_for_who_asks_one_after_the_other(digi):
    digi.do(setattr, digi.digi, "at_once", 1)
    try:
        line = http.client.HTTPConnection("localhost", digi.http_port, timeout=30)
        pair = base64.b64encode("{}:{}".format(USER, PASSWORD).encode()).decode()
        for _ in range(50):
            line.request("POST", "/ws/Monitor", CREATE, {"Authorization": "Basic " + pair})
            answer = line.getresponse()
            assert answer.status == 201 and answer.read()
            assert ask(digi, "GET", "/ws/Monitor").status == 200
        line.close()
    finally:
        digi.do(setattr, digi.digi, "at_once", 4)


def test_at_once_may_be_any_number(digi):
    digi.do(setattr, digi.digi, "at_once", None)
    try:
        held = opened(digi, 20)
        assert ask(digi, "GET", "/ws/Monitor").status == 200
        for request in held:
            assert request.finish().status == 201
    finally:
        digi.do(setattr, digi.digi, "at_once", 4)


def test_who_is_cut_off_in_every_way_leaves_no_place_taken(digi):
    """A reset, half a body, a body that is none, and one that is refused."""
    digi.do(setattr, digi.digi, "at_once", 1)
    try:
        for way in ("reset", "half", "close"):
            request = opened(digi, 1)[0]
            request.end(way)
            digi.until(lambda: digi.digi.open_requests == 0)
        for body in ("<Monitor>", "<!DOCTYPE x>", "<Monitor><monTopic>?</monTopic></Monitor>"):
            assert ask(digi, "POST", "/ws/Monitor", body).status == 400
        assert ask(digi, "POST", "/ws/Monitor", "x" * (2 << 20)).status == 413
        digi.do(setattr, digi.digi, "subscribed", False)
        assert ask(digi, "GET", "/ws/Monitor").status == 403
        digi.do(setattr, digi.digi, "subscribed", True)
        assert ask(digi, "GET", "/ws/Monitor").status == 200
    finally:
        digi.do(setattr, digi.digi, "subscribed", True)
        digi.do(setattr, digi.digi, "at_once", 4)


@pytest.mark.parametrize(
    "method, path, body",
    [
        ("PUT", "/ws/Monitor/{}", "<Monitor><monTopic>DataPoint</monTopic></Monitor>"),
        ("POST", "/ws/v1/monitors/inventory/{}/reset", None),
        ("PUT", "/ws/v1/monitors/inventory/{}/reset", None),
    ],
)
def test_a_disabled_monitor_is_given_up_until_it_is_enabled(digi, method, path, body):
    monitor = digi.make(AutoReplayOnConnect="true")
    push = Push(digi, monitor).connected()
    digi.do(digi.monitor(monitor).disable)
    assert push.message() is None
    digi.wait_status(monitor, "DISABLED")
    digi.point("lost")
    assert Push(digi, monitor).message() == (2, struct.pack(">HH", 400, 1))
    digi.wait_status(monitor, "DISABLED")
    assert ask(digi, method, path.format(monitor), body).status == 200
    digi.wait_status(monitor, "INACTIVE")
    push = Push(digi, monitor).connected()
    digi.point("heard")
    assert b'"heard"' in push.block()[4]
    assert ask(digi, method, path.format(1), body).status == 404


def test_disabled_outlives_a_restart(tmp_path):
    with digi_rig.running(tmp_path / "digi", tls=False, keep=True) as digi:
        monitor = digi.make()
        digi.do(digi.monitor(monitor).disable)
    with digi_rig.running(tmp_path / "digi", tls=False, keep=True) as digi:
        assert digi.monitor(monitor).status == "DISABLED"


# ---- what must not reach a device, and what must not stop a start


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_no_json_reach_no_block(digi, text):
    """By a device's message or by a program: nothing, or what every JSON reader takes."""
    monitor = digi.make("DataPoint")
    push = Push(digi, monitor).connected()
    payload = ('{{"bad":{0},"good":1}}'.format(text)).encode()

    class Client:
        client_id = "dev"

    class Packet:
        pass

    Packet.payload = payload
    digi.do(digi_module.Watcher(digi.digi).published, Client, Packet)
    push.silent()
    with pytest.raises(ValueError):
        digi.do(digi.digi.data_point, "dev/x", float(text))
    with pytest.raises(ValueError):
        digi.do(digi.digi.publish, "Job", "1", {"a": [float(text)]})
    digi.point(2)
    assert json.loads(push.block()[4])["Document"]["Msg"]["DataPoint"]["data"] == 2


@pytest.mark.parametrize("format_type", ["json", "xml"])
def test_half_a_surrogate_pair_reaches_no_block(digi, format_type):
    monitor = digi.make("DataPoint", FormatType=format_type)
    push = Push(digi, monitor).connected()
    with pytest.raises(ValueError):
        digi.point("\ud83d")
    digi.point("\U0001f600")
    assert "\U0001f600" in (
        push.block()[4].decode()
        if format_type == "xml"
        else json.loads(push.block()[4])["Document"]["Msg"]["DataPoint"]["data"]
    )


def test_an_odd_row_of_the_store_is_told_and_the_rest_is_served(tmp_path, caplog):
    with digi_rig.running(tmp_path / "digi", tls=False, keep=True) as digi:
        good = digi.make(AutoReplayOnConnect="true", AckOption="explicit")
        others = [digi.make() for _ in range(3)]
        push = Push(digi, good).connected()
        for n in range(3):
            digi.point(n)
        push.block()
        push.close()
        digi.wait_status(good, "SUSPENDED")
    with sqlite3.connect(str(tmp_path / "digi" / "cloud.db")) as base:
        for id, fields in zip(others, ("{", "[]", '{"monTopic":"Nonsense"}')):
            base.execute("UPDATE digi_monitors SET fields = ? WHERE id = ?", (fields, id))
        base.execute("UPDATE digi_events SET event = '[1]' WHERE seq = 2")
    with digi_rig.running(tmp_path / "digi", tls=False, keep=True) as digi:
        assert list(digi.digi.monitors) == [good]
        assert digi.digi.odd.count == 4
        push = Push(digi, good).connected()
        seen = []
        for _ in range(2):
            block = push.block()
            seen.append(json.loads(block[4])["Document"]["Msg"]["DataPoint"]["data"])
            push.ack(block[0])
        assert seen == [0, 2]
        assert digi.make() > max(others)
    for id in others:
        assert "monitor {}".format(id) in caplog.text
