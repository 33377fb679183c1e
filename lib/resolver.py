# resolver: DNS without blocking, for boards whose own look-up can't be waited for: lwIP's holds a
# program for 7 to 14 seconds when the network's DNS servers say nothing, longer than an RP2040's
# watchdog allows. Stands on socket and select alone.
#
# IPv4 addresses (A records) over UDP, RFC 1035. The servers are asked in turn with a growing
# pause. An answer is believed only when it comes from where the question went and repeats its
# number and its name. It is kept as long as it allows.

import os
import select
import socket
import struct
import time

from micropython import const

_ENOENT = const(2)
_EHOSTUNREACH = const(113)
_IN = const(1)
_MESSAGE = const(512)  # the longest answer over UDP without extensions (RFC 1035, 4.2.1)
_HEAD = const(12)
_A = const(1)
_CNAME = const(5)
_INTERNET = const(1)
_ANSWER = const(16)  # the upper five bits of an answer to a plain question
_NO_SUCH_NAME = const(3)
_ADDRESSES = const(8)  # kept of one answer
_NAMES = const(4)  # kept in the cache
_KEPT_S = const(86400)  # longest time an answer is kept, whatever it says
_PAUSE_MS = const(500)  # before the next server is asked; twice as long each time round


def _is_ipv4(text):
    parts = text.split(".")
    for part in parts:
        if not part.isdigit() or int(part) > 255:
            return False
    return len(parts) == 4


def _read_name(packet, at):
    # The name at a place in the packet, as it stands in a question, and the place behind it.
    # A pointer must lead to before where the last one led: a name that goes in circles ends.
    name = b""
    after = 0
    start = at
    while True:
        while 0 < packet[at] < 64:
            end = at + packet[at] + 1
            name += packet[at:end]
            at = end
        if not packet[at]:
            return name.lower() + b"\0", after or at + 1
        after = after or at + 2
        at = (packet[at] << 8 | packet[at + 1]) - 0xC000
        if not 0 < at < start:
            raise ValueError
        start = at


def _read_answer(packet, question):
    # What the records say about the name in `question`: a list of IPv4 texts, empty when it has
    # none and None when the records can't be read, and for how many seconds.
    name = question[:-4]
    at = _HEAD + len(question)
    found = []
    ttl = _KEPT_S
    try:
        for _ in range(packet[6] << 8 | packet[7]):
            owner, at = _read_name(packet, at)
            kind, group, seconds, size = struct.unpack_from(">HHIH", packet, at)
            at += 10
            if owner == name and group == _INTERNET:
                if kind == _CNAME:
                    # It says under which name to look instead.
                    name, _ = _read_name(packet, at)
                elif kind == _A:
                    found.append("%d.%d.%d.%d" % struct.unpack_from("4B", packet, at))
                # With the top bit set it counts as 0 (RFC 2181, 8).
                ttl = min(ttl, 0 if seconds >> 31 else seconds)
            at += size
    except (IndexError, ValueError):
        # Cut off, by the server or by our buffer: what came before is good.
        found = found or None
    return found and found[:_ADDRESSES], ttl


def _network_servers():
    # What DHCP said: on a board the interface knows, on Linux a file.
    try:
        import network

        return (network.ipconfig("dns"),)
    except ImportError:
        servers = []
        for line in open("/etc/resolv.conf"):
            if line.startswith("nameserver"):
                servers.append(line.split()[1])
        return servers


class Resolver:
    """
    Looks names up without blocking. Keep one for the whole program: it remembers.

    servers: list of DNS servers, each "ip" or "ip:port"; None asks the network for its own, anew
        at each look-up. timeout: seconds that one look-up may take.
    """

    def __init__(self, servers=None, timeout=10):
        self._servers = servers
        self._timeout_ms = int(timeout * 1000)
        self._turn = 0  # which server to ask first: the one that answered last
        self._cache = {}  # name -> (until when, addresses)
        self._poll = select.poll()

    def wait(self, ms):
        """Wait at most ms milliseconds until an answer has come."""
        for _ in self._poll.ipoll(ms):
            return

    def resolve(self, host):
        """
        A generator that looks a name up: it yields None wherever it would wait (call wait(), then
        go on with it) and returns its IPv4 addresses, a list of texts in the order of use.

        host: a name; an IP address and "localhost" are answered at once, without a server.
        Raises OSError: what the servers said, or that none answered within `timeout`.
        """
        if ":" in host or _is_ipv4(host):
            return [host]
        host = host.lower()
        if host == "localhost":
            return ["127.0.0.1"]
        until, found = self._cache.pop(host, (0, None))
        # More than _KEPT_S ahead: from before the clock was set back.
        if not 0 < until - time.time() <= _KEPT_S:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                sock.setblocking(False)
                self._poll.register(sock, _IN)
                found, seconds = yield from self._ask(sock, host)
            finally:
                self._poll.unregister(sock)
                sock.close()
            until = time.time() + seconds
        if len(self._cache) >= _NAMES:
            self._cache.popitem()
        self._cache[host] = (until, found)
        return found

    def _ask(self, sock, host):
        # Returns what _read_answer() does, of the first answer that is one. Long for its kind: it
        # is a generator, and what it waits for is best read in the order in which it comes.
        question = b""
        for part in host.rstrip(".").encode().split(b"."):
            if not 0 < len(part) < 64 or len(host) > 253:
                raise OSError(_ENOENT, "DNS: no host name: " + host)
            question += bytes((len(part),)) + part
        question += b"\0\0\1\0\1"
        number = os.urandom(2)
        places = []
        for server in self._servers or _network_servers():
            ip, _, port = server.partition(":")
            if _is_ipv4(ip) and ip != "0.0.0.0":
                places.append(socket.getaddrinfo(ip, int(port or 53))[0][-1])
        why = "no server answers" if places else "no server known"
        start = due = now = time.ticks_ms()
        pause = _PAUSE_MS
        while places and time.ticks_diff(now, start) < self._timeout_ms:
            if time.ticks_diff(now, due) >= 0:
                place = places[self._turn % len(places)]
                self._turn += 1
                due = time.ticks_add(now, pause)
                pause *= 2
                try:
                    sock.sendto(number + b"\1\0\0\1\0\0\0\0\0\0" + question, place)
                except OSError as e:
                    why = str(e)
                    places.remove(place)
                    due = now
            yield
            now = time.ticks_ms()
            for event in self._poll.ipoll(0):
                if event[0] is not sock:
                    continue
                packet, place = sock.recvfrom(_MESSAGE)
                # Whoever makes an answer up must guess all of this (RFC 5452).
                if (
                    place not in places
                    or packet[:2] != number
                    or packet[4:6] != b"\0\1"
                    or not packet[_HEAD:].lower().startswith(question)
                    or packet[2] >> 3 != _ANSWER
                ):
                    continue
                code = packet[3] & 15
                found, seconds = _read_answer(packet, question)
                if found:
                    self._turn = places.index(place)
                    return found, seconds
                if code == _NO_SUCH_NAME or found is not None and not code:
                    raise OSError(_ENOENT, "DNS: no IPv4 address for " + host)
                # This server can't, another may.
                why = "server failed, code %d" % code
                places.remove(place)
                due = now
        raise OSError(_EHOSTUNREACH, "DNS: %s: %s" % (host, why))
