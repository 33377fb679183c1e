"""
The mock broker: MQTT 3.1.1 over TCP, TLS, WebSocket and both together, for several services.

It keeps the rules of MQTT 3.1.1 strictly and leaves everything that is a cloud's own to a
Service: whom a CONNECT belongs to and whether it is let in, what a publish and a filter mean, and
how a topic looks to the client. The class Service below is the whole interface, in the order in
which a connection meets it; deliver(), sessions and Client are what a service works with.

Hooks run in the server's event loop and must not block. Any of them may raise Close("why") to end
the connection without an answer; any other exception is logged and ends the connection too.

Bounds: max_packet bytes, max_clients, connect_timeout for TLS + WebSocket + CONNECT together, the
queues of session.py, and PENDING_ACKS, beyond which a client is not read from until the store
has caught up. Whoever publishes faster than a connected subscriber reads is not read from for a
while either (BRAKE), so that a subscriber which merely is slower loses nothing; one that has
stopped reading holds nobody up for longer than that, and then loses its oldest messages.
"""

import asyncio
import collections
import inspect
import logging
import secrets
import socket
import time

from . import codec as mq
from . import websocket
from .session import BACKLOG, MAX_SUBSCRIPTIONS, Session, Tree

log = logging.getLogger("localcloud.mqtt")

PENDING_ACKS = 2000  # acknowledgements that wait for the store, until a client is not read from
FLUSH_AT = 65536  # bytes gathered for one write
WRITE_HIGH = 262144  # bytes unsent until a client counts as congested and its messages wait
MAX_RETAINED = 10000  # topics of each service
BRAKE = 1  # seconds at most that a publisher waits for a slow subscriber
LINGER = 5  # seconds that a closed connection has for sending its last bytes

ABANDONED = object()

End = collections.namedtuple("End", "reason text code")


class Close(Exception):
    """Raised by a service: end this connection without an answer. The text is for people."""

    def __init__(self, text, code=0):
        self.code = code
        super().__init__(text)


class Service:
    """
    One cloud's side of MQTT. The defaults make a plain broker of it that lets nobody in.

    name: for logs and for keeping sessions apart; unique. max_qos: the highest that the default
    subscribe() grants. queue_limit: messages that wait for one subscription. persistent: durable
    sessions and retained messages outlive the process, if the server has a store.
    """

    name = "service"
    max_qos = 2
    queue_limit = BACKLOG
    persistent = False
    server = None  # set by Server.add

    def __init__(self):
        self.sessions = {}  # key -> Session, with and without a client
        self.tree = Tree()
        self.retained = {}  # topic -> (payload, qos)

    def claims(self, client):
        """Is this CONNECT mine? Asked in the order of Server.add; client has all but a session."""
        return False

    def authenticate(self, client, password):
        """
        Return a CONNACK code, 0 to 5. password: bytes or None; it is kept nowhere else. May be a
        coroutine. May change client.clean (True: no session is kept), client.silence (seconds
        without a byte until the server closes; 0 never), client.will and client.data.
        """
        return mq.NOT_AUTHORISED

    def session_key(self, client):
        """
        Whom a new connection with an equal key pushes out, and whose session it resumes. None:
        nobody's. With a store it must be a str.
        """
        return client.client_id

    def connected(self, client, present):
        """CONNACK 0 is on its way. present: an older session was resumed."""

    def publish(self, client, packet):
        """
        A PUBLISH, at any QoS: packet.topic .payload .qos .retain .dup. What is returned (None, a
        future that many may share, or a coroutine) holds its PUBACK or PUBREC back until done;
        if it fails, nothing is acknowledged and the connection closes. The next packet is handled
        meanwhile. Duplicates of QoS 2 don't come here.
        """
        return self.deliver(packet.topic, packet.payload, packet.qos, packet.retain)

    def subscribe(self, client, filter, qos):
        """
        Return the code of the SUBACK (0, 1, 2 or 0x80), or (code, pattern), or (code, pattern,
        group). pattern: the filter in this service's own topics, for deliver(); without one (or
        None) nothing is routed and the service publishes by itself. group: each message goes to
        one of its members.
        """
        return min(qos, self.max_qos), filter

    def subscribed(self, client, filter, code):
        """The SUBACK that grants it is on its way (so is what was retained)."""

    def unsubscribe(self, client, filter):
        """The UNSUBACK is on its way; only for a filter that there was."""

    def outgoing(self, session, topic):
        """
        One of this service's topics as the session's client may see it, or None for not at all.
        The answer is remembered: it must depend on nothing that changes.
        """
        return topic

    def will(self, client, packet):
        """The client ended without DISCONNECT: publish its will."""
        return self.publish(client, packet)

    def disconnected(self, client, end):
        """
        end.reason: normal lost keepalive takeover protocol service shutdown error; end.text: the
        same for people; end.code: what Close or close() gave. client's counters stand still.
        """

    # ---- what the server does for a service

    @property
    def store(self):
        return self.server.store if self.persistent and self.server is not None else None

    def deliver(self, topic, payload, qos=0, retain=False):
        """Hand a message to every session with a matching pattern; what an ack must wait for."""
        for session, subscription, seen in self.tree.find(topic, self.outgoing):
            session.offer(seen, payload, min(qos, subscription.qos), False, subscription)
        store = self.store
        if retain:
            self._retain(topic, payload, qos, store)
        return store.durable() if store is not None and qos else None

    def _retain(self, topic, payload, qos, store):
        if not payload:
            if self.retained.pop(topic, None) is not None and store is not None:
                store.drop_retained(self.name, topic)
            return
        self.retained.pop(topic, None)
        if len(self.retained) >= MAX_RETAINED:
            oldest = next(iter(self.retained))
            del self.retained[oldest]
            if store is not None:
                store.drop_retained(self.name, oldest)
        self.retained[topic] = payload, qos
        if store is not None:
            store.put_retained(self.name, topic, payload, qos)

    def send_retained(self, session, subscription):
        """What 3.8.4 asks after a new subscription."""
        for topic, (payload, qos) in list(self.retained.items()):
            if mq.matches(subscription.pattern, topic):
                seen = self.outgoing(session, topic)
                if seen is not None:
                    session.offer(seen, payload, min(qos, subscription.qos), True, subscription)

    def restore(self):
        """Take sessions and retained messages over from the store; called by Server.add."""
        for key, sid, subscriptions, messages, received in self.store.sessions(self.name):
            session = Session(self, key, False, self.queue_limit, self.store, sid)
            session.restore(subscriptions, messages, received)
            self.sessions[key] = session
            for subscription in session.subscriptions.values():
                if subscription.pattern is not None:
                    self.tree.add(session, subscription)
        for topic, payload, qos in self.store.retained(self.name):
            self.retained[topic] = payload, qos

    def forget(self, session):
        """End a session for good."""
        if self.sessions.get(session.key) is session:
            del self.sessions[session.key]
        for subscription in session.subscriptions.values():
            if subscription.pattern is not None:
                self.tree.remove(session, subscription)
        session.discard()


class OpenBroker(Service):
    """Lets everybody in as a broker's client; with user and password only who has them."""

    name = "broker"

    def __init__(self, user=None, password=None, listeners=None, persistent=False):
        super().__init__()
        self.user = user
        self.password = password
        self.listeners = listeners
        self.persistent = persistent

    def claims(self, client):
        return self.listeners is None or client.listener in self.listeners

    def authenticate(self, client, password):
        if self.user is None:
            return mq.ACCEPTED
        given = (client.user or "").encode(), password or b""
        wanted = self.user.encode(), (self.password or "").encode()
        right = [secrets.compare_digest(a, b) for a, b in zip(given, wanted)]
        return mq.ACCEPTED if all(right) else mq.BAD_USER


class Listener:
    """name, host, port (the real one), tls and websocket of an open port."""

    def __init__(self, name, host, tls, websocket):
        self.name = name
        self.host = host
        self.port = 0
        self.tls = tls
        self.websocket = websocket
        self.server = None


class Server:
    """
    server = Server(); server.add(service); await server.listen("mqtt", "127.0.0.1", 0); await
    server.stop()

    store: None, or the sessions' store (store.SessionStore). http: None, or a factory of asyncio
    protocols that gets the connections of WebSocket listeners which turn out to be plain HTTP.
    """

    def __init__(
        self,
        store=None,
        max_packet=1 << 20,
        max_clients=5000,
        connect_timeout=15,
        max_sessions=10000,
    ):
        self.store = store
        self.max_packet = max_packet
        self.max_clients = max_clients
        self.connect_timeout = connect_timeout
        self.max_sessions = max_sessions
        self.http = None
        self.services = []
        self.listeners = {}
        self.clients = set()
        self.accepted = 0  # connections, ever
        # Who hears of all services' clients: connected(client), published(client, packet) and
        # disconnected(client), after the service. They must not block and only look.
        self.watchers = []
        self.publisher = None  # the client whose PUBLISH is being handled
        self._dirty = []
        self._auto = 0

    def add(self, service):
        """Register a service; the first one that claims a CONNECT has it."""
        service.server = self
        self.services.append(service)
        if service.store is not None:
            service.restore()
        return service

    async def listen(self, name, host="127.0.0.1", port=0, tls=None, websocket=False):
        """
        Open a port and return its Listener. tls: None or an ssl.SSLContext. websocket: the port
        speaks MQTT over WebSocket, and plain MQTT as well (told apart by the first byte). OSError
        when the port can't be had.
        """
        listener = Listener(name, host, tls is not None, websocket)
        loop = asyncio.get_running_loop()
        options = {}
        if tls is not None:
            options = {"ssl": tls, "ssl_handshake_timeout": self.connect_timeout}
        listener.server = await loop.create_server(
            lambda: Client(self, listener), host, port, backlog=1024, **options
        )
        listener.port = listener.server.sockets[0].getsockname()[1]
        self.listeners[name] = listener
        return listener

    async def stop(self):
        """Close ports and connections; give last bytes a moment to leave."""
        for listener in self.listeners.values():
            listener.server.close()
        for client in list(self.clients):
            client.close("the server stops", "shutdown")
        deadline = time.monotonic() + 1
        while self.clients and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for client in list(self.clients):
            client.abort()
        await asyncio.sleep(0)

    def find(self, client_id):
        """All connected clients of this client id, of any service."""
        return [c for c in self.clients if c.session is not None and c.client_id == client_id]

    def new_client_id(self):
        self._auto += 1
        return "auto-%d-%s" % (self._auto, secrets.token_hex(6))

    def later_flush(self, client):
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        self._dirty.append(client)

    def _flush(self):
        dirty, self._dirty = self._dirty, []
        for client in dirty:
            client.flush()

    def trim_sessions(self, service):
        """Keep the number of sessions without a client bounded; the longest kept goes first."""
        if len(service.sessions) > self.max_sessions:
            for session in list(service.sessions.values()):
                if session.client is None:
                    service.forget(session)
                    if len(service.sessions) <= self.max_sessions:
                        break


class Client(asyncio.Protocol):
    """
    One connection, from its first byte to its end.

    For services, to read: listener (its name), peer (host, port), port, secure, websocket,
    certificate (DER or None), client_id, user, clean, keepalive, level (3 or 4), will (codec.Will
    or None), service, session, connected_at (seconds since 1970), end (None while connected),
    read_bytes, read_msg, write_bytes, write_msg (PUBLISH packets; MQTT bytes). data is the
    service's own. To call: publish() and close().
    """

    def __init__(self, server, listener):
        self.server = server
        self.listener = listener.name
        self.secure = listener.tls
        self.websocket = False
        self.service = None
        self.session = None
        self.client_id = ""
        self.user = None
        self.clean = True
        self.keepalive = 0
        self.silence = 0
        self.level = 4
        self.will = None
        self.data = None
        self.peer = ("", 0)
        self.port = listener.port
        self.certificate = None
        self.connected_at = 0.0
        self.read_bytes = self.read_msg = self.write_bytes = self.write_msg = 0
        self.congested = True  # until the CONNACK is on its way
        self.end = None
        self._sniff = listener.websocket
        self._head = b""
        self._frames = None
        self._parser = mq.Parser(server.max_packet)
        self._transport = None
        self._out = []
        self._out_size = 0
        self._acks = collections.deque()
        self._watched = None
        self._paused = set()  # why this connection is not read from
        self._brake = None
        self._heard = 0.0
        self._timer = None
        self._login = None
        self._got_connect = False

    def __repr__(self):
        return "<%s %r on %s>" % (
            self.service.name if self.service else "client",
            self.client_id,
            self.listener,
        )

    # ---- asyncio's side

    def connection_made(self, transport):
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        server = self.server
        server.accepted += 1
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer = (transport.get_extra_info("peername") or ("", 0))[:2]
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.certificate = tls.getpeercert(True)
        transport.set_write_buffer_limits(WRITE_HIGH)
        server.clients.add(self)
        if len(server.clients) > server.max_clients:
            self.close("more than %d connections" % server.max_clients, "error")
            return
        self._timer = self._loop.call_later(
            server.connect_timeout, self.close, "no CONNECT in time", "keepalive"
        )

    def data_received(self, data):
        self._heard = self._loop.time()
        if self.end is not None:
            return
        if self._sniff:
            self._tell_apart(data)
            return
        if self._frames is not None:
            self._unwrap(data)
            return
        self.read_bytes += len(data)
        self._parser.feed(data)
        if self._login is None:
            self._work()

    def eof_received(self):
        return False

    def connection_lost(self, exc):
        self.server.clients.discard(self)
        self._finish(
            "lost",
            "The connection was lost." if exc is None else "The connection broke: %s" % exc,
            0,
        )

    def pause_writing(self):
        self.congested = True

    def resume_writing(self):
        self.congested = False
        if self.session is not None and self.end is None:
            self.session.pump()

    # ---- WebSocket

    def _tell_apart(self, data):
        self._head += data
        if self._head[0] == 0x10:
            self._sniff = False
            data, self._head = self._head, b""
            self.data_received(data)
            return
        if not 0x41 <= self._head[0] <= 0x5A:
            self.close("neither MQTT nor HTTP", "protocol")
            return
        try:
            parsed = websocket.read_request(self._head)
            if parsed is None:
                return
            request, rest = parsed
            if self.server.http is not None and not request.upgrade:
                self._hand_over()
                return
            reply = websocket.answer(request)
        except websocket.BadRequest as e:
            self._transport.write(e.answer)
            self.close("WebSocket refused: %s" % e, "protocol")
            return
        self._sniff = False
        self._head = b""
        self.websocket = True
        self._frames = websocket.Frames(max(self.server.max_packet, 65536))
        self._transport.write(reply)
        if rest:
            self.data_received(rest)

    def _hand_over(self):
        """An ordinary HTTP request: its connection belongs to the HTTP side from here on."""
        self._timer.cancel()
        self.server.clients.discard(self)
        self.end = End("http", "", 0)
        protocol = self.server.http()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._head)

    def _unwrap(self, data):
        self._frames.feed(data)
        try:
            for opcode, payload in self._frames:
                if opcode == websocket.BINARY:
                    self.read_bytes += len(payload)
                    self._parser.feed(payload)
                    if self._login is None:
                        self._work()
                elif opcode == websocket.PING:
                    self.flush()
                    self._transport.write(websocket.frame(websocket.PONG, payload))
                elif opcode == websocket.CLOSE:
                    self.flush()
                    self._finish("lost", "The WebSocket was closed.", 0)
                    self._hang_up(payload[:2])
                if self.end is not None:
                    return
        except websocket.WebSocketError as e:
            self._finish("protocol", "WebSocket: %s" % e, 0)
            self._hang_up(e.code.to_bytes(2, "big") + str(e).encode())

    # ---- packets in

    def _work(self):
        """Everything that can be parsed, in order; one write for all answers."""
        try:
            for packet in self._parser:
                if self.session is not None:
                    self._HANDLERS[packet.type](self, packet)
                else:
                    self._on_first(packet)
                if self.end is not None or self._login is not None:
                    return
        except mq.ProtocolError as e:
            if e.connack is not None and not self._got_connect:
                self._transport_write(mq.Connack(e.connack).encode())
            self.close("protocol error: %s" % e, "protocol")
        except Exception as e:
            self._failed(e)
        finally:
            if self._out:
                self.flush()

    def _on_first(self, packet):
        if packet.type != mq.CONNECT:
            raise mq.ProtocolError("first-not-connect", mq.NAMES[packet.type])
        self._got_connect = True
        self.level = packet.level
        self.client_id = packet.client_id or self.server.new_client_id()
        self.user = packet.user
        self.clean = packet.clean
        self.keepalive = packet.keepalive
        self.silence = packet.keepalive * 1.5
        self.will = packet.will
        for service in self.server.services:
            if service.claims(self):
                self.service = service
                break
        else:
            log.info("nobody knows %r", self)
            self._refuse(mq.NOT_AUTHORISED, "no service knows this client id and user name")
            return
        # Further packets wait in the parser: a refused client's must not be processed (3.1.4-5).
        self._login = self._loop.create_task(self._log_in(packet.password))
        self._pause("login")

    async def _log_in(self, password):
        service = self.service
        try:
            code = service.authenticate(self, password)
            if inspect.isawaitable(code):
                code = await code
            if self.end is not None:
                return
            if code:
                self._refuse(code, "refused")
                return
            await self._open_session()
        except Exception as e:
            self._failed(e)
        finally:
            self._login = None
        if self.end is None:
            self._resume("login")
            self._work()

    def _refuse(self, code, text):
        self.send(mq.Connack(code).encode())
        self.close("%s with CONNACK %d" % (text, code), "refused", code)

    async def _open_session(self):
        service = self.service
        key = service.session_key(self)
        if key is None:
            key = object()
            self.clean = True
        old = service.sessions.get(key)
        if old is not None and old.client is not None:
            old.client.close("another connection with the same client id", "takeover")
            old = service.sessions.get(key)
        present = False
        if old is not None and not self.clean and not old.clean:
            session = old
            present = True
            # To the end: trim_sessions() takes from the front.
            service.sessions[key] = service.sessions.pop(key)
        else:
            if old is not None:
                service.forget(old)
            session = Session(service, key, self.clean, service.queue_limit, service.store)
            service.sessions[key] = session
            self.server.trim_sessions(service)
        self.session = session
        self.connected_at = time.time()
        session.client = self
        if session.sid is not None:
            # What this session resends must be on disk as the client is going to see it.
            wait = service.store.durable()
            if wait is not None:
                await asyncio.shield(wait)
                if self.end is not None:
                    return
        self._timer.cancel()
        self._timer = None
        self._watch()
        self.send(mq.Connack(0, present).encode())
        log.info("%r connected from %s:%d", self, *self.peer)
        self.congested = False
        session.attach(self)
        service.connected(self, present)
        self._tell_watchers("connected")

    def _on_publish(self, packet):
        self.read_msg += 1
        qos = packet.qos
        if not qos:
            stored = self._call_publish(packet)
            if stored is not None and inspect.iscoroutine(stored):
                self._background(stored)
            self._tell_watchers("published", packet)
            return
        if qos == 2:
            stored = self.session.received.get(packet.pid, ABANDONED)
            if stored is ABANDONED:
                stored = self.session.take(packet.pid, self._publish(packet))
                if stored is not None:
                    self._untake_on_failure(packet.pid, stored)
            # else it is a duplicate, told by its id (4.3.3), and only acknowledged again
            self._acknowledge(mq.Pubrec(packet.pid).encode(), stored)
        else:
            self._acknowledge(mq.Puback(packet.pid).encode(), self._publish(packet))

    def _call_publish(self, packet):
        server = self.server
        server.publisher = self
        try:
            return self.service.publish(self, packet)
        finally:
            server.publisher = None

    def _publish(self, packet):
        stored = self._call_publish(packet)
        if stored is not None and not isinstance(stored, asyncio.Future):
            stored = self._background(stored)
        self._tell_watchers("published", packet)
        return stored

    def _tell_watchers(self, name, *args):
        for watcher in self.server.watchers:
            try:
                getattr(watcher, name)(self, *args)
            except Exception:
                log.exception("%r: a watcher failed", self)

    def _background(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        task.add_done_callback(self._background_done)
        return task

    def _background_done(self, task):
        if not task.cancelled() and task.exception() is not None:
            self._failed(task.exception())

    def _untake_on_failure(self, pid, stored):
        session = self.session

        def check(future):
            if future.cancelled() or future.exception() is not None:
                session.release(pid)

        stored.add_done_callback(check)

    def _on_puback(self, packet):
        self.session.on_puback(packet.pid)

    def _on_pubrec(self, packet):
        answer, wait = self.session.on_pubrec(packet.pid)
        if answer is not None:
            self._acknowledge(answer, wait)

    def _on_pubrel(self, packet):
        self.session.release(packet.pid)
        self._acknowledge(mq.Pubcomp(packet.pid).encode(), None)

    def _on_pubcomp(self, packet):
        self.session.on_pubcomp(packet.pid)

    def _on_subscribe(self, packet):
        service = self.service
        session = self.session
        codes = bytearray()
        made = []
        for text, qos in packet.filters:
            code, pattern, group = qos, text, None
            if (
                text not in session.subscriptions
                and len(session.subscriptions) >= MAX_SUBSCRIPTIONS
            ):
                codes.append(mq.SUBACK_FAILURE)
                continue
            answer = service.subscribe(self, text, qos)
            if isinstance(answer, tuple):
                code, pattern = answer[:2]
                group = answer[2] if len(answer) > 2 else None
            else:
                code, pattern = answer, None
            codes.append(code)
            if code == mq.SUBACK_FAILURE:
                continue
            old = session.subscriptions.get(text)
            if old is not None and old.pattern is not None:
                service.tree.remove(session, old)
            subscription = session.subscribe(text, pattern, code, group)
            if pattern is not None:
                service.tree.add(session, subscription)
            made.append((text, subscription))
        wait = service.store.durable() if session.sid is not None else None
        self._acknowledge(mq.Suback(packet.pid, codes).encode(), wait)
        for text, subscription in made:
            if subscription.pattern is not None and service.retained:
                service.send_retained(session, subscription)
            service.subscribed(self, text, subscription.qos)

    def _on_unsubscribe(self, packet):
        service = self.service
        session = self.session
        for text in packet.filters:
            subscription = session.unsubscribe(text)
            if subscription is not None:
                if subscription.pattern is not None:
                    service.tree.remove(session, subscription)
                service.unsubscribe(self, text)
        wait = service.store.durable() if session.sid is not None else None
        self._acknowledge(mq.Unsuback(packet.pid).encode(), wait)

    def _on_pingreq(self, packet):
        self.send(b"\xd0\x00")

    def _on_disconnect(self, packet):
        self.will = None
        self._finish("normal", "The connection has completed normally.", 0)
        self._hang_up()

    def _on_connect(self, packet):
        raise mq.ProtocolError("second-connect")

    def _on_stranger(self, packet):
        raise mq.ProtocolError("not-for-servers", mq.NAMES[packet.type])

    _HANDLERS = {
        mq.CONNECT: _on_connect,
        mq.CONNACK: _on_stranger,
        mq.PUBLISH: _on_publish,
        mq.PUBACK: _on_puback,
        mq.PUBREC: _on_pubrec,
        mq.PUBREL: _on_pubrel,
        mq.PUBCOMP: _on_pubcomp,
        mq.SUBSCRIBE: _on_subscribe,
        mq.SUBACK: _on_stranger,
        mq.UNSUBSCRIBE: _on_unsubscribe,
        mq.UNSUBACK: _on_stranger,
        mq.PINGREQ: _on_pingreq,
        mq.PINGRESP: _on_stranger,
        mq.DISCONNECT: _on_disconnect,
    }

    # ---- acknowledgements: in the order of what they acknowledge, each when it is safe

    def _acknowledge(self, data, stored):
        if not self._acks and (stored is None or (stored.done() and self._stored_well(stored))):
            self.send(data)
            return
        self._acks.append((data, stored))
        if stored is not None and stored is not self._watched:
            self._watched = stored
            stored.add_done_callback(self._acks_ready)
        if len(self._acks) >= PENDING_ACKS:
            self._pause("store")

    def _acks_ready(self, future):
        if self.end is not None:
            return
        if self._watched is future:
            self._watched = None
        acks = self._acks
        while acks:
            data, stored = acks[0]
            if stored is not None:
                if not stored.done():
                    break
                if not self._stored_well(stored):
                    return
            acks.popleft()
            self.send(data)
        if len(acks) < PENDING_ACKS // 2:
            self._resume("store")

    # ---- not reading: from who is not let in yet, and from who is faster than others

    def _pause(self, why):
        if not self._paused:
            self._transport.pause_reading()
        self._paused.add(why)

    def _resume(self, why):
        if why in self._paused:
            self._paused.discard(why)
            if not self._paused and not self._transport.is_closing():
                self._heard = self._loop.time()
                self._transport.resume_reading()

    def hold_for(self, session):
        """Don't read from this publisher until the session's backlog is smaller; BRAKE at most."""
        if "brake" not in self._paused and self.end is None:
            self._pause("brake")
            session.held_up.append(self)
            self._brake = self._loop.call_later(BRAKE, self._brake_is_over, session)

    def _brake_is_over(self, session):
        session.stuck = True
        session.let_go()

    def let_go(self):
        self._brake.cancel()
        self._resume("brake")

    def _stored_well(self, future):
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is None:
            return True
        self._failed(error)
        return False

    def _failed(self, error):
        """A hook raised: what it asked for, or what it could not do, ends the connection."""
        if self.end is not None:
            return
        if isinstance(error, Close):
            self.close(str(error), "service", error.code)
        else:
            log.error("%r: a service failed", self, exc_info=error)
            self.close("internal error", "error")

    # ---- packets out

    def publish(self, topic, payload, qos=0, retain=False, on_ack=None):
        """session.publish() of this client's session; False when there is none any more."""
        if self.session is None or self.end is not None:
            if on_ack is not None:
                on_ack(False)
            return False
        return self.session.publish(topic, payload, qos, retain, on_ack)

    def send_publish(self, topic, payload, qos, retain, dup, pid):
        name = topic.encode()
        size = len(name) + 2 + len(payload) + (2 if qos else 0)
        first = 0x30 | (8 if dup else 0) | qos << 1 | (1 if retain else 0)
        self.write_msg += 1
        self.send(
            b"%c%b%b%b%b%b"
            % (
                first,
                mq.encode_length(size),
                len(name).to_bytes(2, "big"),
                name,
                pid.to_bytes(2, "big") if qos else b"",
                payload,
            )
        )

    def send(self, data):
        """Queue bytes of whole packets; they leave together at the end of the loop's turn."""
        if not self._out:
            self.server.later_flush(self)
        self._out.append(data)
        self._out_size += len(data)
        if self._out_size >= FLUSH_AT:
            self.flush()

    def flush(self):
        if not self._out:
            return
        data = b"".join(self._out) if len(self._out) > 1 else self._out[0]
        self._out = []
        self._out_size = 0
        self._transport_write(data)

    def _transport_write(self, data):
        if self._transport.is_closing():
            return
        self.write_bytes += len(data)
        if self._frames is not None:
            data = websocket.frame(websocket.BINARY, data)
        self._transport.write(data)

    # ---- keep-alive and the end

    def _watch(self):
        """Close after `silence` seconds without a byte (3.1.2-24)."""
        self._timer = None
        if not self.silence or self.end is not None:
            return
        if self._paused:
            self._heard = self._loop.time()  # it may have spoken; we did not listen
        left = self._heard + self.silence - self._loop.time()
        if left <= 0:
            self.close("nothing heard for %g s" % self.silence, "keepalive")
        else:
            self._timer = self._loop.call_later(left, self._watch)

    def close(self, text, reason="service", code=0):
        """End the connection: what was sent leaves, then the socket closes. Safe to call twice."""
        if self.end is not None:
            return
        self._finish(reason, text, code)
        self._hang_up()

    def _hang_up(self, websocket_reason=b"\x03\xe8"):
        self.flush()
        if self._frames is not None:
            self._transport.write(websocket.frame(websocket.CLOSE, websocket_reason[:125]))
        self._transport.close()
        self._loop.call_later(LINGER, self.abort)

    def abort(self):
        self._transport.abort()

    def _finish(self, reason, text, code):
        """The logical end; once. Will first, then the service hears it, then the session rests."""
        if self.end is not None:
            return
        self.end = End(reason, text, code)
        if self._timer is not None:
            self._timer.cancel()
        self._acks.clear()
        log.info("%r ended (%s): %s", self, reason, text)
        session = self.session
        if session is None:
            return
        service = self.service
        will, self.will = self.will, None
        if session.client is self:
            session.detach()
        if will is not None:
            self._publish_will(will)
        try:
            service.disconnected(self, self.end)
        except Exception:
            log.exception("%r: a service failed", self)
        self._tell_watchers("disconnected")
        if session.clean:
            service.forget(session)

    def _publish_will(self, will):
        packet = mq.Publish(will.topic, will.payload, will.qos, will.retain)
        try:
            stored = self.service.will(self, packet)
            if inspect.iscoroutine(stored):
                self._background(stored)
        except Close as e:
            log.info("%r: its will was refused: %s", self, e)
        except Exception:
            log.exception("%r: its will failed", self)
