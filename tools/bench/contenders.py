"""The clients that the bench knows how to drive, and the processes that run them."""

import collections
import json
import os
import sys
import time
from pathlib import Path

import workshop
from workshop import processes

DEVICE_SIDE = workshop.ROOT / "tools" / "bench" / "device"

# adapter: tools/bench/device/bench_<adapter>.py. module: what it imports. qos: those it has.
# in_flight: whether several QoS 1 messages can be on their way. reconnects: by itself.
_Kind = collections.namedtuple("_Kind", "adapter module qos in_flight reconnects")
_KINDS = {
    "MQTTLink": _Kind("mqtt_link", "mqtt_link", (0, 1, 2), True, True),
    "umqtt.simple": _Kind("umqtt", "umqtt.simple", (0, 1), False, False),
    "umqtt.robust": _Kind("umqtt", "umqtt.robust", (0, 1), False, True),
    "umqtt.simple2": _Kind("simple2", "umqtt.simple2", (0, 1), True, False),
    "mqtt_as": _Kind("mqtt_as", "mqtt_as", (0, 1), True, True),
    "chumicro-mqtt": _Kind("chumicro", "chumicro_mqtt", (0, 1), True, True),
    "aiomqttc": _Kind("aiomqttc", "aiomqttc", (0, 1), True, False),
    "paho-mqtt": _Kind("paho", "paho.mqtt.client", (0, 1, 2), True, True),
}
# Clients that the package index has; in a .venv/side of their own, without what they only need on
# CPython.
_REQUIREMENTS = (
    "chumicro-mqtt==0.30.3",
    "chumicro-sockets==0.21.3",
    "chumicro-timing==0.8.4",
    "aiomqttc==1.0.7",
)
_PACKAGES = ("chumicro_mqtt", "chumicro_sockets", "chumicro_timing", "aiomqttc.py")
FROM_INDEX = ("chumicro-mqtt", "aiomqttc")
ON_REQUEST = ("mqtt_as", "umqtt.simple2", "umqtt.simple", "umqtt.robust")


class BadClient(Exception):
    """--client can't be used; the text says why."""


class TaskFailed(Exception):
    """The client did not get through; the text is the last that it said."""


class Contender:
    """
    One client under test. label: its column. kind: what is known of it. path: its own source file
    (--client), or None for what the workshop put in .venv.
    """

    def __init__(self, label, directory=None, path=None):
        self.label = label
        self.kind = _KINDS[label.partition("@")[0]]
        self.path = path
        self.more = [DEVICE_SIDE]
        if path:
            self.more.append(self._arrange(Path(directory), Path(path).resolve()))

    def _arrange(self, directory, path):
        """A directory in which the file has the name that programs import it by."""
        place = directory / ("client-" + self.label)
        module = self.kind.module.split(".")
        target = place.joinpath(*module)
        target.parent.mkdir(parents=True)
        if len(module) > 1:
            # MicroPython looks for a package in one place only, so its other modules come along.
            for other in (workshop.DEVICE_LIB / module[0]).glob("*.py"):
                (target.parent / other.name).symlink_to(other)
        link = target.with_name(target.name + ".py")
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        return place

    def start(self, job, under=()):
        """
        Start a device process on this job (dict); returns a Device. under: a command that starts
        it, such as valgrind's.
        """
        job = dict(job, client=self.label, adapter=self.kind.adapter)
        if self.kind.adapter == "paho":
            # Not by PYTHONPATH: what lies on MicroPython's path must not shadow CPython's modules.
            command = [sys.executable, DEVICE_SIDE / "bench_main.py"]
            env = dict(os.environ, PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1")
        else:
            command = workshop.device_command(DEVICE_SIDE / "bench_main.py", kind="micropython")
            env = workshop.device_env(*self.more)
        process = processes.Process(list(under) + command, name=self.label, env=env)
        process.send(json.dumps(job))
        return Device(process)

    def run(self, job, timeout, under=()):
        """Run a task to its end; returns its result. Raises TaskFailed, also after `timeout` s."""
        with self.start(job, under) as device:
            deadline = time.monotonic() + timeout
            while True:
                word = device.word(deadline - time.monotonic())
                if "result" in word:
                    return word["result"]


class Device:
    """A running task. word(): the next thing it says."""

    def __init__(self, process):
        self.process = process

    def word(self, timeout):
        """The next word as a dict. Raises TaskFailed when it ended or said nothing for so long."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self.process.next_line(max(0.01, deadline - time.monotonic()))
            except processes.Ended as error:
                reasons = [text.strip() for text in self.process.err] or str(error).split("\n")
                raise TaskFailed(reasons[-1])
            if line.startswith("@"):
                return json.loads(line[1:])

    def send(self, text):
        self.process.send(text)

    def stop(self):
        self.process.stop(grace=1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def from_index(directory):
    """
    The Contenders that come from the package index. directory: as in line_up(). Raises
    workshop.SetupError.
    """
    python = workshop.side_venv("bench", ["--no-deps"] + list(_REQUIREMENTS))
    place = Path(directory) / "clients-from-index"
    place.mkdir()
    installed = next((python.parent.parent / "lib").glob("python*/site-packages"))
    for package in _PACKAGES:
        (place / package).symlink_to(installed / package)
    found = [Contender(name) for name in FROM_INDEX]
    for contender in found:
        contender.more.append(place)
    return found


def line_up(requested, directory, more=()):
    """
    The contenders of this run: MQTTLink, umqtt.simple, umqtt.robust, what `requested` (a list of
    "NAME=PATH") adds, `more`, and paho-mqtt. A NAME may have a tail, as umqtt.simple@1.8.0.

    directory: a place for links to their files. Raises BadClient.
    """
    names = ["MQTTLink", "umqtt.simple", "umqtt.robust"]
    contenders = [Contender(name) for name in names]
    for text in requested:
        label, equals, path = text.partition("=")
        if not equals or label.partition("@")[0] not in ON_REQUEST:
            raise BadClient(
                "--client {}: say NAME=PATH, NAME being one of {} (or that, @ and a word)".format(
                    text, ", ".join(ON_REQUEST)
                )
            )
        if not os.path.isfile(path):
            raise BadClient("--client {}: there is no file {}".format(text, path))
        if label in [contender.label for contender in contenders]:
            if "@" in label or label not in names:
                raise BadClient("--client {}: {} is given twice".format(text, label))
            contenders = [contender for contender in contenders if contender.label != label]
        contenders.append(Contender(label, directory, path))
    order = list(_KINDS)
    contenders += list(more) + [Contender("paho-mqtt")]
    return sorted(contenders, key=lambda contender: order.index(contender.label.partition("@")[0]))
