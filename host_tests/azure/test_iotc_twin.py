"""
lib/iotc_twin.py: properties whole, acknowledgements judged one by one, and a twin that is late.
"""

import json
import time

import pytest
from azure_rig import CONNECT, dev, fresh, rig  # noqa: F401

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)

LISTEN = CONNECT + 'watch(d, "PropertiesUpdated")\nreport(up=True)\ngo_on(d)\n'


def reported_when(dev, condition):
    dev.rig.until(lambda: condition(dev.rig.device(dev.name).twin["reported"]["properties"]))
    return dev.reported()


# What the cloud wants, and what the program is to get.
WHOLE = [
    {"value": 21.5, "unit": "C"},
    {"Value": 1},
    {"value": {"value": 1}, "x": 1},
    {"ac": 200, "av": 1, "value": 5},
    {"values": [1, 2]},
    {"__t": "x", "speed": 1},
    {},
]


def test_pain_41_an_object_that_looks_like_an_envelope_arrives_whole(dev):
    dev.known()
    program = dev.start(LISTEN)
    program.next_report()
    dev.desire({"p%d" % i: value for i, value in enumerate(WHOLE)})
    shown = {}
    for _ in WHOLE:
        got = program.next_report()
        shown[got["tag"]] = got["payload"]
    wanted = {"p%d" % i: value for i, value in enumerate(WHOLE)}
    assert shown == wanted
    got = reported_when(dev, lambda r: len(r) == len(WHOLE))
    assert {name: got[name].get("value", {}) for name in got} == wanted


def test_pain_41_in_a_component_too_and_a_bare_envelope_is_still_opened(dev):
    dev.known()
    program = dev.start(LISTEN)
    program.next_report()
    whole = {"value": 21.5, "unit": "C"}
    dev.desire({"pump1": {"__t": "c", "setpoint": whole, "speed": {"value": 7}}})
    shown = {r["tag"]: r["payload"] for r in (program.next_report() for _ in "12")}
    assert shown == {"setpoint": whole, "speed": 7}


ANSWER = (
    CONNECT
    + """
def hear(info):
    if "bad" in info.getTag():
        info.setResponse(200, BAD)
d.on("PropertiesUpdated", hear)
report(up=True)
while not (d.error and "bad" in str(d.error)):
    d.do_next(50)
report(error=str(d.error))
go_on(d)
"""
)


@pytest.mark.parametrize("place", ["alone", "in a component"])
def test_pain_42_an_acknowledgement_that_no_twin_takes_costs_no_other(dev, place):
    dev.known()
    program = dev.start(ANSWER.replace("BAD", '"x" * 5000'))
    program.next_report()
    wanted = {"first": 1, "bad": 2, "last": 3}
    if place == "alone":
        dev.desire(wanted)
        got = reported_when(dev, lambda r: len(r) == 2)
    else:
        dev.desire({"pump1": dict(wanted, __t="c")})
        got = reported_when(dev, lambda r: r)["pump1"]
        assert got.pop("__t") == "c"
    assert {name: got[name]["value"] for name in got} == {"first": 1, "last": 3}
    told = program.next_report()["error"]
    assert "bad" in told and "4 KB" in told


def test_pain_42_a_value_whose_acknowledgement_is_too_deep(dev):
    """Ten levels at the hub; around the value an acknowledgement is one more."""
    dev.known()
    deep = 1
    for _ in range(9):
        deep = {"a": deep}
    program = dev.start(ANSWER.replace("BAD", "None"))
    program.next_report()
    dev.desire({"bad": deep, "good": 1})
    assert list(reported_when(dev, lambda r: r)) == ["good"]
    assert "10 levels" in program.next_report()["error"]


def test_pain_42_many_acknowledgements_go_in_parts(dev):
    """All that a twin may hold at once: no single message of 32 KB, and none is lost."""
    dev.known()
    program = dev.start("iotc.Device.max_packet = 40000\n" + LISTEN)
    program.next_report()
    wanted = {"p%d" % i: "x" * 900 for i in range(30)}
    dev.desire(wanted)
    got = reported_when(dev, lambda r: len(r) == len(wanted))
    assert {name: got[name]["value"] for name in got} == wanted
    assert dev.rig.device(dev.name).twin["reported"]["version"] > 2


class Requests:
    """When the device has asked for its twin; a watcher of the server."""

    def __init__(self):
        self.times = []

    def connected(self, client):
        pass

    disconnected = connected

    def published(self, client, packet):
        if packet.topic.startswith("$iothub/twin/GET/"):
            self.times.append((time.monotonic(), packet.topic.split("$rid=")[1]))


def test_pain_51_a_twin_that_stays_older_than_a_patch_is_asked_for_ever_more_slowly(dev, fresh):
    dev.rig = fresh
    device = dev.known()
    asked = Requests()
    fresh.server.watchers.append(asked)
    fresh.azure.fail("hub.twin.get", silent=True, count=4)
    program = dev.start(LISTEN)
    program.next_report()
    fresh.until(lambda: asked.times)
    dev.desire({"fan": 5})
    assert program.next_report()["payload"] == 5
    client = fresh.azure.hub.client_of(device)
    stale = b'{"desired":{"fan":1,"$version":1},"reported":{"$version":1}}'
    for n in range(1, 4):
        rid = asked.times[n - 1][1]
        fresh.do(client.publish, "$iothub/twin/res/200/?$rid=" + rid, stale)
        fresh.until(lambda n=n: len(asked.times) > n, 30)
    first, second, third = (b[0] - a[0] for a, b in zip(asked.times, asked.times[1:]))
    assert first < second < third
    fresh.do(client.publish, "$iothub/twin/res/200/?$rid=" + asked.times[3][1], stale)
    assert program.next_report(30)["payload"] == 5  # the fifth is answered by the hub itself


def test_a_request_that_was_due_dies_with_its_connection(dev, fresh):
    """After a loss the twin is read once: what was to be asked again belongs to the old one."""
    dev.rig = fresh
    dev.known()
    asked = Requests()
    fresh.server.watchers.append(asked)
    fresh.azure.fail("hub.twin.get", status=429)
    program = dev.start(
        "iotc.MQTTLink.backoff_ms = iotc.MQTTLink.backoff_max_ms = 50\n"
        + CONNECT
        + """
d.setQosLevel(1)
d.on("Command", lambda info: info.setResponse(200, info.getPayload()))
watch(d, "ConnectionStatus")
step(d, lambda: "429" in str(d.error))
report(busy=True)
while not sys.stdin.readline():
    pass
step(d, lambda: not d.do_next(50))
start = time.ticks_ms()
while time.ticks_diff(time.ticks_ms(), start) < 2500:
    d.do_next(50)
report(away=True, error=str(d.error), sent=d.inflight)
go_on(d)
""".replace("d.setQosLevel", "import sys\nd.setQosLevel", 1)
    )
    assert program.next_report() == {"busy": True}
    fresh.azure.fail("hub.connect", connack=3, count=None)
    fresh.do(fresh.azure.hub.client_of(fresh.device(dev.name)).abort)
    program.send("go on")
    assert program.next_report()["status"] == 16
    away = program.next_report(20)
    assert away["sent"] == 0 and "not connected" not in away["error"]
    before = len(asked.times)
    fresh.azure.faults.clear()
    assert program.next_report(60)["status"] == 0
    fresh.until(lambda: len(asked.times) > before)
    assert dev.invoke("echo", 1) == (200, 1)
    assert len(asked.times) == before + 1


@pytest.mark.parametrize(
    "name", ["Properties", "PropertiesUpdated", "PropertyUpdated", "Updated", "SettingsUpdated"]
)
def test_pain_69_the_event_is_called_as_the_document_calls_it(dev, name):
    dev.known()
    dev.desire({"fan": 5})
    got = dev.run(
        """
        d = device(name=NAME)
        d.convention = "C"
        d.on(SPELLING, lambda info: report(name=info.getEventName()))
        assert d.connect(HUB) == 0, d.error
        quiet(d)
        """,
        SPELLING=name,
    ).report
    assert got == {"name": "PropertiesUpdated"}


def test_json_of_the_reported_properties_is_what_was_passed(dev):
    """As a dict, as its text, and for a component."""
    dev.known()
    dev.run(
        CONNECT
        + """
d.setQosLevel(1)
assert d.sendProperty({"a": {"b": [1, True, "x"]}}) == 0
assert d.sendProperty('{"c": 1.5}') == 0
assert d.sendProperty({"speed": 3}, "pump1") == 0
step(d, lambda: not d.inflight)
"""
    )
    assert reported_when(dev, lambda r: len(r) == 3) == {
        "a": {"b": [1, True, "x"]},
        "c": 1.5,
        "pump1": {"__t": "c", "speed": 3},
    }
    assert json.dumps(dev.reported())
