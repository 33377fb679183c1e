"""
How many events a second many devices get through the local cloud to one application, at QoS 1.

    python3 tools/bench_cloud.py [--devices 200] [--messages 20000] [--window 20]

The same messages go through another broker (mosquitto where it is installed, and amqtt) between
plain topics, in the same run: compare the rows, not runs. The local cloud checks credentials and
topic spaces, rewrites topics and records every event on disk before it acknowledges; the others do
none of that. Devices and application are one asyncio process; each server is another.
"""

import workshop

if __name__ == "__main__":
    workshop.enter(__file__)

import argparse
import asyncio
import tempfile
import time

import processes
import real_broker
from localcloud import mqtt_codec as mq

PAYLOAD = b'{"d":{"n":%d,"cpu":12.5,"memory":1234567}}'
GIVE_UP = 120  # seconds for a whole row


class Device(asyncio.Protocol):
    """Publishes `count` messages, `window` of them unacknowledged at a time."""

    def __init__(self, connect, topic, count, window):
        loop = asyncio.get_running_loop()
        self.up = loop.create_future()
        self.done = loop.create_future()
        self._connect, self._topic, self._count, self._window = connect, topic, count, window
        self._sent = self._acknowledged = 0
        self._parser = mq.Parser()

    def connection_made(self, transport):
        self._transport = transport
        transport.write(self._connect.encode())

    def data_received(self, data):
        self._parser.feed(data)
        for packet in self._parser:
            if packet.type == mq.CONNACK:
                self.up.set_result(packet.code)
            elif packet.type == mq.PUBACK:
                self._acknowledged += 1
        if self._acknowledged == self._count and not self.done.done():
            self.done.set_result(None)
        elif self._sent:
            self.publish()

    def publish(self):
        out = []
        while self._sent < self._count and self._sent - self._acknowledged < self._window:
            self._sent += 1
            pid = (self._sent - 1) % 65535 + 1
            out.append(mq.Publish(self._topic, PAYLOAD % self._sent, 1, pid=pid).encode())
        if out:
            self._transport.write(b"".join(out))


class Application(asyncio.Protocol):
    """Subscribes, acknowledges and counts."""

    def __init__(self, connect, filter, count):
        loop = asyncio.get_running_loop()
        self.up = loop.create_future()
        self.done = loop.create_future()
        self.received = 0
        self._connect, self._filter, self._count = connect, filter, count
        self._parser = mq.Parser()

    def connection_made(self, transport):
        self._transport = transport
        transport.write(self._connect.encode() + mq.Subscribe(1, [(self._filter, 1)]).encode())

    def data_received(self, data):
        out = []
        self._parser.feed(data)
        for packet in self._parser:
            if packet.type == mq.PUBLISH:
                self.received += 1
                out.append(mq.Puback(packet.pid).encode())
            elif packet.type == mq.SUBACK:
                self.up.set_result(packet.codes[0])
        if out:
            self._transport.write(b"".join(out))
        if self.received >= self._count and not self.done.done():
            self.done.set_result(None)


async def measure(host, port, application, filter, devices, messages, window):
    """
    application: its Connect. devices: a list of (Connect, topic). Returns (seconds to connect
    all, seconds until all was received, how many messages the application got).
    """
    loop = asyncio.get_running_loop()
    each = messages // len(devices)
    _, app = await loop.create_connection(
        lambda: Application(application, filter, each * len(devices)), host, port
    )
    assert await app.up == 1
    start = time.perf_counter()
    made = [
        (await loop.create_connection(lambda d=d: Device(*d, each, window), host, port))[1]
        for d in devices
    ]
    codes = await asyncio.gather(*[device.up for device in made])
    assert not any(codes), codes
    connected = time.perf_counter() - start
    start = time.perf_counter()
    for device in made:
        device.publish()
    everything = asyncio.gather(app.done, *[device.done for device in made])
    try:
        await asyncio.wait_for(everything, GIVE_UP)
    except asyncio.TimeoutError:
        pass
    return connected, time.perf_counter() - start, app.received


def through_cloud(options):
    names = ["m%d" % i for i in range(options.devices)]
    with tempfile.TemporaryDirectory() as state:
        registered = ["--ibm-device=load:%s:token-%s" % (name, name) for name in names]
        process, ready = processes.start_cloud("--log=error", *registered, state=state)
        with process:
            ibm = ready["ibm"]
            app = ibm["application"]
            connects = [
                mq.Connect(
                    "d:%s:load:%s" % (ibm["org"], name),
                    user="use-token-auth",
                    password=b"token-" + name.encode(),
                )
                for name in names
            ]
            return asyncio.run(
                measure(
                    ready["mqtt"]["host"],
                    ready["mqtt"]["port"],
                    mq.Connect(
                        "a:%s:bench" % ibm["org"], user=app["key"], password=app["token"].encode()
                    ),
                    "iot-2/type/+/id/+/evt/+/fmt/+",
                    [(connect, "iot-2/evt/status/fmt/json") for connect in connects],
                    options.messages,
                    options.window,
                )
            )


def through_broker(name, options):
    settings = ("max_queued_messages 0", "max_inflight_messages 100")
    with real_broker.start(settings, name) as broker:
        devices = [(mq.Connect("d%d" % i), "plain/%d/status" % i) for i in range(options.devices)]
        return asyncio.run(
            measure(
                broker.host,
                broker.port,
                mq.Connect("bench"),
                "plain/+/status",
                devices,
                options.messages,
                options.window,
            )
        )


def main():
    parser = argparse.ArgumentParser(
        prog="python3 tools/bench_cloud.py", description=__doc__.split("\n\n")[0].strip()
    )
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--messages", type=int, default=20000, help="of all devices together")
    parser.add_argument("--window", type=int, default=20, help="unacknowledged, of each device")
    options = parser.parse_args()
    if options.devices < 1 or options.window < 1 or options.messages < options.devices:
        parser.error("at least one device, one message each and a window of one")
    rows = [("the local cloud", lambda: through_cloud(options))]
    if real_broker.mosquitto():
        rows.append(("mosquitto", lambda: through_broker("mosquitto", options)))
    rows.append(("amqtt", lambda: through_broker("amqtt", options)))
    print("%d devices, %d messages at QoS 1" % (options.devices, options.messages))
    print("%-16s %10s %10s %10s" % ("", "connect s", "received", "events/s"))
    for name, run in rows:
        connected, seconds, received = run()
        print("%-16s %10.2f %10d %10.0f" % (name, connected, received, received / seconds))


if __name__ == "__main__":
    main()
