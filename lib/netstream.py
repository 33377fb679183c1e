# netstream: a TCP or TLS connection that never blocks. Stands on socket, select and tls as
# MicroPython ships them.
#
# Opening is a generator: whoever drives it decides how long to wait between two steps. Reading and
# writing return at once. Every wait has a deadline, TLS is verified unless the program says
# otherwise in so many words, and an error tells the cure. Only the port's own DNS look-up may
# block; resolver.Resolver does it without.
#
# Which address is dialled (the one policy of all services): one that confirm() was called for is
# dialled again first. One that was not has failed, and the next of the host's addresses has its
# turn; after the last one the next host of the list, whose addresses are then looked up anew.

import gc
import select
import socket
import sys
import time
from errno import EALREADY, EINPROGRESS, ENOMEM, ETIMEDOUT

from micropython import const

_EAGAIN = const(11)
_ECONNRESET = const(104)
_EHOSTUNREACH = const(113)
_IPPROTO_TCP = const(6)
_TCP_NODELAY = const(1)
_IN = const(1)
_OUT = const(4)
_ERR_HUP = const(24)
# What older TLS ports raise for "not yet": EAGAIN, and mbedTLS's WANT_READ and WANT_WRITE.
_NOT_YET = (_EAGAIN, -_EAGAIN, -26880, -26752)
# What a second connect() says of a connection that stands: EISCONN, in Linux's, newlib's and BSD's
# numbers, and EALREADY.
_STANDS = (106, 127, 56, EALREADY)
# Made once: with no heap left, a clause that must build its tuple fails itself.
_FAULTS = (OSError, ValueError)
_NO_REASON = (MemoryError, ImportError)

# lwIP's memory for all connections is 8000 bytes. Where it ends before the send buffer does, a
# write blocks for ten seconds, on a non-blocking socket too. Handed over in pieces of at most
# this size the send buffer ends first. TLS makes a record of each, 29 bytes longer.
_PIECE = const(512)
_PIECE_TLS = const(256)
_ANY_SIZE = const(65536)
# What one write takes of that memory beside its bytes, about: headers, pbuf, a TLS record's frame.
_WRITE_COST = const(128)
# A socket that is closed while its peer is silent keeps its place, and what it has sent keeps its
# memory, for so long on lwIP (ms).
_LINGER = const(10000)
# lwIP's memory, about, and the largest piece of it that one write takes; a TLS handshake's writes
# are longer. One full send buffer leaves 85 bytes of it.
_MEMORY = const(7800)
_BLOCK = const(900)
# Each connection may have begun one such piece of which little is filled.
_BEGUN = const(2700)
_BLOCK_HANDSHAKE = const(2048)
# What is unheard when a connection ends matters from here on: more than a farewell.
_FAREWELL = const(256)
# How long one wait for that memory lasts at most (ms): nothing tells when there is some again.
_FULL_WAIT = const(50)
# Of all connections on lwIP together: what is unheard, and the ticks at which one was last closed
# on a silent peer. (Numbers: a list of connections would keep one that its program has dropped.)
_UNHEARD = const(0)
_SILENT_END = const(1)
_shared = [0, -_LINGER]
_NOWHERE = ("127.0.0.1", 9)
# Ports whose sockets never block once they are told not to, and which may lack TCP_NODELAY.
_LARGE = "linux darwin win32 webassembly esp32"


class TLSError(OSError):
    """
    The peer could not be trusted, or TLS could not be agreed on.

    args[1] starts with a word a program can test: "clock", "expired", "host", "ca", "memory" or
    "handshake"; the rest tells the cure.
    """


def load_module(name):
    """
    Import a module inside a function, and return it. It stays.

    name: dotted for one in a package. Raises ImportError, MemoryError. Where there is no memory
    for a module MicroPython may keep its name without it, and `import` would find that from then
    on; here nothing is left of it, nor of what it imports itself.
    """
    try:
        # "*" asks for the module itself, where the name is dotted too. sys.modules is not asked:
        # another thread may have let go of it there by now.
        return __import__(name, None, None, "*")
    except MemoryError:
        for found in sys.modules:
            if sys.modules.get(found) is None:
                sys.modules.pop(found, None)
                break
        raise


def load_once(name):
    """
    load_module() for one use: what it takes of the heap is free again when the caller lets go.
    """
    module = load_module(name)
    sys.modules.pop(name, None)
    package, dot, own = name.rpartition(".")
    if dot:
        try:
            delattr(sys.modules[package], own)
        except Exception:
            pass  # another thread was faster
    return module


def reason(short, what, *args):
    """
    Return what the function `what` of reasons.py says to args; `short` when there is no heap left
    to load it, or no such file.
    """
    try:
        return getattr(load_once("reasons"), what)(*args)
    except _NO_REASON:
        return short


def tls_context(ssl, params=None):
    """
    Turn what a program passes as `ssl` into a context with wrap_socket(), or None for plain TCP.

    ssl: None or False (plain); an SSLContext, used as it is; True, with `params` as umqtt.simple's
        ssl_params; or a dict with "ca" (umqtt's "cadata" too), "cert", "key": file name or bytes,
        PEM or DER; "verify": False turns verification off. Raises ValueError for a missing or
        unreadable ca, cert or key.
    """
    if ssl is True:
        ssl = params or {"ca": None}
    if not ssl or hasattr(ssl, "wrap_socket"):
        return ssl or None
    return load_once("tls_setup").context(ssl)


def clock_is_set():
    """
    Return whether the clock can be believed: TLS and signed tokens need it. Works for both epochs
    (1970 and 2000).
    """
    return time.gmtime()[0] >= 2024


def places(host, port):
    """
    Return [(host, port), ...] of what a program gives as its server; see hosts.places().
    """
    return load_once("hosts").places(host, port)


def host_port(host, port):
    """Return "host:port" as it is written in texts and HTTP headers, brackets round IPv6."""
    return ("[%s]:%d" if ":" in host else "%s:%d") % (host, port)


class NetStream:
    """
    One connection, opened as often as needed.

    host, port: where to, in any form that places() takes; of several hosts the one that worked is
        dialled first. ssl: a context of tls_context(), or None; name: the host name the
        certificate must carry and SNI sends (default: the host dialled); timeout: seconds that
        opening, and a write that makes no headway, may take.
    resolver: an object whose generator resolve(host) yields where it would wait and returns a
        list of IPv4 addresses as text, in order of use, and whose wait(ms) waits for what that
        lacks, such as resolver.Resolver(); None takes the class's, NetStream.resolver, which a
        program sets once for all of its clients; without one it is the port's own look-up, which
        may block.

    Raises OSError with a text that names what went wrong; TLSError when the peer can't be trusted;
    ValueError for a host or port that can't be used.
    """

    resolver = None

    def __init__(self, host, port, ssl=None, name=None, timeout=10, resolver=None):
        self._places = places(host, port)
        self.host, self.port = self._places[0]  # the one being dialled
        self.name = name or self.host  # what the certificate must carry
        self._own_name = name
        self.ssl = ssl
        self.timeout_ms = int(timeout * 1000)
        self.resolver = resolver or self.resolver
        self.want = _IN  # what a wait is for, as poll's flags
        self.retry_ms = 0  # the next open() makes no sense before so many ms
        # About how many bytes of the network's memory hold what was sent since anything was last
        # heard, and whether the program must see to it that these stay few.
        self.unheard = 0
        self.bounded = False
        self.sock = self._raw = None  # what is read and written; the TCP socket under it
        self._poll = select.poll()
        self._polled = 0  # what _raw is registered for; 0: it isn't
        self._due = 0  # ticks: end of start_clock()'s time
        self._handshaking = False  # nothing has been written over TLS yet
        self._full = False  # the last write found no memory
        self._again = 0  # bytes that an unfinished TLS write was called with: repeat them
        self._most = _ANY_SIZE  # most bytes to hand over at once
        self._address = None  # dialled last, of getaddrinfo()
        self._confirmed = False  # the service behind _address has answered
        self._looking_up = False  # the resolver is at work: what there is to wait for is its
        self._found = []  # addresses of `host` that have not had their turn
        self._place = self._turn = 0  # which of _places is dialled; which is looked up next

    def start_clock(self):
        """Give what follows `timeout` from now."""
        self._due = time.ticks_add(time.ticks_ms(), self.timeout_ms)

    def in_time(self, what):
        """
        Raise OSError(ETIMEDOUT) when start_clock() was called longer ago than `timeout`. what: the
        thing awaited.
        """
        # An age of more than 2**29 ms shows as time to come.
        if not 0 < time.ticks_diff(self._due, time.ticks_ms()) <= self.timeout_ms:
            raise OSError(ETIMEDOUT, "no %s within %d ms" % (what, self.timeout_ms))

    def confirm(self):
        """
        Say that the service has answered: to be called once in each connection, at the first
        thing that only the service itself can have said (MQTT's CONNACK, HTTP's status line).

        The address is dialled first from now on. One that takes TCP or TLS and no more has failed:
        the next open() goes on with the next address.
        """
        self._confirmed = True
        self._turn = self._place

    def open(self):
        """
        A generator that connects; it yields wherever it would wait: call wait(), then go on with
        it.

        Each address may take `timeout`. The TLS handshake follows with the first write (send()
        waits for it): every protocol here lets the client speak first.
        """
        self.close()
        self.retry_ms = 0
        if self.ssl and not clock_is_set():
            raise TLSError(-1, "clock not set: sync NTP before connecting")
        looked_up = 0
        failed = address = None
        if self._confirmed:
            address = self._address
        self._confirmed = False
        while True:
            if failed:
                yield  # the step that has failed was long enough
            if not address:
                if not self._found:
                    if looked_up == len(self._places):
                        raise failed
                    looked_up += 1
                    try:
                        yield from self._look_up()
                    except OSError as e:
                        failed = e
                        continue
                address = self._found.pop(0)
            self.start_clock()
            try:
                yield from self._dial(address)
                break
            except OSError as e:
                self.close()
                failed = OSError(
                    e.args[0],
                    "can't connect to %s: %s"
                    % (host_port(self.host, self.port), e.args[1] if len(e.args) > 1 else e),
                )
                address = None
        self._address = address
        if self.ssl:
            self._wrap()

    def _look_up(self):
        # The addresses of the host whose turn it is, in order of use, into _found.
        self._place = self._turn
        self._turn = (self._turn + 1) % len(self._places)
        if len(self._places) > 1:
            self.host, self.port = self._places[self._place]
            self.name = self._own_name or self.host
        host = self.host
        texts = (host,)
        if self.resolver and not (":" in host or host.replace(".", "").isdigit()):
            self._looking_up = True
            try:
                texts = yield from self.resolver.resolve(host)
            finally:
                self._looking_up = False
        try:
            for text in texts:
                for address in socket.getaddrinfo(text, self.port):
                    if address[1] == socket.SOCK_STREAM:
                        self._found.append(address)
        except OSError as e:
            raise OSError(e.args[0], "DNS can't resolve %s: check name and network" % host)
        if not self._found:
            raise OSError(_EHOSTUNREACH, "DNS has no address of %s: check the name" % host)

    def _dial(self, address):
        try:
            self.sock = self._raw = sock = socket.socket(address[0], address[1], address[2])
        except OSError as e:
            if e.errno != ENOMEM:
                raise
            self.retry_ms = _LINGER
            raise OSError(ENOMEM, reason("no socket is free", "no_socket"))
        sock.setblocking(False)
        try:
            sock.connect(address[-1])
        except OSError as e:
            if e.errno != EINPROGRESS:
                raise
        self._poll.register(sock, _OUT)
        self._polled = self.want = _OUT
        flags = self.wait(0)
        while not flags:
            self.in_time("answer")
            yield
            flags = self.wait(0)
        if flags & _ERR_HUP:
            # A read tells why it failed: asked by a second connect(), lwIP says EBADF.
            sock.readinto(bytearray(1))
            raise OSError(_ECONNRESET)
        try:
            # An ESP32's poll shows a refused connection as one that stands. This tells.
            sock.connect(address[-1])
        except OSError as e:
            if e.errno not in _STANDS:
                raise
        self._set_up(sock)

    def _set_up(self, sock):
        # TCP_NODELAY: without it Nagle's algorithm holds the tail of a packet back for a delayed
        # ACK. Not on lwIP, which has another number for it: there every write takes one of 32
        # places then, and the 33rd small one on a silent line blocks for ten seconds.
        nodelay = getattr(socket, "TCP_NODELAY", sys.platform in _LARGE.split())
        self.bounded = nodelay != _TCP_NODELAY
        self._most = _ANY_SIZE
        if self.bounded:
            self._most = _PIECE_TLS if self.ssl else _PIECE
        else:
            try:
                sock.setsockopt(_IPPROTO_TCP, _TCP_NODELAY, 1)
            except (OSError, AttributeError):
                pass

    def _wrap(self):
        # On a Pico W and its kind TLS takes its 17 KB in one piece from the heap of Python.
        gc.collect()
        self._handshaking = True
        try:
            self.sock = self.ssl.wrap_socket(
                self._raw, server_hostname=self.name, do_handshake_on_connect=False
            )
        except MemoryError:
            self._no_memory()
        except OSError as e:
            if e.errno != ENOMEM:
                raise
            self._no_memory()

    def _no_memory(self):
        self.close()  # first: the text needs memory, too
        raise OSError(ENOMEM, reason("out of memory", "memory"))

    def wait(self, ms):
        """
        Wait at most ms milliseconds until the connection is ready for what the last call lacked.
        Return poll's flags.
        """
        if self._polled:
            want = self.want
            if self._full:
                want = _IN
                ms = min(ms, _FULL_WAIT)
            if want != self._polled:
                self._polled = want
                self._poll.modify(self._raw, want)
            for event in self._poll.ipoll(ms):
                return event[1]
        elif self._looking_up:
            self.resolver.wait(ms)
        return 0

    def readinto(self, buf):
        """
        Read what is there into buf. Return the number of bytes, or None for nothing yet; end of
        stream is an OSError.
        """
        try:
            n = self.sock.readinto(buf)
        except _FAULTS as e:
            n = self._explain(e)
        if n is not None and self.unheard:
            self._forget_unheard()
        if n == 0:
            raise OSError(_ECONNRESET, "connection closed by the peer")
        return n

    def write(self, buf, off, n):
        """
        Write n bytes of buf from off, or as many as may be handed over at once. Return how many
        were taken. 0 means that there is no room yet: offer the same bytes again, before others.
        """
        if self._again:
            # TLS has made a record of so many bytes already: with others behind them it would
            # take those for sent, too.
            n = min(n, self._again)
        elif n > self._most:
            n = self._most
        if self.bounded:
            self._full = not self._fits(n)
            if self._full:
                return 0
        try:
            sent = self.sock.write(buf, off, n)
        except _FAULTS as e:
            sent = self._explain(e)
        if sent:
            self._handshaking = False
            self._again = 0
            self.unheard += sent + _WRITE_COST
            if self.bounded:
                _shared[_UNHEARD] += sent + _WRITE_COST
            return sent
        if self.ssl:
            self._again = n
        # In mid-handshake the next word is usually the peer's.
        self.want = _IN if self._handshaking else _OUT
        return 0

    def _forget_unheard(self):
        if self.bounded:
            _shared[_UNHEARD] -= self.unheard
        self.unheard = 0

    def _fits(self, n):
        # Whether lwIP's memory is sure to take n bytes more. One connection alone can't fill it.
        others = _shared[_UNHEARD] - self.unheard
        if 0 <= time.ticks_diff(time.ticks_ms(), _shared[_SILENT_END]) < _LINGER:
            others = _MEMORY
        if not others or others + self.unheard + n <= _MEMORY - _BEGUN:
            return True
        # The peers may have taken what counts as unheard. A datagram tells: there is memory for it
        # or not, and then it goes nowhere, as it comes from an address that the board hasn't.
        try:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                sock.bind(_NOWHERE)
                sock.sendto(bytes(_BLOCK_HANDSHAKE if self._handshaking else _BLOCK), _NOWHERE)
            finally:
                sock.close()
        except MemoryError:
            return False
        except OSError as e:
            return e.errno != ENOMEM
        return True

    def send(self, buf):
        """
        A generator that writes all of buf (through the TLS handshake, if that is still to come).
        `timeout` counts from the last bytes that were taken.
        """
        self.start_clock()
        off = 0
        while True:
            n = self.write(buf, off, len(buf) - off)
            off += n
            if off >= len(buf):
                self.want = _IN
                return
            if n:
                self.start_clock()
                self.want = _OUT
            else:
                self.in_time("TLS handshake" if self._handshaking else "room to write")
            yield

    def _explain(self, e):
        # None for "not yet"; otherwise raises, with a reason and a cure where TLS only has a
        # number.
        if e.args and e.args[0] in _NOT_YET:
            return None
        self._forget_unheard()  # what is lost holds nothing
        if self.ssl:
            short = "handshake" if self._handshaking else None
            cure = reason(short, "tls", e, self.name, self._handshaking)
            if cure:
                raise TLSError(-1, cure)
        raise OSError(e.args[0], "connection lost")

    def close(self):
        """Close the connection; harmless when there is none."""
        sock, raw = self.sock, self._raw
        if self._polled:
            self._polled = 0
            self._poll.unregister(raw)
        self.sock = self._raw = None
        if self.bounded and self.unheard > _FAREWELL:
            _shared[_SILENT_END] = time.ticks_ms()
        self._forget_unheard()
        self._handshaking = self._full = False
        self._again = 0
        # After a failed handshake the TLS object has let go of its socket: close both.
        _shut(sock)
        if raw is not sock:
            _shut(raw)


def _shut(sock):
    # One that can't be closed is left to the collector, and must not keep the next from opening.
    try:
        if sock:
            sock.close()
    except Exception:
        pass
