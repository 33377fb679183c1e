"""lib/cloud_seldom.py: what a device does seldom. On MicroPython and on CPython."""

from board_rig import not_built
from device_program import program


def test_pauses_grow_and_end_at_five_minutes(board):
    got = board.run(
        """
import time, cloud_seldom
for failures in range(20):
    pauses = []
    for _ in range(20):
        now = time.ticks_ms()
        pauses.append(time.ticks_diff(cloud_seldom.later(failures), now))
    report(least=min(pauses), most=max(pauses), several=len(set(pauses)) > 3)
"""
    ).reports
    for failures, one in enumerate(got):
        top = min(2000 << failures, 300000)
        assert top // 2 <= one["least"] <= one["most"] <= top + 50
        assert one["several"], "devices that fail together must not come back together"


def test_names_are_remembered_and_bounded(board):
    got = board.run(
        """
import cloud_seldom

class Device:
    pass

device = Device()
cloud_seldom.prepare(device, {"keep": 16})
for n in range(100):
    name = "name%d" % n
    cloud_seldom.look(device, name)[name] = n
report(known=len(cloud_seldom.look(device, "name99")), last=name in device._names)
"""
    ).report
    assert got == {"known": 4, "last": True}


def test_answers(board):
    got = board.run(
        """
import cloud_seldom

class Device:
    error = None

def answer(f, value=None):
    device = Device()
    status, said = cloud_seldom.answer(device, f, "name", value)
    report(status=status, said=said, error=device.error)

def refuse(name, value):
    raise ValueError("not today")

def broken(name, value):
    return {}[name]

answer(None)
answer(lambda name, value: value, {"a": [1, None, True]})
answer(refuse)
answer(broken)
answer(lambda name, value: object())
"""
    ).reports
    assert [one["status"] for one in got] == [404, 200, 400, 500, 400]
    assert got[1]["said"] == {"a": [1, None, True]}
    assert got[2]["said"] == "ValueError: not today" and got[2]["error"] is None
    assert "KeyError" in got[3]["said"] and "KeyError" in got[3]["error"]
    assert got[4]["error"] is None


@not_built("cloud_device is no file of its own there")
def test_pain_33_no_heap_to_load_a_file_is_no_end(board):
    """What is loaded on demand can fail for want of memory: told, and tried again."""
    got = board.run(program("cloud_device_failing_load")).reports
    assert got[0] == {"error": "MemoryError", "pending": 1}
    assert got[1] == {"error": "MemoryError", "left": 0, "pending": 1}
