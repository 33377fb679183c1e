"""What the tests of ibmiotf share: a service side that lets everybody in and notes all it sees."""

import asyncio
import textwrap

from localcloud.mqtt import codec as mq
from localcloud.mqtt import server as mqtt_server
from serving import Server
from device_program import program
from waiting import until


# What a client takes to connect to a Rig, beside its port.
APPLICATION = {
    "org": "abc123",
    "id": "dash",
    "auth-method": "apikey",
    "auth-key": "a-abc123-key",
    "auth-token": "s3cret",
    "host": "127.0.0.1",
    "ssl": False,
}
DEVICE = {
    "org": "abc123",
    "type": "pump",
    "id": "p1",
    "auth-method": "token",
    "auth-token": "s3cret",
    "host": "127.0.0.1",
    "ssl": False,
}


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


class Rig(Server):
    """A running Witness: port, witness; send() to the clients; wait() for what they did."""

    def __init__(self, **options):
        self.witness = Witness()
        super().__init__(self.witness, **options)

    def send(self, topic, payload, qos=0, retain=False):
        """A message to every client with a subscription that matches."""
        if isinstance(payload, str):
            payload = payload.encode()

        def offer():
            for session, subscription, seen in self.witness.tree.find(topic, lambda s, t: t):
                session.offer(seen, payload, min(qos, subscription.qos), retain, subscription)

        self.do(offer)

    def wait(self, condition, timeout=30):
        """Wait until condition() is true."""
        until(condition, timeout, lambda: repr(vars(self.witness)))


rig = Rig.running


def indented(name):
    """program(name), as it would stand in a test: further lines of one follow."""
    return textwrap.indent(program(name), "    ")


WATCH = indented("ibm_rig_watch")  # what programs begin with
