# A device of IoT Central or IoT Hub: provisions itself, sends telemetry, takes commands and
# properties. azure.json says who it is.

import json
import time

import iotc

with open("azure.json") as f:
    settings = json.load(f)
kind = iotc.IOTConnectType.IOTC_CONNECT_SYMM_KEY  # the key is the enrolment group's
device = iotc.Device(settings["scope"], settings["key"], settings["id"], kind)
device.ca = settings["ca"]
device.server = settings.get("server")  # of Azure itself: leave it out
device.setQosLevel(1)
device.on("ConnectionStatus", lambda info: print("status", info.getStatusCode(), device.error))
device.on("MessageSent", lambda info: print("sent", info.getPayload()))
device.on("Command", lambda info: info.setResponse(200, {"heard": info.getTag()}))
device.on("PropertiesUpdated", lambda info: print(info.getTag(), "is now", info.getPayload()))

last = None
while True:
    if not (device.isConnected() or device.isStarting()):
        device.start()  # also after the service has refused us
        time.sleep(1)
    device.do_next(1000)
    if device.isConnected() and (not last or time.ticks_diff(time.ticks_ms(), last) >= 10000):
        last = time.ticks_ms()
        if device.sendTelemetry({"celsius": 21.5}):
            print(device.error)
