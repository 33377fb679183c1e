"""
What the sweeps of all clients share: a conversation over a stream in memory, run again and again
while each call of the stream, and each allocation, fails in turn (doubles/sweeping.py).
"""

import pytest
from board_rig import DOUBLES

# What no client may let out of do_next(), and ...
ERRORS = ["OSError(104)", "MemoryError()", "RuntimeError('deep')", "ValueError()", "OSError()"]
# ... what must come out of it, once.
INTERRUPTS = ["KeyboardInterrupt()", "SystemExit()"]

_SWEEP = """
import sweeping
bad, count = SWEEP
report(bad=bad[:3], wrong=len(bad), count=count)
"""


def _sweep(board, conversation, sweep, least, timeout, heap, **values):
    source = conversation + _SWEEP.replace("SWEEP", sweep)
    told = board.run(source, timeout=timeout, heap=heap, before_lib=DOUBLES, **values).report
    assert not told["wrong"], told
    assert told["count"] >= least, "the conversation became short"


def calls(board, conversation, error, least, step=1, timeout=110, heap="4m", **values):
    """
    Each call of the stream raises `error` (source text) in turn; every `step`th only. least: so
    many runs there must be. conversation: source of a class Talk, see doubles/sweeping.py.
    """
    sweep = "sweeping.calls(Talk, {}, {})".format(error, step)
    _sweep(board, conversation, sweep, least, timeout, heap, **values)


def no_memory(board, conversation, least, timeout=110, heap="4m", **values):
    """The heap is locked from each call of the stream on to the end of the step; in each step."""
    if board.name != "micropython":
        pytest.skip("CPython's heap can't be locked")
    _sweep(board, conversation, "sweeping.locked(Talk)", least, timeout, heap, **values)


def full_heap(
    board, conversation, least, most, piece, every=1, timeout=115, heap="600k", **values
):
    """The heap is full, but for some bytes, in each step."""
    if board.name != "micropython":
        pytest.skip("CPython's heap can't be filled")
    sweep = "sweeping.brim(Talk, {}, {}, {})".format(most, piece, every)
    _sweep(board, conversation, sweep, least, timeout, heap, **values)
