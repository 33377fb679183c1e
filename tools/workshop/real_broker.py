"""
An MQTT broker that is not ours, on loopback: mosquitto where it is installed, else amqtt from its
own venv.

For the tests and the bench: what the link does must hold against a broker that knows nothing of
it.
"""

import json
import os
import shutil
import socket
import sys
import tempfile
import time

import workshop
from workshop import processes

_READY_S = 20
_ATTEMPTS = 5  # the free port may be taken between our asking and the broker's listening


class Broker:
    """
    A running broker. host, port: where. name: "mosquitto" or "amqtt". process: for its output.

    Anonymous clients are let in; nothing is kept on disk. End it with stop(); also a context
    manager.
    """

    def __init__(self, name, port, process, directory):
        self.name = name
        self.host = "127.0.0.1"
        self.port = port
        self.process = process
        self._directory = directory

    def stop(self):
        self.process.stop()
        self._directory.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def mosquitto():
    """Path of mosquitto, or None. Debian puts it where only root's PATH looks."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def start(settings=(), name=None):
    """
    Start a broker on a free port; returns a Broker.

    settings: further lines of mosquitto.conf, as ("max_inflight_messages 0",); amqtt has none of
    them. name: "mosquitto" or "amqtt" to insist on one, as PICOLINK_BROKER does. Raises
    processes.Ended when it does not get ready.
    """
    name = name or os.environ.get("PICOLINK_BROKER")
    name = name or ("mosquitto" if mosquitto() else "amqtt")
    failure = None
    for _ in range(_ATTEMPTS):
        directory = tempfile.TemporaryDirectory(prefix="picolink-broker-")
        port = free_port()
        command = (_mosquitto if name == "mosquitto" else _amqtt)(directory.name, port, settings)
        process = processes.Process(command, name=name)
        if _answers(process, port):
            return Broker(name, port, process, directory)
        failure = process.tail()
        process.stop()
        directory.cleanup()
    raise processes.Ended("{} did not start\n{}".format(name, failure))


def _mosquitto(directory, port, settings):
    lines = [
        "listener {} 127.0.0.1".format(port),
        "allow_anonymous true",
        "persistence false",
        # Its default leaves Nagle's algorithm on, which would measure the broker and not the
        # client.
        "set_tcp_nodelay true",
        "log_dest stderr",
    ]
    if os.geteuid() == 0:
        lines.append("user root")  # else it becomes a user that can't read the directory
    config = os.path.join(directory, "mosquitto.conf")
    with open(config, "w") as file:
        file.write("\n".join(lines + list(settings)) + "\n")
    return [mosquitto(), "-c", config]


# argv[1]: [[host, port, None or the names of TLS's files], ...] as JSON.
AMQTT_PROGRAM = """
import asyncio, json, sys
from amqtt.broker import Broker

config = {"listeners": {}}
for host, port, tls in json.loads(sys.argv[1]):
    one = {"type": "tcp", "bind": "%s:%d" % (host, port)}
    if tls:
        one.update(ssl=True, certfile=tls["cert"], keyfile=tls["key"])
    config["listeners"]["l%d" % port if config["listeners"] else "default"] = one
if sys.version_info >= (3, 10):
    config["plugins"] = {
        "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
    }
else:  # amqtt 0.10
    config.update({"auth": {"allow-anonymous": True}, "topic-check": {"enabled": False}})


async def main():
    broker = Broker(config)
    await broker.start()
    await asyncio.Event().wait()


asyncio.run(main())
"""


def prepare():
    """Install what start() would have to; may take a minute. Raises workshop.SetupError."""
    if (os.environ.get("PICOLINK_BROKER") or ("" if mosquitto() else "amqtt")) == "amqtt":
        amqtt_python()


def _amqtt(directory, port, settings):
    return [amqtt_python(), "-c", AMQTT_PROGRAM, json.dumps([["127.0.0.1", port, None]])]


def amqtt_python():
    """The Python (Path) of amqtt's environment, made when missing. Raises workshop.SetupError."""
    lines = (workshop.REQUIREMENTS / "requirements-amqtt.txt").read_text().splitlines()
    requirements = [line for line in lines if not line.startswith("#")]
    return workshop.side_venv("amqtt", requirements, sys.executable)


def free_port(host="127.0.0.1"):
    """A port of this address that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind((host, 0))
        return sock.getsockname()[1]


def _answers(process, port):
    """Wait for the port to open; False when the broker ended or never opened it."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and process.rc is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
            continue
        # Somebody else's listener may have answered; then ours has just failed to bind.
        return process.wait(0.05) is None
    return False
