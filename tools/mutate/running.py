"""Runs tests on a copy of this checkout in which one file of lib/ has a fault."""

import contextlib
import os
import shutil
import sys
import time

import workshop
from workshop import processes

_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build")

_VENV = 'VENV = ROOT / ".venv"'


class Copy:
    """A copy of the checkout that uses this one's .venv. directory: where it is made."""

    def __init__(self, directory):
        self.root = directory
        shutil.copytree(workshop.ROOT, directory, ignore=_LEFT_OUT)
        tools = directory / "tools" / "workshop" / "__init__.py"
        text = tools.read_text()
        assert _VENV in text, "the workshop has no such line any more"
        tools.write_text(text.replace(_VENV, "VENV = Path({!r})".format(str(workshop.VENV))))

    @contextlib.contextmanager
    def fault(self, file, text):
        """Within it lib/<file> has this text (bytes)."""
        path = self.root / "lib" / file
        sound = path.read_bytes()
        path.write_bytes(text)
        try:
            yield
        finally:
            path.write_bytes(sound)

    def test(self, tests, limit_s):
        """
        Run test files (paths below host_tests/, or such paths with ::names) until one fails.

        Returns (status, seconds): pytest's status, 0 when all passed, None after limit_s seconds;
        and the name of what failed first.
        """
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-n", "0", "-rfE"]
        command += ["--rootdir", self.root, "-c", self.root / "pyproject.toml"]
        command += ["-k", "not [cpython", "--timeout", "60"]
        command += [self.root / "host_tests" / one for one in tests]
        env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", PYTHONHASHSEED="0")
        started = time.monotonic()
        with processes.Process(command, name="the tests", env=env) as child:
            status = child.wait(limit_s)
            spent = time.monotonic() - started
            failed = [line for line in child.out if line.startswith(("FAILED ", "ERROR "))]
            nothing = status == 0 and not any(" passed" in line for line in child.out)
            if status not in (0, 1, None) or nothing:
                raise RuntimeError("the tests can't be run:\n" + child.tail())
        name = failed[0].split(" - ")[0].split("host_tests/")[-1] if failed else ""
        return status, spent, name
