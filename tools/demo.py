"""
First light: a MicroPython device talks to a local cloud, and an application listens.

    python3 tools/demo.py           goes on until Ctrl-C; Enter cuts the device's connection
    python3 tools/demo.py --once    runs through, cuts it once, ends with a table of what happened

Everything is on this machine, and real: MicroPython as on a board, TLS verified against the CA
that the local cloud made, IBM IoT Foundation's topics and rules. Exit status of --once: 0 only if
all of it happened.
"""

import argparse
import asyncio
import json
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import workshop

_EVENTS = 16  # of --once
_CUT_AFTER = 9  # events
_DEADLINE_S = 18
_HERE = Path(__file__).resolve().parent


class Story:
    """What has happened so far, read off the lines that the two programs print."""

    def __init__(self):
        self.sent = 0
        self.got = []  # the events' numbers, as they arrived
        self.interval = 1000  # ms, what demonstration/device.py starts with
        self.asked = None  # ms, the interval that the application has asked for
        self.round_trip = None  # ms
        self.connects = 0
        self.cut_at = None
        self.back_after = []  # s, for each cut
        self.done = False

    def device_says(self, word, rest):
        """Returns the line to show, or None."""
        if word == "sent":
            self.sent = int(rest)
            return None  # its arrival is shown
        if word == "connected":
            self.connects += 1
            if self.cut_at is not None:
                self.back_after.append(time.monotonic() - self.cut_at)
                self.cut_at = None
                return "connected again after {:.2f} s".format(self.back_after[-1])
            return "connected, TLS verified"
        if word == "lost":
            return "lost the connection: " + rest
        if word == "command":
            return "got the command " + rest
        if word == "done":
            self.done = True
            return "disconnected after {} events".format(rest)
        return (word + " " + rest).strip()

    def application_says(self, word, rest):
        if word == "event":
            self.got.append(int(rest.split()[0]))
            return "event " + rest
        if word == "asked":
            self.asked = int(rest)
            return "asks the device for an event each {} ms".format(rest)
        if word == "answered":
            took, self.interval = (int(part) for part in rest.split())
            self.round_trip = took
            return "the device answered in {} ms: every {} ms".format(took, self.interval)
        if word == "ready":
            return "listens for events"
        if word == "status":
            device, action = rest.split()
            return "{}: {}".format(device, action.lower())
        return (word + " " + rest).strip()

    def rows(self, cuts):
        """The table: (what, how it went, whether that is as it should be)."""
        seen = set(self.got)
        missing = len([number for number in range(1, self.sent + 1) if number not in seen])
        firsts = sorted(seen, key=self.got.index)
        twice = len(self.got) - len(seen)  # QoS 1 promises "at least once"
        return [
            ("events sent", str(self.sent), self.sent > 0),
            (
                "events received",
                "{}, {} lost, {}{}".format(
                    len(seen),
                    missing,
                    "in order" if firsts == sorted(seen) else "out of order",
                    ", {} sent again after the cut".format(twice) if twice else "",
                ),
                missing == 0 and firsts == sorted(seen),
            ),
            (
                "interval changed by a command",
                "to {} ms".format(self.interval),
                self.asked is not None and self.interval == self.asked,
            ),
            (
                "command's round trip",
                "{} ms".format(self.round_trip),
                self.round_trip is not None,
            ),
            (
                "reconnects after a deliberate cut",
                "{} of {}".format(len(self.back_after), cuts)
                + "".join(", after {:.2f} s".format(seconds) for seconds in self.back_after),
                len(self.back_after) == cuts == self.connects - 1,
            ),
        ]


class Wire:
    """
    The line between device and cloud, which can be cut. host, port: where it leads; its own end is
    `port`.
    """

    def __init__(self, host, port):
        from localcloud.background import Background

        self._far_end = (host, port)
        self._writers = set()
        self._background = Background()
        self._server = self._background.call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self):
        """Reset what is connected; who dials again gets through."""
        self._background.do(lambda: [writer.transport.abort() for writer in self._writers])

    def stop(self):
        self._server.close()
        self._background.stop()

    async def _serve(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection(*self._far_end)
        both = {writer, far_writer}
        self._writers |= both
        try:
            await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
        finally:
            self._writers -= both

    async def _carry(self, reader, writer):
        try:
            while True:
                data = await reader.read(65536)
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


class Screen:
    """Lines with the speaker's name before them, coloured on a terminal."""

    _COLOURS = {"cloud": "35", "device": "32", "application": "36", "demo": "33"}

    def __init__(self):
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def line(self, who, text):
        name = "{:>11} ".format(who)
        if self._colour:
            name = "\x1b[{}m{}\x1b[0m".format(self._COLOURS[who], name)
        print(name + "| " + text, flush=True)

    def table(self, rows):
        width = max(len(what) for what, _, _ in rows)
        print()
        for what, how, good in rows:
            mark = "ok" if good else "FAILED"
            print("  {:<{}}  {:<6}  {}".format(what, width, mark, how))
        print()


def settings(directory, name, cloud, port, **more):
    """Write one program's settings.json; returns its path."""
    ibm = cloud["ibm"]
    options = {"org": ibm["org"], "domain": ibm["domain"], "ca": cloud["ca_der"]}
    options.update({"host": cloud["mqtt"]["host"], "port": port})
    options.update({key.replace("_", "-"): value for key, value in more.items()})
    path = os.path.join(directory, name + ".json")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(options, file)
    return path


def start_programs(directory, cloud, port, events, say):
    """
    Start the application, then the device, which dials `port`; say(who, line) gets what they
    print.
    """
    from workshop import processes

    ibm = cloud["ibm"]
    device, application = ibm["device"], ibm["application"]

    def start(who, script, *args):
        return processes.Process(
            workshop.device_command(_HERE / "demonstration" / script, *args),
            name=who,
            env=workshop.device_env(),
            on_line=lambda line: say(who, line),
        )

    listener = start(
        "application",
        "application.py",
        settings(
            directory,
            "application",
            cloud,
            cloud["mqtt"]["tls_port"],
            id=application["id"],
            auth_method="apikey",
            auth_key=application["key"],
            auth_token=application["token"],
        ),
        device["type"],
        device["id"],
    )
    listener.next_line(10)  # "ready": it hears from the first event on
    speaker = start(
        "device",
        "device.py",
        settings(
            directory,
            "device",
            cloud,
            port,
            type=device["type"],
            id=device["id"],
            auth_method="token",
            auth_token=device["token"],
        ),
        events,
    )
    return listener, speaker


def play(once, screen):
    """From the cloud's start to its end; returns (the story, how many cuts, what went wrong)."""
    from workshop import processes

    story = Story()
    lines = queue.Queue()
    cuts = 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="picolink-demo-") as directory:
        running = []
        wire = None
        try:
            cloud_process, cloud = processes.start_cloud(state=os.path.join(directory, "cloud"))
            running.append(cloud_process)
            mqtt = cloud["mqtt"]
            screen.line(
                "cloud", "IBM IoT Foundation on {host}, MQTT over TLS on {tls_port}".format(**mqtt)
            )
            wire = Wire(mqtt["host"], mqtt["tls_port"])
            running[:0] = start_programs(
                directory, cloud, wire.port, _EVENTS if once else 0, lambda *said: lines.put(said)
            )
            if not once:
                screen.line("demo", "Enter cuts the device's connection, Ctrl-C ends")
                threading.Thread(target=_watch_keys, args=(lines,), daemon=True).start()
            while True:
                if once:
                    if story.done and len(set(story.got)) >= story.sent:
                        return story, cuts, ""
                    if time.monotonic() - started > _DEADLINE_S:
                        return story, cuts, "not through after {} s".format(_DEADLINE_S)
                try:
                    who, line = lines.get(timeout=0.2)
                except queue.Empty:
                    # Only when all that was said has been heard: "done" is the last of it.
                    ended = _ended_too_early(running, story)
                    if ended and lines.empty():
                        return story, cuts, ended
                    continue
                word, _, rest = line.partition(" ")
                if who == "demo":
                    cut = True
                else:
                    tell = story.device_says if who == "device" else story.application_says
                    text = tell(word, rest)
                    if text:
                        screen.line(who, text)
                    cut = once and not cuts and len(story.got) >= _CUT_AFTER
                if cut and story.connects and story.cut_at is None:
                    cuts += 1
                    screen.line("demo", "cuts the device's connection")
                    story.cut_at = time.monotonic()
                    wire.cut()
        except processes.Ended as error:
            return story, cuts, str(error)
        except KeyboardInterrupt:
            return story, cuts, "interrupted" if once else ""
        finally:
            for process in running:
                process.stop()
            if wire:
                wire.stop()


def _ended_too_early(running, story):
    """What to say when one of the programs has ended before its work was done, else ''."""
    for process in running:
        status = process.wait(0)  # waits for its last lines, not for its end
        if status or status == 0 and not story.done:
            return "{} ended by itself\n{}".format(process.name, process.tail())
    return ""


def _watch_keys(lines):
    for _ in sys.stdin:
        lines.put(("demo", "cut"))


def main():
    parser = argparse.ArgumentParser(
        description="A MicroPython device and an application talk through a local cloud."
    )
    parser.add_argument(
        "--once", action="store_true", help="run through in seconds, end with a table"
    )
    options = parser.parse_args()
    workshop.enter(__file__)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = Screen()
    if workshop.why_no_micropython():
        screen.line("demo", workshop.why_no_micropython())
        screen.line("demo", "the programs run on CPython instead, through tools/cpython_port")
    else:
        screen.line("demo", "both programs run on MicroPython " + workshop.micropython_version())
    story, cuts, trouble = play(options.once, screen)
    rows = story.rows(cuts)
    screen.table(rows)
    if trouble:
        print("demo: " + trouble, file=sys.stderr)
    if options.once and cuts != 1:
        print("demo: the connection was not cut", file=sys.stderr)
    good = not trouble and all(good for _, _, good in rows) and cuts == 1
    return 0 if good or not options.once else 1


if __name__ == "__main__":
    sys.exit(main())
