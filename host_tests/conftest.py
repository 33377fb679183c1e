"""
What every test here may ask for: a board, a local cloud, a real broker, a 32-bit heap, .mpy sizes.

A scenario that takes `board` runs twice, on real MicroPython and on CPython dressed up as it
(tools/cpython_port). One that takes `board_lwip` runs on the emulated board (tools/board), with
lwIP's sockets and a line that the test can break. Everything that a test starts is ended by its
process id when the test ends, and what it said is shown when the test failed.
"""

import json
import os
import re
import signal
import textwrap
from pathlib import Path

import build
import pytest
import workshop
from board import emulator
from workshop import heap32 as heap32_tool
from workshop import processes, real_broker

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


# What a program says that reached for a private name, where tools/build.py has changed those.
_PRIVATE = re.compile(r"has no attribute '_[a-z]\w*'|no module named '(iotc_wire|iotc_dps)'")


def skip_if_private(said):
    """Skip a test on built files whose program has failed because it is about what is private."""
    found = os.environ.get("PICOLINK_BUILT") and _PRIVATE.search(said)
    if found:
        pytest.skip("about what is private: " + found.group())


class Program:
    """A device program that is running; Board.start() makes it."""

    def __init__(self, process):
        self.process = process

    def next_report(self, timeout=40):
        """
        The next report (dict); lines that are none are passed over.

        timeout: seconds without a line. Fails the test when none comes, with what the program
        said.
        """
        while True:
            try:
                line = self.process.next_line(timeout)
            except processes.Ended as error:
                skip_if_private(str(error))
                pytest.fail("no report: {}".format(error), pytrace=False)
            if line.startswith(_REPORT):
                return json.loads(line[len(_REPORT) :])

    def send(self, text):
        """A line for the program's stdin."""
        self.process.send(text)

    def wait(self, timeout=60):
        """Wait for its end; returns its Run. Fails the test after `timeout` seconds."""
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
    or "micropython32". directory: where the programs' files are.
    """

    def __init__(self, kind, directory):
        self.kind = kind
        self.name = "micropython" if kind == "micropython32" else kind
        self.directory = directory
        self._programs = []

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
        self._programs.append(process)
        return Program(process)

    def _write(self, source, values):
        """Write a program and the module with its values; returns the program's Path."""
        directory = self.directory / "program{}".format(len(self._programs))
        directory.mkdir()
        lines = ["{} = {!r}".format(name, self._value(value)) for name, value in values.items()]
        (directory / "given.py").write_text(_GIVEN_MODULE + "\n".join(lines) + "\n")
        names = ", ".join(["report"] + list(values))
        script = directory / "device.py"
        script.write_text("from given import {}\n{}".format(names, textwrap.dedent(source)))
        return script

    @staticmethod
    def _value(value):
        return str(value) if isinstance(value, Path) else value

    def close(self):
        for process in self._programs:
            process.stop()
            _show(process)


class BoardLwip(Board):
    """
    Runs device programs on the emulated board. host: the host's loopback, as programs there see
    it.

    As Board, with more to choose from in run() and start(): heap (its default is 128k, and it is
    the whole heap), how ("romfs", "frozen", "mpy", "py"), profile ("rp2", "esp32"), names,
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
        self, source, heap=None, how="romfs", profile="rp2", names=None, network=True, epoch=None,
        restart=False, exact=True, **values
    ):  # fmt: skip
        """Start a device program, ended with the test. Returns a Program with a `line`."""
        script = self._write(source, values)
        machine = emulator.start(
            script, heap=heap, how=how, profile=profile, names=names, network=network, epoch=epoch,
            restart=restart, exact=exact, modules={"given.py": script.with_name("given.py")},
        )  # fmt: skip
        self._machines.append(machine)
        self._programs.append(machine.process)
        program = Program(machine.process)
        program.line = machine.line
        return program

    @staticmethod
    def _value(value):
        return "/host" + str(value.resolve()) if isinstance(value, Path) else value

    def close(self):
        for machine in self._machines:
            machine.close()
            _show(machine.process)


def _show(process):
    """Into the captured output, which pytest shows when the test failed."""
    print("--- {} (pid {}, status {})".format(process.name, process.pid, process.rc))
    print(process.tail(60))


def _interpreters():
    """What `board` runs on; tools/test.py --interpreter says otherwise."""
    return os.environ.get("PICOLINK_BOARDS", "micropython cpython").split()


def pytest_configure(config):
    # Ended by tools/test.py, or by CI: children first, and no word about it.
    def end(number, frame):
        processes.stop_all()
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, end)


# What only Debian's MicroPython fails: a part of the test's name, and the cause.
_EARLY_END = "MicroPython 1.25's json takes a text that ends too early"
_DIFFERENCES = (
    ("test_what_the_agent_would_refuse_for_certain_is_not_sent", _EARLY_END),
    ("test_pain_42_one_bad_metric_costs_no_other", _EARLY_END),
    ("test_pain_42_one_bad_message_costs_no_other", _EARLY_END),
    ("test_what_is_no_json_is_a_value_error", _EARLY_END),
)


def pytest_collection_modifyitems(config, items):
    """With interpreters named, only what runs on a board is of interest."""
    for item in items:
        for name, cause in _DIFFERENCES if "[micropython32" in item.nodeid else ():
            if name in item.nodeid:
                item.add_marker(pytest.mark.xfail(reason=cause, strict=False))
    if "PICOLINK_BOARDS" in os.environ:
        others = [item for item in items if "board" not in item.fixturenames]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if "board" in item.fixturenames]


def pytest_collection_finish(session):
    """
    Before the first test: what must be fetched, installed or built is made, so that no test's time
    is spent on it. A test file that needs a side environment has a function prepare() for it.
    """
    if session.config.option.collectonly:
        return
    prepares = {item.module.prepare for item in session.items if hasattr(item.module, "prepare")}
    fixtures = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if "broker" in fixtures:
        prepares.add(real_broker.prepare)
    if "heap32" in fixtures:
        prepares.add(workshop.wasm)
    for prepare in prepares:
        try:
            prepare()
        except workshop.SetupError:
            pass  # the tests themselves say why they are skipped
    _make_firmware(session.items)


@pytest.fixture
def make_board():
    """The class Board, for a test that runs its programs in a way of its own."""
    return Board


@pytest.fixture(params=_interpreters())
def board(request, tmp_path):
    """A Board; the test runs once for each interpreter."""
    if request.param == "cpython" and os.environ.get("PICOLINK_BUILT"):
        pytest.skip("what tools/build.py makes is for MicroPython")
    if request.param == "micropython" and not workshop.micropython():
        pytest.skip(workshop.why_no_micropython())
    if request.param == "micropython32":
        try:
            workshop.micropython32()
        except workshop.SetupError as error:
            pytest.skip(str(error))
    made = Board(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def built_path(tmp_path_factory):
    """What tools/build.py makes of lib/, as PICOLINK_BUILT takes it."""
    output = tmp_path_factory.mktemp("build")
    return build.search_path(build.build(output=output), output)


@pytest.fixture
def board_lwip(tmp_path):
    """A BoardLwip; skips the test where the board can't be emulated, and says why."""
    reason = emulator.why_not()
    if reason:
        pytest.skip(reason)
    made = BoardLwip(tmp_path)
    yield made
    made.close()


def _make_firmware(items):
    """
    What a test runs beside rp2's firmware it names: @pytest.mark.firmware("esp32"), ("frozen") for
    how="frozen".
    """
    wanted = set()
    for item in items:
        if "board_lwip" in getattr(item, "fixturenames", ()):
            wanted.add("rp2")
            for mark in item.iter_markers("firmware"):
                wanted.update(mark.args)
    if not wanted or emulator.why_not():
        return
    try:
        for name in sorted(wanted):
            if name == "frozen":
                emulator.make("rp2", frozen=emulator.libraries())
            else:
                emulator.make(name)
    except emulator.Missing as error:
        workshop.say(str(error))  # the tests will fail with it


@pytest.fixture
def start_cloud(tmp_path):
    """
    A function that starts a local cloud: start_cloud(*options, state=None) -> its ready line as a
    dict.

    state: directory; None is a fresh one. The dict has one more key, "process": its
    processes.Process.
    """
    started = []

    def start(*options, state=None):
        state = state or tmp_path / "cloud{}".format(len(started))
        process, ready = processes.start_cloud(*options, state=state)
        started.append(process)
        return dict(ready, process=process)

    yield start
    for process in started:
        process.stop()
        _show(process)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """
    The ready line (dict) of a local cloud with a fresh state directory, shared by the tests of one
    file.

    A test that changes what others see, or wants options, takes start_cloud.
    """
    process, ready = processes.start_cloud(state=tmp_path_factory.mktemp("cloud"))
    yield dict(ready, process=process)
    process.stop()
    _show(process)


@pytest.fixture(scope="session")
def broker():
    """A real_broker.Broker (host, port, name): mosquitto, or amqtt where that is not installed."""
    with real_broker.start() as started:
        yield started
        _show(started.process)


@pytest.fixture(scope="session")
def heap32():
    """workshop.heap32, for run() and import_cost(); skips the test where there is no Node.js."""
    try:
        workshop.wasm()
    except workshop.SetupError as error:
        pytest.skip(str(error))
    return heap32_tool


@pytest.fixture(scope="session")
def mpy_size():
    """A function: mpy_size("lib/netstream.py") -> bytes of the .mpy that mpy-cross makes of it."""
    return lambda path: len(heap32_tool.mpy(path))
