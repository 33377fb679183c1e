"""
The line between the emulated board and the world, and what can happen to it while a program runs.

    machine.line.stall()                    # from now on every packet is lost, both ways, silently
    machine.line.cut()                      # the cable is out: the board notices (isconnected())
    machine.line.slow(delay_ms=200, loss=0.05)
    machine.line.mend()                     # as good as new
    machine.line.record("/tmp/board.pcap")  # every packet, for Wireshark

TCP ends at QEMU: its user network is the board's peer and holds a connection of its own to the
server. What the server does arrives at the board as it is; what happens to packets happens here.
"""

import heapq
import itertools
import json
import os
import random
import select
import socket
import struct
import threading
import time

NETDEV = "n0"
_CONNECT_S = 20


class LineError(Exception):
    """QEMU is gone, or would not do as asked."""


class Qmp:
    """QEMU's control socket; connects with the first command."""

    def __init__(self, path):
        self._path = str(path)
        self._socket = None
        self._lock = threading.Lock()

    def __call__(self, command, **arguments):
        """Run one command; returns its result. Raises LineError."""
        with self._lock:
            try:
                if self._socket is None:
                    self._connect()
                return self._ask(command, arguments)
            except (OSError, ValueError) as error:
                raise LineError("the emulated board is gone: {}".format(error))

    def close(self):
        with self._lock:
            if self._socket:
                self._socket.close()

    def _connect(self):
        deadline = time.monotonic() + _CONNECT_S
        while True:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(_CONNECT_S)
            try:
                connection.connect(self._path)
                break
            except OSError:  # QEMU has only just been started
                connection.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self._socket = connection
        self._file = connection.makefile("r")
        self._read()
        self._ask("qmp_capabilities", {})

    def _ask(self, command, arguments):
        request = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode())
        while True:
            answer = self._read()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise LineError("{}: {}".format(command, answer["error"].get("desc")))

    def _read(self):
        line = self._file.readline()
        if not line:
            raise OSError("it has closed its control socket")
        return json.loads(line)


class Line:
    """One board's line; every method may be called from any thread, at any time."""

    def __init__(self, qmp, directory):
        self._qmp = qmp
        self._directory = directory
        self._numbers = itertools.count()
        self._stalled = None
        self._relay = None
        self._recorders = []

    def stall(self):
        """Lose every packet, both ways, from now on. Nobody is told: that is what is hard."""
        if not self._stalled:
            number = next(self._numbers)
            sink, name = "sink{}".format(number), "stall{}".format(number)
            self._qmp("chardev-add", id=sink, backend={"type": "null", "data": {}})
            self._add_filter("filter-redirector", name, queue="all", outdev=sink)
            self._stalled = name, sink

    def cut(self):
        """Pull the cable: nothing passes, and the board's network.LAN is no longer connected."""
        self._qmp("set_link", name=NETDEV, up=False)

    def slow(self, delay_ms=0, loss=0.0, seed=None):
        """
        Delay every packet by delay_ms each way and lose some.

        loss: the share of packets that are lost, 0 to 1. seed: the same one loses the same
        packets, by their number. Another call changes both figures.
        """
        if self._relay:
            self._relay.set(delay_ms, loss, seed)
        else:
            self._relay = _Relay(self._qmp, self._directory, next(self._numbers))
            self._relay.set(delay_ms, loss, seed)
            self._relay.start(self._add_filter)

    def mend(self):
        """Undo stall(), cut() and slow(); packets that slow() holds back are lost."""
        self._qmp("set_link", name=NETDEV, up=True)
        if self._stalled:
            name, sink = self._stalled
            self._stalled = None
            self._qmp("object-del", id=name)
            self._qmp("chardev-remove", id=sink)
        if self._relay:
            self._relay.stop()
            self._relay = None

    def record(self, path):
        """Write every packet into a file that Wireshark and tcpdump read."""
        name = "record{}".format(next(self._numbers))
        self._add_filter("filter-dump", name, file=str(path))

    def close(self):
        if self._relay:
            self._relay.close()
        self._qmp.close()

    def _add_filter(self, kind, name, **options):
        self._qmp("object-add", **{"qom-type": kind, "id": name, "netdev": NETDEV}, **options)


class _Relay:
    """
    Takes each packet out of QEMU and puts it back later, or never.

    For each direction ("tx" is towards the board, "rx" from it) two UNIX sockets: QEMU hands a
    packet out on one (its length as 4 bytes, then the frame) and takes it back on the other.
    """

    def __init__(self, qmp, directory, number):
        self._qmp = qmp
        self._names = []
        self._sockets = {}
        for queue in ("tx", "rx"):
            for way in ("out", "in"):
                name = "{}{}{}".format(queue, way, number)
                path = os.path.join(str(directory), name)
                address = {"type": "unix", "data": {"path": path}}
                backend = {"addr": address, "server": True, "wait": False}
                qmp("chardev-add", id=name, backend={"type": "socket", "data": backend})
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(path)
                self._sockets[queue, way] = connection
                self._names.append((queue, way, name))
        self._wake, self._waker = socket.socketpair()
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def set(self, delay_ms, loss, seed):
        self._delay_s = delay_ms / 1000
        self._loss = loss
        self._random = random.Random(seed)

    def start(self, add_filter):
        self._thread.start()
        # QEMU hands a packet to its filters in the order in which they were added on the way to
        # the board ("tx"), in the opposite order on the way from it. What a filter puts back in
        # goes on to those that follow, which must not be the one that takes packets out.
        order = [("rx", "in"), ("rx", "out"), ("tx", "out"), ("tx", "in")]
        for queue, way, name in sorted(self._names, key=lambda entry: order.index(entry[:2])):
            option = {"indev" if way == "in" else "outdev": name}
            add_filter("filter-redirector", "f" + name, queue=queue, **option)

    def stop(self):
        for _, _, name in self._names:
            self._qmp("object-del", id="f" + name)
        self.close()
        for _, _, name in self._names:
            self._qmp("chardev-remove", id=name)

    def close(self):
        self._closing = True
        self._waker.send(b"x")
        self._thread.join(10)
        for connection in list(self._sockets.values()) + [self._wake, self._waker]:
            connection.close()

    def _run(self):
        pending = []  # (when, number, direction, packet)
        received = {"tx": b"", "rx": b""}
        numbers = itertools.count()
        sources = {self._sockets[queue, "out"]: queue for queue in received}
        while not self._closing:
            wait = max(0, pending[0][0] - time.monotonic()) if pending else None
            readable, _, _ = select.select(list(sources) + [self._wake], [], [], wait)
            now = time.monotonic()
            for connection in readable:
                if connection is self._wake:
                    continue
                try:
                    data = connection.recv(65536)
                except OSError:
                    data = b""
                if not data:
                    return  # QEMU has ended
                queue = sources[connection]
                received[queue] += data
                for packet in self._packets(received, queue):
                    if self._random.random() >= self._loss:
                        due = now + self._delay_s
                        heapq.heappush(pending, (due, next(numbers), queue, packet))
            while pending and pending[0][0] <= time.monotonic():
                _, _, queue, packet = heapq.heappop(pending)
                try:
                    self._sockets[queue, "in"].sendall(packet)
                except OSError:
                    return

    @staticmethod
    def _packets(received, queue):
        """The whole packets at the front of what was received, each with its length before it."""
        while len(received[queue]) >= 4:
            end = 4 + struct.unpack_from(">I", received[queue])[0]
            if len(received[queue]) < end:
                return
            packet, received[queue] = received[queue][:end], received[queue][end:]
            yield packet
