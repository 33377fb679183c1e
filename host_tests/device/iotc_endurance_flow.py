# ruff: noqa: F821 (what stands before it defines the rest)
# The link's waits cut short; a number every 20 ms, and commands are answered. azure_rig_prelude.py
# is there.
from given import report

class Quick(iotc.MQTTLink):
    backoff_ms = 20
    backoff_max_ms = 100

iotc.MQTTLink = Quick
iotc.Device.timeout = 0.5
iotc.Device.keepalive = 1
d = device(name=NAME)
d.setQosLevel(1)
numbers = 0
sent = 0
taken = []
calls = []
going = True

def on_sent(info):
    taken.append(info.getPayload()["n"])

def on_command(info):
    global going
    calls.append(info.getMessageId())
    if info.getTag() == "stop":
        going = False
    info.setResponse(200, info.getPayload())

d.on("MessageSent", on_sent)
d.on("Command", on_command)
report(code=d.connect(), error=d.error)
longest = 0
while going or d.inflight:
    start = time.ticks_ms()
    d.do_next(20)
    longest = max(longest, time.ticks_diff(time.ticks_ms(), start))
    if going and time.ticks_diff(start, sent) > 20 and d.sendTelemetry({"n": numbers}) == 0:
        sent = start
        numbers += 1
assert d.isConnected()
report(numbers=numbers, taken=len(taken), twice=len(calls) - len(set(calls)), longest=longest)
d.disconnect()
