"""
lib/cloud_teamviewer.py and its seldom files: sensors and metrics made on first use, remembered
over a restart, made again when they are gone; what an agent can't take.
"""

import json

import cloud_rig
import pytest
from cloud_rig import world  # noqa: F401

# ruff: noqa: F811


@pytest.fixture
def place(world, tmp_path, request):
    made = world.place("teamviewer", cloud_rig.name_of(request), tmp_path)
    made.line.lift()
    yield made
    world.control("POST", "/teamviewer", {"backend": True, "mute": False})
    made.close()


SEND = """
import cloud
device = cloud.Device(SETTINGS)
for fields in MESSAGES:
    device.send(fields, "climate")
while device.pending:
    device.do_next(50)
report(error=device.error)
device.disconnect()
"""


def test_what_was_made_is_remembered_over_a_restart(board, place):
    place.settings["units"] = {
        "celsius": "°C",
        "speed": "knots",
        "volt": "SI.ElectricPotential.VOLT",
    }
    first = {"celsius": 21.5, "door": True, "word": "x", "speed": 3, "volt": 5}
    assert board.run(SEND, SETTINGS=place.settings, MESSAGES=[first]).report == {"error": None}
    assert len(place.sensors()) == 1
    second = dict(first, celsius=22.5)
    board.run(SEND, SETTINGS=place.settings, MESSAGES=[second, dict(second, more=1)])
    (sensor,) = place.sensors()
    assert sensor["name"] == "climate" and place.values(sensor) == [
        first,
        second,
        dict(second, more=1),
    ]
    metrics = sensor["metrics"]
    metrics = {m["name"]: m for m in (metrics.values() if isinstance(metrics, dict) else metrics)}
    assert len(metrics) == 6
    text = json.dumps(metrics["celsius"]) + json.dumps(metrics["volt"])
    assert "CELSIUS" in text and "VOLT" in text
    assert "knots" in json.dumps(metrics["speed"])


def test_a_sensor_that_was_deleted_is_made_again(board, place):
    board.run(SEND, SETTINGS=place.settings, MESSAGES=[{"n": 1}])
    file = place.folder / "certs" / "metrics.json"
    known = json.loads(file.read_text())
    known["climate"][0] = "0" * 32
    file.write_text(json.dumps(known))
    board.run(SEND, SETTINGS=place.settings, MESSAGES=[{"n": 2}])
    assert {json.dumps(fields) for _, fields in place.messages()} == {'{"n": 1}', '{"n": 2}'}
    file.write_text('{"climate": ["cut sho')
    board.run(SEND, SETTINGS=place.settings, MESSAGES=[{"n": 3}])
    assert {"n": 3} in [fields for _, fields in place.messages()]


def test_what_an_agent_can_t_take_is_refused_at_once(board, place):
    got = board.run(
        """
import cloud
device = cloud.Device(SETTINGS)
device.send({"a": 1, "b": True}, "climate")
while device.pending:
    device.do_next(50)
outcome = []
for fields in ({"a": [1]}, {"a": None}, {"a": {"x": 1}}, {"a": "text"}, {"a": True}, {"b": 1}):
    try:
        device.send(fields, "climate")
        outcome.append("taken")
    except ValueError as e:
        outcome.append("a:" in str(e) or "b:" in str(e))
report(outcome=outcome, pending=device.pending)
device.send({"a": 2.5}, "climate")
device.send({"a": "text"}, "another")
while device.pending:
    device.do_next(50)
""",
        SETTINGS=place.settings,
    ).report
    assert got == {"outcome": [True] * 6, "pending": 0}


def test_an_agent_in_trouble_gets_it_later(board, place):
    place.world.control("POST", "/teamviewer", {"backend": False})
    running = board.start(
        """
import cloud
device = cloud.Device(SETTINGS)
device.send({"n": 1}, "climate")
while not device.error:
    device.do_next(50)
report(text=device.error.args[-1], pending=device.pending)
while device.pending:
    device.do_next(50)
report(sent=True)
""",
        SETTINGS=place.settings,
    )
    got = running.next_report(40)
    assert got["pending"] == 1 and "Backend" in got["text"]
    place.world.control("POST", "/teamviewer", {"backend": True})
    assert running.next_report(60) == {"sent": True}
    assert place.wait(1) == [("climate", {"n": 1})]


def test_when_is_the_values_timestamp(board, place):
    board.run(
        """
import cloud, time
device = cloud.Device(SETTINGS)
device.send({"n": 1}, "climate", WHEN - (946684800 if time.gmtime(0)[0] == 2000 else 0))
while device.pending:
    device.do_next(50)
""",
        SETTINGS=place.settings,
        WHEN=1767603600,
    )
    (sensor,) = place.sensors()
    assert "1767603600000" in json.dumps(sensor["values"])
