"""
The link against a peer that breaks every rule it can (tools/localcloud/faults.py), with messages
in flight both ways at QoS 1 and 2. Whatever happens: no step blocks, the link comes back, each
QoS 1 message arrives at least once, each QoS 2 message exactly once, in order, and no heap is
lost.
"""

import sys
from pathlib import Path

import pytest
from link_rig import check_in_flight

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from localcloud.faults import FAULTS, CutAt


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"cut"}))
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
