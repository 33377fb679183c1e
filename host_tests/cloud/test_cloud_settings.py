"""
lib/cloud_settings.py: what cloud.Device and cloud.Watcher take, and what is said of the rest. No
network: on MicroPython and on CPython.
"""

import json

import pytest
import services
from cloud_rig import DEVICES, WATCHERS

ALL = ", ".join(
    sorted(one.name[len("cloud_") :] for one in services.SERVICES if one.name[:6] == "cloud_")
)
GOOD = {
    "azure": {"scope": "0ne", "id": "d1", "key": "QUJDREVGR0hJSktMTU5PUA==", "ca": "ca.der"},
    "ibm": {
        "org": "abc123",
        "type": "t",
        "id": "d1",
        "token": "s3cret-token",
        "host": "broker.lan",
        "ca": "ca.der",
    },
    "teamviewer": {"host": "gateway", "ca": "ca.crt"},
    "mqtt": {"host": "broker", "id": "d1", "ca": "ca.der"},
}
SECRETS = ("QUJDREVGR0hJSktMTU5PUA==", "s3cret-token", "s3cret")

READ = """
import cloud_settings
for number, (settings, role) in enumerate(CASES):
    try:
        module, found = cloud_settings.read(settings, role)
        report(number=number, module=module, found=found)
    except (ValueError, NotImplementedError) as e:
        report(number=number, error=type(e).__name__, text=str(e))
"""


def read(board, *cases):
    reports = board.run(READ, CASES=list(cases)).reports
    return [r for r in reports if "number" in r]


def case(service, role="Device", **changes):
    settings = dict(GOOD[service], service=service)
    for key, value in changes.items():
        if value is KeyError:
            del settings[key]
        else:
            settings[key] = value
    return settings, role


def test_good_settings_are_taken_and_completed(board):
    got = read(board, *[case(service) for service in GOOD])
    assert [one["module"] for one in got] == ["cloud_" + service for service in GOOD]
    azure, ibm, teamviewer, mqtt = (one["found"] for one in got)
    assert azure["keep"] == 16
    assert teamviewer["provision_port"] == 18883 and teamviewer["port"] == 18884
    assert teamviewer["folder"]
    assert mqtt["topics"]["event"] == "devices/d1/event/{name}"
    assert mqtt["topics"]["status"] == "devices/d1/status"
    assert mqtt["discovery"] is None


def test_watchers(board):
    key = {"key": "a-abc123-x", "token": "s3cret"}
    ibm = dict(key, service="ibm", org="abc123", id="app", host="h", ca="ca.der")
    digi = {"service": "digi", "username": "u", "password": "s3cret", "ca": "ca.der"}
    mqtt = case("mqtt")[0]
    got = read(board, (ibm, "Watcher"), (mqtt, "Watcher"), (digi, "Watcher"))
    assert [one["module"] for one in got] == [
        "cloud_ibm_watcher", "cloud_mqtt_watcher", "cloud_digi",
    ]  # fmt: skip
    assert got[1]["found"]["topics"]["event"] == "devices/{id}/event/{name}"
    assert got[2]["found"]["topics"] == ["DataPoint", "DeviceCore"]


def test_a_service_that_lacks_a_role_is_named_with_those_that_have_it(board):
    got = read(
        board,
        ({"service": "digi", "username": "u", "password": "p", "ca": "c"}, "Device"),
        case("azure", "Watcher"),
        case("teamviewer", "Watcher"),
    )
    for one, others in zip(got, (DEVICES, WATCHERS, WATCHERS)):
        assert one["error"] == "NotImplementedError"
        assert one["text"].endswith(": " + ", ".join(sorted(others)))


# what is wrong -> words that must be in the text
WRONG = [
    (({}, "Device"), ["service", "missing", ALL]),
    (({"service": "azur"}, "Device"), ["service", "'azur'", 'did you mean "azure"']),
    (({"service": "gcp"}, "Device"), ["service", "'gcp'", ALL]),
    (({"service": 5}, "Device"), ["service"]),
    ((5, "Device"), ["settings", "dict"]),
    (case("mqtt", hots="x"), ["hots", 'did you mean "host"']),
    (case("mqtt", hostname="x"), ["hostname", 'did you mean "host"']),
    (case("ibm", **{"auth-token": "s3cret"}), ["auth-token", 'did you mean "token"']),
    (case("azure", scopeId="x"), ["scopeId", 'did you mean "scope"']),
    (case("azure", device_id="x"), ["device_id", 'did you mean "id"']),
    (case("mqtt", intervall=5), ["intervall", 'did you mean "interval"']),
    (case("mqtt", zzzzzz=5), ["zzzzzz", "host", "program"]),
    (case("ibm", token=KeyError), ["token", "missing", "registered"]),
    (case("mqtt", host=KeyError), ["host", "missing"]),
    (case("ibm", host=KeyError), ["host", "missing", "closed on 2023-12-01", "443"]),
    (case("mqtt", host=""), ["host", "text"]),
    (case("mqtt", host=" broker"), ["host", "spaces"]),
    (case("mqtt", host=[]), ["host", "list"]),
    (case("mqtt", host=["a", 5]), ["host", "list"]),
    (case("mqtt", host=["localhost", "far.example"], ca=None), ["ca", "far.example"]),
    (case("mqtt", host="127.example.org", ca=None), ["ca", "127.example.org"]),
    (case("mqtt", host="localhost.example.org", ca=None), ["ca", "localhost.example.org"]),
    (case("teamviewer", host=["a", "b"]), ["host", "text"]),
    (case("ibm", token="s3cret\n"), ["token", "line ends"]),
    (case("mqtt", port="mqtt"), ["port", "1 to 65535"]),
    (case("mqtt", port=70000), ["port", "1 to 65535"]),
    (case("mqtt", port=True), ["port"]),
    (case("mqtt", keep=17), ["keep", "1 to 16"]),
    (case("mqtt", interval=0), ["interval", "above 0"]),
    (case("mqtt", insecure="yes"), ["insecure", "true or false"]),
    (case("mqtt", ca=KeyError), ["ca", "missing", "root certificate", "null"]),
    (case("mqtt", ca=None), ["ca", "broker", "insecure"]),
    (case("ibm", ca=None), ["ca", "insecure"]),
    (case("azure", ca=None), ["ca", "insecure"]),
    (case("azure", ca=None, server="hub.example:8883"), ["ca", "hub.example", "insecure"]),
    (case("teamviewer", ca=None), ["ca", "TLS"]),
    (case("azure", key=KeyError), ["key", "cert"]),
    (case("azure", cert="c.pem"), ["cert", "key_file"]),
    (case("azure", cert="c.pem", key_file="k.pem"), ["key", "either"]),
    (case("azure", key_kind="symmetric"), ["key_kind", "group", "device"]),
    (case("azure", server="localhost"), ["server", "host:port"]),
    (case("azure", server=["localhost:8883", "other"]), ["server", "host:port"]),
    (case("azure", server=[]), ["server", "list"]),
    (case("azure", ca=None, server=["localhost:1", "hub.example:1"]), ["ca", "hub.example"]),
    (case("mqtt", id="a/b"), ["id", "/"]),
    (case("mqtt", topics={"evnt": "x"}), ["topics", "evnt", 'did you mean "event"']),
    (case("mqtt", topics={"event": "a/+/{name}"}), ["topics", "event", "+"]),
    (case("mqtt", topics={"command": "a/b"}), ["topics", "command", "{name}"]),
    (case("mqtt", topics={"event": "a/{nam}"}), ["topics", "event", "{nam}"]),
    (case("mqtt", "Watcher", topics={"status": "a/b"}), ["topics", "status", "{id}"]),
    (case("mqtt", discovery=5), ["discovery", "prefix"]),
    (case("mqtt", units={"a": 5}), ["units", "a"]),
    (case("mqtt", wifi="home"), ["wifi", "object"]),
    (case("mqtt", dns=[5]), ["dns", "list"]),
]


def test_what_is_wrong_is_named_with_the_cure(board):
    got = read(board, *[wrong for wrong, _ in WRONG])
    for one, (wrong, words) in zip(got, WRONG):
        assert one.get("error") == "ValueError", wrong
        for word in words:
            assert word in one["text"], (one["text"], word)
        assert not [secret for secret in SECRETS if secret in one["text"]], one["text"]
    assert len(got) == len(WRONG)


def test_plain_tcp_is_said_aloud(board):
    run = board.run(
        READ,
        CASES=[
            case("mqtt", ca=None, host="localhost"),
            case("mqtt", ca=None, host="127.0.0.1"),
            case("mqtt", ca=None, insecure=True),
            case("azure", ca=None, server="localhost:1883"),
        ],
    )
    assert not [one for one in run.reports if "error" in one]
    assert run.out.count("WARNING") == 4 and "passwords" in run.out


def test_pain_72_a_host_may_be_several(board):
    several = ["a.example:1883", "b.example"]
    got = read(board, case("mqtt", host=several), case("ibm", host=several))
    assert [one["found"]["host"] for one in got] == [several, several]
    servers = ["gateway-1:8883", "gateway-2:8883"]
    (got,) = read(board, case("azure", server=servers))
    assert got["found"]["server"] == servers


def test_ports_may_be_digits(board):
    got = read(board, case("mqtt", port="1883"))
    assert got[0]["found"]["port"] == 1883


def test_a_file_and_its_secrets(board, tmp_path):
    settings = dict(GOOD["ibm"], service="ibm", secrets="secret.json")
    token = settings.pop("token")
    (tmp_path / "device.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(settings).encode())
    (tmp_path / "secret.json").write_text(json.dumps({"token": token}))
    (tmp_path / "broken.json").write_text('{"service": "ibm",}')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "lost.json").write_text(json.dumps(dict(settings, secrets="nowhere.json")))
    path = str(tmp_path) + "/"
    names = ("device.json", "missing.json", "broken.json", "list.json", "lost.json")
    got = read(board, *[(path + name, "Device") for name in names])
    assert got[0]["found"]["token"] == token
    for one, words in zip(
        got[1:],
        (["missing.json", "mpremote"], ["broken.json", "JSON"], ["list.json", "object"],
         ["nowhere.json"]),
    ):  # fmt: skip
        assert one["error"] == "ValueError"
        for word in words:
            assert word in one["text"]


def test_settings_of_one_s_own_are_left_alone(board):
    own = {"anything": [1, 2], "hots": 3}
    got = read(board, case("mqtt", program=own, wifi={"ssid": "home"}, interval=2.5, led="LED"))
    assert got[0]["found"]["program"] == own


@pytest.mark.parametrize("service", sorted(GOOD))
def test_what_is_passed_is_not_changed(board, service):
    got = board.run(
        """
import cloud_settings
before = repr(SETTINGS)
cloud_settings.read(SETTINGS, "Device")
report(same=repr(SETTINGS) == before)
""",
        SETTINGS=case(service)[0],
    ).report
    assert got == {"same": True}
