"""tools/localcloud/web.py and strict_json.py: the HTTP side's deadlines, doors and refusals."""

import asyncio
import contextlib
import json
import socket
import ssl

import pytest
from localcloud import fault_values, strict_json, web
from localcloud.background import Background
from localcloud.mqtt import codec as mq
from localcloud.refused import Refused
from localcloud_rig import Control, Http, Raw

# ---- waiting


@contextlib.contextmanager
def site(**options):
    """(port, Web) of a web with two paths: /read tells the body's length, /slow takes a while."""
    with Background() as background:
        made = web.Web("token", **options)

        async def read(request):
            return web.json_answer(len(await request.read()))

        async def slow(request):
            await asyncio.sleep(1)
            return web.json_answer("done")

        async def start():
            made.add("POST", "/read", read)
            made.add("GET", "/slow", slow)
            await made.start()
            return await made.listen("127.0.0.1", 0)

        try:
            yield background.call(start()), made
        finally:
            background.call(made.stop())


def said(port, data):
    """All that the server says to data until it closes; fails when it doesn't."""
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        sock.sendall(data)
        found = b""
        while True:
            more = sock.recv(65536)
            if not more:
                return found
            found += more


@pytest.mark.parametrize(
    "half",
    [b"G", b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ", b"POST /read HTTP/1.1\r\n"],
)
def test_half_a_head_is_answered_with_408_and_the_end(half):
    with site(head_s=0.2) as (port, _):
        assert said(port, half).startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_asks_nothing_is_closed():
    with site(head_s=0.2) as (port, _):
        assert said(port, b"") == b""


def test_half_a_body_is_answered_with_408_and_the_end():
    with site(body_s=0.2) as (port, _):
        head = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"
        found = said(port, head)
        assert found.startswith(b"HTTP/1.1 408 ")
        assert b"the rest of the request did not come" in found
        head = (
            b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"
        )
        assert said(port, head).startswith(b"HTTP/1.1 408 ")


def test_a_handler_may_take_longer_and_connections_are_kept():
    with site(head_s=0.3, body_s=0.3) as (port, made):
        http = Http(port)
        assert http("GET", "/slow")[2] == "done"
        assert http("POST", "/read", b"12345")[2] == 5
        assert http("GET", "/slow")[2] == "done"
        assert len(made.doors) == 1


def test_a_body_in_pieces_is_read_as_long_as_it_goes_on():
    with site(body_s=5) as (port, _):
        with socket.create_connection(("127.0.0.1", port), 20) as sock:
            sock.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
            for _ in range(5):
                sock.sendall(b"x")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_connection_that_is_lost_leaves_nothing_behind():
    with site() as (port, made):
        for _ in range(5):
            socket.create_connection(("127.0.0.1", port), 20).close()
        http = Http(port)
        http("POST", "/read", b"")
        http.connection.close()
        deadline = Http(port)  # a later one: all before it have been seen
        while len(made.doors) > 1:
            deadline("POST", "/read", b"")


# ---- who asks


def request_with(value):
    """A request whose Authorization header has this value (bytes)."""
    request = type("Request", (), {})()
    request.headers = (
        {} if value is None else {"Authorization": value.decode("utf-8", "surrogateescape")}
    )
    return request


def test_basic_authorization_is_read_or_refused():
    assert web.basic_auth(request_with(None)) is None
    for value in (b"Basic dTpwOng=", b"basic  dTpwOng= "):
        assert web.basic_auth(request_with(value)) == ("u", "p:x")
    for value in (b"", b"Basic", b"Basic !", b"Basic dTpwOng", b"Bearer x", b"Basic dQ=="):
        with pytest.raises(ValueError):
            web.basic_auth(request_with(value))
    for value in (b"Basic \xc3\xa9", b"Basic \xff\xfe", b"\xe9 x", b"Basic 6Tp4"):
        with pytest.raises(ValueError):
            web.basic_auth(request_with(value))


@pytest.fixture(scope="module")
def keys(cloud):
    application = cloud["ibm"]["application"]
    token = Control(cloud).token
    return {"control": token, "key": application["key"], "token": application["token"]}


def port_of(url):
    return int(url.rpartition(":")[2].strip("/"))


def over_tls(cloud, data):
    context = ssl.create_default_context(cadata=open(cloud["ca_pem"]).read())
    with socket.create_connection(("localhost", port_of(cloud["http"]["tls_url"])), 20) as sock:
        with context.wrap_socket(sock, server_hostname="localhost") as tls:
            tls.sendall(data)
            return tls.recv(65536)


@pytest.mark.parametrize("path", ["/api/v0001/devices", "/localcloud/v1/clients", "/ws/Monitor"])
@pytest.mark.parametrize("value", [b"Basic \xc3\xa9", b"Bearer \xff\xfe", b"\xe9", b"Basic \x80"])
def test_an_authorization_that_is_no_ascii_is_refused_and_no_failure_of_the_server(
    cloud, path, value
):
    head = b"GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\n\r\n"
    status = int(over_tls(cloud, head % (path.encode(), value)).split()[1])
    assert 400 <= status < 500


def test_a_token_with_nul_behind_it_is_another_one(cloud, keys):
    device = cloud["ibm"]["device"]
    name = "d:%s:%s:%s" % (cloud["ibm"]["org"], device["type"], device["id"])
    for tail, code in ((b"\0", 5), (b"\0" * 8, 5), (b"", 0)):
        raw = Raw(cloud["mqtt"]["port"])
        password = device["token"].encode() + tail
        raw.send(mq.Connect(name, user="use-token-auth", password=password))
        raw.expect(mq.Connack(code))
    application = "a:%s:nul" % cloud["ibm"]["org"]
    raw = Raw(cloud["mqtt"]["port"])
    raw.send(mq.Connect(application, user=keys["key"], password=keys["token"].encode() + b"\0"))
    raw.expect(mq.Connack(5))
    port = port_of(cloud["http"]["tls_url"])
    api = Http(port, cloud["ca_pem"], keys["key"], keys["token"] + "\0")
    assert api("GET", "/api/v0001")[0] == 401
    api = Http(port, cloud["ca_pem"], keys["key"], keys["token"])
    assert api("GET", "/api/v0001")[0] == 200
    body = {"deviceId": "nul", "authToken": "12345678\0"}
    assert api("POST", "/api/v0002/device/types/board/devices", body)[0] == 400


# ---- commands

COMMANDS = [
    ("POST", "/cut"),
    ("POST", "/ibm/revoke"),
    ("POST", "/azure/faults"),
    ("POST", "/azure/settings"),
    ("PUT", "/azure/enrollments/x"),
    ("PUT", "/azure/devices/x"),
    ("PATCH", "/azure/twins/odd-1"),
    ("POST", "/azure/twins/odd-1/methods"),
    ("POST", "/azure/devices/odd-1/messages/deviceBound"),
    ("POST", "/teamviewer"),
    ("POST", "/digi/event"),
    ("POST", "/digi/fault"),
]
ODD = [
    b"",
    b"{",
    b"\xff",
    b"null",
    b"5",
    b'"x"',
    b"[]",
    b"[[]]",
    b"{}",
    b"[" * 100000,
    b"[" * 500 + b"]" * 500,
    b'{"a":' * 500 + b"1" + b"}" * 500,
    b'{"key": NaN}',
    b'{"key": 1e999}',
    b'{"key": "\\ud800"}',
    *[
        json.dumps({name: value for name in names}).encode()
        for names in (
            ["key"],
            ["client_id", "how"],
            ["org", "type", "id"],
            ["kind", "keys", "hub", "payload", "desired", "ca", "thumbprint"],
            ["keys", "thumbprints", "certificate", "enabled", "hub"],
            ["methodName", "payload", "responseTimeoutInSeconds"],
            ["body", "properties", "ack", "life"],
            ["retry_after", "polls", "quota", "grace", "signed_for", "clock_offset"],
            ["place", "count", "connack", "status", "device"],
            ["command", "fault", "name", "id", "topic", "value", "count", "seconds", "payload"],
        )
        for value in (None, True, -1, 1e300, "", "\ud800", [], {}, [[]], {"a": {}}, "x" * 5000)
    ],
]


@pytest.mark.parametrize("method, path", COMMANDS)
def test_no_command_is_a_failure_of_the_server(cloud, keys, method, path):
    http = Http(port_of(cloud["http"]["url"]))
    bearer = {"Authorization": "Bearer " + keys["control"]}
    made = {"keys": ["QUJDREVGR0hJSktMTU5PUA=="]}
    assert http("PUT", "/localcloud/v1/azure/devices/odd-1", made, **bearer)[0] == 200
    for body in ODD:
        status, _, answer = http(
            method, "/localcloud/v1" + path, body, Authorization="Bearer " + keys["control"]
        )
        assert status < 500, (body[:200], answer)
        assert status < 300 or answer, body[:200]


def test_the_end_of_a_connection_is_close_or_reset_and_nothing_else(cloud, keys):
    http = Http(port_of(cloud["http"]["url"]))
    for body in ({"client_id": "x", "how": "gently"}, {"client_id": 5}, {}, {"how": "close"}):
        status = http(
            "POST", "/localcloud/v1/cut", body, Authorization="Bearer " + keys["control"]
        )[0]
        assert status == 400, body


@pytest.mark.parametrize(
    "values",
    [
        {"connack": 999},
        {"connack": 0},
        {"connack": -1},
        {"connack": "5"},
        {"connack": True},
        {"connack": 5.0},
        {"connack": None},
        {"connack": [5]},
        {"silent": 1},
        {"close": "yes"},
        {"connack": 5, "count": 0},
        {"connack": 5, "count": -1},
        {"connack": 5, "count": "2"},
        {"connack": 5, "count": 1.5},
        {},
    ],
)
def test_faults_that_no_service_has_are_refused(cloud, keys, values):
    http = Http(port_of(cloud["http"]["url"]))
    path = "/localcloud/v1/azure/faults"
    bearer = {"Authorization": "Bearer " + keys["control"]}
    try:
        assert http("POST", path, dict(values, place="hub.connect"), **bearer)[0] == 400
        good = {"place": "hub.connect", "connack": 5, "count": 1, "device": "nobody"}
        assert http("POST", path, good, **bearer)[0] < 300
    finally:
        http("DELETE", path, **bearer)


def test_values_of_faults():
    for how in ({"status": 429, "retry_after": 3}, {"delay": 0.5}, {"close": True}, {"word": "x"}):
        fault_values.check(how, None)
    for how in ({"status": 99}, {"status": "429"}, {"retry_after": -1}, {"delay": 1e9}):
        with pytest.raises(ValueError):
            fault_values.check(how)


# ---- JSON


def test_json_is_read_as_rfc_8259_has_it():
    assert strict_json.loads(b'\xef\xbb\xbf{"a": [1, 1.5, null]}') == {"a": [1, 1.5, None]}
    assert strict_json.loads("\ufeff[]") == []
    assert strict_json.loads('{"a":1,"a":2}') == {"a": 2}
    for text in (
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e999",
        "-1e999",
        "01",
        "{",
        "",
        b"\xff",
        "[1,]",
    ):
        with pytest.raises(ValueError):
            strict_json.loads(text)


@pytest.mark.parametrize("front, back", [("[", "]"), ('{"a":', "}")])
def test_json_has_a_depth_that_can_be_written_again(front, back):
    deep = strict_json.loads(front * 99 + "[]" + back * 99)
    json.dumps(deep)
    for depth in (101, 1000, 100000):
        with pytest.raises(ValueError, match="more than 100 levels"):
            strict_json.loads(front * depth + "[]" + back * depth)
    # What looks like brackets in texts is none, and width is no depth.
    assert strict_json.loads('["%s", "\\"%s"]' % ("[" * 500, "{" * 500))[0] == "[" * 500
    assert len(strict_json.loads("[" + ",".join(["[]"] * 5000) + "]")) == 5000


def test_objects_are_looked_at_before_they_are_used():
    class Request:
        def __init__(self, body):
            self.body = body

        async def read(self):
            return self.body

    def read(body, **kinds):
        return asyncio.run(web.read_object(Request(body), **kinds))

    assert read(b'{"a": "x", "b": 1}', a=str, c=int) == {"a": "x", "b": 1}
    for body in (b"[]", b"5", b"{", b'{"a": 5}', b'{"a": null}', b'{"a": ["x"]}'):
        with pytest.raises(Refused) as e:
            read(body, a=str)
        assert e.value.status == 400


def test_an_error_of_a_handler_is_500_and_told_apart_from_a_bad_request():
    """Only the control side takes a handler's TypeError for the caller's mistake."""

    async def broken(request):
        raise TypeError("ours")

    with Background() as background:
        made = web.Web("token")

        async def start():
            made.add("GET", "/broken", broken)
            made.control("GET", "/broken", broken)
            await made.start()
            return await made.listen("127.0.0.1", 0)

        try:
            http = Http(background.call(start()))
            assert http("GET", "/broken")[0] == 500
            status = http("GET", "/localcloud/v1/broken", Authorization="Bearer token")[0]
            assert status == 400
        finally:
            background.call(made.stop())
