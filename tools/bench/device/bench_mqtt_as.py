# mqtt_as: everything is a coroutine, a publish returns when it is acknowledged. A stand-in takes
# the place of the Wi-Fi.

import sys

from bench_base import (
    BIG,
    FILTERS,
    MSG,
    STEP_MS,
    TOPIC,
    Base,
    say,
    ticks_add,
    ticks_diff,
    ticks_ms,
    ticks_us,
    time_ns,
)


class _WLAN:
    # Always connected; 5 is what no port calls "connecting".
    def __init__(self, interface=0):
        pass

    def active(self, on=True):
        return True

    def isconnected(self):
        return True

    def status(self):
        return 5

    def connect(self, *ignored):
        pass

    disconnect = config = connect


class _Network:
    STA_IF = 0
    STAT_CONNECTING = 1
    STAT_IDLE = 0
    WLAN = _WLAN


class _Machine:
    @staticmethod
    def unique_id():
        return b"bench"


sys.modules["network"] = _Network
sys.modules["machine"] = _Machine

import asyncio  # noqa: E402

import mqtt_as  # noqa: E402

# Of the kinds of board it knows, the one whose radio it asks only status() and isconnected().
mqtt_as.PYBOARD = True


async def _no_wifi(quick=False):
    pass


class Client(Base):
    def __init__(self, job):
        super().__init__(job)
        tls = job["tls"]
        config = dict(mqtt_as.config)
        config.update(
            client_id=self.id,
            server=job["host"],
            port=job["port"],
            keepalive=job["keepalive"],
            ssl=bool(tls),
            ssl_params=self.tls_params(tls),
            connect_coro=self.on_connect,
            subs_cb=self.on_message,
        )
        self.c = mqtt_as.MQTTClient(config)
        self.lost = ()  # what to subscribe to again

    def on_message(self, topic, msg, retained):
        self.got += 1

    def receive_some(self):
        self.idle(5)

    async def on_connect(self, client):
        for f in self.lost:
            await client.subscribe(f, 1)

    def tls_params(self, tls):
        if not tls:
            return {}
        from bench_umqtt import tls_params

        return tls_params(tls)

    def run(self, coro):
        return asyncio.get_event_loop().run_until_complete(coro)

    async def open(self):
        # The first time without the seconds that it gives the radio; later connects have them.
        self.c.wifi_connect = _no_wifi
        await self.c.connect(quick=True)
        del self.c.wifi_connect

    def connect(self):
        self.run(self.open())

    def subscribe(self, filters):
        async def all_of_them():
            for f in filters:
                await self.c.subscribe(f, 1)

        self.run(all_of_them())

    def connect_and_subscribe(self, filters):
        async def both():
            await self.open()
            for f in filters:
                await self.c.subscribe(f, 1)

        self.run(both())

    def publish(self, qos):
        self.publish_many(qos, 1)

    def publish_many(self, qos, n):
        async def some():
            for _ in range(n):
                await self.c.publish(TOPIC, MSG, False, qos)

        self.run(some())

    def idle(self, ms):
        async def wait():
            await asyncio.sleep_ms(ms)

        self.run(wait())

    def flood(self, qos, depth, ms):
        return self.run(self._flood(qos, depth, ms))

    async def _flood(self, qos, depth, ms):
        c = self.c
        end = ticks_add(ticks_ms(), ms)

        async def one():
            n = 0
            while ticks_diff(end, ticks_ms()) > 0:
                await c.publish(TOPIC, MSG, False, qos)
                n += 1
            return n

        if qos:
            return sum(await asyncio.gather(*[one() for _ in range(depth)]))
        n = await one()
        await asyncio.sleep_ms(2)
        c.last_rx = before = ticks_add(ticks_ms(), -5)  # PINGRESP shows only in this stamp
        await c._ping()
        while c.last_rx == before:
            await asyncio.sleep_ms(1)
        return n

    def close(self):
        # Its tasks have to end before the next client starts.
        async def end():
            await self.c.disconnect()
            await asyncio.sleep_ms(50)

        self.run(end())

    def stall(self):
        return self.run(self._stall())

    async def _stall(self):
        # Two figures: how long a call takes its own task, and how long everybody else is held up.
        self.start_clock()
        self.gap = 0
        self.failed = None
        self.calling = None
        asyncio.create_task(self._ticker())
        await asyncio.sleep_ms(0)
        program = asyncio.create_task(self._program())
        while self.time_left() and not program.done():
            self.watch()
            await asyncio.sleep_ms(STEP_MS)
        if self.calling is not None:  # it still waits for this call
            self.longest = max(self.longest, ticks_diff(ticks_us(), self.calling))
        return {
            "longest": self.gap / 1000,
            "in_task": self.longest / 1000,
            "noticed": self.noticed,
            "error": self.failed,
        }

    async def _program(self):
        try:
            await self._timed(self.open())
            await self._timed(self.c.subscribe(FILTERS[0], 1))
            self.lost = FILTERS[:1]
            self.noticed = None
            say(now="up")
            while True:
                for _ in range(self.burst()):
                    await self._timed(self.c.publish(TOPIC, BIG, False, 0))
                await asyncio.sleep_ms(STEP_MS)
        except Exception as e:
            self.noticed = self.noticed or time_ns()
            self.failed = repr(e)

    async def _timed(self, coro):
        self.calling = start = ticks_us()
        try:
            await coro
        finally:
            self.longest = max(self.longest, ticks_diff(ticks_us(), start))
            self.calling = None

    async def _ticker(self):
        last = ticks_us()
        while True:
            await asyncio.sleep_ms(1)
            now = ticks_us()
            self.gap = max(self.gap, ticks_diff(now, last) - 1000)
            last = now

    def is_up(self):
        return self.c.isconnected()
