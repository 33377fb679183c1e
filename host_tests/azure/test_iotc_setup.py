"""
lib/iotc_setup.py: what a device is made of: ids as DPS and hub take them, connection strings as
the portal hands them out, a bundle of root certificates.
"""

import azure_rig
import pytest
from azure_rig import dev, rig  # noqa: F401

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)

MAKE = """
try:
    iotc.Device(SCOPE, GROUP, NAME, 1)
    report(text=None)
except ValueError as e:
    report(text=str(e))
"""


@pytest.mark.parametrize(
    "name", ["a", "sensor-01", "a.b_c:d-e", "A9-", "x" * 128], ids=lambda name: name[:12]
)
def test_ids_that_dps_takes(board, dev, name):
    assert dev.run(MAKE, NAME=name).report == {"text": None}
    assert dev.run(MAKE, NAME=name, SCOPE=None).report == {"text": None}


@pytest.mark.parametrize("name", ["a@b", "a%b*?!(),=$'", "a.", "b_", "c:", "m@x.example"])
def test_ids_that_only_a_hub_takes_say_how(board, dev, name):
    text = dev.run(MAKE, NAME=name).report["text"]
    assert "deviceId" in text and "DPS" in text and "hub's name" in text
    assert dev.run(MAKE, NAME=name, SCOPE=None).report == {"text": None}


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a#", "a+", "ä", "x" * 129, None, 5])
def test_ids_that_nobody_takes(board, dev, name):
    for scope in (azure_rig.SCOPE, None):
        assert "deviceId" in dev.run(MAKE, NAME=name, SCOPE=scope).report["text"]


@pytest.mark.parametrize("scope", [5, "a/b", "a b", b"0ne"])
def test_a_scope_that_is_none_is_named(board, dev, scope):
    assert "scopeId" in dev.run(MAKE, SCOPE=scope).report["text"]


# ---- connection strings

ONLY_HUB = "pump@north(1),=x'"  # with a "=" in it, too


def text(dev, more="", name=None):
    name = name or dev.name
    return "HostName=%s;DeviceId=%s;SharedAccessKey=%s%s" % (azure_rig.HUB, name, dev.key, more)


@pytest.mark.parametrize("form", ["plain", "white space", "other order and case"])
def test_a_connection_string_is_all_that_one_needs(dev, form):
    """It leads to the hub; DPS is never asked."""
    dev.known()
    given = text(dev)
    if form == "white space":
        given = "  %s\n" % given
    elif form == "other order and case":
        given = ";".join(reversed(given.replace("HostName", "hostname").split(";")))
    got = dev.run(
        """
        d = iotc.from_connection_string(TEXT)
        d.setServiceHost("nowhere.example")
        report(host=d.getHostName(), code=d.connect(), error=d.error)
        d.setQosLevel(1)
        d.sendTelemetry({"t": 1})
        step(d, lambda: not d.inflight)
        """,
        TEXT=given,
    ).report
    assert got == {"host": azure_rig.HUB, "code": 0, "error": None}
    assert dev.telemetry(1)[0][0] == b'{"t": 1}'


def test_ids_that_only_a_hub_allows(dev):
    """Every character of it arrives where it belongs: telemetry, twin, commands, messages."""
    name = "%s-%s" % (ONLY_HUB, dev.board.name)
    dev.name = name
    dev.known()
    program = dev.start(
        """
        d = iotc.from_connection_string(TEXT)
        watch(d, "Message", "PropertiesUpdated")
        d.on("Command", lambda info: info.setResponse(200, info.getPayload()))
        assert d.connect() == 0, d.error
        d.setQosLevel(1)
        d.sendTelemetry({"t": 1})
        report(up=True)
        go_on(d)
        """,
        TEXT=text(dev),
    )
    assert program.next_report() == {"up": True}
    assert dev.telemetry(1)[0][0] == b'{"t": 1}'
    assert dev.invoke("echo", 5) == (200, 5)
    dev.send(b"7", mode="eco")
    got = program.next_report()
    assert (got["payload"], got["interface"]["mode"]) == (7, "eco")
    dev.desire({"fan": 5})
    assert program.next_report()["payload"] == 5


def test_a_certificate_beside_a_connection_string(dev, tmp_path):
    issued = dev.rig.authority.issue_client(dev.name)
    certificate, key = issued.write(str(tmp_path), "device")
    dev.rig.create(dev.name, keys=None, thumbprints=[azure_rig.pki.thumbprint(issued.der)])
    got = dev.run(
        """
        d = iotc.from_connection_string(TEXT, {"keyfile": KEY, "certfile": CERT})
        report(code=d.connect(), error=d.error)
        """,
        TEXT="HostName=%s;DeviceId=%s;x509=true" % (azure_rig.HUB, dev.name),
        KEY=key,
        CERT=certificate,
    ).report
    assert got == {"code": 0, "error": None}


@pytest.mark.parametrize(
    "given, word",
    [
        ("", "HostName"),
        (None, "HostName"),
        (5, "HostName"),
        ("HostName=h", "DeviceId"),
        ("DeviceId=d;SharedAccessKey=k", "HostName"),
        ("HostName=h;DeviceId=d", "SharedAccessKey"),
        ("HostName=h;DeviceId=d;SharedAccessKey=short", "keyORCert"),
        ("HostName=h;DeviceId=d;x509=true", "certificate"),
        ("HostName=h;DeviceId=d;ModuleId=m;SharedAccessKey=k", "module"),
        ("HostName=h;DeviceId=d;SharedAccessKeyName=device;SharedAccessKey=k", "policy"),
        ("HostName=h;DeviceId=a b;SharedAccessKey=%s" % azure_rig.GROUP_KEY, "deviceId"),
    ],
)
def test_a_connection_string_that_is_none_says_what_is_missing(board, given, word):
    got = board.run(
        """
        import iotc
        try:
            iotc.from_connection_string(given)
        except ValueError as e:
            report(text=str(e))
        """,
        given=given,
    ).report
    assert word in got["text"] and azure_rig.GROUP_KEY[:12] not in got["text"]


# ---- root certificates


@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("form", ["file", "bytes", "text"])
def test_a_bundle_of_both_roots_serves_whichever_the_service_shows(dev, tmp_path, order, form):
    """One PEM file with two roots; the chain ends in one of them."""
    dev.known()
    other = azure_rig.pki.Authority("another root", key_type="rsa").pem
    with open(dev.rig.ca_pem, "rb") as f:
        ours = f.read()
    bundle = ours + other if order == "first" else other + ours
    (tmp_path / "azure.pem").write_bytes(bundle)
    given = {"file": str(tmp_path / "azure.pem"), "bytes": bundle, "text": bundle.decode()}[form]
    got = dev.run(
        azure_rig.CONNECT.replace("d = ", "iotc.Device.ca = BUNDLE\nd = ")
        + "report(connected=d.isConnected())\n",
        BUNDLE=given,
    ).report
    assert got == {"connected": True}
