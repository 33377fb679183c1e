# A device for tools/demo.py, and one to copy: tells how the machine is that it runs on, obeys a
# command.
#
#     micropython device.py settings.json [how many events, 0 for ever]
#
# settings.json holds what ibmiotf.device.Client() takes. On a board, put your sensor into
# measure().

import json
import sys
import time

import ibmiotf.device

interval = 1000  # ms between two events


def first_line(path):
    with open(path) as file:
        return file.readline()


def measure():
    """This machine's load (processes waiting), free memory, uptime; from Linux's /proc."""
    try:
        load = float(first_line("/proc/loadavg").split()[0])
        uptime = int(float(first_line("/proc/uptime").split()[0]))
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable"):
                    free = int(line.split()[1]) // 1024
                    return {"load": load, "free_mb": free, "uptime_s": uptime}
    except OSError:  # another system: then at least how long it has been ticking
        pass
    return {"uptime_s": time.ticks_ms() // 1000}


def on_command(command):
    global interval
    print("command", command.command, command.data)
    if command.command == "interval":
        interval = max(50, int(command.data["ms"]))
        # Tell the sender what is in force now; it gets its own words back to measure the round
        # trip.
        client.publishEvent("interval", {"ms": interval, "asked": command.data.get("asked")}, 1)


with open(sys.argv[1]) as file:
    client = ibmiotf.device.Client(json.load(file))
client.commandCallback = on_command
wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 0

sent = 0
connected = False
due = time.ticks_ms()
while not wanted or sent < wanted:
    client.do_next(20)
    if client.isConnected() != connected:
        connected = not connected
        print("connected" if connected else "lost {}".format(client.error))
    if time.ticks_diff(due, time.ticks_ms()) <= 0 and (connected or sent):
        due = time.ticks_add(time.ticks_ms(), interval)
        data = measure()
        data["number"] = sent + 1
        # QoS 1: kept, over a lost connection too, until the service has it. False: no room to keep
        # more.
        if client.publishEvent("machine", data, 1):
            sent += 1
            print("sent", sent)
client.disconnect()
print("done", sent)
