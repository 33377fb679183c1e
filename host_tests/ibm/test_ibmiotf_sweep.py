"""
ibmiotf's device, the device on one's own broker, and the application when anything fails, at any
moment: each call of the stream and each allocation in turn. No stream is spoilt, nobody seems
connected and hears nothing, no message counts as taken, sent or told before it is.
"""

import pytest
import sweep_rig
from device_program import program

CONVERSATION = program("ibmiotf_sweep_conversation")
DEVICE = CONVERSATION + program("ibmiotf_sweep_device")
APPLICATION = CONVERSATION + program("ibmiotf_sweep_application")

COMMON = {"org": "abc123", "auth-token": "s3cret", "host": "h", "ssl": False}
KEPT = {"clean-session": False}
OF_DEVICE = dict(COMMON, type="pump", id="p1", **KEPT)
OF_DEVICE["auth-method"] = "token"
OF_APPLICATION = dict(COMMON, id="app", **KEPT)
OF_APPLICATION.update({"auth-method": "apikey", "auth-key": "a-abc123-x"})

CLIENTS = {
    "device": (DEVICE, {"OPTIONS": OF_DEVICE, "OWN": False}),
    "broker": (DEVICE, {"OPTIONS": OF_DEVICE, "OWN": True}),
    "application": (APPLICATION, {"OPTIONS": OF_APPLICATION}),
}


@pytest.fixture(params=CLIENTS)
def client(request):
    return CLIENTS[request.param]


@pytest.mark.parametrize("error", sweep_rig.ERRORS + sweep_rig.INTERRUPTS)
def test_pain_33_each_call_of_the_stream_fails_in_turn(board, client, error):
    source, values = client
    sweep_rig.calls(board, source, error, 40, **values)


def test_pain_33_no_memory_from_any_call_on_and_in_any_step(board, client):
    source, values = client
    sweep_rig.no_memory(board, source, 50, **values)


def test_pain_33_each_allocation_of_each_step_fails_in_turn(board, client):
    source, values = client
    sweep_rig.full_heap(board, source, 70, 6000, 200, 3, **values)
