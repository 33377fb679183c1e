"""
A Digi session when anything fails, at any moment: each call on its stream in turn, each step
without memory. That may end the connection, but not spoil it; and no session seems connected and
hears nothing.
"""

from pathlib import Path

import pytest
from digi_rig import ack, connect_request
from device_program import program

DOUBLES = Path(__file__).resolve().parent.parent / "rigs" / "doubles"

CONVERSATION = program("idigi_sweep_conversation")


def whole_messages(sent, last):
    """Whether what a connection wrote is a ConnectRequest and acknowledgements, the last cut."""
    request = connect_request(9001, "user", "password")
    if not sent.startswith(request):
        return request.startswith(sent)
    rest = sent[len(request) :]
    while rest:
        if len(rest) < 10:
            return any(ack(n).startswith(rest) for n in range(1, 4))
        if rest[:10] not in [ack(n) for n in range(1, 4)]:
            return False
        rest = rest[10:]
    return True


@pytest.mark.parametrize(
    "kind", ["OSError(104)", "MemoryError()", "RuntimeError()", "ValueError()"]
)
def test_pain_33_every_call_on_the_stream_fails_in_turn(board, kind):
    """No exception comes out of do_next(), every block is heard, no connection is spoilt."""
    reports = board.run(
        CONVERSATION
        + """
total = converse(0, None)[0].calls
for fail_at in range(1, total + 1):
    service, told = converse(fail_at, eval(kind))
    report(fail_at=fail_at, sent=["".join("%02x" % b for b in s) for s in service.sent], **told)
report(total=total)
""",
        timeout=120,
        doubles=DOUBLES,
        kind=kind,
    ).reports
    total = reports.pop()["total"]
    assert total > 50 and len(reports) == total
    for told in reports:
        assert told["raised"] == [], told
        assert not told["deaf"] and not told["missed"] and not told["odd"], told
        assert told["connections"] <= 2, told
        for sent in told["sent"]:
            assert whole_messages(bytes.fromhex(sent), sent is told["sent"][-1]), told


def test_pain_33_ctrl_c_at_any_call_ends_the_connection_and_comes_out_once(board):
    reports = board.run(
        CONVERSATION
        + """
total = converse(0, None)[0].calls
for fail_at in range(1, total + 1):
    service, told = converse(fail_at, KeyboardInterrupt())
    report(fail_at=fail_at, **told)
""",
        timeout=120,
        doubles=DOUBLES,
    ).reports
    assert len(reports) > 50
    for told in reports:
        assert told["raised"] == ["KeyboardInterrupt"], told
        assert not told["deaf"] and not told["missed"] and not told["odd"], told


def test_pain_33_each_step_without_memory_in_turn(board):
    """Every allocation of a step fails; then there is memory again."""
    if board.name == "cpython":
        pytest.skip("only MicroPython can lock its heap")
    reports = board.run(
        CONVERSATION
        + """
import micropython

def locked(at):
    def around(step, client):
        if step != at:
            client.do_next(20)
            return
        micropython.heap_lock()
        try:
            client.do_next(20)
        finally:
            micropython.heap_unlock()
    return around

for at in range(60):
    service, told = converse(0, None, locked(at))
    report(at=at, **told)
""",
        timeout=120,
        doubles=DOUBLES,
    ).reports
    assert len(reports) == 60
    for told in reports:
        # In the callback itself it is the program's own error, and comes out of do_next().
        assert told["raised"] in ([], ["MemoryError"]), told
        assert not told["deaf"] and not told["missed"] and not told["odd"], told
    assert sum(told["raised"] != [] for told in reports) <= 6


@pytest.mark.parametrize("hook", ["on_up", "on_down", "callback"])
def test_pain_33_ctrl_c_in_a_callback_leaves_nobody_connected_and_deaf(board, hook):
    reports = board.run(
        CONVERSATION
        + """
service = Service(PAYLOADS)
idigi_monitor_api.NetStream = service.stream
idigi_monitor_api.time = Clock()
client = idigi_monitor_api.push_client("u", "p", hostname="h", secure=False, threads=False)
got = []
session = client.create_session(lambda data: got.append(bytes(data)) or True, 9001)
calls = []
plain = session.callback
def interrupted(*args):
    calls.append(1)
    if len(calls) == 1:
        raise KeyboardInterrupt
    if hook == "callback":
        return plain(*args)
setattr(session, hook, interrupted)
if hook == "on_down":
    service.fail_at = 3
    service.error = OSError(104)
raised = 0
while len(service.acknowledged) < 3:
    try:
        client.do_next(20)
    except KeyboardInterrupt:
        raised += 1
        report(connected=session.is_connected(), open=service.open)
report(raised=raised, got=got, error=type(session.error).__name__)
""",
        doubles=DOUBLES,
        hook=hook,
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
    service = Service(PAYLOADS, 2, OSError(104))
    idigi_monitor_api.NetStream = service.stream
    idigi_monitor_api.time = clock = Clock()
    client = idigi_monitor_api.push_client("u", "p", hostname="h", secure=False, threads=False)
    session = client.create_session(lambda data: True, 9001)
    while not session.error:
        client.do_next(0)
    clock.now += days * DAY
    before = clock.now
    while not session.is_connected():
        client.do_next(20)
    report(days=days, waited=clock.now - before)
""",
        doubles=DOUBLES,
    ).reports
    # On the way round there is one moment, shorter than the pause, that looks like it.
    assert [told["waited"] for told in reports] == [0] * 6
