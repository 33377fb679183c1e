# A sensor at a TeamViewer IoT agent: the board gets a certificate, makes a sensor with a metric,
# and pushes values. teamviewer.json says where the agent is.

import json
import time

import teamviewer_iot

with open("teamviewer.json") as f:
    client = teamviewer_iot.TVCMI_client(json.load(f))
client.on_api_error = lambda **e: print("error", e["error_code"], e["error_str"])
found = {}  # the ids, once the agent has given them


def provisioned(msg, **_):
    print(msg)
    client.connect_api()


def connected(**_):
    client.on_api_connect = None  # it would come again after each reconnect
    client.create_sensor("greenhouse", callback=created)


def created(msg, **_):
    found["sensor"] = json.loads(msg)["sensorId"]
    unit = {"matchingId": "1", "name": "air", "valueUnit": "SI.Temperature.CELSIUS"}
    client.create_metric({"metrics": [unit]}, found["sensor"], callback=defined)


def defined(msg, **_):
    found["metric"] = json.loads(msg)[0]["metricId"]


client.on_api_response = provisioned
client.on_api_connect = connected
client.provision()
last = None
while True:
    client.do_next(1000)
    if "metric" in found and (not last or time.ticks_diff(time.ticks_ms(), last) >= 10000):
        last = time.ticks_ms()
        values = {"metrics": [{"metricId": found["metric"], "value": 21.5}]}
        client.push_metrics(
            found["sensor"], values, callback=lambda **a: print("pushed", a["msg"])
        )
