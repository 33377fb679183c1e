# A device of any service: device.json names it. On a board, put your sensor where 21.5 is.

import time

import cloud

for text in cloud.check("device.json"):
    print("check:", text)

device = cloud.Device("device.json")
device.on_up = lambda: print("connected")
device.on_down = lambda error: print("offline:", error and error.args[-1])
device.on_sent = lambda number, error: print("message", number, error or "arrived")
if "command" in device.can:
    device.on_command = lambda name, args: print("command", name, args) or "done"
device.report({"firmware": "1.2"})

last = time.ticks_add(time.ticks_ms(), -10000)
while True:
    device.do_next(1000)
    if time.ticks_diff(time.ticks_ms(), last) >= 10000 and device.pending < 16:
        last = time.ticks_ms()
        device.send({"celsius": 21.5}, "climate")
