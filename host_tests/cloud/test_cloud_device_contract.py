"""
What cloud.Device promises, the same for every service, on MicroPython and on CPython: each test
here runs against Azure, IBM, a TeamViewer agent and a plain MQTT broker in the local cloud.
"""

import cloud_rig
import pytest
from cloud_rig import place, world  # noqa: F401

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)

PRELUDE = """
import cloud, time

def step(device, until, ms=60000):
    start = time.ticks_ms()
    while not until():
        device.do_next(20)
        if time.ticks_diff(time.ticks_ms(), start) > ms:
            raise Exception("in vain: %r" % device.error)

device = cloud.Device(SETTINGS)
sent = []
device.on_sent = lambda number, error: sent.append((number, error))
"""


def run(board, place, source, **values):
    return board.run(PRELUDE + source, timeout=90, SETTINGS=place.settings, **values).reports


def start(board, place, source, **values):
    return board.start(PRELUDE + source, SETTINGS=place.settings, **values)


def test_what_is_sent_arrives_in_order_and_is_told(board, place):
    got = run(
        board,
        place,
        """
numbers = [device.send({"n": n, "door": True, "word": "grün"}) for n in range(5)]
report(pending=device.pending, connected=device.is_connected())
step(device, lambda: not device.pending)
report(numbers=numbers, sent=sent, connected=device.is_connected(), error=device.error)
device.disconnect()
report(connected=device.is_connected())
""",
    )
    assert got[0] == {"pending": 5, "connected": False}
    assert got[1] == {
        "numbers": [1, 2, 3, 4, 5],
        "sent": [[n, None] for n in range(1, 6)],
        "connected": True,
        "error": None,
    }
    assert got[2] == {"connected": False}
    messages = place.wait(5)
    assert messages == [("telemetry", {"n": n, "door": True, "word": "grün"}) for n in range(5)]


def test_a_message_has_a_name(board, place):
    run(
        board,
        place,
        """
device.send({"celsius": 21.5}, "climate")
device.send({"open": False}, "door")
device.send({"celsius": 22.5}, name="climate")
step(device, lambda: not device.pending)
device.disconnect()
""",
    )
    messages = place.wait(3)
    assert sorted(name for name, _ in messages) == ["climate", "climate", "door"]
    assert [f for n, f in messages if n == "climate"] == [{"celsius": 21.5}, {"celsius": 22.5}]
    assert [f for n, f in messages if n == "door"] == [{"open": False}]


def test_a_report_is_with_the_service_in_the_end(board, place):
    got = run(
        board,
        place,
        """
device.report({"firmware": "1.2", "load": 0.5})
device.report({"load": 0.75})
report(pending=device.pending)
step(device, lambda: not device.pending)
device.report({"starts": 3})
step(device, lambda: not device.pending)
report(sent=sent)
device.disconnect()
""",
    )
    assert got == [{"pending": 1}, {"sent": []}]
    wanted = {"firmware": "1.2", "load": 0.75, "starts": 3}
    cloud_rig.until(lambda: place.reported() == wanted, what="the state")


def test_offline_messages_are_kept_and_one_too_many_is_told(board, place):
    place.line.apply(cloud_rig.Refusing, connections=None)
    program = start(
        board,
        place,
        """
from mqtt_link import Full
for n in range(16):
    device.send({"n": n})
try:
    device.send({"n": 16})
except Full as e:
    report(full=isinstance(e, OSError), text=e.args[1], pending=device.pending)
downs = []
device.on_down = downs.append
step(device, lambda: downs)
report(down=True, error=device.error is downs[-1], connected=device.is_connected())
step(device, lambda: not device.pending)
report(sent=[number for number, error in sent])
""",
    )
    told = program.next_report(30)
    assert told["full"] is True and told["pending"] == 16 and "do_next()" in told["text"]
    assert program.next_report(40) == {"down": True, "error": True, "connected": False}
    place.line.lift()
    assert program.next_report(40) == {"sent": list(range(1, 17))}
    assert [fields["n"] for _, fields in place.wait(16)] == list(range(16))


def test_cuts_lose_nothing_and_keep_the_order(board, place):
    program = start(
        board,
        place,
        """
n = 0
while n < 60 or device.pending:
    if n < 60 and device.pending < 12:
        device.send({"n": n})
        n += 1
        if n % 20 == 10:
            report(n=n)
    device.do_next(20)
report(sent=[number for number, error in sent if not error])
""",
    )
    for _ in range(3):
        program.next_report(40)
        place.line.cut()
    assert sorted(program.next_report(90)["sent"]) == list(range(1, 61))
    # Those that come twice count once.
    cloud_rig.until(lambda: len({f["n"] for _, f in place.messages()}) == 60, what="all of them")
    numbers = [fields["n"] for _, fields in place.messages()]
    first = [n for i, n in enumerate(numbers) if n not in numbers[:i]]
    assert first == list(range(60)), "at least once, and in order but for repetitions"


def test_up_and_down_are_told(board, place):
    program = start(
        board,
        place,
        """
said = []
device.on_up = lambda: said.append("up")
device.on_down = lambda error: said.append("down")
step(device, device.is_connected)
report(said=said)
step(device, lambda: len(said) > 1)
report(said=said[1], why=len(device.error.args[-1]) > 5, up=device.is_connected())
step(device, lambda: said[-1] == "up")
report(up=device.is_connected())
device.disconnect()
report(last=said[-1], up=device.is_connected())
""",
    )
    assert program.next_report(40) == {"said": ["up"]}
    place.line.cut()
    assert program.next_report(40) == {"said": "down", "why": True, "up": False}
    assert program.next_report(40) == {"up": True}
    assert program.next_report(40) == {"last": "down", "up": False}


def test_what_a_hook_raises_comes_out_of_do_next_and_the_device_goes_on(board, place):
    got = run(
        board,
        place,
        """
def on_up():
    raise KeyError("mine")
def on_sent(number, error):
    sent.append((number, error))
    raise IndexError("mine, too")
device.on_up = on_up
device.on_sent = on_sent
device.send({"n": 1})
raised = []
start = time.ticks_ms()
while device.pending and time.ticks_diff(time.ticks_ms(), start) < 60000:
    try:
        device.do_next(20)
    except Exception as e:
        raised.append(type(e).__name__)
device.on_sent = lambda number, error: sent.append((number, error))
device.send({"n": 2})
step(device, lambda: not device.pending)
report(raised=raised, sent=sent, up=device.is_connected())
""",
    )
    assert got == [
        {"raised": ["KeyError", "IndexError"], "sent": [[1, None], [2, None]], "up": True}
    ]
    assert [fields for _, fields in place.wait(2)] == [{"n": 1}, {"n": 2}]


def test_what_no_service_takes_is_refused_at_once(board, place):
    got = run(
        board,
        place,
        """
class Thing:
    pass
bad = (
    lambda: device.send([1]),
    lambda: device.send({"a": float("nan")}),
    lambda: device.send({"a": float("inf")}),
    lambda: device.send({"a": b"bytes"}),
    lambda: device.send({"a": Thing()}),
    lambda: device.send({(1, 2): 1}),
    lambda: device.send({"a": "x" * 70000, "b": "y" * 200000}) if LIMITED else device.send(None),
    lambda: device.send({"a": 1}, "a/b"),
    lambda: device.send({"a": 1}, "a+"),
    lambda: device.send({"a": 1}, ""),
    lambda: device.send({"a": 1}, 5),
    lambda: device.send({"a": 1}, "x" * 33),
    lambda: device.report([1]),
    lambda: device.report({"a": float("nan")}),
)
outcome = []
for call in bad:
    try:
        call()
        outcome.append("taken")
    except ValueError as e:
        outcome.append("ValueError")
report(outcome=outcome, pending=device.pending, error=device.error)
""",
        LIMITED=place.service != "mqtt",
    )
    assert got == [{"outcome": ["ValueError"] * 14, "pending": 0, "error": None}]


def test_what_a_service_lacks_is_told_at_once(board, place):
    got = run(
        board,
        place,
        """
for hook in ("command", "setting"):
    try:
        setattr(device, "on_" + hook, lambda *args: None)
        report(hook=hook, has=True)
    except NotImplementedError as e:
        report(hook=hook, has=False, text="can" in str(e))
    setattr(device, "on_" + hook, None)
report(can=sorted(device.can))
""",
    )
    for hook, told in zip(("command", "setting"), got):
        wanted = {"hook": hook, "has": hook in place.has}
        if hook not in place.has:
            wanted["text"] = True
        assert told == wanted
    assert got[2] == {"can": sorted(place.has)}


ANSWERING = """
def on_command(name, args):
    if name == "add":
        return args["a"] + args["b"]
    if name == "refuse":
        raise ValueError("only at night")
    if name == "echo":
        return args
    if name == "odd":
        return float("nan")
    return {}[name]
device.on_command = on_command
step(device, device.is_connected)
report(ready=True)
while True:
    device.do_next(50)
    if isinstance(device.error, KeyError):
        report(error="KeyError")
        device.error = None
"""


def test_commands_are_answered(board, place):
    if "command" not in place.has:
        pytest.skip("this service has no commands: test_what_a_service_lacks_is_told_at_once")
    program = start(board, place, ANSWERING)
    assert program.next_report(40) == {"ready": True}
    assert place.command("add", {"a": 2, "b": 3}) == (200, 5)
    assert place.command("echo", {"deep": [1, {"x": None}]}) == (200, {"deep": [1, {"x": None}]})
    assert place.command("echo") == (200, None)
    status, text = place.command("refuse")
    assert status == 400 and "only at night" in text
    status, text = place.command("odd")
    assert status == 400 and "JSON" in text
    status, text = place.command("unknown")
    assert status == 500 and "KeyError" in text
    assert program.next_report(30) == {"error": "KeyError"}
    assert place.command("add", {"a": 2, "b": 5}) == (200, 7)


def test_a_command_without_anybody_to_hear_it_is_refused(board, place):
    if "command" not in place.has:
        pytest.skip("this service has no commands: test_what_a_service_lacks_is_told_at_once")
    program = start(board, place, ANSWERING.replace("device.on_command = on_command", ""))
    assert program.next_report(40) == {"ready": True}
    assert place.command("add", {"a": 2, "b": 3})[0] == 404


def test_settings_are_accepted_or_refused(board, place):
    if "setting" not in place.has:
        pytest.skip("this service has no settings: test_what_a_service_lacks_is_told_at_once")
    program = start(
        board,
        place,
        """
def on_setting(name, value):
    report(name=name, value=value)
    if name == "interval" and value > 100:
        raise ValueError("at most 100")
device.on_setting = on_setting
step(device, device.is_connected)
step(device, lambda: not device.do_next(50))
report(ready=True)
while True:
    device.do_next(50)
""",
    )
    assert program.next_report(40) == {"ready": True}
    place.set("colour", {"red": 1, "blue": 2})
    assert program.next_report(30) == {"name": "colour", "value": {"red": 1, "blue": 2}}
    assert place.accepted("colour", {"red": 1, "blue": 2})
    place.set("interval", 500)
    assert program.next_report(30) == {"name": "interval", "value": 500}
    assert not place.accepted("interval", 500)


def test_credentials_that_are_refused_are_told_and_nothing_is_lost(board, place):
    place.settings.update(place.wrong)
    got = run(
        board,
        place,
        """
device.send({"n": 1})
downs = []
device.on_down = downs.append
step(device, lambda: len(downs) > 1)
report(up=device.is_connected(), pending=device.pending, text=str(device.error.args[-1]))
""",
    )
    assert got[0]["up"] is False and got[0]["pending"] == 1
    assert list(place.wrong.values())[0] not in got[0]["text"]
    assert place.told in got[0]["text"]
