"""lib/cloud_entries.py: what cloud.py has is found when asked for, and nothing of it stays."""

SETTINGS = {"service": "mqtt", "host": "localhost", "id": "d", "ca": None}


def test_what_cloud_has_is_found_and_nothing_else(board):
    got = board.run(
        """
import cloud
from cloud import Device, Watcher, check
report(has=[callable(one) for one in (cloud.Device, cloud.Watcher, cloud.check)])
try:
    cloud.device
except AttributeError as e:
    report(lacks="device" in str(e))
"""
    ).reports
    assert got == [{"has": [True, True, True]}, {"lacks": True}]


def test_what_was_loaded_for_it_is_let_go(board):
    """A device's settings, first message and report need files that are not there afterwards."""
    got = board.run(
        """
import sys
import cloud
device = cloud.Device(SETTINGS)
device.send({"n": 1})
device.send({"deep": [1]}, "another")
device.report({"n": 1})
device.do_next()
there = [name for name in sys.modules if name.startswith("cloud")]
report(there=sorted(there), pending=device.pending)
""",
        SETTINGS=SETTINGS,
    ).report
    assert got["pending"] == 3
    assert set(got["there"]) <= {"cloud", "cloud_device", "cloud_mqtt"}  # as built two are one


def test_a_check_leaves_nothing_either(board):
    got = board.run(
        """
import sys
import cloud
found = cloud.check({"service": "mqtt"})
report(found=len(found), there=[name for name in sys.modules if name.startswith("cloud")])
"""
    ).report
    assert got == {"found": 1, "there": ["cloud"]}
