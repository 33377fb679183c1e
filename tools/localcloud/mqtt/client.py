"""
One connection, from its first byte to its end: packets in, packets out, and how it ends.

What has a job of its own stands beside it: doorway.py tells MQTT, WebSocket and HTTP apart,
login.py lets a CONNECT in, acks.py keeps acknowledgements in order, flow.py stops reading from
who is too fast.
"""

import asyncio
import inspect
import logging
import socket

from . import codec as mq
from . import doorway, login, websocket
from .acks import Acks
from .flow import Flow
from .service import Close, End
from .session import MAX_SUBSCRIPTIONS

log = logging.getLogger("localcloud.mqtt")

FLUSH_AT = 65536  # bytes gathered for one write
WRITE_HIGH = 262144  # bytes unsent until a client counts as congested and its messages wait
LINGER = 5  # seconds that a closed connection has for sending its last bytes


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
        self.transport = None
        self.flow = Flow(self)
        self._doorway = doorway.Doorway(self) if listener.websocket else None
        self._frames = None  # websocket.Frames once it is a WebSocket
        self._parser = mq.Parser(server.max_packet)
        self._acks = Acks(self)
        self._login = None  # the task that lets it in; further packets wait for it
        self._got_connect = False
        self._out = []
        self._out_size = 0
        self._heard = 0.0
        self._timer = None  # of the CONNECT, then of the keep-alive

    def __repr__(self):
        return "<%s %r on %s>" % (
            self.service.name if self.service else "client",
            self.client_id,
            self.listener,
        )

    # ---- asyncio's side

    def connection_made(self, transport):
        self.transport = transport
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
        if self._doorway is not None:
            self._doorway.feed(data)
            return
        if self._frames is not None:
            self._unwrap(data)
            return
        self._take(data)

    def eof_received(self):
        return False

    def connection_lost(self, exc):
        self.server.clients.discard(self)
        self.finish(
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

    # ---- what the doorway found

    def speak_mqtt(self, data):
        """Plain MQTT after all."""
        self._doorway = None
        self.data_received(data)

    def speak_websocket(self, answer, rest):
        """A WebSocket: `answer` is the 101, rest what came behind the request."""
        self._doorway = None
        self.websocket = True
        self._frames = websocket.Frames(max(self.server.max_packet, 65536))
        self.transport.write(answer)
        if rest:
            self.data_received(rest)

    def hand_over(self, head):
        """An ordinary HTTP request: its connection belongs to the HTTP side from here on."""
        self._timer.cancel()
        self.server.clients.discard(self)
        self.end = End("http", "", 0)
        protocol = self.server.http()
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        protocol.data_received(head)

    def _unwrap(self, data):
        self._frames.feed(data)
        try:
            for opcode, payload in self._frames:
                if opcode == websocket.BINARY:
                    self._take(payload)
                elif opcode == websocket.PING:
                    self.flush()
                    self.transport.write(websocket.frame(websocket.PONG, payload))
                elif opcode == websocket.CLOSE:
                    self.flush()
                    self.finish("lost", "The WebSocket was closed.", 0)
                    self._hang_up(payload[:2])
                if self.end is not None:
                    return
        except websocket.WebSocketError as e:
            self.finish("protocol", "WebSocket: %s" % e, 0)
            self._hang_up(e.code.to_bytes(2, "big") + str(e).encode())

    # ---- packets in

    def _take(self, data):
        self.read_bytes += len(data)
        self._parser.feed(data)
        if self._login is None:
            self._work()

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
            self.failed(e)
        finally:
            if self._out:
                self.flush()

    def _on_first(self, packet):
        if packet.type != mq.CONNECT:
            raise mq.ProtocolError("first-not-connect", mq.NAMES[packet.type])
        self._got_connect = True
        if login.introduce(self, packet):
            # Further packets wait in the parser: a refused client's must not be processed
            # (3.1.4-5).
            self._login = self._loop.create_task(self._log_in(packet.password))
            self.flow.pause("login")

    async def _log_in(self, password):
        try:
            await login.log_in(self, password)
        except Exception as e:
            self.failed(e)
        finally:
            self._login = None
        if self.end is None:
            self.flow.resume("login")
            self._work()

    def welcome(self, present):
        """Let in: CONNACK 0, then what the session holds for it."""
        self._timer.cancel()
        self._watch()
        self.send(mq.Connack(0, present).encode())
        log.info("%r connected from %s:%d", self, *self.peer)
        self.congested = False
        self.session.attach(self)
        self.service.connected(self, present)
        self._tell_watchers("connected")

    def _on_publish(self, packet):
        self.read_msg += 1
        if not packet.qos:
            stored = self._call_publish(packet)
            if stored is not None and inspect.iscoroutine(stored):
                self._background(stored)
            self._tell_watchers("published", packet)
        elif packet.qos == 1:
            self._acks.add(mq.Puback(packet.pid).encode(), self._publish(packet))
        else:
            self._on_publish_once(packet)

    def _on_publish_once(self, packet):
        """QoS 2: a message is told from its duplicates by its id (4.3.3)."""
        session = self.session
        pid = packet.pid
        if pid in session.received:
            stored = session.received[pid]
        else:
            # The id is noted first: message and id are kept in one batch, or neither is.
            session.note(pid)
            try:
                stored = session.take(pid, self._publish(packet))
            except Exception:
                session.release(pid)
                raise
            if stored is not None:
                stored.add_done_callback(lambda future: _untake(session, pid, future))
        self._acks.add(mq.Pubrec(pid).encode(), stored)

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
            self.failed(task.exception())

    def _on_puback(self, packet):
        self.session.on_puback(packet.pid)

    def _on_pubrec(self, packet):
        answer, wait = self.session.on_pubrec(packet.pid)
        if answer is not None:
            self._acks.add(answer, wait)

    def _on_pubrel(self, packet):
        self.session.release(packet.pid)
        self._acks.add(mq.Pubcomp(packet.pid).encode(), None)

    def _on_pubcomp(self, packet):
        self.session.on_pubcomp(packet.pid)

    def _on_subscribe(self, packet):
        service = self.service
        session = self.session
        codes = bytearray()
        made = []
        for text, qos in packet.filters:
            subscription = self._subscribe(text, qos)
            codes.append(mq.SUBACK_FAILURE if subscription is None else subscription.qos)
            if subscription is not None:
                made.append((text, subscription))
        wait = service.store.durable() if session.sid is not None else None
        late = service.suback_waits(self)
        if late is not None:
            wait = late if wait is None else asyncio.gather(late, wait)
        self._acks.add(mq.Suback(packet.pid, codes).encode(), wait)
        for text, subscription in made:
            if subscription.pattern is not None and service.retained:
                service.send_retained(session, subscription)
            service.subscribed(self, text, subscription.qos)

    def _subscribe(self, text, qos):
        """The Subscription that the service grants, or None."""
        service = self.service
        session = self.session
        old = session.subscriptions.get(text)
        if old is None and len(session.subscriptions) >= MAX_SUBSCRIPTIONS:
            return None
        answer = service.subscribe(self, text, qos)
        code, pattern, group = (
            (answer + (None,))[:3] if isinstance(answer, tuple) else (answer, None, None)
        )
        if code == mq.SUBACK_FAILURE:
            return None
        if old is not None and old.pattern is not None:
            service.tree.remove(session, old)
        subscription = session.subscribe(text, pattern, code, group)
        if pattern is not None:
            service.tree.add(session, subscription)
        return subscription

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
        self._acks.add(mq.Unsuback(packet.pid).encode(), wait)

    def _on_pingreq(self, packet):
        self.send(b"\xd0\x00")

    def _on_disconnect(self, packet):
        self.will = None
        self.finish("normal", "The connection has completed normally.", 0)
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
        if self.transport.is_closing():
            return
        self.write_bytes += len(data)
        if self._frames is not None:
            data = websocket.frame(websocket.BINARY, data)
        self.transport.write(data)

    # ---- keep-alive and the end

    def heard_now(self):
        """It may have spoken while nobody listened: its silence begins anew."""
        self._heard = self._loop.time()

    def _watch(self):
        """Close after `silence` seconds without a byte (3.1.2-24)."""
        self._timer = None
        if not self.silence or self.end is not None:
            return
        if self.flow.paused:
            self.heard_now()
        left = self._heard + self.silence - self._loop.time()
        if left <= 0:
            self.close("nothing heard for %g s" % self.silence, "keepalive")
        else:
            self._timer = self._loop.call_later(left, self._watch)

    def refuse(self, code, text):
        """Say no to a CONNECT with CONNACK `code`; text is for people."""
        self.send(mq.Connack(code).encode())
        self.close("%s with CONNACK %d" % (text, code), "refused", code)

    def failed(self, error):
        """A hook raised: what it asked for, or what it could not do, ends the connection."""
        if self.end is not None:
            return
        if isinstance(error, Close):
            self.close(str(error), "service", error.code)
        else:
            log.error("%r: a service failed", self, exc_info=error)
            self.close("internal error", "error")

    def close(self, text, reason="service", code=0):
        """End the connection: what was sent leaves, then the socket closes. Safe to call twice."""
        if self.end is not None:
            return
        self.finish(reason, text, code)
        self._hang_up()

    def _hang_up(self, websocket_reason=b"\x03\xe8"):
        self.flush()
        if self._frames is not None:
            self.transport.write(websocket.frame(websocket.CLOSE, websocket_reason[:125]))
        self.transport.close()
        self._loop.call_later(LINGER, self.abort)

    def abort(self):
        self.transport.abort()

    def finish(self, reason, text, code):
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


def _untake(session, pid, future):
    """A QoS 2 message that could not be kept was not taken: it may come again."""
    if future.cancelled() or future.exception() is not None:
        session.release(pid)
