"""
Is the local Azure what Microsoft's own client takes it for? azure-iot-device, unmodified,
provisions, connects, sends, reads and patches its twin, answers a method, receives a message, and
sends a file with the help of azure-storage-blob.

Its ports are fixed: 8883, and 443 for WebSocket. Where one of them can't be had the test is
skipped and says so.
"""

import errno
import hashlib
import json
import socket
import subprocess

import pytest
import workshop
from workshop import processes
from azure_rig import GROUP_KEY, SCOPE, Control, derive_key, pki
from device_program import program

SDK = ["azure-iot-device==2.14.0", "azure-storage-blob==12.31.1"]

PROGRAM = program("azure_faithful_program")
UPLOAD = program("azure_faithful_upload")


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
    options = [option, str(port), "--azure-scope", SCOPE, "--azure-group-key", GROUP_KEY]
    if websockets:
        options += ["--https-port", str(port)]  # one port for both, as Hub has it
    process, ready = processes.start_cloud(*options, state=tmp_path_factory.mktemp("cloud"))
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


def run_to_its_end(sdk, program, given, timeout):
    """A program of Microsoft's client; its subprocess.CompletedProcess."""
    return subprocess.run(
        [str(sdk), "-c", program, json.dumps(given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=timeout,
    )


def test_microsofts_client_is_refused_with_a_wrong_key(sdk, cloud):
    given = {
        "dps": cloud["azure"]["dps_host"],
        "ca": cloud["ca_pem"],
        "scope": SCOPE,
        "id": "sdk-wrong",
        "key": GROUP_KEY,
        "websockets": cloud["websockets"],
    }
    done = run_to_its_end(sdk, PROGRAM, given, 60)
    assert done.returncode != 0 and "assigned" not in done.stdout
    # DPS answers on the topic; a CONNACK would have been a CredentialError.
    assert "error status code 401" in done.stderr, done.stderr


# ---- a file, over the cloud that has HTTPS on the port that the SDK insists on

over_https = pytest.mark.parametrize("cloud", ["websocket"], indirect=True)


@pytest.fixture
def uploader(sdk, cloud):
    """uploader(todo, **credentials): what a program of a device has told, one dict each."""

    def run(todo, **credentials):
        given = {"ca": cloud["ca_pem"], "hub": cloud["azure"]["hub_host"]}
        given.update(credentials, websockets=cloud["websockets"], todo=todo)
        done = run_to_its_end(sdk, UPLOAD, given, 120)
        told = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0 and told[-1] == {"ended": True}, done.stderr
        return told[:-1]

    return run


def with_key(cloud, name):
    """The credentials of a device that the hub then knows."""
    key = derive_key(GROUP_KEY, name)
    assert Control(cloud)("PUT", "/devices/" + name, {"keys": [key]})[0] in (200, 201)
    return {"id": name, "key": key}


@over_https
def test_microsofts_clients_send_a_file(uploader, cloud):
    """In one request, and in blocks."""
    told = uploader(
        """
for name, size in (("logs/small.txt", 4000), ("logs/large.bin", 300_000)):
    info, blob = place(name)
    say(info=sorted(info), blob=info["blobName"], starts=info["sasToken"][0])
    result = blob.upload_blob(bytes(range(250)) * (size // 250), overwrite=True)
    say(etag=bool(result.get("etag")), at=str(result.get("last_modified"))[:2])
    tell(info, True, 201, "OK")
""",
        **with_key(cloud, "mill"),
    )
    info = ["blobName", "containerName", "correlationId", "hostName", "sasToken"]
    assert told == [
        {"info": info, "blob": "mill/logs/small.txt", "starts": "?"},
        {"etag": True, "at": "20"},
        {"info": info, "blob": "mill/logs/large.bin", "starts": "?"},
        {"etag": True, "at": "20"},
    ]
    seen = Control(cloud)("GET", "/devices/mill/files")[1]
    sizes = {name: (blob["size"], blob["blocks"]) for name, blob in seen["blobs"].items()}
    assert sizes == {"mill/logs/small.txt": (4000, 0), "mill/logs/large.bin": (300_000, 5)}
    digest = hashlib.md5(bytes(range(250)) * 1200).hexdigest()
    assert seen["blobs"]["mill/logs/large.bin"]["md5"] == digest
    assert [one["blobName"] for one in seen["notifications"]] == list(sizes)
    assert [(one["good"], one["code"], one["text"]) for one in seen["statuses"]] == [
        (True, 201, "OK")
    ] * 2
    assert seen["active"] == []


@over_https
def test_microsofts_clients_send_a_file_with_a_certificate(uploader, cloud, tmp_path):
    authority = pki.Authority("devices of a factory")
    issued = authority.issue_client("x509-mill")
    certificate, key = issued.write(str(tmp_path), "device")
    control = Control(cloud)
    with open(certificate) as f:
        assert control("PUT", "/devices/x509-mill", {"certificate": f.read()})[0] in (200, 201)
    todo = """
info, blob = place("a.txt")
blob.upload_blob(b"hello", overwrite=True)
tell(info, True, 200, "OK")
"""
    assert uploader(todo, id="x509-mill", cert=certificate, cert_key=key) == []
    seen = control("GET", "/devices/x509-mill/files")[1]
    assert seen["blobs"]["x509-mill/a.txt"]["size"] == 5 and seen["statuses"][-1]["good"]


@over_https
def test_what_microsofts_clients_make_of_refusals(uploader, cloud):
    """Each of the three steps is refused, in the forms that they understand."""
    fail = Control(cloud)
    fail("POST", "/faults", {"place": "hub.files.start", "status": 429, "code": 429001})
    fail("POST", "/faults", {"place": "storage.blob", "status": 503, "word": "ServerBusy"})
    told = uploader(
        """
attempt(place, "refused.txt")
info, blob = place("refused.txt")
attempt(blob.upload_blob, b"hello", overwrite=True)
tell(info, False, 503, "ServerBusy")  # which ends this upload
attempt(tell, info, True, 200, "again")
info, blob = place("refused.txt")
attempt(tell, info, True, 200, "nothing is there")
attempt(blob.upload_blob, b"hello", overwrite=False)
attempt(blob.upload_blob, b"hello", overwrite=False)
tell(info, True, 200, "OK")
_, other = place("forged.txt")
forged = BlobClient.from_blob_url(
    other.url.replace("forged", "stolen"), connection_verify=given["ca"], retry_total=0)
attempt(forged.upload_blob, b"hello", overwrite=True)
attempt(hub.get_storage_info_for_blob, "")
for _ in range(12):
    attempt(hub.get_storage_info_for_blob, "open.txt")
""",
        **with_key(cloud, "refused"),
    )

    def hubs(status):
        return "ServiceError", "HTTP operation returned: %d" % status

    def storages(kind, code, status):
        return kind, (code, status)

    assert [
        (one["error"], one["text"][:28] if one["code"] is None else (one["code"], one["status"]))
        for one in told
    ] == [
        hubs(429),
        storages("HttpResponseError", "ServerBusy", 503),
        hubs(404),  # the upload has ended
        hubs(400),  # the file is not there
        storages("ResourceExistsError", "BlobAlreadyExists", 409),
        storages("ClientAuthenticationError", "AuthenticationFailed", 403),
        hubs(400),  # a file without a name
        *[hubs(403)] * 3,  # nine were begun beside "forged.txt": ten are the most
    ]
    seen = Control(cloud)("GET", "/devices/refused/files")[1]
    assert seen["blobs"]["refused/refused.txt"]["size"] == 5
    assert "refused/stolen.txt" not in seen["blobs"]
    assert len(seen["active"]) == 10
