"""
A network of one machine whose packets take their time: a TUN device inside a private network
namespace, for what a delay above TCP would hide (Nagle's algorithm, delayed acknowledgements,
segments).

    enter_namespace()                      # before any thread is started; raises Unavailable
    with DelayLine() as line:
        line.address(50, 7)                # -> "10.99.50.7": connects to LOCAL through 50 ms

Servers listen on LOCAL. Whatever is sent to 10.99.R.N comes back to LOCAL after R/2 ms with source
and destination swapped, so that each end sees the other at 10.99.R.N and a round trip lasts R ms;
the checksums hold since they are sums. Each N is a line of its own: packets and bytes are counted
by address, and one address can be made to vanish. Nothing leaves the namespace, and nothing
outside it is touched. Needs Linux; netem and iproute2 are not needed.
"""

import ctypes
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections import deque

LOCAL = "10.99.0.1"
_NETMASK = "255.255.0.0"
_DEVICE = b"delay0"
_MTU = 1500  # as on a board's Wi-Fi

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_SIOCSIFMTU = 0x8922
_IFF_UP = 1
_RTM_SETLINK = 19
_NLM_REQUEST_ACK = 5
_IFLA_IFNAME = 3
_IFLA_TXQLEN = 13
_TCP = 6

_COUNTED = ("segments", "payload", "packets", "bytes")


class Unavailable(Exception):
    """This machine doesn't permit it; the text says what is missing."""


def enter_namespace():
    """
    Move this process into a user and network namespace of its own, with loopback up; children
    follow. What it can't reach any more: every other network, so fetch first.

    Raises Unavailable, also when a DelayLine would not work in there; this process is then where
    it was, since a child has tried before.
    """
    if not sys.platform.startswith("linux"):
        raise Unavailable("network namespaces and TUN devices as used here are Linux's")
    tried = subprocess.run(
        [sys.executable, os.path.abspath(__file__), "--try"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
    )
    try:
        error = json.loads(tried.stdout).get("error")
    except ValueError:
        error = (tried.stdout.strip().splitlines() or ["it said nothing"])[-1]
    if error:
        raise Unavailable(error)
    _enter()


def _enter():
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        # Root in here, nobody special outside; without this the new device can't be configured.
        for path, text in (
            ("/proc/self/setgroups", "deny"),
            ("/proc/self/uid_map", "0 {} 1".format(uid)),
            ("/proc/self/gid_map", "0 {} 1".format(gid)),
        ):
            with open(path, "w") as file:
                file.write(text)
    elif libc.unshare(_CLONE_NEWNET) != 0:  # root where user namespaces are switched off
        reason = os.strerror(ctypes.get_errno())
        raise Unavailable("a private network namespace is not permitted here ({})".format(reason))
    _bring_up(b"lo")


def _bring_up(name):
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sH22x", name, 0))
        flags = struct.unpack_from("16sH", request)[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH22x", name, flags | _IFF_UP))


class DelayLine:
    """
    The device and the process that delays; only inside enter_namespace(), and before a server
    binds to LOCAL.

    Raises Unavailable when there is no /dev/net/tun for us.
    """

    def __init__(self):
        from workshop import processes

        command = [sys.executable, os.path.abspath(__file__)]
        self._process = processes.Process(command, name="the delay line")
        try:
            first = json.loads(self._process.next_line(10))
        except processes.Ended as error:
            raise Unavailable("the delay line did not start: {}".format(error))
        if "error" in first:
            self._process.stop()
            raise Unavailable(first["error"])

    @staticmethod
    def address(rtt_ms, n):
        """The address (str) of line n (2 to 254) with a round trip of rtt_ms (0 to 255)."""
        return "10.99.{}.{}".format(rtt_ms, n)

    def counts(self, address):
        """
        What has passed so far: {"up": {...}, "down": {...}}, up being towards the server, each
        with segments (those that carry data), payload (their bytes), packets and bytes (all, IP
        headers included).
        """
        up, down = self._ask("counts", address)
        return {"up": dict(zip(_COUNTED, up)), "down": dict(zip(_COUNTED, down))}

    def vanish(self, address):
        """From now on nothing passes to or from this address, and nobody is told."""
        self._ask("vanish", address)

    def _ask(self, what, address):
        self._process.send(what + " " + address)
        return json.loads(self._process.next_line(10))

    def stop(self):
        self._process.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


# --- the process that delays ---------------------------------------------------------------------


def _open_device():
    import fcntl

    try:
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", _DEVICE, _IFF_TUN_NO_PI))
    except OSError as error:
        raise Unavailable("/dev/net/tun can't be used here ({})".format(error.strerror))

    def address(text):
        return struct.pack("16sHH4s8x", _DEVICE, socket.AF_INET, 0, socket.inet_aton(text))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFADDR, address(LOCAL))
        fcntl.ioctl(sock, _SIOCSIFNETMASK, address(_NETMASK))
        fcntl.ioctl(sock, _SIOCSIFMTU, struct.pack("16si20x", _DEVICE, _MTU))
    # A flood waits here rather than being dropped: loss is not what is measured.
    _set_queue_length(20000)
    _bring_up(_DEVICE)
    return tun


def _set_queue_length(packets):
    """By netlink: the ioctl for it is for the true root only."""
    name, length = _DEVICE + b"\0", struct.pack("I", packets)
    body = struct.pack("BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
    for kind, value in ((_IFLA_IFNAME, name), (_IFLA_TXQLEN, length)):
        body += struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
    head = struct.pack("IHHII", 16 + len(body), _RTM_SETLINK, _NLM_REQUEST_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.settimeout(5)
        sock.send(head + body)
        failed = struct.unpack_from("i", sock.recv(4096), 16)[0]
    if failed:
        raise OSError(-failed, "the device's queue can't be made longer")


class _Line:
    def __init__(self, tun):
        self.tun = tun
        self.servers = set()  # their ports, as the first SYN to each shows
        self.waiting = {}  # half a round trip, s -> deque of (due, packet)
        self.counted = {}  # address, 4 bytes -> ([up...], [down...])
        self.gone = set()

    def run(self):
        stdin = sys.stdin.fileno()
        local = socket.inet_aton(LOCAL)
        commands = b""
        while True:
            now = time.monotonic()
            wait = None
            for queue in self.waiting.values():
                while queue and queue[0][0] <= now:
                    self.send(queue.popleft()[1])
                if queue and (wait is None or queue[0][0] - now < wait):
                    wait = queue[0][0] - now
            # epoll counts in milliseconds; select in microseconds.
            ready = select.select([self.tun, stdin], [], [], wait)[0]
            if self.tun in ready:
                self.take(local)
            if stdin in ready:
                data = os.read(stdin, 4096)
                if not data:
                    return
                *lines, commands = (commands + data).split(b"\n")
                for line in lines:
                    self.obey(*line.decode().split())

    def take(self, local):
        for _ in range(256):
            try:
                packet = os.read(self.tun, 65536)
            except BlockingIOError:
                return
            source, to = packet[12:16], packet[16:20]
            if packet[0] >> 4 != 4 or source != local:
                continue  # IPv6 looking for its router
            self.count(packet, to)
            if to in self.gone:
                continue
            delay = to[2] / 2000
            packet = packet[:12] + to + source + packet[20:]
            if delay:
                queue = self.waiting.setdefault(delay, deque())
                queue.append((time.monotonic() + delay, packet))
            else:
                self.send(packet)

    def send(self, packet):
        if packet[12:16] not in self.gone:
            try:
                os.write(self.tun, packet)
            except OSError:
                pass  # no room: lost, as packets are

    def count(self, packet, address):
        head = (packet[0] & 15) * 4
        payload = 0
        down = False
        if packet[9] == _TCP:
            payload = len(packet) - head - (packet[head + 12] >> 4) * 4
            if packet[head + 13] & 0x12 == 0x02:  # SYN without ACK
                self.servers.add(packet[head + 2 : head + 4])
            down = packet[head : head + 2] in self.servers
        counts = self.counted.setdefault(address, ([0] * 4, [0] * 4))[down]
        counts[0] += payload > 0
        counts[1] += payload
        counts[2] += 1
        counts[3] += len(packet)

    def obey(self, what, address):
        address = socket.inet_aton(address)
        if what == "vanish":
            self.gone.add(address)
        print(json.dumps(self.counted.get(address, ([0] * 4, [0] * 4))), flush=True)


def _main():
    try:
        if "--try" in sys.argv:
            _enter()
        tun = _open_device()
    except (Unavailable, OSError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    print(json.dumps({"ready": True}), flush=True)
    if "--try" in sys.argv:
        return
    try:
        _Line(tun).run()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    _main()
