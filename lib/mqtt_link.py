# mqtt_link: umqtt.simple made cooperative. Stands on umqtt.simple and netstream; knows MQTT 3.1.1 and no service.
#
# do_next() is the whole engine: one bounded step that dials, reads, writes, pings, resends and reconnects, and never waits
# longer than it is told. publish() and subscribe() only queue. Nothing is allocated while idle; a packet longer than
# max_packet is skipped as it streams by; what the broker has not acknowledged is kept and sent again after a reconnect.

import os
import time

from micropython import const

try:
    from umqtt.simple import MQTTClient, MQTTException
except ImportError:
    raise ImportError("umqtt.simple is missing: mpremote mip install umqtt.simple")

from netstream import NetStream, tls_context

_CONNACK = const(0x20)
_PUBLISH = const(0x30)
_PUBACK = const(0x40)
_PUBREC = const(0x50)
_PUBREL = const(0x62)
_PUBCOMP = const(0x70)
_SUBACK = const(0x90)
_UNSUBACK = const(0xB0)
_PINGRESP = const(0xD0)

_FROM_BROKER = (_CONNACK, _PUBACK, _PUBREC, _PUBREL, _PUBCOMP, _SUBACK, _UNSUBACK, _PINGRESP)
_BYTES = (bytes, bytearray, memoryview)  # made once: a tuple written where it is used would be made at each call
_DUP = const(8)
# A payload longer than this is not copied beside its header but sent from where it lies.
_COPY_MAX = const(1024)
# QoS 2 messages a broker may leave unreleased before it counts as broken (MQTT 3.1.1 sets no limit).
_UNRELEASED_MAX = const(256)
_LENGTH_MAX = const(268435455)
# One wait inside do_next() lasts at most this many ms, so that no timer is missed.
_WAIT_MAX = const(1000)
# ticks_ms() wraps after 6 days on 32-bit boards: a longer credential lifetime is renewed earlier than it need be.
_LIFETIME_MAX = const(432000)

_ENOTCONN = const(107)
_ENOBUFS = const(105)
_ETIMEDOUT = const(110)

_REFUSED = (
    "",
    "protocol version not supported",
    "client id rejected",
    "server unavailable, tried again later",
    "bad user name or password",
    "not authorized: check id, credentials and clock",
)


class Full(OSError):
    """`window` messages wait for the broker. Call do_next() and publish again, or publish with wait_ms."""


def _encode(s, what):
    # UTF-8 bytes of a str; anything else must already be bytes.
    if isinstance(s, str):
        return s.encode()
    if isinstance(s, _BYTES):
        return s
    raise ValueError(what + " must be str or bytes")


def _topic(s, what="topic", forbidden=b"+#\0"):
    s = bytes(_encode(s, what))
    if not 0 < len(s) < 65536:
        raise ValueError(what + " must have 1 to 65535 bytes")
    for c in forbidden:
        if c in s:
            raise ValueError(what + " must not hold +, # or NUL")
    return s


def _filter(s):
    s = _topic(s, "topic filter", b"\0")
    levels = s.split(b"/")
    last = levels.pop()
    for level in levels:
        if level == b"#" or len(level) > 1 and (43 in level or 35 in level):
            break
    else:
        if len(last) < 2 or not (43 in last or 35 in last):
            return s
    raise ValueError("topic filter: + and # must fill a level, # the last one")


def _head_size(n):
    return 2 if n < 128 else 3 if n < 16384 else 4 if n < 2097152 else 5


def _random16():
    return int.from_bytes(os.urandom(2), "big")


def _put_head(buf, i, op, n):
    # First byte and remaining length; returns the index behind them.
    buf[i] = op
    i += 1
    while n > 127:
        buf[i] = n & 127 | 128
        n >>= 7
        i += 1
    buf[i] = n
    return i + 1


def _put_string(buf, i, s):
    n = len(s)
    buf[i] = n >> 8
    buf[i + 1] = n & 255
    i += 2
    buf[i : i + n] = s
    return i + n


def _head(item):
    # Of a message in the window: 2 bytes of packet id, then the packet, with or without its payload.
    return item[0] if isinstance(item, tuple) else item


def _pid(item):
    if isinstance(item, int):
        return abs(item)
    head = _head(item)
    return head[0] << 8 | head[1]


def _qos(qos):
    if qos not in (0, 1, 2):
        raise ValueError("qos must be 0, 1 or 2")


class MQTTLink(MQTTClient):
    """
    An MQTT 3.1.1 client that never blocks and mends itself. umqtt.simple's names, with these differences: publish() and
    subscribe() return at once, do_next() does the work, and connecting, reconnecting and subscribing again are its business.

    client_id, server, port (0: 1883, with TLS 8883), user, password, keepalive (s, 0 = off): as in umqtt.simple, str or bytes.
    ssl, ssl_params: what netstream.tls_context() takes; "server_hostname" in the dict overrides the name to verify.
    credentials: a callable asked at each connect -> (user, password) or (user, password, lifetime in s); with a lifetime the
        link reconnects before it ends (120 s before, or after four fifths of a short one), losing nothing.
    clean_session: False keeps subscriptions and unfinished QoS 1 and 2 across connections; exactly-once QoS 2 needs it.
    window: most messages kept until acknowledged, sent or not. max_packet: longest packet taken in (bytes), a buffer's size.
    timeout: seconds for each wait (dialling, handshake, CONNACK, SUBACK, PINGRESP, a stalled packet; acknowledgements: twice).
    websocket: path for MQTT over WebSocket, such as "/mqtt" (needs websocket_stream.py).

    Hooks, all None at first: on_up(session_present), on_down(error or None) after a connection or an attempt has ended,
    on_ack(pid, code): 0 to 2 = taken by the broker (for a SUBSCRIBE the granted QoS), 0x80 = refused, 0xFF = given up;
    on_skip(topic, size): a packet over max_packet was passed over (acknowledged, not delivered).
    A callback or hook must not call do_next(). If it raises, its exception comes out of do_next(); its message counts as taken.

    Raises ValueError for an argument MQTT or TLS can't use.
    """

    backoff_ms = 1000  # longest wait before the first new attempt; doubled after each failure ...
    backoff_max_ms = 64000  # ... up to this. The wait is a random part of it (full jitter).

    def __init__(
        self,
        client_id,
        server,
        port=0,
        user=None,
        password=None,
        keepalive=60,
        ssl=None,
        ssl_params={},
        *,
        credentials=None,
        clean_session=True,
        window=16,
        max_packet=2048,
        timeout=10,
        websocket=None
    ):
        super().__init__(
            _encode(client_id, "client_id"), server, port or (8883 if ssl else 1883), user, password, keepalive
        )
        if not 0 <= keepalive < 65536:
            raise ValueError("keepalive must be 0 to 65535 s")
        params = ssl if isinstance(ssl, dict) else ssl_params
        Stream = NetStream
        if websocket:
            from websocket_stream import WebSocketStream as Stream

            self.port = port or (443 if ssl else 80)
        self._stream = Stream(
            server, self.port, tls_context(ssl, ssl_params), params.get("server_hostname"), timeout
        )
        self._stream.path = websocket
        self.credentials = credentials
        self.clean_session = clean_session
        self.window = window
        self.on_up = self.on_down = self.on_ack = self.on_skip = self.error = None
        # A random start: after a reboot a durable session may still hold the low packet ids.
        self.pid = _random16()
        self._timeout = int(timeout * 1000)
        self._flags = False
        self._rx = bytearray(max_packet)
        self._view = memoryview(self._rx)
        self._tx = bytearray(64)
        # Unacknowledged messages in order: each as bytes (2 of packet id, then the packet), as (such a head, payload), or
        # after PUBREC as the bare packet id, negative until PUBREL is sent. The first _sent went out on this connection.
        self._window = []
        # [filter, qos, packet id of the subscribe() that waits for its SUBACK or 0, whether the broker was asked]
        self._filters = []
        self._unreleased = []  # ids of QoS 2 messages received and not yet released
        self._task = self._raised = None
        self._stopped = self._calling = self._renewing = False
        self._failures = 0
        self._retry_at = time.ticks_ms()
        self._wait = 0
        self._reset()

    def _reset(self):
        # What lives as long as one connection.
        self._up = self._present = False
        self._out = []  # [buffer, offset, end]: what the socket had no room for
        self._sent = 0
        self._start = self._end = 0  # the unparsed part of _rx
        self._tail = None  # where in _rx the next bytes go
        self._skip = 0
        self._waiting = {}  # packet id of a SUBSCRIBE or UNSUBSCRIBE -> its filters
        self._pinged = False
        self._lifetime = 0

    # -- what a program calls

    @property
    def inflight(self):
        """How many messages are not yet acknowledged (those still to be sent included)."""
        return len(self._window)

    def is_connected(self):
        """Return whether the broker has accepted the connection and nothing is known to be wrong with it."""
        return self._up

    def set_callback(self, f, retained=False):
        """f(topic, msg), both bytes, hears each message; with retained=True f(topic, msg, retained) also the retain flag."""
        self.cb = f
        self._flags = retained

    def set_last_will(self, topic, msg, retain=False, qos=0):
        """The message the broker sends for us if the connection ends without disconnect(); used from the next connect on."""
        _qos(qos)
        self.lw_topic = _topic(topic)
        self.lw_msg = _encode(msg, "msg")
        self.lw_qos = qos
        self.lw_retain = retain

    def connect(self, clean_session=None, timeout=None):
        """
        Connect and wait for it. Programs that only call do_next() don't need this.

        clean_session: overrides the constructor's. timeout: s for the whole; otherwise each stage has its own deadline.
        Returns whether the broker had a session. Raises what ended the first attempt: OSError, TLSError, MQTTException(code,
        text) for a refusal. do_next() goes on trying all the same; disconnect() ends that.
        """
        if self._calling:
            raise OSError(-1, "connect() can't wait inside a callback")
        if clean_session is not None:
            self.clean_session = clean_session
        if self._up:
            self._drop(None)
        self._stopped = False
        self._wait = 0
        self.error = None
        start = time.ticks_ms()
        while not self._up:
            self.do_next(100)
            if timeout and time.ticks_diff(time.ticks_ms(), start) > timeout * 1000:
                self._drop(OSError(_ETIMEDOUT, "no connection within %s s" % timeout))
            if self.error:
                raise self.error
        return self._present

    def disconnect(self, wait_ms=1000):
        """Wait at most wait_ms for acknowledgements, send DISCONNECT, close, and stay away until connect(). Messages not
        acknowledged stay in the window."""
        start = time.ticks_ms()
        while self._up and (self._window or self._out or self._waiting):
            left = wait_ms - time.ticks_diff(time.ticks_ms(), start)
            if left <= 0 or self._calling:
                break
            self.do_next(left)
        self._stopped = True
        self._close()

    def publish(self, topic, msg, retain=False, qos=0, wait_ms=0):
        """
        Queue one message, sent in one write if the socket has room; returns at once.

        topic, msg: str or bytes. A msg over 1 KB is not copied: leave a bytearray alone until it is acknowledged.
        Returns the packet id, 0 at QoS 0; on_ack(id, code) follows when the broker has taken it. While offline, QoS 1 and 2
        are kept for the next connection.
        Raises ValueError for a topic MQTT forbids (3.1.1, 4.7) or a message over 256 MB, Full when the window is full and
        stays so for wait_ms, OSError(ENOTCONN) for QoS 0 while offline.
        """
        _qos(qos)
        topic = _topic(topic)
        msg = _encode(msg, "msg")
        n = 2 + len(topic) + len(msg) + (2 if qos else 0)
        if n > _LENGTH_MAX:
            raise ValueError("message too long for MQTT")
        kept = qos or self._renewing
        if not (kept or self._up):
            raise OSError(_ENOTCONN, "not connected, QoS 0 not sent")
        start = time.ticks_ms()
        while len(self._window if kept else self._out) >= self.window:
            left = wait_ms - time.ticks_diff(time.ticks_ms(), start)
            if left <= 0 or self._calling:
                raise Full(_ENOBUFS, "window full: %d unacknowledged" % self.window)
            self.do_next(left)
        split = len(msg) > _COPY_MAX
        size = n - len(msg) if split else n
        buf = self._tx
        if kept:
            buf = bytearray(2 + _head_size(n) + size)
        elif len(buf) < size + 7:
            buf = bytearray(size + 7)
            if size <= 2 * _COPY_MAX:
                self._tx = buf
        i = _put_string(buf, _put_head(buf, 2, _PUBLISH | qos << 1 | bool(retain), n), topic)
        pid = 0
        if qos:
            pid = self._next_pid()
            buf[0] = buf[i] = pid >> 8
            buf[1] = buf[i + 1] = pid & 255
            i += 2
        if not split:
            buf[i : i + len(msg)] = msg
            i += len(msg)
        try:
            if not kept:
                self._send_message(buf, i, msg if split else None)
            else:
                self._window.append((buf, msg) if split else buf)
                if self._up:
                    self._pump()
        except OSError as e:
            self._drop(e)
        return pid

    def subscribe(self, topic, qos=0):
        """
        Subscribe, now if connected and again after every reconnect that finds no session; returns at once.

        topic: a filter, or a list of (filter, qos) that goes out as one SUBSCRIBE. Returns the packet id; on_ack(id, code)
        follows, 0x80 when the broker refused any of them. Raises ValueError for a bad filter or qos.
        """
        entries = []
        pid = self._next_pid()
        for name, wanted in ((topic, qos),) if isinstance(topic, (str, bytes)) else topic:
            if wanted >= 0:
                _qos(wanted)
            entries.append([_filter(name), wanted, pid, False])
        for entry in entries:
            self._filters = [f for f in self._filters if f[0] != entry[0]]
        self._filters += entries
        if self._up and not self._renewing:
            try:
                self._subscribe()
            except OSError as e:
                self._drop(e)
        return pid

    def unsubscribe(self, topic):
        """Undo subscribe(topic), now or when connected again. Returns the packet id; on_ack(id, 0) follows. Raises ValueError."""
        return self.subscribe(topic, -1)

    def discard(self):
        """Give up every message not yet acknowledged; on_ack(id, 0xFF) for each. The broker may have them all the same."""
        window, self._window = self._window, []
        self._sent = 0
        for item in window:
            self._call(self.on_ack, _pid(item), 0xFF)

    def do_next(self, wait_ms=0):
        """
        One step: dial, read, deliver, acknowledge, send, ping, renew, reconnect: whatever is due.

        wait_ms: how long to wait at most (and never over 1000) when there is nothing to do yet. Returns True when something
        happened. Network trouble is never raised: `error` holds the last failure, on_down hears of it, the link dials again.
        """
        if self._stopped or self._calling:
            return False
        try:
            if self._up and not self._task:
                worked = self._live(wait_ms)
            else:
                worked = self._dial(wait_ms)
        except (OSError, MQTTException) as e:
            self._drop(e)
            worked = True
        if self._raised:
            e, self._raised = self._raised, None
            raise e
        return worked

    def check_msg(self):
        """umqtt.simple's name for do_next()."""
        return self.do_next()

    def wait_msg(self):
        """umqtt.simple's name for do_next(1000): it waits a second at most."""
        return self.do_next(_WAIT_MAX)

    def ping(self):
        """umqtt.simple's name; needless, do_next() pings whenever keepalive asks for it."""

    # -- one step

    def _call(self, f, *args):
        # Runs a callback of the program. Its exception waits until the step is finished.
        if f:
            calling, self._calling = self._calling, True
            try:
                f(*args)
            except Exception as e:
                self._raised = e
            finally:
                self._calling = calling

    def _dial(self, wait_ms):
        if not self._task:
            left = self._wait - time.ticks_diff(time.ticks_ms(), self._retry_at)
            if left > 0:
                time.sleep_ms(min(left, wait_ms, _WAIT_MAX))
                return False
            self._task = self._connect()
        elif wait_ms:
            self._stream.wait(min(wait_ms, _WAIT_MAX))
        try:
            next(self._task)
        except StopIteration:
            self._task = None
        return self._up

    def _live(self, wait_ms):
        stream = self._stream
        worked = self._flush()
        worked = self._read() or worked
        if wait_ms and not worked:
            stream.want = 5 if self._out else 1
            if stream.wait(min(wait_ms, _WAIT_MAX)):
                worked = self._flush()
                worked = self._read() or worked
        if self._up:
            self._check_time()
        return worked

    def _flush(self):
        # Sends what waited for room, then what waits for its first sending. Returns whether anything went out.
        out = self._out
        while out:
            item = out[0]
            n = self._stream.write(item[0], item[1], item[2] - item[1])
            if not n:
                return False
            self._last_out = time.ticks_ms()
            item[1] += n
            if item[1] == item[2]:
                out.pop(0)
        return self._sent < len(self._window) and self._pump()

    def _pump(self):
        # Messages of the window that were not sent on this connection, oldest first.
        window = self._window
        while not self._out and self._sent < len(window) and not self._renewing:
            if not self._sent:
                self._acked_at = time.ticks_ms()
            item = window[self._sent]
            self._sent += 1
            if isinstance(item, int):
                if item > 0:
                    self._ack(_PUBREL, item)
                continue
            head = item
            msg = None
            if isinstance(item, tuple):
                head, msg = item
            if not head[2] & 6:
                self._sent -= 1
                window.pop(self._sent)
            self._send_message(head, len(head), msg)
        return True

    def _send_message(self, head, end, msg):
        # QoS 0 heads stand in _tx, which is used again: what does not go out at once must be copied.
        self._write(head, 2, end, head is self._tx)
        if msg:
            self._write(msg, 0, len(msg), False)

    def _write(self, buf, start, end, copy=True):
        if not self._out:
            n = self._stream.write(buf, start, end - start)
            if n:
                self._last_out = time.ticks_ms()
            start += n
            if start == end:
                return
        if copy:
            buf = bytes(memoryview(buf)[start:end])
            end -= start
            start = 0
        self._out.append([buf, start, end])

    def _ack(self, op, pid):
        buf = self._tx
        buf[0] = op
        buf[1] = 2
        buf[2] = pid >> 8
        buf[3] = pid & 255
        self._write(buf, 0, 4)

    def _check_time(self):
        now = time.ticks_ms()
        limit = self._timeout
        late = None
        if (self._end or self._skip) and time.ticks_diff(now, self._last_in) > limit:
            late = "rest of a packet"
        elif self._out and time.ticks_diff(now, self._last_out) > limit:
            late = "room to write"
        elif self._waiting and time.ticks_diff(now, self._asked_at) > limit:
            late = "SUBACK"
        elif self._sent and time.ticks_diff(now, self._acked_at) > 2 * limit:
            late = "acknowledgement"
        elif self._pinged:
            if time.ticks_diff(now, self._pinged_at) > min(limit, self.keepalive * 500 or limit):
                late = "PINGRESP"
        elif self.keepalive:
            idle = self.keepalive * 750
            if time.ticks_diff(now, self._last_out) > idle or time.ticks_diff(now, self._last_in) > idle:
                self._pinged = True
                self._pinged_at = now
                self._write(b"\xc0\0", 0, 2)
        if late:
            raise OSError(_ETIMEDOUT, "peer silent: no " + late)
        if self._lifetime:
            over = time.ticks_diff(now, self._up_at) - self._lifetime
            if over > 0:
                # New credentials: what is out is given time to be acknowledged, new messages wait for the new connection.
                self._renewing = True
                if over > limit or not (self._sent or self._out or self._waiting):
                    self._wait = 0
                    self._close()
                    self._renewing = True

    # -- connecting

    def _connect(self):
        stream = self._stream
        if self.credentials:
            try:
                given = self.credentials()
            except Exception as e:
                raise e if isinstance(e, OSError) else OSError(-1, "credentials: %s" % e)
            self.user, self.pswd = given[:2]
            if len(given) > 2:
                self._lifetime = min(given[2], _LIFETIME_MAX) * 1000
                self._lifetime = max(self._lifetime - 120000, self._lifetime * 4 // 5)
        packet = self._connect_packet()
        yield from stream.open()
        yield from stream.send(packet)
        stream.start_clock()
        self._last_in = self._last_out = time.ticks_ms()
        while not self._up:
            if not self._read():
                stream.in_time("CONNACK")
                yield
        # Nothing behind the CONNACK has been looked at yet: the program hears of the connection first.
        self._call(self.on_up, self._present)
        if self._up:
            self._subscribe()
            self._pump()
            self._parse()

    def _connect_packet(self):
        flags = 2 if self.clean_session else 0
        parts = [self.client_id]
        if self.lw_topic:
            flags |= 4 | self.lw_qos << 3 | bool(self.lw_retain) << 5
            parts += (self.lw_topic, self.lw_msg)
        if self.user is not None:
            flags |= 0x80
            parts.append(_encode(self.user, "user"))
            if self.pswd is not None:
                flags |= 0x40
                parts.append(_encode(self.pswd, "password"))
        n = 10
        for part in parts:
            if len(part) > 65535:
                raise OSError(-1, "client id, will, user or password over 65535 bytes")
            n += 2 + len(part)
        buf = bytearray(_head_size(n) + n)
        i = _put_string(buf, _put_head(buf, 0, 0x10, n), b"MQTT")
        buf[i] = 4
        buf[i + 1] = flags
        buf[i + 2] = self.keepalive >> 8
        buf[i + 3] = self.keepalive & 255
        i += 4
        for part in parts:
            i = _put_string(buf, i, part)
        return buf

    def _subscribe(self):
        # One SUBSCRIBE, and one UNSUBSCRIBE, for all filters of which this session of the broker does not know yet.
        for op in (0x82, 0xA2):
            entries = [f for f in self._filters if not f[3] and (f[1] < 0) is (op == 0xA2)]
            if entries:
                self._send_filters(op, entries)

    def _send_filters(self, op, entries):
        n = 2
        for f in entries:
            n += 2 + len(f[0]) + (op == 0x82)
        buf = bytearray(_head_size(n) + n)
        i = _put_head(buf, 0, op, n)
        pid = self._next_pid()
        buf[i] = pid >> 8
        buf[i + 1] = pid & 255
        i += 2
        for f in entries:
            f[3] = True
            i = _put_string(buf, i, f[0])
            if op == 0x82:
                buf[i] = f[1]
                i += 1
        self._waiting[pid] = entries
        self._asked_at = time.ticks_ms()
        self._write(buf, 0, i, False)

    def _drop(self, e):
        # The connection, or an attempt at one, has ended because of e.
        self.error = e
        if self._up and time.ticks_diff(time.ticks_ms(), self._up_at) > self._timeout:
            self._failures = 0
        ceiling = min(self.backoff_ms << min(self._failures, 16), self.backoff_max_ms)
        self._wait = ceiling * _random16() >> 16
        self._failures += 1
        self._close(e)

    def _close(self, e=None):
        up = self._up
        if up and not e and not self._out:
            try:
                self._stream.write(b"\xe0\0", 0, 2)
            except OSError:
                pass
        self._stream.close()
        for item in self._window[: self._sent]:
            if not isinstance(item, int):
                _head(item)[2] |= _DUP
        self._task = None
        self._retry_at = time.ticks_ms()
        self._renewing = False
        self._reset()
        if up or e:
            self._call(self.on_down, e)

    def _next_pid(self):
        while True:
            self.pid = self.pid % 65535 + 1
            if self.pid not in self._waiting and self._find(self.pid) < 0:
                return self.pid

    def _find(self, pid):
        # Index in the window, or -1.
        window = self._window
        i = len(window)
        while i:
            i -= 1
            if _pid(window[i]) == pid:
                return i
        return -1

    # -- receiving

    def _read(self):
        # One read, and every packet that is whole after it. Returns whether anything came.
        if len(self._out) > self.window:
            # A peer that does not take our answers gets no further questions.
            return False
        if not self._tail:
            rest = self._end - self._start
            view = self._view
            if rest and self._start:
                view[:rest] = view[self._start : self._end]
            self._start = 0
            self._end = rest
            self._tail = view[rest:] if rest else self._rx
        n = self._stream.readinto(self._tail)
        if n is None:
            return False
        self._last_in = time.ticks_ms()
        self._pinged = False
        self._tail = None
        self._end += n
        if self._skip:
            if self._skip > n:
                self._skip -= n
                self._start = self._end
                return True
            self._start, self._skip = self._skip, 0
            topic, size, op, pid = self._skipped
            self._call(self.on_skip, topic, size)
            self._took(op & 6, pid)
        self._parse()
        return True

    def _parse(self):
        buf = self._rx
        while True:
            start = self._start
            end = self._end
            n = shift = 0
            i = start + 1
            if i < end:
                op = buf[start]
                if (op == _CONNACK) is self._up or not (
                    op in _FROM_BROKER or op & 0xF0 == _PUBLISH and op & 6 != 6
                ):
                    raise MQTTException("unexpected packet, type byte 0x%02x" % op)
            while True:
                if i >= end:
                    return
                c = buf[i]
                i += 1
                n |= (c & 127) << shift
                if c < 128:
                    break
                shift += 7
                if shift > 21:
                    raise MQTTException("not MQTT: remaining length over 4 bytes")
            if i + n > end and i + n - start <= len(buf):
                return
            if op & 0xF0 == _PUBLISH:
                if not self._on_publish(op, i, n):
                    return
            elif i + n > end:
                raise MQTTException("packet over max_packet")
            else:
                self._start = i + n
                self._on_packet(op, i, n)
                if self._task:
                    return

    def _on_publish(self, op, i, n):
        # Returns False when the packet is over max_packet (the rest of it is skipped) or its head is not whole yet.
        buf = self._rx
        view = self._view
        qos = op & 6
        stop = i + n
        whole = stop <= self._end
        topic_at = i + 2
        if not whole and topic_at > self._end:
            return False
        topic_end = topic_at + (buf[i] << 8 | buf[i + 1]) if n > 1 else stop
        msg_at = topic_end + 2 if qos else topic_end
        if topic_end == topic_at or msg_at > stop:
            raise MQTTException("malformed PUBLISH")
        topic = None
        pid = 0
        if whole or msg_at <= self._end:
            topic = bytes(view[topic_at:topic_end])
            if qos:
                pid = buf[topic_end] << 8 | buf[topic_end + 1]
                if not pid:
                    raise MQTTException("malformed PUBLISH")
        elif msg_at - self._start <= len(buf):
            return False
        if not whole:
            self._skip = stop - self._end
            self._skipped = (topic, n, op, pid)
            self._start = self._end
            return False
        again = qos == 4 and pid in self._unreleased
        if not again:
            msg = bytes(view[msg_at:stop])
        self._start = stop
        if not again:
            if qos == 4:
                self._remember(pid)
            if self._flags:
                self._call(self.cb, topic, msg, bool(op & 1))
            else:
                self._call(self.cb, topic, msg)
        self._took(qos, pid)
        return True

    def _remember(self, pid):
        if len(self._unreleased) >= _UNRELEASED_MAX:
            raise MQTTException("broker releases no QoS 2 messages")
        self._unreleased.append(pid)

    def _took(self, qos, pid):
        # Acknowledge, unless the callback has closed the connection or the id was out of reach.
        if self._up and pid:
            self._ack(_PUBREC if qos == 4 else _PUBACK, pid)

    def _on_packet(self, op, i, n):
        buf = self._rx
        if n < 3 if op == _SUBACK else n != (op != _PINGRESP) * 2:
            raise MQTTException("malformed packet, type byte 0x%02x" % op)
        if op == _CONNACK:
            self._on_connack(buf[i], buf[i + 1])
        elif op != _PINGRESP:
            pid = buf[i] << 8 | buf[i + 1]
            if op == _PUBREL:
                if pid in self._unreleased:
                    self._unreleased.remove(pid)
                self._ack(_PUBCOMP, pid)
            elif op < _SUBACK:
                self._on_ack(op, pid)
            elif pid in self._waiting:
                entries = self._waiting.pop(pid)
                if op == _SUBACK:
                    self._on_suback(pid, entries, i + 2, n - 2)
                else:
                    for f in entries:
                        if f in self._filters:
                            self._filters.remove(f)
                        self._call(self.on_ack, f[2], 0)

    def _on_connack(self, flags, code):
        if code:
            raise MQTTException(code, "refused: " + _REFUSED[code] if code < 6 else "refused")
        self._up = True
        self._renewing = False
        self._up_at = time.ticks_ms()
        self._present = present = bool(flags) and not self.clean_session
        for f in self._filters:
            f[3] = present and not f[2]
        if not present:
            # The broker knows nothing of what came before: a message it had confirmed with PUBREC is its own,
            # one it had not confirmed is sent again (at least once: exactly once needs a session on both sides).
            self._unreleased.clear()
            for item in [item for item in self._window if isinstance(item, int)]:
                self._window.remove(item)
                self._call(self.on_ack, abs(item), 0)

    def _on_ack(self, op, pid):
        i = self._find(pid)
        if not 0 <= i < self._sent:
            return
        item = self._window[i]
        qos = 0 if isinstance(item, int) else _head(item)[2] & 6
        if i == 0:
            self._acked_at = time.ticks_ms()
        if op == _PUBREC and qos != 2:
            # From now on only the id matters: PUBLISH must never be sent again for it (4.3.3).
            self._window[i] = -pid
            self._release()
        elif op == _PUBACK and qos == 2 or op == _PUBCOMP and not qos:
            self._window.pop(i)
            self._sent -= 1
            self._call(self.on_ack, pid, 0)

    def _release(self):
        # PUBRELs leave in the order of their PUBLISHes: a broker that delivers on PUBREL then keeps the order, too,
        # even if a PUBREC got lost.
        for i in range(self._sent):
            item = self._window[i]
            if not isinstance(item, int):
                if _head(item)[2] & 4:
                    return
            elif item < 0:
                self._window[i] = -item
                self._ack(_PUBREL, -item)

    def _on_suback(self, pid, entries, i, n):
        if n != len(entries):
            raise MQTTException("malformed SUBACK")
        worst = 0
        for k, entry in enumerate(entries):
            worst = max(worst, self._rx[i + k])
            own, entry[2] = entry[2], 0
            if k == n - 1 or entries[k + 1][2] != own:
                if own or worst > 2:
                    self._call(self.on_ack, own or pid, worst)
                worst = 0
