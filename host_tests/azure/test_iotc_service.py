"""
lib/iotc.py and the services as they answer today: late, shaped, refusing for reasons that they
don't tell, out of order for a while, with something to say to the program.
"""

import json

import pytest
from azure_rig import CONNECT, HUB, dev, fresh, rig  # noqa: F401
from localcloud.faults import FaultProxy
from test_iotc import FAST_CLOCK

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)


class Connects:
    """A watcher of the server: which service was connected to, in order."""

    def __init__(self):
        self.names = []

    def connected(self, client):
        self.names.append(client.service.name)

    def published(self, client, packet):
        pass

    def disconnected(self, client):
        pass

    def dps(self):
        return self.names.count("azure-dps")


# ---- waits

# The board's clock runs fifteen times as fast as the world's: a second is a quarter of a minute.
SLOW = (
    FAST_CLOCK
    + """
d = device(name=NAME)
d.setQosLevel(1)
"""
)


@pytest.mark.parametrize("place", ["dps.connect", "dps.register", "hub.connect", "hub.subscribe"])
def test_an_answer_may_take_most_of_a_minute(dev, fresh, place):
    """CONNACK and SUBACK of a hub that shapes its traffic; ten seconds were not enough."""
    dev.rig = fresh
    fresh.azure.fail(place, delay=1.2)
    got = dev.run(
        SLOW
        + """
longest = 0
d.start()
while d.isStarting():
    start = _real.ticks_ms()
    d.do_next(300)
    longest = max(longest, _real.ticks_diff(_real.ticks_ms(), start))
report(connected=d.isConnected(), error=d.error, longest=longest)
""",
        FACTOR=15,
    ).report
    assert got["connected"] is True and got["error"] is None
    assert not fresh.azure.faults.left(place)


def test_the_time_for_dps_to_answer_begins_with_the_connection(dev, fresh):
    """36 s for the CONNACK alone, where an answer may take 30."""
    dev.rig = fresh
    fresh.azure.fail("dps.connect", delay=3)
    got = dev.run(SLOW + "report(code=d.connect(), error=d.error)\n", FACTOR=12).report
    assert got == {"code": 0, "error": None}


def test_a_dps_that_hangs_up_in_mid_registration_is_told(dev, fresh):
    dev.rig = fresh
    fresh.azure.fail("dps.register", close=True)
    got = dev.run("d = device(name=NAME)\nreport(code=d.connect(), error=str(d.error))\n").report
    assert got["code"] == 16 and got["error"][:1].isalpha()


def test_an_acknowledgement_may_take_most_of_two_minutes(dev, fresh):
    dev.rig = fresh
    dev.known()
    fresh.azure.fail("hub.telemetry", delay=3)  # 45 s on the board's clock, where there were 20
    got = dev.run(
        SLOW
        + """
assert d.connect(HUB) == 0, d.error
watch(d, "MessageSent", "ConnectionStatus")
d.sendTelemetry({"slow": 1})
step(d, lambda: not d.inflight, 1000000)
""",
        FACTOR=15,
    ).reports
    assert [(r["event"], r["status"]) for r in got] == [("MessageSent", 0)]
    assert len(dev.telemetry(1)) == 1


def test_a_hub_that_throttles_by_hanging_up_loses_no_message(dev, fresh):
    """It says nothing in MQTT: the connection ends, and what it has not taken goes again."""
    dev.rig = fresh
    dev.known()
    for _ in range(2):
        fresh.azure.fail("hub.telemetry", close=True)
    got = dev.run(
        """
        d = device(name=NAME)
        assert d.connect(HUB) == 0, d.error
        d.setQosLevel(1)
        lost = []
        d.on("ConnectionStatus", lambda info: lost.append(info.getStatusCode()))
        for n in range(5):
            d.sendTelemetry({"n": n})
        step(d, lambda: not d.inflight, 30000)
        report(lost=[code != 0 for code in lost], error=d.error)
        """,
        timeout=60,
    ).report
    assert got["lost"].count(True) >= 1 and got["error"] is None
    bodies = [json.loads(body)["n"] for body, _ in dev.telemetry(5)]
    assert sorted(set(bodies)) == list(range(5))


def test_how_long_it_waits_is_settable(dev, fresh):
    """With one second in place of sixty a late CONNACK is a failure in words."""
    dev.rig = fresh
    dev.known()
    fresh.azure.fail("hub.connect", delay=6)
    got = dev.run(
        """
        d = device(name=NAME, scope=None)
        d.timeout = 1
        report(code=d.connect(HUB), error=str(d.error), default=iotc.Device.timeout)
        """
    ).report
    assert got["code"] == 16 and "CONNACK" in got["error"] and got["default"] == 60


def test_tls_may_take_most_of_a_minute_too(dev, fresh):
    dev.rig = fresh
    dev.known()
    with FaultProxy("127.0.0.1", fresh.tls_port, delay=0.25) as proxy:
        got = dev.run(
            SLOW + "report(code=d.connect(HUB), error=d.error)\n",
            FACTOR=15,
            SERVER="127.0.0.1:%d" % proxy.port,
        ).report
    assert got == {"code": 0, "error": None}


# ---- refusals

AWAY = (
    """
iotc.MQTTLink.backoff_ms = 5
iotc.MQTTLink.backoff_max_ms = 40
"""
    + CONNECT.replace("connect(HUB)", "connect()")
    + """
watch(d, "ConnectionStatus")
report(up=True)
while True:
    d.doNext(0.05)
"""
)


def cut(rig, dev):
    client = rig.azure.hub.client_of(rig.device(dev.name))
    rig.do(client.abort)


def test_dps_is_asked_after_several_refusals_and_then_ever_more_seldom(dev, fresh):
    """Three, then six more, then twelve: a hub that is out of quota is not made worse by DPS."""
    dev.rig = fresh
    seen = Connects()
    fresh.server.watchers.append(seen)
    program = dev.start(AWAY)
    program.next_report()
    refusals = []
    fault = fresh.azure.fault

    def counting(place, device):
        how = fault(place, device)
        if place == "hub.connect" and how:
            refusals.append(seen.dps())
        return how

    fresh.azure.fault = counting
    fresh.azure.fail("hub.connect", connack=5, count=None)
    cut(fresh, dev)
    assert program.next_report()["status"] == 16
    fresh.until(lambda: seen.dps() >= 4, 60)
    # One failure is the cut itself.
    assert [refusals.count(asked) for asked in (1, 2, 3)] == [2, 6, 12]
    fresh.azure.faults.clear()
    assert program.next_report(60)["status"] == 0
    # A success makes it as quick to ask as it was.
    asked = seen.dps()
    refusals.clear()
    fresh.azure.fail("hub.connect", connack=5, count=None)
    cut(fresh, dev)
    assert program.next_report()["status"] == 16
    fresh.until(lambda: seen.dps() > asked, 60)
    assert refusals.count(asked) == 2


def test_a_success_forgets_the_failures_before_it(dev, fresh):
    """Two failures now and two later are not four in a row: DPS is left in peace."""
    dev.rig = fresh
    seen = Connects()
    fresh.server.watchers.append(seen)
    program = dev.start(AWAY)
    program.next_report()
    for _ in range(4):
        fresh.azure.fail("hub.connect", connack=3)
        cut(fresh, dev)
        assert program.next_report()["status"] == 16
        assert program.next_report(30)["status"] == 0
    assert seen.dps() == 1


def test_a_refused_device_slows_down(dev, fresh):
    """Four times the pause of a hub that can't be reached, and ten times the longest one."""
    dev.rig = fresh
    dev.known()
    made = """
class Watched(iotc.MQTTLink):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        links.append(self)
links = []
iotc.MQTTLink = Watched
"""
    program = dev.start(
        made
        + CONNECT.replace("device(name=NAME)", "device(name=NAME, scope=None)")
        + """
report(up=True)
def told(info):
    report(status=info.getStatusCode(), pause=links[0].backoff_ms, most=links[0].backoff_max_ms)
d.on("ConnectionStatus", told)
while "refused" not in str(d.error):
    d.do_next(50)
report(pause=links[0].backoff_ms, most=links[0].backoff_max_ms)
go_on(d)
"""
    )
    program.next_report()
    fresh.azure.fail("hub.connect", connack=5)
    cut(fresh, dev)
    usual = program.next_report()
    slow = program.next_report(30)
    assert slow["pause"] == 4 * usual["pause"] and slow["most"] == 10 * usual["most"]
    again = program.next_report(60)
    assert again == {"status": 0, "pause": usual["pause"], "most": usual["most"]}


def test_a_program_that_loops_over_connect_does_not_run_to_dps_each_time(dev, fresh):
    """DPS named this hub a moment ago; the hub's refusal says nothing against that."""
    dev.rig = fresh
    seen = Connects()
    fresh.server.watchers.append(seen)
    fresh.azure.fail("hub.connect", connack=5, count=None)
    got = dev.run(
        """
        iotc.MQTTLink.backoff_ms = 5
        d = device(name=NAME)
        report(codes=[d.connect() for _ in range(4)], host=d.getHostName())
        """
    ).report
    assert got == {"codes": [4] * 4, "host": HUB}
    assert seen.dps() == 2  # at first, and after the third refusal


def test_a_hub_name_that_the_program_kept_and_that_is_wrong_leads_to_dps_at_once(dev):
    got = dev.run(
        """
        d = device(name=NAME)
        report(code=d.connect("hub-8.azure-devices.net"), host=d.getHostName(), error=d.error)
        """
    ).report
    assert got == {"code": 0, "host": HUB, "error": None}


# ---- DPS


@pytest.mark.parametrize(
    "how",
    [
        {"failed": 400207},
        {"failed": 500001},
        {"failed": 429001},
        {"status": 429, "code": 429001},
        {"status": 500, "code": 500001},
        {"status": 503, "retry_after": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("place", ["dps.register", "dps.poll"])
def test_what_is_temporary_at_dps_is_tried_again(dev, fresh, place, how):
    dev.rig = fresh
    fresh.azure.fail(place, **how)
    got = dev.run("d = device(name=NAME)\nreport(code=d.connect(), error=d.error)\n").report
    assert got == {"code": 0, "error": None}


def test_an_allocation_that_fails_for_good_is_told(dev, fresh):
    dev.rig = fresh
    fresh.azure.fail("dps.poll", failed=400207, count=None, retry_after=0)
    got = dev.run("d = device(name=NAME)\nreport(code=d.connect(), error=str(d.error))\n").report
    assert got["code"] == 4 and "400207" in got["error"] and "enrolment" in got["error"]


NULLS = [
    {"status": "assigned", "registrationState": {"assignedHub": None, "deviceId": "x"}},
    {"status": "assigned", "registrationState": {"assignedHub": "h", "deviceId": None}},
    {"status": "assigned", "registrationState": {"assignedHub": "", "deviceId": "x"}},
    {"status": "assigned", "registrationState": {"assignedHub": 5, "deviceId": "x"}},
    {"status": "assigned", "registrationState": None},
    {"status": "assigned", "registrationState": []},
    {"status": "assigning", "operationId": None},
    {"status": None},
    {"status": "failed", "registrationState": {"errorCode": None, "errorMessage": None}},
    {"status": "disabled", "registrationState": None},
    {"errorCode": None, "message": None, "trackingId": None},
    {},
    [],
    None,
    "assigned",
]


@pytest.mark.parametrize("body", NULLS, ids=str)
def test_pain_53_null_where_dps_owes_a_name_is_an_error_code(dev, fresh, body):
    dev.rig = fresh
    fresh.azure.fail("dps.poll", body=body)
    got = dev.run(
        "d = device(name=NAME)\nreport(code=d.connect(), text=str(d.error), host=d.getHostName())"
    ).report
    assert got["code"] in (2, 4, 16) and "DPS" in got["text"] and got["host"] is None


@pytest.mark.parametrize("payload", [{"site": "n\u00f6rd", "n": [1, None]}, "text", 5, False, []])
def test_what_a_custom_allocation_sends_belongs_to_the_program(dev, fresh, payload):
    dev.rig = fresh
    record = dict(fresh.azure.registry.enrolments["default"], payload=payload)
    fresh.do(fresh.azure.enrol, "default", record)
    got = dev.run(
        """
        d = device(name=NAME)
        report(before=d.dps_payload)
        report(code=d.connect(), payload=d.dps_payload)
        """
    ).reports
    assert got == [{"before": None}, {"code": 0, "payload": payload}]


@pytest.mark.parametrize("profile", ["mqttV5", {"protocol": "mqttV5", "host": "x"}])
def test_a_hub_that_speaks_only_mqtt_5_is_an_error_in_words(dev, fresh, profile):
    dev.rig = fresh
    record = dict(fresh.azure.registry.enrolments["default"], connection_profile=profile)
    fresh.do(fresh.azure.enrol, "default", record)
    got = dev.run("d = device(name=NAME)\nreport(code=d.connect(), text=str(d.error))").report
    assert got["code"] == 32
    for word in ("mqttV5", "MQTT 3.1.1", "classic", HUB):
        assert word in got["text"]


def test_a_hub_of_the_classic_profile_is_served(dev, fresh):
    dev.rig = fresh
    record = dict(fresh.azure.registry.enrolments["default"], connection_profile="classic")
    fresh.do(fresh.azure.enrol, "default", record)
    got = dev.run("d = device(name=NAME)\nreport(code=d.connect(), error=d.error)").report
    assert got == {"code": 0, "error": None}


# ---- the hub's other answers


@pytest.mark.parametrize("form", ["close", "suback"])
def test_a_hub_that_grants_no_filter_is_an_error_not_a_deaf_device(dev, fresh, form):
    dev.rig = fresh
    dev.known()
    if form == "suback":
        fresh.azure.fail("hub.subscribe", status=500, count=4)
    else:
        fresh.azure.fail("hub.subscribe", close=True)
    got = dev.run(
        """
        d = device(name=NAME, scope=None)
        report(code=d.connect(HUB), connected=d.isConnected(), told=d.error is not None)
        report(code=d.connect(HUB), connected=d.isConnected())
        """
    ).reports
    assert got[0]["code"] in (16, 32)
    assert got[0]["connected"] is False and got[0]["told"] is True
    assert got[1] == {"code": 0, "connected": True}


def test_the_device_endpoint_of_tls_13(dev):
    """The name that a hub has where it speaks TLS 1.3 is dialled, verified and signed for."""
    dev.known()
    name = HUB.replace(".azure-devices", ".device.azure-devices")
    got = dev.run(
        CONNECT.replace("HUB", "NAME13")
        + """
d.setQosLevel(1)
d.sendTelemetry({"t": 1})
step(d, lambda: not d.inflight)
report(host=d.getHostName())
""",
        NAME13=name,
    ).report
    assert got == {"host": name}
    assert dev.telemetry(1)[0][0] == b'{"t": 1}'
