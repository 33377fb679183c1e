"""
What arrives on a board is enough: the files that mip installs for one service, and what
tools/build.py makes for it, run a device (Digi's: a watcher) without anything else of lib/.
"""

import functools
import json
import shutil

import build
import cloud_rig
import pytest
import workshop
from cloud_rig import world  # noqa: F401

import services

# ruff: noqa: F811

DEVICE = """
import cloud
device = cloud.Device(SETTINGS)
if "command" in device.can:
    device.on_command = lambda name, args: args
device.report({"firmware": "1"})
device.send({"celsius": 21.5}, "climate", 800000000)
while device.pending:
    device.do_next(50)
report(sent=True, error=device.error)
while COMMAND:
    device.do_next(50)
"""
WATCHER = """
import cloud
watcher = cloud.Watcher(SETTINGS)
watcher.on_event = lambda *event: report(event=event[:3])
watcher.watch()
while not watcher.is_connected():
    watcher.do_next(50)
report(up=True)
while True:
    watcher.do_next(50)
"""


@functools.lru_cache(maxsize=None)
def builder():
    return build.outputs.Builder()


@functools.lru_cache(maxsize=None)
def built(service):
    """[(file, content)]"""
    return list(builder().build([services.named("cloud_" + service)]).files.items())


@pytest.fixture(params=["mip", "build"])
def installed(request, tmp_path, monkeypatch):
    """A function: puts one service's files, and nothing else, where lib/ would be."""

    def install(service):
        place = tmp_path / "installed"
        place.mkdir()
        if request.param == "build":
            files = built(service)
        else:
            package = workshop.LIB / ("cloud_%s.json" % service)
            urls = json.loads(package.read_text())["urls"]
            files = [(target, (workshop.LIB / source).read_bytes()) for target, source in urls]
        for name, content in files:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        monkeypatch.setenv("PICOLINK_BUILT", str(place))

    if not workshop.micropython():
        pytest.skip(workshop.why_no_micropython())
    yield install
    shutil.rmtree(tmp_path / "installed", ignore_errors=True)


@pytest.fixture
def micropython(make_board, tmp_path):
    made = make_board("micropython", tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("service", cloud_rig.DEVICES)
def test_a_device(service, installed, micropython, world, tmp_path):
    installed(service)
    place = world.place(service, "installed", tmp_path)
    place.line.lift()
    has_commands = "command" in place.has
    program = micropython.start(DEVICE, SETTINGS=place.settings, COMMAND=has_commands)
    assert program.next_report(60) == {"sent": True, "error": None}
    assert place.wait(1)[-1][0] == "climate"
    if has_commands:
        assert place.command("echo", [1]) == (200, [1])
    place.close()


@pytest.mark.parametrize("service", cloud_rig.WATCHERS)
def test_a_watcher(service, installed, micropython, world):
    installed(service)
    program = micropython.start(WATCHER, SETTINGS=cloud_rig.watcher_settings(world, service))
    while program.next_report(60) != {"up": True}:
        pass
    if service == "digi":
        world.control("POST", "/digi/event", {"stream": "d/n", "data": 1})
        while program.next_report(60) != {"event": ["d", "DataPoint", {"n": 1}]}:
            pass
