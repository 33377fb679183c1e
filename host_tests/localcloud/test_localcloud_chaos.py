"""
The mock broker when connections are cut anywhere: QoS 2 stays exactly once and QoS 1 at least
once, in order, from the publisher to the broker and from the broker to the subscriber.
"""

import random
import threading

import pytest
from localcloud import store
from localcloud.faults import CloseAt, CutAt, FaultProxy
from localcloud.mqtt import codec as mq
from localcloud.mqtt import server as mqtt_server
from localcloud_rig import Raw, running

COUNT = 8
WINDOW = 4


class Peer:
    """A durable client by the book (4.3, 4.4), which reconnects until its work is done."""

    def __init__(self, port, client_id):
        self.port = port
        self.client_id = client_id
        self.outgoing = {}  # packet id -> what is to be sent again; oldest first
        self.held = set()  # ids of QoS 2 messages taken and not released
        self.inbox = []
        self.connections = 0

    def session(self, to_send=(), wanted=0):
        """Send all of to_send, and go on until `wanted` messages are in and nothing is open."""
        to_send = list(to_send)
        subscribed = False
        for _ in range(300):
            try:
                with Raw(self.port) as a:
                    self.connections += 1
                    a.send(mq.Connect(self.client_id, clean=False))
                    connack = a.read()
                    if connack is None:
                        continue
                    if not connack.session_present:
                        assert self.connections == 1 or not (
                            self.outgoing or self.held or subscribed
                        )
                    for packet in self.outgoing.values():
                        if packet.type == mq.PUBLISH:
                            packet.dup = True
                        a.send(packet)
                    if wanted:
                        a.send(mq.Subscribe(60000, [("t/#", 2)]))
                    while to_send or self.outgoing or self.held or len(set(self.inbox)) < wanted:
                        while to_send and len(self.outgoing) < WINDOW:
                            packet = to_send.pop(0)
                            self.outgoing[packet.pid] = packet
                            a.send(packet)
                        packet = a.read()
                        if packet is None:
                            break
                        if packet.type == mq.SUBACK:
                            subscribed = True
                        else:
                            self.handle(a, packet)
                    else:
                        a.send(mq.Disconnect())
                        return
            except (OSError, AssertionError) as e:
                # The end within a packet: what a cut looks like.
                if isinstance(e, AssertionError) and "within a packet" not in str(e):
                    raise
        raise AssertionError("no end in sight: %r" % self.outgoing)

    def handle(self, a, packet):
        if packet.type == mq.PUBLISH:
            if packet.qos == 1:
                self.inbox.append(packet.payload)
                a.send(mq.Puback(packet.pid))
            else:
                if packet.pid not in self.held:
                    self.held.add(packet.pid)
                    self.inbox.append(packet.payload)
                a.send(mq.Pubrec(packet.pid))
        elif packet.type == mq.PUBREL:
            self.held.discard(packet.pid)
            a.send(mq.Pubcomp(packet.pid))
        elif packet.type == mq.PUBREC:
            if packet.pid in self.outgoing:
                self.outgoing[packet.pid] = mq.Pubrel(packet.pid)
            a.send(mq.Pubrel(packet.pid))
        elif packet.type in (mq.PUBACK, mq.PUBCOMP):
            self.outgoing.pop(packet.pid, None)


def messages(qos):
    return [mq.Publish("t/x", b"%d" % i, qos, pid=i + 1) for i in range(COUNT)]


def check(inbox, qos):
    wanted = [b"%d" % i for i in range(COUNT)]
    if qos == 2:
        assert inbox == wanted
    else:
        assert [p for i, p in enumerate(inbox) if p not in inbox[:i]] == wanted


@pytest.fixture(scope="module", params=["in memory", "on disk"])
def broker(request, tmp_path_factory):
    if request.param == "in memory":
        with running(mqtt_server.OpenBroker()) as (_, port, _):
            yield port
        return
    kept = store.Store(str(tmp_path_factory.mktemp("chaos") / "db"))
    service = mqtt_server.OpenBroker(persistent=True)
    with running(service, store=store.SessionStore(kept)) as (_, port, background):
        yield port
        background.call(kept.close())


@pytest.mark.parametrize("fault", [CutAt, CloseAt])
@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("qos", [1, 2])
def test_a_publisher_that_is_cut_at_every_byte(broker, fault, direction, qos):
    """Each connection lives one byte longer than the one before it."""
    Raw(broker).connect("pub", clean=True).leave()
    watcher = Raw(broker).connect("watch").subscribe(("t/#", 2))
    with FaultProxy("127.0.0.1", broker) as proxy:
        count = iter(range(1, 10000))
        proxy.apply(lambda: fault(next(count), direction), connections=None)
        publisher = Peer(proxy.port, "pub")
        publisher.session(messages(qos))
        assert publisher.connections > 10
    inbox = []
    while len(set(inbox)) < COUNT:
        packet = watcher.read()
        if packet.type == mq.PUBREL:
            watcher.send(mq.Pubcomp(packet.pid))
            continue
        inbox.append(packet.payload)
        watcher.send((mq.Puback if packet.qos == 1 else mq.Pubrec)(packet.pid))
    check(inbox, qos)


@pytest.mark.parametrize("fault", [CutAt, CloseAt])
@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("qos", [1, 2])
def test_a_subscriber_that_is_cut_at_every_byte(broker, fault, direction, qos):
    Raw(broker).connect("sub", clean=True).leave()
    subscriber = Peer(broker, "sub")
    with Raw(broker).connect("sub", clean=False) as a:
        a.subscribe(("t/#", 2)).leave()
    subscriber.connections = 1
    publisher = Peer(broker, "pub%d%s" % (qos, direction))
    publisher.session(messages(qos))
    with FaultProxy("127.0.0.1", broker) as proxy:
        count = iter(range(1, 10000))
        proxy.apply(lambda: fault(next(count), direction), connections=None)
        subscriber.port = proxy.port
        subscriber.session(wanted=COUNT)
        assert subscriber.connections > 10
    check(subscriber.inbox, qos)


@pytest.mark.parametrize("seed", range(6))
def test_both_cut_at_random_with_acknowledgements_out_of_order(broker, seed):
    dice = random.Random(seed)
    names = "rp%d" % seed, "rs%d" % seed
    with Raw(broker).connect(names[1], clean=False) as a:
        a.subscribe(("t/#", 2)).leave()
    with FaultProxy("127.0.0.1", broker) as proxy:

        def some_fault():
            kind = dice.choice(["cut", "close"])
            where = dice.choice(["up", "down"])
            return (CutAt if kind == "cut" else CloseAt)(dice.randint(1, 120), where)

        proxy.apply(some_fault, connections=40)
        publisher, subscriber = Peer(proxy.port, names[0]), Peer(proxy.port, names[1])
        subscriber.connections = 1
        thread = threading.Thread(target=publisher.session, args=(messages(2),))
        thread.start()
        subscriber.session(wanted=COUNT)
        thread.join(30)
        assert not thread.is_alive()
    check(subscriber.inbox, 2)
    Raw(broker).connect(names[1], clean=True).leave()
