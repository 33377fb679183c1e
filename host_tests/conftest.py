"""
What every test here may ask for: a board, a local cloud, a real broker, a 32-bit heap, .mpy sizes.

A scenario that takes `board` runs twice, on real MicroPython and on CPython dressed up as it
(tools/cpython_port). One that takes `board_lwip` runs on the emulated board (tools/board), with
lwIP's sockets and a line that the test can break. Everything that a test starts is ended by its
process id when the test ends, and what it said is shown when the test failed.
"""

import os
import signal
from pathlib import Path

import build
import hypothesis
import pytest
import services
import workshop
from board import emulator
from board_rig import Board, BoardLwip, show
from workshop import heap32 as heap32_tool
from workshop import processes, real_broker

# A computer that is busy elsewhere is no finding: pytest's timeout is the one bound on time. In CI
# every run tries the same.
hypothesis.settings.register_profile(
    "here",
    deadline=None,
    database=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("here")


def _interpreters():
    """What `board` runs on; tools/test.py --interpreter says otherwise."""
    return os.environ.get("PICOLINK_BOARDS", "micropython cpython").split()


def pytest_configure(config):
    # Ended by tools/test.py, or by CI: children first, and no word about it.
    def end(number, frame):
        processes.stop_all()
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, end)


# Rooms or files whose tests take longest one after the other. tools/test.py gives whole files to
# its workers in this order: what is begun last keeps one of them busy when the others have ended.
_LONGEST_FIRST = (
    "house/test_build.py",
    "board/test_promises.py",
    "board/test_application.py",
    "board/",
    "house/test_mutate.py",
    "house/test_sizes.py",
    "link/test_json_text.py",
    "azure/test_iotc_certificates.py",
    "azure/test_iotc_endurance.py",
    "link/test_mqtt_link_faults.py",
    "cloud/test_cloud_installed.py",
    "cloud/test_cloud_budget.py",
    "house/test_types.py",
    "azure/test_iotc_service.py",
    "localcloud/test_localcloud_main.py",
    "ibm/test_ibmiotf_budget.py",
    "azure/",
    "ibm/",
    "link/",
    "localcloud/",
    "teamviewer/",
)


def _turn(item):
    # When an item's file has its turn; sorting keeps the order of those alike.
    path = item.path.relative_to(Path(__file__).parent).as_posix()
    for turn, start in enumerate(_LONGEST_FIRST):
        if path.startswith(start):
            return turn
    return len(_LONGEST_FIRST)


def pytest_collection_modifyitems(config, items):
    """
    The order of files, where workers share them; else it is the caller's. With interpreters named,
    only what runs on a board is of interest.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)
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


@pytest.fixture
def own_build_first(request, monkeypatch):
    """
    With --built: a client finds the files that were built with it, as on a board. Those of other
    services, further back on the path, have some of the same names.
    """
    builds = os.environ.get("PICOLINK_BUILT", "").split(":")
    own = {one.imports[0] for one in services.SERVICES if one.name == request.path.parent.name}
    builds.sort(key=lambda build: Path(build).name not in own)
    if builds != [""]:
        monkeypatch.setenv("PICOLINK_BUILT", ":".join(builds))


@pytest.fixture(params=_interpreters())
def board(request, tmp_path, own_build_first):
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
        show(process)


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
    show(process)


@pytest.fixture(scope="session")
def broker():
    """A real_broker.Broker (host, port, name): mosquitto, or amqtt where that is not installed."""
    with real_broker.start() as started:
        yield started
        show(started.process)


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
