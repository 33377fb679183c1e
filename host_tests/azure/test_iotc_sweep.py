"""
An iotc.Device when anything fails, at any moment: each call of its streams (to the Provisioning
Service and to the hub) and each allocation in turn. Nothing counts as done before it is:
telemetry, a reported property, a message from the cloud, a command's answer, an event.
"""

import pytest
import sweep_rig
from device_program import program

CONVERSATION = program("iotc_sweep_conversation")

WITH_DPS = {"SCOPE": "0ne00ABCDEF", "HOST": None, "REFUSALS": 0}
WITHOUT = {"SCOPE": None, "HOST": "hub.azure-devices.net", "REFUSALS": 0}


@pytest.mark.parametrize("error", sweep_rig.ERRORS + sweep_rig.INTERRUPTS)
def test_pain_33_each_call_of_the_streams_fails_in_turn(board, error):
    sweep_rig.calls(board, CONVERSATION, error, 60, **WITH_DPS)


def test_pain_33_each_call_fails_in_turn_of_a_device_that_goes_to_its_hub_directly(board):
    sweep_rig.calls(board, CONVERSATION, "OSError(104)", 40, **WITHOUT)


@pytest.mark.parametrize("way", [WITH_DPS, WITHOUT], ids=["dps", "hub"])
def test_pain_33_no_memory_from_any_call_on_and_in_any_step(board, way):
    sweep_rig.no_memory(board, CONVERSATION, 60, **way)


def test_pain_33_each_allocation_of_each_step_fails_in_turn(board):
    way = dict(WITH_DPS, REFUSALS=1)
    sweep_rig.full_heap(board, CONVERSATION, 150, 6000, 200, 4, **way)
