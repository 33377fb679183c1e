"""ibmiotf's device and application through the local cloud, as the documents' programs are."""

import json

import pytest
from ibm_rig import WATCH, indented
from localcloud_rig import Control

# The programs below know neither the local cloud nor its certificate: the address they have is the
# service's own. This stands where a board has boot.py: it names the CA for all clients, and plays
# DNS.
BOOT = """
    import ibmiotf
    import netstream
    import socket

    class Resolver:
        def __getattr__(self, name):
            return getattr(socket, name)

        def getaddrinfo(self, host, port, *more):
            assert host.endswith("internetofthings.ibmcloud.com"), host
            return socket.getaddrinfo("127.0.0.1", ports[port], *more)

    netstream.socket = Resolver()
    ibmiotf.defaults["ca"] = ca

"""


@pytest.fixture
def boot(cloud):
    """What BOOT wants."""
    return {
        "ca": cloud["ca_der"],
        "ports": {
            1883: cloud["mqtt"]["port"],
            8883: cloud["mqtt"]["tls_port"],
            443: int(cloud["http"]["tls_url"].rsplit(":", 1)[1]),
        },
    }


def application_options(cloud, app_id, **more):
    made = cloud["ibm"]["application"]
    options = {
        "org": cloud["ibm"]["org"],
        "id": app_id,
        "auth-method": "apikey",
        "auth-key": made["key"],
        "auth-token": made["token"],
    }
    return dict(options, **more)


def device_options(cloud, **more):
    made = cloud["ibm"]["device"]
    options = {
        "org": cloud["ibm"]["org"],
        "type": made["type"],
        "id": made["id"],
        "auth-method": "token",
        "auth-token": made["token"],
    }
    return dict(options, **more)


def here(cloud, options, secure=True):
    """The same with the local cloud's address."""
    port = cloud["mqtt"]["tls_port" if secure else "port"]
    return dict(
        options, host="127.0.0.1", port=port, ca=cloud["ca_der"], ssl=None if secure else False
    )


DEVICE_PROGRAM = indented("ibmiotf_documented_device")

APPLICATION_PROGRAM = indented("ibmiotf_documented_application")

OLDEST_PROGRAM = indented("ibmiotc_documented_application")


def read_until(program, *wanted):
    """A program's lines until each of wanted was part of one."""
    missing = list(wanted)
    seen = []
    while missing:
        line = program.process.next_line(15)
        seen.append(line)
        missing = [w for w in missing if w not in line]
    return seen


def test_the_documents_programs_run_as_they_are(board, cloud, boot, tmp_path):
    device = cloud["ibm"]["device"]
    key = cloud["ibm"]["application"]
    config = tmp_path / "device.cfg"
    config.write_text(
        "[device]\norg={org}\ntyp={type}\nid={id}\nauth-method=token\nauth-token={token}\n".format(
            org=cloud["ibm"]["org"], **device
        )
    )
    # What the documents leave out ("...") is the loop at the end: theirs ran in a thread.
    application = board.start(
        BOOT
        + APPLICATION_PROGRAM
        + """
    # Once this is acknowledged, the service has answered what was asked before it.
    client.publishEvent(kind, number, "hello", {}, 1)
    while client.link.inflight:
        client.do_next(100)
    print("listening")
    seen = []
    client.deviceEventCallback = lambda event: (seen.append(event), hear(event))
    while not seen:
        client.do_next(100)
    order={"seconds" : 5}
    client.publishCommand(kind, number, "pace", order)
    while True:
        client.do_next(100)
    """,
        ORG=cloud["ibm"]["org"],
        APP="documents-" + board.name,
        METHOD="apikey",
        KEY=key["key"],
        TOKEN=key["token"],
        what="climate",
        kind=device["type"],
        number=device["id"],
        **boot,
    )
    read_until(application, "devices", "listening")
    run = board.run(
        BOOT
        + DEVICE_PROGRAM
        + """
    while seconds != 5:
        client.do_next(100)
    client.disconnect()
    """,
        settings=config,
        **boot,
    )
    assert json.loads(run.out.split("got ", 1)[1]) == {"d": {"seconds": 5}}
    name = "%s:%s" % (device["type"], device["id"])
    head = "json climate from %s: " % name
    lines = read_until(application, " %s Disconnect (" % name)
    events = [json.loads(line[len(head) :]) for line in lines if line.startswith(head)]
    assert {"celsius": 21.5, "lux": 300} in events
    assert any(line.endswith(" %s Connect" % name) for line in lines)


def test_a_program_of_the_oldest_document_runs_as_it_is(board, cloud, boot, tmp_path):
    device = cloud["ibm"]["device"]
    key = cloud["ibm"]["application"]
    config = tmp_path / "application.cfg"
    config.write_text(
        "org={}\nid=oldest-{}\nauth-method=apikey\nauth-key={}\nauth-token={}\n".format(
            cloud["ibm"]["org"], board.name, key["key"], key["token"]
        )
    )
    application = board.start(
        BOOT + OLDEST_PROGRAM + "    while True:\n        client.do_next(100)\n",
        settings=config,
        what="climate",
        kind=device["type"],
        number=device["id"],
        **boot,
    )
    name = "%s:%s" % (device["type"], device["id"])
    read_until(application, "json climate from %s: " % name)
    board.run(
        BOOT + "    import ibmiotc.device\n    client = ibmiotc.device.Client(options)\n"
        "    client.disconnect()\n",
        options=device_options(cloud),
        **boot,
    )
    read_until(application, " %s Connect" % name, " %s Disconnect (" % name)


# ---- what the service refuses


CONNECT = """
    import ibmiotf.device
    import ibmiotf.application
    import time

    for kind, options in cases:
        client = (ibmiotf.device if kind == "d" else ibmiotf.application).Client(options)
        try:
            client.connect()
            report(error=None)
        except ibmiotf.ConnectionException as e:
            report(error=str(e))
        client.disconnect()
"""


def test_wrong_credentials_are_refused_by_name_and_no_secret_is_shown(board, cloud):
    device = here(cloud, device_options(cloud))
    application = here(cloud, application_options(cloud, "refused"))
    bad = [
        ("d", dict(device, **{"auth-token": "s3cret-wrong"})),
        ("d", dict(device, id="unregistered")),
        ("d", dict(device, type="unregistered")),
        ("d", dict(device, org="zzz999")),
        ("a", dict(application, **{"auth-token": "s3cret-wrong"})),
        ("a", dict(application, **{"auth-key": "a-abc123-unknown"})),
        ("a", dict(application, org="zzz999")),
    ]
    run = board.run(CONNECT, cases=bad + [("d", device), ("a", application)])
    for (kind, options), report in zip(bad, run.reports):
        assert "not authorized" in report["error"], options
        assert "%s:%s:" % (kind, options["org"]) in report["error"]
        assert options["auth-token"] not in report["error"]
    assert [r["error"] for r in run.reports[7:]] == [None, None]


TALK = (
    WATCH
    + """
    import ibmiotf.device
    import ibmiotf.application
    import time

    device = ibmiotf.device.Client(device_options)
    app = ibmiotf.application.Client(app_options)
    watches = [Watch(device, 0 if device.quickstart else 1), Watch(app)]

    def settled():
        return watches[0].settled() and watches[1].settled()

    device_errors = []
    app_errors = []
    device.errorCallback = lambda e: device_errors.append(str(e))
    app.errorCallback = lambda e: app_errors.append(str(e))
    device.link.backoff_ms = app.link.backoff_ms = 50
    clients = [device, app]
    errors = [device_errors, app_errors]

"""
)


def talk(cloud, board, secure=True, device=(), app=()):
    return {
        "device_options": dict(here(cloud, device_options(cloud), secure), **dict(device)),
        "app_options": dict(
            here(cloud, application_options(cloud, "talk-" + board.name), secure), **dict(app)
        ),
    }


def test_a_revoked_token_reaches_the_error_callback_of_a_connected_device(board, start_cloud):
    cloud = start_cloud("--ibm-device", "pump:p9:the-token-of-p9")
    options = here(
        cloud, device_options(cloud, type="pump", id="p9", **{"auth-token": "the-token-of-p9"})
    )
    program = board.start(
        """
        import ibmiotf.device
        client = ibmiotf.device.Client(options)
        client.link.backoff_ms = 50
        errors = []
        client.errorCallback = lambda e: errors.append(str(e))
        client.connect()
        report(up=True)
        while not errors or "not authorized" not in errors[-1]:
            client.do_next(50)
        report(errors=errors)
        """,
        options=options,
    )
    assert program.next_report()["up"]
    body = {"org": "abc123", "type": "pump", "id": "p9"}
    assert Control(cloud)("POST", "/ibm/revoke", body)[0] == 200
    errors = program.next_report()["errors"]
    assert "the-token-of-p9" not in "".join(errors)


def test_a_second_client_with_the_same_id_ends_the_first(board, cloud):
    options = here(cloud, device_options(cloud))
    run = board.run(
        """
        import ibmiotf.device
        first = ibmiotf.device.Client(options)
        errors = []
        first.errorCallback = lambda e: errors.append(str(e))
        first.connect()
        second = ibmiotf.device.Client(options)
        second.connect()
        while not errors:
            first.do_next(50)
        report(errors=errors, second=second.isConnected())
        """,
        options=options,
    )
    assert run.report["second"] and "closed" in run.report["errors"][0]


def test_leaving_ones_own_space_is_answered_with_an_error(board, cloud):
    run = board.run(
        TALK
        + """
    until(lambda: device.isConnected() and app.isConnected())
    app.link.subscribe("iot-2/#")
    device.link.subscribe("iot-2/type/board/id/other/cmd/+/fmt/+")
    until(lambda: device_errors and app_errors)
    report(device=device_errors[0], app=app_errors[0], up=device.isConnected())
    del device_errors[:]
    device.link.publish("iot-2/type/board/id/other/evt/e/fmt/json", "{}", qos=1)
    until(lambda: device_errors)
    report(device=device_errors[0])
    """,
        **talk(cloud, board),
    )
    refused, closed = run.reports
    assert "refused" in refused["device"] and "refused" in refused["app"] and refused["up"]
    assert "closed" in closed["device"]


# ---- events, commands, status


@pytest.mark.parametrize("secure", [True, False], ids=["tls", "plain"])
def test_events_and_commands_at_every_qos_arrive_once_and_in_order(board, cloud, secure):
    run = board.run(
        TALK
        + """
    events, commands, foreign = [], [], []
    app.deviceEventCallback = lambda e: events.append(e.data["i"])
    app.deviceCommandCallback = lambda c: foreign.append(c.data["i"])
    device.commandCallback = lambda c: commands.append(c.data["i"])
    app.subscribeToDeviceEvents(device.options["type"], device.options["id"], qos=2)
    app.subscribeToDeviceCommands(qos=2)
    until(lambda: device.isConnected() and app.isConnected() and settled())
    until(settled)
    for i in range(60):
        device.publishEvent("e", {"i": i}, i % 3)
        app.publishCommand(device.options["type"], device.options["id"], "c", {"i": i}, i % 3)
    until(lambda: len(events) == 60 and len(commands) == 60 and len(foreign) == 60)
    until(lambda: not device.link.inflight and not app.link.inflight)
    report(events=events, commands=commands, foreign=foreign,
           errors=device_errors + app_errors)
    """,
        **talk(cloud, board, secure),
    )
    got = run.report
    for name in ("events", "commands", "foreign"):
        # Of different QoS levels each keeps its own order (MQTT 3.1.1, 4.6).
        for qos in range(3):
            assert [i for i in got[name] if i % 3 == qos] == list(range(qos, 60, 3)), name
    assert got["errors"] == []


def test_an_application_may_speak_for_a_device(board, cloud):
    run = board.run(
        TALK
        + """
    events = []
    app.deviceEventCallback = lambda e: events.append((e.device, e.event, e.format, e.data))
    app.subscribeToDeviceEvents()
    until(lambda: app.isConnected() and settled())
    name = device.options["type"], device.options["id"]
    app.publishEvent(*name, "mine", {"a": 1}, 1)
    app.publishEvent(*name, "mine", "json-iotf", {"a": 2}, 1)
    until(lambda: len(events) == 2)
    report(events=events)
    """,
        **talk(cloud, board),
    )
    made = cloud["ibm"]["device"]
    name = "%s:%s" % (made["type"], made["id"])
    assert run.report["events"] == [
        [name, "mine", "json", {"a": 1}],
        [name, "mine", "json-iotf", {"a": 2}],
    ]


def test_device_and_application_status_tell_how_it_stands_and_what_happens(board, cloud):
    run = board.run(
        TALK
        + """
    said = []

    def hear(s):
        said.append((s.device, s.appId, s.action, s.retained, s.clientId))
        assert s.time.isoformat() and s.connectTime.isoformat() and s.clientAddr == "127.0.0.1"
        if s.action == "Disconnect":
            assert s.reason and s.readMsg == 1 and s.writeMsg == 0 and s.readBytes > 0

    app.deviceStatusCallback = app.appStatusCallback = hear
    until(lambda: device.isConnected() and app.isConnected())
    device.publishEvent("e", {}, 1)
    until(lambda: not device.link.inflight)
    app.subscribeToDeviceStatus(device.options["type"], device.options["id"])
    until(lambda: said)
    device.disconnect()
    until(lambda: len(said) == 2)
    other = dict(app_options)
    other["id"] += "-other"
    app.subscribeToAppStatus(other["id"])
    until(settled)
    second = ibmiotf.application.Client(other)
    second.connect()
    until(lambda: len(said) == 3)
    report(said=said, errors=device_errors + app_errors)
    """,
        **talk(cloud, board),
    )
    made = cloud["ibm"]["device"]
    name = "%s:%s" % (made["type"], made["id"])
    client_id = "d:%s:%s" % (cloud["ibm"]["org"], name)
    other = "talk-%s-other" % board.name
    assert run.report["said"] == [
        [name, None, "Connect", True, client_id],
        [name, None, "Disconnect", False, client_id],
        [None, other, "Connect", False, "a:%s:%s" % (cloud["ibm"]["org"], other)],
    ]
    assert run.report["errors"] == []


def test_a_durable_session_keeps_what_came_while_away_a_clean_one_does_not(board, cloud):
    run = board.run(
        TALK + indented("ibmiotf_cloud_sessions"),
        **talk(cloud, board, device={"clean-session": False}, app={"clean-session": False}),
    )
    durable, clean = run.reports
    assert durable == {"commands": list(range(5)), "events": list(range(5))}
    assert clean == {"commands": [99]}


def test_instances_of_a_shared_application_share_the_events(board, cloud):
    run = board.run(
        TALK + indented("ibmiotf_cloud_shared"),
        **talk(cloud, board),
    )
    counts = run.report["counts"]
    assert sum(counts) == 30 and all(counts)


@pytest.mark.parametrize("path", ["/", "/mqtt", None])
def test_mqtt_is_at_either_path_of_the_web(board, cloud, path):
    """Node's client asks for the one, Python's for the other."""
    options = device_options(
        cloud,
        host="localhost",
        port=cloud["mqtt"]["wss_port"],
        ca=cloud["ca_der"],
        transport="websockets",
    )
    if path:
        options["websocket-path"] = path
    run = board.run(
        """
        import ibmiotf.device
        client = ibmiotf.device.Client(options)
        client.connect()
        report(up=client.isConnected())
        client.disconnect()
        """,
        options=options,
    )
    assert run.report == {"up": True}


def test_over_websocket_it_is_the_same(board, cloud):
    web = {"transport": "websockets", "port": cloud["mqtt"]["wss_port"]}
    run = board.run(
        TALK
        + """
    events = []
    app.deviceEventCallback = lambda e: events.append(e.data)
    app.subscribeToDeviceEvents(event="web", qos=1)
    until(lambda: device.isConnected() and app.isConnected() and settled())
    device.publishEvent("web", {"a": "x" * 1000}, 2)
    until(lambda: events)
    report(n=len(events[0]["a"]))
    """,
        **talk(cloud, board, device=web, app=web),
    )
    assert run.report["n"] == 1000


def test_the_largest_payload_passes_and_one_byte_more_never_leaves(board, cloud):
    run = board.run(
        TALK
        + """
    sizes = []
    app.deviceEventCallback = lambda e: sizes.append(len(e.payload))
    app.subscribeToDeviceEvents(event="large", qos=1)
    until(lambda: device.isConnected() and app.isConnected() and settled())
    small = '"' + "x" * 131070 + '"'
    ibmiotf.codecs["raw"] = (lambda data, timestamp: data, ibmiotf.codecs["json"][1])
    device.publishEvent("large", "raw", small, 1)
    try:
        device.publishEvent("large", "raw", small + " ", 1)
    except ibmiotf.InvalidEventException as e:
        report(error=str(e))
    until(lambda: sizes)
    report(sizes=sizes, errors=device_errors + app_errors)
    """,
        **talk(cloud, board, app={"max-packet": 140000}),
    )
    assert "131072" in run.reports[0]["error"]
    assert run.reports[1] == {"sizes": [131072], "errors": []}


def test_quickstart_needs_no_registration(board, cloud):
    options = {"org": "quickstart", "host": "127.0.0.1", "port": cloud["mqtt"]["port"]}
    run = board.run(
        TALK
        + """
    events = []
    app.deviceEventCallback = lambda e: events.append((e.device, e.data))
    app.subscribeToDeviceEvents("any", "one")
    until(lambda: device.isConnected() and app.isConnected() and settled())
    device.publishEvent("e", {"a": 1})
    until(lambda: events)
    report(events=events, errors=device_errors + app_errors)
    """,
        device_options=dict(options, type="any", id="one"),
        app_options=dict(options, id="quick"),
    )
    assert run.report == {"events": [["any:one", {"a": 1}]], "errors": []}
