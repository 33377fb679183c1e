# Runs in an environment of its own. Arguments: JSON. Prints one JSON line for each thing that
# happened, and reads one line to go on.
import json
import sys
import threading
from azure.iot.device import (
    IoTHubDeviceClient, Message, MethodResponse, ProvisioningDeviceClient, X509)

given = json.loads(sys.argv[1])
common = {"server_verification_cert": open(given["ca"]).read(), "websockets": given["websockets"]}

def say(**values):
    print(json.dumps(values), flush=True)

if "key" in given:
    dps = ProvisioningDeviceClient.create_from_symmetric_key(
        provisioning_host=given["dps"], registration_id=given["id"], id_scope=given["scope"],
        symmetric_key=given["key"], **common)
else:
    x509 = X509(given["cert"], given["cert_key"])
    dps = ProvisioningDeviceClient.create_from_x509_certificate(
        provisioning_host=given["dps"], registration_id=given["id"], id_scope=given["scope"],
        x509=x509, **common)
dps.provisioning_payload = {"modelId": "dtmi:acme:Pump;1"}
result = dps.register()
state = result.registration_state
say(status=result.status, hub=state.assigned_hub, device=state.device_id)

more = dict(common, product_info="dtmi:acme:Pump;1")
if "key" in given:
    hub = IoTHubDeviceClient.create_from_symmetric_key(
        given["key"], state.assigned_hub, state.device_id, **more)
else:
    hub = IoTHubDeviceClient.create_from_x509_certificate(
        x509, state.assigned_hub, state.device_id, **more)

got = threading.Semaphore(0)

def on_patch(patch):
    say(patch=patch)
    got.release()

def on_method(request):
    say(method=request.name, payload=request.payload)
    hub.send_method_response(
        MethodResponse.create_from_method_request(request, 207, {"seen": request.payload}))
    got.release()

def on_message(message):
    say(message=message.data.decode(), properties=message.custom_properties, id=message.message_id)
    got.release()

hub.on_twin_desired_properties_patch_received = on_patch
hub.on_method_request_received = on_method
hub.on_message_received = on_message
hub.connect()
message = Message(json.dumps({"temperature": 21.5}))
message.content_type = "application/json"
message.content_encoding = "utf-8"
message.message_id = "m-1"
message.custom_properties["mode"] = "eco & fast"
hub.send_message(message)
say(twin=hub.get_twin())
hub.patch_twin_reported_properties({"serial": "x1", "nested": {"a": [1, 2]}})
say(twin=hub.get_twin())
for _ in range(3):
    got.acquire(timeout=30)
hub.shutdown()
say(done=True)
