"""ibmiotf/application.py: the application client, against a service side that notes all."""

import json

from ibm_rig import APPLICATION as OPTIONS
from ibm_rig import WATCH

QUICK = {"org": "quickstart", "id": "dash", "host": "127.0.0.1"}

START = (
    WATCH
    + """
    import ibmiotf.application
    import time

    client = ibmiotf.application.Client(options)
    watch = Watch(client)
    errors = []
    client.errorCallback = lambda e: errors.append(type(e).__name__ + ": " + str(e))
    clients = [client]

    def settle():
        until(watch.settled)

"""
)


def options(rig, base=OPTIONS, **more):
    return dict(base, port=rig.port, **more)


# ---- connecting


def test_connect_presents_the_application(board, rig):
    board.run(START + "    client.connect()", options=options(rig))
    connect = rig.witness.connects[0]
    assert (connect["id"], connect["user"], connect["password"], connect["clean"]) == (
        "a:abc123:dash",
        "a-abc123-key",
        b"s3cret",
        True,
    )
    assert rig.witness.subscribes == []


def test_a_shared_application_is_one_of_several_with_a_clean_session_and_qos_0(board, rig):
    board.run(
        START + "    client.connect()\n    client.subscribeToDeviceEvents(qos=2)\n    settle()",
        options=options(rig, type="shared", **{"clean-session": False}),
    )
    connect = rig.witness.connects[0]
    assert (connect["id"], connect["clean"]) == ("A:abc123:dash", True)
    assert rig.witness.subscribes == [("iot-2/type/+/id/+/evt/+/fmt/+", 0)]


def test_what_nobody_waits_for_does_no_harm(board, rig):
    """All four callbacks are None at first, and a message for each of them costs nothing."""
    program = board.start(
        START
        + """
    import sys

    CALLBACKS = ("deviceEvent", "deviceCommand", "deviceStatus", "appStatus")
    none = [getattr(client, name + "Callback") for name in CALLBACKS] == [None] * 4
    client.connect()
    client.subscribeToDeviceEvents()
    client.subscribeToDeviceCommands()
    client.subscribeToDeviceStatus()
    client.subscribeToAppStatus()
    settle()
    report(none=none)
    sys.stdin.readline()
    for _ in range(20):
        client.do_next(20)
    report(errors=errors, connected=client.isConnected())
    """,
        options=options(rig),
    )
    assert program.next_report() == {"none": True}
    status = json.dumps({"Action": "Connect"})
    for topic, payload in (
        ("iot-2/type/t/id/d/evt/e/fmt/json", "{}"),
        ("iot-2/type/t/id/d/cmd/c/fmt/json", "{}"),
        ("iot-2/type/t/id/d/mon", status),
        ("iot-2/app/a/mon", status),
    ):
        rig.send(topic, payload)
    program.send("go")
    assert program.next_report(30) == {"errors": [], "connected": True}


def test_missing_and_wrong_options_are_named(board):
    cases = [
        ("org", None, "Missing required property: org"),
        ("id", None, "Missing required property: id"),
        ("auth-method", None, "Missing required property: auth-method"),
        ("auth-key", None, "Missing required property: auth-key"),
        ("auth-token", "", "Missing required property: auth-token"),
        ("auth-method", "token", "must be apikey"),
        ("id", "a/b", "id: must be 1 to 128"),
        ("id", "+", "id: must be 1 to 128"),
        ("org", "a/b", "org: must be 1 to"),
    ]
    run = board.run(
        """
        import ibmiotf.application
        for o in options:
            try:
                ibmiotf.application.Client(o)
                report(text="no error")
            except ibmiotf.ConnectionException as e:
                report(text=str(e))
        """,
        options=[dict(OPTIONS, **{key: value}) for key, value, _ in cases],
    )
    for (key, value, text), report in zip(cases, run.reports):
        assert text in report["text"], (key, value)
        assert "s3cret" not in report["text"]


def test_an_application_id_has_no_rules_but_mqtts(board, rig):
    name = "My dashboard \u00e9:7 " + "x" * 40
    name = name.replace(" ", "_")
    board.run(START + "    client.connect()", options=options(rig, id=name))
    assert rig.witness.connects[0]["id"] == "a:abc123:" + name


# ---- subscribing


def test_every_documented_subscription_becomes_its_topic_filter(board, rig):
    run = board.run(
        START
        + """
    client.connect()
    got = [
        client.subscribeToDeviceEvents(),
        client.subscribeToDeviceEvents(deviceType="pump"),
        client.subscribeToDeviceEvents(event="status"),
        client.subscribeToDeviceEvents(deviceType="pump", deviceId="p1", event="status"),
        client.subscribeToDeviceEvents("pump", "p2", "status"),
        client.subscribeToDeviceEvents("pump", "p2", "status", "json", 1),
        client.subscribeToDeviceEvents(msgFormat="csv", qos=2),
        client.subscribeToDeviceStatus(),
        client.subscribeToDeviceStatus(deviceType="pump"),
        client.subscribeToDeviceStatus(deviceType="pump", deviceId="p1"),
        client.subscribeToDeviceCommands(),
        client.subscribeToDeviceCommands("pump", "p1", "reboot", "json"),
        client.subscribeToAppStatus(),
        client.subscribeToAppStatus("other"),
    ]
    settle()
    report(got=got, errors=errors)
    """,
        options=options(rig),
    )
    assert run.report == {"got": [True] * 14, "errors": []}
    assert rig.witness.subscribes == [
        ("iot-2/type/+/id/+/evt/+/fmt/+", 0),
        ("iot-2/type/pump/id/+/evt/+/fmt/+", 0),
        ("iot-2/type/+/id/+/evt/status/fmt/+", 0),
        ("iot-2/type/pump/id/p1/evt/status/fmt/+", 0),
        ("iot-2/type/pump/id/p2/evt/status/fmt/+", 0),
        ("iot-2/type/pump/id/p2/evt/status/fmt/json", 1),
        ("iot-2/type/+/id/+/evt/+/fmt/csv", 2),
        ("iot-2/type/+/id/+/mon", 0),
        ("iot-2/type/pump/id/+/mon", 0),
        ("iot-2/type/pump/id/p1/mon", 0),
        ("iot-2/type/+/id/+/cmd/+/fmt/+", 1),
        ("iot-2/type/pump/id/p1/cmd/reboot/fmt/json", 1),
        ("iot-2/app/+/mon", 0),
        ("iot-2/app/other/mon", 0),
    ]


def test_subscriptions_may_come_before_the_connection_and_outlive_it(board, rig):
    program = board.start(
        START
        + """
    client.link.backoff_ms = 50
    client.subscribeToDeviceEvents("pump")
    client.subscribeToDeviceStatus()
    client.connect()
    settle()
    report(ready=True)
    until(lambda: False)
    """,
        options=options(rig),
    )
    program.next_report()
    wanted = [("iot-2/type/pump/id/+/evt/+/fmt/+", 0), ("iot-2/type/+/id/+/mon", 0)]
    assert rig.witness.subscribes == wanted
    rig.cut()
    rig.wait(lambda: rig.witness.subscribes == wanted * 2)


def test_asking_again_and_again_without_a_connection_is_asking_once(board, rig):
    board.run(
        START
        + """
    for _ in range(50):
        client.subscribeToDeviceEvents()
    client.connect()
    client.subscribeToDeviceStatus()
    until(lambda: watch.settled)
    client.disconnect()
    """,
        options=options(rig),
    )
    rig.wait(lambda: rig.witness.ends)
    wanted = ["iot-2/type/+/id/+/evt/+/fmt/+", "iot-2/type/+/id/+/mon"]
    assert [f for f, _ in rig.witness.subscribes] == wanted


def test_bad_names_are_refused_and_nothing_is_sent(board, rig):
    calls = [
        ["subscribeToDeviceEvents", "pu/mp"],
        ["subscribeToDeviceEvents", "pump", ""],
        ["subscribeToDeviceEvents", "pump", "#"],
        ["subscribeToDeviceEvents", "pump", "p1", "a+"],
        ["subscribeToDeviceEvents", "pump", "p1", "a", "x" * 33],
        ["subscribeToDeviceStatus", "p" * 37],
        ["subscribeToDeviceCommands", "pump", "p1", "a/b"],
        ["subscribeToAppStatus", "a/b"],
        ["publishEvent", "+", "p1", "e", {}],
        ["publishEvent", "pump", "+", "e", {}],
        ["publishEvent", "pump", "p1", "+", {}],
        ["publishEvent", "pump", "p1", "e", {}, 3],
        ["publishCommand", "pump", "p/1", "c"],
        ["publishCommand", "pump", "p1", "c", [1]],
        ["publishCommand", "pump", "p1", "c", "csv", {}],
    ]
    run = board.run(
        START
        + """
    client.connect()
    for name, *args in calls:
        try:
            report(got=getattr(client, name)(*args))
        except ValueError as e:
            report(error=str(e))
    """,
        options=options(rig),
        calls=calls,
    )
    assert len(run.reports) == len(calls)
    for call, report in zip(calls, run.reports):
        assert "error" in report, call
    assert rig.witness.subscribes == [] and rig.witness.publishes == []


def test_a_refused_subscription_reaches_the_error_callback_by_name(board, rig):
    rig.witness.refused = ("iot-2/type/pump/id/+/mon",)
    run = board.run(
        START
        + """
    client.connect()
    client.subscribeToDeviceEvents()
    client.subscribeToDeviceStatus("pump")
    until(lambda: errors)
    report(errors=errors, connected=client.isConnected())
    """,
        options=options(rig),
    )
    assert run.report["errors"] == [
        "ConnectionException: subscription refused: iot-2/type/pump/id/+/mon"
    ]
    assert run.report["connected"]


def test_pain_63_quickstart_forbids_a_wildcard_for_type_and_application_only(board, rig):
    run = board.run(
        START
        + """
    client.connect()
    no = [
        client.subscribeToDeviceEvents(),
        client.subscribeToDeviceEvents(deviceId="p1"),
        client.subscribeToDeviceStatus(),
        client.subscribeToDeviceStatus(deviceId="p1"),
        client.subscribeToDeviceCommands("pump", "p1"),
        client.subscribeToAppStatus(),
        client.publishCommand("pump", "p1", "go", {}),
    ]
    yes = [
        client.subscribeToDeviceEvents("pump", "p1"),
        client.subscribeToDeviceEvents(deviceType="pump"),
        client.subscribeToDeviceStatus("pump", "p1"),
        client.subscribeToDeviceStatus("pump"),
        client.subscribeToAppStatus("other"),
    ]
    settle()
    try:
        client.api
    except ibmiotf.ConfigurationException as e:
        report(no=no, yes=yes, api=str(e))
    """,
        options=options(rig, QUICK),
    )
    assert run.report["no"] == [False] * 7 and run.report["yes"] == [True] * 5
    assert "QuickStart" in run.report["api"]
    connect = rig.witness.connects[0]
    assert (connect["id"], connect["user"], connect["secure"]) == (
        "a:quickstart:dash",
        None,
        False,
    )
    assert [f for f, _ in rig.witness.subscribes] == [
        "iot-2/type/pump/id/p1/evt/+/fmt/+",
        "iot-2/type/pump/id/+/evt/+/fmt/+",
        "iot-2/type/pump/id/p1/mon",
        "iot-2/type/pump/id/+/mon",
        "iot-2/app/other/mon",
    ]


# ---- hearing

HEAR = (
    START
    + """
    client.connect()
    client.subscribeToDeviceEvents(qos=2)
    client.subscribeToDeviceCommands(qos=2)
    client.subscribeToDeviceStatus()
    client.subscribeToAppStatus()
    settle()
"""
)


def test_events_and_commands_have_every_documented_attribute(board, rig):
    program = board.start(
        HEAR
        + """
    def event(e):
        report(device=e.device, deviceType=e.deviceType, deviceId=e.deviceId, event=e.event,
               format=e.format, data=e.data, payload=e.payload, timestamp=e.timestamp.isoformat())

    def command(c):
        report(device=c.device, deviceType=c.deviceType, deviceId=c.deviceId, command=c.command,
               format=c.format, data=c.data, payload=c.payload, timestamp=c.timestamp.isoformat())

    client.deviceEventCallback = event
    client.deviceCommandCallback = command
    report(ready=True)
    until(lambda: False)
    """,
        options=options(rig),
    )
    program.next_report()
    payload = '{"d":{"sensor1":76},"ts":"2026-01-05T09:00:00.5+00:00"}'
    rig.send("iot-2/type/pump/id/p1/evt/status/fmt/json", payload, 1)
    rig.send("iot-2/type/pump/id/p1/cmd/go/fmt/json", payload, 2)
    common = {
        "device": "pump:p1",
        "deviceType": "pump",
        "deviceId": "p1",
        "format": "json",
        "data": {"sensor1": 76},
        "payload": payload,
        "timestamp": "2026-01-05T09:00:00.500000+00:00",
    }
    assert program.next_report() == dict(common, event="status")
    assert program.next_report() == dict(common, command="go")


DISCONNECT = {
    "Action": "Disconnect",
    "Time": "2026-01-05T09:00:07.250Z",
    "ClientAddr": "192.0.2.9",
    "ClientID": "d:abc123:pump:p1",
    "Port": 8883,
    "Protocol": "mqtt4",
    "User": "use-token-auth",
    "ConnectTime": "2026-01-05T09:00:00.000Z",
    "Reason": "The connection has completed normally.",
    "ReadBytes": 310,
    "ReadMsg": 3,
    "WriteBytes": 64,
    "WriteMsg": 1,
    "CloseCode": 0,
}
STATUS = """
    NAMES = ("action", "clientAddr", "clientId", "port", "protocol", "user", "reason", "readBytes",
             "readMsg", "writeBytes", "writeMsg", "closeCode", "secure", "durable", "device",
             "deviceType", "deviceId", "appId", "retained", "payload")

    def status(s):
        got = {name: getattr(s, name) for name in NAMES}
        got["time"] = s.time and s.time.isoformat()
        got["connectTime"] = s.connectTime and s.connectTime.isoformat()
        try:
            got["order"] = s.connectTime < s.time and s.time == s.time
        except TypeError:
            pass
        report(**got)

    client.deviceStatusCallback = status
    client.appStatusCallback = status
    report(ready=True)
    until(lambda: False)
"""


def test_status_has_every_documented_attribute_and_none_for_what_was_not_said(board, rig):
    program = board.start(HEAR + STATUS, options=options(rig))
    program.next_report()
    rig.send("iot-2/type/pump/id/p1/mon", json.dumps(DISCONNECT))
    assert program.next_report() == {
        "action": "Disconnect",
        "time": "2026-01-05T09:00:07.250000+00:00",
        "connectTime": "2026-01-05T09:00:00+00:00",
        "order": True,
        "clientAddr": "192.0.2.9",
        "clientId": "d:abc123:pump:p1",
        "port": 8883,
        "protocol": "mqtt4",
        "user": "use-token-auth",
        "reason": "The connection has completed normally.",
        "readBytes": 310,
        "readMsg": 3,
        "writeBytes": 64,
        "writeMsg": 1,
        "closeCode": 0,
        "secure": None,
        "durable": None,
        "device": "pump:p1",
        "deviceType": "pump",
        "deviceId": "p1",
        "appId": None,
        "retained": False,
        "payload": DISCONNECT,
    }
    rig.send("iot-2/app/other/mon", '{"Action":"Connect","ClientID":"a:abc123:other"}', 0, True)
    got = program.next_report()
    assert (got["action"], got["clientId"], got["appId"]) == ("Connect", "a:abc123:other", "other")
    assert got["retained"] is True
    for name in ("time", "connectTime", "reason", "port", "device", "deviceType", "deviceId"):
        assert got[name] is None, name


def test_what_cant_be_read_reaches_the_error_callback_and_costs_nothing_else(board, rig):
    bad = [
        ("iot-2/type/pump/id/p1/evt/status/fmt/json", "{"),
        ("iot-2/type/pump/id/p1/evt/status/fmt/bin", "x"),
        ("iot-2/type/pump/id/p1/mon", "[]"),
        ("iot-2/type/pump/id/p1/mon", '{"Action":'),
        ("iot-2/app/x/mon", "7"),
    ]
    program = board.start(
        HEAR
        + """
    got = []
    client.deviceEventCallback = got.append
    client.deviceStatusCallback = got.append
    report(ready=True)
    until(lambda: got)
    report(errors=errors, n=len(got), connected=client.isConnected())
    """,
        options=options(rig),
    )
    program.next_report()
    for topic, payload in bad:
        rig.send(topic, payload, 0)
    rig.send("iot-2/type/pump/id/p1/evt/status/fmt/json", "{}", 0)
    got = program.next_report()
    assert got["connected"] and got["n"] == 1
    assert [e.split(":")[0] for e in got["errors"]] == [
        "InvalidEventException",
        "MissingMessageDecoderException",
        "InvalidEventException",
        "InvalidEventException",
        "InvalidEventException",
    ]


def test_messages_without_a_callback_are_passed_over(board, rig):
    program = board.start(
        HEAR
        + """
    report(ready=True)
    got = []
    client.appStatusCallback = got.append
    until(lambda: got)
    report(errors=errors)
    """,
        options=options(rig),
    )
    program.next_report()
    rig.send("iot-2/type/pump/id/p1/evt/status/fmt/json", "{}")
    rig.send("iot-2/type/pump/id/p1/cmd/status/fmt/json", "{}")
    rig.send("iot-2/type/pump/id/p1/mon", "{}")
    rig.send("iot-2/app/x/mon", "{}")
    assert program.next_report() == {"errors": []}


# ---- sending


def test_both_documented_forms_of_publish_event_and_publish_command(board, rig):
    run = board.run(
        START
        + """
    client.connect()
    data = {"after": 50}
    got = [
        client.publishEvent("pump", "p1", "status", data),
        client.publishEvent("pump", "p1", "status", data, 1),
        client.publishEvent("pump", "p1", "status", "json", data, 2),
        client.publishCommand("pump", "p1", "reboot"),
        client.publishCommand("pump", "p1", "reboot", data),
        client.publishCommand("pump", "p1", "reboot", data, 2),
        client.publishCommand("pump", "p1", "reboot", data=data, qos=1),
        client.publishCommand("pump", "p1", "reboot", None, 2),
        client.publishCommand("pump", "p1", "reboot", "json", data),
        client.publishCommand("pump", "p1", "reboot", "json-iotf", data, 2),
    ]
    until(lambda: not client.link.inflight)
    client.disconnect()
    report(got=got)
    """,
        options=options(rig),
    )
    assert run.report["got"] == [True] * 10
    event = "iot-2/type/pump/id/p1/evt/status/fmt/json"
    command = "iot-2/type/pump/id/p1/cmd/reboot/fmt/json"
    data = {"after": 50}
    got = [(p.topic, json.loads(p.payload), p.qos, p.retain) for p in rig.witness.publishes]
    assert got == [
        (event, {"d": data}, 0, False),
        (event, {"d": data}, 1, False),
        (event, data, 2, False),
        (command, {"d": {}}, 0, False),
        (command, {"d": data}, 0, False),
        (command, {"d": data}, 2, False),
        (command, {"d": data}, 1, False),
        (command, {"d": {}}, 2, False),
        (command, data, 0, False),
        (command + "-iotf", {"d": data}, 2, False),
    ]


# ---- what the field throws at it


def test_pain_48_a_cleared_status_is_no_status(board, rig):
    """A retained message is cleared by an empty one, which subscribers hear as well."""
    program = board.start(
        HEAR
        + """
    said = []
    client.deviceStatusCallback = client.appStatusCallback = said.append
    report(ready=True)
    until(lambda: len(said) == 2)
    report(said=[s.action for s in said], errors=errors)
    """,
        options=options(rig),
    )
    program.next_report()
    for topic in ("iot-2/type/pump/id/p1/mon", "iot-2/app/other/mon"):
        rig.send(topic, "", 1)
        rig.send(topic, "", 1, True)
        rig.send(topic, '{"Action":"Connect"}', 1)
    assert program.next_report() == {"said": ["Connect", "Connect"], "errors": []}


ODD_TIMES = ["2026-01-01T00:00:00+", "2026-01-01T00:00:00-", "T", "+", "-", "T+", "2026-01-01T+"]
ODD_TIMES += ["2026-01-01T00:00:00+1", "2026-01-01T00:00:00.", "2026-01-01T00:00:00.+", "Z", "::"]
ODD_TIMES += [
    "2026-01-01T00:00:00+01:",
    "99999-01-01",
    "",
    " ",
    5,
    None,
    [],
    {"a": 1},
    True,
    1e300,
]
ODD_TIMES += [
    "2026-13-01T00:00:00Z",
    "2026-01-01T25:00:00Z",
    "0000-00-00",
    "2026-01-01T00:00:00+99",
]


def test_pain_50_no_time_of_a_status_comes_out_of_do_next(board, rig):
    program = board.start(
        HEAR
        + """
    said = []
    client.deviceStatusCallback = said.append
    report(ready=True)
    until(lambda: said and said[-1].reason == "last")
    report(n=len(said), times=[s.time for s in said], errors=errors)
    """,
        options=options(rig),
    )
    program.next_report()
    for odd in ODD_TIMES:
        text = {"Action": "Connect", "Time": odd, "ConnectTime": odd}
        rig.send("iot-2/type/pump/id/p1/mon", json.dumps(text), 1)
    rig.send("iot-2/type/pump/id/p1/mon", '{"Action":"Disconnect","Reason":"last"}', 1)
    report = program.next_report()
    assert report["n"] == len(ODD_TIMES) + 1 and report["errors"] == []
    assert report["times"] == [None] * (len(ODD_TIMES) + 1)


def test_pain_50_no_time_of_an_event_comes_out_of_do_next(board, rig):
    program = board.start(
        HEAR
        + """
    heard = []
    client.deviceEventCallback = lambda e: heard.append(e.timestamp.isoformat())
    report(ready=True)
    until(lambda: len(heard) == n)
    report(heard=heard, errors=errors)
    """,
        options=options(rig),
        n=len(ODD_TIMES),
    )
    program.next_report()
    for odd in ODD_TIMES:
        text = json.dumps({"d": {}, "ts": odd})
        rig.send("iot-2/type/pump/id/p1/evt/e/fmt/json", text, 1)
    report = program.next_report()
    assert report["errors"] == []
    assert all(text.endswith("+00:00") for text in report["heard"])


def test_pain_50_and_42_nothing_that_comes_in_comes_out_of_do_next_and_all_good_ones_arrive(
    board, rig
):
    fronts = ["iot-2/type/pump/id/p1/evt/e/fmt/json", "iot-2/type/pump/id/p1/cmd/e/fmt/json"]
    fronts += ["iot-2/type/pump/id/p1/mon", "iot-2/app/x/mon"]
    odd = ["", "null", "5", '"x"', "[]", "[[]]", "{", "{}", '{"d":', '{"d":5}', '{"d":{},"ts":5}']
    odd += ['{"Action":5,"Time":"+","Port":[]}', "\u0000", '"\\ud800"', "[" * 500, "x" * 1500]
    odd += [b"\xff\xfe", b"\xed\xa0\xbd", b'{"a":"\xc0\x80"}', '{"ClientID":{}}', '{"Time":[]}']
    program = board.start(
        HEAR
        + """
    good = []

    def hear(message):
        data = message.payload if hasattr(message, "action") else message.data
        if isinstance(data, dict) and "good" in data:
            good.append(data["good"])

    client.deviceEventCallback = client.deviceCommandCallback = hear
    client.deviceStatusCallback = client.appStatusCallback = hear
    report(ready=True)
    until(lambda: len(good) == n, 30)
    report(good=sorted(good), errors=len(errors), connected=client.isConnected())
    """,
        options=options(rig),
        n=len(fronts) * len(odd),
    )
    program.next_report()
    number = 0
    for front in fronts:
        for payload in odd:
            rig.send(front, payload, 1)
            rig.send(front, '{"good":%d}' % number, 1)
            number += 1
    report = program.next_report(40)
    assert report["good"] == list(range(number)) and report["connected"]
    assert report["errors"] > 20 and len(rig.witness.connects) == 1


def test_pain_42_one_refused_subscription_costs_no_other(board, rig):
    rig.witness.refused = ("iot-2/type/valve/id/+/evt/+/fmt/+",)
    program = board.start(
        START
        + """
    got = []
    client.deviceEventCallback = lambda e: got.append(e.deviceType)
    for kind in ("pump", "valve", "tank"):
        client.subscribeToDeviceEvents(kind)
    client.connect()
    settle()
    report(errors=errors)
    until(lambda: len(got) == 2)
    report(got=got)
    """,
        options=options(rig),
    )
    errors = program.next_report()["errors"]
    assert errors == [
        "ConnectionException: subscription refused: iot-2/type/valve/id/+/evt/+/fmt/+"
    ]
    for kind in ("pump", "tank"):
        rig.send("iot-2/type/%s/id/x/evt/e/fmt/json" % kind, "{}")
    assert program.next_report() == {"got": ["pump", "tank"]}
