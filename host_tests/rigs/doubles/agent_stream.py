# agent_stream: the other end of a TeamViewer client's connection, in memory. Device code.
#
#     agent = agent_stream.Agent(base); agent.take_over()
#
# Every link that is made from then on speaks to it.

import json

import teamviewer_iot  # noqa: F401 (first: as built, its file holds the link that it uses)
import mqtt_link
import netstream
from broker_stream import BrokerStream


class Agent(BrokerStream):
    """base: what all topics of the connector begin with (bytes)."""

    def __init__(self, base):
        super().__init__(11, 20)
        self.base = base

    def take_over(self):
        # As built, the link takes them from netstream when it is made.
        for module in (mqtt_link, netstream):
            module.NetStream = lambda *given: self
            module.tls_context = lambda *given: None

    def takes(self, topic):
        return topic.startswith(self.base)

    gives = takes

    def is_up(self):
        """Whether the client has a connection, and listens on it."""
        return not self.ended and self.greeted and len(self.filters) >= 6

    def on_message(self, topic, payload, qos):
        below = topic[len(self.base) :]
        if below == b"ping":
            self.push(self.base + b"ping/info/inbox", payload)
        elif below == b"sensor/create":
            made = dict(json.loads(payload), sensorId="0" * 32)
            self.push(self.base + b"sensor/inbox", json.dumps(made).encode())
