"""
lib/cloud_teamviewer_sensors.py: sensors and metrics are made once, whatever memory is short for.
What is remembered, and made again, is in test_cloud_teamviewer_seldom.py.
"""

import cloud_rig
import pytest
from cloud_rig import world  # noqa: F401
from device_program import program

# ruff: noqa: F811


@pytest.fixture
def place(world, tmp_path, request):
    made = world.place("teamviewer", cloud_rig.name_of(request), tmp_path)
    made.line.lift()
    yield made
    made.close()


# A first message loads a file five times: to provision, to ask for the sensor and to hear of it,
# to ask for the metrics and to hear of them.
@pytest.mark.parametrize("first", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("many", [1, 2, 5])
def test_a_shortage_of_memory_loses_nothing(board, place, first, many):
    """Wherever it comes, and however long it lasts: nothing is made, or sent, twice either."""
    short = list(range(first, first + many))
    got = board.run(
        program("cloud_teamviewer_shortages"), SETTINGS=place.settings, SHORT=short, timeout=90
    ).report
    assert got["loads"] >= 5 + many
    assert "MemoryError" in got["errors"]
    assert got["sent"] == [[number, None] for number in (1, 2, 3)]
    messages = place.messages()
    assert all(name == "climate" for name, _ in messages)
    assert [fields for _, fields in messages] == [{"n": n, "more": "x"} for n in range(3)]
    assert len(place.sensors()) == 1
