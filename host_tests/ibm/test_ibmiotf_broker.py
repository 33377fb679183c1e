"""ibmiotf/broker.py: devices on one's own broker, and tools/brokers/ for Mosquitto."""

import re
import shutil
import signal
import socket
import subprocess

from workshop import processes
import pytest
import workshop
from workshop import real_broker
from ibm_rig import WATCH
from localcloud import pki
from localcloud.mqtt import codec as mq
from localcloud_rig import Raw

TOKENS = {"pump/id/p1": "token-1", "pump/id/p2": "token-2", "dashboard": "token-d"}


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory):
    """Mosquitto with the files of tools/brokers, made ready as their README says."""
    program = real_broker.mosquitto()
    tool = program and (shutil.which("mosquitto_passwd") or program + "_passwd")
    if not program:
        pytest.skip("mosquitto is not installed")
    place = tmp_path_factory.mktemp("mosquitto")
    authority = pki.Authority("our own CA")
    server = authority.issue_server(["localhost", "127.0.0.1"])
    (place / "ca.pem").write_bytes(authority.pem)
    (place / "ca.der").write_bytes(authority.der)
    (place / "server.pem").write_bytes(server.pem)
    (place / "server.key").write_bytes(server.key_pem)
    shutil.copy(workshop.ROOT / "tools" / "brokers" / "mosquitto.acl", place)
    (place / "passwords").touch()
    for user, token in TOKENS.items():
        subprocess.run([tool, "-b", str(place / "passwords"), user, token], check=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    conf = (workshop.ROOT / "tools" / "brokers" / "mosquitto.conf").read_text()
    conf, n = re.subn("(?m)^listener 8883$", "listener %d 127.0.0.1" % port, conf)
    assert n == 1
    # Started as root it would become user mosquitto, who can't read a test's directory.
    (place / "mosquitto.conf").write_text(conf + "\nuser root\n")
    made = {"port": port, "ca": str(place / "ca.der"), "ca_pem": str(place / "ca.pem")}

    def start():
        process = processes.Process(
            ["sh", "-c", 'cd "$0" && exec "$1" -c mosquitto.conf', str(place), program],
            name="mosquitto",
        )
        made["process"] = process
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.wait(0.1) is None, process.tail()

    made["start"] = start
    start()
    yield made
    made["process"].stop()


def device(mosquitto, name, **more):
    return dict(
        {
            "org": "home",
            "type": "pump",
            "id": name,
            "host": "localhost",
            "port": mosquitto["port"],
            "ca": mosquitto["ca"],
            "auth-method": "token",
            "auth-token": TOKENS.get("pump/id/" + name, "none"),
        },
        **more,
    )


def application(mosquitto, **more):
    return dict(
        {
            "org": "home",
            "id": "dashboard-1",
            "host": "localhost",
            "port": mosquitto["port"],
            "ca": mosquitto["ca"],
            "auth-method": "apikey",
            "auth-key": "dashboard",
            "auth-token": TOKENS["dashboard"],
        },
        **more,
    )


TALK = (
    WATCH
    + """
    import ibmiotf.broker
    import ibmiotf.application
    import time

    app = ibmiotf.application.Client(app_options)
    p1 = ibmiotf.broker.Client(options1)
    p2 = ibmiotf.broker.Client(options2)
    events, commands1, commands2, said, errors = [], [], [], [], []
    app.deviceEventCallback = lambda e: events.append((e.device, e.event, e.data))
    app.deviceStatusCallback = lambda s: said.append((s.device, s.action, s.reason))
    p1.commandCallback = lambda c: commands1.append((c.command, c.data))
    p2.commandCallback = lambda c: commands2.append((c.command, c.data))
    clients = [app, p1, p2]
    watches = [Watch(app), Watch(p1, 1), Watch(p2, 1)]
    for one in clients:
        one.errorCallback = errors.append

    app.subscribeToDeviceEvents(qos=1)
    app.subscribeToDeviceStatus()
    until(lambda: all(one.isConnected() for one in clients))
    until(lambda: all(watch.settled() for watch in watches))

"""
)


def values(mosquitto):
    return {
        "app_options": application(mosquitto),
        "options1": device(mosquitto, "p1"),
        "options2": device(mosquitto, "p2"),
    }


def test_events_and_commands_find_their_way_without_a_service_between(board, mosquitto):
    run = board.run(
        TALK
        + """
    for qos in range(3):
        p1.publishEvent("status", {"q": qos}, qos)
        p2.publishEvent("status", "json", [qos], qos)
        app.publishCommand("pump", "p1", "go", {"q": qos}, qos)
    until(lambda: len(events) == 6 and len(commands1) == 3)
    report(events=sorted(events, key=str), commands=sorted(commands1, key=str),
           foreign=commands2, errors=errors)
    """,
        **values(mosquitto),
    )
    got = run.report
    assert got["events"] == sorted(
        [["pump:p1", "status", {"q": q}] for q in range(3)]
        + [["pump:p2", "status", [q]] for q in range(3)],
        key=str,
    )
    assert sorted(c[1]["q"] for c in got["commands"]) == [0, 1, 2]
    assert got["foreign"] == [] and got["errors"] == []


def test_a_device_cant_speak_for_another_nor_hear_its_commands_an_application_hears_all(
    board, mosquitto
):
    run = board.run(
        TALK
        + """
    p1.link.subscribe("iot-2/type/pump/id/p2/cmd/+/fmt/+", 1)
    p1.link.subscribe("iot-2/#", 1)
    until(lambda: watches[1].settled())
    p1.link.publish("iot-2/type/pump/id/p2/evt/false/fmt/json", "{}", qos=1)
    p1.link.publish("iot-2/type/pump/id/p2/mon", "{}", qos=1)
    p1.link.publish("iot-2/type/pump/id/p2/cmd/false/fmt/json", "{}", qos=1)
    p1.link.publish("iot-2/type/pump/id/p1/cmd/false/fmt/json", "{}", qos=1)
    app.publishCommand("pump", "p2", "secret", {}, 1)
    p1.publishEvent("last", {}, 1)
    p2.publishEvent("last", {}, 1)
    app.publishCommand("pump", "p1", "last", {}, 1)
    until(lambda: len(events) >= 2 and commands1 and commands2)
    for _ in range(10):
        until(lambda: True)
    report(events=sorted(events, key=str), commands1=commands1, commands2=commands2)
    """,
        **values(mosquitto),
    )
    assert run.report == {
        "events": [["pump:p1", "last", {}], ["pump:p2", "last", {}]],
        "commands1": [["last", {}]],
        "commands2": [["secret", {}]],
    }


def test_a_wrong_token_or_name_is_refused(board, mosquitto):
    run = board.run(
        """
        import ibmiotf.broker
        for options in cases:
            try:
                ibmiotf.broker.Client(options).connect()
                report(error=None)
            except ibmiotf.ConnectionException as e:
                report(error=str(e))
        """,
        cases=[
            device(mosquitto, "p1", **{"auth-token": "token-2"}),
            device(mosquitto, "p3"),
            device(mosquitto, "p1", type="valve"),
            device(mosquitto, "p1", **{"auth-method": "none"}),
        ],
    )
    *wrong, anonymous = [report["error"] for report in run.reports]
    assert ["not authorized" in error for error in wrong] == [True] * 3
    assert anonymous  # Mosquitto just hangs up


def test_status_tells_who_is_there_who_left_and_who_was_lost(board, mosquitto):
    run = board.run(
        TALK
        + """
    def last(device):
        return [s[1:] for s in said if s[0] == device][-1:]

    until(lambda: last("pump:p1") and last("pump:p1")[0][0] == "Connect")
    until(lambda: last("pump:p2") and last("pump:p2")[0][0] == "Connect")
    p1.disconnect()
    until(lambda: last("pump:p1")[0][0] == "Disconnect")
    clients.remove(p2)
    p2.link.drop(OSError(5, "its power has failed"))
    until(lambda: last("pump:p2")[0][0] == "Disconnect")
    report(p1=last("pump:p1"), p2=last("pump:p2"))
    # Who comes later learns it too.
    late = ibmiotf.application.Client(dict(app_options, id="late"))
    del said[:]
    late.deviceStatusCallback = lambda s: said.append((s.device, s.action, s.retained, s.clientId))
    late.subscribeToDeviceStatus()
    clients[:] = [late]
    until(lambda: len(said) >= 2)
    report(late=sorted(said))
    """,
        **values(mosquitto),
    )
    now, late = run.reports
    assert now == {
        "p1": [["Disconnect", "The device said good-bye."]],
        "p2": [["Disconnect", "The connection broke."]],
    }
    assert late["late"] == [
        ["pump:p1", "Disconnect", True, "d:home:pump:p1"],
        ["pump:p2", "Disconnect", True, "d:home:pump:p2"],
    ]


def test_any_broker_that_lets_everybody_in_will_do(board, broker):
    options = {"org": "home", "auth-method": "none", "host": broker.host, "port": broker.port}
    run = board.run(
        TALK
        + """
    p1.publishEvent("status", {"a": 1}, 1)
    app.publishCommand("pump", "p1", "go", {"b": 2}, 1)
    until(lambda: events and commands1 and len(said) >= 2)
    report(events=events, commands=commands1, user=p1.link.user)
    """,
        app_options=dict(options, id="any"),
        options1=dict(options, type="pump", id="p1"),
        options2=dict(options, type="pump", id="p2"),
    )
    assert run.report == {
        "events": [["pump:p1", "status", {"a": 1}]],
        "commands": [["go", {"b": 2}]],
        "user": None,
    }


def test_the_readmes_programs_name_the_options_that_exist():
    text = (workshop.ROOT / "tools" / "brokers" / "README.md").read_text()
    names = set(re.findall('"([a-z-]+)":', text))
    assert names <= {"org", "type", "id", "host", "ca", "auth-method", "auth-token", "auth-key"}


def test_pain_73_what_waits_for_who_is_away_survives_a_crash(mosquitto):
    """Acknowledged messages, a broker that is killed, and an application that comes back."""
    tls = pki.client_context(mosquitto["ca_pem"])

    def connect(client_id, user, present=False):
        return Raw(mosquitto["port"], tls=tls, host="localhost").connect(
            client_id, present, clean=False, user=user, password=TOKENS[user].encode()
        )

    topic = "iot-2/type/pump/id/p1/evt/%d/fmt/json"
    connect("away", "dashboard").subscribe(("iot-2/type/+/id/+/evt/+/fmt/+", 1)).leave()
    publisher = connect("p", "pump/id/p1")
    for number in range(1, 201):
        publisher.send(mq.Publish(topic % number, b"{}", 1, pid=number))
        publisher.expect(mq.Puback(number))
    # The broker saves in its loop, once it has answered.
    publisher.sync()
    mosquitto["process"].signal(signal.SIGKILL)
    mosquitto["process"].wait(10)
    mosquitto["start"]()
    back = connect("away", "dashboard", present=True)
    got = []
    while len(got) < 200:
        packet = back.read()
        got.append(int(packet.topic.split("/")[6]))
        back.send(mq.Puback(packet.pid))
    assert got == list(range(1, 201))
