"""
A TeamViewer client when anything fails, at any moment: each call on its stream in turn, and each
step without memory. Every call is told of once, the connection comes back, no stream is spoilt.
"""

import pytest
import sweep_rig
from device_program import program
from teamviewer_rig import Device


@pytest.fixture
def device(board, agent, tmp_path):
    return Device(board, agent, tmp_path / "certs")


CONVERSATION = program("teamviewer_sweep_conversation")


@pytest.mark.parametrize("error", sweep_rig.ERRORS + sweep_rig.INTERRUPTS)
def test_pain_33_each_call_of_the_stream_fails_in_turn(device, error):
    sweep_rig.calls(device, CONVERSATION, error, 40)


def test_pain_33_no_memory_from_any_call_on_and_in_any_step(device):
    sweep_rig.no_memory(device, CONVERSATION, 50)


def test_pain_33_each_allocation_of_each_step_fails_in_turn(device):
    sweep_rig.full_heap(device, CONVERSATION, 100, 6000, 200, 10)
