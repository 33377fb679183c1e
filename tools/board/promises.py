"""
The fault table: what goes wrong on the emulated board's line, and the longest step of a link then.

    python3 tools/board/promises.py                   every row
    python3 tools/board/promises.py silent TLS         rows whose name holds one of these words
    python3 tools/board/promises.py --lib OTHER/lib     of another checkout, to compare

The board's watchdog of eight seconds is fed once a step; where it bites, the row says so. Times
are the board's own, which counts instructions: a busy computer hardly changes them.
"""

import os
import sys

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:] = [TOOLS] + [
    p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))
]

import workshop  # noqa: E402

if __name__ == "__main__":
    workshop.enter(__file__)

import argparse  # noqa: E402
import contextlib  # noqa: E402
import json  # noqa: E402
import socket  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

from workshop import processes  # noqa: E402
from workshop.real_broker import free_port  # noqa: E402
from localcloud import pki  # noqa: E402
from localcloud.faults import CutAt, FaultProxy, GarbleAt, Inject  # noqa: E402

from board import emulator, image  # noqa: E402

WATCH = Path(__file__).resolve().parent / "deeds" / "watch.py"
STEP_MS = 50  # what a step may take, the TLS handshake and the port's own DNS apart
_ANSWER_S = 120  # until a row is answered, on a busy computer

# Faults of localcloud.faults that befall one connection, and for how long they are watched.
FAULTS = (
    ("silent", 4), ("stall_mid_packet", 4), ("stall_mid_connack", 4), ("stall_mid_suback", 4),
    ("half_packet_then_end", 4), ("one_byte", 2), ("half_open", 5), ("freeze", 5),
    ("duplicate_acks", 2), ("reorder_acks", 2), ("drop_acks", 5), ("swallow_pings", 5),
    ("flood", 2), ("skip_60_kb", 2), ("garbage", 4), ("random_garbage", 4),
    ("second_connack", 4), ("length_256_mb", 4), ("connack_3", 4), ("connack_5", 4),
    ("publish_before_connack", 4), ("close_at_once", 4), ("never_reads", 4),
)  # fmt: skip
# Bytes of the server's TLS records after which the line breaks: in its hello, its certificate, the
# end of the handshake, the conversation.
TLS_BYTES = (1, 60, 700, 1300, 1500)
_LONG = b"\x30\xe7\xd4\x03\x00\x05flood" + bytes(60000)  # a PUBLISH much over max_packet
SIZES = (20, 30, 100, 470, 512, 640, 700, 750, 1000, 1500, 2200)


class Row:
    """
    What one fault did. longest_ms: of steps on a connection; dialling_ms: of steps before there is
    one; slow_dialling: how many of those took over STEP_MS (a TLS handshake is one or two).
    """

    def __init__(self, name, answer, bitten=False):
        self.name = name
        self.bitten = bitten  # by the watchdog
        self.recovered = bool(answer.get("done"))
        self.done = answer.get("done")
        self.longest_ms = answer.get("longest_ms", 0)
        self.dialling_ms = answer.get("dialling_ms", 0)
        self.slow_dialling = answer.get("slow_dialling", 0)
        self.error = answer.get("error", "")
        self.last = answer.get("last", "")

    def __str__(self):
        end = "WATCHDOG" if self.bitten else "yes" if self.recovered else "no"
        return "| {} | {:.1f} | {:.1f} | {} | {} |".format(
            self.name, self.longest_ms, self.dialling_ms, end, self.error[:90]
        )


class Broker:
    """
    A local cloud that is a plain broker, and proxies in front of it. Those for TLS and WSS end TLS
    themselves, so that what they do hits packets; "TLS records" breaks the stream below TLS.
    """

    def __init__(self, state):
        self.process, self.ready = processes.start_cloud("--open-broker", state=state)
        mqtt = self.ready["mqtt"]
        made = Path(self.ready["ca_pem"]).parent
        tls = pki.server_context(made / "server.pem", made / "server-key.pem")
        self.proxies = {
            "plain": FaultProxy("127.0.0.1", mqtt["port"]),
            "TLS": FaultProxy("127.0.0.1", mqtt["port"], tls=tls),
            "TLS records": FaultProxy("127.0.0.1", mqtt["tls_port"]),
            "WebSocket": FaultProxy("127.0.0.1", mqtt["ws_port"]),
            "WSS": FaultProxy("127.0.0.1", mqtt["ws_port"], tls=tls),
        }

    def close(self):
        for proxy in self.proxies.values():
            proxy.stop()
        self.process.stop()

    def options(self, way, **more):
        """The options of watch.py for one way of connecting."""
        link = {"timeout": 2, "keepalive": 4, "window": 16, "max_packet": 512}
        if way in ("TLS", "TLS records", "WSS"):
            link["ssl"] = {"ca": image.HOST + self.ready["ca_der"]}
        if way in ("WebSocket", "WSS"):
            link["websocket"] = "/mqtt"
        link.update(more.pop("link", {}))
        return dict({"host": "localhost", "port": self.proxies[way].port, "link": link}, **more)


class Watched:
    """A board that runs watch.py."""

    def __init__(self, options, library=None, **machine):
        self._machine = emulator.start(
            WATCH, [json.dumps(options)], library=library, fetch=True, **machine
        )
        self.line = self._machine.line
        self._next()

    def _next(self):
        return self._machine.process.next_line(_ANSWER_S)

    def ask(self, name, command, before=None):
        """Send a command; returns its Row. before: called once the command is out."""
        self._machine.process.send(command)
        if before:
            before()
        try:
            while True:
                line = self._next()
                if line == "stall":
                    self.line.stall()
                elif line == "mend":
                    self.line.mend()
                elif line.startswith("{"):
                    return Row(name, json.loads(line))
        except processes.Ended:
            status = self._machine.process.wait(5)
            if status != emulator.WATCHDOG:
                raise
            return Row(name, {}, bitten=True)

    def close(self):
        self._machine.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def fault_rows(broker, ways=("plain", "TLS"), faults=FAULTS, library=None, wanted=None):
    """One connection meets each fault of a peer; the next one is served again."""
    for way in ways:
        watched = None
        try:
            for fault, seconds in faults:
                name = "{}, {}".format(fault.replace("_", " "), way)
                if wanted and not wanted(name):
                    continue
                if watched is None:
                    watched = Watched(broker.options(way), library)
                    yield watched.ask("nothing wrong, " + way, "fault 1")
                proxy = broker.proxies[way]
                proxy.apply(_long_packet if fault == "skip_60_kb" else fault, connections=1)
                row = watched.ask(name, "fault {}".format(seconds), before=proxy.cut)
                proxy.lift()
                yield row
                if row.bitten:
                    watched.close()
                    watched = None
        finally:
            if watched:
                watched.close()


def _long_packet():
    return Inject(_LONG)


def record_rows(broker, library=None, wanted=None):
    """TLS's own stream is cut, or one byte of it is turned over."""
    watched = None
    try:
        for what, make in (("cut", CutAt), ("garbled", GarbleAt)):
            for count in TLS_BYTES:
                name = "TLS: {} at byte {}".format(what, count)
                if wanted and not wanted(name):
                    continue
                if watched is None:
                    watched = Watched(broker.options("TLS records"), library)
                    watched.ask("", "fault 1")
                proxy = broker.proxies["TLS records"]
                proxy.apply(lambda make=make, count=count: make(count), connections=1)
                yield watched.ask(name, "fault 3", before=proxy.cut)
    finally:
        if watched:
            watched.close()


def moved_rows(broker, library=None, wanted=None):
    """The name moves: the old address takes connections and says nothing, the new one serves."""
    name = "the service's name moves to another address"
    if wanted and not wanted(name):
        return
    with emulator.NameServer({"cloud.test": ["10.0.2.77"]}, ttl=1) as names:
        options = dict(broker.options("plain"), host="cloud.test", servers=["10.0.2.2"])
        with Watched(options, library, names=[names]) as watched:

            def move():
                names.answers = {"cloud.test": [emulator.HOST]}

            yield watched.ask(name, "try 12", before=move)


def silent_rows(broker, ways=("plain", "TLS"), sizes=SIZES, library=None, wanted=None, seconds=3):
    """Every packet is lost while the program publishes; then the line is mended."""
    for way in ways:
        watched = None
        try:
            for size in sizes:
                for qos in (0, 1):
                    name = "silent line, {} bytes at QoS {}, {}".format(size, qos, way)
                    if wanted and not wanted(name):
                        continue
                    if watched is None:
                        watched = Watched(
                            broker.options(way, link={"timeout": 6, "keepalive": 0}), library
                        )
                        watched.ask("", "fault 1")
                    row = watched.ask(name, "silent {} {} {}".format(size, qos, seconds))
                    yield row
                    if row.bitten:
                        watched.close()
                        watched = None
        finally:
            if watched:
                watched.close()


@contextlib.contextmanager
def listener(serve=None):
    """The port of a server on loopback that hands each connection to serve(socket)."""
    server = socket.create_server(("127.0.0.1", 0))
    kept = []

    def run():
        with contextlib.suppress(OSError):
            while True:
                connection = server.accept()[0]
                kept.append(connection)
                with contextlib.suppress(OSError):
                    if serve:
                        serve(connection)

    threading.Thread(target=run, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        for connection in kept:
            connection.close()


def refused_rows(broker, directory, library=None, wanted=None):
    """Connections that can't come about: (what, options) each, tried for four seconds."""
    other_ca = Path(directory) / "other.der"
    other_ca.write_bytes(pki.Authority("another CA").der)

    def tls(**ssl):
        return broker.options("TLS", link={"ssl": ssl} if ssl else {})

    def talk(data):
        return lambda connection: connection.sendall(data)

    with (
        listener() as mute,
        listener(lambda c: c.close()) as closing,
        listener(talk(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as babbling,
    ):
        cases = [
            ("refused, plain", dict(broker.options("plain"), port=free_port()), {}),
            ("refused, TLS", dict(tls(), port=free_port()), {}),
            ("no such address, plain", dict(broker.options("plain"), host="10.0.2.77"), {}),
            ("silent server, plain", dict(broker.options("plain"), port=mute), {}),
            ("TLS: silent server", dict(tls(), port=mute), {}),
            ("TLS: closed by the server", dict(tls(), port=closing), {}),
            ("TLS: a server that speaks HTTP", dict(tls(), port=babbling), {}),
            ("TLS: wrong name", dict(tls(), host="wrong.test"), {}),
            ("TLS: wrong CA", tls(ca=image.HOST + str(other_ca)), {}),
            ("TLS: clock of 1970", tls(), {"epoch": 1000}),
            ("TLS: clock of 2050", tls(), {"epoch": 2540000000}),
        ]
        for name, options, machine in cases:
            if not wanted or wanted(name):
                with Watched(options, library, **machine) as watched:
                    yield watched.ask(name, "try 4")


def dns_rows(broker, library=None, wanted=None, resolve=True):
    """Names: one that does not exist, and one or two servers that say nothing."""
    silent = {"silent": True}
    here = {"answers": {"cloud.test": [emulator.HOST], "localhost": [emulator.HOST]}}
    for name, servers in (
        ("DNS: no such name", [here]),
        ("DNS: a silent server", [silent]),
        ("DNS: two silent servers", [silent, silent]),
        ("DNS: a silent server before a good one", [silent, here]),
    ):
        if wanted and not wanted(name):
            continue
        host = "nowhere.test" if "no such" in name else "cloud.test"
        options = dict(broker.options("plain"), host=host)
        names = [emulator.NameServer(**server) for server in servers]
        if resolve:
            options["servers"] = ["10.0.2.2", "10.0.2.3"][: len(names)]
        try:
            with Watched(options, library, names=names) as watched:
                yield watched.ask(name, "try 16")
        finally:
            for server in names:
                server.close()


def cycle_rows(broker, library=None, wanted=None):
    """Many connections, and heap in pieces."""
    for name, way, count, heap, kept in (
        ("50 connections, plain", "plain", 50, "64k", 0),
        ("25 reconnects over TLS at 112 KB among 300 strings", "TLS", 25, "112k", 1),
    ):
        if wanted and not wanted(name):
            continue
        options = broker.options(way, kept=kept)
        with Watched(options, library, heap=heap) as watched:
            yield watched.ask(name, "cycles {}".format(count))


def rows(broker, directory, library=None, wanted=None):
    """Every row of the table, as they come."""
    yield from refused_rows(broker, directory, library, wanted)
    resolve = library is None or "resolver.py" in library
    yield from dns_rows(broker, library, wanted, resolve)
    if resolve:
        yield from moved_rows(broker, library, wanted)
    yield from fault_rows(broker, library=library, wanted=wanted)
    yield from record_rows(broker, library, wanted)
    yield from silent_rows(broker, library=library, wanted=wanted)
    yield from cycle_rows(broker, library, wanted)


def main():
    parser = argparse.ArgumentParser(
        prog="python3 tools/board/promises.py",
        description="The longest step of a link on the emulated board while things go wrong.",
    )
    parser.add_argument("--lib", metavar="DIR", help="another checkout's lib/")
    parser.add_argument("words", nargs="*", metavar="WORD", help="rows whose name holds one")
    options = parser.parse_args()

    def wanted(name):
        return not options.words or any(word.lower() in name.lower() for word in options.words)

    library = image.libraries(workshop.DEVICE_LIB, Path(options.lib)) if options.lib else None
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as state:
        try:
            emulator.make("rp2", fetch=True)
            broker = Broker(state)
        except emulator.Missing as error:
            sys.exit("board: {}".format(error))
        try:
            print("| what happens | longest step, ms | longest while dialling, ms | recovered"
                  " | told |\n|---|--:|--:|---|---|", flush=True)  # fmt: skip
            for row in rows(broker, state, library, wanted):
                print(row, flush=True)
        finally:
            broker.close()
    workshop.say("{:.0f} s".format(time.monotonic() - started))


if __name__ == "__main__":
    main()
