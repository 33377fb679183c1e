"""
Digi push monitors (iDigi once, Remote Manager today): hear of a cloud's device events over TCP.

Stands on netstream for the push connection. idigi_monitors, loaded for a request and let go
again, makes, finds, enables and deletes monitors over HTTPS. Names are those of Digi's library of
2012, so its programs run as they are. do_next() is the whole engine: one bounded step that dials,
reads, calls back, acknowledges and reconnects. Where threads exist a program may also sleep, as
those of 2012 did. A block is held whole, max_block bytes at most; what zlib makes of it stops at
max_data.
"""

import io
import os
import sys
import time

from micropython import const

from idigi_errors import BlockError, MonitorError
from netstream import NetStream, host_port, load_module, load_once, tls_context

_EPROTO = const(71)
_ETIMEDOUT = const(110)

# The protocol: each message is type u16, length u32 and that many bytes, all big-endian.
_CONNECT_REQUEST = b"\0\1"
_CONNECT_RESPONSE = b"\0\2\0\0\0\4"  # status u16 and version u16 follow
_PUBLISH = const(3)  # block id u16, count u16, compression u8, format u8, length u32, payload
_RECEIVED = b"\0\4\0\0\0\4"  # block id u16 and status u16 follow
_VERSION = b"\0\1"
_ACCEPTED = const(200)
_ACKNOWLEDGED = b"\0\xc8"  # status 200
_HEAD = const(6)  # bytes of type and length
_RESPONSE = const(10)  # bytes of a whole ConnectResponse
_BLOCK_HEAD = const(10)  # bytes of a PublishMessage before its payload
_ZLIB = const(1)  # compression; 0 is none
_JSON = const(1)  # format; 0 is XML

_BOM = b"\xef\xbb\xbf"
_CHUNK = const(512)  # what is passed over goes by in pieces of this many bytes
_BATCH = const(16)  # taken message by message, a block may have this many times max_data
_SLICE_MS = const(20)  # with several sessions, how long one may keep the others waiting
_WAIT_MAX_MS = const(1000)  # do_next() never waits longer
_WINDOW_MIN = const(9)  # zlib's window, as a power of two
_WINDOW_MAX = const(15)
_THREAD_STACK = const(16384)  # bytes: TLS needs them, ESP32's default is 4 KB
_THREAD_END_S = const(10)
_FOR_EVER = const(-1)
_IDLE_MAX_S = const(500000)  # ticks go round after twelve days, and count to half of that

# Where a session is.
_OFF = const(0)  # stop() was called: it stays away until start()
_PAUSING = const(1)  # waits for its next attempt (back-off)
_DIALLING = const(2)  # address, TCP, TLS, ConnectRequest; the answer is awaited
_UP = const(3)  # the service has accepted it: blocks come


def _log(text, *args):
    # Only for a program that has loaded logging itself: nobody else pays for it.
    logging = sys.modules.get("logging")
    if logging:
        logging.getLogger("idigi_monitor_api").info(text, *args)


class PushSession:
    """
    One push connection; push_client.create_session() makes and starts it.

    error: what the last attempt or connection ended with, None at first: OSError for the network,
    TLSError when the server can't be trusted, MonitorError for a refusal, and whatever else went
    wrong within a step; it dials again after each. skipped: how many blocks and messages were
    passed over.
    Hooks, None at first: on_up() after each accepted connection; on_down(error) after each attempt
    or connection that has ended; on_skip(block_id, size, why) for a block that could not be given
    to the callback (why: BlockError, MemoryError or what deflate raised), with block_id None for a
    message of an unknown kind. If on_skip returns True the block is acknowledged all the same, so
    that a server in explicit mode goes on; else it stays with the server.
    A callback or hook must not call do_next(). If it raises, its exception comes out of do_next()
    (a thread prints it), and the block stays unacknowledged. Ctrl-C in one ends the connection.
    """

    backoff_ms = 1000  # longest wait before the first new attempt; doubled after each failure ...
    backoff_max_ms = 64000  # ... up to this. The wait is a random part of it (full jitter).

    def __init__(self, client, callback, monitor_id, messages=False):
        self.client = client
        self.callback = callback
        self.monitor_id = monitor_id
        self.messages = messages
        self.on_up = self.on_down = self.on_skip = None
        self.error = None
        self.skipped = 0
        self._request = client._connect_request(monitor_id)
        self._stream = NetStream(*client._push)
        self._state = _OFF
        self._since = 0  # ticks at which the present pause, or the connection, began
        self._pause_ms = 0  # how long the present pause lasts
        self._failures = 0  # attempts, and connections that did not hold, in a row
        self._held = False  # what has just ended had been accepted
        self._steps = None  # the generator that is the present connection
        self._stepping = False  # within a step: a callback can't make another
        self._raised = None  # by a callback: comes out of do_next() when the step is over
        self.start()

    def start(self):
        """Connect, and reconnect until stop(). Returns at once; harmless when it runs already."""
        if self._state == _OFF:
            self.skipped = 0
            self._state = _PAUSING
        if self._state == _PAUSING:
            self._pause_ms = 0
        self._failures = 0
        client = self.client
        if self not in client.sessions:
            # A new list: the thread may be going through the old one.
            client.sessions = client.sessions + [self]
        client._start_thread()

    def stop(self):
        """Close the connection. The monitor stays; start() goes on with it."""
        self._state = _OFF
        self._steps = None
        client = self.client
        client.sessions = [other for other in client.sessions if other is not self]
        # In a callback the connection is still needed for the acknowledgement: there the end of
        # the step closes it.
        if not self._stepping:
            self._stream.close()

    def is_connected(self):
        """Return whether the server has accepted this session and nothing is known to be wrong."""
        return self._state == _UP

    def do_next(self, wait_ms=0):
        """
        One step of this session alone. Arguments, result and errors: push_client.do_next().
        """
        return self.client._drive(wait_ms, [self])

    def _step(self, wait_ms):
        # One step of at most wait_ms. Returns whether something happened.
        if self._stepping:
            return False
        if not self._steps and not self._may_dial(wait_ms):
            return False
        self._stepping = True
        steps = why = None
        worked = False
        try:
            if not self._steps:
                self._held = False
                self._steps = self._connection()
                self._state = _DIALLING
            steps = self._steps
            worked = next(steps)
            if wait_ms and not worked and self._stream.wait(wait_ms):
                worked = next(steps)
        except BaseException as e:
            # Whatever it was, a message may be half read or half written: the connection can't
            # be used any more.
            why = e
        self._stepping = False
        if self._steps is steps and not why:
            return worked is True
        self._hang_up(steps)
        if why:
            try:
                self._tell_end(why)
            except MemoryError:
                pass  # there was no room to tell of it; the session dials again all the same
            if not isinstance(why, Exception):
                raise why
        return worked is True

    def _may_dial(self, wait_ms):
        # Whether it is time for an attempt. Waits for that, wait_ms at most.
        left = wait_ms
        if self._state == _PAUSING:
            age = time.ticks_diff(time.ticks_ms(), self._since)
            if not 0 <= age < self._pause_ms:  # below 0: so long ago that ticks went round
                return True
            left = min(self._pause_ms - age, wait_ms)
        time.sleep_ms(left)
        return False

    def _hang_up(self, steps):
        # Close the connection of these steps, or of an earlier one that stop() gave up. What
        # matters is done first: there may be no memory for the rest.
        if self._steps is steps and self._state != _OFF:
            self._steps = None
            self._held = self._state == _UP
            self._state = _PAUSING
            self._pause_ms = self.backoff_ms
        try:
            self._stream.close()
        except (OSError, MemoryError):
            pass  # the next attempt closes it first

    def _tell_end(self, why):
        # An attempt or a connection has ended because of `why`: when to try again, and tell.
        self.error = why
        now = time.ticks_ms()
        age = time.ticks_diff(now, self._since)
        if self._held and not 0 <= age <= self._stream.timeout_ms:
            # It held for a while: the service is well, the pause starts small again. One that is
            # accepted and closed at once, over and over, must not be dialled every second.
            self._failures = 0
        self._since = now
        ceiling = min(self.backoff_ms << min(self._failures, 16), self.backoff_max_ms)
        self._failures += 1
        # 14 random bits: their product with the ceiling is still a small integer.
        self._pause_ms = ceiling * (int.from_bytes(os.urandom(2), "big") >> 2) >> 14
        _log("monitor %s: %s; again in %d ms", self.monitor_id, why, self._pause_ms)
        self._call(self.on_down, why)

    def _call(self, function, *args):
        # Run a callback of the program. Its exception waits until the step is finished.
        try:
            return function and function(*args)
        except Exception as e:
            self._raised = e

    # -- the connection, from dialling to its end: generators that yield None where they would
    # wait, and True when they have done something.

    def _connection(self):
        head = bytearray(_RESPONSE)
        yield from self._greet(head)
        self._since = time.ticks_ms()
        self._state = _UP
        _log("monitor %s: accepted", self.monitor_id)
        self._call(self.on_up)
        while True:
            yield True
            yield from self._read_message(head)

    def _greet(self, head):
        # Dial, and ask the service to accept this session.
        stream = self._stream
        _log("monitor %s: dialling %s", self.monitor_id, host_port(stream.host, stream.port))
        yield from stream.open()
        yield from stream.send(self._request)
        stream.start_clock()
        yield from self._fill(head, _RESPONSE)
        if head[:_HEAD] != _CONNECT_RESPONSE:
            raise self._no_message()
        status = head[6] << 8 | head[7]
        if status != _ACCEPTED:
            raise MonitorError(
                "Session refused (%d): check user and password, whether the account has the"
                " Push Monitor subscription, and the monitor: it may be gone, not of transport"
                " tcp, or disabled (see enable_monitor)" % status,
                status,
            )
        stream.confirm()

    def _no_message(self):
        return OSError(
            _EPROTO,
            "the server answered, but not with a push message: is %s a Remote Manager push port"
            " (3200, with TLS 3201)?" % host_port(self._stream.host, self._stream.port),
        )

    def _read_message(self, head):
        # One message, whatever it is.
        client = self.client
        yield from self._fill(head, _HEAD, client.max_idle or _FOR_EVER)
        size = int.from_bytes(head[2:_HEAD], "big")
        if head[0] << 8 | head[1] == _PUBLISH and size >= _BLOCK_HEAD:
            yield from self._fill(head, _BLOCK_HEAD)
            size -= _BLOCK_HEAD
            if size != int.from_bytes(head[6:], "big"):
                raise self._no_message()  # nor can what follows be told from noise
            yield from self._read_block(head, size)
        elif size > client.max_block:
            raise self._no_message()
        else:
            yield from self._pass_over(size)
            yield from self._skip(None, size, BlockError("a message of an unknown kind"))

    def _read_block(self, head, size):
        number = head[0] << 8 | head[1]
        packed = head[4]
        data = why = None
        if packed > _ZLIB or head[5] > _JSON:
            why = BlockError("compression %d or format %d is unknown" % (packed, head[5]))
        elif not 0 < size <= self.client.max_block:
            why = BlockError("a block has 1 to %d bytes (max_block)" % self.client.max_block)
        else:
            try:
                data = bytearray(size)
            except MemoryError as e:
                why = e
        if why:
            yield from self._pass_over(size)
        else:
            yield from self._fill(data, size)
            try:
                data = self._unpack(data, packed)
            except Exception as e:
                why = e
        taken = None
        if not why:
            _log("monitor %s: block %d, %d bytes", self.monitor_id, number, size)
            taken = self._call(self.callback, data)
            if isinstance(self._raised, BlockError):
                # The messages of it that were good have been seen; the rest can't be used.
                why, self._raised = self._raised, None
        data = None
        if why:
            yield from self._skip(number, size, why)
        elif taken is True:
            yield from self._acknowledge(number)

    def _skip(self, number, size, why):
        self.skipped += 1
        _log("monitor %s: block %s passed over: %s", self.monitor_id, number, why)
        if self._call(self.on_skip, number, size, why) is True and number is not None:
            yield from self._acknowledge(number)

    def _acknowledge(self, number):
        yield from self._stream.send(_RECEIVED + number.to_bytes(2, "big") + _ACKNOWLEDGED)
        _log("monitor %s: block %d acknowledged", self.monitor_id, number)

    def _pass_over(self, size):
        scratch = bytearray(_CHUNK)
        while size:
            n = min(size, _CHUNK)
            yield from self._fill(scratch, n)
            size -= n
            yield True

    def _fill(self, buf, n, idle=0):
        # Read n bytes into buf. idle: ms the first of them may take; what follows must keep
        # coming, `timeout` at most between two pieces of it.
        stream = self._stream
        view = memoryview(buf)[:n]
        since = time.ticks_ms()
        while True:
            got = stream.readinto(view)
            if got:
                idle = 0
                stream.start_clock()
                view = view[got:]
                if not len(view):
                    return
            else:
                if not idle:
                    stream.in_time("rest of a message")
                elif idle != _FOR_EVER:
                    age = time.ticks_diff(time.ticks_ms(), since)
                    if not 0 <= age <= idle:  # below 0: so long ago that ticks went round
                        raise OSError(_ETIMEDOUT, "silent for max_idle")
                yield

    def _unpack(self, block, packed):
        # What the callback gets of a block. It is read twice: to see that it is whole, how long it
        # is and what window will do; then for good, in as much memory as it needs.
        limit = self.client.max_data * (_BATCH if self.messages else 1)
        bits = _WINDOW_MIN if packed else _WINDOW_MAX
        while True:
            try:
                size = _measure(_open(block, packed, bits), limit)
                break
            except OSError:  # it looks farther back than the window, or is damaged
                if bits == _WINDOW_MAX:
                    raise
                bits += 1
        stream = _open(block, packed, bits)
        if self.messages:
            return load_module("idigi_messages").messages(stream, self.client.max_data)
        data = stream.read(size)
        # Python's and MicroPython's json refuse a byte order mark.
        return data[len(_BOM) :] if data.startswith(_BOM) else data


def _open(block, packed, bits):
    stream = io.BytesIO(block)
    if packed:
        import deflate

        stream = deflate.DeflateIO(stream, deflate.ZLIB, bits)
    return stream


def _measure(stream, limit):
    # Bytes of a stream; BlockError when they are over the limit.
    scratch = bytearray(_CHUNK)
    size = 0
    n = 1
    while n:
        n = stream.readinto(scratch)
        size += n
        if size > limit:
            raise BlockError("over max_data, %d bytes when decompressed" % limit)
    return size


def _number(name, value, least, most):
    # An option that must be a number; text of one will do.
    try:
        number = int(value)
        if least <= number <= most:
            return number
    except (ValueError, TypeError, OverflowError):
        pass
    raise ValueError("%s must be a number, %d to %d" % (name, least, most))


class push_client:
    """
    A user of Digi's cloud: makes and finds monitors over HTTPS, and listens to them.

    username, password: str. hostname: a name or address, or a list of such, of which the next one
    is dialled when one fails. hostname, ca_certs, port, push_port: None takes the class's own,
    which a board may set once, in boot.py. ca_certs: the service's root certificate, file name or
    bytes, PEM or DER; or what netstream.tls_context() takes, a "server_hostname" in the dict is
    the name that the certificates carry. secure: False speaks HTTP and plain TCP, password
    included, so only on one's own network. workers: the old library's, not used.
    port: default 443, or 80; push_port: default 3201, or 3200. timeout: s for each wait.
    max_block: most bytes of a block as it comes; a larger one is passed over. max_data: most bytes
    that a block may have when decompressed, or a message of it with messages=True. While a block
    is worked on, a session holds max_block, max_data and zlib's window (of as much as the block
    looks back, at most 32 KB) at the worst. max_idle: s without a block after which a
    session dials anew, since a dead peer looks like a quiet one; 0 for never.
    threads: None: create_session() starts one thread where the port has threads, except on rp2,
    whose second core can't use the network; True: there, too; False: never. The thread serves all
    sessions and calls back from it until stop_all(), or until the program calls do_next(), which
    from then on does the work. Use one or the other: do_next() if you can.

    Hook: on_wait(), None at first, is called while a request waits, to feed a watchdog.
    Raises ValueError for an argument that can't be used.
    """

    hostname = "remotemanager.digi.com"
    ca_certs = port = push_port = None

    def __init__(
        self,
        username,
        password,
        hostname=None,
        secure=True,
        ca_certs=None,
        workers=1,
        port=None,
        push_port=None,
        timeout=10,
        max_block=16384,
        max_data=32768,
        max_idle=1800,
        threads=None,
    ):
        host = hostname or self.hostname
        context = name = None
        if secure:
            ca_certs = ca_certs or self.ca_certs
            if not ca_certs:
                # A board has no store of root certificates to fall back on.
                raise ValueError("ca_certs: pass the service's root certificate")
            if isinstance(ca_certs, dict):
                name = ca_certs.get("server_hostname")
            elif isinstance(ca_certs, (str, bytes)):
                ca_certs = {"ca": ca_certs}
            context = tls_context(ca_certs)
        port = _number("port", port or self.port or (443 if secure else 80), 1, 65535)
        # What rest.Session() and NetStream() take.
        self._http = (host, port, secure and ca_certs, username, password, timeout)
        push_port = push_port or self.push_port or (3201 if secure else 3200)
        push_port = _number("push_port", push_port, 1, 65535)
        self._push = (host, push_port, context, name, timeout)
        self.max_block = _number("max_block", max_block, 1, 1 << 29)
        self.max_data = _number("max_data", max_data, 1, 1 << 29)
        self.max_idle = _number("max_idle", max_idle, 0, _IDLE_MAX_S) * 1000
        self.sessions = []
        self.threads = sys.platform != "rp2" if threads is None else threads
        self.on_wait = None
        self._thread = None  # True while it is being started, then its identity
        self._halting = False  # the thread is asked to end

    def create_monitor(
        self,
        topics,
        batch_size=1,
        batch_duration=0,
        compression="gzip",
        format_type="json",
        ackOption=None,
        autoReplay=None,
        description=None,
    ):
        """
        Make a monitor for TCP; return its id, a str.

        topics: list of str, such as ["DeviceCore[U]", "DataPoint/*/temperature"]. A block is sent
        when batch_size messages have gathered, or after batch_duration seconds (0: at once).
        compression: "none", "zlib", or its old name "gzip"; format_type: "json" or "xml".
        ackOption: "explicit" keeps a block until the callback has returned True, "off" (the
        service's default) only until it is sent. autoReplay: True has events that were missed
        while not connected sent first after each connect, with "replay" in the message; such a
        monitor is worth keeping across restarts: look for it with get_monitor(). description: str.

        Waits for the answer, 60 s at most; after a "429 too many requests" it waits 1, 2, 4 and
        8 s, or as long as the service says (60 s at most), and tries again. Raises ValueError for
        a bad argument, OSError without an answer, MonitorError when refused.
        """
        fields = (
            topics,
            batch_size,
            batch_duration,
            format_type,
            compression,
            ackOption,
            autoReplay,
            description,
        )
        return self._monitors().create(self._http, self._pause, fields)

    def get_monitor(self, topics):
        """
        Return the id (str) of a TCP monitor with exactly these topics, None without one.

        Of several, the first. Waits and raises as create_monitor().
        """
        return self._monitors().find(self._http, self._pause, topics)

    def monitor_status(self, monitor_id):
        """
        Return how the service calls a monitor's state: "ACTIVE" (a session listens), "INACTIVE",
        "SUSPENDED" (nobody listens, events are kept), "CONNECTING", or "DISABLED": the service
        has given it up, see enable_monitor().

        Waits and raises as create_monitor().
        """
        return self._monitors().status(self._http, self._pause, monitor_id)

    def enable_monitor(self, monitor_id):
        """
        Enable a monitor that the service has disabled, which it does after a day of failures.
        What it kept for a replay is lost, and its session is dialled anew.

        Waits and raises as create_monitor().
        """
        self._monitors().enable(self._http, self._pause, monitor_id)

    def delete_monitor(self, monitor_id):
        """Delete a monitor. Waits and raises as create_monitor()."""
        self._monitors().delete(self._http, self._pause, monitor_id)

    def create_session(self, callback, monitor_id, messages=False):
        """
        Listen to a monitor; returns the PushSession at once. The network's trouble is the
        session's: see its `error`.

        callback(data) hears each block: data is its payload, bytes of JSON or XML. Only if it
        returns True the block is acknowledged. messages=True: data is an iterator over the
        messages of the block instead (idigi_messages.messages); only one is in memory at a time,
        and a block that turns out damaged ends it with BlockError.
        Blocks come at least once: after a lost connection one may come again.
        Raises ValueError for a bad monitor_id.
        """
        return PushSession(self, callback, monitor_id, messages)

    def do_next(self, wait_ms=0):
        """
        One step of every session: dial, read, call back, acknowledge, reconnect, as is due.

        wait_ms: how long to wait at most (never over 1000) when there is nothing to do. Returns
        True when something happened. Never raises for the network; what a callback raised comes
        out here. Ends the thread, if there is one.
        """
        return self._drive(wait_ms, self.sessions)

    def stop_all(self):
        """Stop all sessions; waits for the thread to end, ten seconds at most."""
        self._halt()
        for session in self.sessions:
            session.stop()

    # -- who drives: the program through do_next(), or the thread

    def _drive(self, wait_ms, sessions):
        self.threads = False
        return self._halt() and self._step_all(wait_ms, sessions)

    def _step_all(self, wait_ms, sessions):
        left = wait_ms = min(wait_ms, _WAIT_MAX_MS)
        start = time.ticks_ms()
        worked = False
        while True:
            for session in sessions:
                each = left if len(sessions) == 1 else min(left, _SLICE_MS)
                worked = session._step(each) or worked
            for session in sessions:
                if session._raised:
                    e, session._raised = session._raised, None
                    raise e
            if not sessions:
                time.sleep_ms(left)
            left = max(0, wait_ms - time.ticks_diff(time.ticks_ms(), start))
            if worked or not left:
                return worked

    def _start_thread(self):
        # Let the thread work, if there is to be one.
        self._halting = False
        if self.threads and not self._thread:
            try:
                import _thread

                if sys.platform == "esp32":
                    _thread.stack_size(_THREAD_STACK)
                self._get_ident = _thread.get_ident
                self._thread = True
                _thread.start_new_thread(self._serve, ())
            except (ImportError, OSError, RuntimeError, MemoryError):
                self._thread = None

    def _serve(self):
        self._thread = self._get_ident()
        while not self._halting:
            try:
                self._step_all(100, self.sessions)
            except BaseException as e:  # sys.exit() too: nobody would hear of it here
                sys.print_exception(e)
        self._thread = None

    def _halt(self):
        # Have the thread end. Returns whether it has; it can't wait for itself, in a callback.
        self._halting = True
        left = _THREAD_END_S * 100
        while self._thread and left > 0 and self._get_ident() != self._thread:
            time.sleep_ms(10)
            left -= 1
        return not self._thread

    # -- what goes over the wire

    def _connect_request(self, monitor_id):
        # A whole ConnectRequest: version, user name, password, monitor. Lengths are of bytes.
        body = _VERSION
        for value in self._http[3:5]:
            value = bytes(value, "utf-8")
            if len(value) > 65535:
                raise ValueError("username or password too long")
            body += len(value).to_bytes(2, "big") + value
        monitor_id = int(monitor_id or 0)
        if monitor_id < 1 or monitor_id >> 32:
            raise ValueError("there is no monitor_id")
        body += monitor_id.to_bytes(4, "big")
        return _CONNECT_REQUEST + len(body).to_bytes(4, "big") + body

    def _monitors(self):
        # Loaded for this once: a session needs its heap for other things.
        return load_once("idigi_monitors")

    def _pause(self):
        time.sleep_ms(5)
        if self.on_wait:
            self.on_wait()
