"""What the tests of ibmiotf share: a service side that lets everybody in and notes all it sees."""

import asyncio
import contextlib
import time

from localcloud.mqtt import codec as mq
from localcloud.mqtt import server as mqtt_server
from localcloud_rig import running
from device_program import program


class Witness(mqtt_server.Service):
    """
    connects: one dict a CONNECT; publishes: packets as they came; subscribes: (filter, qos).
    refuse: a CONNACK code for all; refused: filters that get SUBACK 0x80; acknowledge: False to
    leave every QoS 1 and 2 message without an answer.
    """

    name = "witness"

    def __init__(self):
        super().__init__()
        self.connects = []
        self.publishes = []
        self.subscribes = []
        self.ends = []
        self.refuse = mq.ACCEPTED
        self.refused = ()
        self.acknowledge = True

    def claims(self, client):
        return True

    def authenticate(self, client, password):
        self.connects.append(
            {
                "id": client.client_id,
                "user": client.user,
                "password": password,
                "keepalive": client.keepalive,
                "clean": client.clean,
                "will": client.will,
                "secure": client.secure,
                "websocket": client.websocket,
            }
        )
        return self.refuse

    def publish(self, client, packet):
        self.publishes.append(packet)
        return None if self.acknowledge else asyncio.get_running_loop().create_future()

    def subscribe(self, client, filter, qos):
        self.subscribes.append((filter, qos))
        return (0x80 if filter in self.refused else qos), filter

    def disconnected(self, client, end):
        self.ends.append(end.reason)


class Rig:
    """A running Witness: port, witness; send() to the clients; wait() for what they did."""

    def __init__(self, server, port, background, witness):
        self.server = server
        self.port = port
        self.witness = witness
        self._background = background

    def send(self, topic, payload, qos=0, retain=False):
        """A message to every client with a subscription that matches."""
        if isinstance(payload, str):
            payload = payload.encode()

        def offer():
            for session, subscription, seen in self.witness.tree.find(topic, lambda s, t: t):
                session.offer(seen, payload, min(qos, subscription.qos), retain, subscription)

        self._background.do(offer)

    def cut(self):
        """End every connection as a failing network would."""
        self._background.do(lambda: [c.abort() for c in list(self.server.clients)])

    def wait(self, what, timeout=10):
        """Wait until what() is true; fails after timeout seconds."""
        end = time.monotonic() + timeout
        while not what():
            assert time.monotonic() < end, "{!r}".format(vars(self.witness))
            time.sleep(0.01)


@contextlib.contextmanager
def rig(tls=None, websocket=False, **options):
    witness = Witness()
    with running(witness, tls=tls, websocket=websocket, **options) as (server, port, background):
        yield Rig(server, port, background, witness)


WATCH = program("ibm_rig_watch")
