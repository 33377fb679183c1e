"""
lib/iotc.py over time and through trouble: every fault that the link's suite knows, while telemetry
flows and commands come in; a week of token renewals on both epochs; heap and size.
"""

import json
import time

import azure_rig
import pytest
from azure_rig import dev, rig  # noqa: F401
from localcloud.azure import Refused
from localcloud.faults import FAULTS, CutAt, FaultProxy
from device_program import program

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)

FLOW = program("iotc_endurance_flow")


def invoke_until_answered(dev, value, name="echo"):
    """Call the device until it is there; its answer. A call in an outage may go unanswered."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return dev.invoke(name, value, 1)
        except Refused:
            assert time.monotonic() < deadline, "it never came back"
            time.sleep(0.02)


def numbers_at_hub(dev):
    with_body = [body for _, _, body, _ in list(dev.rig.device(dev.name).telemetry)]
    return [json.loads(body)["n"] for body in with_body]


CUTS = {
    "cut %s at %d" % (way, at): (CutAt, at, way) for way in ("down", "up") for at in (3, 40, 150)
}
ALL = dict({name: (name,) for name in FAULTS if name != "cut"}, **CUTS)


def test_every_fault_while_telemetry_flows_and_commands_come_in(dev):
    """
    One device through all of them, one after the other, each on a connection of its own (to the
    hub, or to DPS where the hub's refusal sends the device there). Nothing accepted is lost, no
    command runs twice, no step lasts.
    """
    with FaultProxy("127.0.0.1", dev.rig.port) as proxy:
        server = "%s:%d" % (proxy.host, proxy.port)
        program = dev.start("iotc.Device.tls = False\n" + FLOW, SERVER=server)
        assert program.next_report() == {"code": 0, "error": None}
        for i, (name, fault) in enumerate(ALL.items()):
            before = proxy.connections
            proxy.apply(*fault)
            proxy.cut()
            dev.rig.until(lambda before=before: proxy.connections > before, 20, name)
            assert invoke_until_answered(dev, i) == (200, i), name
            count = dev.rig.device(dev.name).received
            dev.rig.until(
                lambda count=count: dev.rig.device(dev.name).received > count + 3, 20, name
            )
        proxy.lift()
        assert invoke_until_answered(dev, None, "stop") == (200, None)
        got = program.next_report(30)
    assert got["taken"] == got["numbers"] > len(ALL)
    assert got["twice"] == 0
    assert sorted(set(numbers_at_hub(dev))) == list(range(got["numbers"]))
    assert got["longest"] < 1000  # generous: this machine has other things to do as well


# ---- a week

CLOCK = program("iotc_endurance_clock")

WEEK = program("iotc_settle") + program("iotc_endurance_week")

HOURS = 7 * 24


@pytest.mark.parametrize("epoch", [1970, 2000])
def test_pain_08_a_week_of_renewals_loses_nothing(board, rig, epoch, request):
    """
    Tokens of six hours, 168 hours; the cloud's clock follows the board's and closes the connection
    of whoever is late. A renewal is one connection, tells nobody, and costs no message.
    """
    dev = azure_rig.DeviceProgram(board, rig, "week-%s-%d" % (board.name, epoch))
    program = board.start(CLOCK + dev.source(WEEK), EPOCH=epoch, HOURS=HOURS, **dev.values())
    grace, rig.azure.grace = rig.azure.grace, 0
    try:
        assert program.next_report()["status"] == 0
        before = rig.server.accepted
        for hour in range(HOURS):
            got = program.next_report(30)
            assert got.get("hour") == hour, got
            rig.do(rig.azure.move_clock, got["at"])
            program.send("go on")
        assert program.next_report() == {"error": None, "connected": True}
    finally:
        rig.azure.grace = grace
        rig.do(rig.azure.move_clock, 0)
    # 6 hours less two minutes each: the 900 s steps renew a quarter of an hour early at most.
    assert HOURS // 6 - 1 <= rig.server.accepted - before <= HOURS // 6 + 2
    assert [json.loads(body)["n"] for body, _ in dev.telemetry(HOURS * 4)] == [
        hour for hour in range(HOURS) for _ in range(4)
    ]


def test_pain_13_packet_ids_wrap_and_nobody_notices(board, rig):
    """70,000 messages at QoS 1 would take long; the id is put near its end instead."""
    dev = azure_rig.DeviceProgram(board, rig, "wrap-" + board.name)
    dev.known()
    dev.run(
        """
class Late(iotc.MQTTLink):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.pid = 65500

iotc.MQTTLink = Late
"""
        + azure_rig.CONNECT
        + """
d.setQosLevel(1)
for n in range(100):
    while d.sendTelemetry({"n": n}):
        d.do_next(20)
step(d, lambda: not d.inflight)
"""
    )
    assert [json.loads(body)["n"] for body, _ in dev.telemetry(100)] == list(range(100))


# ---- size and heap (32 bit)


ALLOCATED = program("iotc_endurance_allocated")


def test_heap_of_one_telemetry_message(heap32):
    """Microsoft's client for MicroPython takes 336 bytes, without properties."""
    out = heap32.run(ALLOCATED, "each(None)", "each({'mode': 'eco'})").out
    assert int(out[0]) <= 224
    assert int(out[1]) <= 560
