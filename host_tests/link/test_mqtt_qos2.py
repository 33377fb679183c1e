"""mqtt_qos2: loaded by the first QoS 2 packet, whichever way it goes; PUBRELs in their order."""

import pytest
from board_rig import DOUBLES


START = """
import sys
from broker_stream import BrokerStream, make, run

def loaded():
    return "mqtt_qos2" in sys.modules

stream = BrokerStream()
link = make(stream, clean_session=False)
link.connect()
stream.filters = [b"down/x"]
"""


def device(board, source, **values):
    return board.run(START + source, before_lib=DOUBLES, **values).report


def test_a_program_without_qos_2_never_loads_it(board):
    report = device(
        board,
        """
for qos in (0, 1):
    link.publish("up", "x", qos=qos)
    stream.push(b"down/x", b"x", qos)
run(link, lambda: not link.inflight and not stream.to_send)
report(loaded=loaded(), messages=len(link.events))
""",
    )
    assert report == {"loaded": False, "messages": 3}


@pytest.mark.parametrize("way", ["out", "in"])
def test_the_first_qos_2_packet_loads_it(board, way):
    report = device(
        board,
        """
if way == "out":
    link.publish("up", "x", qos=2)
else:
    stream.push(b"down/x", b"x", 2)
done = run(link, lambda: not link.inflight and not stream.to_send)
report(loaded=loaded(), done=done, events=len(link.events))
""",
        way=way,
    )
    assert report == {"loaded": True, "done": True, "events": 1}


def test_pubrels_leave_in_the_order_of_their_publishes(board):
    report = device(
        board,
        """
stream.answers = False
ids = [link.publish("up", str(i), qos=2) for i in range(4)]
said = []
def pubrec(pid):
    before = len(stream.packets)
    stream.say(0x50, bytes((pid >> 8, pid & 255)))
    run(link, lambda: False, 3)
    said.append([body[0] << 8 | body[1] for op, body in stream.packets[before:] if op == 0x62])
for i in (1, 3, 0, 2):
    pubrec(ids[i])
report(said=said, ids=ids)
""",
    )
    first, second, third, fourth = report["ids"]
    assert report["said"] == [[], [], [first, second], [third, fourth]]


def test_a_broker_without_the_session_settles_what_it_had_confirmed(board):
    report = device(
        board,
        """
stream.answers = False
ids = [link.publish("up", str(i), qos=2) for i in range(3)]
stream.say(0x50, bytes((ids[0] >> 8, ids[0] & 255)))
run(link, lambda: False, 3)
stream.answers = True
stream.filters = []  # so it has no session any more
stream.ended = True
done = run(link, lambda: not link.inflight)
report(done=done, received=[one[1] for one in stream.received],
       acks=[event[1:] for event in link.events if event[0] == "ack"], ids=ids)
""",
    )
    assert report["done"] and report["received"] == ["1", "2"]
    assert report["acks"] == [[pid, 0] for pid in report["ids"]]
