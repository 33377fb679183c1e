# ruff: noqa: F821 (what stands before it defines the rest)
# Links that publish on one line while every packet is lost, and after that. A test puts `count`,
# `port`, `size` and `link` (options) before, and calls publish(until).
import time
import sys
import machine
import select
from mqtt_link import MQTTLink

dog = machine.WDT(timeout=8000)
payload = bytes(size)
downs = []
links = [MQTTLink("shares-%d" % i, "localhost", port, **link) for i in range(count)]
for one in links:
    one.backoff_ms = one.backoff_max_ms = 200
    one.on_down = downs.append
longest = 0

def measure(call, *args):
    global longest
    start = time.ticks_us()
    try:
        return call(*args)
    except OSError:
        pass  # offline, or the window is full
    finally:
        longest = max(longest, time.ticks_diff(time.ticks_us(), start) / 1000)
        dog.feed()

def publish(until):
    start = time.ticks_ms()
    while not until(time.ticks_diff(time.ticks_ms(), start)):
        for qos, one in enumerate(links):
            # Not in the step that takes a TLS handshake's arithmetic.
            one.is_connected() and measure(one.publish, "up/shared", payload, False, 1 - qos)
            measure(one.do_next, 0) if one.is_connected() else (one.do_next(0), dog.feed())
        time.sleep_ms(1)

keys = select.poll()
keys.register(sys.stdin, select.POLLIN)

def wait_for_a_word():
    while not keys.poll(10):
        dog.feed()
    sys.stdin.readline()

def all_up():
    return all([one.is_connected() for one in links])
