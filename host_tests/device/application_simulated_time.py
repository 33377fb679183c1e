# ruff: noqa: F821 (what stands before it defines the rest)
# An hour in a second: what the clock's file takes for the time is the test's.
class Time:
    now = 0
    year = 2000
    def __getattr__(self, name):
        return getattr(time, name)
    def ticks_ms(self):
        return self.now & (2 ** 29 - 1)
    def ticks_add(self, a, b):
        return (a + b) & (2 ** 29 - 1)
    def ticks_diff(self, a, b):
        return ((a - b + 2 ** 28) & (2 ** 29 - 1)) - 2 ** 28
    def gmtime(self, at=None):
        return (self.year, 1, 1, 0, 0, 0, 0, 1)

class Resolver:
    def resolve(self, host):
        for _ in range(3):
            yield
        return ["192.0.2.1"]

import clock
clock.time = simulated = Time()
