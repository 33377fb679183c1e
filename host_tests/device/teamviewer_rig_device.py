# The device's half. `parameters` must be a global; heard collects what callbacks got, in order.
from given import parameters

import json
import sys
import time
import teamviewer_iot
# By name: MicroPython 1.25 does not look at __all__.
from teamviewer_iot import (
    CallbackError, CertOverrideMode, ConfigError, ConnectionError, ConnectionParamError,
    DirectoryError, FileError, InputError, KeyCertificateError, KeyGenerationError, TLSError,
    TVCMI_client, TvcmiError, error_name,
)

heard = []
logged = []

def hear(name):
    def callback(**values):
        heard.append(dict(values, on=name))
    return callback

def client(**more):
    made = TVCMI_client(dict(parameters, **more), "mine")
    for name in ("connect", "disconnect", "response", "error"):
        setattr(made, "on_api_" + name, hear(name))
    made.on_api_log = lambda msg, **more: logged.append(msg)
    return made

def drive(it, n=1, ms=10000):
    # Until n callbacks have come; what came, at most n of it.
    start = time.ticks_ms()
    while len(heard) < n and time.ticks_diff(time.ticks_ms(), start) < ms:
        it.do_next(20)
    got = heard[:n]
    del heard[:n]
    return got

def hurry(ms):
    # Short pauses between attempts, for every link.
    from mqtt_link import MQTTLink
    MQTTLink.backoff_ms = MQTTLink.backoff_max_ms = ms

def waiting(it):
    # How many calls wait for their answers: seen by how many more may be made.
    n = 0
    try:
        while True:
            it.check_connection(callback=lambda **values: None)
            n += 1
    except ConnectionError:
        return 16 - n

def provisioned(**more):
    made = client(**more)
    made.provision()
    assert drive(made)[0]["on"] == "response"
    return made

def connected(**more):
    made = provisioned(**more)
    made.connect_api()
    assert drive(made)[0]["on"] == "connect"
    return made

def ask(it, call, *args, **more):
    # The one answer to a call.
    call(*args, **more)
    got = drive(it)
    assert got, "no answer"
    return got[0]

def new_sensor(it, name="s"):
    return json.loads(ask(it, it.create_sensor, name)["msg"])["sensorId"]

def new_metrics(it, sensor, *kinds):
    defs = [{"matchingId": str(i), "name": k, "valueType": k} for i, k in enumerate(kinds)]
    made = json.loads(ask(it, it.create_metric, {"metrics": defs}, sensor)["msg"])
    return [m["metricId"] for m in made]
