"""
What a cloud is to the MQTT server: whom it lets in, what a publish and a filter mean to it.

The class Service is the whole interface, in the order in which a connection meets it; deliver()
and sessions are what a service works with. Hooks run in the server's event loop and must not
block. Any of them may raise Close("why") to end the connection without an answer; any other
exception is logged and ends the connection too.
"""

import collections
import secrets

from . import codec as mq
from .session import BACKLOG, Session
from .tree import Tree

MAX_RETAINED = 10000  # topics of each service

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
        Return a CONNACK code, 0 to 5, or raise Refused: its text is for the log. password: bytes
        or None; it is kept nowhere else. May be a coroutine. May change client.clean (True: no
        session is kept), client.silence (seconds without a byte until the server closes; 0 never),
        client.will and client.data.
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

    def suback_waits(self, client):
        """What the SUBACK of the filters just asked for has to wait for: None or a future."""

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
        store = self.store
        found = self.tree.find(topic, self.outgoing)
        if retain:
            self._retain(topic, payload, qos, store)
        if not qos or store is None:
            for session, subscription, seen in found:
                session.offer(seen, payload, min(qos, subscription.qos), False, subscription)
            return None
        # Kept first, then queued: a message that can't be kept is sent again by its publisher, and
        # nobody may have seen it by then.
        items = []
        for session, subscription, seen in found:
            level = min(qos, subscription.qos)
            item = session.prepare(seen, payload, level, False, subscription)
            if item is not None:
                items.append((session, item))
        kept = store.durable()
        for session, item in items:
            session.enqueue(item, kept)
        return kept

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
