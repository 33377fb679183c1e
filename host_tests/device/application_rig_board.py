# `joins` says how the Wi-Fi flaps: (rounds up, rounds down) in turn, or None for always up once
# joined; ntp answers from the try number `losses` + 1 on.
from given import FLAP, JOINS_NEEDED, LOSSES, report

import sys
import time

class Module:
    pass

class Reset(Exception):
    pass

class Interface:
    def __init__(self, *args, **given):
        self.joins = self.rounds = 0
        self.given = given
        self.state = 1001
    def active(self, on=None):
        if on:
            self.joins += 1
    def isconnected(self):
        self.rounds += 1
        if not self.joins or self.joins < JOINS_NEEDED:
            return False
        return not FLAP or self.rounds % (FLAP[0] + FLAP[1]) < FLAP[0]
    def disconnect(self):
        raise OSError(5)
    def connect(self, ssid, password):
        self.joins += 1
    def status(self):
        return self.state

network = sys.modules["network"] = Module()
network.STA_IF = 0
network.STAT_WRONG_PASSWORD = 1002
network.STAT_CONNECTING = 1001
network.WLAN = network.LAN = Interface

ntptime = sys.modules["ntptime"] = Module()
ntptime.host = "127.0.0.1"
asked = []
def settime():
    asked.append(ntptime.host)
    if len(asked) <= LOSSES:
        raise OSError(110)
ntptime.settime = settime

machine = sys.modules["machine"] = Module()
class Dog:
    longest = 0
    def __init__(self, timeout):
        self.timeout = timeout
        self.last = time.ticks_ms()
    def feed(self):
        now = time.ticks_ms()
        Dog.longest = max(Dog.longest, time.ticks_diff(now, self.last))
        self.last = now
        if Dog.longest > self.timeout:
            report(bitten=Dog.longest)
class Pin:
    OUT = 1
    changes = 0
    def __init__(self, name, mode):
        Pin.name = name
    def value(self, on):
        Pin.now = on
        Pin.changes += 1
machine.WDT = Dog
machine.Pin = Pin
def reset():
    raise Reset
machine.reset = reset
