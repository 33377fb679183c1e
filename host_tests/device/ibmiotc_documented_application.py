# An application of the oldest SDK, in the manner of its documents.
from given import kind, number, settings, what

import json
import ibmiotc.application
try:
  options = ibmiotc.application.ParseConfigFile(settings)
  client = ibmiotc.application.Client(options)
except ibmiotc.ConnectionException as error:
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

client.eventCallback = hear
client.subscribeToDeviceEvents(deviceType=kind, deviceId=number, event=what)
client.statusCallback = follow
client.subscribeToDeviceStatus()
climate={"celsius": 21.5, "lux": 300}
client.publishEvent(kind, number, "climate", climate)
order={"after": 50}
client.publishCommand(kind, number, "restart", climate)
