"""
lib/iotc_limits.py: twins as IoT Hub counts them: names and values, not the JSON around them; and
the local cloud's side counts the same.
"""

import pytest
from localcloud.azure.model import Refused, check_twin, twin_size

# Value and its size at the hub; None: no twin takes it.
SIZES = [
    ({}, 0),
    ({"a": 1}, 9),
    ({"a": 1.5}, 9),
    ({"a": True}, 5),
    ({"a": None}, 1),
    ({"a": "text"}, 5),
    ({"ä": "€"}, 5),
    ({"a": [1, 2, 3]}, 25),
    ({"a": {"b": None}}, 2),
    ({"a": [{"b": 1}]}, 10),
    ({"a": [None]}, None),
    ({"a": [{"b": None}]}, None),
    ({"a": [[1, {"b": {"c": None}}]]}, None),
    ({"a": {"b": {"c": 1}}}, 11),
    ({"a": [1] * 4094}, 32753),
    ({"a": [1] * 15000}, None),  # 30 KB of JSON and 120 KB at the hub
    ({"a": [True] * 8000}, 32001),  # 48 KB of JSON and 32 KB at the hub
    ({"k%d" % i: "x" * 4000 for i in range(8)}, 32016),
    ({"k%d" % i: "x" * 4000 for i in range(9)}, None),
    ({"a": "x" * 4096}, 4097),
    ({"a": "x" * 4097}, None),
    ({"a": "€" * 1365}, 4096),
    ({"a": "€" * 1366}, None),
    ({"k" * 1024: 1}, 1032),
    ({"k" * 1025: 1}, None),
    ({"ä" * 513: 1}, None),
    ({"a\x7f": 1}, None),
    ({"a\x80": 1}, None),
    ({"a\x9f": 1}, None),
    ({"a\xa0": 1}, 11),
    ({"a\x1f": 1}, None),
    ({"a b": 1}, None),
    ({"a.b": 1}, None),
    ({"a$": 1}, None),
    ({"": 1}, None),
    ({"a": 4503599627370495}, 9),
    ({"a": -4503599627370496}, 9),
    ({"a": 4503599627370496}, None),
    ({"a": -4503599627370497}, None),
]


def ids(value):
    return str(value)[:24].encode("ascii", "replace").decode()


@pytest.mark.parametrize("value, size", SIZES, ids=ids)
def test_the_local_cloud_counts_as_hub_does(value, size):
    try:
        check_twin(value)
        counted = twin_size(value)
        assert counted == size if size is not None else counted > 32768
    except Refused:
        assert size is None


def test_the_device_counts_as_hub_does(board):
    got = board.run(
        """
        import iotc_limits
        for value in values:
            try:
                iotc_limits.check(value)
                report(size=iotc_limits.size(value))
            except ValueError as e:
                report(size=None, why=str(e))
        """,
        values=[value for value, _ in SIZES],
    ).reports
    assert [one["size"] for one in got] == [size for _, size in SIZES]
    assert all("twin" in one["why"] for one in got if one["size"] is None)


def test_null_is_no_element_of_an_array(board):
    """Not in any depth below one; elsewhere it deletes a property."""
    got = board.run(
        """
        import iotc_limits
        for value in ({"a": None}, {"a": [None]}, {"a": [{"b": None}]}, {"a": ({"b": [None]},)}):
            try:
                iotc_limits.check(value)
                report(why=None)
            except ValueError as e:
                report(why=str(e))
        """
    ).reports
    assert [one["why"] for one in got] == [None] + ["a twin takes no null within a list"] * 3
