# umqtt.simple, for comparison: the same as link.py, with a handshake that blocks. argv: port, ca.

import sys

import tls
from umqtt.simple import MQTTClient


class Verified:
    # umqtt.simple 1.3.4 knows no context; it gets one that verifies under the name it asks for.
    def __init__(self):
        self.context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        with open(sys.argv[2], "rb") as file:
            self.context.load_verify_locations(file.read())

    def wrap_socket(self, sock):
        return self.context.wrap_socket(sock, server_hostname="localhost")


sys.modules["ussl"] = Verified()


def connect():
    client = MQTTClient("a-board", "localhost", int(sys.argv[1]), ssl=True)
    client.connect()
    return client


client = connect()
for _ in range(20):
    client.publish(b"greenhouse/climate", b'{"celsius": 21.5}', qos=1)
print("cut")
try:
    client.wait_msg()
except (OSError, IndexError):
    pass
client.sock.close()
client = connect()
client.publish(b"greenhouse/climate", b'{"celsius": 21.5}', qos=1)
print("done")
