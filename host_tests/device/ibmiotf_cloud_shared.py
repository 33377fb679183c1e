# ruff: noqa: F821 (what stands before it defines the rest)
# Three instances of a shared application, and how many events each of them gets.
from given import report

shared = dict(app_options)
shared["type"] = "shared"
counts = [0, 0, 0]
apps = []

def count(i):
    def hear(e):
        counts[i] += 1
    return hear

for i in range(3):
    one = ibmiotf.application.Client(shared)
    one.deviceEventCallback = count(i)
    one.subscribeToDeviceEvents(device.options["type"], device.options["id"], "shared")
    one.connect()
    apps.append(one)
for _ in range(20):
    for one in apps:
        one.do_next(5)
device.connect()
for i in range(30):
    device.publishEvent("shared", {"i": i}, 1)
while sum(counts) < 30 or device.link.inflight:
    device.do_next(5)
    for one in apps:
        one.do_next(5)
for _ in range(20):
    for one in apps:
        one.do_next(5)
report(counts=counts)
