import json
import logging
import os
import sys
from devicecloud import DeviceCloud, DeviceCloudHttpException, monitor_tcp
from devicecloud.monitor import MON_TOPIC_ATTR, MON_STATUS_ATTR
from devicecloud.monitor_tcp import TCPClientManager

logging.basicConfig(stream=sys.stderr, level=logging.INFO)
ready = json.loads(sys.argv[1])
digi = ready["digi"]
monitor_tcp.PUSH_OPEN_PORT = digi["push_port"]
monitor_tcp.PUSH_SECURE_PORT = digi["push_tls_port"]
os.environ["REQUESTS_CA_BUNDLE"] = ready["ca_pem"]

def report(**values):
    print(json.dumps(values), flush=True)

def cloud(password=digi["password"]):
    return DeviceCloud(digi["username"], password,
                       base_url="https://localhost:%d" % digi["https_port"])

def answer(what):
    line = sys.stdin.readline().strip()
    assert line == what, line
