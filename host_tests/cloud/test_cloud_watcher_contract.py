"""
What cloud.Watcher promises, for every service that has one (IBM's applications, a plain broker,
Digi's monitors): each test runs against all of them, with devices of cloud.Device where the
service has such, on MicroPython and on CPython.
"""

import pytest
from cloud_rig import WATCHERS, name_of, world  # noqa: F401

# ruff: noqa: F811

PRELUDE = """
import cloud, time

def step(one, until, ms=60000):
    start = time.ticks_ms()
    while not until():
        one.do_next(20)
        if time.ticks_diff(time.ticks_ms(), start) > ms:
            raise Exception("in vain: %r" % one.error)

watcher = cloud.Watcher(SETTINGS)
"""


class Side:
    """A watcher's settings at one service, and a device there that it hears of."""

    def __init__(self, service, world, name, folder):
        self.service = service
        self.world = world
        ready = world.ready
        self.device = None
        self.settings = {"service": service, "ca": ready["ca_der"]}
        if service == "ibm":
            self.place = world.place("ibm", name, folder)
            self.device = self.place.name
            app = ready["ibm"]["application"]
            self.settings.update(
                org=ready["ibm"]["org"],
                id="watch" + name.replace("-", ""),
                key=app["key"],
                token=app["token"],
                host="localhost",
                port=world.line.port,
            )
        elif service == "mqtt":
            self.place = world.place("mqtt", name, folder)
            self.device = name
            self.settings.update(
                host="localhost",
                port=world.line.port,
                id="watch" + name,
                user="rig",
                password="a-password",
            )
        else:
            self.place = None
            self.device = name
            digi = ready["digi"]
            self.settings.update(
                host="localhost",
                username=digi["username"],
                password=digi["password"],
                port=digi["https_port"],
                push_port=digi["push_tls_port"],
            )

    def send(self, board, values):
        """The device sends {"n": value} for each."""
        if self.place is None:
            for value in values:
                self.world.control(
                    "POST", "/digi/event", {"stream": self.device + "/n", "data": value}
                )
            return
        board.run(
            """
import cloud
device = cloud.Device(SETTINGS)
for value in VALUES:
    device.send({"n": value}, "climate")
    while device.pending > 8:
        device.do_next(20)
while device.pending:
    device.do_next(20)
device.disconnect()
""",
            SETTINGS=self.place.settings,
            VALUES=list(values),
        )

    @property
    def name(self):
        """What an event of send() is called."""
        return "DataPoint" if self.place is None else "climate"

    def close(self):
        if self.place:
            self.place.close()


@pytest.fixture(params=WATCHERS)
def side(request, world, tmp_path):
    made = Side(request.param, world, name_of(request), tmp_path)
    world.line.lift()
    yield made
    made.close()


LISTEN = """
watcher.on_event = lambda *event: report(event=event)
watcher.on_status = lambda *status: report(status=status)
watcher.watch(DEVICE)
step(watcher, watcher.is_connected)
step(watcher, lambda: not watcher.do_next(200))
report(up=True)
while True:
    watcher.do_next(50)
"""


def start(board, side, source=LISTEN, **values):
    return board.start(PRELUDE + source, SETTINGS=side.settings, DEVICE=side.device, **values)


def wait_up(program):
    """Until it listens; statuses of before may come first."""
    while program.next_report(60) != {"up": True}:
        pass


def events(program, count):
    """The first `count` events of a program, and the status messages between them."""
    got, status = [], []
    while len(got) < count:
        said = program.next_report(40)
        if "event" in said:
            got.append(said["event"])
        else:
            status.append(said.get("status"))
    return got, status


def test_events_come_in_order_with_device_name_and_fields(board, side):
    program = start(board, side)
    wait_up(program)
    side.send(board, range(10))
    got, status = events(program, 10)
    assert [event[:3] for event in got] == [
        [side.device, side.name, {"n": value}] for value in range(10)
    ]
    if side.place:
        assert [side.device, True] in status


def test_a_device_s_coming_and_going_is_told(board, side):
    program = start(board, side)
    wait_up(program)
    if side.place:
        side.send(board, [1])
    else:
        for connected in (True, False):
            side.world.control(
                "POST", "/digi/event", {"device": side.device, "connected": connected}
            )
    told = []
    while [side.device, False] not in told:
        said = program.next_report(40)
        if "status" in said:
            told.append(said["status"])
    assert told.index([side.device, True]) < told.index([side.device, False])


def test_only_what_is_watched_is_heard(board, side):
    source = LISTEN.replace("watch(DEVICE)", "watch(DEVICE, 'other')")
    program = start(board, side, source)
    wait_up(program)
    side.send(board, [1])
    if side.place:
        # The device has come and gone: what it sent before would have been heard before that.
        told = []
        while [side.device, True] not in told or told[-1] != [side.device, False]:
            said = program.next_report(40)
            assert "event" not in said
            told.append(said.get("status"))
    assert not [one for one in program.stop().reports if "event" in one]


def test_what_a_hook_raises_comes_out_of_do_next_and_the_watcher_goes_on(board, side):
    program = start(
        board,
        side,
        """
first = []
def on_event(device, name, fields, when):
    if not first:
        first.append(1)
        raise KeyError("mine")
    report(event=[device, name, fields])
watcher.on_event = on_event
watcher.watch(DEVICE, NAME)
step(watcher, watcher.is_connected)
step(watcher, lambda: not watcher.do_next(200))
report(up=True)
while True:
    try:
        watcher.do_next(50)
    except KeyError as e:
        report(raised=True)
""",
        NAME=side.name,
    )
    assert program.next_report(60) == {"up": True}
    side.send(board, [1, 2])
    raised, values = 0, []
    while not raised or 2 not in values:
        said = program.next_report(60)
        raised += "raised" in said
        values += [said["event"][2]["n"]] if "event" in said else []
    # Digi keeps what was not taken, and sends it again.
    assert values == ([1, 2] if side.service == "digi" else [2])
    assert raised == 1


def test_a_message_that_always_raises_does_not_stop_the_others(board, side):
    program = start(
        board,
        side,
        """
def on_event(device, name, fields, when):
    if fields["n"] == 1:
        raise KeyError("mine")
    report(n=fields["n"])
watcher.on_event = on_event
watcher.watch(DEVICE, NAME)
step(watcher, watcher.is_connected)
step(watcher, lambda: not watcher.do_next(200))
report(up=True)
while True:
    try:
        watcher.do_next(50)
    except KeyError as e:
        pass
""",
        NAME=side.name,
    )
    assert program.next_report(60) == {"up": True}
    side.send(board, [1, 2])
    assert program.next_report(60) == {"n": 2}


def test_commands(board, side):
    if side.service == "digi":
        got = board.run(
            PRELUDE
            + """
report(can="command" in watcher.can)
try:
    watcher.command(DEVICE, "blink")
except NotImplementedError:
    report(refused=True)
""",
            SETTINGS=side.settings,
            DEVICE=side.device,
        ).reports
        assert got == [{"can": False}, {"refused": True}]
        return
    device = board.start(
        """
import cloud
device = cloud.Device(SETTINGS)
device.on_command = lambda name, args: {"name": name, "args": args}
while not device.is_connected() or device.do_next(100):
    device.do_next(20)
report(up=True)
while True:
    device.do_next(50)
""",
        SETTINGS=side.place.settings,
    )
    assert device.next_report(40) == {"up": True}
    program = start(
        board,
        side,
        """
watcher.on_answer = lambda *answer: report(answer=answer)
watcher.watch(DEVICE)
step(watcher, watcher.is_connected)
step(watcher, lambda: not watcher.do_next(200))
watcher.command(DEVICE, "blink", {"times": 3})
try:
    watcher.command(DEVICE, "blink", {"times": float("nan")})
except ValueError:
    report(refused=True)
while True:
    watcher.do_next(50)
""",
    )
    assert program.next_report(60) == {"refused": True}
    said = {"name": "blink", "args": {"times": 3}}
    assert program.next_report(40) == {"answer": [side.device, "blink", 200, said]}


def test_a_lost_connection_is_told_and_comes_back(board, side):
    if side.service == "digi":
        pytest.skip("its line is not behind the proxy; the client's own tests cut it")
    program = start(
        board,
        side,
        """
watcher.on_up = lambda: report(up=True)
watcher.on_down = lambda error: report(down=len(error.args[-1]) > 5)
watcher.watch(DEVICE)
while True:
    watcher.do_next(50)
""",
    )
    assert program.next_report(60) == {"up": True}
    side.world.line.cut()
    assert program.next_report(60) == {"down": True}
    assert program.next_report(60) == {"up": True}


def test_credentials_that_are_refused_are_told(board, side):
    wrong = "not-the-password"
    side.settings["token" if side.service == "ibm" else "password"] = wrong
    got = board.run(
        PRELUDE
        + """
downs = []
watcher.on_down = downs.append
watcher.watch(DEVICE)
step(watcher, lambda: downs)
report(text=str(watcher.error.args[-1]), up=watcher.is_connected())
""",
        SETTINGS=side.settings,
        DEVICE=side.device,
    ).reports
    assert got[0]["up"] is False and wrong not in got[0]["text"] and got[0]["text"]
