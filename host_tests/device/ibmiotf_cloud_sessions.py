# ruff: noqa: F821 (what stands before it defines the rest)
# What a device and an application get that were away, with a durable session and with a clean one.
from given import report

commands, events = [], []
device.commandCallback = lambda c: commands.append(c.data["i"])
app.deviceEventCallback = lambda e: events.append(e.data["i"])
app.subscribeToDeviceEvents(device.options["type"], device.options["id"], "durable", qos=1)
name = device.options["type"], device.options["id"]
until(lambda: device.isConnected() and app.isConnected() and settled())
until(settled)
device.disconnect()
for i in range(5):
    app.publishCommand(*name, "c", {"i": i}, 1 + i % 2)
until(lambda: not app.link.inflight)
app.disconnect()
device.connect()
for i in range(5):
    device.publishEvent("durable", {"i": i}, 1 + i % 2)
until(lambda: not device.link.inflight)
app.connect()
until(lambda: len(events) == 5)
report(commands=sorted(commands), events=sorted(events))

# The same with a clean session: nothing is kept.
device.disconnect()
device.link.clean_session = True
device.connect()
device.disconnect()
for i in range(5):
    app.publishCommand(*name, "c", {"i": i}, 1)
until(lambda: not app.link.inflight)
del commands[:]
device.connect()
device.publishEvent("back", {}, 1)  # what was subscribed before it is, once this is taken
until(lambda: not device.link.inflight)
app.publishCommand(*name, "c", {"i": 99}, 1)
until(lambda: commands)
report(commands=commands)
