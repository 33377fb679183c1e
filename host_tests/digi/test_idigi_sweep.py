"""
A Digi session when anything fails, at any moment: each call on its stream and each allocation in
turn. That may end the connection, but not spoil it; and no session seems connected and hears
nothing.
"""

import pytest
import sweep_rig
from device_program import program
from digi_rig import ack, connect_request

CONVERSATION = program("idigi_sweep_conversation")

WIRE = {
    "REQUEST": connect_request(9001, "user", "password"),
    "ACKS": [ack(number) for number in range(1, 4)],
}


@pytest.mark.parametrize("error", sweep_rig.ERRORS + sweep_rig.INTERRUPTS)
def test_pain_33_each_call_of_the_stream_fails_in_turn(board, error):
    """No exception comes out of do_next(), every block is heard, no connection is spoilt."""
    sweep_rig.calls(board, CONVERSATION, error, 30, **WIRE)


def test_pain_33_no_memory_from_any_call_on_and_in_any_step(board):
    sweep_rig.no_memory(board, CONVERSATION, 35, **WIRE)


def test_pain_33_each_allocation_of_each_step_fails_in_turn(board):
    sweep_rig.full_heap(board, CONVERSATION, 60, 3000, 100, **WIRE)


@pytest.mark.parametrize("hook", ["on_up", "on_down", "callback"])
def test_pain_33_ctrl_c_in_a_callback_leaves_nobody_connected_and_deaf(board, hook):
    reports = board.run(
        CONVERSATION + program("idigi_sweep_interrupt"),
        before_lib=sweep_rig.DOUBLES,
        hook=hook,
        **WIRE,
    ).reports
    assert reports[0] == {"connected": False, "open": 0}
    assert reports[1]["raised"] == 1
    assert set(reports[1]["got"]) == {'{"n":1}', '{"n":2}', '{"n":3}'}
    assert reports[1]["error"] == ("OSError" if hook == "on_down" else "KeyboardInterrupt")


def test_pain_31_sessions_that_nobody_stepped_for_days(board):
    """ticks_ms() goes round: a pause, and a connection, of any age are long ago."""
    reports = board.run(
        CONVERSATION
        + """
DAY = 24 * 3600 * 1000
for days in (1, 6, 7, 12, 13, 20):
    service = Service(PAYLOADS, REQUEST, ACKS)
    service.fail_at = 2
    def fail():
        raise OSError(104)
    service.failure = fail
    idigi_monitor_api.NetStream = service.stream
    idigi_monitor_api.time = clock = Clock()
    client = idigi_monitor_api.push_client(
    "user", "password", hostname="h", secure=False, threads=False)
    session = client.create_session(lambda data: True, 9001)
    while not session.error:
        client.do_next(0)
    clock.now += days * DAY
    before = clock.now
    while not session.is_connected():
        client.do_next(20)
    report(days=days, waited=clock.now - before)
""",
        before_lib=sweep_rig.DOUBLES,
        **WIRE,
    ).reports
    # On the way round there is one moment, shorter than the pause, that looks like it.
    assert [told["waited"] for told in reports] == [0] * 6
