"""tools/demo.py as a person meets it: run through, interrupted, with a device that fails."""

import os
import signal
import subprocess
import sys

import pytest
import workshop
from workshop import processes

DEMO = workshop.ROOT / "tools" / "demo.py"


def children(pid):
    """Process ids below `pid`, all generations."""
    done = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], stdout=subprocess.PIPE, text=True, check=True
    )
    pairs = [line.split() for line in done.stdout.splitlines()]
    below, found = {str(pid)}, set()
    while below:
        below = {one for one, parent in pairs if parent in below} - found
        found |= below
    return {int(one) for one in found}


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("interpreter", ["micropython", "cpython"])
def test_once_shows_that_all_of_it_happened(interpreter):
    env = dict(os.environ)
    if interpreter == "cpython":
        env["PICOLINK_MICROPYTHON"] = ""
    elif not workshop.micropython():
        pytest.skip(workshop.why_no_micropython())
    done = subprocess.run(
        [sys.executable, str(DEMO), "--once"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=env,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "connected, TLS verified",
        "event 3 from board:board-1: load ",
        "asks the device for an event each 250 ms",
        "got the command interval",
        "cuts the device's connection",
        "connected again after",
        "disconnected after 16 events",
    ):
        assert line in done.stdout
    table = done.stdout.split("\n\n")[1]
    assert table.count(" ok ") == 5
    assert "16, 0 lost, in order" in table
    said = "run on MicroPython" if interpreter == "micropython" else "run on CPython instead"
    assert said in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_all_that_was_started(number):
    demo = processes.Process([sys.executable, DEMO], name="demo")
    try:
        while "event 2 from" not in demo.next_line(30):
            pass
        started = children(demo.pid)
        assert len(started) == 3  # the cloud, the device, the application
        demo.signal(number)
        assert demo.wait(20) == 0
        assert any("events received" in line for line in demo.out)
        assert not [pid for pid in started if alive(pid)]
        assert not [line for line in demo.err if "Traceback" in line]
    finally:
        demo.stop()


def test_key_cuts_the_connection_when_it_runs_on():
    demo = processes.Process([sys.executable, DEMO], name="demo")
    try:
        while "event 2 from" not in demo.next_line(30):
            pass
        demo.send("")
        while "connected again after" not in demo.next_line(30):
            pass
    finally:
        demo.stop()


def test_failure_is_told_and_is_the_status(tmp_path):
    broken = tmp_path / "micropython"
    broken.write_text("#!/bin/sh\necho broken on purpose >&2\nexit 7\n")
    broken.chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(DEMO), "--once"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ, PICOLINK_MICROPYTHON=str(broken)),
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "broken on purpose" in done.stderr
    assert "Traceback" not in done.stderr
