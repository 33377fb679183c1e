"""
The longer programs that tests run on a device: files of host_tests/device/, so that ruff reads
them. What the test gives a program it imports by name, from the module `given`.
"""

import pathlib

_PLACE = pathlib.Path(__file__).resolve().parent.parent / "device"


def program(name):
    """The text of a program, or of what several begin with. For Board.run()."""
    return (_PLACE / (name + ".py")).read_text(encoding="utf-8")
