"""IBM's management API and historian in the local cloud, and its control side."""

import json
import math
import statistics

import pytest
from localcloud import ibm
from localcloud.mqtt import codec as mq
from localcloud_rig import Control, Http, Raw, cloud_running
from waiting import until

V1 = "/api/v0001"
V2 = "/api/v0002"


class Cloud:
    def __init__(self, made, ready, background):
        self.made = made
        self.ready = ready
        self.background = background
        self.ibm = ready["ibm"]
        self.port = ready["mqtt"]["port"]
        self.tls_port = int(ready["http"]["tls_url"].rpartition(":")[2])
        self.plain_port = int(ready["http"]["url"].rpartition(":")[2])
        app = self.ibm["application"]
        self.api = self.http(app["key"], app["token"])
        self.part = made.parts[0]

    def http(self, user=None, password=None, host="localhost", tls=True):
        port = self.tls_port if tls else self.plain_port
        return Http(port, self.ready["ca_pem"] if tls else None, user, password, host)

    def device(self, token=None, type=None, id=None):
        device = self.ibm["device"]
        client_id = "d:%s:%s:%s" % (self.ibm["org"], type or device["type"], id or device["id"])
        return Raw(self.port).connect(
            client_id, user="use-token-auth", password=(token or device["token"]).encode()
        )

    def control(self, path, body):
        return Control(self.ready)("POST", path, body)

    def fill(self, *events):
        """(type, id, event, ms, data): recorded as if received at ms."""

        async def write():
            for type, id, event, ms, data in events:
                self.made.store.write(
                    "INSERT INTO ibm_events (org, type, device, evt, t, data)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    ("abc123", type, id, event, ms, json.dumps(data)),
                )
            await self.made.store.durable()

        self.background.call(write())


@pytest.fixture
def cloud(tmp_path):
    with cloud_running(
        "--ibm-key", "a-zyx987-k2:othertoken", parts=[ibm.Part], state=tmp_path
    ) as running:
        yield Cloud(*running)


# ---- who may ask


def test_the_organization(cloud):
    for path in (V1, V1 + "/", V2 + "/"):
        status, headers, body = cloud.api("GET", path)
        assert status == 200 and headers.get_content_type() == "application/json"
        assert body["id"] == "abc123" and set(body) == {"id", "name", "created", "updated"}
        assert body["created"][-1] == "Z"


def test_who_is_refused(cloud):
    key, token = cloud.ibm["application"]["key"], cloud.ibm["application"]["token"]
    cases = [
        (401, cloud.http()),
        (401, cloud.http(key, "")),
        (401, cloud.http("", token)),
        (401, cloud.http(key, "wrong")),
        (403, cloud.http("a-abc123-unknown", token)),
        (403, cloud.http("use-token-auth", cloud.ibm["device"]["token"])),
        (403, cloud.http(key, token, "zyx987.internetofthings.ibmcloud.com")),
        (403, cloud.http(key, token, tls=False)),
    ]
    for expected, http in cases:
        status, headers, body = http("GET", V1 + "/devices")
        assert status == expected and body["message"]
        assert token not in str(body) and (status != 401 or "Basic" in headers["WWW-Authenticate"])
    assert cloud.api("GET", V1, Authorization="Bearer x")[0] == 403
    assert cloud.api("GET", V1, Authorization="Basic !!!")[0] == 401
    right = cloud.http(key, token, "ABC123.internetofthings.ibmcloud.com:443")
    assert right("GET", V1)[0] == 200


def test_unknown_paths_and_methods(cloud):
    status, _, body = cloud.api("GET", V1 + "/nothing")
    assert status == 404 and body["message"]
    status, headers, _ = cloud.api("PATCH", V1 + "/devices")
    assert status == 405 and "POST" in headers["Allow"]


# ---- devices


def test_the_life_of_a_device(cloud):
    status, headers, made = cloud.api(
        "POST", V1 + "/devices", {"type": "pump", "id": "p1", "metadata": {"a": {"b": [1, "é"]}}}
    )
    assert status == 201
    assert headers["Location"] == "https://localhost%s/devices/pump/p1" % V1
    password = made.pop("password")
    assert len(password) >= 12
    assert made["uuid"] == "d:abc123:pump:p1" and made["metadata"] == {"a": {"b": [1, "é"]}}
    assert made["registration"]["auth"] == {"id": cloud.ibm["application"]["key"], "type": "app"}
    device = cloud.device(password, "pump", "p1")

    assert cloud.api("GET", V1 + "/devices/pump/p1")[::2] == (200, made)
    assert cloud.api("GET", V1 + "/devices/pump")[::2] == (200, [made])
    ids = [d["id"] for d in cloud.api("GET", V1 + "/devices")[2]]
    assert ids == ["board-1", "p1"]
    assert cloud.api("GET", V1 + "/device-types")[2] == [
        {"deviceType": "board", "count": 1},
        {"deviceType": "pump", "count": 1},
    ]

    changed = dict(made, metadata={"new": True})
    assert cloud.api("PUT", V1 + "/devices/pump/p1", {"metadata": {"new": True}})[::2] == (
        200,
        changed,
    )
    # Sending the whole device back is fine as long as nothing else differs.
    assert cloud.api("PUT", V1 + "/devices/pump/p1", changed)[0] == 200
    assert cloud.api("PUT", V1 + "/devices/pump/p1", dict(changed, id="p2"))[0] == 400
    # No metadata: the key is absent.
    assert "metadata" not in cloud.api("PUT", V1 + "/devices/pump/p1", {"metadata": None})[2]
    device.sync()

    status, _, body = cloud.api("DELETE", V1 + "/devices/pump/p1")
    assert (status, body) == (204, None)
    device.closed()
    for method in ("GET", "DELETE"):
        assert cloud.api(method, V1 + "/devices/pump/p1")[0] == 404
    assert cloud.api("PUT", V1 + "/devices/pump/p1", {"metadata": {}})[0] == 404
    refused = Raw(cloud.port).send(
        mq.Connect("d:abc123:pump:p1", user="use-token-auth", password=password.encode())
    )
    refused.expect(mq.Connack(5))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100000,
        [],
        "text",
        {},
        {"type": "pump"},
        {"id": "p1"},
        {"type": "pump", "id": ""},
        {"type": "pump", "id": "p" * 37},
        {"type": "pump", "id": "a/b"},
        {"type": "pu mp", "id": "p1"},
        {"type": "pump", "id": 7},
        {"type": "pump", "id": "p1", "metadata": "text"},
        # Taken once, these would be in every list of devices, which then is JSON no more.
        b'{"type":"pump","id":"p1","metadata":{"a":NaN}}',
        b'{"type":"pump","id":"p1","metadata":{"a":1e999}}',
        {"type": "pump", "id": "p1\n"},
    ],
)
def test_registrations_that_are_refused(cloud, body):
    status, _, answer = cloud.api("POST", V1 + "/devices", body)
    assert status == 400 and answer["message"]
    assert len(cloud.api("GET", V1 + "/devices")[2]) == 1


def test_a_device_that_exists(cloud):
    assert cloud.api("POST", V1 + "/devices", {"type": "t", "id": "i"})[0] == 201
    assert cloud.api("POST", V1 + "/devices", {"type": "t", "id": "i"})[0] == 409


def test_the_longest_name(cloud):
    assert cloud.api("POST", V1 + "/devices", {"type": "a" * 36, "id": "-_." * 12})[0] == 201


def test_metadata_updates_that_are_refused(cloud):
    path = V1 + "/devices/board/board-1"
    for body in ({}, [], {"metadata": 5}, {"other": 1}):
        assert cloud.api("PUT", path, body)[0] == 400


def test_organisations_have_their_own_devices(cloud):
    other = cloud.http("a-zyx987-k2", "othertoken")
    assert other("GET", V1 + "/devices")[2] == []
    assert other("GET", V1 + "/devices/board/board-1")[0] == 404
    assert other("DELETE", V1 + "/devices/board/board-1")[0] == 404
    assert other("POST", V1 + "/devices", {"type": "board", "id": "board-1"})[0] == 201
    assert len(cloud.api("GET", V1 + "/devices")[2]) == 1


# ---- historian


def test_events_are_recorded_as_they_come(cloud):
    device = cloud.device()
    device.send(
        mq.Publish("iot-2/evt/status/fmt/json", b'{"d":{"bar":60},"ts":"2026-01-05T09:00:00Z"}'),
        mq.Publish("iot-2/evt/other/fmt/json", b'{"d":{}}', 1, pid=1),
        mq.Publish("iot-2/evt/status/fmt/json", b'{"bar":61}', 1, pid=2),
        mq.Publish("iot-2/evt/status/fmt/bin", b"\x00\xff", 1, pid=3),
        mq.Publish("iot-2/evt/status/fmt/json", '{"d":{"t":"é"}}'.encode(), 2, pid=4),
    )
    device.expect(mq.Puback(1), mq.Puback(2), mq.Puback(3), mq.Pubrec(4))
    status, headers, records = cloud.api("GET", V1 + "/historian/board/board-1")
    assert status == 200
    assert [(r["evt_type"], r["evt"]) for r in records] == [
        ("status", {"t": "é"}),
        ("other", {}),
        ("status", {"bar": 60}),
    ]
    assert set(records[0]) == {"evt_type", "timestamp", "evt"}
    times = [r["timestamp"]["$date"] for r in records]
    assert times == sorted(times, reverse=True) and times[0] > 1.7e12


def test_quickstarts_events_do_not_push_others_out(cloud):
    device = Raw(cloud.port).connect("d:quickstart:demo:dev")
    device.send(mq.Publish("iot-2/evt/e/fmt/json", b'{"d":{"x":1}}')).sync()
    cloud.device().send(mq.Publish("iot-2/evt/e/fmt/json", b'{"d":{"x":2}}', 1, pid=1)).expect(
        mq.Puback(1)
    )
    rows = cloud.background.call(cloud.made.store.read("SELECT org FROM ibm_events"))
    assert rows == [("abc123",)]


def test_each_scope_omits_what_its_address_says(cloud):
    cloud.fill(("pump", "p1", "e", 1000, {"x": 1}), ("fan", "f1", "e", 2000, {"x": 2}))
    every = cloud.api("GET", V1 + "/historian/")[2]
    assert every == [
        {
            "device_id": "d:abc123:fan:f1",
            "device_type": "fan",
            "evt_type": "e",
            "timestamp": {"$date": 2000},
            "evt": {"x": 2},
        },
        {
            "device_id": "d:abc123:pump:p1",
            "device_type": "pump",
            "evt_type": "e",
            "timestamp": {"$date": 1000},
            "evt": {"x": 1},
        },
    ]
    of_type = {k: v for k, v in every[1].items() if k != "device_type"}
    of_device = {k: v for k, v in of_type.items() if k != "device_id"}
    for base in (V1 + "/historian/", V2 + "/historian/types/"):
        assert cloud.api("GET", base + "pump")[2] == [of_type]
    assert cloud.api("GET", V1 + "/historian/pump/p1")[2] == [of_device]
    assert cloud.api("GET", V2 + "/historian/types/pump/devices/p1")[2] == [of_device]
    assert cloud.api("GET", V1 + "/historian/nothing/here")[2] == []


def test_bounds_events_and_top(cloud):
    cloud.fill(*[("pump", "p1", "e%d" % (i % 2), i, {"i": i}) for i in range(1, 11)])

    def ask(query):
        return [r["evt"]["i"] for r in cloud.api("GET", V1 + "/historian/pump/p1" + query)[2]]

    assert ask("?start=4") == [10, 9, 8, 7, 6, 5, 4]
    assert ask("?end=3") == [3, 2, 1]
    assert ask("?start=3&end=5") == [5, 4, 3]
    assert ask("?start=5&end=3") == []
    assert ask("?evt_type=e1") == [9, 7, 5, 3, 1]
    assert ask("?evt_type=e1&top=2&end=8") == [7, 5]
    assert ask("?top=100&unknown=1") == list(range(10, 0, -1))
    for bad in ("top=0", "top=101", "top=x", "top=-1", "start=x", "end=1.5", "start=", "end=%FF"):
        status, _, body = cloud.api("GET", V1 + "/historian/pump/p1?" + bad)
        assert status == 400 and body["message"], bad


def pages(api, path, **headers):
    """Every page by cursorId and cookie, as the documents tell."""
    out = []
    while True:
        status, answer, records = api("GET", path, **headers)
        assert status == 200
        out.append(records)
        if "cursorId" not in answer:
            return out
        if "Set-Cookie" in answer:
            headers["Cookie"] = answer["Set-Cookie"].partition(";")[0]
            assert headers["Cookie"].startswith("iotHistorianSessionId=")
        headers["cursorId"] = answer["cursorId"]
        path = path.partition("?")[0]


def test_paging_loses_and_repeats_nothing(cloud):
    # Many share a millisecond: a cursor by time alone would lose some.
    cloud.fill(*[("pump", "p%d" % (i % 3), "e", 1000 + i // 40, {"i": i}) for i in range(250)])
    got = pages(cloud.api, V1 + "/historian")
    assert [len(page) for page in got] == [100, 100, 50, 0]
    assert [r["evt"]["i"] for page in got for r in page] == list(range(249, -1, -1))
    got = pages(cloud.api, V1 + "/historian/pump/p1?top=30&evt_type=e&start=1002")
    wanted = [i for i in range(249, -1, -1) if i % 3 == 1 and i // 40 >= 2]
    assert [r["evt"]["i"] for page in got for r in page] == wanted
    assert {len(page) for page in got[:-2]} == {30}


def test_events_that_come_while_paging_change_no_page(cloud):
    cloud.fill(*[("pump", "p1", "e", i, {"i": i}) for i in range(150)])
    _, answer, first = cloud.api("GET", V1 + "/historian")
    cloud.fill(*[("pump", "p1", "e", 9000 + i, {"i": -1}) for i in range(50)])
    cookie = answer["Set-Cookie"].partition(";")[0]
    _, _, second = cloud.api("GET", V1 + "/historian", cursorId=answer["cursorId"], Cookie=cookie)
    assert [r["evt"]["i"] for r in first + second] == list(range(149, -1, -1))


def test_cursors_that_are_refused(cloud):
    cloud.fill(("pump", "p1", "e", 1, {}))
    _, answer, _ = cloud.api("GET", V1 + "/historian")
    cursor, cookie = answer["cursorId"], answer["Set-Cookie"].partition(";")[0]
    path = V1 + "/historian"
    assert cloud.api("GET", path, cursorId=cursor, Cookie=cookie)[0] == 200
    for asked, headers in (
        (path, {"cursorId": cursor}),
        (path, {"cursorId": cursor, "Cookie": "iotHistorianSessionId=other"}),
        (path, {"cursorId": "junk!", "Cookie": cookie}),
        (path, {"cursorId": "", "Cookie": cookie}),
        (path, {"cursorId": "BA"[cursor[0] == "B"] + cursor[1:], "Cookie": cookie}),
        (path + "/pump", {"cursorId": cursor, "Cookie": cookie}),
    ):
        assert cloud.api("GET", asked, **headers)[0] == 400
    other = cloud.http("a-zyx987-k2", "othertoken")
    assert other("GET", path, cursorId=cursor, Cookie=cookie)[0] == 400


def test_the_eight_aggregates(cloud):
    p1 = [3, 1.5, 4, 1, 5, 9, 2, 6]
    cloud.fill(
        *[("pump", "p1", "e", i, {"t": x, "u": -x, "s": "text"}) for i, x in enumerate(p1)],
        ("pump", "p1", "e", 50, {"other": 1, "t": True}),
        ("pump", "p2", "f", 99, {"t": 7}),
        ("fan", "f1", "e", 100, {"t": 1000}),
    )
    wanted = {
        "avg": statistics.mean(p1),
        "count": 8,
        "min": 1,
        "max": 9,
        "sum": sum(p1),
        "range": 8,
        "stdev": statistics.stdev(p1),
        "variance": statistics.variance(p1),
    }
    assert set(wanted) == set(ibm.AGGREGATES)
    of_one = {"avg": 7, "count": 1, "min": 7, "max": 7, "sum": 7, "range": 0, "stdev": 0}
    of_one["variance"] = 0
    path = V1 + "/historian/pump?summarize={t,missing}"
    for name, value in wanted.items():
        p2, first = cloud.api("GET", path + "&summarize_type=" + name)[2]
        assert first["device_id"] == "d:abc123:pump:p1" and first["timestamp"] == {"$date": 50}
        assert math.isclose(first["evt"]["t"], value), name
        assert first["evt"]["missing"] == (0 if name == "count" else None)
        assert p2["device_id"] == "d:abc123:pump:p2" and p2["evt_type"] == "f"
        assert p2["evt"]["t"] == of_one[name]
    # avg is the default; bounds and evt_type hold; a device's own scope; top bounds the records.
    assert cloud.api("GET", path)[2][1]["evt"]["t"] == wanted["avg"]
    answer = cloud.api("GET", V1 + "/historian/pump/p1?summarize={t}&start=2&end=3")[2]
    assert [r["evt"] for r in answer] == [{"t": 2.5}]
    assert len(cloud.api("GET", path + "&top=1")[2]) == 1
    assert [r["evt"]["t"] for r in cloud.api("GET", path + "&evt_type=f")[2]] == [7]


def test_summaries_that_are_refused(cloud):
    for bad in ("summarize=t", "summarize={}", "summarize={a,}", "summarize={t}&summarize_type=x"):
        assert cloud.api("GET", V1 + "/historian/pump?" + bad)[0] == 400, bad


def test_numbers_that_are_none_do_not_break_a_summary(cloud):
    cloud.fill(("pump", "p1", "e", 1, {"t": 10**400}), ("pump", "p1", "e", 2, {"t": 2}))
    assert cloud.api("GET", V1 + "/historian/pump?summarize={t}")[2][0]["evt"]["t"] == 2


@pytest.mark.parametrize(
    "payload, data",
    [
        (b'{"d":{}}', {}),
        (b' {"d":{"t":1},"ts":"2026-01-05T09:00:00+00:00"}', {"t": 1}),
        (b'[{"d":{}}]', None),
        (b'{"d":[1]}', None),
        (b'{"d":{},"x":1}', None),
        (b'{"d":{},"ts":"x","y":1}', None),
        (b'{"ts":"x"}', None),
        (b'{"d":{},"ts":5}', None),
        (b'{"d":{"a":1,}}', None),
        (b'{"d":{"a":NaN}}', None),
        (b'{"d":{"a":Infinity}}', None),
        (b'{"d":{"a":-1e999}}', None),  # would be kept as -Infinity
        (b'{"d":{"a":1e300}}', {"a": 1e300}),
        (b"", None),
        (b"\xff\xfe", None),
        (b'{"d":' * 100000, None),
    ],
)
def test_which_payloads_are_iotf(payload, data):
    assert ibm.iotf_data(payload) == data


def test_the_historian_is_bounded(tmp_path):
    with cloud_running("--ibm-history", "50", parts=[ibm.Part], state=tmp_path) as running:
        cloud = Cloud(*running)
        device = cloud.device()
        for i in range(1, 201):
            device.send(mq.Publish("iot-2/evt/e/fmt/json", b'{"d":{"i":%d}}' % i, 1, pid=i))
        device.expect(*[mq.Puback(i) for i in range(1, 201)])
        got = [r["evt"]["i"] for page in pages(cloud.api, V1 + "/historian") for r in page]
        assert got[:50] == list(range(200, 150, -1)) and len(got) < 100


# ---- v0002


def test_v0002_registry(cloud):
    status, _, made = cloud.api(
        "POST",
        V2 + "/device/types/pump/devices",
        {"deviceId": "p1", "deviceInfo": {"model": "x"}, "metadata": {"a": 1}},
    )
    assert status == 201
    token = made.pop("authToken")
    assert made["clientId"] == "d:abc123:pump:p1" and made["deviceInfo"] == {"model": "x"}
    cloud.device(token, "pump", "p1").leave()
    path = V2 + "/device/types/pump/devices/p1"
    assert cloud.api("GET", path)[::2] == (200, made)
    changed = cloud.api("PUT", path, {"metadata": {"b": 2}, "deviceInfo": None, "status": None})
    assert changed[2]["metadata"] == {"b": 2} and changed[2]["deviceInfo"] == {"model": "x"}
    status, _, bulk = cloud.api(
        "POST",
        V2 + "/bulk/devices/add",
        [
            {"typeId": "pump", "deviceId": "p2", "authToken": "my-own-token"},
            {"typeId": "pump", "deviceId": "p1"},
            "junk",
        ],
    )
    assert status == 202 and [entry["success"] for entry in bulk] == [True, False, False]
    cloud.device("my-own-token", "pump", "p2").leave()
    got = []
    bookmark = ""
    while bookmark is not None:
        page = cloud.api("GET", V2 + "/bulk/devices?_limit=2&_bookmark=%s" % bookmark)[2]
        got += [d["deviceId"] for d in page["results"]]
        bookmark = page.get("bookmark")
    assert got == ["board-1", "p1", "p2"]
    assert cloud.api("POST", V2 + "/device/types", {"id": "valve"})[0] == 201
    assert cloud.api("POST", V2 + "/device/types", {"id": "valve"})[0] == 409
    types = [t["id"] for t in cloud.api("GET", V2 + "/device/types")[2]["results"]]
    assert types == ["board", "pump", "valve"]
    assert cloud.api("DELETE", V2 + "/device/types/pump")[0] == 409
    assert cloud.api("DELETE", V2 + "/device/types/valve")[0] == 204
    assert cloud.api("GET", V2 + "/device/types/valve")[0] == 404
    removed = cloud.api(
        "POST", V2 + "/bulk/devices/remove", [{"typeId": "pump", "deviceId": "p2"}, {}]
    )
    assert removed[0] == 202 and [e["success"] for e in removed[2]] == [True, False]
    assert cloud.api("DELETE", path)[0] == 204
    assert cloud.api("GET", path)[0] == 404


# ---- kept over restarts


def test_everything_registered_and_recorded_is_there_after_a_restart(tmp_path):
    with cloud_running(parts=[ibm.Part], state=tmp_path) as running:
        cloud = Cloud(*running)
        first = cloud.ready["ibm"]
        made = cloud.api("POST", V1 + "/devices", {"type": "t", "id": "i", "metadata": {"a": 1}})[
            2
        ]
        cloud.device().send(mq.Publish("iot-2/evt/e/fmt/json", b'{"d":{"x":1}}')).sync()
    with cloud_running(parts=[ibm.Part], state=tmp_path) as running:
        cloud = Cloud(*running)
        assert cloud.ready["ibm"] == first
        assert cloud.api("GET", V1 + "/devices/t/i")[2] == {
            k: v for k, v in made.items() if k != "password"
        }
        cloud.device(made["password"], "t", "i").leave()
        assert cloud.api("GET", V1 + "/historian")[2][0]["evt"] == {"x": 1}


# ---- the control side


def test_the_control_side_needs_its_token(cloud):
    http = Http(cloud.plain_port)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
        assert http("POST", "/localcloud/v1/cut", {"client_id": "x"}, **headers)[0] == 401
        assert http("GET", "/localcloud/v1/clients", **headers)[0] == 401


def test_cutting_a_client(cloud):
    device = cloud.device()
    client_id = "d:abc123:board:board-1"
    assert cloud.control("/cut", {"client_id": client_id})[1] == {"cut": 1}
    device.closed()
    device = cloud.device()
    assert cloud.control("/cut", {"client_id": client_id, "how": "reset"})[1] == {"cut": 1}
    device.closed()
    until(lambda: cloud.control("/cut", {"client_id": client_id})[1] == {"cut": 0})
    assert cloud.control("/cut", {})[0] == cloud.control("/cut", [])[0] == 400


def test_revoking_a_device_and_a_key(cloud):
    device = cloud.device()
    body = {"org": "abc123", "type": "board", "id": "board-1"}
    assert cloud.control("/ibm/revoke", body)[0] == 200
    device.closed()
    again = Raw(cloud.port).send(
        mq.Connect(
            "d:abc123:board:board-1",
            user="use-token-auth",
            password=cloud.ibm["device"]["token"].encode(),
        )
    )
    again.expect(mq.Connack(5))
    assert cloud.api("GET", V1 + "/devices/board/board-1")[0] == 200
    app = cloud.ibm["application"]
    client = Raw(cloud.port).connect("a:abc123:x", user=app["key"], password=app["token"].encode())
    assert cloud.control("/ibm/revoke", {"key": app["key"]})[0] == 200
    client.closed()
    assert cloud.api("GET", V1)[0] == 403
    assert cloud.control("/ibm/revoke", {"key": app["key"]})[0] == 404
    assert cloud.control("/ibm/revoke", {"org": "abc123"})[0] == 404
    assert cloud.control("/ibm/revoke", [])[0] == 400


def test_who_is_connected(cloud):
    device = cloud.device().subscribe(("iot-2/cmd/+/fmt/+", 1))
    clients = Control(cloud.ready)("GET", "/clients")[1]
    assert [c["client_id"] for c in clients] == ["d:abc123:board:board-1"]
    assert clients[0]["subscriptions"] == {"iot-2/cmd/+/fmt/+": 1}
    device.sync()
