"""The local cloud speaking to a person on a terminal, and what that person types next."""

import json
import os
import pty
import re
import subprocess
import sys
import threading

import pytest
import workshop
from localcloud import cloud, part
from waiting import until
from workshop import processes

TOOL = str(workshop.ROOT / "tools" / "localcloud")
# The parts that let a device in.
DEVICES = [one.key for one in cloud.load_parts() if one.device is not part.Part.device]
ZEROS = [word for port in cloud.ports(cloud.load_parts()) for word in (port.option, "0")]


class Terminal:
    """A program whose stdout is a terminal. shown: what appeared there so far."""

    def __init__(self, *arguments):
        self.shown = ""
        master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, TOOL] + ZEROS + [str(one) for one in arguments],
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=subprocess.DEVNULL,
        )
        os.close(slave)
        self._thread = threading.Thread(target=self._read, args=(master,), daemon=True)
        self._thread.start()

    def _read(self, master):
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            self.shown += data.decode().replace("\r\n", "\n")
        os.close(master)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self._thread.join(30)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """(what a person reads, the state directory)"""
    state = tmp_path_factory.mktemp("state")
    terminal = Terminal("--state", state)
    try:
        until(lambda: "told below" in terminal.shown, 60, lambda: terminal.shown)
        yield terminal.shown, state
    finally:
        terminal.stop()


def test_it_says_what_is_served_where_and_whom_it_lets_in(shown):
    text, state = shown
    assert '"ready"' not in text and str(state) in text
    for one in cloud.load_parts():
        assert "\n" + one.title + "\n" in text
    for words in ("type board, id board-1, token ", "group key", "digi-user, password ", "Ctrl-C"):
        assert words in text
    assert re.search(r"MQTT +127.0.0.1 port \d+, with TLS \d+", text)


def start(text, service):
    """The device whose command a person would copy."""
    (command,) = re.findall(r"^  (cd \S*/%s && .*)$" % service, text, re.M)
    return processes.Process(["sh", "-c", command.replace("&& ", "&& exec env ")], name=service)


@pytest.mark.parametrize("service", DEVICES)
def test_a_device_s_command_works_as_it_stands(shown, service):
    text, state = shown
    settings = state / service / "device.json"
    assert json.loads(settings.read_text())["service"] == service
    assert settings.stat().st_mode & 0o77 == 0, "it holds a secret"
    device = start(text, service)
    try:
        said = device.next_line(60)
        while "arrived" not in said:
            said = device.next_line(60)
    finally:
        device.stop()


def test_digi_s_command_hears_what_devices_do(shown):
    text, _ = shown
    (command,) = re.findall(r"^  (DIGI_PASSWORD=.*)$", text, re.M)
    command = command.replace("python3 tools", "%s %s/tools" % (sys.executable, workshop.ROOT))
    listener = processes.Process(["sh", "-c", "exec env " + command], name="listener")
    device = None
    try:
        device = start(text, "ibm")  # it sends again and again
        said = listener.next_line(60)
        while "celsius" not in said:
            said = listener.next_line(60)
    finally:
        listener.stop()
        if device is not None:
            device.stop()


def test_the_ready_line_can_be_had_there_too(tmp_path):
    terminal = Terminal("--state", tmp_path, "--parts", "ibm", "--json")
    try:
        until(lambda: terminal.shown.endswith("\n"), 60, lambda: terminal.shown)
        assert json.loads(terminal.shown)["ready"] is True
        assert not (tmp_path / "ibm" / "device.json").exists()
    finally:
        terminal.stop()
