"""
What the tests of the link share: a paho client that watches a broker from outside, and the device's
half of the "messages in flight while something breaks" scenario.
"""

import threading

import paho.mqtt.client as paho


class Observer:
    """
    A paho client on the broker itself, not through any proxy. messages: (topic, payload, qos,
    retain) in the order of arrival; payload is bytes.
    """

    def __init__(self, host, port, *filters, client_id=""):
        self.messages = []
        self._news = threading.Condition()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id)
        self._client.on_message = self._on_message
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *args: subscribed.set()
        self._client.connect(host, port)
        self._client.loop_start()
        if filters:
            self._client.subscribe([(name, 2) for name in filters])
            assert subscribed.wait(10), "the observer's subscription was not acknowledged"

    def _on_message(self, client, userdata, message):
        with self._news:
            self.messages.append((message.topic, message.payload, message.qos, message.retain))
            self._news.notify_all()

    def publish(self, topic, payload, qos=0, retain=False):
        """Publish and wait until the broker has it."""
        self._client.publish(topic, payload, qos, retain).wait_for_publish(10)

    def payloads(self, topic):
        """What came on a topic so far, in order."""
        with self._news:
            return [payload for name, payload, _, _ in self.messages if name == topic]

    def wait(self, topic, count, timeout=15):
        """The first `count` payloads of a topic; fails after timeout seconds."""
        with self._news:
            enough = self._news.wait_for(
                lambda: sum(name == topic for name, _, _, _ in self.messages) >= count, timeout
            )
        found = self.payloads(topic)
        assert enough, "{} of {} messages on {}: {}".format(len(found), count, topic, found)
        return found

    def stop(self):
        self._client.disconnect()
        self._client.loop_stop()


# Globals it needs: host, port, COUNT, ROUNDS (names). In each round COUNT messages go each way at
# QoS 1 and 2; before it the program waits for a line on stdin, which is when the test breaks
# something. At the end it tells by how much the heap in use grew from one round to the next: what
# is only used once (a buffer grown, a module loaded) does not count, what leaks does.
IN_FLIGHT = """
import gc, sys, time
from mqtt_link import MQTTLink

link = MQTTLink("device", host, port, keepalive=1, timeout=0.6, clean_session=False, window=8,
                max_packet=512)
link.backoff_ms = link.backoff_max_ms = 20
errors = []
link.on_down = lambda e: errors.append(str(e)[:80])
seen = {b"down/1": bytearray(COUNT), b"down/2": bytearray(COUNT)}
newest = {b"down/1": -1, b"down/2": -1}
disorder = []

def on_message(topic, msg):
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

def settled_heap():
    # Heap in use on a fresh connection of the same session, everything else given back.
    link.disconnect()
    link.connect()
    link.error = None
    errors.clear()
    for _ in range(5):
        step()
    gc.collect()
    gc.collect()
    return gc.mem_alloc()

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
heap = None
settle = ROUNDS[-2:]
for name in ROUNDS:
    fresh()
    report(ready=name)
    sys.stdin.readline()
    longest = 0
    round_trip(name)
    report(longest_us=longest, errors=errors[:5], disorder=disorder,
           down1=list(seen[b"down/1"]), down2=list(seen[b"down/2"]))
    if name in settle:
        before, heap = heap, settled_heap()
report(heap_growth=heap - before)
link.disconnect()
"""
