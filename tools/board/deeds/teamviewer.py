# teamviewer_iot: provisions itself (a key of its own, made here), connects, pushes 20 values, is
# cut and comes back. argv: provisioning port, port, ca.

import json
import sys

import teamviewer_iot

client = teamviewer_iot.TVCMI_client(
    {
        "MqttHost": "localhost",
        "MqttProvisionPort": int(sys.argv[1]),
        "MqttPort": int(sys.argv[2]),
        "CaFile": sys.argv[3],
        "CertFolder": "/certs",
    }
)
answers = []


def ask(function, *args):
    del answers[:]
    function(*args, callback=lambda **answer: answers.append(answer["msg"]))
    return wait()


def wait():
    while not answers:
        client.do_next(100)
    return answers.pop()


client.on_api_error = lambda **error: print("error", error["error_code"], error["error_str"])
client.on_api_response = lambda **answer: answers.append(answer["msg"])
client.provision()
wait()
client.on_api_connect = lambda **answer: answers.append("connected")
client.connect_api()
wait()
client.on_api_response = None
sensor = json.loads(ask(client.create_sensor, "greenhouse"))["sensorId"]
metrics = {"metrics": [{"matchingId": "1", "name": "air", "valueUnit": "SI.Temperature.CELSIUS"}]}
metric = json.loads(ask(client.create_metric, metrics, sensor))[0]["metricId"]
values = {"metrics": [{"metricId": metric, "value": 21.5}]}
for _ in range(20):
    ask(client.push_metrics, sensor, values)
print("cut")
del answers[:]
wait()  # connected once more
ask(client.push_metrics, sensor, values)
print("done")
