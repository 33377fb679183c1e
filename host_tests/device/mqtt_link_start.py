# ruff: noqa: F821 (what stands before it defines the rest)
# Every program starts with this: a link, and run(condition) that steps it until something is so.
from given import host, port

import gc
import sys
import time
from mqtt_link import MQTTLink, Full, MQTTException

def run(condition, ms=300000):
    start = time.ticks_ms()
    while not condition():
        link.do_next(10)
        if time.ticks_diff(time.ticks_ms(), start) > ms:
            raise Exception("waited in vain; last error: %r" % link.error)

got = []
acks = []
downs = []
ups = []

def make(name="device", **options):
    made = MQTTLink(name, host, port, **options)
    made.set_callback(lambda topic, msg: got.append((topic, msg)))
    made.on_ack = lambda pid, code: acks.append((pid, code))
    made.on_down = lambda e: downs.append(str(e))
    made.on_up = ups.append
    made.backoff_ms = made.backoff_max_ms = 30
    return made

def refused(f, *args, **options):
    try:
        f(*args, **options)
    except Exception as e:
        return type(e).__name__ + ": " + str(e)
    return None
