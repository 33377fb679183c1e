"""
The boards' application, with the board's own modules (network, ntptime, machine) played by the
test, and the manifests, read by the rules of MicroPython's build.
"""

import pytest
import workshop

APPLICATION = workshop.ROOT / "boards" / "application"

# The parts of a board. `wlan` joins when connect() was called `tries` times; `ntp` answers after
# `losses`.
BOARD = """
import sys, time
sys.path.insert(0, application)

class Module:
    pass

class Reset(Exception):
    pass

class Wlan:
    def __init__(self, interface):
        self.joins = 0
        self.up = False
        self.state = 1001
    def active(self, on):
        pass
    def isconnected(self):
        return self.up
    def disconnect(self):
        raise OSError(5)
    def connect(self, ssid, password):
        self.joins += 1
        if joins_needed and self.joins >= joins_needed:
            self.up = True
    def status(self):
        return self.state

network = sys.modules["network"] = Module()
network.STA_IF = 0
network.STAT_WRONG_PASSWORD = 1002
network.STAT_CONNECTING = 1001
network.WLAN = Wlan

ntptime = sys.modules["ntptime"] = Module()
ntptime.host = "pool.ntp.org"
asked = []
def settime():
    asked.append(1)
    if len(asked) <= losses:
        raise OSError(110)
ntptime.settime = settime

fed = []
machine = sys.modules["machine"] = Module()
class Dog:
    def __init__(self, timeout):
        report(watchdog=timeout)
        self.last = time.ticks_ms()
    def feed(self):
        now = time.ticks_ms()
        fed.append(time.ticks_diff(now, self.last))
        self.last = now
machine.WDT = Dog
def reset():
    raise Reset
machine.reset = reset
"""


def play(board, source, losses=0, joins_needed=1, **values):
    return board.run(
        BOARD + source,
        application=str(APPLICATION),
        losses=losses,
        joins_needed=joins_needed,
        **values,
    ).reports


def test_wifi_joins_and_joins_again(board):
    reports = play(
        board,
        """
import wifi
wifi._AGAIN_MS = 50
w = wifi.Wifi("home", "secret")
w.join(lambda: fed.append(0), timeout=20)
report(joined=w.step(), tries=w._wlan.joins, waited=len(fed) > 0)
w._wlan.up = False
report(lost=w.step())
w.join(lambda: None)
report(again=w.step())
""",
        joins_needed=3,
    )
    assert reports == [
        {"joined": True, "tries": 3, "waited": True},
        {"lost": False},
        {"again": True},
    ]


def test_wifi_says_what_is_wrong(board):
    reports = play(
        board,
        """
import wifi
w = wifi.Wifi("home", "secret")
w._wlan.state = network.STAT_WRONG_PASSWORD
try:
    w.join(lambda: None, timeout=0)
except OSError as e:
    report(errno=e.errno, text=e.args[1])
try:
    wifi.Wifi("", "")
except ValueError as e:
    report(text=str(e))
""",
        joins_needed=0,
    )
    assert reports[0]["errno"] == 110
    assert "wrong password" in reports[0]["text"]
    assert "secret" not in str(reports)
    assert "settings.py" in reports[1]["text"]


def test_pain_11_clock_survives_lost_answers(board):
    reports = play(
        board,
        """
import clock
clock._PAUSES_S = (0, 0, 0, 0, 1)
clock.set_by_ntp(lambda: fed.append(0))
report(asked=len(asked), set=clock.is_set())
""",
        losses=3,
    )
    assert reports == [{"asked": 4, "set": True}]


def test_clock_gives_up_in_words_after_a_bounded_time(board):
    reports = play(
        board,
        """
import clock
report(at_most=sum(clock._PAUSES_S))
clock._PAUSES_S = (0, 1)
try:
    clock.set_by_ntp(lambda: fed.append(0))
except OSError as e:
    report(errno=e.errno, text=e.args[1], asked=len(asked), fed=len(fed) > 5)
""",
        losses=99,
    )
    assert reports[0]["at_most"] == 120
    assert reports[1]["asked"] == 2
    assert reports[1]["fed"]
    assert "NTP" in reports[1]["text"] or "time" in reports[1]["text"]


MAIN = """
settings = sys.modules["settings"] = Module()
settings.SSID, settings.PASSWORD, settings.INTERVAL = "home", "secret", 1
settings.DEVICE = device
import main
"""


def test_main_restarts_the_board_after_an_error(board):
    reports = play(
        board,
        MAIN
        + """
main._PAUSE_S = 0
def fail():
    raise ValueError("broken")
main.main = fail
try:
    main.run()
except Reset:
    report(reset=True)
""",
        device={},
    )
    assert reports == [{"reset": True}]


def test_main_tells_and_obeys(board, cloud):
    ibm, host, port = cloud["ibm"], cloud["mqtt"]["host"], cloud["mqtt"]["tls_port"]
    place = {"org": ibm["org"], "domain": ibm["domain"], "ca": cloud["ca_der"]}
    place.update({"host": host, "port": port})
    device, application = ibm["device"], ibm["application"]
    listener = board.start(
        """
        import ibmiotf.application
        client = ibmiotf.application.Client(options)
        client.deviceEventCallback = lambda e: report(event=e.event, data=e.data)
        client.subscribeToDeviceEvents(deviceId=device)
        client.connect()
        report(ready=True)
        sent = 0
        while True:
            client.do_next(50)
            if sent < 1 and client.isConnected():
                sent += client.publishCommand(kind, device, "interval", {"seconds": 2})
        """,
        options=dict(
            place,
            **{
                "id": application["id"],
                "auth-method": "apikey",
                "auth-key": application["key"],
                "auth-token": application["token"],
            },
        ),
        kind=device["type"],
        device=device["id"],
    )
    assert listener.next_report() == {"ready": True}
    program = board.start(
        BOARD
        + """
class BitingDog(Dog):
    def feed(self):
        super().feed()
        if fed[-1] > 8000:
            report(bitten=fed[-1])
machine.WDT = BitingDog
"""
        + MAIN
        + "main.run()",
        application=str(APPLICATION),
        losses=1,
        joins_needed=1,
        device=dict(
            place,
            **{
                "type": device["type"],
                "id": device["id"],
                "auth-method": "token",
                "auth-token": device["token"],
            },
        ),
    )
    assert program.next_report() == {"watchdog": 8000}
    for _ in range(2):
        event = listener.next_report()
        assert event["event"] == "status"
        assert set(event["data"]) == {"free", "used", "time"}
    assert not [r for r in program.stop().reports if "bitten" in r]


class Manifest:
    """What makemanifest.py gives a manifest; collects what gets frozen."""

    def __init__(self):
        self.frozen = {}
        self.required = []
        self.included = []

    def run(self, path, **given):
        from types import SimpleNamespace

        options = SimpleNamespace(**given)
        options.defaults = lambda **values: [
            setattr(options, name, values[name]) for name in values if not hasattr(options, name)
        ]

        def include(target, **values):
            self.included.append(target)
            if not target.startswith("$("):
                self.run(path.parent / target, **values)

        def module(name, base_path="."):
            file = path.parent / base_path / name
            assert file.is_file(), "{} freezes {}, which is not there".format(path, file)
            assert name not in self.frozen, "{} is frozen twice".format(name)
            self.frozen[name] = file.resolve()

        import os

        before = os.getcwd()
        os.chdir(path.parent)
        try:
            exec(
                compile(path.read_text(), str(path), "exec"),
                {
                    "metadata": lambda **_: None,
                    "options": options,
                    "require": lambda name, **_: self.required.append(name),
                    "include": include,
                    "module": module,
                },
            )
        finally:
            os.chdir(before)
        return self


@pytest.mark.parametrize("name", ["ESP32_GENERIC", "RPI_PICO_W"])
def test_board_manifest_freezes_what_main_needs(name):
    manifest = Manifest().run(workshop.ROOT / "boards" / name / "manifest.py")
    assert {"main.py", "wifi.py", "clock.py", "netstream.py", "mqtt_link.py"} <= set(
        manifest.frozen
    )
    assert "ibmiotf/device.py" in manifest.frozen
    assert "settings.py" not in manifest.frozen, "secrets don't belong into firmware"
    assert not [
        file for file in manifest.frozen if file.startswith(("iotc", "teamviewer", "idigi"))
    ]
    assert manifest.included[0].startswith("$(PORT_DIR)/")
    assert "umqtt.simple" in manifest.required


def test_manifest_freezes_all_of_lib():
    manifest = Manifest().run(workshop.ROOT / "manifest.py")
    there = {path.relative_to(workshop.LIB).as_posix() for path in workshop.LIB.rglob("*.py")}
    assert set(manifest.frozen) == there
