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
from device_program import program

SDK = ["azure-iot-device==2.14.0"]

PROGRAM = program("azure_faithful_program")


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
