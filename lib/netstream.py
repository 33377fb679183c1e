# netstream: a TCP or TLS connection that never blocks. Stands on socket, select and tls as
# MicroPython ships them.
#
# Opening is a generator: whoever drives it decides how long to wait between two steps. Reading and
# writing return at once. Every wait has a deadline, TLS is verified unless the program says
# otherwise in so many words, and an error tells the cure. Only the DNS look-up may block
# (MicroPython has no other); an address that worked is used again before DNS is asked again.

import select
import socket
import time
from errno import EINPROGRESS

from micropython import const

_EAGAIN = const(11)
_ECONNRESET = const(104)
_ETIMEDOUT = const(110)
_IPPROTO_TCP = const(6)
_TCP_NODELAY = const(1)
_IN = const(1)
_OUT = const(4)
_ERR_HUP = const(24)
# What older TLS ports raise for "not yet": EAGAIN, and mbedTLS's WANT_READ and WANT_WRITE.
_NOT_YET = (_EAGAIN, -_EAGAIN, -26880, -26752)


class TLSError(OSError):
    """
    The peer could not be trusted, or TLS could not be agreed on.

    args[1] starts with a word a program can test: "clock", "expired", "host", "ca" or "handshake";
    the rest tells the cure.
    """


def load(source, label=b"CERTIFICATE"):
    """
    Return the certificates or keys in source, each as DER, in a list.

    source: a file name, or the PEM or DER itself as str or bytes. label: how the PEM blocks to
        take end their BEGIN line. Raises ValueError when the file can't be read or the PEM holds
        no such block.
    """
    if isinstance(source, str):
        if "-----BEGIN" in source:
            source = source.encode()
        else:
            try:
                with open(source, "rb") as f:
                    source = f.read()
            except OSError:
                raise ValueError("can't read file " + source)
    if not source or b"-----BEGIN" not in source:
        return [source]
    # Not every build of MicroPython has mbedTLS's PEM parser (the unix port lacks it); all of them
    # have base64.
    from binascii import a2b_base64

    found = []
    for block in source.split(b"-----BEGIN ")[1:]:
        block = block.split(b"-----")
        if block[0].endswith(label):
            found.append(a2b_base64(block[1]))
    if not found:
        raise ValueError("PEM without " + label.decode())
    return found


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
    if not isinstance(ssl, dict):
        raise ValueError("ssl: pass a dict or an SSLContext")
    import tls

    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    get = ssl.get
    ca = get("ca") or get("cadata")
    what = "ca"
    try:
        if ca:
            for der in load(ca):
                context.load_verify_locations(der)
        elif get("verify", True):
            # A board has no store of root certificates to fall back on.
            raise ValueError("pass the service's root certificate, ssl={'ca': 'ca.der'}")
        else:
            context.verify_mode = tls.CERT_NONE
        if get("cert"):
            what = "cert or key"
            context.load_cert_chain(load(get("cert"))[0], load(get("key"), b"KEY")[0])
    except (OSError, ValueError, TypeError) as e:
        raise ValueError("ssl: bad %s: %s" % (what, e))
    return context


def clock_is_set():
    """
    Return whether the clock can be believed: TLS and signed tokens need it. Works for both epochs
    (1970 and 2000).
    """
    return time.gmtime()[0] >= 2024


class NetStream:
    """
    One connection, opened as often as needed.

    host, port: where to; ssl: a context of tls_context(), or None; name: the host name the
        certificate must carry and SNI sends (default: host); timeout: seconds that opening, and a
        write that makes no headway, may take.

    Raises OSError with a text that names what went wrong; TLSError when the peer can't be trusted.
    """

    want = _IN  # what a wait is for
    sock = _raw = _address = None
    _polled = _due = 0
    _handshaking = False

    def __init__(self, host, port, ssl=None, name=None, timeout=10):
        self.host = host
        self.port = port
        self.ssl = ssl
        self.name = name or host
        self.timeout_ms = int(timeout * 1000)
        self._poll = select.poll()

    def start_clock(self):
        """Give what follows `timeout` from now."""
        self._due = time.ticks_add(time.ticks_ms(), self.timeout_ms)

    def in_time(self, what):
        """
        Raise OSError(ETIMEDOUT) when start_clock() was called longer ago than `timeout`. what: the
        thing awaited.
        """
        if time.ticks_diff(self._due, time.ticks_ms()) <= 0:
            raise OSError(_ETIMEDOUT, "no %s within %d ms" % (what, self.timeout_ms))

    def open(self):
        """
        A generator that connects; it yields wherever it would wait: call wait(), then go on with
        it.

        The TLS handshake follows with the first write (send() waits for it): every protocol here
        lets the client speak first.
        """
        self.close()
        if self.ssl and not clock_is_set():
            raise TLSError(-1, "clock not set: sync NTP before connecting")
        known, self._address = self._address, None
        try:
            found = (known,) if known else socket.getaddrinfo(self.host, self.port)
        except OSError as e:
            raise OSError(e.args[0], "DNS can't resolve %s: check name and network" % self.host)
        for address in found:
            if address[1] != socket.SOCK_STREAM:
                continue
            self.start_clock()
            try:
                yield from self._dial(address)
                break
            except OSError as e:
                failed = e
                self.close()
        else:
            raise OSError(
                failed.args[0], "can't connect to %s:%d: %s" % (self.host, self.port, failed)
            )
        self._address = address
        if self.ssl:
            self._handshaking = True
            self.sock = self.ssl.wrap_socket(
                self._raw, server_hostname=self.name, do_handshake_on_connect=False
            )

    def _dial(self, address):
        self.sock = self._raw = sock = socket.socket(address[0], address[1], address[2])
        sock.setblocking(False)
        try:
            sock.connect(address[-1])
        except OSError as e:
            if e.errno != EINPROGRESS:
                raise
        self._poll.register(sock, _OUT)
        self._polled = self.want = _OUT
        while True:
            flags = self.wait(0)
            if flags & _ERR_HUP:
                # A second connect tells why the first one failed (MicroPython has no getsockopt).
                sock.connect(address[-1])
                raise OSError(_ECONNRESET)
            if flags:
                break
            self.in_time("answer")
            yield
        try:
            # Without it Nagle's algorithm holds the tail of a packet back for a delayed ACK.
            sock.setsockopt(_IPPROTO_TCP, _TCP_NODELAY, 1)
        except (OSError, AttributeError):
            pass

    def wait(self, ms):
        """
        Wait at most ms milliseconds until the connection is ready for what the last call lacked.
        Return poll's flags.
        """
        if self._polled:
            if self.want != self._polled:
                self._polled = self.want
                self._poll.modify(self._raw, self.want)
            for event in self._poll.ipoll(ms):
                return event[1]
        return 0

    def readinto(self, buf):
        """
        Read what is there into buf. Return the number of bytes, or None for nothing yet; end of
        stream is an OSError.
        """
        try:
            n = self.sock.readinto(buf)
        except (OSError, ValueError) as e:
            n = self._explain(e)
        if n == 0:
            raise OSError(_ECONNRESET, "connection closed by the peer")
        return n

    def write(self, buf, off, n):
        """
        Write n bytes of buf from off. Return how many were taken: 0 when there is no room yet.
        """
        try:
            sent = self.sock.write(buf, off, n)
        except (OSError, ValueError) as e:
            sent = self._explain(e)
        if sent:
            self._handshaking = False
            return sent
        # In mid-handshake the next word is usually the peer's.
        self.want = _IN if self._handshaking else _OUT
        return 0

    def send(self, buf):
        """
        A generator that writes all of buf (through the TLS handshake, if that is still to come).
        """
        self.start_clock()
        off = 0
        while True:
            off += self.write(buf, off, len(buf) - off)
            if off >= len(buf):
                self.want = _IN
                return
            self.in_time("TLS handshake" if self._handshaking else "room to write")
            yield

    def _explain(self, e):
        # None for "not yet"; otherwise raises, with a reason and a cure where TLS only has a
        # number.
        if e.args and e.args[0] in _NOT_YET:
            return None
        text = str(e)
        for sign, cure in (
            ("future", "clock: certificate not valid yet; sync NTP"),
            ("expired", "expired: certificate has ended, or the clock is wrong"),
            ("Common Name", "host: certificate is not for " + self.name),
            ("trusted CA", "ca: not signed by the given ca; pass the service's root"),
        ):
            if sign in text:
                raise TLSError(-1, cure)
        if self._handshaking:
            raise TLSError(-1, "handshake: " + text)
        raise OSError(e.args[0], "connection lost")

    def close(self):
        """Close the connection; harmless when there is none."""
        if self._polled:
            self._poll.unregister(self._raw)
            self._polled = 0
        # After a failed handshake the TLS object has let go of its socket: close both.
        for sock in (self.sock, self._raw):
            if sock:
                try:
                    sock.close()
                except OSError:
                    pass
        self.sock = self._raw = None
        self._handshaking = False
