"""
Is the local Azure what Microsoft's own client takes it for? azure-iot-device, unmodified,
provisions, connects, sends, reads and patches its twin, answers a method and receives a message.

Its ports are fixed: 8883, and 443 for WebSocket. Where one of them can't be had the test is
skipped and says so.
"""

import errno
import json
import socket
import subprocess

import pytest
import workshop
from workshop import processes
from azure_rig import GROUP_KEY, SCOPE, Control, derive_key, pki

SDK = ["azure-iot-device==2.14.0"]

# Runs in an environment of its own. Arguments: JSON. Prints one JSON line for each thing that
# happened, and reads one line to go on.
PROGRAM = """
import json, sys, threading
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
"""


def free(port):
    """None, or why the port can't be had."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError as e:
            return "taken" if e.errno == errno.EADDRINUSE else e.strerror
    return None


def prepare():
    """Before the tests: the side environment."""
    workshop.side_venv("azure-sdk", SDK)


@pytest.fixture(scope="module")
def sdk():
    try:
        return workshop.side_venv("azure-sdk", SDK)
    except workshop.SetupError as e:
        pytest.skip("azure-iot-device can't be installed here: %s" % e)


@pytest.fixture(scope="module", params=["tcp", "websocket"])
def cloud(request, tmp_path_factory):
    """A local cloud on the ports that the SDK insists on, and whether to ask for WebSocket."""
    websockets = request.param == "websocket"
    port, option = (443, "--wss-port") if websockets else (8883, "--mqtts-port")
    why = free(port)
    if why is not None:
        pytest.skip("the SDK's port %d can't be had on 127.0.0.1: %s" % (port, why))
    process, ready = processes.start_cloud(
        option, str(port), "--azure-scope", SCOPE, "--azure-group-key", GROUP_KEY,
        state=tmp_path_factory.mktemp("cloud"),
    )  # fmt: skip
    yield dict(ready, websockets=websockets)
    process.stop()
    print(process.tail(60))


def converse(sdk, cloud, device_id, **credentials):
    """The whole conversation; what the service side saw is asserted on the way."""
    control = Control(cloud)
    control("POST", "/settings", {"retry_after": 1, "polls": 1})
    given = {
        "dps": cloud["azure"]["dps_host"],
        "ca": cloud["ca_pem"],
        "scope": SCOPE,
        "id": device_id,
        "websockets": cloud["websockets"],
    }
    given.update(credentials)
    process = processes.Process([sdk, "-c", PROGRAM, json.dumps(given)], name="the SDK")
    try:

        def told():
            return json.loads(process.next_line(60))

        hub = cloud["azure"]["hub_host"]
        first = told()
        assert (first["status"], first["hub"], first["device"]) == ("assigned", hub, device_id)
        empty = {"desired": {"$version": 1}, "reported": {"$version": 1}}
        assert told() == {"twin": empty}
        reported = {"serial": "x1", "nested": {"a": [1, 2]}, "$version": 2}
        assert told() == {"twin": dict(empty, reported=reported)}
        messages = control("GET", "/devices/%s/messages/events?wait=10" % device_id)[1]
        assert messages[0]["body"] == {"temperature": 21.5}
        assert messages[0]["properties"] == {
            "$.mid": "m-1",
            "$.ct": "application/json",
            "$.ce": "utf-8",
            "mode": "eco & fast",
        }
        assert control("GET", "/devices/" + device_id)[1]["model"] == "dtmi:acme:Pump;1"
        desired = {"properties": {"desired": {"fan": 5}}}
        assert control("PATCH", "/twins/" + device_id, desired)[0] == 200
        assert told() == {"patch": {"fan": 5, "$version": 2}}
        call = {"methodName": "reboot", "payload": {"delay": 3}}
        answer = control("POST", "/twins/%s/methods" % device_id, call)
        assert told() == {"method": "reboot", "payload": {"delay": 3}}
        assert answer == (200, {"status": 207, "payload": {"seen": {"delay": 3}}})
        sent = {"body": "hello", "properties": {"mode": "eco & fast"}, "ack": "full"}
        mid = control("POST", "/devices/%s/messages/deviceBound" % device_id, sent)[1]["id"]
        got = told()
        assert (got["message"], got["properties"], got["id"]) == (
            "hello", {"mode": "eco & fast"}, mid,
        )  # fmt: skip
        assert told() == {"done": True}
        feedback = control("GET", "/feedback")[1]
        assert {"device": device_id, "message": mid, "status": "Success"} in feedback
    finally:
        process.stop()
        print(process.tail(80))


def test_microsofts_client_with_a_group_derived_key(sdk, cloud):
    name = "sdk-" + ("ws" if cloud["websockets"] else "tcp")
    converse(sdk, cloud, name, key=derive_key(GROUP_KEY, name))


def test_microsofts_client_with_a_certificate(sdk, cloud, tmp_path):
    name = "sdk-x509-" + ("ws" if cloud["websockets"] else "tcp")
    authority = pki.Authority("devices of a factory")
    record = {"kind": "group-x509", "ca": authority.pem.decode()}
    assert Control(cloud)("PUT", "/enrollments/factory", record)[0] == 200
    certificate, key = authority.issue_client(name).write(str(tmp_path), "device")
    converse(sdk, cloud, name, cert=certificate, cert_key=key)


def test_microsofts_client_is_refused_with_a_wrong_key(sdk, cloud):
    given = {
        "dps": cloud["azure"]["dps_host"],
        "ca": cloud["ca_pem"],
        "scope": SCOPE,
        "id": "sdk-wrong",
        "key": GROUP_KEY,
        "websockets": cloud["websockets"],
    }
    done = subprocess.run(
        [str(sdk), "-c", PROGRAM, json.dumps(given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0 and "assigned" not in done.stdout
    # DPS answers on the topic; a CONNACK would have been a CredentialError.
    assert "error status code 401" in done.stderr, done.stderr
