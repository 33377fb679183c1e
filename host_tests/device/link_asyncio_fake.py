# A client of the least kind: its steps say what they are told to say, then that nothing happened.
import asyncio
import gc
import link_asyncio
from link_asyncio import run

class Client:
    def __init__(self, busy=()):
        self.busy = list(busy)
        self.steps = 0
    def do_next(self):
        self.steps += 1
        return self.busy.pop(0) if self.busy else False

class Ticker:
    # A task that wants its turn all the time.
    ticks = 0
    async def run(self):
        while True:
            self.ticks += 1
            await asyncio.sleep_ms(0)
