# mqtt_link: umqtt.simple made cooperative. Stands on umqtt.simple and netstream; knows MQTT 3.1.1
# and no service.
#
# do_next() is the whole engine: one bounded step that dials, reads, writes, pings, resends and
# reconnects, and never waits longer than it is told. publish() and subscribe() only queue. Nothing
# is allocated while idle; a packet longer than max_packet is skipped as it streams by; what the
# broker has not acknowledged is kept and sent again after a reconnect.
#
# It fails safe: whatever is raised inside a step (no memory, Ctrl-C) ends the connection, and
# nothing counts as sent, acknowledged or seen before it is.

import gc
import os
from errno import EALREADY, ENOBUFS, ENOTCONN, ETIMEDOUT
from time import sleep_ms, ticks_add, ticks_diff, ticks_ms

from micropython import const

try:
    from umqtt.simple import MQTTClient, MQTTException
except ImportError:
    raise ImportError("umqtt.simple is missing: mpremote mip install umqtt.simple")

from netstream import NetStream, load_module, load_once, tls_context
from utf8 import is_text

try:
    from _thread import allocate_lock
except ImportError:
    allocate_lock = None

# Where the link is. Only connect(), _dial(), _connect(), _enter_up(), _check_time() and
# _hang_up() change it; the picture is in docs/link.md.
_OFF = const(0)  # disconnect() was called: stays away until connect()
_PAUSING = const(1)  # waits for the next attempt (back-off)
_DIALLING = const(2)  # address, TCP, TLS, WebSocket
_GREETING = const(3)  # CONNECT is out, CONNACK awaited
_UP = const(4)
_RENEWING = const(5)  # up, but new messages wait: fresh credentials are due

# First bytes of packets.
_CONNECT = const(0x10)
_CONNACK = const(0x20)
_PUBLISH = const(0x30)
_PUBACK = const(0x40)
_PUBREC = const(0x50)
_PUBREL = const(0x62)
_PUBCOMP = const(0x70)
_SUBSCRIBE = const(0x82)
_SUBACK = const(0x90)
_UNSUBSCRIBE = const(0xA2)
_UNSUBACK = const(0xB0)
_PINGRESP = const(0xD0)
_TYPE = const(0xF0)
_KIND = const(0xF6)  # without the flags DUP and RETAIN
_PINGREQ = b"\xc0\0"
_DISCONNECT = b"\xe0\0"
# What a broker may send beside PUBLISH, and how long it is behind its head. A SUBACK is longer.
_ANSWERS = {
    _CONNACK: 2,
    _PUBACK: 2,
    _PUBREC: 2,
    _PUBREL: 2,
    _PUBCOMP: 2,
    _SUBACK: 3,
    _UNSUBACK: 2,
    _PINGRESP: 0,
}
# Flags of a PUBLISH, and those that tell its QoS.
_DUP = const(8)
_QOS = const(6)
_QOS2 = const(4)
_RETAIN = const(1)

# An item of the window is a bytearray, or a tuple of it and a payload sent from where it lies. The
# bytearray: the packet id in two bytes, how many connections have ended on it, the packet.
_TRIES = const(2)
_PACKET = const(3)
# A subscription: its filter with the length before it, qos or None to unsubscribe, and the call
# that waits for its answer.
_FILTER = const(0)
_WANTED = const(1)
_CALL = const(2)
# Such a call: its packet id, how many filters are not answered, the worst code so far.
_ID = const(0)
_LEFT = const(1)
_WORST = const(2)
# What the socket had no room for: the buffer, from where, how much, whether a packet begins there.
_BUFFER = const(0)
_FROM = const(1)
_REST = const(2)
_BEGINS = const(3)

_REFUSED = const(0x80)  # in a SUBACK
_GIVEN_UP = const(0xFF)  # for on_ack
# Brokers hang up on a SUBSCRIBE of more filters (AWS: 8).
_FILTERS_MAX = const(8)
# A message on which so many connections in succession ended is given up.
_TRIES_MAX = const(4)
# A payload longer than this is not copied beside its header but sent from where it lies.
_COPY_MAX = const(1024)
# A message for which the program has no memory ends so many connections, and comes again; then it
# is passed over. So many such ends are remembered.
_SHORTAGES_MAX = const(2)
_SHORT_OF_MAX = const(8)
_LENGTH_MAX = const(268435455)
# So many answers are gathered for one write, and so many may wait for the broker to take them:
# then no further message is looked at.
_ANSWERS_MAX = const(32)
# Writes of one packet in one step; the rest waits for the next.
_PIECES_MAX = const(32)
# So many further reads follow in one step while a packet of more bytes than _LONG is on its way.
_LONG_PIECES = const(2)
_LONG = const(128)
# How much of lwIP's 8000 bytes, which all connections share, may hold what nothing has been heard
# of. Past half of it the broker is asked for a sign of life, past all of it nothing goes out.
_UNHEARD_MAX = const(4096)
# No message begins in a step that has begun so many bytes. TLS takes 2.3 ms of a board for 1 KB,
# and for a record as long as for so many bytes.
_STEP_MAX = const(4096)
_RECORD = const(256)
# One wait inside do_next() lasts at most this many ms, so that no timer is missed.
_WAIT_MAX = const(1000)
# Deadlines are looked at so often (ms), or eight times in the shortest of them.
_CHECK_MS = const(200)
# ticks_ms() wraps after 12 days on 32-bit boards: a longer credential lifetime is renewed earlier
# than it need be.
_LIFETIME_MAX = const(432000)
_LONG_AGO = const(0x1FFFFFFF)

# Bound once: a name of the module is found sooner than one of the language, and a tuple written
# where it is used is made at each call.
_len = len
_bytes = bytes
_isinstance = isinstance
_nothing = bool  # to be called
_TEXT_OR_BYTES = (str, bytes)
_BYTES = (bytes, bytearray, memoryview)
_NETWORK = (OSError, MQTTException)
_INTERRUPTED = OSError(-1, "a step of the link was interrupted")


class Full(OSError):
    """
    `window` messages wait for the broker. Call do_next() and publish again, or publish with
    wait_ms.
    """


def _encode(s, what):
    # UTF-8 bytes of a str; anything else must already be bytes.
    if isinstance(s, str):
        return s.encode()
    if isinstance(s, _BYTES):
        if isinstance(s, memoryview) and len(s) and len(bytes(s[:1])) > 1:
            return bytes(s)  # of an array: its length counts items
        return s
    raise ValueError(what + " must be str or bytes")


def _text(s, what):
    # A str or bytes as MQTT's text: UTF-8, at most 65535 bytes.
    s = bytes(_encode(s, what))
    if len(s) > 65535 or not is_text(s):
        raise ValueError(what + ": UTF-8 of at most 65535 bytes, without NUL")
    return s


def _topic(s, qos, is_filter=False):
    # A topic or topic filter as bytes, by the rules of 4.7.
    s = _text(s, "topic")
    if qos not in (0, 1, 2):
        raise ValueError("qos: 0, 1 or 2")
    if not s or not is_filter and (b"+" in s or b"#" in s):
        raise ValueError("topic: 1 to 65535 bytes without NUL, + or #")
    if is_filter:
        levels = s.split(b"/")
        bad = b"#" in levels[:-1]
        for level in levels:
            bad = bad or len(level) > 1 and (b"+" in level or b"#" in level)
        if bad:
            raise ValueError("topic filter: + and # must fill a level, # the last one")
    return s


def _put_head(buf, op, n, topic=None):
    # From index _PACKET on: first byte, remaining length, and the topic with its length. Returns
    # the index behind them. Raises ValueError for more than MQTT allows.
    if n > _LENGTH_MAX:
        raise ValueError("message over 256 MB")
    buf[_PACKET] = op
    i = _PACKET + 1
    while n > 127:
        buf[i] = n & 127 | 128
        n >>= 7
        i += 1
    buf[i] = n
    i += 1
    if topic:
        n = len(topic)
        buf[i] = n >> 8
        buf[i + 1] = n & 255
        i += 2
        buf[i : i + n] = topic
        i += n
    return i


def _packet(op, body):
    buf = bytearray(8)
    return bytes(buf[_PACKET : _put_head(buf, op, len(body))]) + body


def _string(s):
    if len(s) > 65535:
        raise ValueError("will or password over 65535 bytes")
    return bytes((len(s) >> 8, len(s) & 255)) + s


def _head(item):
    # The bytearray of an item of the window.
    return item[0] if isinstance(item, tuple) else item


def _id(item):
    # The packet id of an item of the window.
    head = _head(item)
    return head[0] << 8 | head[1]


def _pop(items, i):
    # Where the heap is locked a list that shrinks raises, but what is taken out is out by then.
    item = items[i]
    try:
        items.pop(i)
    except MemoryError:
        pass
    return item


def _age(t):
    # ms since the ticks t. Past 2**29 ms ticks_diff() turns negative.
    t = ticks_diff(ticks_ms(), t)
    return t if t >= 0 else _LONG_AGO


def _random16():
    return int.from_bytes(os.urandom(2), "big")


class MQTTLink(MQTTClient):
    """
    An MQTT 3.1.1 client that never blocks and mends itself. umqtt.simple's names, with these
    differences: publish() and subscribe() return at once, do_next() does the work, and connecting,
    reconnecting and subscribing again are its business.

    client_id, server, user, password, keepalive (s, 0 = off): as in umqtt.simple, str or bytes.
        port: 0 for the usual one, 1883, with TLS 8883, with WebSocket 80 and 443. server may be a
        list of "host:port": after a failure the next one is tried, the one that worked first.
    ssl, ssl_params: what netstream.tls_context() takes; "server_hostname" in the dict overrides
        the name to verify.
    credentials: a callable asked at each connect -> (user, password) or (user, password, lifetime
        in s); with a lifetime the link reconnects before it ends (120 s before, or after four
        fifths of a short one), losing nothing.
    clean_session: False keeps subscriptions and unfinished QoS 1 and 2 across connections;
        exactly-once QoS 2 needs it.
    window: most messages kept until acknowledged, sent or not. max_packet: longest packet taken in
        (bytes), a buffer's size; or that buffer itself, a bytearray that no other connected link
        uses.
    timeout: seconds for each wait (dialling, handshake, CONNACK, SUBACK, PINGRESP, a stalled
        packet; acknowledgements: twice), counted from the last thing that moved.
    websocket: path for MQTT over WebSocket, such as "/mqtt" (needs websocket_stream.py).
    resolver: what looks names up, see netstream.NetStream; None: the port, which may block.

    Hooks, all None at first; those of the program's own callbacks that raise have their exception
    come out of do_next(), and the message counts as taken (but not after a MemoryError: that ends
    the connection, and the message comes again, twice). None of them may call do_next().
    on_up(session_present)
    on_down(error or None): a connection, or an attempt at one, has ended
    on_ack(pid, code): 0 to 2 = taken by the broker (for a SUBSCRIBE the granted QoS), 0x80 =
        refused, 0xFF = given up, by discard() or because the broker hung up on it again and again
    on_skip(topic, size): a packet over max_packet was passed over (acknowledged, not delivered),
        or, where `no_memory` is True then, a message for which the program three times had none

    An interrupt's callback (micropython.schedule) and other threads may call publish(),
    subscribe() and the like. In the middle of another call or step that is OSError(EALREADY), and
    nothing has been done: try again later.

    Raises ValueError for an argument MQTT or TLS can't use.
    """

    backoff_ms = 1000  # longest wait before the first new attempt; doubled after each failure ...
    backoff_max_ms = 64000  # ... up to this. The wait is a random part of it (full jitter).
    on_up = on_down = on_ack = on_skip = error = None
    # MicroPython's table of a class with 73 names is full, and in a full one each name is looked
    # for long: a message took two and a half times as much. One more makes the table grow.
    _spare = None

    def __init__(
        self,
        client_id,
        server,
        port=0,
        user=None,
        password=None,
        keepalive=60,
        ssl=None,
        ssl_params={},  # noqa: B006 (umqtt.simple's own signature; never changed here)
        *,
        credentials=None,
        clean_session=True,
        window=16,
        max_packet=2048,
        timeout=10,
        websocket=None,
        resolver=None,
    ):
        # Long for its kind: each attribute is made here, beside what it means.
        if not 0 <= keepalive < 65536:
            raise ValueError("keepalive: 0 to 65535 s")
        if user is not None:
            _text(user, "user")
        Stream = NetStream
        if websocket:
            Stream = load_module("websocket_stream").WebSocketStream
        if not port:
            port = (443 if ssl else 80) if websocket else 8883 if ssl else 1883
        super().__init__(_text(client_id, "client_id"), server, port, user, password, keepalive)
        params = ssl if isinstance(ssl, dict) else ssl_params
        context = tls_context(ssl, ssl_params)
        self._stream = Stream(
            server,
            port,
            context,
            params.get("server_hostname"),
            timeout,
            resolver,
        )
        self._stream.path = websocket
        self.credentials = credentials
        self.clean_session = clean_session
        self.window = window
        # A random start: after a reboot a durable session may still hold the low packet ids.
        self.pid = _random16()
        self._free = 0  # how many ids behind `pid` are known to be in no use ...
        self._counted_at = -1  # ... if that is `pid` still
        self._state = _PAUSING
        # Whoever is at work on what follows holds a lock. _leave[whether he got it] ends that: so
        # there is no jump, and no Ctrl-C, between taking it and the `try` that lets go of it.
        lock = (allocate_lock or load_once("no_threads").allocate_lock)()
        self._take = lock.acquire
        self._leave = (_nothing, lock.release)
        self._calling = 0  # inside how many callbacks
        self._op = self._pid = 0  # first byte and packet id of the packet being understood
        self._broken = False  # set before what must not stop half-way, cleared after it
        self._raised = None  # what a callback of the program raised in this step
        self._untold = 0  # on_down has to hear yet of: 1 an end that was wanted, 2 the error
        self._with_retain = False  # the message callback takes the retain flag, too
        self._topic = (NetStream, b"")  # the topic last published to, as given and as sent
        # What has come in, of which the bytes from _start to _end are not yet understood.
        self._rx = max_packet if isinstance(max_packet, bytearray) else bytearray(max_packet)
        self._view = memoryview(self._rx)
        self._start = self._end = 0
        self._tail = None  # the part of _rx that the next read fills
        # With TLS a read takes what the packet lacks and no more: MicroPython's readinto() reads
        # on until there is nothing, and doesn't tell of an end of the stream that it came to.
        self._exact = bool(context) and not websocket
        self._tx = bytearray(64)  # a QoS 0 packet on its way
        self._answers = bytearray(_ANSWERS_MAX * 4)  # gathered for one write, of which ...
        self._gathered = 0  # ... so many bytes, and ...
        self._owed = 0  # ... so many answers wait there or in _out
        self._out = []  # what the socket had no room for
        # Unacknowledged messages in order; the first _sent of them went out on this connection.
        self._window = []
        self._sent = 0
        self._filters = []  # subscriptions; this session of the broker was asked for the first ...
        self._asked = 0  # ... of them
        self._waiting = {}  # packet id of a SUBSCRIBE or UNSUBSCRIBE -> its filters
        self._qos2 = None  # the module mqtt_qos2 once it is needed
        self._unreleased = []  # ids of QoS 2 messages received and not yet released
        self._undone = False  # drop() was called: the message being delivered comes again
        self._warned = False  # told that the broker has no QoS 2
        self._failures = 0  # attempts and short connections in succession that failed
        self.no_memory = False  # why on_skip() is called, or was: no memory, or over max_packet
        self._short_of = []  # which messages ended a connection, as the program had no memory
        self._wait = 0  # ms from the end of the last connection or attempt to the next attempt
        self._holding = False  # QoS 0 is kept, too, while credentials are renewed
        self._present = False  # whether the broker had a session of ours
        self._heard_topic = b""  # of the last message: looked through once
        self._task = None  # the generator that dials
        self._forget_connection()

    def _forget_connection(self):
        # What is true of one connection only. Takes no memory.
        self._resting = False  # up, and nothing to do until bytes come or _check_at does
        self._task = self._tail = None
        self._start = self._end = self._gathered = self._owed = self._sent = self._asked = 0
        self._skip = 0  # bytes still to come of a packet over max_packet, which is ...
        self._skipped = None  # ... of this topic
        self._length = 0  # of the packet being understood, without its head
        self._fresh = False  # _rx has what _parse() has not looked at
        self._need = 2  # bytes that the packet in _rx lacks, as far as is known
        self._held = False  # what is to go out waits for a sign of life
        self._pinged = False  # since _pinged_at a PINGRESP is awaited
        self._heard = False  # the broker has said something after its CONNACK
        self._lifetime = 0  # ms from _up_at on after which to renew credentials; 0: never
        # Ticks of: the end of the one before; the last bytes in and out; the last that came or
        # left a queue; the oldest message unacknowledged; the last SUBSCRIBE; the next look at the
        # deadlines.
        self._ended_at = self._last_in = self._last_out = self._moved_at = ticks_ms()
        self._acked_at = self._asked_at = self._pinged_at = self._up_at = self._check_at = (
            self._last_in
        )
        self._waiting.clear()
        while self._out:
            _pop(self._out, -1)

    # -- what a program calls

    @property
    def inflight(self):
        """How many messages are not yet acknowledged (those still to be sent included)."""
        return len(self._window)

    def is_connected(self):
        """
        Return whether the broker has accepted the connection and nothing is known to be wrong with
        it.
        """
        return self._state >= _UP

    def set_callback(self, f, retained=False):
        """
        f(topic, msg), both bytes, hears each message; with retained=True f(topic, msg, retained)
        also the retain flag.
        """
        self.cb = f
        self._with_retain = retained

    def set_last_will(self, topic, msg, retain=False, qos=0):
        """
        The message the broker sends for us if the connection ends without disconnect(); used from
        the next connect on. Raises ValueError for a topic MQTT forbids or a msg over 65535 bytes.
        """
        msg = _encode(msg, "msg")
        _string(msg)
        super().set_last_will(_topic(topic, qos), msg, retain, qos)

    def connect(self, clean_session=None, timeout=None):
        """
        Connect and wait for it. Programs that only call do_next() don't need this.

        clean_session: overrides the constructor's. timeout: s for the whole; otherwise each stage
            has its own deadline. Returns whether the broker had a session. Raises what ended the
            first attempt: OSError, TLSError, MQTTException(code, text) for a refusal. do_next()
            goes on trying all the same; disconnect() ends that.
        """
        if self._calling:
            raise OSError(-1, "connect() can't wait inside a callback")
        self._check_free()
        if clean_session is not None:
            self.clean_session = clean_session
        if self._state >= _UP:
            self._stop(None)
        if self._state == _OFF:
            self._state = _PAUSING
        self._wait = 0
        start = ticks_ms()
        self.error = None
        while self._state < _UP:
            self.do_next(100)
            if timeout and _age(start) > timeout * 1000 and self._state < _UP:
                self._stop(OSError(ETIMEDOUT, "no connection within %s s" % timeout))
            if self.error:
                raise self.error
            if self._state == _OFF:
                raise OSError(-1, "disconnect() was called meanwhile")
        return self._present

    def disconnect(self, wait_ms=1000):
        """
        Wait at most wait_ms for acknowledgements, send DISCONNECT, close, and stay away until
        connect(). Messages not acknowledged stay in the window.
        """
        self._check_free()
        start = ticks_ms()
        try:
            while self._state >= _UP and not self._calling:
                left = wait_ms - _age(start)
                if left <= 0 or not (self._window or self._out or self._waiting):
                    break
                self.do_next(left)
        finally:
            self._stop(None, _OFF)

    def drop(self, error):
        """
        End this connection because of error (an OSError or MQTTException), as a fault of the
        network would: on_down hears of it, and do_next() dials again after a pause.

        For a program that can't go on with what came in. It may be called inside a callback: the
        message that is being delivered is not acknowledged then, and comes again.
        """
        leave = self._leave[self._take(False)]
        try:
            self._mine(leave)
            self._undone = True
            if self._gathered and self._state >= _UP:
                self._send_kept()  # the answers to what came before
            self._hang_up(error)
        finally:
            self._finish(leave)

    def publish(self, topic, msg, retain=False, qos=0, wait_ms=0):
        """
        Queue one message, sent in one write if the socket has room; returns at once.

        topic, msg: str or bytes. A msg over 1 KB is not copied: leave a bytearray alone until it
            is acknowledged. Returns the packet id, 0 at QoS 0; on_ack(id, code) follows when the
            broker has taken it. While offline, QoS 1 and 2 are kept for the next connection.
            Raises ValueError for a topic MQTT forbids (3.1.1, 4.7) or a message over 256 MB, Full
            when the window is full and stays so for wait_ms, OSError(ENOTCONN) for QoS 0 while
            offline, OSError(EALREADY) from an interrupt or thread in the middle of another call,
            MemoryError when there is no heap for it: nothing has been queued then.
        """
        last = self._topic
        if topic is not last[0] or qos not in (0, 1, 2):
            # Most programs publish to one topic again and again: it is looked through once. Both
            # forms are changed at once, so that no interrupt finds one without the other.
            last = (topic if isinstance(topic, _TEXT_OR_BYTES) else NetStream, _topic(topic, qos))
            self._topic = last
        if not _isinstance(msg, _bytes):
            msg = _encode(msg, "msg")
        start = None
        while True:
            leave = self._leave[self._take(False)]
            try:
                self._mine(leave)
                kept = qos or self._holding
                if not kept and self._state < _UP:
                    raise OSError(ENOTCONN, "not connected, QoS 0 not sent")
                if _len(self._window if kept else self._out) < self.window:
                    return self._queue(last[1], msg, retain, qos, kept)
            finally:
                self._finish(leave)
            if start is None:
                start = ticks_ms()
            left = wait_ms - _age(start)
            if left <= 0 or self._calling:
                raise Full(ENOBUFS, "window full: %d unacknowledged" % self.window)
            self.do_next(left)

    def subscribe(self, topic, qos=0):
        """
        Subscribe, now if connected and again after every reconnect that finds no session; returns
        at once.

        topic: a filter, or a list of (filter, qos), which goes out as one SUBSCRIBE for each eight
            of them. Returns the packet id; on_ack(id, code) follows, 0x80 when the broker refused
            any of them. Raises ValueError for a bad filter or qos, or an empty list;
            OSError(EALREADY) as publish() does.
        """
        entries = []
        newest = {}  # of the same filter in one list the last one counts
        call = [0, 0, 0]
        for name, wanted in ((topic, qos),) if isinstance(topic, _TEXT_OR_BYTES) else topic:
            entry = [_string(_topic(name, wanted or 0, True)), wanted, call]
            newest[entry[_FILTER]] = entry
            entries.append(entry)
        if not entries:
            raise ValueError("subscribe: an empty list")
        call[_LEFT] = len(entries)
        leave = self._leave[self._take(False)]
        try:
            self._mine(leave)
            self._resting = False
            call[_ID] = self._next_pid()
            self._filters.extend(entries)
            # What the new ones replace is removed: if that fails, both are asked for.
            i = 0
            while i < len(self._filters):
                entry = self._filters[i]
                if newest.get(entry[_FILTER], entry) is entry:
                    i += 1
                else:
                    self._remove(i)
            if self._state == _UP:
                self._send_kept()
        finally:
            self._finish(leave)
        return call[_ID]

    def unsubscribe(self, topic):
        """
        Undo subscribe(topic), now or when connected again. Returns the packet id; on_ack(id, 0)
        follows. Raises ValueError, OSError(EALREADY).
        """
        return self.subscribe(((topic, None),))

    def discard(self, heir=None):
        """
        Give up every message not yet acknowledged; on_ack(id, 0xFF) for each. The broker may have
        them all the same.

        heir: an MQTTLink, to another broker perhaps, that takes them over instead (no on_ack here)
            and sends them in their order, ids kept, as if they had never been sent. To be given
            before anything is published or subscribed there; its window may be exceeded so.
        Raises OSError(EALREADY) as publish() does.
        """
        leave = self._leave[self._take(False)]
        try:
            self._mine(leave)
            window = self._window
            if heir:
                heir._window.extend(window)
                heir._free = 0
                # As with new credentials: until it is up QoS 0 is kept, too.
                heir._holding = self._state >= _UP
                heir._qos2 = self._qos2
                heir._resting = False
            self._window = []
            self._sent = 0
            for item in window:
                if heir:
                    head = _head(item)
                    head[_PACKET] &= ~_DUP
                    head[_TRIES] = 0
                else:
                    self._call(self.on_ack, _id(item), _GIVEN_UP)
        finally:
            self._finish(leave)

    def do_next(self, wait_ms=0):
        """
        One step: dial, read, deliver, acknowledge, send, ping, renew, reconnect: whatever is due.

        wait_ms: how long to wait at most (and never over 1000) when there is nothing to do yet.
            Returns True when something happened. Network trouble is never raised: `error` holds
            the last failure, on_down hears of it, the link dials again.
        """
        if self._resting:
            if not self._pause(wait_ms):
                return False
            wait_ms = 0
        if self._calling:
            return False
        worked = self._pass()
        if wait_ms > 0 and not worked and self._pause(wait_ms):
            worked = self._pass()
        if self._raised is not None:
            e, self._raised = self._raised, None
            raise e
        return worked

    # umqtt.simple's names for it: each is the same bounded step, wait_msg() one that waits.
    check_msg = ping = do_next

    def wait_msg(self):
        """umqtt.simple's name for do_next(1000)."""
        return self.do_next(_WAIT_MAX)

    # -- steps, and what guards them

    def _mine(self, leave):
        if leave is _nothing:
            raise OSError(EALREADY, "the link is in the middle of another call: try again later")

    def _check_free(self):
        leave = self._leave[self._take(False)]
        try:
            self._mine(leave)
        finally:
            self._finish(leave)

    def _finish(self, leave):
        # A call that was interrupted in the middle leaves a connection that can't be gone on with.
        try:
            if self._broken and leave is not _nothing:
                self._hang_up(_INTERRUPTED)
        finally:
            leave()

    def _stop(self, e, state=_PAUSING):
        # Ends the connection from outside a step; waits for another thread that is inside one.
        self._take()
        try:
            self._hang_up(e, state)
        finally:
            self._finish(self._leave[1])

    def _send_kept(self):
        # What is sent is kept safe already: that it fails ends the connection, and no more.
        self._broken = True
        try:
            if self._asked < len(self._filters):
                self._subscribe()
            self._send()
            self._broken = False
        except Exception as e:
            self._hang_up(e)

    def _pass(self):
        # Whatever goes wrong in one pass ends the connection. (With no heap left, to name two
        # kinds of exception in a clause fails itself: the flag holds then.)
        leave = self._leave[self._take(False)]
        try:
            if leave is _nothing:
                return False
            if self._broken:
                self._hang_up(_INTERRUPTED)
            if self._untold:
                self._tell_down(self.error if self._untold > 1 else None)
            self._broken = True
            worked = False
            if self._state >= _UP:
                worked = self._work()
            elif self._state:
                worked = self._dial()
            self._broken = False
            return worked
        except Exception as e:
            self._hang_up(e)
            return True
        finally:
            self._finish(leave)

    def _work(self):
        waiting = (
            self._out
            or self._gathered
            or self._asked < _len(self._filters)
            or self._sent < _len(self._window)
        )
        worked = False
        if waiting:
            worked = self._send()
        if self._owed < _ANSWERS_MAX and (self._read() or self._fresh):
            self._understand()
            worked = True
        elif not waiting:
            self._resting = True
        if self._state >= _UP and not 0 < ticks_diff(self._check_at, ticks_ms()) <= _CHECK_MS:
            self._check_time()
        return worked

    def _dial(self):
        task = self._task
        if not task:
            window = self._window
            if window and _head(window[0])[_TRIES] >= _TRIES_MAX:
                self._settle(0, _GIVEN_UP)
                return True
            if self._wait > _age(self._ended_at):
                return False
            task = self._task = self._connect()
            self._state = _DIALLING
        try:
            next(task)
        except StopIteration:
            self._task = None
        return self._state >= _UP

    def _pause(self, wait_ms):
        # Waits until there may be something to do, at most so long; returns whether there is.
        if wait_ms > _WAIT_MAX:
            wait_ms = _WAIT_MAX
        if self._state == _PAUSING:
            wait_ms = min(wait_ms, self._wait - _age(self._ended_at))
            if wait_ms > 0:
                sleep_ms(wait_ms)
            return False
        is_up = self._state >= _UP
        if is_up:
            self._stream.want = 5 if self._out and not self._held else 1
        try:
            if self._stream.wait(wait_ms if wait_ms > 0 else 0):
                return True
        except Exception as e:
            self._stop(e)
            return True
        return is_up and not 0 < ticks_diff(self._check_at, ticks_ms()) <= _CHECK_MS

    # -- telling the program

    def _call(self, f, a, b=_nothing, c=_nothing):
        # Runs a callback of the program with what is given. Its exception waits until the step is
        # finished; but one for lack of memory may mean that it never ran.
        if not f:
            return
        broken = self._broken
        self._broken = self._resting = False
        self._calling += 1
        self._leave[1]()
        try:
            if b is _nothing:
                f(a)
            elif c is _nothing:
                f(a, b)
            else:
                f(a, b, c)
        except MemoryError:
            raise
        except Exception as e:
            self._raised = e
        finally:
            self._take()  # perhaps another thread has begun something meanwhile
            self._broken = broken
            self._calling -= 1

    def _tell_down(self, e):
        self._untold = 0
        try:
            self._call(self.on_down, e)
        except MemoryError:
            self._untold = 2 if e else 1  # in the next step

    def _settle(self, i, code):
        # The message at i of the window is done with. If the program can't be told, it is not.
        window = self._window
        item = _pop(window, i)
        sent = i < self._sent
        self._sent -= sent
        if not i:
            self._acked_at = ticks_ms()
        told = False
        try:
            self._call(self.on_ack, _id(item), code)
            told = True
        finally:
            if not told and window is self._window:
                window.insert(i, item)
                self._sent += sent

    # -- connecting

    def _connect(self):
        stream = self._stream
        packet = self._connect_packet()
        yield from stream.open()
        yield from stream.send(packet)
        packet = None
        self._state = _GREETING
        self._last_in = self._last_out = ticks_ms()
        stream.start_clock()
        while self._state == _GREETING:
            if self._read():
                self._understand()
                stream.start_clock()
            else:
                stream.in_time("CONNACK")
                yield
        # Nothing behind the CONNACK has been looked at yet: the program hears of the connection
        # first.
        if self._state >= _UP:
            self._call(self.on_up, self._present)
        if self._state >= _UP:
            self._send()
            self._fresh = self._start < self._end

    def _connect_packet(self):
        if self.credentials:
            try:
                given = self.credentials()
            except Exception as e:
                raise e if isinstance(e, OSError) else OSError(-1, "credentials: %s" % e)
            self.user, self.pswd = given[:2]
            if len(given) > 2 and given[2] > 0:
                life = min(given[2], _LIFETIME_MAX) * 1000
                self._lifetime = max(life - 120000, life * 4 // 5)
        flags = 2 if self.clean_session else 0
        body = _string(self.client_id)
        if self.lw_topic:
            flags |= 4 | self.lw_qos << 3 | bool(self.lw_retain) << 5
            body += _string(self.lw_topic) + _string(self.lw_msg)
        if self.user is not None:
            flags |= 0x80
            body += _string(_text(self.user, "user"))
            if self.pswd is not None:
                flags |= 0x40
                body += _string(_encode(self.pswd, "password"))
        head = b"\0\x04MQTT\x04" + bytes((flags, self.keepalive >> 8, self.keepalive & 255))
        return _packet(_CONNECT, head + body)

    def _enter_up(self, present):
        # The broker has accepted us. present: whether it has a session of ours.
        self._stream.confirm()
        self._state = _UP
        self._holding = False
        self._up_at = ticks_ms()
        self._present = present
        # It knows of the subscriptions that it has answered, if it has a session; they go first.
        known = []
        filters = []
        for entry in self._filters:
            call = entry[_CALL]
            if call:
                call[_LEFT] = call[_WORST] = 0
            (known if present and not call else filters).append(entry)
        for entry in filters:
            if entry[_CALL]:
                entry[_CALL][_LEFT] += 1
        self._filters = known + filters
        self._asked = len(known)
        if not present and self._qos2:
            self._qos2.forget(self)

    def _hang_up(self, e=None, state=_PAUSING):
        # The connection, or an attempt at one, has ended: because of e, or because we wanted it
        # to. It never fails, though there may be no memory for words.
        was_up = self._state >= _UP
        self._broken = self._holding = False
        if self._state:
            self._state = state
        if was_up and not e:
            # Answers that wait for the end of this read, and DISCONNECT: behind what went out in
            # part they would be read as its rest.
            try:
                if self._gathered:
                    self._send_answers()
                if not self._out:
                    self._stream.write(_DISCONNECT, 0, 2)
            except Exception:
                pass
        self._stream.close()
        sent = i = self._sent
        while i:
            i -= 1
            head = _head(self._window[i])
            if head[_PACKET] & _TYPE == _PUBLISH:
                head[_PACKET] |= _DUP
        if was_up and _age(self._up_at) > self._stream.timeout_ms:
            self._forget_failures()
        self._forget_connection()
        if e:
            e = self._fail(e, was_up, sent)
        if was_up or e:
            self._tell_down(e)

    def _fail(self, e, was_up, sent):
        # How long to stay away after the failure e; returns e in words that help, or as it is when
        # there is no memory for them. sent: how many messages had gone out unacknowledged.
        ceiling = min(self.backoff_ms << min(self._failures, 16), self.backoff_max_ms)
        self._wait = max(ceiling, self._stream.retry_ms)
        try:
            self._wait = max(ceiling * _random16() >> 16, self._stream.retry_ms)
            item = self._window[0] if sent else None
            e = load_once("link_reasons").judge(
                e, _NETWORK, was_up, self._failures, item and _head(item)
            )
        except Exception:
            gc.collect()
        self._failures += 1
        self.error = e
        return e

    def _forget_failures(self):
        # All has been well for some time.
        self._failures = 0
        while self._short_of:
            _pop(self._short_of, -1)

    # -- sending

    def _queue(self, topic, msg, retain, qos, kept):
        # A PUBLISH, into the window or, at QoS 0, to the socket. Returns its packet id.
        if qos == 2:
            self._exactly_once()
        size = _len(topic) + (4 if qos else 2)
        n = size + _len(msg)
        apart = _len(msg) > _COPY_MAX
        if not apart:
            size = n
        buf = self._tx
        if kept:
            buf = bytearray(size + _PACKET + 2 + (n > 127) + (n > 16383) + (n > 2097151))
        elif _len(buf) < size + 8:
            buf = bytearray(size + 8)
            if size <= 2 * _COPY_MAX:
                self._tx = buf
        i = _put_head(buf, _PUBLISH | qos << 1 | bool(retain), n, topic)
        pid = 0
        if qos:
            pid = self._next_pid()
            buf[0] = buf[i] = pid >> 8
            buf[1] = buf[i + 1] = pid & 255
            i += 2
        if not apart:
            buf[i : i + _len(msg)] = msg
            i += _len(msg)
        if kept:
            self._window.append((buf, msg) if apart else buf)
            self._resting = False
            if self._state == _UP and not self._out:
                self._send_kept()
            return pid
        self._broken = True
        try:
            self._write(buf, _PACKET, i - _PACKET)
            if apart:
                self._write(msg, 0, _len(msg), False)
            self._broken = False
        except Exception as e:
            self._hang_up(e)
        return pid

    def _drain(self):
        # What waited for room goes out. Returns whether anything did.
        worked = False
        out = self._out
        for _ in range(_PIECES_MAX):
            item = out[0]
            if item[_BEGINS]:
                if not self._may_begin(item[_REST]):
                    break
                if out[0] is not item:
                    continue  # a PINGREQ goes first
                item[_BEGINS] = False
            n = self._stream.write(item[_BUFFER], item[_FROM], item[_REST])
            if not n:
                break
            worked = True
            self._last_out = self._moved_at = ticks_ms()
            item[_FROM] += n
            item[_REST] -= n
            if not item[_REST]:
                _pop(out, 0)
                if not out:
                    break
        return worked

    def _send(self):
        # What waited for room, then what this session of the broker has not been sent. Returns
        # whether anything went out.
        worked = False
        if self._out:
            worked = self._drain()
            if self._out:
                return worked
        self._owed = self._gathered >> 2
        if self._gathered:
            self._send_answers()
        if self._state == _UP:
            begun = 0
            while begun < _STEP_MAX and self._asked < _len(self._filters):
                begun += self._subscribe()
                worked = True
            while begun < _STEP_MAX and not self._out and self._sent < _len(self._window):
                n = self._send_next()
                if not n:
                    break
                begun += n
                worked = True
        return worked

    def _send_next(self):
        # The next message of the window. Returns what it costs, in bytes; 0 when it has to wait.
        item = self._window[self._sent]
        head = _head(item)
        n = _len(head)
        if not self._may_begin(n if head is item else _COPY_MAX) or self._out:
            return 0
        n += _RECORD
        if _head(self._window[0])[_TRIES]:
            # A connection ended on this one: it goes alone, on one that is known to work, so that
            # no other gets the blame if it is so again.
            if self._sent:
                return 0
            if not self._heard:
                if not self._pinged:
                    self._ping()
                return 0
        if not self._sent:
            self._acked_at = ticks_ms()
        op = head[_PACKET]
        if op & _KIND == _PUBLISH:
            _pop(self._window, self._sent)  # QoS 0, kept while credentials were renewed
        else:
            self._sent += 1
        if op & _TYPE != 0:  # else a PUBREL whose turn has not come
            self._write(head, _PACKET, _len(head) - _PACKET, False)
            if head is not item:
                n += _len(item[1])
                self._write(item[1], 0, _len(item[1]), False)
        return n

    def _may_begin(self, n):
        # Whether a packet of n bytes may go out now: on lwIP not when much is unheard.
        stream = self._stream
        if not stream.bounded:
            return True
        n = min(n, _UNHEARD_MAX >> 1)
        if stream.unheard + n <= _UNHEARD_MAX >> 1:
            return True
        self._read()
        if not self._pinged and stream.unheard + n > _UNHEARD_MAX >> 1:
            self._ping()
        self._held = stream.unheard + n > _UNHEARD_MAX
        return not self._held

    def _ping(self):
        # Asks the broker for a sign of life; before all that has not begun to go out.
        self._pinged = True
        self._pinged_at = ticks_ms()
        out = self._out
        i = 0
        while i < len(out) and not out[i][_BEGINS]:
            i += 1
        if not i and self._stream.write(_PINGREQ, 0, 2):
            self._last_out = ticks_ms()
        else:
            out.insert(i, [_PINGREQ, 0, 2, False])
            self._resting = False

    def _write(self, buf, at, left, begins=True):
        # What the socket takes of `left` bytes from buf[at] on, the rest as soon as it has room.
        # begins: a packet begins here.
        # (To see whether it may begin may put a PINGREQ before it.)
        n = 0
        if not self._out and (not begins or self._may_begin(left)) and not self._out:
            begins = False
            n = self._stream.write(buf, at, left)
            if n:
                self._last_out = ticks_ms()
                left -= n
                if not left:
                    return
                at += n
        if buf is self._tx or buf is self._answers:
            # It will be used again before this can go out.
            buf = bytes(buf[at : at + left])
            at = 0
        self._out.append([buf, at, left, begins])
        self._resting = False
        if n:
            self._drain()  # more may go at once: on lwIP each write takes a part only

    def _ack(self, op, pid):
        # Answers are gathered: one write for those of one read.
        if self._gathered == _ANSWERS_MAX * 4:
            self._send_answers()
        i = self._gathered
        buf = self._answers
        buf[i] = op
        buf[i + 1] = 2
        buf[i + 2] = pid >> 8
        buf[i + 3] = pid & 255
        self._gathered = i + 4
        self._owed += 1

    def _send_answers(self):
        n, self._gathered = self._gathered, 0
        self._write(self._answers, 0, n)
        if not self._out:
            self._owed = 0

    def _subscribe(self):
        # The next SUBSCRIBE or UNSUBSCRIBE, for at most eight of the filters that this session of
        # the broker was not asked for. Returns what it costs, in bytes.
        filters = self._filters
        first = i = self._asked
        wanted = filters[i][_WANTED]
        pid = self._next_pid()
        body = bytes((pid >> 8, pid & 255))
        while (
            i < len(filters)
            and i - first < _FILTERS_MAX
            and (filters[i][_WANTED] is None) is (wanted is None)
        ):
            body += filters[i][_FILTER]
            if wanted is not None:
                body += bytes((filters[i][_WANTED],))
            i += 1
        body = _packet(_UNSUBSCRIBE if wanted is None else _SUBSCRIBE, body)
        self._waiting[pid] = filters[first:i]
        self._asked_at = ticks_ms()
        self._write(body, 0, len(body))
        self._asked = i
        return len(body) + _RECORD

    def _remove(self, i):
        # The subscription at i is gone.
        call = self._filters[i][_CALL]
        _pop(self._filters, i)
        if i < self._asked:
            self._asked -= 1
        elif call:
            call[_LEFT] -= 1

    def _next_pid(self):
        while True:
            if self.pid != self._counted_at:  # a program may set it
                self._free = 0
            self._counted_at = self.pid = self.pid % 65535 + 1
            if not self._free:
                self._count_free()
            if self._free:
                self._free -= 1
                return self.pid

    def _count_free(self):
        # How many ids from self.pid on are in no use: those given out meanwhile lie behind it.
        free = 65535
        for item in self._window:
            used = _id(item)
            if used:  # QoS 0 that is kept has none
                free = min(free, (used - self.pid) % 65535)
        for used in self._waiting:
            free = min(free, (used - self.pid) % 65535)
        for entry in self._filters:
            if entry[_CALL]:
                free = min(free, (entry[_CALL][_ID] - self.pid) % 65535)
        self._free = free

    def _find(self, pid):
        # Index of a message sent on this connection, or -1. Brokers acknowledge in order, so it is
        # the first one, or as far from it as its id.
        window = self._window
        sent = self._sent
        i = (pid - _id(window[0])) % 65535 if sent else 0
        if i >= sent or _id(window[i]) != pid:
            i = 0
            while i < sent and _id(window[i]) != pid:
                i += 1
        return i if i < sent else -1

    def _check_time(self):
        # Long for its kind: one branch for each thing that is waited for.
        limit = self._stream.timeout_ms
        keepalive = self.keepalive * 1000
        now = ticks_ms()
        self._check_at = ticks_add(now, min(_CHECK_MS, limit >> 3, keepalive >> 3 or _CHECK_MS))
        still = _age(self._moved_at)  # nothing has moved for so long
        if self._failures and _age(self._up_at) > limit:
            self._forget_failures()
        late = None
        if (self._end > self._start or self._skip) and _age(self._last_in) > limit:
            late = "rest of a packet"
        elif self._out and min(still, _age(self._last_out)) > limit:
            late = "room to write"
        elif self._waiting and min(still, _age(self._asked_at)) > limit:
            late = "SUBACK"
        elif self._sent and min(still, _age(self._acked_at)) > 2 * limit:
            late = "acknowledgement"
        elif self._pinged:
            answer = min(limit, keepalive >> 1 or limit)
            if min(still, _age(self._pinged_at)) > answer:
                late = "PINGRESP"
        elif keepalive and max(_age(self._last_out), _age(self._last_in)) > keepalive * 3 >> 2:
            self._ping()
        if late:
            raise OSError(ETIMEDOUT, "peer silent: no " + late)
        if self._lifetime and _age(self._up_at) > self._lifetime:
            # New credentials: wait until everything sent is acknowledged. New messages stay in
            # the window and go out on the next connection.
            self._state = _RENEWING
            self._holding = True
            quiet = not (self._sent or self._out or self._waiting)
            if quiet or _age(self._up_at) > self._lifetime + limit:
                self._hang_up()
                self._holding = True
                self._wait = 0

    # -- receiving

    def _read(self):
        # One read into _rx. Returns whether anything came.
        tail = self._tail
        if tail is None:
            rest = self._end - self._start
            if rest == _len(self._rx):
                return False
            view = self._view
            if rest and self._start:
                view[:rest] = view[self._start : self._end]
            self._start = 0
            self._end = rest
            if self._exact:
                self._tail = tail = view[rest : rest + self._need]
            else:
                self._tail = tail = view[rest:] if rest else self._rx
        n = self._stream.readinto(tail)
        if n is None:
            return False
        self._tail = None
        self._last_in = ticks_ms()
        self._pinged = self._held = False
        self._fresh = True
        if n != 2 or self._rx[self._end] != _PINGRESP:
            self._moved_at = self._last_in
        self._end += n
        return True

    def _understand(self):
        # Every packet that is whole after a read.
        self._parse()
        pieces = _PIECES_MAX
        if not self._exact:
            # Long packets are read on at once: short ones would be too many for one step.
            pieces = _LONG_PIECES if self._end > self._start and self._length > _LONG else 0
        while pieces and self._state >= _UP and self._owed < _ANSWERS_MAX and self._read():
            self._parse()
            pieces -= 1
        if self._gathered and self._state >= _UP:
            self._send_answers()

    def _parse(self):
        self._fresh = False
        if self._skip and not self._skip_on():
            self._need = self._skip
            return
        self._need = 2  # to begin with, of the packet that may follow
        while self._start < self._end:
            if self._owed >= _ANSWERS_MAX:
                self._send_answers()
                if self._owed >= _ANSWERS_MAX:
                    self._fresh = True
                    return
            op = self._op = self._rx[self._start]
            at = self._measure(op, self._start)
            if not at:
                self._need = 1
                return
            stop = at + self._length
            self._need = stop - self._end if stop > self._end else 1
            if op & _TYPE == _PUBLISH:
                if not self._on_publish(at):
                    return
            elif stop > self._end:
                if stop - self._start > _len(self._rx):
                    self._malformed()
                return
            else:
                self._start = stop
                self._on_answer(op, at)
                if op == _CONNACK:
                    return
            self._need = self._skip or 2

    def _measure(self, op, i):
        # Looks at the head of the packet at _rx[i]: returns the index behind it and sets _length;
        # 0 when it is not whole yet. What the broker may not send here ends the connection.
        if op & _TYPE == _PUBLISH:
            if op & _QOS == _QOS or self._state < _UP:
                self._malformed()
        elif op not in _ANSWERS or (op == _CONNACK) is (self._state >= _UP):
            self._malformed()
        n = shift = 0
        while i + 1 < self._end:
            i += 1
            c = self._rx[i]
            n |= (c & 127) << shift
            if c < 128:
                self._length = n
                return i + 1
            shift += 7
            if shift > 21:
                self._malformed()
        return 0

    def _malformed(self):
        if self._gathered:
            self._send_answers()  # what came before it was good
        raise MQTTException("unexpected packet, first byte 0x%02x" % self._op)

    def _on_publish(self, at):
        # Takes a message, its topic's length at _rx[at]. Returns False when it is not whole yet.
        stop = at + self._length
        if stop > self._end and (stop - self._start <= _len(self._rx) or at + 2 > self._end):
            return False
        body = self._find_body(at, stop)
        topic = None
        self._pid = 0
        if body <= self._end:
            topic = self._read_head(at + 2, body)
        elif body - self._start <= _len(self._rx):
            return False
        if stop > self._end:
            # Over max_packet: the rest is passed over.
            self._skipped = topic
            self._skip = stop - self._end
            self._start = self._end
            return True
        msg = _bytes(self._view[body:stop])
        self._start = stop
        if self._op & _QOS2:
            if not self._exactly_once().deliver(self, topic, msg):
                self._malformed()
        else:
            self._give(topic, msg)
            if self._pid:
                self._took()
        return True

    def _find_body(self, at, stop):
        # Where the payload of a PUBLISH begins: behind the topic and, but at QoS 0, the packet id.
        body = at + 2
        if stop > body:
            body += self._rx[at] << 8 | self._rx[at + 1]
        if body == at + 2:
            self._malformed()
        if self._op & _QOS:
            body += 2
        if body > stop:
            self._malformed()
        return body

    def _read_head(self, at, body):
        # Returns the topic, and sets _pid.
        end = body
        if self._op & _QOS:
            end -= 2
            self._pid = self._rx[end] << 8 | self._rx[end + 1]
            if not self._pid:
                self._malformed()
        topic = _bytes(self._view[at:end])
        if topic != self._heard_topic:
            if not is_text(topic):
                self._malformed()
            self._heard_topic = topic
        return topic

    def _skip_on(self):
        # Passes over what has come of a long message; returns whether it is through.
        n = min(self._skip, self._end - self._start)
        self._start += n
        self._skip -= n
        if self._skip:
            return False
        self.no_memory = False
        self._call(self.on_skip, self._skipped, self._length)
        self._skipped = None
        if self._pid:
            self._took()
        return True

    def _give(self, topic, msg):
        retained = _nothing
        if self._with_retain:
            retained = self._op & _RETAIN > 0
        try:
            self._call(self.cb, topic, msg, retained)
        except MemoryError:
            # Another message has another id, or says something else.
            key = self._pid + hash(msg)
            short_of = self._short_of
            if short_of.count(key) < _SHORTAGES_MAX:
                if len(short_of) == _SHORT_OF_MAX:
                    _pop(short_of, 0)
                short_of.append(key)
                if self._gathered and self._state >= _UP:
                    self._send_answers()  # what was taken before this one need not come again
                raise
            while key in short_of:
                short_of.remove(key)
            self.no_memory = True
            self._call(self.on_skip, topic, len(msg))

    def _took(self):
        # Acknowledge, unless the callback has closed the connection.
        if self._state >= _UP:
            self._ack(_PUBREC if self._op & _QOS == _QOS2 else _PUBACK, self._pid)

    def _on_answer(self, op, at):
        # Acts on a packet that is no PUBLISH, from _rx[at] on.
        n = self._length
        if n < 3 if op == _SUBACK else n != _ANSWERS[op]:
            self._malformed()
        if op == _CONNACK:
            flags = self._rx[at]
            code = self._rx[at + 1]
            if flags > 1:
                raise MQTTException("CONNACK with reserved flags")
            if code:
                raise MQTTException(code, "refused: " + load_once("link_reasons").connack(code))
            self._enter_up(bool(flags) and not self.clean_session)
            return
        self._heard = True
        if not n:
            return
        pid = self._rx[at] << 8 | self._rx[at + 1]
        if not pid:
            self._malformed()
        if op == _PUBACK:
            self._on_puback(pid)
        elif op == _SUBACK or op == _UNSUBACK:
            if pid in self._waiting:
                self._on_suback(pid, at + 2, n - 2)
        else:
            self._exactly_once().answer(self, op, pid)

    def _on_puback(self, pid):
        i = self._find(pid)
        if i < 0:
            return
        op = _head(self._window[i])[_PACKET]
        if op & _TYPE == _PUBLISH:
            if op & _QOS2:
                self._qos2.taken_at_qos1(self)
            self._settle(i, 0)
            if self._qos2 and self._state >= _UP:
                self._qos2.release(self, i)

    def _on_suback(self, pid, at, n):
        # n: how many codes there are from _rx[at] on; 0 in an UNSUBACK.
        entries = self._waiting[pid]
        if n != (0 if entries[0][_WANTED] is None else len(entries)):
            self._malformed()
        again = 0  # the worst code of those that no call waits for: subscribed anew
        at_entry = 0
        for entry in entries:
            code = self._rx[at + at_entry] if n else 0
            at_entry += 1
            call = entry[_CALL]
            if call:
                call[_LEFT] -= 1
                call[_WORST] = max(call[_WORST], code)
            else:
                again = max(again, code)
        for entry in entries:
            call = entry[_CALL]
            if call and not call[_LEFT]:
                # A call of subscribe() or unsubscribe() has all its answers.
                call[_LEFT] = -1
                self._call(self.on_ack, call[_ID], call[_WORST])
                i = 0
                while i < len(self._filters):
                    entry = self._filters[i]
                    i += 1
                    if entry[_CALL] is call:
                        entry[_CALL] = None
                        if entry[_WANTED] is None:
                            i -= 1
                            self._remove(i)
        if again > 2:
            self._call(self.on_ack, pid, again)
        self._waiting.pop(pid, None)

    def _exactly_once(self):
        # What QoS 2 needs; it stays.
        if not self._qos2:
            self._qos2 = load_module("mqtt_qos2")
        return self._qos2
