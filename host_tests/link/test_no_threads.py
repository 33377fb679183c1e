"""no_threads: the lock of a port that has no threads, alone and under the link."""

import pytest
from board_rig import DOUBLES



def test_whoever_comes_second_does_not_get_it(board):
    report = board.run(
        """
from no_threads import allocate_lock
lock = allocate_lock()
other = allocate_lock()
got = [lock.acquire(False), lock.acquire(False), other.acquire(False)]
lock.release()
got.append(lock.acquire())
report(got=got)
"""
    ).report
    assert report["got"] == [True, False, True, True]


def test_a_link_without_threads_refuses_an_interrupt_in_its_midst_and_goes_on(board):
    if board.name != "micropython":
        pytest.skip("CPython has threads")
    report = board.run(
        """
import mqtt_link
mqtt_link.allocate_lock = None  # as on a port that has none
from broker_stream import BrokerStream, make, run

stream = BrokerStream()
link = make(stream)
link.connect()
write = stream.write
said = []
def interrupted(buf, off, n):
    try:
        link.publish("up/interrupt", "i")
    except OSError as e:
        said.append(str(e))
    return write(buf, off, n)
stream.write = interrupted
link.publish("up/program", "p", qos=1)
run(link, lambda: not link.inflight)
report(said=said, received=stream.received, bad=stream.corrupt)
""",
        before_lib=DOUBLES,
    ).report
    assert len(report["said"]) == 1 and "try again later" in report["said"][0]
    assert [one[:2] for one in report["received"]] == [["up/program", "p"]]
    assert report["bad"] == []
