# What IBM's programs begin with. Beside it they have `clients`, whose steps are taken while they
# wait, and `errors`, what those told.
from given import report

import time

# Whether the service has answered all subscriptions of a client, seen from the two places where
# any program can see it, the link's subscribe() and its on_ack.
class Watch:
    def __init__(self, client, own=0):
        # own: how many subscriptions the client's constructor has made
        self.open = own
        self.pids = []
        link = client.link
        subscribe = link.subscribe
        on_ack = link.on_ack

        def ask(topic, qos=0):
            pid = subscribe(topic, qos)
            if pid not in self.pids:
                self.pids.append(pid)
            return pid

        def answered(pid, code):
            if pid in self.pids:
                self.pids.remove(pid)
            elif self.open:
                self.open -= 1
            on_ack(pid, code)

        link.subscribe = ask
        link.on_ack = answered

    def settled(self):
        return not self.pids and not self.open

def until(what, seconds=15):
    end = time.ticks_add(time.ticks_ms(), seconds * 1000)
    while not what():
        for one in clients:  # noqa: F821
            one.do_next(20 // len(clients))  # noqa: F821
        if time.ticks_diff(end, time.ticks_ms()) < 0:
            report(
                timeout=True,
                errors=[str(e) for e in errors],  # noqa: F821
                ends=[str(getattr(one, "error", None)) for one in clients],  # noqa: F821
            )
            raise SystemExit(1)

