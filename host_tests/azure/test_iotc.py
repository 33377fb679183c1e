"""
lib/iotc.py on a board, against the local Azure over verified TLS: provisioning, connecting,
sending, properties, commands, what goes wrong and what is said then. On MicroPython and CPython.
"""

import json
import re

import azure_rig
import pytest
from azure_rig import CONNECT, PROGRAM, dev, fresh, rig  # noqa: F401
from device_program import program

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)

# ---- a whole program


def test_a_program_for_the_light_sdk_runs_as_it_is(dev):
    """Only the three values at its top are filled in; a boot file says where the cloud is."""
    source = PROGRAM.read_text()
    for name, value in (
        ("DEVICE_ID", dev.name),
        ("SCOPE_ID", azure_rig.SCOPE),
        ("SYMM_KEY", azure_rig.GROUP_KEY),
    ):
        assert source.count('"%s"' % name) == 1
        source = source.replace('"%s"' % name, '"%s"' % value)
    boot = "import iotc\niotc.Device.ca = CA\niotc.Device.server = SERVER\n"
    program = dev.board.start(boot + source, **dev.values())
    messages = dev.telemetry(3)
    assert messages[0][1]["$.schema"] == "modelInformation"
    assert set(json.loads(messages[1][0])) == {"humidity"}
    assert messages[1][1] == {"$.ifid": "IFID", "$.ifname": "IFNAME", "$.schema": "humidity"}
    assert set(json.loads(messages[2][0])) == {"light"}
    argument = {"commandRequest": {"value": 5, "requestId": "a4795148"}}
    assert dev.invoke("$iotin:IFNAME*water", argument) == (200, "Done")
    assert dev.invoke("$iotin:IFNAME*water") == (200, "Done")
    dev.desire({"$iotin:IFNAME": {"fan": {"value": 7}}})
    dev.rig.until(lambda: dev.rig.device(dev.name).twin["reported"]["properties"])
    assert dev.reported() == {
        "$iotin:IFNAME": {"fan": {"value": 7, "sc": 200, "sd": "completed", "sv": 2}}
    }
    said = program.stop().out
    assert "connection status 0" in said
    assert "sent {'humidity'" in said
    assert "command IFNAME water (5, 'a4795148')" in said
    assert "wanted fan" in said


# ---- connecting


@pytest.mark.parametrize("kind", ["group key", "device key"])
def test_provisions_and_connects(dev, kind):
    got = dev.run(
        """
        d = device(key, NAME, kind)
        watch(d, "ConnectionStatus")
        report(before=[d.isConnected(), d.getHostName()])
        report(code=d.connect(), connected=d.isConnected(), host=d.getHostName(),
            same=d.getDeviceHostName(), error=d.error)
        report(gone=d.disconnect(), connected=d.isConnected(), again=d.disconnect())
        """,
        key=azure_rig.GROUP_KEY if kind == "group key" else dev.key,
        kind=1 if kind == "group key" else 3,
    ).reports
    assert got[0] == {"before": [False, None]}
    assert got[1]["event"] == "ConnectionStatus" and got[1]["status"] == 0
    assert got[2] == {
        "code": 0, "connected": True, "host": azure_rig.HUB, "same": azure_rig.HUB, "error": None,
    }  # fmt: skip
    assert got[3] == {"gone": 0, "connected": False, "again": 0}
    assert dev.rig.device(dev.name).keys == [dev.key]


def test_a_known_hub_needs_no_dps(dev, fresh):
    """connect(hostName), and connect() once the hub is known: DPS is not asked again."""
    dev.rig = fresh
    dev.known()
    got = dev.run(
        """
        d = device(name=NAME)
        d.setServiceHost("nowhere.example")
        report(code=d.connect(HUB), host=d.getHostName())
        d.disconnect()
        report(code=d.connect(), connected=d.isConnected())
        """
    ).reports
    assert got == [{"code": 0, "host": azure_rig.HUB}, {"code": 0, "connected": True}]
    assert fresh.azure.dps.sessions == {}


def test_start_connects_in_bounded_steps(dev):
    """What connect() does, without waiting: do_next() goes on with it."""
    got = dev.run(
        """
        d = device(name=NAME)
        watch(d, "ConnectionStatus")
        report(start=d.start(), starting=d.isStarting(), connected=d.isConnected())
        step(d, lambda: not d.isStarting())
        report(connected=d.isConnected(), error=d.error)
        d.disconnect()
        d = device(name=NAME, scope="0ne000other")
        report(start=d.start())
        step(d, lambda: not d.isStarting())
        report(connected=d.isConnected(), told=d.error is not None)
        """
    ).reports
    assert got[0] == {"start": 0, "starting": True, "connected": False}
    assert got[1]["event"] == "ConnectionStatus" and got[1]["status"] == 0
    assert got[2] == {"connected": True, "error": None}
    assert got[3:] == [{"start": 0}, {"connected": False, "told": True}]


def test_waits_as_dps_asks_and_polls_until_assigned(dev, fresh):
    dev.rig = fresh
    fresh.azure.polls = 1
    fresh.azure.retry_after = 1
    got = dev.run(
        """
        d = device(name=NAME)
        start = time.ticks_ms()
        report(code=d.connect(), took=time.ticks_diff(time.ticks_ms(), start))
        """
    ).report
    assert got["code"] == 0 and got["took"] >= 2000


def test_dps_gets_the_model_and_the_hub_its_name(dev):
    got = dev.run(
        """
        d = device(name=NAME)
        report(set=d.setModelData("dtmi:acme:Pump;1"), code=d.connect())
        """
    ).report
    assert got == {"set": 0, "code": 0}
    assert dev.rig.device(dev.name).record["model"] == "dtmi:acme:Pump;1"


def test_an_individual_enrolment_may_name_the_device_otherwise(dev):
    other = dev.name[:30] + "-other"
    dev.rig.do(
        dev.rig.azure.enrol,
        dev.name,
        {"kind": "device", "keys": [dev.key], "device_id": other, "desired": {"fan": 3}},
    )
    got = dev.run(
        """
        d = device(KEY, NAME, 3)
        watch(d, "PropertiesUpdated")
        assert d.connect() == 0, d.error
        d.setQosLevel(1)
        d.sendTelemetry({"t": 1})
        step(d, lambda: not d.inflight)
        d.doNext(0.2)
        """,
        KEY=dev.key,
    ).reports
    assert got[0]["tag"] == "fan" and got[0]["payload"] == 3
    assert dev.rig.telemetry(1, other)[0][0] == b'{"t": 1}'


def test_the_hub_learns_what_waits_for_it(dev):
    """The four filters in one SUBSCRIBE, then the twin; five are all that Hub allows."""
    program = dev.start(
        CONNECT.replace("connect(HUB)", "connect()") + "report(up=True)\ngo_on(d)\n"
    )
    assert program.next_report() == {"up": True}
    session = dev.rig.azure.hub.sessions[azure_rig.HUB + "/" + dev.name]
    assert {name: s.qos for name, s in session.subscriptions.items()} == {
        "devices/%s/messages/devicebound/#" % dev.name: 1,
        "$iothub/twin/res/#": 1,
        "$iothub/twin/PATCH/properties/desired/#": 1,
        "$iothub/methods/POST/#": 1,
    }
    assert session.client.clean is False
    assert session.client.silence == 90


@pytest.mark.parametrize("asked, sent", [(30, 30), (1177, 1177), (1740, 1177), (0, 1177)])
def test_keepalive_stays_under_what_hub_waits(dev, asked, sent):
    dev.known()
    program = dev.start(
        """
        iotc.Device.keepalive = KEEPALIVE
        d = device(name=NAME)
        report(code=d.connect(HUB))
        go_on(d)
        """,
        KEEPALIVE=asked,
    )
    assert program.next_report() == {"code": 0}
    assert dev.rig.azure.hub.client_of(dev.rig.device(dev.name)).keepalive == sent


# ---- telemetry


def test_telemetry_carries_any_json_and_its_properties(dev):
    dev.known()
    got = dev.run(
        CONNECT
        + """
d.setQosLevel(IOTQosLevel.IOTC_QOS_AT_LEAST_ONCE)
report(codes=[
    d.sendTelemetry({"temperature": 21.5, "nested": {"list": [1, None, True]}}),
    d.sendTelemetry('{ "temperature": 15 }'),
    d.sendTelemetry(b"\\x00\\xff"),
    d.sendTelemetry({"t": "\\u00e4\\u20ac"}),
    d.sendTelemetry(
        {"t": 1}, {"mode": "eco & fast/#+", "n": 5, "iothub-creation-time-utc": 1767603600}
    ),
    d.sendTelemetry({"t": 1}, {"$.sub": "pump1", "$.mid": "77"}),
    d.sendState({"status": "WARNING"}),
    d.sendEvent({"opened": 1}),
])
step(d, lambda: not d.inflight)
"""
    ).report
    assert got == {"codes": [0] * 8}
    json_body = {"$.ct": "application/json", "$.ce": "utf-8"}
    messages = dev.telemetry(8)
    assert [json.loads(body) for body, _ in messages if body[0]] == [
        {"temperature": 21.5, "nested": {"list": [1, None, True]}},
        {"temperature": 15},
        {"t": "ä€"},
        {"t": 1},
        {"t": 1},
        {"status": "WARNING"},
        {"opened": 1},
    ]
    bags = [bag for _, bag in messages]
    assert messages[2] == (b"\x00\xff", {})
    assert bags[0] == bags[1] == bags[3] == bags[6] == json_body
    assert bags[4] == dict(
        json_body,
        mode="eco & fast/#+",
        n="5",
        **{"iothub-creation-time-utc": "2026-01-05T09:00:00Z"},
    )
    assert bags[5] == dict(json_body, **{"$.sub": "pump1", "$.mid": "77"})


def test_pain_19_properties_are_joined_and_encoded(dev):
    """On the wire, character by character."""
    dev.known()
    topics = []
    seen = dev.rig.azure.hub.publish
    dev.rig.azure.hub.publish = lambda client, packet: (
        topics.append(packet.topic),
        seen(client, packet),
    )[1]
    try:
        dev.run(
            CONNECT
            + """
d.setQosLevel(1)
d.sendTelemetry({"t": 1}, {"a": "b=c&d"})
d.sendTelemetry(b"x", {"mode": "eco", "$.ct": "text/plain;charset=utf-8"})
step(d, lambda: not d.inflight)
"""
        )
    finally:
        dev.rig.azure.hub.publish = seen
    base = "devices/%s/messages/events/" % dev.name
    got = [topic[len(base) :] for topic in topics if topic.startswith(base)]
    assert got[0] == "%24.ct=application%2Fjson&%24.ce=utf-8&a=b%3Dc%26d"
    assert sorted(got[1].split("&")) == ["%24.ct=text%2Fplain%3Bcharset%3Dutf-8", "mode=eco"]


def test_what_hub_or_json_cannot_take_is_refused_before_it_is_sent(dev):
    dev.known()
    got = dev.run(
        CONNECT
        + """
big = "x" * (256 * 1024)
def tell(code):
    report(code=code, text=str(d.error))
tell(d.sendTelemetry({"t": float("nan")}))
tell(d.sendTelemetry({"t": object()}))
tell(d.sendTelemetry({"t": 1}, {"a b": 1}))
tell(d.sendTelemetry({"t": 1}, {"m\\u00e4": 1}))
tell(d.sendTelemetry(big))
tell(d.sendTelemetry("\\u20ac" * (100 * 1024)))
tell(d.sendProperty("no json"))
tell(d.sendProperty({"a.b": 1}))
tell(d.sendProperty({"n": 1 << 60}))
tell(d.sendProperty({"k%d" % i: "x" * 4000 for i in range(9)}))
tell(d.setQosLevel(2))
tell(d.setQosLevel(-1))
tell(d.setTokenExpiration(0))
tell(d.setServiceHost("elsewhere.example"))
d.error = None
report(code=d.sendTelemetry({"t": 1}), connected=d.isConnected(), error=d.error)
d.disconnect()
"""
    ).reports
    refused, last = got[:-1], got[-1]
    assert [r["code"] for r in refused] == [1] * 14
    words = ["JSON", "JSON", "property name", "property name", "256 KB", "256 KB", ""]
    words += ["twin", "twin", "32 KB", "QoS", "QoS", "setTokenExpiration", "before connect"]
    for word, result in zip(words, refused):
        assert word in result["text"] and len(result["text"]) < 120
    assert last == {"code": 0, "connected": True, "error": None}
    assert len(dev.telemetry(1)) == 1


def test_sending_while_offline_is_told_or_kept(dev):
    """QoS 0 is refused with NO_NETWORK, QoS 1 waits in the window, one more is RETRY_EXPIRED."""
    dev.known()
    got = dev.run(
        """
        d = device(name=NAME)
        report(never=d.sendTelemetry({"t": 0}), text=str(d.error))
        assert d.connect(HUB) == 0
        d.disconnect()
        report(off=d.sendTelemetry({"t": 1}))
        d.setQosLevel(1)
        report(kept=[d.sendTelemetry({"t": i}) for i in range(17)])
        assert d.connect() == 0
        step(d, lambda: not d.inflight)
        """
    ).reports
    assert got[0]["never"] == 16 and "connect" in got[0]["text"]
    assert got[1] == {"off": 16}
    assert got[2] == {"kept": [0] * 16 + [8]}
    assert [json.loads(body)["t"] for body, _ in dev.telemetry(16)] == list(range(16))


@pytest.mark.parametrize("qos", [0, 1])
def test_message_sent_shows_what_was_sent(dev, qos):
    """At QoS 1 not before Hub has it; a property when the twin has taken or refused it."""
    dev.known()
    got = dev.run(
        CONNECT
        + """
d.setQosLevel(QOS)
quiet(d)
watch(d, "MessageSent")
payload = {"t": 1}
d.sendTelemetry(payload)
report(called=True)
quiet(d)
d.sendProperty({"serial": "x1"})
quiet(d)
""",
        QOS=qos,
    ).reports
    events = [r.get("event", "called") for r in got]
    assert events == (["called"] * qos + ["MessageSent"] + ["called"] * (1 - qos)) + [
        "MessageSent"
    ]
    sent = [r for r in got if "event" in r]
    assert [(r["payload"], r["status"]) for r in sent] == [({"t": 1}, 0), ({"serial": "x1"}, 0)]
    assert dev.reported() == {"serial": "x1"}


def test_inflight_counts_what_the_hub_has_not_acknowledged(dev):
    dev.known()
    got = dev.run(
        CONNECT
        + """
d.setQosLevel(1)
assert d.sendTelemetry({"n": 1}) == 0
report(out=d.inflight)
step(d, lambda: not d.inflight)
report(out=d.inflight, before=device(name=NAME).inflight)
"""
    ).reports
    assert got == [{"out": 1}, {"out": 0, "before": 0}]


def test_a_refused_patch_is_told(dev, fresh):
    dev.rig = fresh
    dev.known()
    fresh.azure.fail("hub.twin.patch", status=429)
    got = dev.run(
        CONNECT
        + """
watch(d, "MessageSent")
d.sendProperty({"serial": "x1"})
quiet(d)
report(error=str(d.error))
"""
    ).reports
    assert got[0]["payload"] == {"serial": "x1"} and got[0]["status"] == 429
    assert "429" in got[1]["error"]


# ---- properties, convention C


PROPERTIES = (
    CONNECT
    + """
watch(d, "PropertiesUpdated")
quiet(d)  # the twin, empty or not, has come
report(up=True)
go_on(d)
"""
)


def reported_when(dev, condition):
    dev.rig.until(lambda: condition(dev.rig.device(dev.name).twin["reported"]["properties"]))
    return dev.reported()


def test_writable_properties_arrive_and_are_acknowledged(dev):
    dev.known()
    program = dev.start(PROPERTIES)
    assert program.next_report() == {"up": True}
    dev.desire({"fan": 5})
    got = program.next_report()
    assert (got["event"], got["tag"], got["payload"], got["interface"]) == (
        "PropertiesUpdated", "fan", 5, None,
    )  # fmt: skip
    assert reported_when(dev, lambda r: "fan" in r) == {
        "fan": {"value": 5, "ac": 200, "ad": "completed", "av": 2}
    }
    dev.desire(
        {"pump1": {"__t": "c", "speed": {"value": 7}, "mode": "eco"}, "light": {"value": True}}
    )
    shown = {
        (r["interface"], r["tag"]): r["payload"] for r in (program.next_report() for _ in "123")
    }
    assert shown == {("pump1", "speed"): 7, ("pump1", "mode"): "eco", (None, "light"): True}
    got = reported_when(dev, lambda r: "light" in r)
    assert got["pump1"] == {
        "__t": "c",
        "speed": {"value": 7, "ac": 200, "ad": "completed", "av": 3},
        "mode": {"value": "eco", "ac": 200, "ad": "completed", "av": 3},
    }


def test_the_program_says_how_a_property_is_acknowledged(dev):
    dev.known()
    program = dev.start(
        CONNECT
        + """
def hear(info):
    if info.getTag() == "fan":
        info.setResponse(400, "too fast")
    elif info.getTag() == "boom":
        raise ValueError("a mistake of the program")
d.on("PropertiesUpdated", hear)
report(up=True)
go_on(d)
"""
    )
    program.next_report()
    dev.desire({"fan": 5000, "boom": 1, "light": False, "gone": None})
    got = reported_when(dev, lambda r: len(r) == 3)
    assert got == {
        "fan": {"value": 5000, "ac": 400, "ad": "too fast", "av": 2},
        "boom": {"value": 1, "ac": 500, "ad": "callback raised ValueError", "av": 2},
        "light": {"value": False, "ac": 200, "ad": "completed", "av": 2},
    }
    assert "a mistake of the program" in program.stop().out


def test_without_a_listener_nothing_is_acknowledged(dev):
    dev.known()
    program = dev.start(CONNECT + "report(up=True)\ngo_on(d)\n")
    program.next_report()
    dev.desire({"fan": 5})
    assert dev.invoke("ping")[0] == 404
    assert dev.reported() == {}


def test_after_connecting_the_whole_twin_comes_and_what_is_new_in_it_is_acknowledged(dev):
    """What was acknowledged in an earlier life is shown, and not reported once more."""
    device = dev.known()
    dev.desire({"fan": 5, "old": 1, "pump1": {"__t": "c", "speed": 3, "oil": 1}})
    old = {"value": 1, "ac": 200, "ad": "completed", "av": 1}
    dev.rig.do(device.patch, "reported", {"old": old, "pump1": {"__t": "c", "oil": old}})
    program = dev.start(PROPERTIES)
    shown = {
        r["tag"]: r["payload"] for r in (program.next_report() for _ in range(5)) if "tag" in r
    }
    assert shown == {"fan": 5, "old": 1, "speed": 3, "oil": 1}
    got = reported_when(dev, lambda r: "fan" in r)
    ack = {"value": 5, "ac": 200, "ad": "completed", "av": 2}
    assert got == {
        "fan": ack,
        "old": old,
        "pump1": {"__t": "c", "oil": old, "speed": dict(ack, value=3)},
    }


def test_getDeviceProperties_shows_the_twin_again(dev):
    dev.known()
    dev.desire({"fan": 5})
    got = dev.run(
        CONNECT
        + """
quiet(d)
watch(d, "Updated")
report(code=d.getDeviceProperties())
quiet(d)
"""
    ).reports
    assert got[0] == {"code": 0}
    assert [(r["tag"], r["payload"]) for r in got[1:]] == [("fan", 5)]


@pytest.mark.parametrize(
    "name", ["Properties", "PropertiesUpdated", "PropertyUpdated", "Updated", "SettingsUpdated"]
)
def test_every_spelling_of_the_property_event(dev, name):
    dev.known()
    dev.desire({"fan": 5})
    got = dev.run(
        """
        d = device(name=NAME)
        report(code=d.on(SPELLING, lambda info: report(tag=info.getTag())))
        assert d.connect(HUB) == 0
        quiet(d)
        """,
        SPELLING=name,
    ).reports
    assert got == [{"code": 0}, {"tag": "fan"}]


def test_a_patch_that_the_full_twin_already_holds_is_not_shown_twice(dev, fresh):
    """Versions order the two: a patch no newer than the document is passed over."""
    dev.rig = fresh
    device = dev.known()
    program = dev.start(PROPERTIES)
    program.next_report()
    assert dev.rig.until(lambda: fresh.azure.hub.listener(device, "desired") is not None)
    dev.desire({"fan": 5})
    assert program.next_report()["payload"] == 5
    fresh.do(fresh.azure.hub.send_desired, device, {"fan": 4}, 1)
    fresh.do(fresh.azure.hub.send_desired, device, {"fan": 4}, 2)
    dev.desire({"fan": 6})
    # The whole twin may come behind the first patch, and shows the same 5 then.
    shown = [program.next_report()["payload"]]
    while shown[-1] != 6:
        shown.append(program.next_report()["payload"])
    assert 4 not in shown and len(shown) <= 2


def test_a_twin_older_than_a_patch_is_asked_for_again(dev, fresh):
    """The answer to GET was made before a patch that overtook it: it must not undo the patch."""
    dev.rig = fresh
    device = dev.known()
    fresh.azure.fail("hub.twin.get", silent=True)
    program = dev.start(PROPERTIES)
    program.next_report()
    fresh.until(lambda: not fresh.azure.faults.left("hub.twin.get"))
    dev.desire({"fan": 5})
    assert program.next_report()["payload"] == 5
    stale = b'{"desired":{"fan":1,"$version":1},"reported":{"$version":1}}'
    client = fresh.azure.hub.client_of(device)
    fresh.do(client.publish, "$iothub/twin/res/200/?$rid=1", stale)
    got = program.next_report()
    assert (got["tag"], got["payload"]) == ("fan", 5)


def test_pain_14_a_huge_twin_is_passed_over_and_told_of(dev):
    dev.known()
    dev.desire({"k%d" % i: "x" * 3000 for i in range(3)})
    got = dev.run(
        CONNECT
        + """
watch(d, "PropertiesUpdated")
step(d, lambda: d.error)
report(text=str(d.error), connected=d.isConnected())
d.disconnect()
iotc.Device.max_packet = 20000
d.connect()
quiet(d)
"""
    ).reports
    assert "max_packet" in got[0]["text"] and got[0]["connected"] is True
    assert sorted(r["tag"] for r in got[1:]) == ["k0", "k1", "k2"]


# ---- commands


COMMANDS = (
    CONNECT
    + """
d.setQosLevel(1)
def hear(info):
    report(
        tag=info.getTag(), interface=info.getInterface(), payload=info.getPayload(),
        id=info.getMessageId(), client=info.getClient() is d,
    )
    answers = {
        "echo": (200, info.getPayload()), "text": (201, 'it said "no"'), "later": (202, None),
        "list": (200, [1, {"a": None}]), "false": (200, False), "minus": (-5, 0),
    }
    if info.getTag() in answers:
        info.setResponse(*answers[info.getTag()])
    if info.getTag() == "boom":
        raise RuntimeError("no such luck")
    if info.getTag() == "later":
        info.setCallback(lambda: d.sendCommandUpdate(None, "later", "1", 200, {"x": 1}))
    report(response=[info.getResponseCode(), info.getResponseMessage()])
d.on("Command", hear)
report(up=True)
go_on(d)
"""
)


def test_commands_are_answered_with_any_json(dev):
    dev.known()
    program = dev.start(COMMANDS)
    program.next_report()
    for value in (5, "text", None, [1, 2], {"a": {"b": [None]}}, True, 'quo"te'):
        assert dev.invoke("echo", value) == (200, value)
        assert program.next_report()["payload"] == value
        assert program.next_report() == {"response": [200, value]}
    assert dev.invoke("text") == (201, 'it said "no"')
    assert dev.invoke("list") == (200, [1, {"a": None}])
    assert dev.invoke("false") == (200, False)
    assert dev.invoke("minus") == (-5, 0)
    assert dev.invoke("silent") == (200, None)
    assert dev.invoke("pump1*echo", 1) == (200, 1)
    shown = [program.next_report() for _ in range(12)][10]
    rid, status = dev.rig.device(dev.name).answers[-1]
    assert status == 200
    assert shown == {
        "tag": "echo", "interface": "pump1", "payload": 1, "id": rid, "client": True,
    }  # fmt: skip


def test_a_callback_that_raises_is_a_500_and_the_device_goes_on(dev):
    dev.known()
    program = dev.start(COMMANDS)
    program.next_report()
    assert dev.invoke("boom") == (500, "callback raised RuntimeError")
    assert dev.invoke("echo", 1) == (200, 1)
    assert "no such luck" in program.stop().out


def test_an_asynchronous_command_is_reported_later(dev):
    dev.known()
    program = dev.start(COMMANDS)
    program.next_report()
    assert dev.invoke("later") == (202, None)
    assert reported_when(dev, lambda r: r) == {"later": {"value": {"x": 1}}}


def test_each_command_is_answered_once(dev):
    dev.known()
    program = dev.start(COMMANDS)
    program.next_report()
    for i in range(20):
        assert dev.invoke("echo", i) == (200, i)
    rids = [rid for rid, _ in dev.rig.device(dev.name).answers]
    assert len(rids) == len(set(rids)) == 20


def test_a_command_that_is_no_json_is_a_400(dev):
    """Hub lets only JSON through; the wire could still hold anything."""
    device = dev.known()
    program = dev.start(COMMANDS)
    program.next_report()
    client = dev.rig.azure.hub.client_of(device)
    for i, body in enumerate((b"{no json", b"\xff\xfe", b"nul")):
        dev.rig.do(client.publish, "$iothub/methods/POST/echo/?$rid=bad%d" % i, body)
    dev.rig.until(lambda: len(device.answers) == 3)
    assert device.answers == [("bad0", 400), ("bad1", 400), ("bad2", 400)]
    assert dev.invoke("echo", 1) == (200, 1)


def test_queued_commands_and_messages_come_as_what_they_are(dev):
    dev.known()
    program = dev.start(
        CONNECT
        + """
watch(d, "Command", "Message")
report(up=True)
go_on(d)
"""
    )
    program.next_report()
    for name, body, shown in (
        ("blink", b'{"times": 3}', ("blink", None, {"times": 3})),
        ("pump1*start", b"@", ("start", "pump1", None)),
        ("pump1*Commands:stop", b"7", ("stop", "pump1", 7)),
        ("Commands:text", b"no json", ("text", None, "no json")),
    ):
        dev.send(body, method_name=name, iothub_ack="none")
        got = program.next_report()
        assert (got["event"], got["tag"], got["interface"], got["payload"]) == ("Command",) + shown
    dev.send(b"\x00\xff", mode="eco & fast", flag=None)
    got = program.next_report()
    assert (got["event"], got["tag"], got["payload"]) == ("Message", None, "hex:00ff")
    assert got["interface"]["mode"] == "eco & fast" and got["interface"]["flag"] is None
    assert got["id"] and got["interface"]["$.mid"] == got["id"]
    dev.rig.until(lambda: not dev.rig.device(dev.name).messages)


def test_queued_commands_may_have_a_listener_of_their_own(dev):
    dev.known()
    program = dev.start(
        CONNECT + 'watch(d, "Command", "EnqueuedCommand")\nreport(up=True)\ngo_on(d)\n'
    )
    program.next_report()
    dev.send(b"1", method_name="blink")
    assert program.next_report()["event"] == "EnqueuedCommand"
    dev.invoke("blink")
    assert program.next_report()["event"] == "Command"


def test_what_was_queued_while_away_comes_when_back(dev):
    dev.known()
    source = """
        d = device(name=NAME)
        watch(d, "Command")
        assert d.connect(HUB) == 0
        quiet(d)
        """
    dev.run(source)
    for i in range(3):
        dev.send(b"%d" % i, method_name="blink")
    got = dev.run(source).reports
    assert [r["payload"] for r in got] == [0, 1, 2]
    assert dev.rig.device(dev.name).messages == []


def test_a_module_with_no_program_around_it_answers_what_it_knows(dev):
    got = dev.run(program("iotc_names")).reports
    assert got[0] == {
        "client": True, "name": "E", "payload": 1, "tag": "t", "status": 0, "interface": "i",
        "id": "m", "code": 207, "message": None, "callback": True, "other": False,
    }  # fmt: skip
    assert got[1] == {
        "connect": [1, 2, 3], "protocol": [1, 2, 4], "log": [1, 2, 16], "qos": [0, 1],
        "state": [1, 2, 4, 8, 16, 32, 64], "message": [1, 2, 4], "other": False,
    }  # fmt: skip


# ---- X.509


@pytest.mark.parametrize("form", ["pem files", "der files", "pem bytes", "der bytes"])
@pytest.mark.parametrize("kind", ["group", "individual"])
def test_pain_16_a_certificate_instead_of_a_key(dev, tmp_path, form, kind):
    issued = dev.rig.authority.issue_client(dev.name)
    certificate, key = issued.write(str(tmp_path), "device")
    azure = dev.rig.azure
    if kind == "group":
        ca = dev.rig.authority.pem.decode()
        dev.rig.do(azure.enrol, "by-ca", {"kind": "group-x509", "ca": ca})
    else:
        dev.rig.do(
            azure.enrol,
            dev.name,
            {
                "kind": "device-x509",
                "thumbprint": azure_rig.pki.thumbprint(issued.der),
                "certificate": issued.pem.decode(),
            },
        )
    if form.startswith("der"):
        certificate = certificate[:-3] + "der"
        key = key[:-3] + "der"
    if form.endswith("bytes"):
        with open(certificate, "rb") as c, open(key, "rb") as k:
            certificate, key = c.read(), k.read()
    got = dev.run(
        """
        d = device(files, NAME, IOTConnectType.IOTC_CONNECT_X509_CERT)
        code = d.connect()
        d.setQosLevel(1)
        report(code=code, error=d.error, sent=d.sendTelemetry({"t": 1}))
        step(d, lambda: not d.inflight)
        """,
        files={"keyfile": key, "certfile": certificate},
    ).report
    assert got == {"code": 0, "error": None, "sent": 0}
    assert dev.telemetry(1)[0][0] == b'{"t": 1}'
    assert dev.rig.device(dev.name).thumbprints == [azure_rig.pki.thumbprint(issued.der)]


@pytest.mark.parametrize(
    "cert",
    [
        {},
        {"keyfile": "k.pem"},
        {"certfile": "c.pem"},
        {"keyfile": "k.pem", "certfile": "c.pem", "cert_phrase": "secret"},
    ],
)
def test_an_incomplete_certificate_is_refused_by_the_constructor(dev, cert):
    got = dev.run(
        """
        try:
            device(cert, NAME, 2)
        except ValueError as e:
            report(text=str(e))
        """,
        cert=cert,
    ).report
    assert "keyORCert" in got["text"] and "certfile" in got["text"] and "secret" not in got["text"]


# ---- WebSocket


def test_websocket_serves_dps_and_hub_alike(dev):
    got = dev.run(
        """
        iotc.Device.websocket = True
        d = device(name=NAME)
        code = d.connect()
        d.setQosLevel(1)
        report(code=code, error=d.error, sent=d.sendTelemetry({"t": 1}))
        step(d, lambda: not d.inflight)
        """,
        SERVER="127.0.0.1:%d" % dev.rig.websocket_port,
    ).report
    assert got == {"code": 0, "error": None, "sent": 0}
    assert dev.telemetry(1)[0][0] == b'{"t": 1}'


# ---- what goes wrong, and what is said then


def connect_fails(dev, source="", **values):
    """A connect() that fails: (code, text); the events are right and nothing secret is told."""
    got = dev.run(
        source
        + """
d = device(KEY, NAME, KIND, SCOPE)
d.setLogLevel(IOTLogLevel.IOTC_LOGGING_ALL)
watch(d, "ConnectionStatus")
code = d.connect()
report(code=code, text=str(d.error), connected=d.isConnected(), step=d.do_next())
""",
        **dict({"KEY": azure_rig.GROUP_KEY, "KIND": 1}, **values),
    )
    told, last = got.reports
    assert told["status"] == last["code"] != 0
    assert last["connected"] is False and last["step"] is False
    assert "sig=" not in got.out and azure_rig.GROUP_KEY[:12] not in got.out
    return last["code"], last["text"]


def test_a_key_of_another_device_is_refused(dev):
    code, text = connect_fails(dev, KEY=azure_rig.DEVICE_KEY, KIND=3)
    assert code == 4 and "401000 Unauthorized" in text and "key" in text


def test_a_key_derived_twice_is_refused(dev):
    """A device key passed as a group key: the trap of the two credential types."""
    assert connect_fails(dev, KEY=dev.key, KIND=1)[0] == 4


def test_a_wrong_scope_is_refused(dev):
    code, text = connect_fails(dev, SCOPE="0ne00WRONG")
    assert code == 4 and "scopeId" in text


@pytest.mark.parametrize("way", ["key", "scope"])
def test_a_dps_that_refuses_at_the_door_is_told_as_well(dev, fresh, way):
    """The documents list it; the service has not been seen to do it."""
    dev.rig = fresh
    fresh.azure.refuse = "connack"
    wrong = {"KEY": azure_rig.DEVICE_KEY, "KIND": 3} if way == "key" else {"SCOPE": "0neWRONG"}
    code, text = connect_fails(dev, **wrong)
    assert code == 4 and "not authorized" in text


def test_pain_15_what_dps_says_is_passed_on_with_its_tracking_id(dev, fresh):
    dev.rig = fresh
    code, text = connect_fails(dev, KEY=azure_rig.DEVICE_KEY, KIND=3)
    assert code == 4
    assert re.search(
        r"DPS: 401000 Unauthorized; check .*key.*clock \(tracking id [0-9a-f]{32}\)", text
    )


@pytest.mark.parametrize("place", ["dps.register", "dps.poll"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 412])
def test_every_final_error_of_dps_is_told_in_words(dev, fresh, place, status):
    dev.rig = fresh
    fresh.azure.fail(place, status=status)
    code, text = connect_fails(dev)
    assert code == 4
    assert text.count("DPS: %d004 ordered by a test" % status) == 1 and "tracking id" in text


def test_a_disabled_enrolment_is_told_as_such(dev):
    dev.rig.do(
        dev.rig.azure.enrol, dev.name, {"kind": "device", "keys": [dev.key], "enabled": False}
    )
    code, text = connect_fails(dev, KEY=dev.key, KIND=3)
    assert code == 2 and "disabled" in text and "enable" in text


def test_a_throttled_dps_is_asked_again_later(dev, fresh):
    dev.rig = fresh
    fresh.azure.fail("dps.register", count=2, status=429, retry_after=1)
    fresh.azure.fail("dps.poll", count=1, status=503, retry_after=0)
    got = dev.run("d = device(name=NAME)\nreport(code=d.connect(), error=d.error)").report
    assert got == {"code": 0, "error": None}


def test_a_dps_that_stays_busy_is_given_up(dev, fresh):
    dev.rig = fresh
    fresh.azure.fail("dps.register", count=None, status=429, retry_after=0)
    code, text = connect_fails(dev)
    assert code == 8 and "busy" in text


def test_a_dps_that_never_answers_is_given_up(dev, fresh):
    """The wait is cut from 30 s to 1 by the test's clock."""
    dev.rig = fresh
    fresh.azure.fail("dps.register", count=None, silent=True)
    code, text = connect_fails(dev, FAST_CLOCK, FACTOR=30)
    assert code == 16 and "DPS" in text and "answer" in text


FAST_CLOCK = """
import sys
import time as _real
class fast:
    pass
for _name in ("time", "gmtime", "ticks_add", "ticks_diff", "sleep_ms", "ticks_us"):
    setattr(fast, _name, getattr(_real, _name))
_start = _real.ticks_ms()

def ticks_ms():
    return _real.ticks_add(_start, _real.ticks_diff(_real.ticks_ms(), _start) * FACTOR)

fast.ticks_ms = ticks_ms
for _module in ("iotc", "iotc_dps", "mqtt_link", "netstream"):
    __import__(_module)
    sys.modules[_module].time = fast
"""


def test_no_network_is_told_as_such(dev):
    code, text = connect_fails(dev, SERVER="127.0.0.1:1")
    assert code == 16 and "127.0.0.1" in text
    code, text = connect_fails(dev, SERVER="nowhere.invalid:8883")
    assert code == 16 and "DNS" in text


def test_an_unknown_ca_is_told_as_such(dev, tmp_path):
    other = azure_rig.pki.Authority("another CA")
    (tmp_path / "other.der").write_bytes(other.der)
    code, text = connect_fails(dev, CA=tmp_path / "other.der")
    assert code in (16, 32) and "ca" in text


def test_tls_is_never_unverified_for_want_of_a_ca(dev):
    code, text = connect_fails(dev, CA="missing.der")
    assert code == 32 and "missing.der" in text


def test_pain_10_an_unset_clock_is_named(dev):
    code, text = connect_fails(dev, UNSET_CLOCK)
    assert code == 1 and "clock" in text and "NTP" in text


UNSET_CLOCK = """
import sys
import time as _real
class early:
    pass
for _name in ("ticks_ms", "ticks_add", "ticks_diff", "sleep_ms"):
    setattr(early, _name, getattr(_real, _name))
early.time = lambda: 5
early.gmtime = lambda seconds=5: _real.gmtime(seconds)
for _module in ("iotc_wire", "netstream"):
    __import__(_module)
    sys.modules[_module].time = early
"""


@pytest.mark.parametrize(
    "arguments, word",
    [
        (("SCOPE", "!", "sensor", 1), "keyORCert"),
        (("SCOPE", azure_rig.GROUP_KEY, "", 1), "deviceId"),
        (("SCOPE", azure_rig.GROUP_KEY, "a/b", 1), "deviceId"),
        (("SCOPE", azure_rig.GROUP_KEY, "a#", 1), "deviceId"),
        (("SCOPE", azure_rig.GROUP_KEY, "ä", 1), "deviceId"),
        (("SCOPE", azure_rig.GROUP_KEY, "x" * 129, 1), "deviceId"),
        (("SCOPE", azure_rig.GROUP_KEY, "sensor", 4), "credType"),
        (("SCOPE", azure_rig.GROUP_KEY, "sensor", None), "credType"),
        (("SCOPE", "a path", "sensor", 2), "keyORCert"),
        (("SCOPE", None, "sensor", 2), "keyORCert"),
        (("SCOPE", None, "sensor", 1), "keyORCert"),
        (("SCOPE", azure_rig.GROUP_KEY, None, 1), "deviceId"),
        (("SCOPE", azure_rig.GROUP_KEY, 5, 1), "deviceId"),
    ],
)
def test_a_bad_argument_is_named(dev, arguments, word):
    got = dev.run(
        """
        try:
            iotc.Device(*arguments)
        except ValueError as e:
            report(text=str(e))
        """,
        arguments=arguments,
    ).report
    assert word in got["text"] and azure_rig.GROUP_KEY[:12] not in got["text"]


def test_pain_20_no_log_level_shows_a_secret(dev):
    got = dev.run(
        """
        d = device(name=NAME)
        d.setLogLevel(IOTLogLevel.IOTC_LOGGING_ALL)
        d.on("Command", lambda info: None)
        report(code=d.connect())
        d.sendTelemetry({"t": 1})
        quiet(d)
        print(d, d.error, d.getHostName())
        """
    )
    assert got.report == {"code": 0}
    said = got.out + got.err
    assert "$iothub/twin/res" in said
    for secret in (azure_rig.GROUP_KEY[:12], dev.key[:12], "SharedAccessSignature", "sig="):
        assert secret not in said


def test_setExitOnError_ends_the_program(dev):
    got = dev.run(
        """
        d = device(name=NAME)
        report(code=d.setExitOnError(True))
        d.connect("wrong.azure-devices.net")
        report(after=True)
        """,
        check=False,
        SCOPE=None,
    )
    assert got.reports == [{"code": 0}] and got.rc != 0


# ---- losing the connection and coming back


KEEP = (
    CONNECT
    + """
iotc.MQTTLink.backoff_ms = 100
watch(d, "ConnectionStatus")
def hear(info):
    info.setResponse(200, info.getPayload())
d.on("Command", hear)
report(up=True)
while True:
    d.doNext(0.05)
    if LOOP:
        report(connected=d.isConnected())
"""
)


def cut(dev):
    client = dev.rig.azure.hub.client_of(dev.rig.device(dev.name))
    dev.rig.do(client.abort)


def test_a_cut_is_told_mended_and_told(dev):
    """isConnected() stays true meanwhile: the document's loop ends only with the device."""
    dev.known()
    program = dev.start(KEEP, LOOP=False)
    program.next_report()
    assert dev.invoke("a", 1) == (200, 1)
    cut(dev)
    assert program.next_report()["status"] == 16
    assert program.next_report()["status"] == 0
    assert dev.invoke("a", 2) == (200, 2)


def test_pain_08_a_refused_token_leads_back_to_dps_not_to_a_dead_device(dev, fresh):
    """The hub refuses (token ended, device unknown there): DPS is asked and the device is back."""
    dev.rig = fresh
    program = dev.start(KEEP.replace("connect(HUB)", "connect()"), LOOP=False)
    program.next_report()
    fresh.do(fresh.azure.remove, fresh.device(dev.name))
    assert program.next_report()["status"] == 16
    assert program.next_report()["status"] == 0
    assert dev.invoke("a", 2) == (200, 2)


def test_a_device_that_moved_finds_its_new_hub(dev, fresh):
    """And what it had not delivered to the old one is delivered to the new one."""
    dev.rig = fresh
    program = dev.start(
        KEEP.replace("connect(HUB)", "connect()").replace(
            "while True:",
            "d.setQosLevel(1)\nn = 0\nwhile True:\n    n += not d.sendTelemetry({'n': n})",
        ),
        LOOP=False,
    )
    program.next_report()
    dev.telemetry(3)
    record = dict(fresh.azure.registry.enrolments["default"], hub=azure_rig.OTHER_HUB)
    fresh.do(fresh.azure.enrol, "default", record)
    device = fresh.device(dev.name)
    before = device.received
    fresh.do(fresh.azure.registry.remove, device)
    cut_all(fresh)
    assert program.next_report()["status"] == 16
    assert program.next_report()["status"] == 0
    new = fresh.device(dev.name)
    assert new.hub == azure_rig.OTHER_HUB
    dev.telemetry(3)
    numbers = [
        json.loads(body)["n"] for _, _, body, _ in list(device.telemetry) + list(new.telemetry)
    ]
    assert set(range(max(numbers))) <= set(numbers) and before >= 3


def cut_all(rig):
    def do():
        for client in list(rig.server.clients):
            client.abort()

    rig.do(do)


def test_a_device_disabled_for_good_is_told_and_comes_back_when_enabled(dev, fresh):
    dev.rig = fresh
    program = dev.start(
        KEEP.replace("connect(HUB)", "connect()").replace(
            "    if LOOP", "    if not d.isConnected()"
        ),
        LOOP=True,
    )
    program.next_report()
    off = dict(fresh.azure.registry.enrolments["default"], enabled=False)
    fresh.do(fresh.azure.enrol, "default", off)
    fresh.do(fresh.azure.set_enabled, fresh.device(dev.name), False)
    assert program.next_report()["status"] == 16
    assert program.next_report()["status"] == 2
    assert program.next_report() == {"connected": False}
    fresh.do(fresh.azure.enrol, "default", dict(off, enabled=True))
    fresh.do(fresh.azure.set_enabled, fresh.device(dev.name), True)
    while True:
        got = program.next_report()
        if "status" in got and got["status"] == 0:
            break
    assert dev.invoke("a", 2) == (200, 2)


def test_two_boards_with_one_id_push_each_other_out_and_are_told(dev):
    dev.known()
    first = dev.start(KEEP, LOOP=False)
    first.next_report()
    second = dev.rig.hub(dev.name, dev.key)
    assert first.next_report()["status"] == 16
    second.closed()


def test_pain_17_a_refused_connack_is_mended_as_well(dev, fresh):
    """CONNACK 3 (busy) and 5 (refused) after a cut: both times the device is back by itself."""
    dev.rig = fresh
    program = dev.start(KEEP.replace("connect(HUB)", "connect()"), LOOP=False)
    program.next_report()
    for code in (3, 5):
        fresh.azure.fail("hub.connect", connack=code)
        cut(dev)
        assert program.next_report()["status"] == 16
        assert program.next_report()["status"] == 0
        assert dev.invoke("a", code) == (200, code)


def test_connect_from_a_callback_is_refused_not_hung(dev):
    dev.known()
    got = dev.run(
        """
        d = device(name=NAME)
        codes = []
        d.on("ConnectionStatus", lambda info: codes.append(d.connect()))
        report(code=d.connect(HUB), inner=codes, text=str(d.error))
        """
    ).report
    assert got["code"] == 0 and got["inner"] == [1] and "callback" in got["text"]


def test_doNext_waits_as_long_as_it_is_told_and_no_longer_than_it_must(dev):
    dev.known()
    program = dev.start(
        CONNECT
        + """
d.on("Command", lambda info: None)
quiet(d)
def took(f, *args):
    start = time.ticks_ms()
    code = f(*args)
    return [code, time.ticks_diff(time.ticks_ms(), start)]
report(idle=took(d.doNext, 1.5), step=took(d.doNext, 0), default=took(d.doNext))
report(command=took(d.doNext, 10))
d.disconnect()
report(off=took(d.doNext, 10))
"""
    )
    got = program.next_report()
    assert got["idle"][0] == 0 and 1400 <= got["idle"][1] < 3000
    assert got["step"][1] < 500 and 900 <= got["default"][1] < 2500
    assert dev.invoke("now")[0] == 200
    assert program.next_report()["command"][1] < 5000
    assert program.next_report()["off"][1] < 1000


def test_without_a_scope_only_a_known_hub_will_do(dev):
    dev.known()
    got = dev.run(
        """
        d = iotc.Device(None, GROUP, NAME, 1)
        report(code=d.connect(), text=str(d.error))
        report(code=d.connect(HUB))
        """
    ).reports
    assert got[0]["code"] == 32 and "scopeId" in got[0]["text"]
    assert got[1] == {"code": 0}


def test_the_local_cloud_as_a_program_takes_a_service_host_and_a_ca(board, start_cloud):
    """The port goes for the hub as well, since that is where the local cloud has it."""
    cloud = start_cloud()
    azure = cloud["azure"]
    got = board.run(
        """
        import iotc
        d = iotc.Device(scope, key, name, iotc.IOTConnectType.IOTC_CONNECT_SYMM_KEY)
        d.ca = ca
        d.setServiceHost(dps)
        report(code=d.connect(), host=d.getHostName(), error=d.error)
        """,
        scope=azure["scope_id"],
        key=azure["group_key"],
        name=azure["device_id"],
        ca=cloud["ca_der"],
        dps="%s:%d" % (azure["dps_host"], cloud["mqtt"]["tls_port"]),
    ).report
    assert got == {"code": 0, "host": azure["hub_host"], "error": None}
