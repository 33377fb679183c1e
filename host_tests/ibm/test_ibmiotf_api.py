"""ibmiotf/api.py: the management API, against the local cloud and by script."""

import json

import pytest
from ibm_api_rig import START, answer
from localcloud import pki

# The service writes the last character as two escapes, which MicroPython alone can't read.
STREET = "Elmstra\u00dfe \U0001f33f"


def test_organization_devices_and_types_are_listed(board, cloud, options):
    run = board.run(
        START
        + """
    attempt(api.getOrganizationDetails)
    attempt(api.getDevices)
    attempt(api.getDevices, "board")
    attempt(api.getDevices, "nothing")
    attempt(api.getDeviceTypes)
    """,
        options=options,
    )
    organization, devices, boards, nothing, types = [r["got"] for r in run.reports]
    assert organization["id"] == options["org"]
    assert sorted(organization) == ["created", "id", "name", "updated"]
    assert cloud["ibm"]["device"]["id"] in [d["id"] for d in devices]
    assert {d["type"] for d in boards} == {"board"}
    assert nothing == []
    assert {"deviceType": "board", "count": len(boards)} in types


def test_a_device_is_registered_viewed_updated_used_and_deleted(board, options):
    run = board.run(
        START
        + """
    import ibmiotf.device
    name = "api-" + board
    attempt(api.registerDevice, "pump", name, {"address": {"street": street}})
    attempt(api.registerDevice, "pump", name)
    attempt(api.getDevice, "pump", name)
    attempt(api.updateDevice, "pump", name, {"address": None})
    attempt(api.getDevice, "pump", name)
    attempt(api.deleteDevice, "pump", name)
    attempt(api.deleteDevice, "pump", name)
    attempt(api.getDevice, "pump", name)
    attempt(api.updateDevice, "pump", name, {})

    # The password is a token that lets the device in, until it is deleted.
    device = api.registerDevice("pump", name)
    own = dict(options)
    own.update({"type": "pump", "id": name, "auth-method": "token", "auth-key": None,
                "auth-token": device["password"]})
    ibmiotf.device.Client(own).connect()
    api.deleteDevice("pump", name)
    try:
        ibmiotf.device.Client(own).connect()
    except ibmiotf.ConnectionException as e:
        report(refused=str(e), secret=device["password"])
    """,
        options=options,
        board=board.name,
        street=STREET,
    )
    reports = run.reports
    made, again, seen, updated, seen_again, deleted, *gone, refused = reports
    device = made["got"]
    assert device["uuid"] == "d:%s:pump:api-%s" % (options["org"], board.name)
    assert len(device["password"]) > 8
    assert device["metadata"] == {"address": {"street": STREET}}
    assert again["code"] == 409
    assert "password" not in seen["got"] and seen["got"]["metadata"] == device["metadata"]
    assert updated["got"]["metadata"] == seen_again["got"]["metadata"] == {"address": None}
    assert deleted == {"got": None}
    assert [g["code"] for g in gone] == [404, 404, 404]
    assert "not authorized" in refused["refused"] and refused["secret"] not in refused["refused"]


def test_a_failure_has_code_and_reason_and_no_secret(board, options):
    wrong = dict(options, **{"auth-token": "n0tthetoken"})
    unknown = dict(options, **{"auth-key": "a-%s-unknown" % options["org"]})
    for bad, code in ((wrong, 401), (unknown, 403)):
        got = board.run(START + "    attempt(api.getDevices)", options=bad).report
        assert got["code"] == code
        assert "GET devices: %d" % code in got["message"] and got["text"] == got["message"]
        assert "n0tthetoken" not in json.dumps(got)


def test_names_and_metadata_are_checked_before_anything_is_sent(board, options):
    run = board.run(
        START
        + """
    attempt(api.getDevices, "a/b")
    attempt(api.getDevice, "pump", "..%2f")
    attempt(api.getDevice, "pump", "")
    attempt(api.registerDevice, "pump", "x" * 37)
    attempt(api.registerDevice, "pump", "ok", {"t": float("nan")})
    attempt(api.updateDevice, "pump", "ok", {"t": b"x"})
    attempt(api.deleteDevice, "pump", "a b")
    """,
        options=dict(options, **{"api-port": 1}),
    )
    assert len(run.reports) == 7
    for report in run.reports:
        assert "invalid" in report


def test_tls_is_verified(board, options, tmp_path):
    stranger = tmp_path / "stranger.der"
    stranger.write_bytes(pki.Authority("a stranger").der)
    run = board.run(
        START
        + """
    try:
        api.getDevices()
    except OSError as e:
        report(error=str(e))
    """,
        options=dict(options, ca=str(stranger)),
    )
    assert "ca:" in run.report["error"]


def test_without_tls_for_mqtt_the_api_still_has_it(board, options, cloud):
    plain = dict(options, ssl=False, port=cloud["mqtt"]["port"])
    run = board.run(START + "    attempt(api.getOrganizationDetails)", options=plain)
    assert run.report["got"]["id"] == options["org"]
    del plain["ca"]
    run = board.run(
        """
        import ibmiotf.application
        try:
            ibmiotf.application.Client(options).api
        except ibmiotf.ConfigurationException as e:
            report(error=str(e))
        """,
        options=plain,
    )
    assert "ca" in run.report["error"]


def test_the_api_is_loaded_when_it_is_first_used(board, options):
    run = board.run(
        """
        import sys
        import ibmiotf.application
        client = ibmiotf.application.Client(options)
        before = [name in sys.modules for name in ("rest", "ibmiotf.api")]
        client.api
        report(before=before, after="rest" in sys.modules, same=client.api is client.api)
        """,
        options=options,
    )
    assert run.report == {"before": [False, False], "after": True, "same": True}


# ---- a service that is not well


def test_requests_are_what_the_documents_say(board, scripted):
    server, options = scripted(
        {
            "devices": [answer("201 Created", {"password": "x"}, "Location: /y\r\n")],
            "devices/pump/p1": [answer("200 OK", {})],
        }
    )
    board.run(
        START
        + """
    attempt(api.registerDevice, "pump", "p1", {"a": [1]})
    attempt(api.updateDevice, "pump", "p1", {"a": [2]})
    """,
        options=options,
    )
    assert [r.split(" HTTP")[0] for r in server.requests] == [
        "POST /api/v0001/devices",
        "PUT /api/v0001/devices/pump/p1",
    ]
    assert [json.loads(b) for b in server.bodies] == [
        {"type": "pump", "id": "p1", "metadata": {"a": [1]}},
        {"metadata": {"a": [2]}},
    ]
    for request in server.requests:
        assert "Authorization: Basic a2V5OnMzY3JldA==" in request
        assert "Content-Type: application/json" in request


@pytest.mark.parametrize(
    "body, code, text",
    [
        (answer("500 Oops", b"<html>s3cret?"), 500, "GET devices: 500 Oops"),
        (answer("409 Conflict", {"message": "there is one"}), 409, "409 there is one"),
        (answer("404 Not Found", b""), 404, "404 not found"),
        (answer("200 OK", b"<html>welcome to the hotel"), 200, "GET devices: 200 but no JSON"),
        (answer("200 OK", b""), 200, "GET devices: 200 but no JSON"),
        (answer("302 Found", b"", "Location: https://elsewhere/\r\n"), 302, "302 Found"),
    ],
)
def test_what_is_not_the_documented_answer_is_an_exception(board, scripted, body, code, text):
    server, options = scripted({"devices": [body]})
    got = board.run(START + "    attempt(api.getDevices)", options=options).report
    assert got["code"] == code and text in got["message"]
    assert "s3cret" not in got["message"]
    assert len(server.requests) == 1


def test_an_answer_over_the_limit_is_an_error_and_not_a_memory_error(board, scripted):
    server, options = scripted({"devices": [answer("200 OK", b'["' + b"x" * 70000 + b'"]')]})
    run = board.run(
        START
        + """
    for api.limit in (1000, 32768, 80000):
        try:
            report(n=len(api.getDevices()[0]))
        except OSError as e:
            report(error=str(e))
    """,
        options=options,
    )
    assert ["over" in r.get("error", "") for r in run.reports] == [True, True, False]
    assert run.reports[2]["n"] == 70000


def test_pain_66_this_version_of_the_api_registers_names_of_32_characters(board, scripted):
    server, options = scripted({"devices": [answer("201 Created", {"password": "x"})]})
    run = board.run(
        START
        + """
    attempt(api.registerDevice, "t" * 33, "p1")
    attempt(api.registerDevice, "pump", "p" * 33)
    attempt(api.registerDevice, "t" * 32, "p" * 32)
    """,
        options=options,
    )
    assert run.reports[0]["invalid"].startswith("deviceType: must be 1 to 32 of ")
    assert run.reports[1]["invalid"].startswith("deviceId: must be 1 to 32 of ")
    assert run.reports[2]["got"] == {"password": "x"}
