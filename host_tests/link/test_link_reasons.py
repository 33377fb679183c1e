"""link_reasons: the words for why a connection of the link ended, and what is blamed."""

import pytest

JUDGE = """
import link_reasons
from mqtt_link import MQTTException

def judge(e, was_up=True, failures=0, head=None):
    said = link_reasons.judge(e, (OSError, MQTTException), was_up, failures, head)
    return [type(said).__name__, str(said.args[-1]) if said.args else ""]

QOS1 = bytearray(b"\\1\\2\\0\\x32\\5")
QOS2 = bytearray(b"\\1\\2\\0\\x3c\\5")
RELEASED = bytearray(b"\\1\\2\\0\\x62\\2")
CLOSED = OSError(104, "connection closed by the peer")
LOST = OSError(104, "connection lost")
"""


def told(board, *expressions):
    source = JUDGE + "report(said=[" + ", ".join(expressions) + "])"
    return board.run(source).report["said"]


def test_no_memory_is_told_as_such(board):
    (said,) = told(board, "judge(MemoryError())")
    assert said[0] == "OSError" and said[1].startswith("out of memory (")


def test_what_is_no_fault_of_the_network_is_named(board):
    said = told(board, "judge(RuntimeError('deep'))", "judge(ValueError('user: bad'))")
    assert said == [["OSError", "RuntimeError: deep"], ["OSError", "ValueError: user: bad"]]


def test_failures_of_the_network_stay_what_they_are(board):
    said = told(
        board,
        "judge(MQTTException(5, 'refused: not authorized'))",
        "judge(OSError(110, 'peer silent'), True, 5, QOS1)",
        "judge(CLOSED, False, 5)",
        "judge(OSError())",
        "judge(LOST)",
    )
    assert [one[1] for one in said] == [
        "refused: not authorized", "peer silent", "connection closed by the peer", "",
        "connection lost",
    ]  # fmt: skip


def test_short_connections_in_succession_name_another_client(board):
    said = told(board, "judge(LOST, True, 1)", "judge(LOST, True, 2)")
    assert ["another client" in one[1] for one in said] == [False, True]


@pytest.mark.parametrize("head, qos2", [("QOS1", False), ("QOS2", True)])
def test_ends_on_the_same_message_are_counted_and_named(board, head, qos2):
    said = told(board, *["judge(CLOSED, True, 3, {})".format(head)] * 4)
    assert "another client" in said[0][1]
    for times, one in enumerate(said[1:], 2):
        assert "ended it {} times at message 258".format(times) in one[1]
        assert ("QoS 2" in one[1]) == qos2
    assert ["given up" in one[1] for one in said] == [False, False, False, True]


def test_a_line_that_breaks_counts_once_and_a_pubrel_never(board):
    said = told(
        board, *["judge(LOST, True, 0, QOS1)"] * 6, *["judge(CLOSED, True, 0, RELEASED)"] * 6
    )
    assert not any("message" in one[1] for one in said)
