"""
A TeamViewer client when anything fails, at any moment: each call on its stream in turn, each step
without memory. Every call is told of once, the connection comes back, no stream is spoilt.
"""

from pathlib import Path

import pytest
from teamviewer_rig import Device

DOUBLES = Path(__file__).resolve().parent.parent / "rigs" / "doubles"


@pytest.fixture
def device(board, agent, tmp_path):
    return Device(board, agent, tmp_path / "certs")


# Connect, and make a few calls, over a stream of which one call fails.
CONVERSATION = """
sys.path.insert(0, doubles)
import agent_stream
hurry(0)
ours = provisioned()
base = b"/v1.0/" + ours.get_connector_id().encode() + b"/"

def converse(fail_at, failure, around=None):
    peer = agent_stream.Agent(base)
    peer.fail_at = fail_at
    peer.failure = failure
    peer.take_over()
    heard.clear()
    logged.clear()
    c = client()
    c.on_api_log = None
    c.connect_api()
    told = {}
    def own(name):
        def callback(msg, error_code, error_str, user_data):
            told[name] = told.get(name, []) + [error_code]
        return callback
    c.check_connection(callback=own("ping"))
    c.create_sensor("one", callback=own("one"))
    c.create_sensor("two", callback=own("two"))
    raised = []
    deaf = gone = 0
    for step in range(300):
        try:
            if around:
                around(step, c)
            else:
                c.do_next(0)
        except BaseException as e:
            raised.append(type(e).__name__)
        connected = [h["on"] for h in heard if h["on"] in ("connect", "disconnect")][-1:]
        # Told "connected", and nothing there to hear: for longer than the step that finds out.
        serves = peer.open and len(peer.subscribed) >= 6
        gone = gone + 1 if connected == ["connect"] and not serves else 0
        deaf += gone > 2
        if len(told) == 3 and connected == ["connect"]:
            break
    total = peer.calls
    peer.fail_at = 0
    # It is alive, not just connected: one more call is answered.
    for step in range(100):
        if "after" in told:
            break
        if step == 0:
            c.check_connection(callback=own("after"))
        c.do_next(0)
    c.disconnect_api()
    return peer, dict(raised=raised, deaf=deaf, told=told, corrupt=peer.corrupt,
                      connections=peer.connections, total=total)

def fail(kind):
    def failure():
        raise kind
    return failure
"""


def check(told, codes=(0, 22)):
    assert not told["deaf"], told
    assert not told["corrupt"], told
    assert sorted(told["told"]) == ["after", "one", "ping", "two"], told
    for name, answers in told["told"].items():
        # Answered, or told that the answer was lost with the connection; once.
        assert len(answers) == 1 and answers[0] in codes, (name, told)
    assert told["told"]["after"] == [0], told


@pytest.mark.parametrize("kind", ["OSError(104)", "MemoryError()", "RuntimeError()", "KeyError()"])
def test_pain_33_every_call_on_the_stream_fails_in_turn(device, kind):
    reports = device.run(
        CONVERSATION
        + """
total = converse(0, None)[1]["total"]
for fail_at in range(1, total + 1):
    report(fail_at=fail_at, **converse(fail_at, fail(eval(kind)))[1])
report(total=total)
""",
        timeout=240,
        doubles=DOUBLES,
        kind=kind,
    ).reports
    total = reports.pop()["total"]
    assert total > 30 and len(reports) == total
    for told in reports:
        assert told["raised"] == [], told
        check(told)


def test_pain_33_ctrl_c_at_any_call_comes_out_once(device):
    reports = device.run(
        CONVERSATION
        + """
total = converse(0, None)[1]["total"]
for fail_at in range(1, total + 1):
    report(fail_at=fail_at, **converse(fail_at, fail(KeyboardInterrupt()))[1])
""",
        timeout=240,
        doubles=DOUBLES,
    ).reports
    assert len(reports) > 30
    for told in reports:
        assert told["raised"] in (["KeyboardInterrupt"], []), told
        check(told)


def test_pain_33_each_step_without_memory_in_turn(device):
    if device.board.name == "cpython":
        pytest.skip("only MicroPython can lock its heap")
    reports = device.run(
        CONVERSATION
        + """
import micropython

def locked(at):
    def around(step, c):
        if step != at:
            c.do_next(0)
            return
        micropython.heap_lock()
        try:
            c.do_next(0)
        finally:
            micropython.heap_unlock()
    return around

for at in range(30):
    report(at=at, **converse(0, None, locked(at))[1])
""",
        timeout=240,
        doubles=DOUBLES,
    ).reports
    assert len(reports) == 30
    for told in reports:
        # What the program's own callbacks allocate is theirs, and comes out of do_next().
        assert told["raised"] in ([], ["MemoryError"]), told
        check(told)
