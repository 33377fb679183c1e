"""ibmiotf/device.py: the device client, against a service side that notes every packet."""

import json
import socket
import time

import pytest
from ibm_rig import DEVICE as OPTIONS
from ibm_rig import WATCH, indented
from ibm_rig import rig as make_rig
from localcloud import pki
from localcloud.mqtt import codec as mq

COMMANDS = "iot-2/cmd/+/fmt/+"

START = (
    WATCH
    + """
    import ibmiotf.device
    import time

    client = ibmiotf.device.Client(options)
    errors = []
    client.errorCallback = lambda e: errors.append(type(e).__name__ + ": " + str(e))
    clients = [client]

"""
)


def options(rig, **more):
    return dict(OPTIONS, port=rig.port, **{k.replace("_", "-"): v for k, v in more.items()})


# ---- connecting


def test_connect_presents_the_device_and_subscribes_to_its_commands(board, rig):
    board.run(START + "    client.connect()\n    client.disconnect()", options=options(rig))
    rig.wait(lambda: rig.witness.ends)
    assert rig.witness.connects == [
        {
            "id": "d:abc123:pump:p1",
            "user": "use-token-auth",
            "password": b"s3cret",
            "keepalive": 60,
            "clean": True,
            "will": None,
            "secure": False,
            "websocket": False,
        }
    ]
    assert rig.witness.subscribes == [(COMMANDS, 2)]
    assert rig.witness.ends == ["normal"]


def test_connecting_twice_is_connecting_once(board, rig):
    board.run(START + "    client.connect()\n    client.connect()", options=options(rig))
    assert len(rig.witness.connects) == 1


def test_a_program_that_only_calls_do_next_is_connected_too(board, rig):
    board.run(START + "    until(client.isConnected)", options=options(rig))
    assert len(rig.witness.connects) == 1


def test_options_reach_the_connection(board, rig):
    for value in (False, "false", True, "true"):
        board.run(START + "    client.connect()", options=options(rig, clean_session=value))
    assert [connect["clean"] for connect in rig.witness.connects] == [False, False, True, True]


def test_quickstart_has_no_credentials_and_no_commands(board, rig):
    quick = {"org": "quickstart", "type": "t", "id": "i", "host": "127.0.0.1", "port": rig.port}
    run = board.run(
        START + "    client.connect()\n    report(sent=client.publishEvent('a', {}))\n"
        "    client.disconnect()",
        options=quick,
    )
    assert run.report["sent"] is True
    rig.wait(lambda: rig.witness.ends)
    connect = rig.witness.connects[0]
    assert (connect["id"], connect["user"], connect["password"]) == (
        "d:quickstart:t:i",
        None,
        None,
    )
    assert rig.witness.subscribes == []
    assert [p.topic for p in rig.witness.publishes] == ["iot-2/evt/a/fmt/json"]


REFUSALS = [
    (mq.NOT_AUTHORISED, "refused: not authorized; check auth-token"),
    (mq.BAD_USER, "refused: user name or password; check auth-token"),
    (3, "refused: server unavailable"),
]


@pytest.mark.parametrize("code, text", REFUSALS)
def test_a_refusal_is_a_connection_exception_that_says_what_to_check(board, rig, code, text):
    rig.witness.refuse = code
    run = board.run(
        START
        + """
    try:
        client.connect()
    except ibmiotf.ConnectionException as e:
        report(text=str(e), kept=str(client.error))
    """,
        options=options(rig),
    )
    got = run.report
    assert got["text"] == got["kept"]
    assert "127.0.0.1:%d" % rig.port in got["text"]
    assert "d:abc123:pump:p1" in got["text"]
    assert text in got["text"]
    assert "s3cret" not in got["text"]


def test_a_refused_program_goes_on_and_connects_once_it_is_let_in(board, rig):
    rig.witness.refuse = mq.NOT_AUTHORISED
    program = board.start(
        START
        + """
    client.link.backoff_ms = 50
    client.link.backoff_max_ms = 100
    until(lambda: errors)
    report(errors=errors)
    until(client.isConnected)
    report(up=True)
    """,
        options=options(rig),
    )
    assert "not authorized" in program.next_report()["errors"][0]
    rig.witness.refuse = mq.ACCEPTED
    assert program.next_report()["up"]


def test_nobody_listening_is_a_connection_exception_with_the_address(board):
    run = board.run(
        START
        + """
    try:
        client.connect()
    except ibmiotf.ConnectionException as e:
        report(text=str(e))
    """,
        options=dict(OPTIONS, port=1),
    )
    assert "127.0.0.1:1" in run.report["text"]


def test_connect_waits_ten_seconds_for_a_service_that_says_nothing_and_no_longer(board):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        run = board.run(
            START
            + """
    start = time.ticks_ms()
    try:
        client.connect()
    except ibmiotf.ConnectionException as e:
        report(text=str(e), ms=time.ticks_diff(time.ticks_ms(), start))
    """,
            options=dict(OPTIONS, port=silent.getsockname()[1]),
        )
    assert 9000 < run.report["ms"] < 15000
    assert "within 10 s" in run.report["text"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    authority = pki.Authority("the test's CA")
    directory = tmp_path_factory.mktemp("pki")
    ca = directory / "ca.der"
    ca.write_bytes(authority.der)
    issued = authority.issue_server(["localhost", "127.0.0.1"])
    return issued.server_context(), str(ca)


@pytest.mark.parametrize("transport", ["tcp", "websockets"])
def test_credentials_travel_over_verified_tls_unless_told_otherwise(
    board, certificates, transport
):
    context, ca = certificates
    with make_rig(tls=context, websocket=transport == "websockets") as rig:
        wanted = dict(options(rig), host="localhost", ca=ca, transport=transport)
        del wanted["ssl"]
        board.run(START + "    client.connect()\n    client.disconnect()", options=wanted)
        rig.wait(lambda: rig.witness.ends)
        connect = rig.witness.connects[0]
        assert connect["secure"]
        assert connect["websocket"] == (transport == "websockets")


UNSET_CLOCK = """
    import time
    real = time.gmtime

    class Unset:
        def __getattr__(self, name):
            return getattr(time, name)

        def gmtime(self, *at):
            return (2000,) + tuple(real(*at))[1:]

    import ibmiotf  # first: as built, its file holds the netstream that it uses
    import netstream
    netstream.time = Unset()
"""


def test_an_unset_clock_with_tls_is_an_error_that_says_so(board, certificates):
    context, ca = certificates
    with make_rig(tls=context) as rig:
        wanted = dict(options(rig), host="localhost", ca=ca)
        del wanted["ssl"]
        run = board.run(
            UNSET_CLOCK
            + START
            + """
    try:
        client.connect()
    except ibmiotf.ConnectionException as e:
        report(text=str(e))
    """,
            options=wanted,
        )
        assert "clock not set" in run.report["text"] and "NTP" in run.report["text"]
        assert rig.witness.connects == []


# ---- events


def sent(rig, count):
    rig.wait(lambda: len(rig.witness.publishes) >= count)
    return [(p.topic, json.loads(p.payload), p.qos, p.retain) for p in rig.witness.publishes]


def test_both_documented_forms_of_publish_event(board, rig):
    run = board.run(
        START
        + """
    client.connect()
    data = {"tank": "two", "bar": 31, "rpm": 9}
    got = [
        client.publishEvent("status", data),
        client.publishEvent("status", data, 2),
        client.publishEvent("status", data, qos=1),
        client.publishEvent(event="status", data=data, qos=1),
        client.publishEvent("status", None),
        client.publishEvent("status", "json", data),
        client.publishEvent("status", "json", data, 1),
        client.publishEvent("status", msgFormat="json-iotf", data=data, qos=2),
        client.publishEvent("status", "json", [1, "a"]),
    ]
    until(lambda: not client.link.inflight)
    client.disconnect()
    report(got=got)
    """,
        options=options(rig),
    )
    assert run.report["got"] == [True] * 9
    topic = "iot-2/evt/status/fmt/json"
    data = {"tank": "two", "bar": 31, "rpm": 9}
    assert sent(rig, 9) == [
        (topic, {"d": data}, 0, False),
        (topic, {"d": data}, 2, False),
        (topic, {"d": data}, 1, False),
        (topic, {"d": data}, 1, False),
        (topic, {"d": {}}, 0, False),
        (topic, data, 0, False),
        (topic, data, 1, False),
        ("iot-2/evt/status/fmt/json-iotf", {"d": data}, 2, False),
        (topic, [1, "a"], 0, False),
    ]


def test_pain_27_a_qos_is_a_qos_and_never_a_retain_flag(board, rig):
    board.run(
        START
        + """
    client.connect()
    for qos in (0, 1, 2):
        client.publishEvent("e", {"qos": qos}, qos)
    until(lambda: not client.link.inflight)
    """,
        options=options(rig),
    )
    assert [(q, r) for _, _, q, r in sent(rig, 3)] == [(0, False), (1, False), (2, False)]


def test_bad_events_are_refused_with_a_reason_and_the_program_goes_on(board, rig):
    cases = [
        ["", {}],
        ["a/b", {}],
        ["+", {}],
        ["#", {}],
        ["x" * 33, {}],
        [None, {}],
        ["e", [1]],
        ["e", {"t": "x" * 131072}],
        ["e", "json"],
        ["e", "csv", "1,2"],
        ["e", {}, 3],
        ["e", {}, "1"],
        ["e", {"t": "\u00e9" * 65536}],  # 128 KB in bytes, half of that in characters
    ]
    run = board.run(
        START
        + """
    client.connect()
    for case in cases:
        try:
            report(sent=client.publishEvent(*case))
        except ValueError as e:
            report(error=type(e).__name__, text=str(e))
    report(sent=client.publishEvent("good", {}))
    client.disconnect()
    """,
        options=options(rig),
        cases=cases,
    )
    reports = run.reports
    for report, text in zip(
        reports,
        ["evt: must be 1 to 32"] * 6
        + ["not a dict", "over 131072", None, "csv", "qos", "qos", "over 131072"],
    ):
        if text:
            assert text in report.get("text", report), report
    assert reports[8] == {"sent": True}  # the later form; its data is None, which JSON holds
    assert reports[9]["error"] == "MissingMessageEncoderException"
    assert reports[-1] == {"sent": True}
    topics = [topic for topic, _, _, _ in sent(rig, 2)]
    assert topics == ["iot-2/evt/e/fmt/json", "iot-2/evt/good/fmt/json"]


def test_the_largest_payload_that_the_service_takes_is_sent(board, rig):
    n = 131072 - len('{"d":{"t":""}}') - 2  # MicroPython puts a space behind each colon
    run = board.run(
        START
        + """
    client.connect()
    report(sent=client.publishEvent("e", {"t": "x" * n}, 1))
    until(lambda: not client.link.inflight)
    """,
        options=options(rig),
        n=n,
    )
    assert run.report["sent"] is True
    assert len(sent(rig, 1)[0][1]["d"]["t"]) == n


def test_offline_qos_0_is_false_at_once_and_qos_1_is_kept_until_the_window_is_full(board):
    run = board.run(
        START
        + """
    start = time.ticks_ms()
    got = [client.publishEvent("e", {})]
    got += [client.publishEvent("e", {}, 1) for _ in range(17)]
    report(got=got, ms=time.ticks_diff(time.ticks_ms(), start), error=str(client.error))
    """,
        options=dict(OPTIONS, port=1),
    )
    assert run.report["got"] == [False] + [True] * 16 + [False]
    assert run.report["ms"] < 4000
    assert "window full" in run.report["error"]


def test_what_was_kept_goes_out_in_order_once_connected(board, rig):
    run = board.run(
        START
        + """
    for i in range(10):
        client.publishEvent("e", {"i": i}, 1 + i % 2)
    client.connect()
    until(lambda: not client.link.inflight)
    report(errors=errors)
    """,
        options=options(rig),
    )
    assert run.report["errors"] == []
    assert [data["d"]["i"] for _, data, _, _ in sent(rig, 10)] == list(range(10))


def test_a_fast_publisher_is_slowed_down_and_loses_nothing(board, rig):
    board.run(
        START
        + """
    client.connect()
    for i in range(300):
        assert client.publishEvent("e", {"i": i}, 1)
    until(lambda: not client.link.inflight)
    """,
        options=options(rig),
    )
    assert [data["d"]["i"] for _, data, _, _ in sent(rig, 300)] == list(range(300))


def test_a_service_that_acknowledges_nothing_makes_a_publish_wait_and_then_be_false(board, rig):
    """5 s at most: a watchdog of 8 s, fed once a loop, must not fire."""
    rig.witness.acknowledge = False
    run = board.run(
        START
        + """
    client.connect()
    got = [client.publishEvent("e", {}, 1) for _ in range(16)]
    start = time.ticks_ms()
    got.append(client.publishEvent("e", {}, 1))
    report(got=got, ms=time.ticks_diff(time.ticks_ms(), start), error=str(client.error))
    """,
        options=options(rig),
    )
    assert run.report["got"] == [True] * 16 + [False]
    assert 3000 < run.report["ms"] < 7500
    assert "window full" in run.report["error"]


def test_events_carry_the_time_when_the_client_is_given_a_clock(board, rig):
    board.run(
        START
        + """
    from ibmiotf import timestamp
    client.connect()
    client.now = timestamp.now
    client.publishEvent("e", {"a": 1})
    client.now = lambda: None  # what timestamp.now gives while the clock is unset
    client.publishEvent("e", {"a": 1})
    client.disconnect()
    """,
        options=options(rig),
    )
    (_, first, _, _), (_, second, _, _) = sent(rig, 2)
    assert sorted(first) == ["d", "ts"]
    stamp = time.strptime(first["ts"][:19] + first["ts"][-6:], "%Y-%m-%dT%H:%M:%S+00:00")
    assert abs(time.mktime(stamp) - time.mktime(time.gmtime())) < 3600
    assert second == {"d": {"a": 1}}


# ---- commands


HEAR = (
    START
    + """
    def hear(c):
        report(command=c.command, format=c.format, data=c.data, payload=c.payload,
               timestamp=c.timestamp.isoformat())

    client.commandCallback = hear
    client.connect()
    report(ready=True)
    until(lambda: errors)
    report(errors=errors)
    """
)


def test_commands_arrive_with_their_documented_attributes(board, rig):
    program = board.start(HEAR, options=options(rig))
    assert program.next_report()["ready"]
    rig.wait(lambda: rig.witness.subscribes)
    payload = '{"d":{"interval":5},"ts":"2026-01-05T09:00:00+01:00"}'
    rig.send("iot-2/cmd/setInterval/fmt/json", payload, 1)
    assert program.next_report() == {
        "command": "setInterval",
        "format": "json",
        "data": {"interval": 5},
        "payload": payload,
        "timestamp": "2026-01-05T08:00:00+00:00",
    }
    rig.send("iot-2/cmd/print/fmt/json-iotf", "[1]", 0)
    got = program.next_report()
    assert (got["command"], got["format"], got["data"]) == ("print", "json-iotf", [1])
    year = time.gmtime()[0]
    assert got["timestamp"].startswith(str(year)) and got["timestamp"].endswith("+00:00")


def test_a_message_that_cant_be_read_reaches_the_error_callback_and_costs_nothing_else(board, rig):
    program = board.start(
        START
        + """
    got = []
    client.commandCallback = lambda c: got.append(c.data)
    client.connect()
    report(ready=True)
    until(lambda: len(got) == 1)
    report(errors=errors, connected=client.isConnected())
    """,
        options=options(rig, max_packet=300),
    )
    program.next_report()
    rig.wait(lambda: rig.witness.subscribes)
    for topic, payload in (
        ("iot-2/cmd/go/fmt/json", '{"d":{"a":1,}}'),
        ("iot-2/cmd/go/fmt/json", b"\xff\xfe"),
        ("iot-2/cmd/go/fmt/csv", "1,2"),
        ("iot-2/cmd/go/fmt/json", "[" * 200),
        ("iot-2/cmd/go/fmt/json", '"%s"' % ("x" * 400)),
        ("iot-2/cmd//fmt/json", "{}"),
        ("iot-2/cmd/go/fmt/", "{}"),
        ("iot-2/cmd/go/fmt/json", "{}"),
    ):
        rig.send(topic, payload, 1)
    got = program.next_report()
    assert got["connected"]
    assert [e.split(":")[0] for e in got["errors"]] == [
        "InvalidEventException",
        "InvalidEventException",
        "MissingMessageDecoderException",
        "InvalidEventException",
        "ConnectionException",
        "InvalidEventException",
        "InvalidEventException",
    ]
    assert all("no command: " in error for error in got["errors"][5:])
    # The size of the whole packet but its head: what max-packet must be at least.
    assert "over max-packet: " in got["errors"][4] and "(427)" in got["errors"][4]
    assert "iot-2/cmd/go/fmt/json" in got["errors"][4]
    assert len(rig.witness.connects) == 1


def test_a_callback_may_publish_and_what_it_raises_comes_out_of_do_next(board, rig):
    program = board.start(
        START
        + """
    def hear(c):
        if c.command == "echo":
            report(sent=client.publishEvent("echo", c.data, 1))
        else:
            raise KeyError(c.command)

    client.commandCallback = hear
    client.connect()
    report(ready=True)
    try:
        until(lambda: False)
    except KeyError as e:
        report(raised=str(e.args[0]), connected=client.isConnected())
    """,
        options=options(rig),
    )
    program.next_report()
    rig.wait(lambda: rig.witness.subscribes)
    rig.send("iot-2/cmd/echo/fmt/json", '{"d":{"a":1}}', 1)
    assert program.next_report() == {"sent": True}
    assert sent(rig, 1) == [("iot-2/evt/echo/fmt/json", {"d": {"a": 1}}, 1, False)]
    rig.send("iot-2/cmd/fail/fmt/json", "{}", 1)
    assert program.next_report() == {"raised": "fail", "connected": True}


def test_a_program_that_only_publishes_hears_its_commands(board, rig):
    """As the old libraries' programs do, whose network ran in a thread."""
    program = board.start(
        START
        + """
    interval = 1

    def myCommandCallback(cmd):
        global interval
        interval = cmd.data["interval"]

    client.connect()
    client.commandCallback = myCommandCallback
    report(ready=True)
    while interval == 1:
        client.publishEvent("status", {"bar": 31})
        time.sleep_ms(20)
    report(interval=interval)
    """,
        options=options(rig),
    )
    program.next_report()
    rig.wait(lambda: rig.witness.subscribes)
    rig.send("iot-2/cmd/setInterval/fmt/json", '{"d":{"interval":7}}')
    assert program.next_report() == {"interval": 7}


def test_after_a_cut_the_device_is_back_with_its_subscription(board, rig):
    program = board.start(
        START
        + """
    client.link.backoff_ms = 50
    client.commandCallback = lambda c: report(command=c.command)
    client.connect()
    report(ready=True)
    until(lambda: errors)
    report(down=True)
    until(lambda: False)
    """,
        options=options(rig),
    )
    program.next_report()
    rig.wait(lambda: len(rig.witness.subscribes) == 1)
    rig.cut()
    assert program.next_report()["down"]
    rig.wait(lambda: len(rig.witness.subscribes) == 2)
    rig.send("iot-2/cmd/go/fmt/json", "{}")
    assert program.next_report() == {"command": "go"}


def test_a_refused_subscription_reaches_the_error_callback(board, rig):
    rig.witness.refused = (COMMANDS,)
    run = board.run(
        START + "    client.connect()\n    until(lambda: errors)\n    report(errors=errors)",
        options=options(rig),
    )
    (error,) = run.report["errors"]
    assert error.startswith("ConnectionException: subscription refused: ")


def test_own_codecs_serve_any_format(board, rig):
    program = board.start(
        START
        + """
    class Csv:
        def encode(self, data, timestamp):
            assert timestamp.isoformat()
            return ",".join(str(x) for x in data)

        def decode(self, message):
            text = bytes(message.payload).decode()
            if not text:
                raise ValueError("empty csv")
            return ibmiotf.Message([int(x) for x in text.split(",")], "2026-01-05T09:00:00Z")

    from ibmiotf import timestamp
    client.now = timestamp.now
    client.setMessageEncoderModule("csv", Csv())
    client.commandCallback = lambda c: report(
        data=c.data, payload=c.payload, at=c.timestamp.isoformat()
    )
    client.connect()
    report(sent=client.publishEvent("e", "csv", [1, 2], 1))
    until(lambda: errors)
    report(errors=errors)
    """,
        options=options(rig),
    )
    assert program.next_report() == {"sent": True}
    rig.wait(lambda: rig.witness.publishes and rig.witness.subscribes)
    packet = rig.witness.publishes[0]
    assert (packet.topic, packet.payload) == ("iot-2/evt/e/fmt/csv", b"1,2")
    rig.send("iot-2/cmd/c/fmt/csv", "3,4")
    got = program.next_report()
    assert got == {"data": [3, 4], "payload": "3,4", "at": "2026-01-05T09:00:00+00:00"}
    rig.send("iot-2/cmd/c/fmt/csv", "")
    assert program.next_report() == {"errors": ["ValueError: empty csv"]}


def test_no_secret_is_in_what_a_client_shows(board, rig):
    run = board.run(
        START
        + "    client.connect()\n    report(text=repr(client) + str(client) + repr(client.link))",
        options=options(rig),
    )
    assert "s3cret" not in run.report["text"]


# ---- what the field throws at it


def test_pain_34_a_pair_of_escapes_is_one_character_in_and_utf_8_out(board, rig):
    program = board.start(
        START
        + """
    def hear(c):
        got.append(c.data)
        client.publishEvent("echo", c.data, 1)

    got = []
    client.commandCallback = hear
    client.connect()
    report(ready=True)
    until(lambda: len(got) == 2 and not client.link.inflight)
    refused = 0
    for data in ({"a": chr(0xD83D)}, {chr(0xDE00): 1}, {"a": [chr(0xD83D), chr(0xDE00)]}):
        try:
            client.publishEvent("bad", data, 1)
        except ibmiotf.InvalidEventException:
            refused += 1
    report(lengths=[len(data["text"]) for data in got], refused=refused, errors=errors)
    """,
        options=options(rig),
    )
    program.next_report()
    rig.wait(lambda: rig.witness.subscribes)
    rig.send("iot-2/cmd/go/fmt/json", '{"d":{"text":"\\ud83d\\ude00"}}', 1)
    rig.send("iot-2/cmd/go/fmt/json", '{"d":{"text":"\\ud83d!"}}', 1)
    assert program.next_report() == {"lengths": [1, 2], "refused": 3, "errors": []}
    assert [p.payload for p in rig.witness.publishes] == [
        '{"d": {"text": "\U0001f600"}}'.encode(),
        '{"d": {"text": "\ufffd!"}}'.encode(),
    ]


def test_pain_40_the_iotf_form_is_exactly_rfc_8259_and_names_may_come_twice(board, rig):
    bad = ['{"d" {}}', '{"d":{"a":01}}', '{"d":{"a":1.}}', '{"d":{"a":+1}}', '{"d":{"a":NaN}}']
    bad += ['{"d":{"a":Infinity}}', '{"d":{"a":1 "b":2}}', '{"d":{},}', '{"d":{}}}', '{"d":{}} 1']
    program = board.start(
        START
        + """
    got = []
    client.commandCallback = lambda c: got.append(c.data)
    client.connect()
    report(ready=True)
    until(lambda: len(got) == 2)
    report(got=got, errors=errors)
    """,
        options=options(rig),
    )
    program.next_report()
    rig.wait(lambda: rig.witness.subscribes)
    rig.send("iot-2/cmd/go/fmt/json", '{"d":{"a":1,"a":2}}', 1)
    for payload in bad:
        rig.send("iot-2/cmd/go/fmt/json", payload, 1)
    rig.send("iot-2/cmd/go/fmt/json", b"\xef\xbb\xbf" + b'{"d":{"a":3}}', 1)
    report = program.next_report()
    assert report["got"] == [{"a": 2}, {"a": 3}]
    assert [e.split(":")[0] for e in report["errors"]] == ["InvalidEventException"] * len(bad)


def test_pain_58_a_command_sent_at_qos_2_is_heard_once_whatever_happens_on_the_way(board, rig):
    program = board.start(
        START
        + """
    client.link.backoff_ms = 20
    got = []
    client.commandCallback = lambda c: got.append(c.data["i"])
    client.connect()
    report(ready=True)
    until(lambda: got)
    report(got=len(got))
    until(lambda: 19 in got, 30)
    report(got=got)
    """,
        options=options(rig, clean_session=False),
    )
    program.next_report()
    rig.wait(lambda: rig.witness.subscribes)
    assert rig.witness.subscribes == [(COMMANDS, 2)]
    for i in range(10):
        rig.send("iot-2/cmd/go/fmt/json", '{"i":%d}' % i, 2)
    program.next_report()
    rig.cut()
    for i in range(10, 20):
        rig.send("iot-2/cmd/go/fmt/json", '{"i":%d}' % i, 2)
    assert program.next_report()["got"] == list(range(20))


def test_a_command_that_nobody_waits_for_does_no_harm(board, rig):
    """A program that only sends sets no commandCallback."""
    program = board.start(
        START
        + """
    import sys

    client.connect()
    report(callback=client.commandCallback)
    sys.stdin.readline()
    for _ in range(20):
        client.do_next(20)
    report(errors=errors, connected=client.isConnected())
    """,
        options=options(rig),
    )
    assert program.next_report() == {"callback": None}
    rig.wait(lambda: rig.witness.subscribes)
    rig.send("iot-2/cmd/go/fmt/json", "{}", 1)
    program.send("go")
    assert program.next_report(30) == {"errors": [], "connected": True}


def test_pain_33_a_message_for_which_there_is_no_memory_is_not_called_too_long(board, rig):
    program = board.start(
        START
        + """
    class Codec:
        encode = None

        @staticmethod
        def decode(message):
            raise MemoryError

    got = []
    client.link.backoff_ms = 20
    client.commandCallback = lambda c: got.append(c.command)
    client.setMessageEncoderModule("x", Codec)
    client.connect()
    report(ready=True)
    until(lambda: len(got) == 1)
    report(errors=[e for e in errors if "iot-2/cmd" in e])
    """,
        options=options(rig, clean_session=False),
    )
    program.next_report()
    rig.wait(lambda: rig.witness.subscribes)
    rig.send("iot-2/cmd/large/fmt/x", "12345", 1)
    rig.send("iot-2/cmd/good/fmt/json", "{}", 1)
    (error,) = program.next_report(30)["errors"]
    assert error.startswith("ConnectionException: no memory for") and "(5)" in error
    assert "iot-2/cmd/large/fmt/x" in error and "max-packet" not in error


RAISES = ["commandCallback", "errorCallback", "decoder", "encoder"]


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "MemoryError", "SystemExit", "OSError"])
@pytest.mark.parametrize("place", RAISES)
def test_pain_33_an_exception_anywhere_in_the_programs_part_leaves_a_client_that_works(
    board, rig, place, error
):
    """It comes out of the call, or reaches errorCallback; the next command and event arrive."""
    program = board.start(
        START + indented("ibmiotf_device_burns").replace("ERROR", error),
        options=options(rig, clean_session=False),
        place=place,
    )
    program.next_report()
    rig.wait(lambda: rig.witness.subscribes)
    rig.send("iot-2/cmd/bad/fmt/json", "{", 1)
    rig.send("iot-2/cmd/first/fmt/x", "1", 1)
    rig.send("iot-2/cmd/last/fmt/x", "1", 1)
    report = program.next_report(30)
    assert "last" in report["got"] and report["left"] == 0, report
    # The link takes a lack of memory in a callback for the end of the connection, and dials again.
    told = [error] + ["ConnectionException"] * (error == "MemoryError")
    assert set(told) & set(report["raised"] + report["errors"]), report
    assert rig.witness.publishes[-1].topic == "iot-2/evt/second/fmt/x"


LOGGING = indented("ibmiotf_device_logging")


def test_pain_61_logging_tells_what_the_client_does_and_no_secret(board, rig):
    program = board.start(
        LOGGING
        + START.replace("Client(options)", 'Client(options, logHandlers=["mine", "yours"])')
        + """
    got = []
    client.commandCallback = got.append
    client.connect()
    client.publishEvent("status", {"pin": "hidden"}, 1)
    report(ready=True)
    until(lambda: got and errors)
    client.disconnect()
    report(lines=lines, handlers=client.logger.handlers)
    """,
        options=options(rig),
    )
    program.next_report()
    rig.wait(lambda: rig.witness.subscribes)
    rig.send("iot-2/cmd/go/fmt/json", '{"pin":"hidden"}', 1)
    rig.send("iot-2/cmd/go/fmt/json", "{", 1)
    report = program.next_report()
    text = "\n".join(report["lines"])
    for wanted in (
        "ibmiotf info: Connected successfully: d:abc123:pump:p1",
        "ibmiotf debug: Sent: ",
        "iot-2/evt/status/fmt/json",
        "ibmiotf debug: Received: ",
        "ibmiotf error: not JSON: ",
    ):
        assert wanted in text, text
    assert "s3cret" not in text and "hidden" not in text
    assert report["handlers"] == ["mine", "yours"]


def test_pain_61_without_logging_nothing_is_missed(board, rig):
    run = board.run(
        START
        + """
    client.connect()
    report(logger=client.logger, sent=client.publishEvent("e", {}))
    """,
        options=options(rig),
    )
    assert run.report == {"logger": None, "sent": True}
