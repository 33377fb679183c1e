# ibmiotf.device: connects, publishes 20 events at QoS 1, is cut and comes back.
# argv: port, ca, org, type, id, token.

import sys

import ibmiotf.device

client = ibmiotf.device.Client(
    {
        "org": sys.argv[3], "type": sys.argv[4], "id": sys.argv[5],
        "auth-method": "token", "auth-token": sys.argv[6],
        "host": "localhost", "port": int(sys.argv[1]), "ca": sys.argv[2],
    }
)  # fmt: skip


def publish(count):
    for _ in range(count):
        while client.link.inflight >= client.link.window:
            client.do_next(100)
        client.publishEvent("climate", {"celsius": 21.5}, 1)
    while client.link.inflight:
        client.do_next(100)


client.connect()
publish(20)
print("cut")
while client.link.is_connected():
    client.do_next(100)
publish(1)
print("done")
