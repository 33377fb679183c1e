"""lib/cloud_mqtt.py and cloud_mqtt_seldom.py: templates, status, settings as retained messages."""

import cloud_rig
from cloud_rig import world  # noqa: F401



place = cloud_rig.place_at("mqtt")


FOREVER = """
import cloud
device = cloud.Device(SETTINGS)
device.on_command = lambda name, args: report(name=name, args=args)
device.on_setting = lambda name, value: report(setting=name, value=value)
said = False
while True:
    device.do_next(50)
    if device.is_connected() and not said and not device.do_next(50):
        said = True
        report(up=True)
"""


def test_its_status_is_a_retained_message_and_its_last_will(board, place):
    program = board.start(FOREVER, SETTINGS=place.settings)
    assert program.next_report(40) == {"up": True}
    topic = place.root + "status"
    cloud_rig.until(lambda: place.on(topic) == [b"online"], what="the status")
    program.process.stop()
    cloud_rig.until(lambda: place.on(topic) == [b"online", b"offline"], what="the will")
    late = place.listen(topic, user="rig", password="a-password")
    cloud_rig.until(lambda: late.got == [(topic, b"offline")], what="the retained status")


def test_it_says_offline_when_it_leaves(board, place):
    board.run(
        """
import cloud
device = cloud.Device(SETTINGS)
while not device.is_connected():
    device.do_next(50)
device.disconnect()
report(up=device.is_connected())
""",
        SETTINGS=place.settings,
    )
    topic = place.root + "status"
    cloud_rig.until(lambda: place.on(topic) == [b"online", b"offline"], what="the status")


def test_topics_by_template(board, place):
    place.settings["topics"] = {
        "event": "home/{id}/{name}/json",
        "command": "home/{id}/do/{name}",
        "answer": "home/{id}/did/{name}",
        "status": "home/{id}/alive",
        "report": "home/{id}/is",
    }
    listener = place.listen("home/#", user="rig", password="a-password")
    program = board.start(
        """
import cloud
device = cloud.Device(SETTINGS)
device.on_command = lambda name, args: args
device.send({"n": 1}, "climate", when=0)
device.report({"a": 1})
while True:
    device.do_next(50)
""",
        SETTINGS=place.settings,
    )
    root = "home/%s/" % place.settings["id"]

    def topics():
        return {topic[len(root) :]: body for topic, body in list(listener.got)}

    cloud_rig.until(lambda: {"climate/json", "alive", "is"} <= set(topics()), what="all topics")
    assert topics()["alive"] == b"online" and topics()["is"] == b'{"a": 1}'
    assert b'"ts": "' in topics()["climate/json"]

    def answered():
        listener.publish(root + "do/ping", "ON")
        return topics().get("did/ping")

    assert cloud_rig.until(answered, what="the answer") == b'{"status": 200, "answer": "ON"}' or (
        b'"ON"' in topics()["did/ping"]
    )
    program.stop()


def test_a_setting_waits_for_the_device_and_one_that_was_cleared_is_none(board, place):
    """pain 48: an empty retained message is no value."""
    place.set("interval", 30)
    place.listener.publish(place.root + "setting/colour", b"", retain=True)
    program = board.start(FOREVER, SETTINGS=place.settings)
    got = [program.next_report(40), program.next_report(40)]
    assert {"setting": "interval", "value": 30} in got and {"up": True} in got
    place.listener.publish(place.root + "setting/interval", b"", retain=True)
    place.listener.publish(place.root + "command/next", b"1")
    assert program.next_report(30) == {"name": "next", "args": 1}


def test_odd_commands_neither_end_the_program_nor_pass_in_silence(board, place):
    program = board.start(FOREVER, SETTINGS=place.settings)
    assert program.next_report(40) == {"up": True}
    place.listener.publish(place.root + "command/raw", b"\xff\xfe")
    place.listener.publish(place.root + "command/text", b"ON")
    assert program.next_report(30) == {"name": "text", "args": "ON"}
    assert place.command("deep", {"a": [1]})[0] == 200
