"""
The link against a peer that breaks every rule it can (tools/localcloud/faults.py), with messages
in flight both ways at QoS 1 and 2. Whatever happens: no step blocks, the link comes back, each
QoS 1 message arrives at least once, each QoS 2 message exactly once, in order, and no heap is
lost.
"""

import pytest
from link_rig import check_in_flight
from localcloud.faults import FAULTS, CutAt

STALLS = (
    "silent",
    "never_reads",
    "stall_mid_packet",
    "stall_mid_connack",
    "stall_mid_suback",
    "stall_mid_ack",
)
DEAD = ("swallow_pings", "half_open")
ENDS = ("close_at_once", "half_packet_then_end")
GARBAGE = (
    "garbage",
    "random_garbage",
    "wrong_flags",
    "reserved_type_0",
    "reserved_type_15",
    "client_packet",
    "qos_3",
    "second_connack",
    "publish_before_connack",
    "five_byte_length",
    "length_256_mb",
    "topic_past_end",
    "packet_id_0",
    "puback_too_long",
)
REFUSALS = tuple(sorted(name for name in FAULTS if name.startswith("connack_")))
# These have a test of their own, or take a count.
ELSEWHERE = ("cut", "freeze")
OTHERS = tuple(sorted(set(FAULTS) - {*STALLS, *DEAD, *ENDS, *GARBAGE, *REFUSALS, *ELSEWHERE}))


@pytest.mark.parametrize("fault", STALLS)
def test_pain_01_a_peer_that_stalls_blocks_nothing(board, broker, fault):
    check_in_flight(board, broker, lambda proxy, name: proxy.apply(fault))


@pytest.mark.parametrize("fault", DEAD)
def test_pain_07_a_dead_peer_is_noticed_by_keepalive(board, broker, fault):
    check_in_flight(board, broker, lambda proxy, name: proxy.apply(fault))


@pytest.mark.parametrize("fault", ENDS)
def test_pain_24_half_a_packet_and_an_end_is_no_message(board, broker, fault):
    check_in_flight(board, broker, lambda proxy, name: proxy.apply(fault))


@pytest.mark.parametrize("fault", GARBAGE)
def test_pain_25_garbage_ends_the_connection_and_not_the_link(board, broker, fault):
    check_in_flight(board, broker, lambda proxy, name: proxy.apply(fault))


@pytest.mark.parametrize("fault", REFUSALS)
def test_a_refused_connack_is_tried_again(board, broker, fault):
    check_in_flight(board, broker, lambda proxy, name: proxy.apply(fault))


@pytest.mark.parametrize("fault", OTHERS)
def test_fault(board, broker, fault):
    check_in_flight(board, broker, lambda proxy, name: proxy.apply(fault))


@pytest.mark.parametrize("direction, conversation", [("down", 100), ("up", 170)])
def test_cut_at_every_byte(board, broker, direction, conversation):
    """Each new connection ends one byte later than the one before it, right through a round."""
    check_in_flight(
        board,
        broker,
        lambda proxy, name: proxy.apply(CutAt, int(name), direction),
        count=2,
        rounds=[str(i) for i in range(1, conversation, 1)],
    )
