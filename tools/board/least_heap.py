"""
Finds the least heap with which each client does its main deed on the emulated board:

    python3 tools/board/least_heap.py                         all clients: frozen, ROMFS, .mpy
    python3 tools/board/least_heap.py --as romfs link azure   some
    python3 tools/board/least_heap.py --built                 as tools/build.py makes them
    python3 tools/board/least_heap.py --library DIR mqtt_as   another client, whose files DIR holds

The deed (tools/board/deeds/): imported, connected to the local cloud over verified TLS, 20
messages acknowledged, connection reset by the peer, connected again, one more. The figure is
MicroPython's whole heap, TLS's memory in it with the rp2 profile, in steps of 1 KB, found by
halving and then confirmed by three runs; it depends on what else the program does.
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
import base64  # noqa: E402
import hmac  # noqa: E402
import json  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
import urllib.request  # noqa: E402
from pathlib import Path  # noqa: E402

import build  # noqa: E402
from workshop import processes  # noqa: E402
from localcloud.faults import FaultProxy  # noqa: E402

from board import emulator, firmware, image  # noqa: E402

DEEDS = Path(__file__).resolve().parent / "deeds"
# The deeds, and the service of tools/services.py whose build each can use.
CLIENTS = {
    "link": "link",
    "ibm": "ibm",
    "azure": "azure",
    "teamviewer": "teamviewer",
    "digi": "digi",
    "umqtt": "link",
}
OTHERS = ("mqtt_as", "msiotc")  # somebody else's: --library says where it is
_LIMIT_S = 90  # a run that takes longer has failed, also on a computer that is busy elsewhere
# So has one that connects more often and still isn't done: it lacks memory and tries again. Once
# at the start and once after the cut is what it takes; iotc asks DPS at the same place before.
_CONNECTIONS, _WITH_DPS = 4, 6
_LOWEST_KB, _HIGHEST_KB = 10, 256
_CONFIRMATIONS = 3


class Deeds:
    """A local cloud, and in front of it a proxy for each client, which cuts."""

    def __init__(self, state):
        self.process, self.ready = processes.start_cloud("--open-broker", state=state)
        self._proxies = {}
        ready = self.ready
        self.ports = {
            "mqtt": ready["mqtt"]["tls_port"],
            "teamviewer": ready["teamviewer"]["port"],
            "digi": ready["digi"]["push_tls_port"],
        }

    def close(self):
        for proxy in self._proxies.values():
            proxy.stop()
        self.process.stop()

    def proxy(self, name):
        if name not in self._proxies:
            self._proxies[name] = FaultProxy("127.0.0.1", self.ports[name])
        return self._proxies[name]

    def arguments(self, client):
        """(the proxy that cuts, sys.argv[1:] of the deed)."""
        ready = self.ready
        ca = image.HOST + ready["ca_der"]
        if client == "teamviewer":
            proxy = self.proxy("teamviewer")
            made = ready["teamviewer"]
            return proxy, [made["provision_port"], proxy.port, image.HOST + made["ca_file"]]
        if client == "digi":
            proxy = self.proxy("digi")
            made = ready["digi"]
            return proxy, [
                proxy.port, ca, made["https_port"], made["username"], made["password"],
            ]  # fmt: skip
        proxy = self.proxy("mqtt")
        arguments = [proxy.port, ca]
        if client == "ibm":
            made = ready["ibm"]["device"]
            arguments += [ready["ibm"]["org"], made["type"], made["id"], made["token"]]
        elif client in ("azure", "msiotc"):
            arguments += [ready["azure"]["scope_id"], ready["azure"]["group_key"]]
            if client == "msiotc":
                self.identity()
        return proxy, arguments

    def event(self):
        """One message of Digi's cloud."""
        self._control("POST", "/digi/event", {"stream": "greenhouse/celsius", "data": 21.5})

    def identity(self):
        """The device of msiotc.py at the hub, which else is made by registering."""
        key = base64.b64decode(self.ready["azure"]["group_key"])
        own = hmac.new(key, b"sensor-01", "sha256").digest()
        keys = {"keys": [base64.b64encode(own).decode()]}
        self._control("PUT", "/azure/devices/sensor-01", keys)

    def _control(self, method, path, body):
        with open(self.ready["control"]["token_file"], encoding="utf-8") as file:
            token = file.read().strip()
        request = urllib.request.Request(
            self.ready["control"]["url"] + path,
            json.dumps(body).encode(),
            {"Authorization": "Bearer " + token},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10):
            pass


def run(deeds, client, kilobytes, how, profile, library=None, tell=None):
    """
    Whether a client does its deed with this heap.

    library: see emulator.start(). tell: called with what it said, if it failed.
    """
    proxy, arguments = deeds.arguments(client)
    most = proxy.connections + (_WITH_DPS if client == "azure" else _CONNECTIONS)
    with emulator.start(
        DEEDS / (client + ".py"), [str(arg) for arg in arguments], heap="%dk" % kilobytes,
        how=how, profile=profile, library=library,
    ) as machine:  # fmt: skip
        deadline = time.monotonic() + _LIMIT_S  # not before: frozen, the firmware is made first
        try:
            while True:
                try:
                    line = machine.process.next_line(0.5)
                except processes.Ended:
                    in_time = time.monotonic() < deadline
                    if machine.process.rc is None and proxy.connections <= most and in_time:
                        continue
                    raise
                if line == "cut":
                    proxy.cut()
                elif line.startswith("send "):
                    for _ in range(int(line.split()[1])):
                        deeds.event()
                elif line == "done":
                    return True
        except processes.Ended:
            if tell:
                tell(machine.process.tail(8))
            return False


def least(deeds, client, how, profile, library=None):
    """The least heap in KB, or None when even the most is too little."""

    def works(kilobytes):
        return run(deeds, client, kilobytes, how, profile, library)

    low, high = _LOWEST_KB, _HIGHEST_KB
    if not run(deeds, client, high, how, profile, library, tell=workshop.say):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if works(middle):
            high = middle
        else:
            low = middle
    # Near the edge luck decides: where a block lies, what a conservative collector takes for a
    # pointer.
    while not all(works(high) for _ in range(_CONFIRMATIONS)):
        high += 1
    return high


def built(client, state, how):
    """A client as tools/build.py makes it: {name on the board: Path}."""
    output = Path(state) / "build"
    made = build.build([CLIENTS[client]], output)
    if how in ("frozen", "py"):
        output = output / "sources"
    return emulator.libraries(output / made[0].name)


def main():
    parser = argparse.ArgumentParser(
        prog="python3 tools/board/least_heap.py",
        description="The least heap in KB with which each client connects to the local cloud over "
        "TLS, is heard, is cut and comes back, on the emulated board.",
    )
    parser.add_argument("--as", dest="hows", action="append", choices=image.HOWS)
    parser.add_argument("--profile", choices=firmware.PROFILES, default="rp2")
    parser.add_argument("--built", action="store_true", help="what tools/build.py makes of lib/")
    parser.add_argument("--library", metavar="DIR", help="another client's files, instead of lib/")
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=" ".join(CLIENTS))
    options = parser.parse_args()
    hows = options.hows or ["frozen", "romfs", "mpy"]
    for client in options.clients:
        if client not in CLIENTS and client not in OTHERS:
            parser.error("{} is none of {}".format(client, " ".join(CLIENTS)))
        if client in OTHERS and not options.library:
            parser.error("{}: --library says where its files are".format(client))
    other = None
    if options.library:
        other = image.libraries(workshop.DEVICE_LIB, Path(options.library))
    clients = options.clients or CLIENTS
    try:
        emulator.make(options.profile, fetch=True)
    except emulator.Missing as error:
        sys.exit("board: {}".format(error))
    with tempfile.TemporaryDirectory() as state:
        deeds = Deeds(state)
        try:
            print("| least heap in KB | {} |".format(" | ".join(hows)), flush=True)
            print("|---|" + "--:|" * len(hows), flush=True)
            for client in clients:
                found = []
                for how in hows:
                    library = built(client, state, how) if options.built else other
                    found.append(least(deeds, client, how, options.profile, library))
                told = " | ".join("none" if kb is None else str(kb) for kb in found)
                print("| {} | {} |".format(client, told), flush=True)
        finally:
            deeds.close()


if __name__ == "__main__":
    main()
