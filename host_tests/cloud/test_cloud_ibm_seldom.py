"""lib/cloud_ibm.py and cloud_ibm_seldom.py: what IBM's grammar has of its own."""

import cloud_rig
from cloud_rig import world  # noqa: F401



place = cloud_rig.place_at("ibm")


def test_messages_are_events_in_the_iotf_form_with_their_time(board, place):
    board.run(
        """
import cloud, time
device = cloud.Device(SETTINGS)
device.send({"celsius": 20}, "climate")
device.send({"celsius": 21}, "climate", WHEN - (946684800 if time.gmtime(0)[0] == 2000 else 0))
while device.pending:
    device.do_next(50)
device.disconnect()
""",
        SETTINGS=place.settings,
        WHEN=1767603600,
    )
    place.wait(2)
    assert list(place.app.got) == [
        (place.space + "evt/climate/fmt/json", b'{"d":{"celsius": 20}}'),
        (
            place.space + "evt/climate/fmt/json",
            b'{"d":{"celsius": 21},"ts":"2026-01-05T09:00:00Z"}',
        ),
    ]


def test_what_can_t_be_read_is_an_error_and_no_end_of_the_connection(board, place):
    program = board.start(
        """
import cloud
device = cloud.Device(SETTINGS)
downs = []
device.on_down = downs.append
device.on_command = lambda name, args: report(name=name)
while not device.is_connected() or device.do_next(50):
    device.do_next(50)
report(up=True)
while not device.error:
    device.do_next(50)
report(downs=len(downs), up=device.is_connected())
while True:
    device.do_next(50)
""",
        SETTINGS=place.settings,
    )
    assert program.next_report(40) == {"up": True}
    place.app.publish(place.space + "cmd/odd/fmt/json", b'{"a" 1}')
    assert program.next_report(30) == {"downs": 0, "up": True}
    place.app.publish(place.space + "cmd/good/fmt/json", b"{}")
    assert program.next_report(30) == {"name": "good"}


def test_it_runs_plain_on_loopback_when_told_so(board, place):
    mqtt = place.world.ready["mqtt"]
    place.settings.update(ca=None, port=mqtt["port"])
    run = board.run(
        """
import cloud
device = cloud.Device(SETTINGS)
device.send({"n": 1})
while device.pending:
    device.do_next(50)
device.disconnect()
""",
        SETTINGS=place.settings,
    )
    assert "WARNING" in run.out
    assert cloud_rig.until(place.messages) == [("telemetry", {"n": 1})]
