"""
How many events a second 200 devices get to one application through the local cloud, at QoS 1,
beside amqtt (and mosquitto, where there is one) moving the same messages between plain topics in
the same run:

    python3 tools/bench ibm [--devices 200] [--seconds 5] [--rounds 3]

The local cloud does its whole work meanwhile: it rewrites each topic, keeps each event in the
historian, and acknowledges when that is on disk. The devices and the application are one process
of bare sockets, so that the broker is what is measured; each device has --window events on the
way. An event counts when the application has it; through the local cloud each one that was sent
must have come in the end. Figures are this machine's at this moment: compare rows, not runs.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time

import workshop
from workshop import processes, real_broker

ORG = "abc123"
KEY, TOKEN = "a-abc123-bench", "the-bench's-token"
PAYLOAD = b'{"d":{"tank":"two","bar":31.5,"rpm":9,"n":%7d}}'
_SETTLE_S = 60  # for the last events to come


class LoadFailed(Exception):
    """The broker refused, or lost something; the text says what."""


def string(text):
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def packet(head, body):
    size, length = len(body), b""
    while True:
        size, low = divmod(size, 128)
        length += bytes([low | (128 if size else 0)])
        if not size:
            return bytes([head]) + length + body


def connect_packet(client_id, user, password):
    flags = 2 | (0xC0 if user else 0)
    body = string("MQTT") + bytes([4, flags, 0, 60]) + string(client_id)
    if user:
        body += string(user) + string(password)
    return packet(0x10, body)


class Client(asyncio.Protocol):
    """MQTT as far as it is needed here: packets come whole to on_packet(head, body)."""

    def __init__(self, hello):
        self.hello = hello
        self.buffer = b""
        self.ready = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.hello)

    def data_received(self, data):
        data = self.buffer + data
        at, end = 0, len(data)
        while end - at >= 2:
            size, shift, i = 0, 0, at + 1
            while i < end and data[i] & 128:
                size |= (data[i] & 127) << shift
                shift += 7
                i += 1
            if i >= end:
                break
            size |= data[i] << shift
            i += 1
            if i + size > end:
                break
            self.on_packet(data[at], data[i : i + size])
            at = i + size
        self.buffer = data[at:]
        self.after_data()

    def on_packet(self, head, body):
        if head == 0x20:
            if body[1]:
                self.ready.set_exception(LoadFailed("CONNECT refused with {}".format(body[1])))
            else:
                self.on_connected()

    def on_connected(self):
        self.ready.set_result(None)

    def after_data(self):
        pass

    def connection_lost(self, error):
        if not self.ready.done():
            self.ready.set_exception(LoadFailed("the broker hung up"))


class Device(Client):
    """Keeps `window` events on the way while load.running."""

    def __init__(self, hello, topic, load):
        super().__init__(hello)
        self.topic = string(topic)
        self.load = load
        self.pid = 0
        self.n = 0

    def start(self, window):
        self.send(window)

    def send(self, count):
        out = []
        for _ in range(count):
            self.pid = self.pid % 60000 + 1
            self.n += 1
            out.append(packet(0x32, self.topic + self.pid.to_bytes(2, "big") + PAYLOAD % self.n))
        self.load.sent += count
        self.transport.write(b"".join(out))

    acks = 0

    def on_packet(self, head, body):
        if head == 0x40:
            self.acks += 1
        else:
            super().on_packet(head, body)

    def after_data(self):
        if self.acks:
            self.load.acknowledged += self.acks
            if self.load.running:
                self.send(self.acks)
            self.acks = 0


class Application(Client):
    """Subscribes to all events and acknowledges them."""

    def __init__(self, hello, load):
        super().__init__(hello)
        self.load = load
        self.out = []

    def on_connected(self):
        topic = "iot-2/type/+/id/+/evt/+/fmt/+"
        self.transport.write(packet(0x82, b"\0\1" + string(topic) + b"\1"))

    def on_packet(self, head, body):
        if head & 0xF0 == 0x30:
            at = 2 + int.from_bytes(body[:2], "big")
            if head & 6:
                self.out.append(b"\x40\x02" + body[at : at + 2])
                at += 2
            self.load.received += 1
        elif head == 0x90:
            if body[2] != 1:
                self.ready.set_exception(LoadFailed("SUBSCRIBE refused"))
            else:
                self.ready.set_result(None)
        else:
            super().on_packet(head, body)

    def after_data(self):
        if self.out:
            self.transport.write(b"".join(self.out))
            self.out = []


class Load:
    """One round against one broker."""

    def __init__(self):
        self.running = True
        self.sent = self.acknowledged = self.received = 0

    async def run(self, port, devices, window, seconds, ibm):
        """Events a second that the application received. Raises LoadFailed."""
        loop = asyncio.get_running_loop()

        async def open_client(make):
            _, client = await loop.create_connection(make, "127.0.0.1", port)
            await asyncio.wait_for(client.ready, 60)
            return client

        user = (KEY, TOKEN) if ibm else (None, None)
        hello = connect_packet("a:{}:bench".format(ORG), *user)
        clients = [await open_client(lambda: Application(hello, self))]
        try:
            for i in range(devices):
                clients.append(await open_client(lambda i=i: self._device(i, ibm)))
            for client in clients[1:]:
                client.start(window)
            await asyncio.sleep(1)  # until all is warm
            before, start = self.received, time.perf_counter()
            await asyncio.sleep(seconds)
            rate = (self.received - before) / (time.perf_counter() - start)
            self.running = False
            if not ibm:
                return rate
            end = time.monotonic() + _SETTLE_S
            while self.acknowledged < self.sent or self.received < self.sent:
                if time.monotonic() > end:
                    break
                await asyncio.sleep(0.05)
            if self.acknowledged < self.sent or self.received != self.sent:
                raise LoadFailed(
                    "{} sent, {} acknowledged, {} received".format(
                        self.sent, self.acknowledged, self.received
                    )
                )
            return rate
        finally:
            for client in clients:
                client.transport.abort()

    def _device(self, i, ibm):
        name = "d{}".format(i)
        user = ("use-token-auth", token(i)) if ibm else (None, None)
        topic = "iot-2/evt/status/fmt/json"
        if not ibm:
            topic = "iot-2/type/load/id/{}/evt/status/fmt/json".format(name)
        hello = connect_packet("d:{}:load:{}".format(ORG, name), *user)
        return Device(hello, topic, self)


def token(i):
    return "token-of-{}".format(i)


def start_cloud(devices, state):
    options = ["--ibm-org", ORG, "--ibm-key", "{}:{}".format(KEY, TOKEN)]
    for i in range(devices):
        options += ["--ibm-device", "load:d{}:{}".format(i, token(i))]
    process, ready = processes.start_cloud(*options, state=state)
    return process, ready["mqtt"]["port"]


def one_round(row, cloud_port, options):
    name, devices = row
    if name == "local cloud":
        return asyncio.run(Load().run(cloud_port, devices, options.window, options.seconds, True))
    # A fresh one each time: what the last round left on its way would count.
    settings = ("max_queued_messages 0", "max_inflight_messages 0")
    with real_broker.start(settings if name == "mosquitto" else (), name=name) as broker:
        return asyncio.run(
            Load().run(broker.port, devices, options.window, options.seconds, False)
        )


def main():
    parser = argparse.ArgumentParser(
        prog="python3 tools/bench ibm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5, help="of each round")
    parser.add_argument("--rounds", type=int, default=3, help="taken in turn")
    parser.add_argument("--window", type=int, default=5, help="events on the way of each device")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()

    rows = [("local cloud", options.devices), ("amqtt", options.devices), ("amqtt", 1)]
    if real_broker.mosquitto():
        rows.append(("mosquitto", options.devices))
    rates = {row: [] for row in rows}
    with tempfile.TemporaryDirectory(prefix="picolink-bench-") as state:
        cloud, cloud_port = start_cloud(options.devices, state)
        try:
            for _ in range(options.rounds):
                for row in rows:
                    rate = one_round(row, cloud_port, options)
                    workshop.say("{}, {} devices: {:.0f} events/s".format(*row, rate))
                    rates[row].append(rate)
        except LoadFailed as error:
            sys.exit("bench ibm: {}".format(error))
        finally:
            cloud.stop()

    print(
        "Events/s from devices to one application, QoS 1, {} on the way each, "
        "{} rounds of {:g} s".format(options.window, options.rounds, options.seconds)
    )
    for row, values in rates.items():
        rounds = ", ".join("{:.0f}".format(value) for value in values)
        print(
            "  {:12} {:4} devices {:8.0f}   ({})".format(*row, statistics.median(values), rounds)
        )
    if options.json:
        with open(options.json, "w") as file:
            named = {"{}, {}".format(*row): values for row, values in rates.items()}
            json.dump(dict(vars(options), rates=named), file, indent=1)
