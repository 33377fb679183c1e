"""
What a broker remembers for a client between packets: subscriptions, queue, in-flight window, ids.

No sockets here. A Session offers messages to its client while there is one and keeps QoS 1 and 2
for it while there is none (3.1.1, 3.1.2.4 and 4.4). Bounds: each subscription's backlog holds
`limit` messages, the oldest goes first whatever its QoS; at most WINDOW messages are
unacknowledged at a time. With a store (store.SessionStore) a durable session outlives the process:
everything is written before it is promised, and QoS 2 before it is sent. A published message is
queued for nobody before it is kept: if it can't be, its publisher sends it again.
"""

import asyncio
from collections import OrderedDict, deque

from . import codec as mq

WINDOW = 100  # unacknowledged messages to one client; more wait in the queue
BACKLOG = 5000  # waiting messages for each subscription
MAX_SUBSCRIPTIONS = 1000  # of one session; more are refused with 0x80

QUEUED = 0
SENT = 1  # PUBLISH went out, PUBACK or PUBREC is due
RELEASED = 2  # PUBREC came, PUBREL went out, PUBCOMP is due


class Subscription:
    """One filter of one session. filter: as the client wrote it; pattern: inside the service."""

    __slots__ = ("filter", "pattern", "qos", "group", "backlog", "dropped")

    def __init__(self, filter, pattern, qos, group=None):
        self.filter = filter
        self.pattern = pattern
        self.qos = qos
        self.group = group
        self.backlog = deque()  # sequence numbers of the messages that wait because of it
        self.dropped = 0


class _Item:
    __slots__ = (
        "seq",
        "topic",
        "payload",
        "qos",
        "retain",
        "via",
        "on_ack",
        "state",
        "stored",
        "kept",
        "pid",
    )

    def __init__(self, seq, topic, payload, qos, retain, via, on_ack):
        self.seq = seq
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.via = via
        self.on_ack = on_ack
        self.state = QUEUED
        self.stored = False
        self.kept = None  # a future: it may go out when that is done
        self.pid = None


class Session:
    """
    key: unique in its service. clean: forgotten when the connection ends. client: the connection,
    or None. subscriptions: {filter as the client wrote it: Subscription}. store: None keeps
    everything in memory.
    """

    def __init__(self, service, key, clean, limit=BACKLOG, store=None, sid=None):
        self.service = service
        self.key = key
        self.clean = clean
        self.limit = limit
        self.client = None
        self.subscriptions = {}
        self.received = {}  # ids of QoS 2 messages taken but not released -> awaitable or None
        self.inflight = {}  # packet id -> _Item, oldest first
        self.queue = OrderedDict()  # sequence number -> _Item
        self.dropped = 0
        self.direct = Subscription("", "", 2)  # stands for publish(): messages without a filter
        self._seq = 0
        self.last_pid = 0
        self._store = None if clean else store
        self._holding = None
        self._awaited = None  # the future of _Item.kept that will call _on_kept
        self.held_up = []  # clients that are not read from because this one is slow
        self.stuck = False  # it was waited for in vain: not again until it has caught up
        self.sid = sid
        if self._store is not None and sid is None:
            self.sid = self._store.new_session(service.name, key)

    # ---- messages towards the client

    def publish(self, topic, payload, qos=0, retain=False, on_ack=None):
        """
        Send one message to this client, topic as the client sees it; no subscription is asked.

        QoS 1 and 2 wait for the client when it is away (not if the session is clean), at most
        `limit` of them, oldest dropped first. on_ack(True) is called when the client has
        acknowledged it, on_ack(False) when it was given up: dropped, or the session ended. It is
        not kept over a restart of this process. Returns False when the message was dropped at once
        (QoS 0, or a session of the past, without a client), else True.
        """
        return self.offer(topic, payload, qos, retain, self.direct, on_ack)

    def offer(self, topic, payload, qos, retain, via, on_ack=None):
        """publish() because of the Subscription `via`, whose backlog bounds it."""
        client = self.client
        if client is None:
            if not qos or self.clean:
                if on_ack is not None:
                    on_ack(False)
                return False
        elif not self.queue and not client.congested and self.sid is None:
            if not qos:
                client.send_publish(topic, payload, 0, retain, False, None)
                return True
            if len(self.inflight) < WINDOW:
                item = _Item(0, topic, payload, qos, retain, via, on_ack)
                self._send(client, item)
                return True
        item = self.prepare(topic, payload, qos, retain, via, on_ack)
        self.enqueue(item)
        return True

    def prepare(self, topic, payload, qos, retain, via, on_ack=None):
        """
        The first half of offer(): the message as an item, written to the store where that must be.
        None when there is nobody to send it to.
        """
        if self.client is None and (not qos or self.clean):
            return None
        self._seq += 1
        item = _Item(self._seq, topic, payload, qos, retain, via, on_ack)
        if qos and self.sid is not None:
            item.stored = True
            self._store.put_message(self.sid, item.seq, topic, payload, qos, retain, via.filter)
        return item

    def enqueue(self, item, kept=None):
        """The second half: queue the item; it leaves when the future `kept` is done, if any."""
        via = item.via
        self.queue[item.seq] = item
        via.backlog.append(item.seq)
        if len(via.backlog) > self.limit:
            self._drop_oldest(via)
        if kept is not None and not kept.done():
            item.kept = kept
            if self._awaited is not kept:
                self._awaited = kept
                kept.add_done_callback(self._on_kept)
        client = self.client
        if client is not None:
            self.pump()
            if len(via.backlog) * 10 > self.limit and not self.stuck:
                publisher = client.server.publisher
                if publisher is not None and publisher is not client:
                    publisher.flow.hold_for(self)

    def _on_kept(self, future):
        if self._awaited is future:
            self._awaited = None
        if future.cancelled() or future.exception() is not None:
            # Whoever published it hears no acknowledgement, and sends it again.
            for item in [item for item in self.queue.values() if item.kept is future]:
                del self.queue[item.seq]
                item.via.backlog.remove(item.seq)
                if item.on_ack is not None:
                    item.on_ack(False)
        else:
            for item in self.queue.values():
                if item.kept is future:
                    item.kept = None
                elif item.kept is not None:
                    break
        self.pump()

    def _drop_oldest(self, via):
        item = self.queue.pop(via.backlog.popleft())
        via.dropped += 1
        self.dropped += 1
        if item.stored:
            self._store.done(self.sid, item.seq)
        if item.on_ack is not None:
            item.on_ack(False)

    def pump(self):
        """Send what waits, as far as window and socket allow."""
        client = self.client
        if client is None or self._holding is not None:
            return
        held = None
        while self.queue and not client.congested:
            seq = next(iter(self.queue))
            item = self.queue[seq]
            if item.kept is not None:
                break
            if item.qos and len(self.inflight) >= WINDOW:
                break
            if item.qos == 2 and self.sid is not None:
                # The id must be on disk before the client can see it: else a restart would send
                # the same message under another id, and the client would take it twice.
                del self.queue[seq]
                item.via.backlog.popleft()
                self._number(item)
                held = held or []
                held.append(item)
                continue
            if held:
                break
            del self.queue[seq]
            item.via.backlog.popleft()
            if item.qos:
                self._send(client, item)
            else:
                client.send_publish(item.topic, item.payload, 0, item.retain, False, None)
        if (self.held_up or self.stuck) and len(self.queue) * 20 < self.limit:
            self.stuck = False
            self.let_go()
        if held:
            self._holding = self._store.durable()
            if self._holding is None:
                self._release_held(None, client, held)
            else:
                self._holding.add_done_callback(
                    lambda future: self._release_held(future, client, held)
                )

    def let_go(self):
        """Read again from the publishers that were held up."""
        held_up, self.held_up = self.held_up, []
        for publisher in held_up:
            publisher.let_go()

    def _release_held(self, future, client, held):
        self._holding = None
        if future is not None and (future.cancelled() or future.exception() is not None):
            client.close("the store failed", "error")
            return
        if self.client is not client:
            return  # the next connection resends it from the window
        for item in held:
            client.send_publish(item.topic, item.payload, 2, item.retain, False, item.pid)
        self.pump()

    def _number(self, item):
        """Give the item a free packet id and a place in the window."""
        pid = self.last_pid
        while True:
            pid = pid % 65535 + 1
            if pid not in self.inflight:
                break
        self.last_pid = pid
        item.state = SENT
        item.pid = pid
        self.inflight[pid] = item
        if item.stored:
            self._store.sent(self.sid, item.seq, pid)

    def _send(self, client, item):
        self._number(item)
        client.send_publish(item.topic, item.payload, item.qos, item.retain, False, item.pid)

    # ---- the connection

    def attach(self, client):
        """The client is there: resend what is unacknowledged (4.4.0-1), then what waits."""
        self.client = client
        for pid, item in self.inflight.items():
            if item.state == RELEASED:
                client.send(mq.Pubrel(pid).encode())
            else:
                client.send_publish(item.topic, item.payload, item.qos, item.retain, True, pid)
        self.pump()

    def detach(self):
        """The client is gone. QoS 0 that waited goes with it."""
        self.client = None
        self.stuck = False
        self.let_go()
        self._holding = None
        gone = [item for item in self.queue.values() if not item.qos]
        for item in gone:
            del self.queue[item.seq]
        for via in {id(item.via): item.via for item in gone}.values():
            via.backlog = deque(seq for seq in via.backlog if seq in self.queue)

    def discard(self):
        """Forget everything; messages not yet acknowledged are given up."""
        if self.sid is not None:
            self._store.drop_session(self.sid)
            self.sid = None
        items = list(self.inflight.values()) + list(self.queue.values())
        self.inflight.clear()
        self.queue.clear()
        self.received.clear()
        for item in items:
            if item.on_ack is not None:
                item.on_ack(False)

    # ---- acknowledgements from the client; ids that mean nothing are ignored (our choice)

    def on_puback(self, pid):
        item = self.inflight.get(pid)
        if item is not None and item.qos == 1:
            self._finish(pid, item)

    def on_pubrec(self, pid):
        """The PUBREL that is due, and what must be stored before it goes out."""
        item = self.inflight.get(pid)
        if item is None or item.qos != 2:
            return None, None
        wait = None
        if item.state == SENT:
            item.state = RELEASED
            item.payload = b""
            if item.stored:
                # Else a restart would send the PUBLISH again after its PUBCOMP: a second delivery.
                self._store.released(self.sid, item.seq)
                wait = self._store.durable()
        return mq.Pubrel(pid).encode(), wait

    def on_pubcomp(self, pid):
        item = self.inflight.get(pid)
        if item is not None and item.qos == 2 and item.state == RELEASED:
            self._finish(pid, item)

    def _finish(self, pid, item):
        del self.inflight[pid]
        if item.stored:
            self._store.done(self.sid, item.seq)
        if item.on_ack is not None:
            item.on_ack(True)
        if self.queue:
            self.pump()

    # ---- QoS 2 from the client

    def note(self, pid):
        """Remember the id of a QoS 2 message that is about to be handed on."""
        self.received[pid] = None
        if self.sid is not None:
            self._store.put_received(self.sid, pid)

    def take(self, pid, stored):
        """It was handed on, and is kept when `stored` is done; what its PUBREC waits for."""
        if self.sid is not None:
            durable = self._store.durable()
            if stored is None or stored is durable:
                stored = durable
            else:
                stored = asyncio.gather(stored, durable)
        self.received[pid] = stored
        return stored

    def release(self, pid):
        if self.received.pop(pid, self) is not self and self.sid is not None:
            self._store.drop_received(self.sid, pid)

    # ---- subscriptions

    def subscribe(self, filter, pattern, qos, group=None):
        """Make or replace; what waits because of it stays."""
        subscription = self.subscriptions.get(filter)
        if subscription is None:
            subscription = self.subscriptions[filter] = Subscription(filter, pattern, qos, group)
        subscription.pattern = pattern
        subscription.qos = qos
        subscription.group = group
        if self.sid is not None:
            self._store.put_subscription(self.sid, filter, pattern, qos, group)
        return subscription

    def unsubscribe(self, filter):
        subscription = self.subscriptions.pop(filter, None)
        if subscription is not None and self.sid is not None:
            self._store.drop_subscription(self.sid, filter)
        return subscription

    # ---- what the store gives back at a start

    def restore(self, subscriptions, messages, received):
        """
        subscriptions: (filter, pattern, qos, group); messages in order: (seq, topic, payload, qos,
        retain, filter, pid, state); received: ids.
        """
        for filter, pattern, qos, group in subscriptions:
            self.subscriptions[filter] = Subscription(filter, pattern, qos, group)
        for seq, topic, payload, qos, retain, filter, pid, state in messages:
            via = self.subscriptions.get(filter, self.direct)
            item = _Item(seq, topic, payload, qos, bool(retain), via, None)
            item.stored = True
            item.state = state
            self._seq = max(self._seq, seq)
            if pid:
                item.pid = pid
                self.inflight[pid] = item
                self.last_pid = pid
            else:
                self.queue[seq] = item
                via.backlog.append(seq)
        for pid in received:
            self.received[pid] = None
