# A conversation of a push session, for doubles/sweeping.py.
from given import ACKS, REQUEST

import idigi_monitor_api
from digi_clock import Clock
from push_stream import Service
from sweeping import Slots

PAYLOADS = [b'{"n":%d}' % n for n in range(1, 4)]

class Ticking(Clock):
    # Time goes on, or a step that fails again and again would never end. It never goes round: on
    # 32 bits that sum takes memory, which a real clock's does not.
    def ticks_ms(self):
        self.now += 1
        return self.now

    def ticks_diff(self, one, other):
        return one - other

    def ticks_add(self, ticks, ms):
        return ticks + ms

class Talk:
    def __init__(self):
        self.stream = self.service = Service(PAYLOADS, REQUEST, ACKS)
        idigi_monitor_api.NetStream = self.service.stream
        idigi_monitor_api.time = Ticking(0)
        self.client = idigi_monitor_api.push_client(
            "user", "password", hostname="h", secure=False, threads=False)
        self.heard = Slots()
        self.deaf = 0
        self.skipped = Slots()  # numbers of blocks for which there was no memory
        self.session = self.client.create_session(self.hear, 9001)
        self.session.on_skip = self.skip

    def hear(self, data):
        self.heard.add(data)
        return True

    def skip(self, number, size, why):
        self.skipped.add(number)  # told: it stays with the service

    def act(self):
        pass

    def step(self):
        try:
            self.client.do_next(20)
        finally:
            self.deaf += self.session.is_connected() and not self.service.open

    def where(self):
        return self.heard.n, sorted(self.service.acknowledged), str(self.session.error)

    def over(self):
        left = {1, 2, 3} - self.service.acknowledged - set(self.skipped.all())
        return self.session.is_connected() and not left

    def wrong(self):
        heard = self.heard.all()
        missed = [n for n in self.service.acknowledged if PAYLOADS[n - 1] not in heard]
        odd = [one for one in heard if one not in PAYLOADS]
        if self.deaf or missed or odd or self.service.connections > 6:
            return self.deaf, missed, odd, self.service.connections
