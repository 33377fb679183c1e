"""
lib/iotc_reasons.py: what is said when a call's argument is wrong, or a hub refuses the device. The
likely causes stand in their order; what was true before counts.
"""

import azure_rig
from azure_rig import CONNECT, dev, fresh, rig  # noqa: F401

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)

CALLS = [
    ("d.sendTelemetry('p', 'str')", "properties"),
    ("d.sendTelemetry('p', [1])", "properties"),
    ("d.sendTelemetry('p', 5)", "properties"),
    ("d.sendTelemetry({'t': 1}, {'iothub-creation-time-utc': None})", "creation-time"),
    ("d.sendTelemetry({'t': object()})", "JSON"),
    ("d.sendTelemetry(object())", "JSON"),
    ("d.sendState(b'x', 'str')", "properties"),
    ("d.sendProperty(None)", "dict"),
    ("d.sendProperty(5)", "dict"),
    ("d.sendProperty('[1]')", "dict"),
    ("d.sendProperty({'a': 1}, 5)", "component"),
    ("d.sendProperty({5: 1})", "name"),
    ("d.sendCommandUpdate(None, 5, None, 200, 'x')", "name"),
    ("d.sendCommandUpdate('c', 'cmd', '1', 200, object())", "JSON"),
    ("d.on(5, print)", "on:"),
    ("d.on(None, None)", "on:"),
    ("d.on('Command', 5)", "on:"),
    ("d.setModelData(None)", "setModelData"),
    ("d.setModelData(5)", "setModelData"),
    ("d.setModelData({'modelId': 5})", "setModelData"),
    ("d.setInterfaces(None)", "setInterfaces"),
    ("d.setInterfaces('x')", "setInterfaces"),
    ("d.setTokenExpiration('600')", "setTokenExpiration"),
    ("d.setTokenExpiration(None)", "setTokenExpiration"),
    ("d.setTokenExpiration(float('nan'))", "setTokenExpiration"),
    ("d.setTokenExpiration(float('inf'))", "setTokenExpiration"),
    ("d.setTokenExpiration(0.5)", "setTokenExpiration"),
    ("d.setQosLevel(None)", "QoS"),
    ("d.setQosLevel('1')", "QoS"),
    ("d.setLogLevel('all')", "setLogLevel"),
    ("new.setServiceHost(None)", "setServiceHost"),
    ("new.setServiceHost('')", "setServiceHost"),
    ("new.setDPSEndpoint(5)", "setServiceHost"),
    ("d.connect(5)", "hostName"),
    ("d.start(['hub'])", "hostName"),
    ("d.doNext('1')", "doNext"),
    ("d.doNext(None)", "doNext"),
]


def test_pain_68_a_bad_argument_is_an_error_code_and_a_word_about_it(dev):
    """The document says that calls return one; nothing is raised, and the device goes on."""
    dev.known()
    lines = "\n".join("tell(lambda: %s)" % call for call, _ in CALLS)
    got = dev.run(
        CONNECT
        + """
new = device()
def tell(f):
    d.error = new.error = None
    report(code=f(), text=str(d.error or new.error))
"""
        + lines
        + "\nreport(connected=d.isConnected(), code=d.sendTelemetry({'t': 1}))\n"
    ).reports
    assert got[-1] == {"connected": True, "code": 0}
    for (call, word), one in zip(CALLS, got):
        assert one["code"] == 1, call
        assert word in one["text"], (call, one)


def refuse(dev, fresh, connect, count=None):
    """What device.error says once the hub has refused the device with CONNACK 5."""
    dev.rig = fresh
    dev.known()
    fresh.azure.fail("hub.connect", connack=5, count=count)
    return dev.run(connect).report


def test_a_hub_that_never_took_the_device_suspects_its_key_first(dev, fresh):
    got = refuse(
        dev,
        fresh,
        "d = device(name=NAME, scope=None)\nreport(code=d.connect(HUB), e=str(d.error))",
    )
    assert got["code"] == 4
    places = [got["e"].index(word) for word in ("key", "unknown", "disabled", "clock", "quota")]
    assert places == sorted(places) and azure_rig.HUB in got["e"] and "(" not in got["e"]


def test_a_hub_that_took_the_device_before_suspects_its_quota_first(dev, fresh):
    """Its key was right an hour ago."""
    dev.rig = fresh
    dev.known()
    program = dev.start(
        "iotc.MQTTLink.backoff_ms = 20\n"
        + CONNECT.replace("device(name=NAME)", "device(name=NAME, scope=None)")
        + """
report(up=True)
while "refused" not in str(d.error):
    d.do_next(50)
report(e=str(d.error), connected=d.isConnected())
"""
    )
    program.next_report()
    fresh.azure.fail("hub.connect", connack=5, count=None)
    client = fresh.azure.hub.client_of(fresh.device(dev.name))
    fresh.do(client.abort)
    got = program.next_report(30)
    words = ("took this device before", "quota", "throttled", "disabled", "key", "clock")
    places = [got["e"].index(word) for word in words]
    assert places == sorted(places) and got["connected"] is True


def test_a_certificate_is_called_one(dev, fresh, tmp_path):
    issued = fresh.authority.issue_client(dev.name)
    certificate, key = issued.write(str(tmp_path), "device")
    dev.rig = fresh
    got = dev.run(
        """
        d = device({"keyfile": KEY, "certfile": CERT}, NAME, 2, None)
        report(code=d.connect(HUB), e=str(d.error))
        """,
        KEY=key,
        CERT=certificate,
    ).report
    assert got["code"] == 4 and "certificate" in got["e"] and " key " not in got["e"]


def test_the_error_is_words_and_gone_after_a_success(dev, fresh):
    """No tuple, no number in brackets before the text; None once the device is connected."""
    dev.rig = fresh
    dev.known()
    fresh.azure.fail("hub.connect", connack=3)
    got = dev.run(
        """
        d = device(name=NAME, scope=None)
        report(code=d.connect(HUB), e=str(d.error), args=len(d.error.args))
        report(code=d.connect(), e=d.error)
        """
    ).reports
    assert got[0]["code"] == 8 and got[0]["args"] == 1
    assert got[0]["e"][:1].isalpha() and "unavailable" in got[0]["e"]
    assert got[1] == {"code": 0, "e": None}
