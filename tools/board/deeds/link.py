# mqtt_link: connects, publishes 20 messages at QoS 1, is cut and comes back. argv: port, ca.

import sys

from mqtt_link import MQTTLink

link = MQTTLink("a-board", "localhost", int(sys.argv[1]), ssl={"ca": sys.argv[2]})


def publish(count):
    for _ in range(count):
        while link.inflight >= link.window:
            link.do_next(100)
        link.publish("greenhouse/climate", '{"celsius": 21.5}', qos=1)
    while link.inflight:
        link.do_next(100)


publish(20)
print("cut")
while link.is_connected():
    link.do_next(100)
publish(1)
print("done")
