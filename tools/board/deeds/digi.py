# idigi_monitor_api: makes a monitor over HTTPS, receives 20 blocks over TLS, is cut and comes
# back. argv: push port, ca, https port, user, password.

import sys

import idigi_monitor_api

client = idigi_monitor_api.push_client(
    sys.argv[4], sys.argv[5], hostname="localhost", ca_certs=sys.argv[2],
    port=int(sys.argv[3]), push_port=int(sys.argv[1]),
)  # fmt: skip
monitor = client.create_monitor(["DataPoint"])
blocks = 0


def on_block(data):
    global blocks
    blocks += 1
    return True


def receive(count):
    while blocks < count:
        client.do_next(100)


session = client.create_session(on_block, monitor)
while not session.is_connected():
    client.do_next(100)
print("send 20")
receive(20)
print("cut")
while session.is_connected():
    client.do_next(100)
while not session.is_connected():
    client.do_next(100)
print("send 1")
receive(21)
print("done")
