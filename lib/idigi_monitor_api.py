"""
Digi push monitors (iDigi once, Remote Manager today): hear of a cloud's device events over TCP.

Stands on netstream for the push connection, and on rest for the HTTPS requests that make, find
and delete monitors. Names are those of Digi's library of 2012, so its programs run as they are.
do_next() is the whole engine: one bounded step that dials, reads, calls back, acknowledges and
reconnects. Where threads exist a program may also sleep, as those of 2012 did. A block is held
whole, max_block bytes at most; what zlib makes of it stops at max_data.
"""

import io
import json
import os
import sys
import time

from micropython import const

from netstream import NetStream, tls_context

_EPROTO = const(71)
_ETIMEDOUT = const(110)
_CHUNK = const(512)  # what is passed over goes by in pieces of this many bytes
_BODY = const(16384)  # longest answer to a request, bytes
_BATCH = const(16)  # taken message by message, a block may have this many times max_data
_SLICE_MS = const(20)  # with several sessions, how long one may keep the others waiting


class MonitorError(Exception):
    """
    What the service refused. status: its HTTP or push status; the text has its own words.

    401, and 403 from a session: user name or password. 400: a bad field; from a session, an
    unknown monitor or one whose transport isn't tcp. 404: no such monitor. 429: too many requests.
    """

    def __init__(self, text, status):
        super().__init__(text)
        self.status = status


class BlockError(ValueError):
    """A block that can't be used: over a limit, empty, unknown, damaged or cut short."""


class PushSession:
    """
    One push connection; push_client.create_session() makes and starts it.

    error: what the last attempt or connection ended with, None at first: OSError for the network,
    TLSError when the server can't be trusted, MonitorError for a refusal; it dials again after
    each. skipped: how many blocks and messages were passed over.
    Hooks, None at first: on_up() after each accepted connection; on_down(error) after each attempt
    or connection that has ended; on_skip(block_id, size, why) for a block that could not be given
    to the callback (why: BlockError, MemoryError or what deflate raised), with block_id None for a
    message of an unknown kind. If on_skip returns True the block is acknowledged all the same, so
    that a server in explicit mode goes on; else it stays with the server.
    A callback or hook must not call do_next(). If it raises, its exception comes out of do_next()
    (a thread prints it), and the block stays unacknowledged.
    """

    backoff_ms = 1000  # longest wait before the first new attempt; doubled after each failure ...
    backoff_max_ms = 64000  # ... up to this. The wait is a random part of it (full jitter).

    def __init__(self, client, callback, monitor_id, messages=False):
        self.client = client
        self.callback = callback
        self.monitor_id = monitor_id
        self.messages = messages
        self.on_up = self.on_down = self.on_skip = self.error = None
        self._hello = client._hello(monitor_id)
        self._stream = NetStream(*client._push)
        self._task = self._raised = None
        self._up = self._busy = False
        self.start()

    def start(self):
        """Connect, and reconnect until stop(). Returns at once; harmless when it runs already."""
        client = self.client
        self._failures = self.skipped = 0
        self._at = time.ticks_ms()  # when to dial, or when the connection was accepted
        self._stopped = False
        if self not in client.sessions:
            # A new list: the thread may be going through the old one.
            client.sessions = client.sessions + [self]
        client._go()

    def stop(self):
        """Close the connection. The monitor stays; start() goes on with it."""
        self._stopped = True
        sessions = list(self.client.sessions)
        if self in sessions:
            sessions.remove(self)
            self.client.sessions = sessions
        # In a callback the connection is needed still: the end of the step closes it.
        self._task = None
        if not self._busy:
            self._close()

    def is_connected(self):
        """Return whether the server has accepted this session and nothing is known to be wrong."""
        return self._up

    def do_next(self, wait_ms=0):
        """
        One step of this session alone. Arguments, result and errors: push_client.do_next().
        """
        return self.client._drive(wait_ms, [self])

    def _step(self, wait_ms):
        # Whether something happened. What the program's callback raised stays in _raised.
        if self._busy:
            return False
        task = self._task
        if not task:
            left = time.ticks_diff(self._at, time.ticks_ms())
            if self._stopped or left > 0:
                time.sleep_ms(min(left, wait_ms))
                return False
            task = self._task = self._run()
        self._busy = True
        worked = False
        try:
            worked = next(task)
            if wait_ms and not worked and self._stream.wait(wait_ms):
                worked = next(task)
        except (OSError, MonitorError, MemoryError, StopIteration) as e:
            # StopIteration: Ctrl-C went through it in an earlier step.
            self._drop(e)
        finally:
            self._busy = False
            if self._task is not task:
                self._close()
        return worked is True

    def _call(self, f, *args):
        # Run a callback of the program. Its exception waits until the step is finished.
        try:
            return f and f(*args)
        except Exception as e:
            self._raised = e

    def _drop(self, e):
        # The connection, or an attempt at one, has ended because of e.
        self.error = e
        now = time.ticks_ms()
        if self._up and time.ticks_diff(now, self._at) > self._stream.timeout_ms:
            self._failures = 0
        ceiling = min(self.backoff_ms << min(self._failures, 16), self.backoff_max_ms)
        self._at = time.ticks_add(now, ceiling * int.from_bytes(os.urandom(2), "big") >> 16)
        self._failures += 1
        self._close()
        self._call(self.on_down, e)

    def _close(self):
        self._up = False
        self._task = None
        self._stream.close()

    # -- the connection, from dialling to its end: generators that yield None where they would
    # wait, and True when they have done something.

    def _run(self):
        client = self.client
        stream = self._stream
        head = bytearray(10)
        yield from stream.open()
        yield from stream.send(self._hello)
        stream.start_clock()
        yield from self._fill(head, 10)
        # Type 2, length 4, status, version.
        if head[:6] != b"\0\x02\0\0\0\x04":
            raise OSError(_EPROTO, "no ConnectResponse, wrong port?")
        status = head[6] << 8 | head[7]
        if status != 200:
            raise MonitorError("Session refused (%d): check user, monitor id" % status, status)
        self._up = True
        self._at = time.ticks_ms()
        self._call(self.on_up)
        while True:
            yield True
            # A message: type u16, length u32, all big-endian, and that many bytes.
            yield from self._fill(head, 6, client.max_idle)
            number = why = taken = None
            size = int.from_bytes(head[2:6], "big")
            wrong = size > client.max_block
            if head[:2] == b"\0\x03" and size > 9:
                # PublishMessage: block id u16, count u16, compression u8, format u8, length u32.
                yield from self._fill(head, 10)
                number = head[0] << 8 | head[1]
                size -= 10
                wrong = size != int.from_bytes(head[6:], "big")
            if wrong:  # and what follows can't be told from noise
                raise OSError(_EPROTO, "no message")
            if number is None or head[4] > 1 or head[5] > 1 or not 0 < size <= client.max_block:
                why = BlockError("unknown or over max_block")
            else:
                try:
                    data = bytearray(size)
                except MemoryError as e:
                    why = e
            if why:
                data = bytearray(_CHUNK)
                left = size
                while left:
                    n = min(left, _CHUNK)
                    yield from self._fill(data, n)
                    left -= n
                    yield True
            else:
                yield from self._fill(data, size)
                try:
                    data = self._unpack(data, head[4])
                except Exception as e:
                    why = e
                else:
                    taken = self._call(self.callback, data)
                    if isinstance(self._raised, BlockError):
                        why, self._raised = self._raised, None
            data = None
            if why:
                self.skipped += 1
                taken = self._call(self.on_skip, number, size, why)
            if taken is True and number is not None:
                ack = b"\0\x04\0\0\0\x04" + number.to_bytes(2, "big") + b"\0\xc8"
                yield from stream.send(ack)

    def _fill(self, buf, n, idle=0):
        # Read n bytes into buf. idle: ms the first of them may take; the rest must keep coming.
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
                elif time.ticks_diff(time.ticks_ms(), since) > idle:
                    raise OSError(_ETIMEDOUT, "silent for max_idle")
                yield

    def _unpack(self, block, packed):
        # What the callback gets of a block. It is read twice: to see that it is whole, how long it
        # is and what window will do; then for good, in as much memory as it needs.
        limit = self.client.max_data * (_BATCH if self.messages else 1)
        scratch = bytearray(_CHUNK)
        bits = 9 if packed else 15
        while True:
            stream = _open(block, packed, bits)
            size = 0
            n = 1
            try:
                while n:
                    n = stream.readinto(scratch)
                    size += n
                    if size > limit:
                        raise BlockError("over max_data")
                break
            except OSError:  # it looks farther back than the window, or is damaged
                if bits > 14:
                    raise
                bits += 1
        stream = _open(block, packed, bits)
        if self.messages:
            from idigi_messages import messages

            return messages(stream, self.client.max_data)
        return stream.read(size)


def _open(block, packed, bits):
    stream = io.BytesIO(block)
    if packed:
        import deflate

        stream = deflate.DeflateIO(stream, deflate.ZLIB, bits)
    return stream


class push_client:
    """
    A user of Digi's cloud: makes and finds monitors over HTTPS, and listens to them.

    username, password: str. hostname, ca_certs, port, push_port: None takes the class's own, which
    a board may set once, in boot.py. ca_certs: the service's root certificate, file name or
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
        port = port or self.port or (443 if secure else 80)
        self._http = (host, port, secure and ca_certs, username, password, timeout)
        port = push_port or self.push_port or (3201 if secure else 3200)
        self._push = (host, port, context, name, timeout)
        self.max_block = max_block
        self.max_data = max_data
        # ticks_ms() wraps after 12 days on 32-bit boards: half of that is as good as never.
        self.max_idle = min(max_idle * 1000 or 1 << 29, 1 << 29)
        self.sessions = []
        self.threads = sys.platform != "rp2" if threads is None else threads
        self._thread = self.on_wait = None

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

        Waits for the answer, 60 s at most; after a "429 too many requests" it waits and tries
        again, four times. Raises ValueError for a bad argument, OSError without an answer,
        MonitorError when refused.
        """
        if autoReplay is not None:
            autoReplay = "true" if autoReplay else "false"
        body = "<Monitor><monTransportType>tcp</monTransportType>"
        for name, value, allowed in (
            ("Topic", _join(topics), 0),
            ("BatchSize", batch_size, 0),
            ("BatchDuration", batch_duration, 0),
            ("FormatType", format_type, "json xml"),
            ("Compression", compression, "none zlib gzip"),
            ("AckOption", ackOption, "off explicit"),
            ("AutoReplayOnConnect", autoReplay, 0),
            ("Description", description, 0),
        ):
            if value is None:
                continue
            if allowed and value not in allowed.split():
                raise ValueError("%s is none of: %s" % (value, allowed))
            value = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            body += "<mon%s>%s</mon%s>" % (name, value, name)
        headers, text = self._ask("Created", "POST", "", body + "</Monitor>")
        # The id stands at the end of a header, and in the body for those who can't see headers.
        place = headers.get("location") or str(text.split(b"</location>")[0], "utf-8")
        return place.split("/")[-1]

    def get_monitor(self, topics):
        """
        Return the id (str) of a TCP monitor with exactly these topics, None without one.

        Of several, the first. Waits and raises as create_monitor().
        """
        path = ""
        for c in bytes("monTopic='" + _join(topics) + "'", "utf-8"):
            path += "%%%02X" % c
        text = self._ask("Retrieved", "GET", "/.json?condition=" + path)[1]
        for item in json.loads(text)["items"]:
            # The same topics may also be pushed to some web server.
            if item.get("monTransportType", "tcp") == "tcp":
                return item["monId"]

    def delete_monitor(self, monitor_id):
        """Delete a monitor. Waits and raises as create_monitor()."""
        self._ask("Deleted", "DELETE", "/%d" % int(monitor_id))

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
        return self._halt() and self._steps(wait_ms, sessions)

    def _steps(self, wait_ms, sessions):
        left = wait_ms = min(wait_ms, 1000)
        start = time.ticks_ms()
        worked = False
        while True:
            for session in sessions:
                worked = (
                    session._step(left if len(sessions) == 1 else min(left, _SLICE_MS)) or worked
                )
            for session in sessions:
                if session._raised:
                    e, session._raised = session._raised, None
                    raise e
            if not sessions:
                time.sleep_ms(left)
            left = max(0, wait_ms - time.ticks_diff(time.ticks_ms(), start))
            if worked or not left:
                return worked

    def _go(self):
        # Let the thread work, if there is to be one.
        self._halting = False
        if self.threads and not self._thread:
            try:
                import _thread

                if sys.platform == "esp32":
                    _thread.stack_size(16384)  # TLS needs it; the default is 4 KB
                self.get_ident = _thread.get_ident
                self._thread = True
                _thread.start_new_thread(self._serve, ())
            except (ImportError, OSError, RuntimeError, MemoryError):
                self._thread = None

    def _serve(self):
        self._thread = self.get_ident()
        while not self._halting:
            try:
                self._steps(100, self.sessions)
            except Exception as e:
                sys.print_exception(e)
        self._thread = None

    def _halt(self):
        # Have the thread end. Returns whether it has; it can't wait for itself, in a callback.
        self._halting = True
        left = 999
        while self._thread and left > 0 and self.get_ident() != self._thread:
            time.sleep_ms(10)
            left -= 1
        return not self._thread

    # -- what goes over the wire

    def _hello(self, monitor_id):
        # ConnectRequest: version 1, user name, password, monitor. Lengths are of bytes.
        body = b"\0\x01"
        for value in self._http[3:5]:
            value = bytes(value, "utf-8")
            if len(value) > 65535:
                raise ValueError("username or password too long")
            body += len(value).to_bytes(2, "big") + value
        monitor_id = int(monitor_id or 0)
        if monitor_id < 1 or monitor_id >> 32:
            raise ValueError("there is no monitor_id")
        body += monitor_id.to_bytes(4, "big")
        return b"\0\x01" + len(body).to_bytes(4, "big") + body

    def _ask(self, what, method, path, body=None):
        # One request about monitors; returns the headers and the body of its answer.
        from rest import Session

        http = Session(*self._http)
        try:
            pause = 0
            while True:
                for _ in range(pause):
                    self._pause()
                for answer in http.start(
                    method, "/ws/Monitor" + path, body, {"Content-Type": "text/xml"}
                ):
                    if answer:
                        break
                    self._pause()
                for text in answer.whole(_BODY):
                    if text is not None:
                        break
                    self._pause()
                status = answer.status
                if status != 429 or pause > 1500:
                    break
                pause = 2 * pause or 200  # 1, 2, 4, 8 s
            if status > 299:
                text = "".join(map(chr, text[:300]))  # it is ISO-8859-1
                text = "Monitor Could not be %s (%d): %s" % (what, status, text)
                raise MonitorError(text, status)
            return answer.headers, text
        finally:
            # TLS has some 20 KB for each connection, and the session needs them next.
            http.close()

    def _pause(self):
        time.sleep_ms(5)
        if self.on_wait:
            self.on_wait()


def _join(topics):
    return topics if isinstance(topics, str) else ",".join(topics)
