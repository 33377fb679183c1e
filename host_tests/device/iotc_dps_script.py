from given import ANSWERS, BODY, report

import sys
import time as _real

class clock:
    "Time passes only in do_next()."
    now = 0

    def ticks_ms():
        return clock.now

    def ticks_diff(a, b):
        return a - b

    def ticks_add(a, b):
        return a + b

class Link:
    error = None
    def __init__(self, answers):
        self.answers = answers
        self.log = []
        self.closed = False
    def set_callback(self, f):
        self.cb = f
    def subscribe(self, topic, qos=0):
        self.log.append(["SUBSCRIBE", topic, qos])
    def publish(self, topic, msg, retain=False, qos=0):
        self.log.append(["PUBLISH", topic, msg, qos, clock.now])
        self.asked = True
    def do_next(self, wait_ms=0):
        clock.now += max(1, wait_ms)
        if self.asked and self.answers:
            self.asked = False
            answer = self.answers.pop(0)
            if answer is None:
                return False
            if isinstance(answer, str):
                self.error = OSError(104, answer)
                return True
            status, more, body = answer
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.cb(("$dps/registrations/res/%d/?$rid=1%s" % (status, more)).encode(), body)
            return True
        return False
    def disconnect(self, wait_ms):
        self.closed = True

class Pace:
    pass

pace = Pace()
pace._wait = 100

import json
import iotc_dps
iotc_dps.time = clock
link = Link(ANSWERS)
task = iotc_dps.register(link, BODY, pace)
try:
    while True:
        next(task)
except StopIteration as e:
    report(result=e.value, now=clock.now, closed=link.closed)
except Exception as e:
    report(kind=type(e).__name__, args=list(e.args), now=clock.now, closed=link.closed)
for entry in link.log:
    report(entry=entry)
