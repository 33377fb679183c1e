# Peter Hinch's mqtt_as, to compare: link.py's deed. Its module is not in this repository;
# `least_heap.py --library DIR` names a directory that has it. argv: port, ca.

import asyncio
import sys

import tls


class _Ssl:
    """What mqtt_as asks of the ssl module, which this board has no room for."""

    @staticmethod
    def wrap_socket(sock, ca=None):
        context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        with open(ca, "rb") as file:
            context.load_verify_locations(file.read())
        sock.setblocking(True)
        wrapped = context.wrap_socket(sock, server_hostname="localhost")
        sock.setblocking(False)
        return wrapped


sys.modules["ssl"] = _Ssl

from mqtt_as import MQTTClient, config  # noqa: E402

config.update(
    client_id="a-board",
    server="localhost",
    port=int(sys.argv[1]),
    ssl=True,
    ssl_params={"ca": sys.argv[2]},
    ssid="any",
    wifi_pw="password",
)


async def deed():
    client = MQTTClient(config)
    await client.connect(quick=True)
    for _ in range(20):
        await client.publish("greenhouse/climate", '{"celsius": 21.5}', qos=1)
    print("cut")
    while client.isconnected():
        await asyncio.sleep_ms(100)
    await client.publish("greenhouse/climate", '{"celsius": 21.5}', qos=1)
    print("done")


asyncio.run(deed())
