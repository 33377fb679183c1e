"""tools/test.py: what its options choose, and how Ctrl-C ends it."""

import os
import runpy
import signal
import sys
import time

import pytest
import workshop
from workshop import processes

TOOL = workshop.ROOT / "tools" / "test.py"

# Each starts a program that never ends, and says which.
SLEEPERS = """
import sys, time
import pytest
from workshop import processes

@pytest.mark.parametrize("n", [1, 2])
def test_sleeper(n):
    child = processes.Process([sys.executable, "-c", "import time; time.sleep(1000)"])
    with open({told!r}, "a") as file:
        file.write("%d\\n" % child.pid)
    time.sleep(1000)
"""


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open("/proc/{}/stat".format(pid)) as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("workers", ["0", "2"])
def test_ctrl_c_ends_it_and_all_that_it_started_in_one_line(tmp_path, workers):
    told = tmp_path / "told"
    told.touch()
    test = tmp_path / "test_sleep.py"
    test.write_text(SLEEPERS.format(told=str(told)))
    count = max(1, int(workers))
    command = [sys.executable, TOOL, "-n", workers, "-q", test]
    env = dict(os.environ, PYTHONPATH=str(TOOL.parent))
    with processes.Process(command, env=env) as tool:
        wait_for(lambda: len(told.read_text().split()) == count, "the tests don't start")
        before = len(tool.err)  # another tool may be making .venv, and be waited for
        tool.signal(signal.SIGINT)
        assert tool.wait(60) == 130, tool.tail()
    said = list(tool.err)[before:]
    assert said == ["picolink: interrupted; what the tests had started is ended"]
    assert "KeyboardInterrupt" not in "\n".join(tool.out)
    for pid in told.read_text().split():
        wait_for(lambda pid=pid: not alive(int(pid)), "process {} is left".format(pid))


def test_ctrl_c_before_the_tests_is_one_line_too(capsys):
    """While .venv or the build is made, say."""
    module = runpy.run_path(str(TOOL))

    def interrupted():
        raise KeyboardInterrupt

    assert module["without_traceback"](interrupted) == 130
    assert capsys.readouterr().err == "picolink: interrupted\n"
    assert module["without_traceback"](lambda: 3) == 3


def test_an_interpreter_that_there_is_not_is_told():
    with processes.Process([sys.executable, TOOL, "--interpreter", "pypy"]) as tool:
        assert tool.wait(60) == 2
    assert "micropython32" in tool.err[-1] and "pypy" in tool.err[-1]


def test_with_an_interpreter_named_only_device_code_runs(tmp_path):
    test = "host_tests/house/test_conftest.py"
    command = [sys.executable, TOOL, "--interpreter", "cpython", "--collect-only", "-q", test]
    with processes.Process(command) as tool:
        assert tool.wait(60) == 0
    found = [line for line in tool.out if "::" in line]
    assert found and all("[cpython" in line for line in found)
