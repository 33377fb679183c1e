# aiomqttc: coroutines only; a publish at QoS 1 looks for its acknowledgement each 100 ms.

import asyncio

import aiomqttc
from bench_base import BIG, MSG, TOPIC, Base, ticks_add, ticks_diff, ticks_ms

aiomqttc.log = lambda text="": None
TOPIC_TEXT = TOPIC.decode()


class Client(Base):
    def __init__(self, job):
        super().__init__(job)
        self.c = aiomqttc.MQTTClient(
            self.id, job["host"], job["port"], keepalive=job["keepalive"], ssl=self.context(job)
        )
        self.c.on_message = self.on_message

    def context(self, job):
        if not job["tls"]:
            return False
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cafile=job["tls"]["ca_der"])
        return context

    async def on_message(self, protocol, topic, msg, retain):
        self.got += 1

    def run(self, coro):
        return asyncio.get_event_loop().run_until_complete(coro)

    async def open(self):
        if not await self.c.connect():
            raise OSError("not connected")

    async def ask(self, filters):
        for f in filters:
            await self.c.subscribe(f.decode(), 1)
        while not all(one["confirmed"] for one in self.c.subscriptions.values()):
            await asyncio.sleep_ms(1)

    def connect(self):
        self.run(self.open())

    def subscribe(self, filters):
        self.run(self.ask(filters))

    def connect_and_subscribe(self, filters):
        async def both():
            await self.open()
            await self.ask(filters)

        self.run(both())

    def publish(self, qos):
        self.publish_many(qos, 1)

    def publish_many(self, qos, n):
        async def some():
            for _ in range(n):
                await self.c.publish(TOPIC_TEXT, MSG, qos)

        self.run(some())

    def idle(self, ms):
        async def wait():
            await asyncio.sleep_ms(ms)

        self.run(wait())

    def receive_some(self):
        self.idle(5)

    def flood(self, qos, depth, ms):
        async def one():
            end = ticks_add(ticks_ms(), ms)
            n = 0
            while ticks_diff(end, ticks_ms()) > 0:
                await self.c.publish(TOPIC_TEXT, MSG, qos)
                n += 1
            return n

        async def all_of_them():
            if qos:
                return sum(await asyncio.gather(*[one() for _ in range(depth)]))
            n = await one()
            await self.c.publish(TOPIC_TEXT, MSG, 1)
            return n

        return self.run(all_of_them())

    def step(self):
        self.idle(0)

    def publish_big(self):
        self.run(self.c.publish(TOPIC_TEXT, BIG, 0))

    def is_up(self):
        return self.c.connected

    def close(self):
        async def end():
            await self.c.disconnect()
            await asyncio.sleep_ms(50)

        self.run(end())
