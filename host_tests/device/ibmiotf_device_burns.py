# ruff: noqa: F821 (what stands before it defines the rest)
# One exception, ERROR, in a place of the program's part; then all must work. ibm_rig_watch.py and
# a client are there.
from given import place, report

fuse = [0]

def burn():
    if fuse[0]:
        fuse[0] -= 1
        raise ERROR("as ordered")

class Codec:
    @staticmethod
    def encode(data, timestamp):
        if place == "encoder":
            burn()
        return data

    @staticmethod
    def decode(message):
        if place == "decoder":
            burn()
        return ibmiotf.Message(message.payload)

def hear(c):
    if place == "commandCallback":
        burn()
    got.append(c.command)

def fail(e):
    if place == "errorCallback":
        burn()
    errors.append(type(e).__name__)

got = []
raised = []
client.link.backoff_ms = 20
client.commandCallback = hear
client.errorCallback = fail
client.setMessageEncoderModule("x", Codec)
client.connect()
report(ready=True)

def step():
    try:
        client.do_next(20)
    except BaseException as e:
        raised.append(type(e).__name__)

fuse[0] = 1
try:
    client.publishEvent("first", "x", "1", 1)
except BaseException as e:
    raised.append(type(e).__name__)
end = time.ticks_add(time.ticks_ms(), 20000)
while "last" not in got and time.ticks_diff(end, time.ticks_ms()) > 0:
    step()
for _ in range(3):
    try:
        client.publishEvent("second", "x", "2", 1)
        break
    except BaseException as e:
        raised.append(type(e).__name__)
while client.link.inflight and time.ticks_diff(end, time.ticks_ms()) > 0:
    step()
report(got=got, raised=raised, errors=errors, left=client.link.inflight)
