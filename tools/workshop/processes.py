"""
Child processes for the tools and tests: read line by line as they speak, and always ended.

Each is ended by its own process id: by stop(), at the latest when this interpreter exits, and on
Linux by the kernel should this process be killed outright. Never a pattern, never a group.
"""

import atexit
import collections
import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time

import workshop

CLOUD_PORTS = (
    "--mqtt-port",
    "--mqtts-port",
    "--ws-port",
    "--wss-port",
    "--http-port",
    "--https-port",
    "--tv-provision-port",
    "--tv-port",
    "--push-port",
    "--push-tls-port",
)
_running = set()
_KEPT_LINES = 5000  # of each stream; older ones are dropped


class Ended(Exception):
    """The process ended, or stayed silent too long; the text holds the last that it said."""


class Process:
    """
    A child, started at once.

    command: list. name: what error texts call it. env: its environment, None for ours. on_line:
    called with each line of its stdout, from a thread of its own. echo_err: also show its stderr.
    inherit: it has our own stdin, stdout and stderr, and nothing of it is kept.
    """

    def __init__(
        self, command, name=None, env=None, on_line=None, echo_err=False, inherit=False
    ):  # fmt: skip
        self.name = name or os.path.basename(str(command[0]))
        self.out = collections.deque(maxlen=_KEPT_LINES)
        self.err = collections.deque(maxlen=_KEPT_LINES)
        self._lines = queue.Queue()
        self._on_line = on_line
        self._echo_err = echo_err
        stream = None if inherit else subprocess.PIPE
        self._child = subprocess.Popen(
            [str(part) for part in command],
            env=env,
            stdin=stream,
            stdout=stream,
            stderr=stream,
            preexec_fn=_prepare(os.getpid()),
            # Ctrl-C at a terminal reaches a whole group at once; ending children is our task, in
            # our order. (Who reads from the terminal must stay in its session.)
            start_new_session=not inherit,
        )
        _running.add(self)
        self._readers = []
        if not inherit:
            self._readers = [
                threading.Thread(target=self._read_out, daemon=True),
                threading.Thread(target=self._read_err, daemon=True),
            ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self):
        return self._child.pid

    @property
    def rc(self):
        """Its exit status, None while it runs; -N when signal N ended it."""
        return self._child.poll()

    def next_line(self, timeout=40):
        """The next line of stdout (str, no newline). Raises Ended, after `timeout` s at most."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise Ended("{} said nothing for {} s\n{}".format(self.name, timeout, self.tail()))
        if line is None:
            self._lines.put(None)  # the end stays the end
            raise Ended("{} ended with status {}\n{}".format(self.name, self.wait(5), self.tail()))
        return line

    def send(self, text):
        """Write one line to its stdin."""
        self._child.stdin.write((text + "\n").encode())
        self._child.stdin.flush()

    def close_stdin(self):
        self._child.stdin.close()

    def wait(self, timeout):
        """
        Wait for its end; returns the status, None if it still runs after `timeout` seconds (None:
        for ever).
        """
        if self._child.poll() is None:
            _sleep_until_the_end(self._child, timeout)
        if self._child.poll() is None:
            return None
        self._drain()
        return self._child.returncode

    def signal(self, number):
        self._child.send_signal(number)

    def stop(self, grace=5):
        """SIGTERM, and SIGKILL after `grace` seconds; returns the exit status."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(grace)
            except subprocess.TimeoutExpired:
                self._child.kill()
        self._child.wait()
        self._drain()
        streams = [self._child.stdin]
        if not any(reader.is_alive() for reader in self._readers):
            streams += [self._child.stdout, self._child.stderr]
        for stream in streams:
            try:
                if stream:
                    stream.close()
            except OSError:  # what was still unsent to its stdin
                pass
        _running.discard(self)
        return self._child.returncode

    def tail(self, lines=30):
        """The last it said, for an error text."""
        said = ["  | " + line for line in list(self.out)[-lines:]]
        said += ["  ! " + line for line in list(self.err)[-lines:]]
        return "\n".join(said) or "  (it said nothing)"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _drain(self):
        # A grandchild may hold the pipe open, hence the bound.
        for reader in self._readers:
            reader.join(2)

    def _read_out(self):
        for line in self._child.stdout:
            line = line.decode(errors="replace").rstrip("\r\n")
            self.out.append(line)
            if self._on_line:
                self._on_line(line)
            self._lines.put(line)
        self._lines.put(None)

    def _read_err(self):
        for line in self._child.stderr:
            line = line.decode(errors="replace").rstrip("\r\n")
            self.err.append(line)
            if self._echo_err:
                print(line, file=sys.stderr, flush=True)


def start_cloud(*options, state=None, timeout=30, **more):
    """
    Start tools/localcloud on free ports; returns (Process, its ready line as a dict).

    options: further command line options. state: directory for --state. Raises Ended when it is
    not ready within `timeout` seconds.
    """
    command = [sys.executable, workshop.ROOT / "tools" / "localcloud"] + list(options)
    given = {str(option).split("=")[0] for option in options}
    for port in CLOUD_PORTS:
        if port not in given:
            command += [port, "0"]
    if state is not None:
        command += ["--state", state]
    process = Process(command, name="the local cloud", **more)
    deadline = time.monotonic() + timeout
    try:
        while True:
            line = process.next_line(max(0.1, deadline - time.monotonic()))
            if line.startswith("{"):
                ready = json.loads(line)
                if ready.get("ready"):
                    return process, ready
    except BaseException:
        process.stop()
        raise


def _sleep_until_the_end(child, timeout):
    """Wait at most so many seconds (None: for ever); subprocess would look every 50 ms only."""
    try:
        end = os.pidfd_open(child.pid)
    except (AttributeError, OSError):  # not Linux, an old one, or it has been waited for
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout)
        return
    try:
        waiting = select.poll()
        waiting.register(end, select.POLLIN)
        waiting.poll(None if timeout is None else timeout * 1000)
    finally:
        os.close(end)


def _prepare(parent):
    """A function for the child, before it starts its program."""
    libc = None
    if sys.platform.startswith("linux"):
        import ctypes

        libc = ctypes.CDLL(None)

    def prepare():
        # A shell that starts us in the background has Ctrl-C ignored, and children inherit that:
        # those that a test interrupts would not notice.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if libc is not None:
            libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: end with the parent
            if os.getppid() != parent:
                os._exit(1)  # it died before we asked

    return prepare


@atexit.register
def stop_all():
    """End all that were started here and still run."""
    for process in list(_running):
        process.stop(grace=2)
