# The device's half. Globals it needs: host, port, OPTIONS (the link's), COUNT, ROUNDS (names). In
# each round COUNT messages go each way at QoS 1 and 2; before it the program waits for a line on
# stdin, which is when the test breaks something. At the end it tells by how much the heap in use
# grew in the last of three rounds over the others: what is only used once (a buffer grown, a
# module loaded) does not count, what leaks does.
from given import COUNT, OPTIONS, ROUNDS, host, port, report

import gc
import sys
import time
from mqtt_link import MQTTLink

link = MQTTLink("device", host, port, clean_session=False, window=8, max_packet=512, **OPTIONS)
link.backoff_ms = link.backoff_max_ms = 20
errors = []
link.on_down = lambda e: errors.append(str(e)[:80])
seen = {b"down/1": bytearray(COUNT), b"down/2": bytearray(COUNT)}
newest = {b"down/1": -1, b"down/2": -1}
disorder = []

def on_message(topic, msg):
    if topic not in seen:
        return  # what a flood brings
    i = int(msg)
    if i < newest[topic] and not seen[topic][i]:
        disorder.append((topic, i))
    newest[topic] = max(newest[topic], i)
    seen[topic][i] += 1

link.set_callback(on_message)
link.subscribe([("down/1", 1), ("down/2", 2)])
longest = 0

def step():
    global longest
    start = time.ticks_us()
    link.do_next()
    took = time.ticks_diff(time.ticks_us(), start)
    if took > longest:
        longest = took
    time.sleep_ms(1)

def round_trip(name):
    up1 = up2 = 0
    start = time.ticks_ms()
    asked = False
    while (up1 < COUNT or up2 < COUNT or link.inflight or link._unreleased
           or 0 in list(seen[b"down/1"]) + list(seen[b"down/2"])):
        if time.ticks_diff(time.ticks_ms(), start) > 20000:
            report(gave_up=name, up=(up1, up2), inflight=link.inflight, error=link.error)
            sys.exit(1)
        step()
        if not asked and link.inflight < link.window:
            link.publish("go/" + name, "x", qos=1)
            asked = True
        if up1 < COUNT and link.inflight < link.window:
            link.publish("up/1/" + name, str(up1), qos=1)
            up1 += 1
        if up2 < COUNT and link.inflight < link.window:
            link.publish("up/2/" + name, str(up2), qos=2)
            up2 += 1

def collected(depth):
    # A conservative collector takes what lies about on the C stack for pointers; other depths,
    # other leftovers.
    if depth:
        return collected(depth - 1)
    gc.collect()
    return gc.mem_alloc()

def settled_heap():
    # In use on a fresh connection of the same session, everything else given back.
    link._failures = 0  # as if it had been up for long: each round begins alike
    link.disconnect()
    link.connect()
    link.error = None
    errors.clear()
    for _ in range(5):
        step()
    return min([collected(depth) for depth in range(8)])

def fresh():
    for counts in seen.values():
        for i in range(COUNT):
            counts[i] = 0
    newest[b"down/1"] = newest[b"down/2"] = -1
    del disorder[:]

while not link.is_connected():
    step()
for _ in range(30):
    step()
round_trip("warm")
heaps = [0, 0, 0]
settle = ROUNDS[-3:]
for name in ROUNDS:
    fresh()
    report(ready=name)
    sys.stdin.readline()
    longest = 0
    round_trip(name)
    report(longest_us=longest, errors=errors[:5], disorder=disorder,
           down1=list(seen[b"down/1"]), down2=list(seen[b"down/2"]))
    if name in settle:
        heaps.append(settled_heap())
        del heaps[0]
report(heap_growth=heaps[2] - max(heaps[0], heaps[1]))
link.disconnect()
