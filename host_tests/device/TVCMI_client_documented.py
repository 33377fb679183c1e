# ruff: noqa: F821 (what stands before it defines the rest)
# In the shape of the documents' examples: flags set by callbacks, loops that wait for them. WAIT
# is what stands in the loops. teamviewer_rig_device.py is there.
from given import report

import TeamViewerIoTPythonSDK.TVCMI_client as TVCMI_client
import TeamViewerIoTPythonSDK.TVCMI_error as Error
from TeamViewerIoTPythonSDK import CertOverrideMode
import json
import time

client = TVCMI_client(json.dumps(parameters))
provisioned = connected = False
answers = []

def on_certificate_received(**kwargs):
    global provisioned
    report(certificate=kwargs.get("msg"))
    provisioned = True

def on_connect(**kwargs):
    global connected
    connected = True

def on_answer(**kwargs):
    answers.append(json.loads(kwargs.get("msg").decode("utf-8")))

def on_error(**kwargs):
    report(error=kwargs)

client.on_api_error = on_error
client.on_api_response = on_certificate_received
client.provision()
while provisioned is False:
    WAIT()

client.on_api_connect = on_connect
client.connect_api()
while connected is False:
    WAIT()

client.on_api_response = on_answer
client.create_sensor("sensor_name")
while len(answers) < 1:
    WAIT()
sensor_id = answers[0]["sensorId"]

metric = {}
metric["matchingId"] = 1
metric["name"] = "metric_name"
metric["valueAnnotation"] = "unit"
metric["valueType"] = "integer"
container = {}
container["metrics"] = [json.dumps(metric)]
client.create_metric(json.dumps(container), sensor_id)
while len(answers) < 2:
    WAIT()
report(id=len(answers[1][0]["metricId"]), error=issubclass(Error.FileError, Error.TvcmiError),
       smart=CertOverrideMode.SMART)
