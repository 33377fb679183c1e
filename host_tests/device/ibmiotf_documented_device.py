# A device in the manner of the documents: their calls in their order, nothing of ours in between.
from given import settings

import ibmiotf.device

try:
    options = ibmiotf.device.ParseConfigFile(settings)
    client = ibmiotf.device.Client(options)
except ibmiotf.ConnectionException as error:
    print(error)
    raise

seconds = 60

def obey(cmd):
    global seconds
    print("got %s" % cmd.payload)
    if cmd.command == "pace":
        if "seconds" in cmd.data:
            seconds = cmd.data["seconds"]
    elif cmd.command == "say":
        print(cmd.data["message"])

client.connect()
client.commandCallback = obey
climate={"celsius": 21.5, "lux": 300}
client.publishEvent("climate", climate)
twice=2
client.publishEvent("climate", climate, twice)
