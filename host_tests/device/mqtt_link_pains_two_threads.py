# ruff: noqa: F821 (what stands before it defines the rest)
# Two threads publish, one of them steps.
from given import report

import _thread
import time
stream = BrokerStream()
link = make(stream, window=50)
link.connect()
over = []
def work(name):
    sent = 0
    for i in range(600):
        topic = "up/%s%d" % (name, i % 5)
        try:
            link.publish(topic, topic[3:] * 20, qos=i & 1)
            sent += 1
        except OSError:
            time.sleep_ms(1)
    over.append(sent)
_thread.start_new_thread(work, ("t",))
start = time.ticks_ms()
for i in range(600):
    topic = "up/m%d" % (i % 5)
    try:
        link.publish(topic, topic[3:] * 20, qos=i & 1)
    except OSError:
        pass
    link.do_next()
while not over and time.ticks_diff(time.ticks_ms(), start) < 30000:
    link.do_next()
run(link, lambda: not link.inflight)
torn = [one for one in stream.received if one[1] != one[0][3:] * 20]
report(torn=torn[:3], bad=stream.corrupt, sent=over[0] > 0, inflight=link.inflight,
       downs=count(link, "down"))
