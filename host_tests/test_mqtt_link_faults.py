"""
The link against a peer that breaks every rule it can (tools/localcloud/faults.py), with messages in
flight both ways at QoS 1 and 2. Whatever happens: no step blocks, the link comes back, each QoS 1
message arrives at least once, each QoS 2 message exactly once, in order, and no heap is lost.
"""

import sys
from pathlib import Path

import pytest
from link_rig import IN_FLIGHT, Observer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from localcloud.faults import FAULTS, CutAt, FaultProxy

COUNT = 12
ROUNDS = ("first", "second")
STEP_BOUND_US = 50000
# A step that blocks blocks each time, and a leak leaks each time; a machine that was busy elsewhere,
# or a list that found room for one more, is not so regular.
TRIES = 3


def in_flight(board, broker, break_it, count=COUNT, rounds=ROUNDS):
    """Runs IN_FLIGHT; break_it(proxy, round) is called before each. Returns its reports."""
    results = []
    with FaultProxy(broker.host, broker.port) as proxy:
        observer = Observer(broker.host, broker.port, "go/#", "up/#")
        forget_session(broker)
        try:
            program = board.start(
                IN_FLIGHT, host=proxy.host, port=proxy.port, COUNT=count, ROUNDS=rounds
            )
            feed(observer, "warm", count)
            for name in rounds:
                assert program.next_report(40) == {"ready": name}
                before = proxy.connections
                break_it(proxy, name)
                proxy.cut()
                program.send("go")
                feed(observer, name, count)
                result = program.next_report(40)
                assert "gave_up" not in result, result
                assert proxy.connections > before
                results.append(result)
                check_up(observer, name, count)
            results.append(program.next_report())
            assert program.wait(20).rc == 0
            return results
        finally:
            observer.stop()


def check_up(observer, name, count):
    wanted = [b"%d" % i for i in range(count)]
    once = observer.wait("up/2/" + name, count)
    assert once == wanted, "QoS 2 is not exactly once, in order: {}".format(once)
    found = observer.wait("up/1/" + name, count)
    first = [p for i, p in enumerate(found) if p not in found[:i]]
    assert first == wanted, "QoS 1 is not at least once, in order: {}".format(found)


def feed(observer, name, count):
    observer.wait("go/" + name, 1, 30)
    for i in range(count):
        observer.publish("down/1", str(i), 1)
        observer.publish("down/2", str(i), 2)


def forget_session(broker):
    # The broker must know nothing of a device of an earlier test: a clean session sees to that.
    Observer(broker.host, broker.port, client_id="device").stop()


def check(board, broker, *args, **options):
    for _ in range(TRIES):
        *rounds, last = in_flight(board, broker, *args, **options)
        for result in rounds:
            assert all(count >= 1 for count in result["down1"]), result
            assert all(count == 1 for count in result["down2"]), result
            assert result["disorder"] == [], result
        longest = max(result["longest_us"] for result in rounds)
        growth = last["heap_growth"] if board.name == "micropython" else 0
        if longest <= STEP_BOUND_US and growth <= 0:
            return
    pytest.fail("longest step {} us, heap grown by {} bytes".format(longest, growth))


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"cut"}))
def test_fault(board, broker, fault):
    check(board, broker, lambda proxy, name: proxy.apply(fault))


@pytest.mark.parametrize("direction, conversation", [("down", 100), ("up", 170)])
def test_cut_at_every_byte(board, broker, direction, conversation):
    """Each new connection ends one byte later than the one before it, right through a round."""
    check(
        board,
        broker,
        lambda proxy, name: proxy.apply(CutAt, int(name), direction),
        count=2,
        rounds=[str(i) for i in range(1, conversation, 1)],
    )
