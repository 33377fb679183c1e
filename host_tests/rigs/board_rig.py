"""Where device programs run: this computer's interpreters, or the emulated board."""

import json
import os
import re
import textwrap
from pathlib import Path

import pytest
import workshop
from board import emulator
from waiting import PATIENCE_S
from workshop import processes

# The device's side of Board: given to each program as a module beside it, so that the program's
# own line numbers are off by one only. MicroPython's json writes bytes as text; CPython's refuses:
# hence _plain.
_GIVEN_MODULE = """
import json as _json

def _plain(value):
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode()
        except (UnicodeError, ValueError):
            return "hex:" + "".join("%02x" % byte for byte in bytes(value))
    if isinstance(value, dict):
        return {_plain(key): _plain(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, BaseException):
        return type(value).__name__ + ": " + str(value)
    return value

def report(**values):
    print("@report " + _json.dumps(_plain(values)))
"""
_REPORT = "@report "
# For run(before_lib=DOUBLES): stand-ins for what a device program uses.
DOUBLES = (Path(__file__).resolve().parent / "doubles",)


class Run:
    """What a program left: out and err (str), rc (int), reports (list of dicts, in order)."""

    def __init__(self, out, err, rc):
        self.out = out
        self.err = err
        self.rc = rc
        self.reports = [
            json.loads(line[len(_REPORT) :])
            for line in out.split("\n")
            if line.startswith(_REPORT)
        ]

    @property
    def report(self):
        """The one report of a program that makes exactly one."""
        assert len(self.reports) == 1, "{} reports\n{}".format(len(self.reports), self)
        return self.reports[0]

    def __str__(self):
        return "rc {}\n--- stdout\n{}\n--- stderr\n{}".format(self.rc, self.out, self.err)


def not_built(reason):
    """A mark for a test that can't speak to what tools/build.py makes."""
    return pytest.mark.skipif(bool(os.environ.get("PICOLINK_BUILT")), reason=reason)


# What a program says that reached for a private name, where tools/build.py has changed those.
_PRIVATE = re.compile(r"has no attribute '_[a-z]\w*'|no module named '(iotc_wire|iotc_dps)'")


def skip_if_private(said):
    """Skip a test on built files whose program has failed because it is about what is private."""
    found = os.environ.get("PICOLINK_BUILT") and _PRIVATE.search(said)
    if found:
        pytest.skip("about what is private: " + found.group())


# Not _thread: that is MicroPython's module, whatever attribute of ours is called so.
_REACHED = re.compile(r"\b(\w+)\.(_(?!thread\b)[a-z]\w*)\b")


def as_built(source):
    """
    A program that reaches for private names, with the ones that those have in built files: what
    tools/build.py --explain reads tracebacks by says which. On lib/'s own files: as it is.
    """
    names = Path(os.environ.get("PICOLINK_BUILT", "").split(":")[0]).parent / "names.json"
    if not os.environ.get("PICOLINK_BUILT") or not names.exists():
        return source
    called = {}
    for new, olds in json.loads(names.read_text())["names"].items():
        called.update((old, new) for old in olds)

    def replaced(match):
        owner, name = match.groups()
        return owner + "." + called.get(match.group(), called.get(name, name))

    return _REACHED.sub(replaced, source)


class Program:
    """A device program that is running; Board.start() makes it."""

    def __init__(self, process):
        self.process = process

    def next_report(self, timeout=40):
        """
        The next report (dict); lines that are none are passed over.

        timeout: seconds without a line, or PATIENCE_S where that is longer. Fails the test when
        none comes, with what the program said.
        """
        while True:
            try:
                line = self.process.next_line(max(timeout, PATIENCE_S))
            except processes.Ended as error:
                skip_if_private(str(error))
                pytest.fail("no report: {}".format(error), pytrace=False)
            if line.startswith(_REPORT):
                return json.loads(line[len(_REPORT) :])

    def send(self, text):
        """A line for the program's stdin."""
        self.process.send(text)

    def wait(self, timeout=60):
        """Wait for its end; returns its Run. Fails the test after timeout or PATIENCE_S."""
        timeout = max(timeout, PATIENCE_S)
        if self.process.wait(timeout) is None:
            pytest.fail("still running after {} s\n{}".format(timeout, self.process.tail()), False)
        return self._result()

    def stop(self):
        """End it now; returns its Run."""
        self.process.stop()
        return self._result()

    def _result(self):
        return Run("\n".join(self.process.out), "\n".join(self.process.err), self.process.rc)


class Board:
    """
    Runs device programs. name: "micropython" or "cpython", what the program finds. kind: the same,
    or "micropython32". directory: where the programs' files are. programs: the processes that it
    has started.
    """

    def __init__(self, kind, directory):
        self.kind = kind
        self.name = "micropython" if kind == "micropython32" else kind
        self.directory = directory
        self.programs = []

    def run(self, source, timeout=60, check=True, heap=None, before_lib=(), **values):
        """
        Run a device program to its end, with lib/ and umqtt on its path; returns its Run.

        source: str, may be indented; there report(**values) prints what lands in Run.reports
        (bytes arrive as text, or as "hex:..." when they are none). timeout: seconds; more fails
        the test. check: fail the test unless it ends with status 0. heap: MicroPython's heap, as
        "128k". before_lib: directories whose modules hide lib/'s and MicroPython's own. values:
        become global names in the source; anything whose repr() Python can read, and Paths as str.
        """
        program = self.start(source, heap=heap, before_lib=before_lib, **values)
        program.process.close_stdin()
        result = program.wait(timeout)
        if result.rc != 0:
            skip_if_private(result.out + result.err)
        if check and result.rc != 0:
            pytest.fail("the {} program failed: {}".format(self.name, result), pytrace=False)
        return result

    def start(self, source, heap=None, before_lib=(), **values):
        """Start a device program, ended with the test; arguments as run(). Returns a Program."""
        script = self._write(source, values)
        command = workshop.device_command(script, kind=self.kind, heap=heap)
        process = processes.Process(command, name=self.name, env=workshop.device_env(*before_lib))
        self.programs.append(process)
        return Program(process)

    def _write(self, source, values):
        """Write a program and the module with its values; returns the program's Path."""
        directory = self.directory / "program{}".format(len(self.programs))
        directory.mkdir()
        lines = ["{} = {!r}".format(name, self._value(value)) for name, value in values.items()]
        (directory / "given.py").write_text(_GIVEN_MODULE + "\n".join(lines) + "\n")
        names = ", ".join(["report"] + list(values))
        script = directory / "device.py"
        source = as_built(textwrap.dedent(source))
        script.write_text("from given import {}\n{}".format(names, source))
        return script

    @staticmethod
    def _value(value):
        return str(value) if isinstance(value, Path) else value

    def close(self):
        for process in self.programs:
            process.stop()
            show(process)


class BoardLwip(Board):
    """
    Runs device programs on the emulated board. host: the host's loopback, as programs there see
    it.

    As Board, with more to choose from in run() and start(): heap (its default is 128k, and it is
    the whole heap), how ("romfs", "frozen", "mpy", "py"), profile ("rp2", "esp32"), path, names,
    network, epoch, restart and exact: emulator.start() says what they are. Every name is the host
    there, unless `names` says otherwise. Paths in values become /host/..., which is where the
    board finds the host's files.

    A Program that start() returns has one thing more: line (board.line.Line), to be stalled, cut,
    slowed and mended while it runs. Run.rc is emulator.WATCHDOG when the watchdog bit.
    """

    host = emulator.HOST

    def __init__(self, directory):
        super().__init__("board_lwip", directory)
        self._machines = []

    def run(self, source, timeout=60, check=True, **options):
        """Run a device program to its end; returns its Run. See Board.run()."""
        program = self.start(source, **options)
        program.process.close_stdin()
        result = program.wait(timeout)
        if check and result.rc != 0:
            what = emulator.STATUSES.get(result.rc, "it failed")
            pytest.fail("on the emulated board {}: {}".format(what, result), pytrace=False)
        return result

    def start(
        self, source, heap=None, how="romfs", profile="rp2", path=(), names=None, network=True,
        epoch=None, restart=False, exact=True, **values
    ):  # fmt: skip
        """Start a device program, ended with the test. Returns a Program with a `line`."""
        script = self._write(source, values)
        machine = emulator.start(
            script, heap=heap, how=how, profile=profile, path=path, names=names, network=network,
            epoch=epoch, restart=restart, exact=exact,
            modules={"given.py": script.with_name("given.py")},
        )  # fmt: skip
        self._machines.append(machine)
        self.programs.append(machine.process)
        program = Program(machine.process)
        program.line = machine.line
        return program

    @staticmethod
    def _value(value):
        return "/host" + str(value.resolve()) if isinstance(value, Path) else value

    def close(self):
        for machine in self._machines:
            machine.close()
            show(machine.process)


def show(process):
    """Into the captured output, which pytest shows when the test failed."""
    print("--- {} (pid {}, status {})".format(process.name, process.pid, process.rc))
    print(process.tail(60))
