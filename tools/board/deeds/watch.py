# The link under watch, for tools/board/promises.py: an 8-second watchdog is fed once a step, and
# the longest step is told. argv: its options as JSON. Lines on stdin say what to do:
#
#     fault SECONDS          publish while something happens to the next connection, then recover
#     silent SIZE QOS SECONDS    publish SIZE bytes as fast as the link takes them for so long
#     try SECONDS            only try to connect
#     cycles COUNT           connect and disconnect so often
#
# Each is answered by one line of JSON.

import gc
import json
import sys
import time

import machine
import select
from mqtt_link import Full, MQTTLink

options = json.loads(sys.argv[1])
if options.pop("kept", 0):
    kept = ["string number %d that is kept" % i for i in range(300)]
if "servers" in options:
    from resolver import Resolver

    options["link"]["resolver"] = Resolver(options["servers"])
dog = machine.WDT(timeout=8000)
keys = select.poll()
keys.register(sys.stdin, select.POLLIN)

acked = []
downs = []


def make_link():
    made = MQTTLink("device", options["host"], options["port"], **options.get("link", {}))
    made.backoff_ms = made.backoff_max_ms = 200
    made.on_ack = lambda pid, code=0: acked.append(pid)
    made.on_down = downs.append
    made.set_callback(lambda topic, msg: None)
    made.subscribe("down/#", 1)
    return made


link = make_link()
longest = {"dialling": 0, "up": 0}
slow = 0  # steps over 50 ms while dialling


def measure(call, *args):
    global slow
    up = "up" if link.is_connected() else "dialling"
    start = time.ticks_us()
    try:
        return call(*args)
    finally:
        took = time.ticks_diff(time.ticks_us(), start)
        longest[up] = max(longest[up], took)
        if took > 50000 and up == "dialling":
            slow += 1
        dog.feed()


def step():
    """One step that waits for nothing; the pause after it is no part of what is measured."""
    measure(link.do_next, 0)
    time.sleep_ms(1)


def publish(payload, qos):
    try:
        return measure(link.publish, "up/device", payload, False, qos)
    except Full:
        return None
    except OSError:
        return None


def passed(start):
    return time.ticks_diff(time.ticks_ms(), start) / 1000


def recover(limit):
    """Whether a message that is published from now on is acknowledged."""
    start = time.ticks_ms()
    mine = None
    while passed(start) < limit:
        step()
        if mine is None and link.is_connected():
            mine = publish(b"after", 1)
        if mine in acked:
            return True
    return False


def fault(seconds):
    start = time.ticks_ms()
    last = start
    while passed(start) < seconds and len(downs) < 2:
        step()
        if time.ticks_diff(time.ticks_ms(), last) > 20:
            last = time.ticks_ms()
            publish(b"x" * 30, 1)
    return recover(15)


def silent(size, qos, seconds):
    start = time.ticks_ms()
    payload = b"x" * size
    told = False
    while passed(start) < seconds:
        publish(payload, qos)
        step()
        if not told and passed(start) > 0.3:
            print("stall")
            told = True
    print("mend")
    return recover(25)


def try_it(seconds):
    start = time.ticks_ms()
    while passed(start) < seconds and not link.is_connected():
        step()
    return link.is_connected()


def cycles(count):
    """Heap in use after 10 connections and after `count`: nothing may have leaked."""
    heap = []
    for i in range(count):
        if not recover(15):
            return False
        link.disconnect()
        acked.clear()
        downs.clear()
        if i in (9, count - 1):
            gc.collect()
            heap.append(gc.mem_alloc())
        dog.feed()
        link.connect(timeout=20)
        dog.feed()
    return heap


DEEDS = {"fault": fault, "silent": silent, "try": try_it, "cycles": cycles}
print("ready")
while True:
    while not keys.poll(1):
        step()
    words = sys.stdin.readline().split()
    if not words:
        break
    acked.clear()
    downs.clear()
    slow = 0
    longest["dialling"] = longest["up"] = 0
    done = DEEDS[words[0]](*[float(word) if "." in word else int(word) for word in words[1:]])
    print(
        json.dumps(
            {
                "done": done,
                "longest_ms": longest["up"] / 1000,
                "dialling_ms": longest["dialling"] / 1000,
                "slow_dialling": slow,
                "downs": len(downs),
                "error": str(downs[-1] if downs else link.error),
                "last": str(link.error),
            }
        )
    )
