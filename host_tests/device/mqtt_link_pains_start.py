import gc
import sys
import broker_stream
import mqtt_link
from broker_stream import BrokerStream, Hang, make, run
from mqtt_link import MQTTLink

def said(f, *args, **options):
    try:
        return f(*args, **options)
    except Exception as e:
        return type(e).__name__ + ": " + str(e)

def count(link, kind):
    return len([event for event in link.events if event[0] == kind])

class Clock:
    # The link's time, set by the test. period: where ticks wrap.
    def __init__(self, period=1 << 30):
        self.now = 1000
        self.period = period
        mqtt_link.ticks_ms = lambda: self.now % period
        mqtt_link.ticks_add = lambda a, b: (a + b) % period
        mqtt_link.ticks_diff = self.diff
        mqtt_link.sleep_ms = self.sleep_ms = self.sleep
        # What a built link loads when it is called finds its time as a module.
        self.ticks_ms, self.ticks_add = mqtt_link.ticks_ms, mqtt_link.ticks_add
        self.ticks_diff = self.diff
        sys.modules["time"] = self
    def diff(self, a, b):
        return (a - b + self.period // 2) % self.period - self.period // 2
    def sleep(self, ms):
        self.now += ms
