"""
lib/iotc_preview.py: the conventions of 2018 (A) and of the Plug and Play preview (B), as programs
that were written against them select them: by what they call.
"""

import json

import pytest
from azure_rig import CONNECT, dev, rig  # noqa: F401

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)

SELECT = {
    "A": 'd.on("SettingsUpdated", lambda info: None)\n',
    "B by interfaces": 'd.setInterfaces({"settings": "urn:acme:settings:1"})\n',
    "B by model": 'd.setModelData({"__iot:interfaces": {"CapabilityModelId": "urn:acme:m:1"}})\n',
    "C": 'd.setModelData({"modelId": "dtmi:acme:m;1"})\nd.on("Properties", lambda info: None)\n',
}

LISTEN = """
d.setQosLevel(1)
def hear(info):
    report(event=info.getEventName(), tag=info.getTag(), interface=info.getInterface(),
        payload=info.getPayload(), status=info.getStatusCode())
    if info.getEventName() == "Command":
        info.setResponse(200, "Received")
d.on(PROPERTIES, hear)
d.on("Command", hear)
assert d.connect(HUB) == 0, d.error
report(up=True)
go_on(d)
"""


def start(dev, select, properties="Properties", more=""):
    dev.known()
    program = dev.start(
        "d = device(name=NAME)\n" + SELECT[select] + more + LISTEN, PROPERTIES=properties
    )
    assert program.next_report() == {"up": True}
    return program


@pytest.mark.parametrize("select", sorted(SELECT))
def test_what_a_program_calls_selects_the_convention(dev, select):
    dev.known()
    got = dev.run(
        "d = device(name=NAME)\n"
        + SELECT[select]
        + "report(convention=d.convention, code=d.connect(HUB))\n"
    ).report
    assert got == {"convention": select[0], "code": 0}


def test_the_convention_may_be_named_as_well(dev):
    dev.known()
    got = dev.run(
        """
        d = device(name=NAME)
        d.convention = "A"
        d.on("Properties", lambda info: None)
        d.setQosLevel(1)
        report(code=d.connect(HUB), sent=d.sendTelemetry({"t": 1}))
        step(d, lambda: not d.inflight)
        """
    ).report
    assert got == {"code": 0, "sent": 0}
    assert dev.telemetry(1) == [(b'{"t": 1}', {})]


def test_a_desired_and_its_acknowledgement(dev):
    program = start(dev, "A", "SettingsUpdated")
    dev.desire({"fan": {"value": 5}})
    got = program.next_report()
    assert (got["tag"], got["interface"]) == ("fan", None)
    assert json.loads(got["payload"]) == {"value": 5, "$version": 2}
    dev.rig.until(lambda: dev.rig.device(dev.name).twin["reported"]["properties"])
    assert dev.reported() == {
        "fan": {"value": 5, "statusCode": 200, "status": "completed", "desiredVersion": 2}
    }


def test_a_command(dev):
    program = start(dev, "A", "SettingsUpdated")
    assert dev.invoke("reboot", {"delay": 3}) == (200, "Received")
    got = program.next_report()
    assert (got["tag"], got["payload"]) == ("reboot", {"delay": 3})


def test_a_model_goes_to_dps_as_data(dev):
    """What DPS makes of it is not known; that it takes it is."""
    bodies = []

    class Watcher:
        @staticmethod
        def connected(client):
            pass

        disconnected = connected

        @staticmethod
        def published(client, packet):
            if packet.topic.startswith("$dps/registrations/PUT/"):
                bodies.append(json.loads(packet.payload))

    dev.rig.server.watchers.append(Watcher)
    try:
        for select in ("A", "B by model"):
            dev.run(
                "d = device(name=NAME)\n"
                + 'd.setModelData({"iotcModelId": "urn:acme:m:1"})\n'
                + SELECT[select]
                + "report(code=d.connect())\n"
            )
    finally:
        dev.rig.server.watchers.remove(Watcher)
    assert bodies[0]["data"] == {"iotcModelId": "urn:acme:m:1"} and "payload" not in bodies[0]
    assert bodies[1]["payload"]["__iot:interfaces"] and "data" not in bodies[1]


def test_b_tells_its_model_first(dev):
    """Even at QoS 1 and before ConnectionStatus; with the model that the program named."""
    start(dev, "B by interfaces", more=SELECT["B by model"])
    body, bag = dev.telemetry(1)[0]
    assert bag == {
        "$.ifid": "urn:azureiot:ModelDiscovery:ModelInformation:1",
        "$.ifname": "urn_azureiot_ModelDiscovery_ModelInformation",
        "$.schema": "modelInformation",
    }
    assert json.loads(body) == {
        "modelInformation": {
            "capabilityModelId": "urn:acme:m:1",
            "interfaces": {
                "urn_azureiot_ModelDiscovery_ModelInformation": bag["$.ifid"],
                "settings": "urn:acme:settings:1",
            },
        }
    }


def test_b_desired_and_its_acknowledgement(dev):
    program = start(dev, "B by interfaces")
    dev.desire({"$iotin:settings": {"fan": {"value": 5}}})
    got = program.next_report()
    assert got["tag"] == "fan" and got["interface"] == "$iotin:settings"
    assert got["payload"] == {"value": 5, "sv": 2}
    dev.rig.until(lambda: dev.rig.device(dev.name).twin["reported"]["properties"])
    assert dev.reported() == {
        "$iotin:settings": {"fan": {"value": 5, "sc": 200, "sd": "completed", "sv": 2}}
    }


@pytest.mark.parametrize("select", ["A", "B by interfaces"])
def test_the_full_twin_is_shown_but_not_acknowledged(dev, select):
    dev.known()
    name = "$iotin:settings" if select[0] == "B" else "fan"
    dev.desire({name: {"fan" if select[0] == "B" else "value": {"value": 5}}})
    got = dev.run(
        "d = device(name=NAME)\n"
        + SELECT[select]
        + """
d.on("Updated", lambda info: report(tag=info.getTag()))
assert d.connect(HUB) == 0, d.error
quiet(d)
"""
    ).reports
    assert got == [{"tag": "fan"}]
    assert dev.reported() == {}


def test_b_command_and_its_later_result(dev):
    dev.known()
    program = dev.start(
        "d = device(name=NAME)\n"
        + SELECT["B by interfaces"]
        + """
d.setQosLevel(1)
def hear(info):
    request = info.getPayload()
    report(tag=info.getTag(), interface=info.getInterface(), payload=request)
    info.setResponse(202, "on its way")
    info.setCallback(lambda: report(code=d.sendCommandUpdate(
        info.getInterface(), info.getTag(), request["requestId"], 200, 'it "works"')))
d.on("Command", hear)
assert d.connect(HUB) == 0, d.error
report(up=True)
go_on(d)
"""
    )
    program.next_report()
    argument = {"commandRequest": {"value": 5, "requestId": "a4795148-155f"}}
    assert dev.invoke("$iotin:settings*reboot", argument) == (202, "on its way")
    assert program.next_report() == {
        "tag": "reboot", "interface": "settings", "payload": argument["commandRequest"],
    }  # fmt: skip
    assert program.next_report() == {"code": 0}
    body, bag = dev.telemetry(2)[1]
    assert json.loads(body) == 'it "works"'
    assert list(bag.items()) == [
        ("iothub-message-schema", "asyncResult"),
        ("iothub-command-name", "reboot"),
        ("$.ifname", "settings"),
        ("iothub-command-request-id", "a4795148-155f"),
        ("iothub-command-statuscode", "200"),
    ]


def test_b_telemetry_names_its_interface_and_nothing_else(dev):
    start(dev, "B by interfaces", more='d.on("ConnectionStatus", SEND)\n'.replace(
        "SEND",
        'lambda info: d.sendTelemetry({"temperature": "20"}, '
        '{"$.ifid": "urn:acme:settings:1", "$.ifname": "settings", "$.schema": "temperature"})',
    ))  # fmt: skip
    assert dev.telemetry(2)[1] == (
        b'{"temperature": "20"}',
        {"$.ifid": "urn:acme:settings:1", "$.ifname": "settings", "$.schema": "temperature"},
    )


ALWAYS = {"iotc", "iotc_wire"}  # as built they are one file


def test_todays_devices_do_not_load_it(dev):
    dev.known()
    got = dev.run(
        CONNECT
        + """
import sys
report(loaded=sorted(name for name in sys.modules if name.startswith("iotc")))
"""
    ).report
    assert set(got["loaded"]) <= ALWAYS


def test_registering_leaves_nothing_behind(dev):
    got = dev.run(
        """
        d = device(name=NAME)
        report(code=d.connect())
        import sys
        report(loaded=sorted(name for name in sys.modules if name.startswith("iotc")))
        """
    ).reports
    assert got[0] == {"code": 0} and set(got[1]["loaded"]) <= ALWAYS
