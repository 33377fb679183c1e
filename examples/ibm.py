# A device of Maximo, or of whatever speaks IBM IoT Foundation's grammar. ibm.json says who it is.

import json
import time

import ibmiotf.device

with open("ibm.json") as f:
    settings = json.load(f)
client = ibmiotf.device.Client(
    {
        "org": settings["org"], "type": settings["type"], "id": settings["id"],
        "auth-method": "token", "auth-token": settings["token"], "ca": settings["ca"],
        "host": settings["host"], "port": settings["port"],
    }
)  # fmt: skip
client.commandCallback = lambda command: print("command", command.command, command.data)
client.errorCallback = lambda error: print("error:", error)

last = time.ticks_add(time.ticks_ms(), -10000)
while True:
    client.do_next(1000)
    if time.ticks_diff(time.ticks_ms(), last) >= 10000:
        last = time.ticks_ms()
        kept = client.publishEvent("climate", {"celsius": 21.5}, 1)
        print("published" if kept else client.error)
