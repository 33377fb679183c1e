"""JSON for people: what Python's json makes of sort_keys=True, indent=4, on a board too."""

import json

import pytest
import workshop
from cpython_port import Port
from hypothesis import given
from hypothesis import strategies as st

PRETTY = Port([str(workshop.LIB), str(workshop.DEVICE_LIB)]).load("idigi_pretty").pretty

MESSAGE = {
    "Document": {
        "Msg": {
            "topic": "1210/DeviceCore/7201/0",
            "DeviceCore": {"dpConnectionStatus": 0, "etc": "...", "list": [1, [], {}, None, True]},
            "group": "*",
            "text": 'Tür "1"',
        }
    }
}


def wanted(value, indent=4):
    return json.dumps(value, sort_keys=True, indent=indent, ensure_ascii=False)


def test_pain_60_a_callback_prints_as_the_documents_do(board):
    """The documents' callback: json.dumps(..., sort_keys=True, indent=4) in words that work."""
    report = board.run(
        """
        import json
        from idigi_pretty import pretty

        def json_cb(data):
            json_data = json.loads(data)
            report(printed="Data Received %s" % pretty(json_data), same=pretty(data))

        json_cb(payload)
        """,
        payload=json.dumps(MESSAGE).encode(),
    ).report
    assert report["printed"] == "Data Received " + wanted(MESSAGE)
    assert report["same"] == wanted(MESSAGE)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), VALUES), st.integers(0, 8))
def test_it_is_what_python_prints(value, indent):
    assert PRETTY(value, indent) == wanted(value, indent)


def test_pain_39_a_byte_order_mark_is_passed_over(board):
    report = board.run(
        """
        from idigi_pretty import pretty
        report(bytes=pretty(mark + b'{"a":1}', 1), text=pretty(str(mark + b'{"a":1}', "utf-8"), 1))
        """,
        mark=b"\xef\xbb\xbf",
    ).report
    assert report["bytes"] == report["text"] == '{\n "a": 1\n}'


def test_pain_34_a_surrogate_pair_is_one_character(board):
    report = board.run(
        """
        from idigi_pretty import pretty
        report(text=pretty(data, 0))
        """,
        data=b'{"n":"\\ud83d\\ude00"}',
    ).report
    assert report["text"] == '{\n"n": "\U0001f600"\n}'


@pytest.mark.parametrize("data", [b"nonsense", b"", b'{"a":', b"\xff", b"[" * 5000])
def test_what_is_no_json_is_a_value_error(board, data):
    report = board.run(
        """
        from idigi_pretty import pretty
        try:
            pretty(data)
            report(kind="none")
        except ValueError as e:
            report(kind="ValueError")
        """,
        data=data,
    ).report
    assert report == {"kind": "ValueError"}
