"""
lib/iotc.py under strain: a window that is full, a hub that is busy, a program that hands over what
can't be used. Nothing is left unanswered, nothing is forgotten, nothing ends the program.
"""

import asyncio

import pytest
from azure_rig import CONNECT, dev, fresh, rig  # noqa: F401

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)


def reported_when(dev, condition):
    dev.rig.until(lambda: condition(dev.rig.device(dev.name).twin["reported"]["properties"]))
    return dev.reported()


# ---- a full window


def hold_acknowledgements(rig, seconds):
    """The hub takes everything at once and acknowledges it late."""
    rig.azure.registry.durable = lambda: asyncio.sleep(seconds)


def test_a_full_window_keeps_no_command_from_its_answer_and_no_property_from_its_ack(dev, fresh):
    dev.rig = fresh
    dev.known()
    hold_acknowledgements(fresh, 6)
    program = dev.start(
        CONNECT
        + """
d.setQosLevel(1)
d.on("Command", lambda info: info.setResponse(200, info.getPayload()))
d.on("Properties", lambda info: None)
quiet(d)
while d.sendTelemetry({"t": 1}) == 0:
    pass
report(full=True)
go_on(d)
"""
    )
    program.next_report()
    assert dev.invoke("echo", 5, 4) == (200, 5)
    dev.desire({"fan": 5})
    fresh.until(lambda: fresh.device(dev.name).twin["reported"]["properties"], 4)
    assert dev.reported()["fan"]["av"] == 2


def test_after_an_outage_the_twin_is_read_before_what_waited_is_acknowledged(dev, fresh):
    """All places of the window are taken when the connection comes; the twin is read even so."""
    dev.rig = fresh
    dev.known()
    hold_acknowledgements(fresh, 6)
    dev.desire({"fan": 5})
    got = dev.run(
        """
        d = device(name=NAME)
        d.setQosLevel(1)
        assert d.connect(HUB) == 0, d.error
        quiet(d)
        d.disconnect()
        while d.sendTelemetry({"t": 1}) == 0:
            pass
        watch(d, "Properties")
        start = time.ticks_ms()
        assert d.connect() == 0, d.error
        d.error = None
        while time.ticks_diff(time.ticks_ms(), start) < 3000:
            d.do_next(100)
        report(error=d.error)
        """
    ).reports
    assert [r.get("tag") for r in got] == ["fan", None]
    assert got[1] == {"error": None}


# ---- a busy hub


@pytest.mark.parametrize("status", [429, 500])
def test_a_busy_hub_is_asked_for_the_twin_again_and_ever_more_slowly(dev, fresh, status):
    dev.rig = fresh
    dev.known()
    dev.desire({"fan": 5})
    fresh.azure.fail("hub.twin.get", count=2, status=status)
    got = dev.run(
        """
        d = device(name=NAME)
        watch(d, "Properties")
        start = time.ticks_ms()
        assert d.connect(HUB) == 0, d.error
        step(d, lambda: told)
        report(took=time.ticks_diff(time.ticks_ms(), start))
        """.replace(
            'watch(d, "Properties")',
            'told = []\n        d.on("Properties", lambda info: told.append(info.getEventName()))',
        )
    ).report
    assert 3000 <= got["took"] < 14000


def test_a_busy_hub_gets_the_acknowledgement_it_refused_later(dev, fresh):
    dev.rig = fresh
    dev.known()
    fresh.azure.fail("hub.twin.patch", status=429)
    program = dev.start(CONNECT + 'watch(d, "Properties")\nreport(up=True)\ngo_on(d)\n')
    program.next_report()
    fresh.until(lambda: fresh.azure.hub.listener(fresh.device(dev.name), "desired") is not None)
    dev.desire({"fan": 5})
    assert reported_when(dev, lambda r: r)["fan"]["av"] == 2


def test_a_request_that_is_wrong_is_not_repeated(dev, fresh):
    dev.rig = fresh
    dev.known()
    fresh.azure.fail("hub.twin.get", count=3, status=400)
    dev.run(CONNECT + "for _ in range(30):\n    d.do_next(100)\n")
    assert fresh.azure.faults.left("hub.twin.get") == 2


# ---- programs that hand over what can't be used


def test_a_model_of_older_days_does_not_keep_todays_device_from_connecting(dev):
    got = dev.run(
        """
        d = device(name=NAME)
        d.setModelData({"iotcModelId": "urn:acme:m:1"})
        report(code=d.connect(), error=d.error)
        """
    ).report
    assert got == {"code": 0, "error": None}


@pytest.mark.parametrize(
    "response",
    ["200, float('nan')", "200, object()", "200, {1: 2}", "'twice'", "None, 1", "200, b'x'"],
)
def test_an_answer_that_is_none_is_the_callbacks_mistake(dev, response):
    """It is answered 500 and shown with its line; nobody waits for nothing."""
    dev.known()
    program = dev.start(
        CONNECT
        + """
def hear(info):
    if info.getTag() == "bad":
        info.setResponse(%s)
d.on("Command", hear)
report(up=True)
go_on(d)
"""
        % response
    )
    program.next_report()
    status, text = dev.invoke("bad", None, 5)
    assert status == 500 and text.startswith("callback raised ")
    assert dev.invoke("good", None, 5)[0] == 200


def test_a_reported_component_leaves_the_programs_dict_as_it_was(dev):
    dev.known()
    got = dev.run(
        CONNECT
        + """
mine = {"speed": 3}
report(code=d.sendProperty(mine, "pump1"), mine=mine)
report(codes=[d.sendProperty("5", "pump1"), d.sendProperty([1], "pump1")], text=str(d.error))
report(name=d.sendTelemetry({"t": 1}, {"": 1}))
report(name=d.sendTelemetry({"t": 1}, {5: 1}))
d.disconnect()
"""
    ).reports
    assert got[0] == {"code": 0, "mine": {"speed": 3}}
    assert got[1]["codes"] == [1, 1] and got[1]["text"]
    assert got[2] == {"name": 1}
    assert got[3] == {"name": 0}


def test_connect_is_refused_in_a_callback_that_has_seen_another_one(dev):
    """MessageSent comes within sendTelemetry() at QoS 0: afterwards the outer one still runs."""
    dev.known()
    program = dev.start(
        CONNECT
        + """
d.on("MessageSent", lambda info: None)
def hear(info):
    d.sendTelemetry({"t": 1})
    info.setResponse(200, d.connect())
d.on("Command", hear)
report(up=True)
go_on(d)
"""
    )
    program.next_report()
    assert dev.invoke("connect", None, 5) == (200, 1)


def test_a_property_named_value_is_acknowledged_for_itself(dev):
    """In a component: what its neighbour was reported as has nothing to do with another one."""
    dev.known()
    dev.desire({"pump1": {"__t": "c", "value": 1, "speed": 1}})
    ack = {"value": 1, "ac": 200, "ad": "completed", "av": 1}
    device = dev.rig.device(dev.name)
    dev.rig.do(device.patch, "reported", {"pump1": {"__t": "c", "value": 1}, "odd": 5})
    program = dev.start(CONNECT + 'watch(d, "Properties")\nreport(up=True)\ngo_on(d)\n')
    program.next_report()
    assert reported_when(dev, lambda r: "speed" in r["pump1"])["pump1"]["speed"] == dict(ack, av=2)


def test_a_component_reported_as_something_else_stops_nothing(dev):
    dev.known()
    dev.desire({"pump1": {"__t": "c", "speed": 1}, "fan": 5})
    dev.rig.do(dev.rig.device(dev.name).patch, "reported", {"pump1": 5, "fan": "x"})
    program = dev.start(CONNECT + 'watch(d, "Properties")\nreport(up=True)\ngo_on(d)\n')
    program.next_report()
    got = reported_when(dev, lambda r: isinstance(r["pump1"], dict))
    assert got["pump1"]["speed"]["av"] == got["fan"]["av"] == 2


def test_a_message_without_properties_has_none(dev):
    device = dev.known()
    program = dev.start(CONNECT + 'watch(d, "Message")\nreport(up=True)\ngo_on(d)\n')
    program.next_report()
    topic = "devices/%s/messages/devicebound/" % dev.name
    client = dev.rig.azure.hub.client_of(device)
    dev.rig.do(client.publish, topic, b"1")
    assert program.next_report()["interface"] == {}
    dev.rig.do(client.publish, topic + "?mode=eco&flag", b"1")
    assert program.next_report()["interface"] == {"mode": "eco", "flag": None}
