# An application for tools/demo.py, and one to copy: shows what devices tell, and sends one of them
# a command.
#
#     micropython application.py settings.json deviceType deviceId
#
# settings.json holds what ibmiotf.application.Client() takes.

import json
import sys
import time

import ibmiotf.application

COMMAND_AFTER = 3  # events
FASTER = 250  # ms: the interval that the command asks for

heard = 0


def on_event(event):
    global heard
    data = event.data
    if event.event == "interval":
        if isinstance(data.get("asked"), int):
            print("answered", time.ticks_diff(time.ticks_ms(), data["asked"]), data["ms"])
        return
    heard += 1
    text = []
    if "load" in data:
        text = ["load {}".format(data["load"]), "{} MB free".format(data["free_mb"])]
    minutes = data["uptime_s"] // 60
    text.append("up {} h {:02d} min".format(minutes // 60, minutes % 60))
    print("event", data["number"], "from", event.device + ":", ", ".join(text))


def on_status(status):
    print("status", status.device, status.action)


with open(sys.argv[1]) as file:
    client = ibmiotf.application.Client(json.load(file))
device_type, device_id = sys.argv[2:4]
client.deviceEventCallback = on_event
client.deviceStatusCallback = on_status
client.subscribeToDeviceEvents(device_type, device_id, qos=1)
client.subscribeToDeviceStatus(device_type, device_id)
client.connect()
print("ready")

asked = False
while True:
    client.do_next(50)
    if heard >= COMMAND_AFTER and not asked:
        data = {"ms": FASTER, "asked": time.ticks_ms()}
        asked = client.publishCommand(device_type, device_id, "interval", data, 1)
        print("asked", FASTER)
