# board_sockets: what lwIP's and ESP32's sockets do where Linux's are kinder. Device code.
#
# A test puts doubles/lwip or doubles/esp32, and this directory, before lib/ on the device's path:
# there `socket`, `select` (and ESP32's `errno`) are modules of these names, which stand on the
# real ones. So the same double runs on MicroPython and on tools/cpython_port.
#
# The numbers are those of a Pico W's lwIP, as measured on an emulated board and read in
# extmod/modlwip.c. What a board answers by blocking, the double answers at once, as the board does
# in the end, and writes down in `line.violations`: a test asserts that the list is empty.

import io
import time

import uselect
import usocket

IN, OUT, ERR, HUP, NVAL = 1, 4, 8, 16, 32

# What lwIP has for one connection and for all, in bytes and pieces.
MSS = 800
SEND_BUFFER = 6400
SEND_QUEUE = 32
HEAP = 8000
PIECE = 104  # what a segment costs beside its data: headers, pbuf, the heap's own words
PCBS = 5
LINGER_MS = 10000  # how long a closed socket's PCB waits for a peer that says nothing
NODELAY = 0x40
MESSAGE = 1472  # the largest datagram that isn't cut to pieces


class Line:
    """
    What a test does to the line, and what the library did to the board.

    silent: True drops every packet, both ways, until it is False again. violations: a text for
    each call that would have blocked on a board, and each warning that it would have printed.
    pcbs: connections and lingering ones. handed: the largest piece given to one write so far.
    """

    def __init__(self):
        self.silent = False
        self.violations = []
        self.sockets = []
        self.lingering = []
        self.held = []  # (until when, bytes of heap) of connections closed on a silent peer
        self.handed = 0
        self.connects = 0

    @property
    def pcbs(self):
        now = time.ticks_ms()
        self.lingering = [end for end in self.lingering if time.ticks_diff(end, now) > 0]
        return len([sock for sock in self.sockets if sock.open]) + len(self.lingering)

    @property
    def heap(self):
        """Bytes of lwIP's heap that nothing holds."""
        now = time.ticks_ms()
        self.held = [one for one in self.held if time.ticks_diff(one[0], now) > 0]
        used = [sock.heap for sock in self.sockets] + [one[1] for one in self.held]
        return HEAP - sum(used)


line = Line()


def packed(address):
    """An address as the real sockets take it. lwIP's and ESP32's are tuples (host, port)."""
    if not isinstance(address, tuple):
        raise TypeError("address must be a tuple (host, port)")
    return usocket.getaddrinfo(address[0], address[1])[0][-1]


def unpacked(address):
    raw = bytes(address)
    return ("%d.%d.%d.%d" % tuple(raw[4:8]), raw[2] * 256 + raw[3])


def getaddrinfo(host, port, *constraints):
    """One IPv4 address, as lwIP gives it; its own negative numbers when there is none."""
    try:
        found = usocket.getaddrinfo(host, port, usocket.AF_INET, usocket.SOCK_STREAM)
    except OSError:
        raise OSError(-2)
    return [(usocket.AF_INET, usocket.SOCK_STREAM, 0, "", unpacked(found[0][-1]))]


class Base(io.IOBase):
    """What both boards share. A subclass says how it dials, writes and answers poll()."""

    NEW, CONNECTING, CONNECTED, FAILED, CLOSED = range(5)
    EINPROGRESS = EALREADY = ETIMEDOUT = ENOTCONN = EISCONN = 0

    def __init__(self, family=usocket.AF_INET, kind=usocket.SOCK_STREAM, proto=0):
        self.open = False
        self.heap = 0
        if kind == usocket.SOCK_STREAM:
            if line.pcbs >= PCBS:
                raise OSError(12)
            self.open = True
        self.kind = kind
        self.state = self.NEW
        self.failure = 0
        self.queue = []  # segments: [data, when to hand over, heap]
        self.queued = 0
        self.nodelay = False
        self.blocking = True
        self.address = None
        self.dialled = False
        self.sock = usocket.socket(family, kind)
        self.sock.setblocking(False)
        self.watch = uselect.poll()
        self.watch.register(self.sock, IN | OUT)
        line.sockets.append(self)

    # ---- what a program calls

    def setblocking(self, flag):
        if flag:
            line.violations.append("setblocking(True): blocks for ever on a board")
        self.blocking = flag

    def settimeout(self, seconds):
        if seconds != 0:
            line.violations.append("settimeout(%s): a TLS socket has none" % seconds)
        self.blocking = seconds != 0

    def bind(self, address):
        self.address = address
        self.sock.bind(packed(address))

    def connect(self, address):
        if self.kind != usocket.SOCK_STREAM:
            return self.sock.connect(packed(address))
        self.progress()
        self.check_connect()
        self.address = packed(address)
        self.state = self.CONNECTING
        line.connects += 1
        self.progress()
        if self.blocking:
            line.violations.append("connect() on a blocking socket")
        raise OSError(self.EINPROGRESS)

    def sendto(self, data, address):
        self.check_memory(len(data))
        if len(data) > MESSAGE:
            raise OSError(90)
        if self.address and self.address[0].startswith("127."):
            raise OSError(113)  # from an address that no interface of a board has
        if line.silent:
            return len(data)
        return self.sock.sendto(data, packed(address))

    def recvfrom(self, size):
        if line.silent:
            self.not_yet("recvfrom()")
        data, address = self.sock.recvfrom(size)
        return data, unpacked(address)

    def recv(self, size):
        buf = bytearray(size)
        n = self.take(buf)
        return bytes(buf[:n])

    def read(self, size):
        try:
            return self.recv(size)
        except OSError as e:
            if e.errno != 11:
                raise

    def readinto(self, buf, *size):
        try:
            return self.take(memoryview(buf)[: size[0]] if size else buf)
        except OSError as e:
            if e.errno != 11:
                raise

    def write(self, buf, *span):
        buf = memoryview(buf)
        if len(span) == 2:
            buf = buf[span[0] :][: span[1]]
        elif span:
            buf = buf[: span[0]]
        try:
            return self.give(buf)
        except OSError as e:
            if e.errno != 11:
                raise

    def send(self, buf):
        return self.give(memoryview(buf))

    def close(self):
        self.progress()
        if self.open:
            self.open = False
            if line.silent and self.state == self.CONNECTED:
                end = time.ticks_add(time.ticks_ms(), LINGER_MS)
                line.lingering.append(end)
                line.held.append((end, self.heap + PIECE))  # and its FIN
        self.state = self.CLOSED
        self.heap = 0
        if self in line.sockets:
            line.sockets.remove(self)
            self.watch.unregister(self.sock)
        self.sock.close()

    # ---- the same for tools/cpython_port's TLS and poll

    def _take(self, size):
        return self.recv(size)

    def _give(self, view):
        return self.give(view)

    def _poll(self, events):
        return self.flags(events)

    def ioctl(self, request, arg):
        # MicroPython's stream protocol, for TLS over this socket: 3 polls, 4 closes.
        if request == 3:
            return self.flags(arg)
        if request == 4:
            self.close()
        return 0

    # ---- underneath

    def check_memory(self, size):
        """Raises where there is no memory for a datagram of that size."""

    def not_yet(self, what):
        if self.blocking:
            line.violations.append(what + " on a blocking socket")
        raise OSError(11)

    def real_flags(self):
        for event in self.watch.ipoll(0):
            return event[1]
        return 0

    def progress(self):
        # Dial, notice what became of it, hand over what waits: whenever the line is not silent.
        if line.silent or self.state == self.CLOSED or self.kind != usocket.SOCK_STREAM:
            return
        if self.state == self.CONNECTING:
            if not self.dialled:
                self.dialled = True
                try:
                    self.sock.connect(self.address)
                except OSError as e:
                    if e.errno != 115:
                        return self.fail(e.errno)
            flags = self.real_flags()
            if flags & (ERR | HUP):
                try:
                    self.sock.connect(self.address)
                    self.fail(104)
                except OSError as e:
                    self.fail(e.errno)
            elif flags & OUT:
                self.state = self.CONNECTED
        if self.state == self.CONNECTED:
            self.deliver()

    def deliver(self):
        while self.queue:
            data, cost = self.queue[0]
            try:
                n = self.sock.write(data)
            except OSError as e:
                return self.fail(e.errno)
            if not n:
                return
            self.queued -= n
            if n < len(data):
                self.queue[0] = (data[n:], cost)
                return
            self.queue.pop(0)
            self.heap -= cost

    def fail(self, code):
        self.state = self.FAILED
        self.failure = code
        self.heap = self.queued = 0
        del self.queue[:]

    def take(self, buf):
        self.progress()
        self.check_transfer()
        if line.silent or self.state != self.CONNECTED:
            self.not_yet("a read")
        try:
            n = self.sock.readinto(buf)
        except OSError as e:
            self.fail(e.errno)
            raise
        if n is None:
            self.not_yet("a read")
        return n

    def give(self, buf):
        self.progress()
        self.check_transfer()
        line.handed = max(line.handed, len(buf))
        return self.enqueue(buf)


class LwipSocket(Base):
    """extmod/modlwip.c over lwIP: Pico W, Pico 2 W, most STM32."""

    EINPROGRESS, EALREADY, ETIMEDOUT, ENOTCONN, EISCONN = 115, 114, 110, 107, 106

    def check_connect(self):
        if self.state in (self.FAILED, self.CLOSED):
            raise OSError(9)  # EBADF: the PCB is gone, and with it the reason
        if self.state == self.CONNECTED:
            raise OSError(self.EISCONN)
        if self.state == self.CONNECTING:
            raise OSError(self.EALREADY)

    def check_transfer(self):
        if self.state == self.CLOSED:
            raise OSError(9)
        if self.state == self.FAILED:
            # A refusal and a reset are one to lwIP.
            raise OSError(104 if self.failure in (111, 32, 104) else self.failure)
        if self.state == self.NEW:
            raise OSError(self.ENOTCONN)

    def check_memory(self, size):
        if size + PIECE > line.heap:
            raise OSError(12)

    def setsockopt(self, level, option, value):
        if level == 6 and option == NODELAY:
            self.nodelay = bool(value)
        else:
            line.violations.append("Warning: lwip.setsockopt() option not implemented")

    def enqueue(self, buf):
        room = SEND_BUFFER - self.queued
        if self.state != self.CONNECTED or room <= 0:
            self.not_yet("a write")
        n = min(room, len(buf))
        # Nagle's algorithm lets what waits behind an unacknowledged segment fill up to MSS, and
        # each such segment takes the memory of a full one; without it every write is its own.
        left = n
        if self.queue and not self.nodelay and len(self.queue) > 1:
            left -= min(left, MSS - len(self.queue[-1][0]))
        pieces = []
        while left > 0:
            size = min(left, MSS)
            # The first segment has nothing to wait for and takes what it needs.
            whole = (self.queue or pieces) and not self.nodelay
            pieces.append((size, (MSS if whole else size) + PIECE))
            left -= size
        cost = sum([cost for _, cost in pieces])
        if len(self.queue) + len(pieces) > SEND_QUEUE or cost > line.heap:
            # lwip_tcp_send() tries ERR_MEM 200 times, 50 ms apart, non-blocking socket or not.
            line.violations.append(
                "a write of %d bytes blocks: %d bytes queued in %d segments, %d bytes of lwIP's"
                " heap free" % (len(buf), self.queued, len(self.queue), line.heap)
            )
            raise OSError(12)
        off = 0
        for size, cost in [(n - sum([size for size, _ in pieces]), 0)] + pieces:
            if not size:
                continue
            data = bytes(buf[off : off + size])
            off += size
            if cost:
                self.queue.append((data, cost))
            else:
                last, held = self.queue[-1]
                self.queue[-1] = (last + data, held)
            self.heap += cost
        self.queued += n
        self.progress()
        return n

    def flags(self, events):
        self.progress()
        if self.kind != usocket.SOCK_STREAM:
            return self.real_flags() & events & (OUT if line.silent else IN | OUT)
        if self.state == self.NEW:
            return (events & OUT) | HUP  # 20: a socket without a connection
        if self.state == self.CONNECTING:
            return 0
        if self.state == self.FAILED:
            return (events & OUT) | ERR | HUP  # 28
        if self.state == self.CLOSED:
            return NVAL
        found = 0
        if events & IN and not line.silent and self.real_flags() & (IN | HUP | ERR):
            found = IN
        if events & OUT and self.queued < SEND_BUFFER:
            found |= OUT
        return found


class Esp32Socket(Base):
    """ports/esp32/modsocket.c: poll() is select(), and numbers are newlib's."""

    EINPROGRESS, EALREADY, ETIMEDOUT, ENOTCONN, EISCONN = 119, 120, 116, 128, 127

    def check_connect(self):
        if self.state == self.CLOSED:
            raise OSError(9)
        if self.state == self.CONNECTED:
            raise OSError(self.EISCONN)
        if self.state == self.CONNECTING:
            raise OSError(self.EALREADY)
        if self.state == self.FAILED:
            self.raise_failure()

    def check_transfer(self):
        if self.state == self.CLOSED:
            raise OSError(9)
        if self.state == self.NEW:
            raise OSError(self.ENOTCONN)
        if self.state == self.FAILED:
            self.raise_failure()

    def raise_failure(self):
        # lwIP's error of a connection is told once; from then on it is just not connected.
        code, self.failure = self.failure, self.ENOTCONN
        raise OSError({111: 104, 32: 104, 110: 116, 113: 118}.get(code, code))

    def setsockopt(self, level, option, value):
        if level == 6 and option == 1:
            self.nodelay = bool(value)

    def enqueue(self, buf):
        room = SEND_BUFFER - self.queued
        if self.state != self.CONNECTED or room <= 0:
            self.not_yet("a write")
        n = min(room, len(buf))
        self.queue.append((bytes(buf[:n]), 0))
        self.queued += n
        self.progress()
        return n

    def flags(self, events):
        self.progress()
        if self.kind != usocket.SOCK_STREAM:
            return self.real_flags() & events & (OUT if line.silent else IN | OUT)
        if self.state == self.CLOSED:
            return NVAL
        if self.state in (self.NEW, self.CONNECTING):
            return 0
        if self.state == self.FAILED:
            return events & OUT  # a refused connection looks like one that stands
        found = 0
        if events & IN and not line.silent and self.real_flags() & (IN | HUP | ERR):
            found = IN
        if events & OUT and self.queued < SEND_BUFFER:
            found |= OUT
        return found


class Poll:
    """select.poll() for these sockets: registered objects keep their place, as on a board."""

    def __init__(self):
        self.objects = []

    def register(self, sock, events=IN | OUT):
        for entry in self.objects:
            if entry[0] is sock:
                entry[1] = events
                return
        self.objects.append([sock, events])

    def modify(self, sock, events):
        for entry in self.objects:
            if entry[0] is sock:
                entry[1] = events
                return
        raise OSError(2)

    def unregister(self, sock):
        self.objects = [entry for entry in self.objects if entry[0] is not sock]

    def ipoll(self, timeout=-1, flags=0):
        return iter(self.poll(timeout))

    def poll(self, timeout=-1):
        started = time.ticks_ms()
        while True:
            found = []
            for sock, events in self.objects:
                got = sock.flags(events) if hasattr(sock, "flags") else sock.ioctl(3, events)
                if got:
                    found.append((sock, got))
            if found or 0 <= timeout <= time.ticks_diff(time.ticks_ms(), started):
                return found
            time.sleep_ms(1)
