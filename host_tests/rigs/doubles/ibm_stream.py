# ibm_stream: an IBM IoT Foundation at the other end of a device or an application, in memory.
# Device code.
#
#     service = ibm_stream.Service(); service.take_over()

import ibmiotf  # noqa: F401 (first: as built, its file holds the link that it uses)
import mqtt_link
from broker_stream import BrokerStream


class Service(BrokerStream):
    """on_taken(message): set it to hear what the client has acknowledged."""

    def __init__(self):
        super().__init__(20, 25)

    def take_over(self):
        mqtt_link.NetStream = lambda *given: self

    def takes(self, topic):
        return topic.startswith(b"iot-2/")

    gives = takes

    def is_up(self):
        return not self.ended and self.greeted and bool(self.filters)
