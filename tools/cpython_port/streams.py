"""
MicroPython's streams on CPython: what read(), readinto(), readline() and write() do, and sockets
and poll().

Follows py/stream.c and ports/unix/modsocket.c of MicroPython in what a program can see: a
non-blocking stream gives None for "not yet", b"" for the end, and as much as there is when it is
less than asked for.
"""

import builtins
import errno
import os
import select
import socket
import struct
import sys
import time

from .device import ERRNO, OSError, device_error

POLLIN, POLLOUT, POLLERR, POLLHUP, POLLNVAL = 1, 4, 8, 16, 32
_EAGAIN = ERRNO["EAGAIN"]
_POLL_PERIOD_S = 0.001  # how often what has no file descriptor is asked


class Stream:
    """
    The stream protocol over two primitives of the subclass.

    _take(n) -> bytes, b"" at the end. _give(memoryview) -> count taken. Both raise OSError(EAGAIN)
    for "not yet" and any other OSError for a failure.
    """

    def read(self, size=-1):
        if size == -1:
            parts = []
            while True:
                try:
                    part = self._take(256)
                except OSError as error:
                    if error.errno != _EAGAIN:
                        raise
                    if not parts:
                        return None
                    break
                if not part:
                    break
                parts.append(part)
            return b"".join(parts)
        buffer = bytearray(size)
        count = self.readinto(buffer)
        return None if count is None else bytes(buffer[:count])

    def readinto(self, buffer, size=None):
        view = memoryview(buffer).cast("B")
        if size is not None:
            view = view[: size if size >= 0 else None]
        done = 0
        while done < len(view):
            try:
                part = self._take(len(view) - done)
            except OSError as error:
                if error.errno != _EAGAIN:
                    raise
                return done or None
            if not part:
                break
            view[done : done + len(part)] = part
            done += len(part)
        return done

    def readline(self, size=-1):
        line = bytearray()
        while size == -1 or len(line) < size:
            try:
                byte = self._take(1)
            except OSError as error:
                if error.errno != _EAGAIN:
                    raise
                if not line:
                    return None
                break
            line += byte
            if byte in (b"", b"\n"):
                break
        return bytes(line)

    def write(self, buffer, *limits):
        if isinstance(buffer, str):
            buffer = buffer.encode()
        view = memoryview(buffer).cast("B")
        if len(limits) == 1:
            view = view[: limits[0]]
        elif len(limits) == 2:
            view = view[limits[0] :][: limits[1]]
        done = 0
        while done < len(view):
            try:
                count = self._give(view[done:])
            except OSError as error:
                if error.errno != _EAGAIN:
                    raise
                return done or None
            if not count:
                break
            done += count
        return done


class Socket(Stream):
    """socket.socket as MicroPython has it. Addresses are getaddrinfo()'s, and opaque."""

    def __init__(self, family=socket.AF_INET, type=socket.SOCK_STREAM, proto=0, _real=None):
        self._real = _real or _os(socket.socket, family, type, proto)

    def fileno(self):
        return self._real.fileno()

    def close(self):
        self._real.close()

    def connect(self, address):
        _os(self._real.connect, _unpack(address))

    def bind(self, address):
        _os(self._real.bind, _unpack(address))

    def listen(self, backlog=2):
        _os(self._real.listen, backlog)

    def accept(self):
        real, address = _os(self._real.accept)
        real.settimeout(None)
        return Socket(_real=real), _pack(real.family, address)

    def setblocking(self, flag):
        _os(self._real.setblocking, bool(flag))

    def settimeout(self, seconds):
        _os(self._real.settimeout, seconds)

    def setsockopt(self, level, option, value):
        _os(self._real.setsockopt, level, option, value)

    def recv(self, size, flags=0):
        return _os(self._real.recv, size, flags)

    def send(self, data, flags=0):
        return _os(self._real.send, data, flags)

    def sendall(self, data, flags=0):
        _os(self._real.sendall, data, flags)

    def recvfrom(self, size, flags=0):
        data, address = _os(self._real.recvfrom, size, flags)
        return data, _pack(self._real.family, address)

    def sendto(self, data, *flags_and_address):
        *flags, address = flags_and_address
        return _os(self._real.sendto, data, *flags, _unpack(address))

    def makefile(self, mode="rb", *_):
        return self

    def _take(self, size):
        return _os(self._real.recv, size)

    def _give(self, view):
        return _os(self._real.send, view)

    def __repr__(self):
        return "<_socket {}>".format(self.fileno())


def _os(call, *args):
    """Call a method of a real socket; MicroPython's OSErrors."""
    try:
        return call(*args)
    except (socket.timeout, builtins.OSError) as error:
        if isinstance(error, socket.timeout) and error.errno is None:
            raise OSError(ERRNO["ETIMEDOUT"]) from None
        if error.errno == errno.EWOULDBLOCK:
            raise OSError(_EAGAIN) from None
        raise device_error(error) from None


def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
    try:
        found = socket.getaddrinfo(host, port, family, type, proto, flags)
    except socket.gaierror as error:
        raise OSError("[addrinfo error {}]".format(error.errno)) from None
    return [
        (int(family), int(kind), proto, None, _pack(family, address))
        for family, kind, proto, _, address in found
    ]


def sockaddr(address):
    """An address taken apart: (family, bytes, port), and for IPv6 flow and scope."""
    family = struct.unpack_from("=H", address)[0]
    if family == socket.AF_INET:
        return family, bytes(address[4:8]), struct.unpack_from(">H", address, 2)[0]
    port, flow = struct.unpack_from(">HI", address, 2)
    return family, bytes(address[8:24]), port, flow, struct.unpack_from(">I", address, 24)[0]


def _pack(family, address):
    """An address as Linux lays it out in a struct sockaddr, as the unix port hands it over."""
    head = struct.pack("=H", family) + struct.pack(">H", address[1])
    if family == socket.AF_INET:
        return bytearray(head + socket.inet_aton(address[0]) + bytes(8))
    flow, scope = (tuple(address[2:]) + (0, 0))[:2]
    host = socket.inet_pton(family, address[0].partition("%")[0])
    return bytearray(head + struct.pack(">I", flow) + host + struct.pack(">I", scope))


def _unpack(address):
    if isinstance(address, (str, tuple)):
        raise TypeError("object with buffer protocol required")  # as MicroPython says it
    parts = sockaddr(address)
    return (socket.inet_ntop(parts[0], parts[1]),) + parts[2:]


class Poll:
    """select.poll(), for sockets, TLS streams over them, and sys.stdin."""

    def __init__(self):
        self._objects = {}  # id -> [object, events, file descriptor or None]

    def register(self, obj, events=POLLIN | POLLOUT):
        # MicroPython keeps the descriptor, too: after close() it is that of a stranger, or of
        # nobody.
        descriptor = None if hasattr(obj, "_poll") else obj.fileno()
        self._objects[id(obj)] = [obj, events, descriptor]

    def unregister(self, obj):
        self._objects.pop(id(obj), None)

    def modify(self, obj, events):
        if id(obj) not in self._objects:
            raise OSError(ERRNO["ENOENT"])
        self._objects[id(obj)][1] = events

    def poll(self, timeout=-1):
        return [(entry[0], flags) for entry, flags in self._wait(timeout)]

    def ipoll(self, timeout=-1, flags=0):
        ready = self._wait(timeout)
        if flags & 1:
            for entry, _ in ready:
                entry[1] = 0
        return iter([(entry[0], flags) for entry, flags in ready])

    def _wait(self, timeout):
        timeout = -1 if timeout is None else timeout
        deadline = time.monotonic() + timeout / 1000
        real = select.poll()
        by_descriptor = {}
        others = []
        for entry in self._objects.values():
            if entry[2] is None:
                others.append(entry)
            elif entry[2] >= 0:
                real.register(entry[2], entry[1])
                by_descriptor[entry[2]] = entry
        while True:
            if timeout < 0:
                wait = None
            else:
                wait = max(0, deadline - time.monotonic()) * 1000
            if others:
                wait = min(wait or 0, _POLL_PERIOD_S * 1000) if timeout >= 0 else 1
            ready = [(by_descriptor[number], flags) for number, flags in real.poll(wait)]
            for entry in others:
                flags = entry[0]._poll(entry[1])
                if flags:
                    ready.append((entry, flags))
            if ready or (timeout >= 0 and time.monotonic() >= deadline):
                return ready


class Stdin:
    """sys.stdin without a buffer, so that poll() and readline() agree on what is there."""

    def fileno(self):
        return 0

    def readline(self, size=-1):
        line = bytearray()
        while size == -1 or len(line) < size:
            byte = os.read(0, 1)
            line += byte
            if byte in (b"", b"\n"):
                break
        return line.decode()

    def read(self, size=-1):
        data = bytearray()
        while size == -1 or len(data) < size:
            part = os.read(0, 4096 if size == -1 else size - len(data))
            if not part:
                break
            data += part
        return data.decode()

    def __iter__(self):
        return iter(self.readline, "")

    @property
    def buffer(self):
        return sys.stdin.buffer
