# An application in the manner of the documents.
from given import APP, KEY, METHOD, ORG, TOKEN, kind, number, what

import json
import ibmiotf.application

try:
    options = {
        "org": ORG,
        "id": APP,
        "auth-method": METHOD,
        "auth-key": KEY,
        "auth-token": TOKEN
    }
    client = ibmiotf.application.Client(options)
except ibmiotf.ConnectionException as error:
    print(error)
    raise

def hear(event):
    text = "%s %s from %s: %s"
    print(text % (event.format, event.event, event.device, json.dumps(event.data)))

def follow(status):
    if status.action == "Disconnect":
        text = "%s %s %s (%s)"
        print(text % (status.time.isoformat(), status.device, status.action, status.reason))
    else:
        print("%s %s %s" % (status.time.isoformat(), status.device, status.action))

client.connect()
client.deviceEventCallback = hear
client.subscribeToDeviceEvents(event=what)
client.subscribeToDeviceEvents(deviceType=kind, deviceId=number, event=what)
client.connect()
client.deviceStatusCallback = follow
client.subscribeToDeviceStatus(deviceType=kind, deviceId=number)
devices = client.api.getDevices()
print("%d devices" % len(devices))
