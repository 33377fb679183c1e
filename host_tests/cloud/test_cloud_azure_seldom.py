"""lib/cloud_azure.py and cloud_azure_seldom.py: what Azure has of its own."""

import json

import cloud_rig
from cloud_rig import world  # noqa: F401


PRELUDE = """
import cloud, time
device = cloud.Device(SETTINGS)
def step(until, ms=60000):
    start = time.ticks_ms()
    while not until():
        device.do_next(20)
        if time.ticks_diff(time.ticks_ms(), start) > ms:
            raise Exception("in vain: %r" % device.error)
"""


place = cloud_rig.place_at("azure")


def properties(place):
    path = "/azure/devices/%s/messages/events?count=100" % place.name
    return [one["properties"] for one in place.world.control("GET", path)]


def test_a_name_is_a_component_and_when_is_the_time_of_making(board, place):
    board.run(
        PRELUDE
        + """
device.send({"celsius": 20})
device.send({"celsius": 21}, "pump1")
device.send({"celsius": 22}, when=WHEN - (946684800 if time.gmtime(0)[0] == 2000 else 0))
step(lambda: not device.pending)
device.disconnect()
""",
        SETTINGS=place.settings,
        WHEN=1767603600,
    )
    place.wait(3)
    plain, part, dated = properties(place)
    assert "$.sub" not in plain and part["$.sub"] == "pump1"
    assert dated["iothub-creation-time-utc"] == "2026-01-05T09:00:00Z"
    assert plain["$.ct"] == "application/json"


def test_a_certificate_that_azure_issues(board, place, tmp_path):
    """Azure knows the device by it from then on: by the group's key it would be refused."""
    file = tmp_path / "issued.pem"
    for number in range(2):
        board.run(
            PRELUDE
            + """
device.send({"celsius": 20})
step(lambda: not device.pending)
device.disconnect()
""",
            SETTINGS=dict(place.settings, certificate_file=str(file)),
        )
        place.wait(number + 1)
    known = place.world.control("GET", "/azure/devices/%s/certificates" % place.name)
    assert len(known["issued"]) == 1 and known["used"] == known["issued"]
    assert b"BEGIN EC PRIVATE KEY" in file.read_bytes()


def test_a_component_s_command_setting_and_report(board, place):
    program = board.start(
        PRELUDE
        + """
device.on_command = lambda name, args: {"name": name, "args": args}
device.on_setting = lambda name, value: report(name=name, value=value)
device.report({"pump1.speed": 5, "firmware": "1"})
step(lambda: device.is_connected() and not device.pending)
report(ready=True)
while True:
    device.do_next(50)
""",
        SETTINGS=place.settings,
    )
    assert program.next_report(40) == {"ready": True}
    reported = place.reported()
    assert reported["pump1"] == {"__t": "c", "speed": 5} and reported["firmware"] == "1"
    assert place.command("pump1*stop", 3) == (200, {"name": "pump1.stop", "args": 3})
    place.set("pump1", {"__t": "c", "target": 7})
    assert program.next_report(30) == {"name": "pump1.target", "value": 7}
    said = cloud_rig.until(lambda: place.reported()["pump1"].get("target"), what="the answer")
    assert said["value"] == 7 and said["ac"] == 200


def test_the_model_is_announced(board, place):
    place.settings["model"] = "dtmi:acme:Pump;1"
    program = board.start(
        PRELUDE + "step(device.is_connected)\nreport(up=True)\nwhile True:\n device.do_next(50)\n",
        SETTINGS=place.settings,
    )
    assert program.next_report(40) == {"up": True}
    clients = json.dumps(place.world.control("GET", "/clients"))
    assert place.name in clients


def test_a_message_that_is_no_command_comes_as_one_called_message(board, place):
    program = board.start(
        PRELUDE
        + """
device.on_command = lambda name, args: report(name=name, args=args)
step(device.is_connected)
report(up=True)
while True:
    device.do_next(50)
""",
        SETTINGS=place.settings,
    )
    assert program.next_report(40) == {"up": True}
    path = "/azure/devices/%s/messages/deviceBound" % place.name
    place.world.control("POST", path, {"body": {"tune": 3}})
    assert program.next_report(30) == {"name": "message", "args": {"tune": 3}}


def test_a_device_that_is_disabled_is_told_and_comes_back_when_enabled(board, place):
    """A service that closes for good: the device tells, asks ever more seldom, and keeps all."""
    program = board.start(
        PRELUDE
        + """
step(device.is_connected)
report(up=True)
downs = []
device.on_down = downs.append
step(lambda: downs)
device.send({"n": 1})
report(down=True)
step(lambda: not device.pending, 120000)
report(sent=True)
""",
        SETTINGS=place.settings,
    )
    assert program.next_report(40) == {"up": True}
    path = "/azure/devices/" + place.name
    place.world.control("PUT", path, {"enabled": False})
    place.line.cut()
    assert program.next_report(40) == {"down": True}
    place.world.control("PUT", path, {"enabled": True})
    assert program.next_report(110) == {"sent": True}
    assert place.wait(1) == [("telemetry", {"n": 1})]


def test_pain_51_a_throttled_report_comes_later_and_is_not_lost(board, place):
    program = board.start(
        PRELUDE
        + """
step(device.is_connected)
report(up=True)
device.do_next(500)
device.report({"firmware": "1.2"})
start = time.ticks_ms()
step(lambda: not device.pending)
report(took=time.ticks_diff(time.ticks_ms(), start) > 900)
""",
        SETTINGS=place.settings,
    )
    body = {"place": "hub.twin.patch", "status": 429, "count": 1}
    place.world.control("POST", "/azure/faults", body)
    assert program.next_report(40) == {"up": True}
    assert program.next_report(60) == {"took": True}, "after a pause"
    assert place.reported()["firmware"] == "1.2"
    place.world.control("DELETE", "/azure/faults")
