"""
The boards' application, one program for any board and any service, with the board's own modules
(network, ntptime, machine) played by the test: on MicroPython and on CPython, against every
service in the local cloud.
"""

import json

import application_rig
import cloud_rig
import pytest
from application_rig import BOARD, values, write_settings
from cloud_rig import place, world  # noqa: F401
from device_program import program

# ruff: noqa: F811

# --- the parts ---


def play(board, source, **more):
    return board.run(BOARD + source, **values(**more)).reports


def test_wifi_joins_and_joins_again(board):
    reports = play(
        board,
        """
import network_up
network_up._AGAIN_MS = 50
net = network_up.make({"wifi": {"ssid": "home", "password": "secret"}})
rounds = 0
while not net.step():
    rounds += 1
    time.sleep_ms(10)
wlan = net._interface
report(tries=wlan.joins, waited=rounds > 0)
FLAP = (1, 10)
while net.step():
    pass
report(lost=True)
while wlan.joins < 6:
    net.step()
    time.sleep_ms(10)
FLAP = None
report(again=net.step())
""",
        JOINS_NEEDED=3,
    )
    assert [one for one in reports if "bitten" not in one] == [
        {"tries": 3, "waited": True},
        {"lost": True},
        {"again": True},
    ]


def test_ethernet_and_a_network_that_is_somebody_s(board):
    reports = play(
        board,
        """
import network_up
net = network_up.make({"ethernet": {"phy_addr": 1}})
report(first=net.step(), then=net.step(), given=net._interface.given)
report(somebody=network_up.make({}).step())
""",
    )
    assert reports[-2]["then"] is True and reports[-2]["given"] == {"phy_addr": 1}
    assert reports[-1] == {"somebody": True}


def test_the_network_says_what_is_wrong(board):
    run = board.run(
        BOARD
        + """
import network_up
net = network_up.make({"wifi": {"ssid": "home", "password": "secret"}})
net._interface.state = network.STAT_WRONG_PASSWORD
report(why=net.why())
for settings in ({"ssid": ""}, {"ssid": "home", "pasword": "secret"}):
    try:
        network_up.make({"wifi": settings})
    except ValueError as e:
        report(text=str(e))
""",
        **values(JOINS_NEEDED=99),
    )
    assert run.reports[0] == {"why": "wrong password"}
    assert "ssid" in run.reports[1]["text"] and "pasword" in run.reports[2]["text"]
    assert "secret" not in run.out


SIMULATED = program("application_simulated_time")


def test_pain_11_ntp_that_is_dead_for_an_hour(board):
    """It goes on asking, ever more seldom; the loop goes on; then the clock is set."""
    got = play(
        board,
        SIMULATED
        + """
def settime():
    asked.append(simulated.now)
    if simulated.now < 3600000:
        raise OSError(110)
    simulated.year = 2026
ntptime.settime = settime
kept = clock.Clock("time.example", Resolver())
while not kept.is_set():
    kept.step(True)
    simulated.now += 100
    assert simulated.now < 5400000
gaps = [b - a for a, b in zip(asked, asked[1:])]
report(tries=len(asked), first=asked[0], longest=max(gaps), grows=gaps[0] < gaps[1] < gaps[2],
    host=ntptime.host, after=simulated.now - 3600000, error=kept.error)
before = len(asked)
while len(asked) == before:
    kept.step(True)
    simulated.now += 60000
report(again=asked[-1] - asked[-2])
""",
    )
    said = got[-2]
    assert 15 <= said["tries"] <= 30 and said["first"] < 1000 and said["grows"]
    assert said["longest"] <= 301000 and said["after"] <= 301000
    assert said["host"] == "192.0.2.1" and said["error"] is None
    assert 86000000 <= got[-1]["again"] <= 87000000, "once a day"


def test_a_time_server_that_is_wrong_or_has_no_address_is_told(board):
    run = board.run(
        BOARD
        + SIMULATED
        + """
kept = clock.Clock(None, Resolver())
for _ in range(5):
    kept.step(True)
report(error=str(kept.error), asked=len(asked))
class Lost:
    def resolve(self, host):
        raise OSError(2, "DNS: no IPv4 address for " + host)
        yield
lost = clock.Clock("nowhere.example", Lost())
lost.step(False)
report(error=lost.error)
lost.step(True)
report(error=lost.error.args[-1])
""",
        **values(),
    )
    assert run.reports[0]["asked"] == 1 and "wrong itself" in run.reports[0]["error"]
    assert run.reports[1]["error"] is None, "nobody is asked without a network"
    assert "nowhere.example" in run.reports[2]["error"]
    assert "UDP port 123" in run.out


def test_the_lamp_tells_where_it_stands(board):
    got = play(
        board,
        """
import lamp
shown = lamp.Lamp("LED")
def changes(there, connected, ms):
    before = Pin.changes
    start = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), start) < ms:
        shown.step(there, connected)
        time.sleep_ms(5)
    return Pin.changes - before
report(connected=changes(True, True, 300) <= 1, on=Pin.now)
report(fast=changes(False, False, 1300), slow=changes(True, False, 1300))
lamp.Lamp(None).step(True, True)
""",
    )
    assert got[0] == {"connected": True, "on": True}
    assert got[1]["slow"] < got[1]["fast"]


def test_trouble_is_kept_over_a_restart(board, tmp_path):
    got = play(
        board,
        """
import os, trouble
os.chdir(PLACE)
trouble.keep(ValueError("x" * 500))
kept = trouble.Trouble()
kept.note("connection", OSError(110, "nobody there"))
said = kept.take()
report(names=sorted(said), size=len(said["restart_error"]), text=said["connection_error"])
report(again=trouble.Trouble().take(), mine=kept.take())
""",
        PLACE=str(tmp_path),
    )
    assert got[0] == {
        "names": ["connection_error", "restart_error"], "size": 200,
        "text": "OSError: nobody there",
    }  # fmt: skip
    assert got[1] == {"again": {}, "mine": {}}


# --- the whole ---

MAIN = """
import os
os.chdir(PLACE)
import main
"""


def test_an_error_that_nobody_foresaw_restarts_the_board(board, tmp_path):
    got = play(
        board,
        MAIN
        + """
main._PAUSE_S = 0
def fail(path):
    raise RuntimeError("broken")
main.main = fail
try:
    main.run()
except Reset:
    report(reset=True, kept=open("last_error.txt").read())
""",
        PLACE=str(tmp_path),
    )
    assert got == [{"reset": True, "kept": "RuntimeError: broken"}]


def test_wrong_settings_are_told_and_kept(board, tmp_path):
    path = write_settings(tmp_path, {"service": "mqtt", "hots": "x"})
    run = board.run(
        BOARD
        + MAIN
        + """
main._PAUSE_S = 0
try:
    main.run(PATH)
except Reset:
    report(kept=open("last_error.txt").read())
""",
        **values(PLACE=str(tmp_path), PATH=path),
    )
    assert 'did you mean "host"' in run.reports[-1]["kept"]


def start(board, place, tmp_path, source="", **more):
    flap = more.pop("FLAP", None)
    path = write_settings(
        tmp_path, place.settings, interval=0.2, led=2, wifi={"ssid": "home"}, **more
    )
    return board.start(
        BOARD
        + MAIN
        + source
        + "\ntry:\n    main.run(PATH)\nexcept Reset:\n    report(reset=True)\n",
        **values(PLACE=str(tmp_path), PATH=path, FLAP=flap, LOSSES=2),
    )


def test_it_tells_through_flapping_wifi_and_cuts_and_the_dog_never_bites(board, place, tmp_path):
    program = start(board, place, tmp_path, FLAP=(40, 15))
    place.wait(3)
    for count in (8, 13, 18):
        place.line.cut()
        place.wait(count, timeout=60)
    for name, fields in place.messages():
        assert name == "telemetry" and set(fields) >= {"free", "uptime"}
    ups = [fields["uptime"] for _, fields in place.messages()]
    first = [up for i, up in enumerate(ups) if up not in ups[:i]]
    assert first == sorted(first), "in order but for repetitions"
    reports = program.stop().reports
    assert not [one for one in reports if "bitten" in one or "reset" in one]


def test_it_obeys_and_restarts_when_told(board, place, tmp_path):
    if "command" not in place.has:
        pytest.skip("this service has no commands")
    program = start(board, place, tmp_path)
    place.wait(1)
    assert place.command("interval", {"seconds": 3600}) == (200, 3600)
    status, text = place.command("interval", {"seconds": 0})
    assert status == 400 and "86400" in text
    status, text = place.command("dance")
    assert status == 400 and "restart" in text
    assert place.command("restart") == (200, "restarting")
    assert program.next_report(30) == {"reset": True}


def test_the_interval_is_a_setting(board, place, tmp_path):
    if "setting" not in place.has:
        pytest.skip("this service has no settings")
    start(board, place, tmp_path)
    place.wait(1)
    place.set("interval", 1800)
    assert place.accepted("interval", 1800)
    cloud_rig.until(lambda: place.reported(), what="the state")


def test_what_went_wrong_is_told_on_the_next_connection(board, place, tmp_path):
    (tmp_path / "last_error.txt").write_text("RuntimeError: broken")
    place.line.apply(cloud_rig.Refusing, connections=2)
    program = start(board, place, tmp_path)

    def told():
        said = place.reported()
        return said if "restart_error" in said else None

    try:
        said = cloud_rig.until(told, timeout=60, what="the report")
    except json.JSONDecodeError:
        said = {}
    assert said["restart_error"] == "RuntimeError: broken"
    assert len(said["connection_error"]) > 10
    assert not (tmp_path / "last_error.txt").exists()
    program.stop()


def test_readings_that_fail_don_t_stop_it(board, place, tmp_path):
    source = """
import readings
calls = []
def read():
    calls.append(1)
    if len(calls) == 2:
        raise ValueError("no sensor")
    if len(calls) == 3:
        return None
    if len(calls) == 4:
        return {"bad": float("nan")}
    return {"n": len(calls)}
readings.read = read
"""
    program = start(board, place, tmp_path, source)
    numbers = [fields["n"] for _, fields in place.wait(4)]
    assert numbers[:4] == [1, 5, 6, 7]
    program.stop()


JUMPING = """
real = time
class Jumping:
    shift = 0
    def __getattr__(self, name):
        return getattr(real, name)
    def time(self):
        return real.time() + self.shift
    def gmtime(self, at=None):
        return real.gmtime(real.time() + self.shift if at is None else at)
time = sys.modules["time"] = jumping = Jumping()
"""


def test_clock_jumps_neither_stop_it_nor_change_its_pace(board, place, tmp_path):
    """The clock is set an hour ahead, and back by six: ticks go on."""
    source = """
steps = main.clock.Clock.step
rounds = [0]
def step(self, is_there):
    rounds[0] += 1
    jumping.shift = (0, 3600, -18000, 60)[rounds[0] // 15 % 4]
    return steps(self, is_there)
main.clock.Clock.step = step
"""
    path = write_settings(tmp_path, place.settings, interval=0.2, led=2)
    program = board.start(
        BOARD.replace("import time\n", "import time\n" + JUMPING)
        + MAIN
        + source
        + "main.run(PATH)\n",
        **values(PLACE=str(tmp_path), PATH=path),
    )
    place.wait(20, timeout=60)
    assert not [one for one in program.stop().reports if "bitten" in one]


def test_a_service_that_closes_for_good(board, world, tmp_path, request):
    """It goes on, tells the lamp, counts what found no room; when let in again it tells it all."""
    place = world.place("azure", cloud_rig.name_of(request), tmp_path)
    place.line.lift()
    source = """
rounds = [0]
steps = main.Application.step
def step(self):
    steps(self)
    rounds[0] += 1
    if rounds[0] % 50 == 0:
        report(rounds=rounds[0], up=self.device.is_connected(), pending=self.device.pending,
            lost=self._lost, changes=Pin.changes)
main.Application.step = step
"""
    program = start(board, place, tmp_path, source)
    place.wait(2)
    path = "/azure/devices/" + place.name
    world.control("PUT", path, {"enabled": False})
    place.line.cut()
    said = {}
    while not said.get("lost"):
        said = program.next_report(60)
        assert "bitten" not in said and "reset" not in said
    assert said["up"] is False and said["pending"] >= 16
    changes = said["changes"]
    said = program.next_report(60)
    assert said["changes"] > changes, "the lamp blinks"
    world.control("PUT", path, {"enabled": True})
    reported = cloud_rig.until(
        lambda: "lost_readings" in place.reported() and place.reported(), 110, "the report"
    )
    assert reported["lost_readings"] > 0 and len(reported["connection_error"]) > 10
    program.stop()
    place.close()


# --- on the emulated board, with its own network.LAN, machine.WDT and machine.Pin ---


# A TeamViewer agent needs a place for its certificate, and the emulated board has no file system
# that can be written to.
@pytest.mark.parametrize("service", ["azure", "ibm", "mqtt"])
def test_it_runs_on_a_board_through_a_cut_cable(service, board_lwip, world, tmp_path, request):
    place = world.place(service, cloud_rig.name_of(request), tmp_path)
    place.line.lift()
    settings = dict(place.settings, interval=0.5, led=2, ethernet=True)
    if service == "azure":  # over TLS: its certificates carry the services' own names
        settings.update(server="10.0.2.2:%d" % world.ready["mqtt"]["tls_port"])
        settings.update(ca="/host" + settings["ca"])
    else:
        settings.update(host="10.0.2.2", port=world.ready["mqtt"]["port"], ca=None, insecure=True)
    write_settings(tmp_path, settings)
    program = board_lwip.start(
        """
import sys
class Module:
    pass
ntptime = sys.modules["ntptime"] = Module()
ntptime.host = "10.0.2.2"
ntptime.settime = lambda: None
import trouble
trouble._FILE = PLACE + "/last_error.txt"
import main
main.run(PLACE + "/device.json")
""",
        network=False,
        PLACE=tmp_path,
        path=(application_rig.APPLICATION,),
    )
    place.wait(5, timeout=60)
    program.line.cut()
    program.line.mend()
    place.wait(12, timeout=90)
    assert place.command("interval", {"seconds": 1}) == (200, 1)
    before = len(place.messages())
    place.wait(before + 5, timeout=60)
    assert set(place.messages()[0][1]) >= {"free", "uptime"}
    assert program.process.rc is None, "the watchdog has bitten: {}".format(program.process.tail())
    place.close()


def test_the_example_settings_are_good(board):
    path = application_rig.APPLICATION / "device.json"
    settings = json.loads(path.read_text())
    del settings["secrets"]
    got = board.run(
        "import cloud_settings\nreport(module=cloud_settings.read(S, 'Device')[0])", S=settings
    ).report
    assert got == {"module": "cloud_mqtt"}
