# ruff: noqa: F821 (what stands before it defines the rest)
# Publishes over a stream that counts what nobody has acknowledged, as netstream does on lwIP.
from given import qos, report, size

class Bounded(BrokerStream):
    # As netstream counts on lwIP, in pieces of 512.
    bounded = True
    unheard = 0
    most = 0
    def write(self, buf, off, n):
        n = BrokerStream.write(self, buf, off, min(n, 512))
        self.unheard += n + 128
        self.most = max(self.most, self.unheard)
        return n
    def readinto(self, buf):
        n = BrokerStream.readinto(self, buf)
        if n:
            self.unheard = 0
        return n

stream = Bounded()
link = make(stream, window=30)
link.connect()
stream.answers = False
stream.most = stream.unheard = 0
refused = 0
for _ in range(200):
    try:
        link.publish("up", bytes(size), qos=qos)
    except OSError:
        refused += 1
    link.do_next()
silent = stream.most
pings = len([1 for op, _ in stream.packets if op == 0xC0])
up = link.is_connected()
# And where the broker answers, everything arrives.
stream.answers = True
if pings:
    stream.say(0xD0, b"")
for packet in [one for one in stream.packets if one[0] & 0xF0 == 0x30]:
    stream.answer(packet[0], packet[1])
run(link, lambda: not link.inflight and not stream.output)
before = len(stream.received)
sent = 0
for _ in range(60):
    try:
        link.publish("up", bytes(size), qos=qos)
        sent += 1
    except OSError:
        pass
    link.do_next()
run(link, lambda: not link.inflight, 100)
report(silent=silent, pings=pings, up=up, refused=refused, sent=sent,
       came=len(stream.received) - before, bad=stream.corrupt)
