# mqtt_link: umqtt.simple made cooperative. Stands on umqtt.simple and netstream; knows MQTT 3.1.1
# and no service.
#
# do_next() is the whole engine: one bounded step that dials, reads, writes, pings, resends and
# reconnects, and never waits longer than it is told. publish() and subscribe() only queue. Nothing
# is allocated while idle; a packet longer than max_packet is skipped as it streams by; what the
# broker has not acknowledged is kept and sent again after a reconnect.
#
# On a board each function costs about 90 bytes of heap before its first line: hence fewer and
# longer ones here than elsewhere.

import os
from time import sleep_ms, ticks_diff, ticks_ms

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
_PUBREL_HELD = const(2)  # in the window only: a PUBREL whose turn has not come
_PUBCOMP = const(0x70)
_SUBSCRIBE = const(0x82)
_SUBACK = const(0x90)
_UNSUBSCRIBE = const(0xA2)
_UNSUBACK = const(0xB0)
_PINGRESP = const(0xD0)
_FROM_BROKER = b"\x20\x40\x50\x62\x70\x90\xb0\xd0"

_DUP = const(8)
# A payload longer than this is not copied beside its header but sent from where it lies.
_COPY_MAX = const(1024)
# QoS 2 messages a broker may leave unreleased before it counts as broken (MQTT 3.1.1 sets no
# limit).
_UNRELEASED_MAX = const(256)
_LENGTH_MAX = const(268435455)
# One wait inside do_next() lasts at most this many ms, so that no timer is missed.
_WAIT_MAX = const(1000)
# ticks_ms() wraps after 12 days on 32-bit boards: a longer credential lifetime is renewed earlier
# than it need be.
_LIFETIME_MAX = const(432000)

_ENOTCONN = const(107)
_ENOBUFS = const(105)
_ETIMEDOUT = const(110)


class Full(OSError):
    """
    `window` messages wait for the broker. Call do_next() and publish again, or publish with
    wait_ms.
    """


# Made once: a tuple written where it is used is made at each call.
_BYTES = (bytes, bytearray, memoryview)


def _encode(s, what):
    # UTF-8 bytes of a str; anything else must already be bytes.
    if isinstance(s, str):
        return s.encode()
    if isinstance(s, _BYTES):
        return s
    raise ValueError(what + " must be str or bytes")


def _topic(s, qos, is_filter=False):
    # A topic or topic filter as bytes, by the rules of 4.7.
    s = bytes(_encode(s, "topic"))
    str(s, "utf-8")  # UnicodeError, which is a ValueError, for what is none (1.5.3-1)
    if qos not in (0, 1, 2):
        raise ValueError("qos: 0, 1 or 2")
    if not 0 < len(s) < 65536 or b"\0" in s or not is_filter and (b"+" in s or b"#" in s):
        raise ValueError("topic: 1 to 65535 bytes without NUL, + or #")
    if is_filter:
        levels = s.split(b"/")
        bad = b"#" in levels[:-1]
        for level in levels:
            bad = bad or len(level) > 1 and (b"+" in level or b"#" in level)
        if bad:
            raise ValueError("topic filter: + and # must fill a level, # the last one")
    return s


def _put_head(buf, op, n):
    # First byte and remaining length from index 2 on; returns the index behind them.
    buf[2] = op
    i = 3
    while n > 127:
        buf[i] = n & 127 | 128
        n >>= 7
        i += 1
    buf[i] = n
    return i + 1


def _packet(op, body):
    buf = bytearray(7)
    return bytes(buf[2 : _put_head(buf, op, len(body))]) + body


def _string(s):
    if len(s) > 65535:
        raise OSError(-1, "client id, will, user or password over 65535 bytes")
    return bytes((len(s) >> 8, len(s) & 255)) + s


def _head(item):
    # Of a message in the window: 2 bytes of packet id, then the packet, with or without its
    # payload.
    return item[0] if isinstance(item, tuple) else item


def _since(t):
    return ticks_diff(ticks_ms(), t)


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
        packet; acknowledgements: twice).
    websocket: path for MQTT over WebSocket, such as "/mqtt" (needs websocket_stream.py).
    resolver: what looks names up, see netstream.NetStream; None: the port, which may block.

    Hooks, all None at first; those of the program's own callbacks that raise have their exception
    come out of do_next(), and the message counts as taken. None of them may call do_next().
    on_up(session_present)
    on_down(error or None): a connection, or an attempt at one, has ended
    on_ack(pid, code): 0 to 2 = taken by the broker (for a SUBSCRIBE the granted QoS), 0x80 =
        refused, 0xFF = given up by discard()
    on_skip(topic, size): a packet over max_packet was passed over (acknowledged, not delivered)

    Raises ValueError for an argument MQTT or TLS can't use.
    """

    backoff_ms = 1000  # longest wait before the first new attempt; doubled after each failure ...
    backoff_max_ms = 64000  # ... up to this. The wait is a random part of it (full jitter).
    on_up = on_down = on_ack = on_skip = error = None
    _task = _raised = None
    _seen = NetStream  # the topic last published to; this is none
    _up = _stopped = _calling = _renewing = _flags = False
    _failures = _wait = _sent = 0

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
        if not 0 <= keepalive < 65536:
            raise ValueError("keepalive: 0 to 65535 s")
        Stream = NetStream
        if websocket:
            from websocket_stream import WebSocketStream as Stream
        if not port:
            port = (443 if ssl else 80) if websocket else 8883 if ssl else 1883
        super().__init__(_encode(client_id, "client_id"), server, port, user, password, keepalive)
        params = ssl if isinstance(ssl, dict) else ssl_params
        self._stream = Stream(
            server,
            port,
            tls_context(ssl, ssl_params),
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
        self._rx = max_packet if isinstance(max_packet, bytearray) else bytearray(max_packet)
        self._view = memoryview(self._rx)
        self._tx = bytearray(64)
        # Unacknowledged messages in order: each as bytes (2 of packet id, then the packet) or as
        # (such a head, payload); after PUBREC as a PUBREL. The first _sent of them went out on
        # this connection.
        self._window = []
        # [filter, qos or None to unsubscribe, packet id of the call that waits for its answer or
        # 0, broker was asked]
        self._filters = []
        self._unreleased = []  # ids of QoS 2 messages received and not yet released
        self._close()

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
        return self._up

    def set_callback(self, f, retained=False):
        """
        f(topic, msg), both bytes, hears each message; with retained=True f(topic, msg, retained)
        also the retain flag.
        """
        self.cb = f
        self._flags = retained

    def set_last_will(self, topic, msg, retain=False, qos=0):
        """
        The message the broker sends for us if the connection ends without disconnect(); used from
        the next connect on.
        """
        super().set_last_will(_topic(topic, qos), _encode(msg, "msg"), retain, qos)

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
        if clean_session is not None:
            self.clean_session = clean_session
        if self._up:
            self._close()
        self._stopped = False
        self._wait = 0
        self.error = None
        start = ticks_ms()
        while not self._up:
            self.do_next(100)
            if timeout and _since(start) > timeout * 1000:
                self._close(OSError(_ETIMEDOUT, "no connection within %s s" % timeout))
            if self.error:
                raise self.error
        return self._present

    def disconnect(self, wait_ms=1000):
        """
        Wait at most wait_ms for acknowledgements, send DISCONNECT, close, and stay away until
        connect(). Messages not acknowledged stay in the window.
        """
        start = ticks_ms()
        try:
            while self._up and not self._calling and (self._window or self._out or self._waiting):
                left = wait_ms - _since(start)
                if left <= 0:
                    break
                self.do_next(left)
        finally:
            self._stopped = True
            self._close()

    def drop(self, error):
        """
        End this connection because of error (an OSError or MQTTException), as a fault of the
        network would: on_down hears of it, and do_next() dials again after a pause.

        For a program that can't go on with what came in. It may be called inside a callback: the
        message that is being delivered is not acknowledged then, and comes again.
        """
        self._close(error)

    def publish(self, topic, msg, retain=False, qos=0, wait_ms=0):
        """
        Queue one message, sent in one write if the socket has room; returns at once.

        topic, msg: str or bytes. A msg over 1 KB is not copied: leave a bytearray alone until it
            is acknowledged. Returns the packet id, 0 at QoS 0; on_ack(id, code) follows when the
            broker has taken it. While offline, QoS 1 and 2 are kept for the next connection.
            Raises ValueError for a topic MQTT forbids (3.1.1, 4.7) or a message over 256 MB, Full
            when the window is full and stays so for wait_ms, OSError(ENOTCONN) for QoS 0 while
            offline.
        """
        if topic is not self._seen or qos not in (0, 1, 2):
            # Most programs publish to one topic again and again: it is looked through once.
            self._name = _topic(topic, qos)
            self._seen = topic if isinstance(topic, (str, bytes)) else NetStream
        topic = self._name
        msg = _encode(msg, "msg")
        size = len(topic) + (4 if qos else 2)
        n = size + len(msg)
        if n > _LENGTH_MAX:
            raise ValueError("message over 256 MB")
        kept = qos or self._renewing
        if not (kept or self._up):
            raise OSError(_ENOTCONN, "not connected, QoS 0 not sent")
        start = ticks_ms()
        while len(self._window if kept else self._out) >= self.window:
            left = wait_ms - _since(start)
            if left <= 0 or self._calling:
                raise Full(_ENOBUFS, "window full: %d unacknowledged" % self.window)
            self.do_next(left)
        apart = msg if len(msg) > _COPY_MAX else None
        if not apart:
            size = n
        buf = self._tx
        if kept:
            buf = bytearray(size + 4 + (n > 127) + (n > 16383) + (n > 2097151))
        elif len(buf) < size + 7:
            buf = bytearray(size + 7)
            if size <= 2 * _COPY_MAX:
                self._tx = buf
        i = _put_head(buf, _PUBLISH | qos << 1 | bool(retain), n)
        n = len(topic)
        buf[i] = n >> 8
        buf[i + 1] = n & 255
        i += 2
        buf[i : i + n] = topic
        i += n
        pid = 0
        if qos:
            pid = self._next_pid()
            buf[0] = buf[i] = pid >> 8
            buf[1] = buf[i + 1] = pid & 255
            i += 2
        if not apart:
            buf[i : i + len(msg)] = msg
            i += len(msg)
        try:
            if kept:
                self._window.append((buf, apart) if apart else buf)
                if self._up:
                    self._send()
            else:
                self._write(buf, 2, i)
                if apart:
                    self._write(apart, 0, len(apart))
        except OSError as e:
            self._close(e)
        return pid

    def subscribe(self, topic, qos=0):
        """
        Subscribe, now if connected and again after every reconnect that finds no session; returns
        at once.

        topic: a filter, or a list of (filter, qos) that goes out as one SUBSCRIBE. Returns the
            packet id; on_ack(id, code) follows, 0x80 when the broker refused any of them. Raises
            ValueError for a bad filter or qos.
        """
        pid = self._next_pid()
        entries = []
        for name, wanted in ((topic, qos),) if isinstance(topic, (str, bytes)) else topic:
            entries.append([_topic(name, wanted or 0, True), wanted, pid, False])
        for entry in entries:
            self._filters = [f for f in self._filters if f[0] != entry[0]] + [entry]
        if self._up and not self._renewing:
            try:
                self._subscribe()
            except OSError as e:
                self._close(e)
        return pid

    def unsubscribe(self, topic):
        """
        Undo subscribe(topic), now or when connected again. Returns the packet id; on_ack(id, 0)
        follows. Raises ValueError.
        """
        return self.subscribe(topic, None)

    def discard(self, heir=None):
        """
        Give up every message not yet acknowledged; on_ack(id, 0xFF) for each. The broker may have
        them all the same.

        heir: an MQTTLink, to another broker perhaps, that takes them over instead (no on_ack here)
            and sends them in their order, ids kept, as if they had never been sent. To be given
            before anything is published or subscribed there; its window may be exceeded so.
        """
        window, self._window = self._window, []
        self._sent = 0
        for item in window:
            head = _head(item)
            if heir:
                head[2] &= 0xF7  # without _DUP
                heir._window.append(item)
            else:
                self._call(self.on_ack, head[0] << 8 | head[1], 0xFF)

    def do_next(self, wait_ms=0):
        """
        One step: dial, read, deliver, acknowledge, send, ping, renew, reconnect: whatever is due.

        wait_ms: how long to wait at most (and never over 1000) when there is nothing to do yet.
            Returns True when something happened. Network trouble is never raised: `error` holds
            the last failure, on_down hears of it, the link dials again.
        """
        if self._stopped or self._calling:
            return False
        stream = self._stream
        wait_ms = max(0, min(wait_ms, _WAIT_MAX))
        worked = False
        try:
            if self._up and not self._task:
                worked = self._send() | self._read()
                if wait_ms and not worked:
                    stream.want = 5 if self._out else 1
                    if stream.wait(wait_ms):
                        worked = self._send() | self._read()
                if self._up:
                    self._check_time()
            else:
                left = self._wait - _since(self._retry_at)
                if self._task:
                    stream.wait(wait_ms)
                elif left > 0:
                    sleep_ms(min(left, wait_ms))
                    return False
                else:
                    self._task = self._connect()
                try:
                    next(self._task)
                except StopIteration:
                    self._task = None
                worked = self._up
        except (OSError, MQTTException) as e:
            self._close(e)
            worked = True
        if self._raised:
            e, self._raised = self._raised, None
            raise e
        return worked

    # umqtt.simple's names for it: each is the same bounded step, wait_msg() one that waits.
    check_msg = ping = do_next

    def wait_msg(self):
        """umqtt.simple's name for do_next(1000)."""
        return self.do_next(_WAIT_MAX)

    # -- telling the program

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

    # -- connecting

    def _connect(self):
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
            body += _string(_encode(self.user, "user"))
            if self.pswd is not None:
                flags |= 0x40
                body += _string(_encode(self.pswd, "password"))
        head = b"\0\x04MQTT\x04" + bytes((flags, self.keepalive >> 8, self.keepalive & 255))
        stream = self._stream
        yield from stream.open()
        yield from stream.send(_packet(0x10, head + body))
        stream.start_clock()
        self._last_in = self._last_out = ticks_ms()
        while not self._up:
            if not self._read():
                stream.in_time("CONNACK")
                yield
        # Nothing behind the CONNACK has been looked at yet: the program hears of the connection
        # first.
        self._call(self.on_up, self._present)
        if self._up:
            self._subscribe()
            self._send()
            self._parse()

    def _subscribe(self):
        # One SUBSCRIBE, and one UNSUBSCRIBE, for all filters of which this session of the broker
        # does not know yet.
        for op in (_SUBSCRIBE, _UNSUBSCRIBE):
            entries = [
                f for f in self._filters if not f[3] and (f[1] is None) is (op == _UNSUBSCRIBE)
            ]
            if entries:
                pid = self._next_pid()
                body = bytes((pid >> 8, pid & 255))
                for f in entries:
                    f[3] = True
                    body += _string(f[0])
                    if op == _SUBSCRIBE:
                        body += bytes((f[1],))
                self._waiting[pid] = entries
                self._asked_at = ticks_ms()
                body = _packet(op, body)
                self._write(body, 0, len(body))

    def _close(self, e=None):
        # The connection, or an attempt at one, has ended: because of e, or because we wanted it
        # to.
        up = self._up
        if e:
            if up and _since(self._up_at) > self._stream.timeout_ms:
                self._failures = 0
            elif up and self._failures > 1:
                e = OSError(
                    e.args[0],
                    "%s; soon after connecting, again: another client with this id?" % e.args[-1],
                )
            self.error = e
            self._wait = (
                min(self.backoff_ms << min(self._failures, 16), self.backoff_max_ms) * _random16()
                >> 16
            )
            if self._wait < self._stream.retry_ms:
                self._wait = self._stream.retry_ms
            self._failures += 1
        elif up and not self._out:
            try:
                self._stream.write(b"\xe0\0", 0, 2)
            except OSError:
                pass
        self._stream.close()
        for item in self._window[: self._sent]:
            head = _head(item)
            if head[2] & 0xF0 == _PUBLISH:
                head[2] |= _DUP
        self._task = self._tail = None  # _tail: where in _rx the next bytes go
        self._retry_at = ticks_ms()
        self._up = self._renewing = self._pinged = False
        self._out = []  # [buffer, offset, end]: what the socket had no room for
        self._waiting = {}  # packet id of a SUBSCRIBE or UNSUBSCRIBE -> its filters
        # _start, _end: the unparsed part of _rx; _skip: bytes still to come of a packet over
        # max_packet
        self._sent = self._start = self._end = self._skip = self._lifetime = 0
        if up or e:
            self._call(self.on_down, e)

    # -- sending

    def _send(self):
        # What waited for room, then what of the window was not sent on this connection. Returns
        # whether anything went out.
        out = self._out
        worked = False
        while out:
            item = out[0]
            n = self._stream.write(item[0], item[1], item[2] - item[1])
            if not n:
                return worked
            worked = True
            self._last_out = ticks_ms()
            item[1] += n
            if item[1] == item[2]:
                out.pop(0)
        window = self._window
        while not out and self._sent < len(window) and not self._renewing:
            worked = True
            item = window[self._sent]
            head = _head(item)
            if not self._sent:
                self._acked_at = ticks_ms()
            if head[2] & 0xF6 == _PUBLISH:  # QoS 0, kept while credentials were renewed
                window.pop(self._sent)
            else:
                self._sent += 1
            if head[2] != _PUBREL_HELD:
                self._write(head, 2, len(head))
                if head is not item:
                    self._write(item[1], 0, len(item[1]))
        return worked

    def _write(self, buf, start, end):
        if not self._out:
            n = self._stream.write(buf, start, end - start)
            if n:
                self._last_out = ticks_ms()
            start += n
            if start == end:
                return
        if buf is self._tx:
            # It will be used again before this can go out.
            buf = bytes(self._tx[start:end])
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

    def _next_pid(self):
        while True:
            self.pid = self.pid % 65535 + 1
            if self.pid not in self._waiting and self._find(self.pid) < 0:
                return self.pid

    def _find(self, pid):
        # Index in the window, or -1.
        i = len(self._window)
        while i:
            i -= 1
            head = _head(self._window[i])
            if head[0] << 8 | head[1] == pid:
                return i
        return -1

    def _check_time(self):
        limit = self._stream.timeout_ms
        late = None
        if (self._end or self._skip) and _since(self._last_in) > limit:
            late = "rest of a packet"
        elif self._out and _since(self._last_out) > limit:
            late = "room to write"
        elif self._waiting and _since(self._asked_at) > limit:
            late = "SUBACK"
        elif self._sent and _since(self._acked_at) > 2 * limit:
            late = "acknowledgement"
        elif self._pinged:
            if _since(self._pinged_at) > min(limit, self.keepalive * 500):
                late = "PINGRESP"
        elif (
            self.keepalive
            and max(_since(self._last_out), _since(self._last_in)) > self.keepalive * 750
        ):
            self._pinged = True
            self._pinged_at = ticks_ms()
            self._write(b"\xc0\0", 0, 2)
        if late:
            raise OSError(_ETIMEDOUT, "peer silent: no " + late)
        if self._lifetime and _since(self._up_at) > self._lifetime:
            # New credentials: what is out is given time to be acknowledged, new messages wait for
            # the new connection.
            self._renewing = True
            if (
                not (self._sent or self._out or self._waiting)
                or _since(self._up_at) > self._lifetime + limit
            ):
                self._wait = 0
                self._close()
                self._renewing = True

    # -- receiving

    def _read(self):
        # One read, and every packet that is whole after it. Returns whether anything came.
        if not self._up and not self._task or len(self._out) > self.window:
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
        self._last_in = ticks_ms()
        self._pinged = False
        self._tail = None
        self._end += n
        if self._skip:
            if self._skip > n:
                self._skip -= n
                self._start = self._end
                return True
            self._start, self._skip = self._skip, 0
            topic, size, qos, pid = self._skipped
            self._call(self.on_skip, topic, size)
            self._took(qos, pid)
        self._parse()
        return True

    def _parse(self):
        buf = self._rx
        while self._start < self._end:
            start = self._start
            op = buf[start]
            n = shift = 0
            i = start + 1
            good = (op == _CONNACK) is not self._up and (
                op in _FROM_BROKER or op & 0xF0 == _PUBLISH and op & 6 != 6
            )
            while good:
                if i >= self._end:
                    return
                c = buf[i]
                i += 1
                n |= (c & 127) << shift
                if c < 128:
                    break
                shift += 7
                good = shift < 28
            whole = i + n <= self._end
            if good and (whole or i + n - start <= len(buf) or op & 0xF0 == _PUBLISH):
                if op & 0xF0 == _PUBLISH:
                    good = self._on_publish(op, i, i + n)
                elif whole:
                    self._start = i + n
                    good = self._on_packet(op, i, n)
                    if good and op == _CONNACK:
                        return
            else:
                good = False
            if not good:
                raise MQTTException("unexpected packet, first byte 0x%02x" % op)
            if self._start == start:
                return

    def _on_publish(self, op, i, stop):
        # Returns False for a malformed packet. Takes it (or, when it is over max_packet, its head)
        # if that is whole.
        view = self._view
        buf = self._rx
        qos = op & 6
        end = self._end
        whole = stop <= end
        if not whole and (stop - self._start <= len(buf) or i + 2 > end):
            return True
        topic_at = i + 2
        i = topic_at + (buf[i] << 8 | buf[i + 1]) if stop > topic_at else topic_at
        topic_end = i
        topic = None
        pid = 0
        if qos:
            i += 2
        if topic_end == topic_at or i > stop:
            return False
        if i <= end:
            topic = bytes(view[topic_at:topic_end])
            if qos:
                pid = buf[i - 2] << 8 | buf[i - 1]
                if not pid:
                    return False
        elif i - self._start <= len(buf):
            return True
        again = qos == 4 and pid in self._unreleased
        if not whole:
            self._skip = stop - end
            self._skipped = (topic, stop - topic_at + 2, qos, pid)
            self._start = end
            return True
        if not again:
            msg = bytes(view[i:stop])
        self._start = stop
        if not again:
            if qos == 4:
                if len(self._unreleased) >= _UNRELEASED_MAX:
                    return False
                self._unreleased.append(pid)
            if self._flags:
                self._call(self.cb, topic, msg, bool(op & 1))
            else:
                self._call(self.cb, topic, msg)
        self._took(qos, pid)
        return True

    def _took(self, qos, pid):
        # Acknowledge, unless the callback has closed the connection or the id was out of reach.
        if self._up and pid:
            self._ack(_PUBREC if qos == 4 else _PUBACK, pid)

    def _on_packet(self, op, i, n):
        # Returns False for a malformed one.
        buf = self._rx
        if n < 3 if op == _SUBACK else n != (op != _PINGRESP) * 2:
            return False
        if n:
            pid = buf[i] << 8 | buf[i + 1]
            if not pid and op != _CONNACK:
                return False
        if op == _CONNACK:
            if pid & 255:
                why = (
                    "protocol version,client id,server unavailable,user name or password,"
                    "not authorized"
                ).split(",")
                pid &= 255
                raise MQTTException(pid, "refused: " + (why[pid - 1] if pid < 6 else "?"))
            self._stream.confirm()
            self._up = True
            self._renewing = False
            self._up_at = ticks_ms()
            self._present = present = pid > 255 and not self.clean_session
            for f in self._filters:
                f[3] = present and not f[2]
            if not present:
                # The broker knows nothing of what came before: a message it had confirmed with
                # PUBREC is its own, one it had not is sent again (at least once: exactly once
                # needs a session on both sides).
                self._unreleased.clear()
                for item in [item for item in self._window if _head(item)[2] & 0xF0 != _PUBLISH]:
                    self._window.remove(item)
                    self._call(self.on_ack, item[0] << 8 | item[1], 0)
        elif op == _PUBREL:
            if pid in self._unreleased:
                self._unreleased.remove(pid)
            self._ack(_PUBCOMP, pid)
        elif op == _SUBACK or op == _UNSUBACK:
            if pid in self._waiting:
                return self._on_suback(pid, self._waiting.pop(pid), i + 2, n - 2)
        elif n:
            i = self._find(pid)
            if 0 <= i < self._sent:
                self._on_ack(op, pid, i)
        return True

    def _on_ack(self, op, pid, i):
        window = self._window
        kind = _head(window[i])[2] & 0xF6
        if i == 0:
            self._acked_at = ticks_ms()
        if op == _PUBREC:
            if kind == 0x34:
                # From now on only the id matters: PUBLISH must never be sent again for it (4.3.3).
                window[i] = bytearray((pid >> 8, pid & 255, _PUBREL_HELD, 2, pid >> 8, pid & 255))
            elif kind == _PUBREL:
                self._ack(_PUBREL, pid)
            # PUBRELs leave in the order of their PUBLISHes: a broker that delivers on PUBREL then
            # keeps the order, too, even if a PUBREC got lost.
            for i in range(self._sent):
                head = _head(window[i])
                if head[2] & 0xF4 == 0x34:
                    break
                if head[2] == _PUBREL_HELD:
                    head[2] = _PUBREL
                    self._write(head, 2, 6)
        elif kind == (0x32 if op == _PUBACK else _PUBREL):
            window.pop(i)
            self._sent -= 1
            self._call(self.on_ack, pid, 0)

    def _on_suback(self, pid, entries, i, n):
        # n: how many codes there are from _rx[i] on; 0 in an UNSUBACK. Returns False for a
        # malformed SUBACK.
        if n and n != len(entries):
            return False
        worst = 0
        for k, f in enumerate(entries):
            if n:
                worst = max(worst, self._rx[i + k])
            elif f in self._filters:
                self._filters.remove(f)
            own, f[2] = f[2], 0
            if k == len(entries) - 1 or entries[k + 1][2] != own:
                if own or worst > 2:
                    self._call(self.on_ack, own or pid, worst)
                worst = 0
        return True
