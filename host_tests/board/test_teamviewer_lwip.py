"""
A TeamViewer device of cloud.py on the emulated board: it makes its key, gets its certificate,
connects with it over mutual TLS, and comes back after a cut. Its files lie on a disk in
RAM, as the board has no flash.
"""

import cloud_rig
from cloud_rig import world  # noqa: F401
from waiting import until
from device_program import program

# ruff: noqa: F811 (the fixture above is what the test's argument is)

PROGRAM = program("teamviewer_lwip_sends")


def test_it_provisions_connects_and_comes_back(board_lwip, world, tmp_path, request):
    place = world.place("teamviewer", cloud_rig.name_of(request), tmp_path)
    settings = dict(
        place.settings,
        host=board_lwip.host,
        server_name="localhost",
        folder="/flash/tv",
        ca="/host" + place.settings["ca"],
    )
    program = board_lwip.start(PROGRAM, heap="190k", SETTINGS=settings)
    assert program.next_report(60)["free"] > 0
    said = program.next_report(110)
    assert said["connected"] is True, said
    assert place.wait(1)[0] == ("telemetry", {"celsius": 21.5})
    connections = place.line.connections
    place.line.cut()
    until(lambda: place.line.connections > connections, 60, "another connection")
    place.wait(len(place.messages()) + 2, timeout=60)
    assert program.process.rc is None, "the watchdog has bitten: {}".format(program.process.tail())
    place.close()
