"""
ibmiotf beside the service's own SDKs (ibmiotf 0.4.0, wiotp-sdk 1.0.1), unmodified, through the
local cloud: they must take one another for their own kind.
"""

import json
import os
from pathlib import Path

import pytest
import workshop
from workshop import processes

SDKS = {
    "ibmiotf": ["ibmiotf==0.4.0", "paho-mqtt==1.6.1"],
    "wiotp": ["wiotp-sdk==1.0.1", "paho-mqtt==1.6.1"],
}


def prepare():
    """Before the tests: the side environments."""
    for name in SDKS:
        workshop.side_venv("sdk-" + name, SDKS[name])


class Sdk:
    """A client of one of the SDKs, in a process of its own."""

    def __init__(self, name, role, cloud, options, directory):
        try:
            python = workshop.side_venv("sdk-" + name, SDKS[name])
        except workshop.SetupError as error:
            pytest.skip(str(error))
        settings = {
            "ports": {
                1883: cloud["mqtt"]["port"],
                8883: cloud["mqtt"]["tls_port"],
                443: int(cloud["http"]["tls_url"].rsplit(":", 1)[1]),
            },
            "ca": cloud["ca_pem"],
            "options": options,
        }
        script = Path(__file__).with_name("ibm_sdk.py")
        self.process = processes.Process(
            # ibmiotf writes a log file where it is started.
            ["sh", "-c", 'cd "$0" && exec "$@"', str(directory), str(python), str(script)]
            + [name, role, json.dumps(settings)],
            name=name,
            env=dict(os.environ, REQUESTS_CA_BUNDLE=cloud["ca_pem"], PYTHONWARNINGS="ignore"),
        )
        self.heard = []
        self.wait("connected")

    def wait(self, key, good=lambda value: True):
        """The value of the first thing said that has this key, is good, and was not taken yet."""
        for said in self.heard:
            if key in said and good(said[key]):
                self.heard.remove(said)
                return said[key]
        while True:
            try:
                said = json.loads(self.process.next_line(20))
            except ValueError:
                continue
            assert "raised" not in said, said
            if key in said and good(said[key]):
                return said[key]
            self.heard.append(said)

    def call(self, method, *arguments):
        self.process.send(json.dumps([method] + list(arguments)))
        return self.wait("returned")


@pytest.fixture
def sdk(cloud, tmp_path):
    """Gives sdk(name, role) -> Sdk, as the local cloud's own device or application."""
    started = []

    def start(name, role):
        org, made = cloud["ibm"]["org"], cloud["ibm"][role]
        if name == "ibmiotf":
            options = {"org": org, "auth-method": "token", "auth-token": made["token"]}
            if role == "device":
                options.update(type=made["type"], id=made["id"])
            else:
                options.update({"id": "sdk", "auth-method": "apikey", "auth-key": made["key"]})
        elif role == "device":
            options = {
                "identity": {"orgId": org, "typeId": made["type"], "deviceId": made["id"]},
                "auth": {"token": made["token"]},
                "options": {"mqtt": {"caFile": cloud["ca_pem"]}},
            }
        else:
            options = {
                "identity": {"appId": "sdk"},
                "auth": {"key": made["key"], "token": made["token"]},
                "options": {"mqtt": {"caFile": cloud["ca_pem"]}},
            }
        started.append(Sdk(name, role, cloud, options, tmp_path))
        if role == "device":
            started[-1].wait("subscribed")  # to its commands, as it does by itself
        return started[-1]

    yield start
    for one in started:
        one.process.stop()
        print(one.process.tail(40))


@pytest.fixture
def ours(cloud):
    """Options for our own device and application."""
    made = cloud["ibm"]
    common = {
        "org": made["org"],
        "host": "127.0.0.1",
        "port": cloud["mqtt"]["tls_port"],
        "api-port": int(cloud["http"]["tls_url"].rsplit(":", 1)[1]),
        "ca": cloud["ca_der"],
    }
    device = dict(common, type=made["device"]["type"], id=made["device"]["id"])
    device.update({"auth-method": "token", "auth-token": made["device"]["token"]})
    application = dict(common, id="ours")
    application.update(
        {
            "auth-method": "apikey",
            "auth-key": made["application"]["key"],
            "auth-token": made["application"]["token"],
        }
    )
    return {"device": device, "application": application}


@pytest.mark.parametrize("name", sorted(SDKS))
def test_our_device_and_their_application(board, cloud, sdk, ours, name):
    made = cloud["ibm"]["device"]
    application = sdk(name, "application")
    application.call("subscribeToDeviceStatus", made["type"], made["id"])
    application.call("subscribeToDeviceEvents", made["type"], made["id"], "e", "json", 2)
    for _ in range(2):
        application.wait("subscribed")
    device = board.start(
        """
        import ibmiotf.device
        client = ibmiotf.device.Client(options)
        client.commandCallback = lambda c: report(command=c.command, data=c.data, format=c.format,
                                                  at=c.timestamp.isoformat())
        client.errorCallback = lambda e: report(error=str(e))
        client.connect()
        data = {"a": 1, "b": [True, None, "\\u00e9\\u20ac"], "c": {"d": 1.5}}
        for qos in range(3):
            client.publishEvent("e", "json", data, qos)
        client.publishEvent("e", data, 1)
        while client.link.inflight:
            client.do_next(20)
        report(ready=True)
        while True:
            client.do_next(100)
        """,
        options=ours["device"],
    )
    data = {"a": 1, "b": [True, None, "\u00e9\u20ac"], "c": {"d": 1.5}}
    status = application.wait("status", lambda s: s["action"] == "Connect")
    assert status["clientId"] == "d:%s:%s:%s" % (cloud["ibm"]["org"], made["type"], made["id"])
    events = [application.wait("event") for _ in range(4)]
    for event in events:
        assert (event["deviceId"], event["format"]) == (made["id"], "json")
        assert (event.get("event") or event.get("eventId")) == "e"
    # Messages of different QoS may overtake one another.
    assert [e["data"] for e in events].count(data) == 3
    assert {"d": data} in [e["data"] for e in events]
    assert device.next_report() == {"ready": True}
    for qos in range(3):
        sent = {"text": "\u00e9 \u20ac", "q": qos}
        application.call("publishCommand", made["type"], made["id"], "go", "json", sent, qos)
        got = device.next_report()
        assert (got["command"], got["data"], got["format"]) == ("go", sent, "json")
    device.stop()
    application.wait("status", lambda s: s["action"] == "Disconnect")


@pytest.mark.parametrize("name", sorted(SDKS))
def test_their_device_and_our_application(board, cloud, sdk, ours, name):
    made = cloud["ibm"]["device"]
    application = board.start(
        """
        import ibmiotf.application
        client = ibmiotf.application.Client(options)
        client.deviceEventCallback = lambda e: report(
            event=e.event, device=e.device, data=e.data, format=e.format)
        client.deviceCommandCallback = lambda c: report(command=c.command, data=c.data)
        client.deviceStatusCallback = lambda s: report(
            action=s.action, device=s.device, time=s.time.isoformat(), retained=s.retained)
        client.errorCallback = lambda e: report(error=str(e))
        client.subscribeToDeviceEvents(deviceType=kind, qos=2)
        client.subscribeToDeviceCommands(deviceType=kind)
        client.subscribeToDeviceStatus(kind)
        answered = []
        on_ack = client.link.on_ack
        client.link.on_ack = lambda *args: (answered.append(args), on_ack(*args))
        client.connect()
        while len(answered) < 3:
            client.do_next(20)
        report(ready=True)
        while True:
            client.do_next(100)
        """,
        options=ours["application"],
        kind=made["type"],
    )
    while "ready" not in application.next_report():
        pass
    device = sdk(name, "device")
    report = application.next_report()
    while report.get("retained"):  # how an earlier test left it
        report = application.next_report()
    full_name = "%s:%s" % (made["type"], made["id"])
    assert (report["action"], report["device"]) == ("Connect", full_name)
    for qos in range(3):
        data = {"text": "\u00e9 \u20ac", "q": qos}
        assert device.call("publishEvent", "e", "json", data, qos) is True
        assert application.next_report() == {
            "event": "e",
            "device": full_name,
            "data": data,
            "format": "json",
        }
    device.process.stop()
    while application.next_report().get("action") != "Disconnect":
        pass


@pytest.mark.parametrize("name", sorted(SDKS))
def test_our_application_commands_their_device(board, cloud, sdk, ours, name):
    made = cloud["ibm"]["device"]
    device = sdk(name, "device")
    board.run(
        """
        import ibmiotf.application
        client = ibmiotf.application.Client(options)
        client.connect()
        for qos in range(3):
            assert client.publishCommand(kind, name, "go", "json", {"q": qos, "t": "\\u00e9"}, qos)
        assert client.publishCommand(kind, name, "go", {"q": 9}, 1)
        while client.link.inflight:
            client.do_next(20)
        client.disconnect()
        """,
        options=ours["application"],
        kind=made["type"],
        name=made["id"],
    )
    got = [device.wait("command") for _ in range(4)]
    assert sorted(c["data"]["q"] for c in got if "q" in c["data"]) == [0, 1, 2]
    assert {"d": {"q": 9}} in [c["data"] for c in got]


@pytest.mark.parametrize("device_sdk", sorted(SDKS))
@pytest.mark.parametrize("application_sdk", sorted(SDKS))
def test_they_talk_to_each_other_through_the_local_cloud(cloud, sdk, device_sdk, application_sdk):
    made = cloud["ibm"]["device"]
    application = sdk(application_sdk, "application")
    application.call("subscribeToDeviceEvents", made["type"], made["id"])
    application.call("subscribeToDeviceStatus", made["type"], made["id"])
    for _ in range(2):
        application.wait("subscribed")
    device = sdk(device_sdk, "device")
    application.wait("status", lambda s: s["action"] == "Connect")
    for qos in range(3):
        device.call("publishEvent", "e", "json", {"q": qos}, qos)
        assert application.wait("event")["data"] == {"q": qos}
        application.call("publishCommand", made["type"], made["id"], "go", "json", {"q": qos}, qos)
        assert device.wait("command")["data"] == {"q": qos}
    device.process.stop()
    application.wait("status", lambda s: s["action"] == "Disconnect")


def test_a_device_that_their_api_registered_is_one_for_us(board, cloud, sdk, ours):
    theirs = sdk("ibmiotf", "application")
    name = "sdk-" + board.name
    theirs.call("api.addDeviceType", name, "by the SDK")
    made = theirs.call(
        "api.registerDevice", name, "d1", "the-token-they-chose", None, None, {"a": 1}
    )
    assert made["authToken"] == "the-token-they-chose"
    run = board.run(
        """
        import ibmiotf.application
        import ibmiotf.device
        client = ibmiotf.application.Client(application)
        report(device=client.api.getDevice(kind, "d1"))
        device.update({"type": kind, "id": "d1", "auth-token": "the-token-they-chose"})
        ibmiotf.device.Client(device).connect()
        made = client.api.registerDevice(kind, "d2", {"b": 2})
        report(made=made["uuid"])
        client.api.deleteDevice(kind, "d1")
        """,
        kind=name,
        **ours,
    )
    seen, made = run.reports
    assert seen["device"]["metadata"] == {"a": 1}
    assert made["made"] == "d:%s:%s:d2" % (cloud["ibm"]["org"], name)
    got = theirs.call("api.getDevice", name, "d2")
    assert (got["clientId"], got["metadata"]) == (made["made"], {"b": 2})
    left = theirs.call("api.getDevicesForType", name)
    assert [d["deviceId"] for d in left["results"]] == ["d2"]
