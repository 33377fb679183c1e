"""Waiting for what happens elsewhere: an event, never a time."""

import time

import pytest

PATIENCE_S = 300  # what a busy computer may take for anything; waiting ends with the event


def until(condition, timeout=30, what="it"):
    """
    Wait until condition() is true; its value. Fails the test after so many seconds, or PATIENCE_S
    where that is longer.
    """
    deadline = time.monotonic() + max(timeout, PATIENCE_S)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail("{} never came".format(what() if callable(what) else what), pytrace=False)
        time.sleep(0.01)
