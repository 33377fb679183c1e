"""
lib/iotc.py and what hurts people who do this with other clients: each test carries the number of
its pain.
"""

import json

import azure_rig
import pytest
import sweep_rig
from azure_rig import CONNECT, HUB, dev, fresh, rig  # noqa: F401
from board_rig import not_built
from waiting import until

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)

# ---- 33: any exception inside the engine

ECHO = """
d.on("Command", lambda info: info.setResponse(200, info.getPayload()))
"""

FAILING = """
class Failing(iotc.MQTTLink):
    "Its nth call of a method has no memory."
    left = {}
    def fail(name):
        Failing.left[name] = Failing.left.get(name, 0) - 1
        if Failing.left[name] == 0:
            raise MemoryError("ordered by a test")
    def subscribe(self, *args, **options):
        Failing.fail("subscribe")
        return super().subscribe(*args, **options)
    def publish(self, *args, **options):
        Failing.fail("publish")
        return super().publish(*args, **options)

iotc.MQTTLink = Failing
iotc.MQTTLink.backoff_ms = 20
"""


def answered(dev):
    """What a device that connects again answers, as soon as it does."""

    def answer():
        try:
            return dev.invoke("echo", 5, 2)
        except Exception:  # it is not connected yet, or was cut in the middle
            return None

    return until(answer, 40)


@pytest.mark.parametrize("method, nth", [("subscribe", 1), ("publish", 1), ("publish", 2)])
def test_pain_33_no_memory_in_a_step_leaves_no_deaf_device(dev, method, nth):
    """The connection ends and comes back, or the call says so; then everything works."""
    dev.known()
    dev.desire({"fan": 5})
    program = dev.start(
        FAILING
        + """
d = device(name=NAME)
d.setQosLevel(1)
told = []
d.on("PropertiesUpdated", lambda info: told.append(info.getTag()))
"""
        + ECHO
        + """
assert d.connect(HUB) == 0, d.error
Failing.left[METHOD] = NTH
if METHOD == "subscribe":
    report(cut=True)
while "fan" not in told or d.inflight or Failing.left[METHOD] > 0:
    d.do_next(20)
    if METHOD == "publish" and Failing.left[METHOD] > 0:
        d.getDeviceProperties()
report(up=True)
go_on(d)
""",
        METHOD=method,
        NTH=nth,
    )
    if method == "subscribe":
        assert program.next_report() == {"cut": True}
        dev.rig.do(dev.rig.azure.hub.client_of(dev.rig.device(dev.name)).abort)
    assert program.next_report(30) == {"up": True}
    assert answered(dev) == (200, 5)


def test_pain_33_no_memory_for_a_step_is_told_and_ends_the_connection(dev):
    dev.known()
    got = dev.run(
        FAILING
        + """
d = device(name=NAME)
assert d.connect(HUB) == 0, d.error
right = Failing.do_next
def short(self, wait_ms=0):
    Failing.do_next = right
    raise MemoryError("ordered by a test")
Failing.do_next = short
downs = []
d.on("ConnectionStatus", lambda info: downs.append(info.getStatusCode()))
d.do_next(20)
text = str(d.error)
while len(downs) < 2:
    d.do_next(20)
report(text=text, downs=downs)
"""
    ).report
    assert "out of memory" in got["text"]
    assert got["downs"][0] != 0 and got["downs"][1] == 0  # it ends, and comes back


def test_pain_33_no_memory_while_connecting_is_told_as_such(dev):
    dev.known()
    got = dev.run(
        FAILING
        + """
subscribe = Failing.subscribe
def never(*args):
    raise MemoryError("ordered by a test")
Failing.subscribe = never
d = device(name=NAME)
report(code=d.connect(HUB), text=str(d.error), kind=type(d.error).__name__)
Failing.subscribe = subscribe
report(code=d.connect(), error=d.error)
"""
    ).reports
    assert got[0]["code"] == 32 and got[0]["kind"] == "MemoryError"
    assert "out of memory" in got[0]["text"] and "max_packet" in got[0]["text"]
    assert got[1] == {"code": 0, "error": None}


@not_built("what reads a message's properties has no name there that a test could replace")
def test_pain_33_a_message_for_which_there_is_no_memory_comes_again(dev):
    """It is not acknowledged; after three times in vain it is given up and told."""
    dev.known()
    program = dev.start(
        """
        iotc.MQTTLink.backoff_ms = 20
        take = iotc.bag
        left = [1]
        def scarce(text):
            if "mode" in text and left[0]:
                left[0] -= 1
                raise MemoryError("ordered by a test")
            return take(text)
        iotc.bag = scarce
        """
        + CONNECT.replace("\n", "\n        ")
        + """
        def hear(info):
            report(payload=info.getPayload())
            left[0] = 9
        d.on("Message", hear)
        report(up=True)
        while left[0] != 6:
            d.do_next(20)
        left[0] = 0
        report(text=str(d.error))
        go_on(d)
        """
    )
    program.next_report()
    dev.send(b"1", mode="eco")
    assert program.next_report(20) == {"payload": 1}
    dev.rig.until(lambda: not dev.rig.device(dev.name).messages)
    dev.send(b"2", mode="eco")
    assert "lost" in program.next_report(20)["text"]
    dev.send(b"3", mode="eco")
    assert program.next_report(20) == {"payload": 3}


@pytest.mark.parametrize("event", ["ConnectionStatus", "PropertiesUpdated", "Command", "Message"])
def test_pain_33_an_interrupt_in_a_callback_comes_out_and_the_device_goes_on(dev, event):
    """KeyboardInterrupt is the program's own; whoever catches it has a device that still hears."""
    dev.known()
    dev.desire({"fan": 5})
    program = dev.start(
        """
        iotc.MQTTLink.backoff_ms = 20
        once = [1]
        def hear(info):
            if info.getEventName() == EVENT and once:
                once.pop()
                raise KeyboardInterrupt
            if info.getEventName() == "Command":
                info.setResponse(200, info.getPayload())
        d = device(name=NAME)
        for name in ("ConnectionStatus", "PropertiesUpdated", "Command", "Message"):
            d.on(name, hear)
        try:
            assert d.connect(HUB) == 0, d.error
        except KeyboardInterrupt:
            pass
        report(up=True)
        while True:
            try:
                d.do_next(50)
            except KeyboardInterrupt:
                report(interrupted=True)
        """,
        EVENT=event,
    )
    assert program.next_report() == {"up": True}
    if event == "Command":
        dev.rig.until(lambda: dev.rig.azure.hub.listener(dev.rig.device(dev.name), "methods"))
        with pytest.raises(Exception):  # noqa: B017 (nobody answers it: 504, or 404 after a cut)
            dev.invoke("first", 1, 1)
    if event == "Message":
        dev.send(b"1", mode="eco")
    if event in ("Command", "Message"):
        assert program.next_report() == {"interrupted": True}

    assert answered(dev) == (200, 5)


# ---- 34: surrogate pairs


def test_pain_34_an_emoji_is_one_character_wherever_json_comes_from(dev):
    """Escaped as two, as Python and JavaScript write it."""
    device = dev.known()
    program = dev.start(
        CONNECT
        + """
def hear(info):
    text = info.getPayload()
    report(event=info.getEventName(), codes=[ord(c) for c in text], utf8=list(text.encode()))
    info.setResponse(200, text)
for name in ("Command", "Message", "PropertiesUpdated"):
    d.on(name, hear)
report(up=True)
go_on(d)
"""
    )
    program.next_report()
    whole = {"codes": [0x1F600], "utf8": list("\U0001f600".encode())}
    client = dev.rig.azure.hub.client_of(device)
    dev.rig.until(lambda: dev.rig.azure.hub.listener(device, "desired"))
    for topic, event in (
        ("devices/%s/messages/devicebound/" % dev.name, "Message"),
        ("$iothub/methods/POST/echo/?$rid=9", "Command"),
    ):
        dev.rig.do(client.publish, topic, b'"\\ud83d\\ude00"')
        assert program.next_report() == dict(whole, event=event)
    body = b'{"smile":"\\ud83d\\ude00","$version":9}'
    dev.rig.do(client.publish, "$iothub/twin/PATCH/properties/desired/?$version=9", body)
    assert program.next_report() == dict(whole, event="PropertiesUpdated")
    dev.rig.until(lambda: dev.rig.device(dev.name).twin["reported"]["properties"])
    assert dev.reported()["smile"]["value"] == "\U0001f600"


def test_pain_34_half_a_pair_is_refused_before_it_is_sent(dev):
    dev.known()
    got = dev.run(
        CONNECT
        + """
half = "\\ud83d"
codes = [
    d.sendTelemetry({"t": half}),
    d.sendTelemetry('{"t": "' + half + '"}'),
    d.sendTelemetry({"t": 1}, {"mode": half}),
    d.sendProperty({"t": half}),
    d.sendProperty({half: 1}),
    d.sendCommandUpdate(None, "cmd", "1", 200, half),
]
report(codes=codes, connected=d.isConnected(), good=d.sendTelemetry({"t": "\\U0001f600"}))
d.disconnect()
"""
    ).report
    assert got == {"codes": [1] * 6, "connected": True, "good": 0}
    assert json.loads(dev.telemetry(1)[0][0]) == {"t": "\U0001f600"}


# ---- 50: a remote text must not crash the program

NONSENSE = [
    ("$iothub/twin/res/abc/?$rid=1", b"{}"),
    ("$iothub/twin/res/", b"{}"),
    ("$iothub/twin/res/200/", b""),
    ("$iothub/twin/res/200/?", b"{}"),
    ("$iothub/twin/res/200/?$rid=%zz", b"{}"),
    ("$iothub/twin/res/200/?$rid=77", b"no json"),
    ("$iothub/twin/res/200/?$rid=77", b"null"),
    ("$iothub/twin/res/200/?$rid=77", b"[]"),
    ("$iothub/twin/res/200/?$rid=77", b"{}"),
    ("$iothub/twin/res/200/?$rid=77", b'{"desired": null}'),
    ("$iothub/twin/res/200/?$rid=77", b'{"desired": {"$version": null}, "reported": 5}'),
    ("$iothub/twin/res/200/?$rid=77", b'{"desired": {"$version": "9"}, "reported": {}}'),
    ("$iothub/twin/res/200/?$rid=77", b'{"desired": {"a": 1, "$version": 1}, "reported": null}'),
    ("$iothub/twin/res/-5/?$rid=77", b"\xff"),
    ("$iothub/twin/PATCH/properties/desired/", b""),
    ("$iothub/twin/PATCH/properties/desired/?$version=2", b"null"),
    ("$iothub/twin/PATCH/properties/desired/?$version=2", b"5"),
    ("$iothub/twin/PATCH/properties/desired/?$version=2", b"[1]"),
    ("$iothub/twin/PATCH/properties/desired/?$version=2", b"{}"),
    ("$iothub/twin/PATCH/properties/desired/?$version=2", b'{"$version": null}'),
    ("$iothub/twin/PATCH/properties/desired/?$version=2", b'{"a": 1, "$version": "x"}'),
    ("$iothub/twin/PATCH/properties/desired/?$version=2", b'{"a": 1}'),
    ("$iothub/twin/PATCH/properties/desired/?$version=2", b'{"": 1, "$x": 5, "$version": 2}'),
    ("$iothub/twin/PATCH/properties/desired/?$version=3", b'{"p": {"__t": "c"}, "$version": 3}'),
    ("$iothub/twin/PATCH/properties/desired/?$version=4", b'{"p": {"__t": null}, "$version": 4}'),
    ("$iothub/methods/POST/a/?$rid=x1", b"\xff\xfe"),
    ("$iothub/methods/POST/a/?$rid=x2", b"{"),
    ("$iothub/methods/POST/$iotin:a*b/?$rid=x3", b"[1]"),
    ("$iothub/methods/POST/*/?$rid=x4", b""),
    ("$iothub/else", b"x"),
    ("$iothub/", b""),
    ("devices/x", b""),
    ("devices/x/messages/devicebound/%zz", b"1"),
    ("devices/x/messages/devicebound/method-name", b"1"),
    ("devices/x/messages/devicebound/method-name=", b"1"),
    ("x", b""),
]


@pytest.mark.parametrize("listening", [True, False])
def test_pain_50_nothing_that_comes_in_ends_the_program(dev, listening):
    device = dev.known()
    program = dev.start(
        CONNECT
        + (
            'for name in ("PropertiesUpdated", "Message"):\n    d.on(name, lambda info: None)\n'
            if listening
            else ""
        )
        + ECHO
        + "report(up=True)\ngo_on(d)\n"
    )
    program.next_report()
    client = dev.rig.azure.hub.client_of(device)
    for topic, body in NONSENSE:
        dev.rig.do(client.publish, topic, body)
    assert dev.invoke("echo", 5) == (200, 5)
    assert dev.rig.azure.hub.client_of(device) is client  # the same connection
    program.process.stop()
    assert "Traceback" not in program.process.tail(100)


# ---- 59: MessageSent shows what the program passed


def test_pain_59_message_sent_shows_what_the_program_passed(dev):
    """A text stays a text: the document's snippet adds it to one."""
    dev.known()
    got = dev.run(
        CONNECT
        + """
heard = []
def hear(info):
    heard.append(info)
    report(payload=info.getPayload(), text="message sent -> " + str(info.getPayload()))
d.setQosLevel(1)
d.on("MessageSent", hear)
for f, args in (
    (d.sendTelemetry, ('{ "temperature": 15 }',)), (d.sendState, ({"a": [1]},)),
    (d.sendProperty, ('{"countdown":{"value": 5}}',)), (d.sendProperty, ({"b": 1},)),
    (d.sendTelemetry, (None,)), (d.sendProperty, ({"speed": 3}, "pump1")),
    (d.sendCommandUpdate, ("c", "cmd", "1", 200, "Progress")),
):
    del heard[:]
    assert f(*args) == 0
    step(d, lambda: heard)
"""
    ).reports
    assert [r["payload"] for r in got] == [
        '{ "temperature": 15 }', {"a": [1]}, '{"countdown":{"value": 5}}', {"b": 1}, None,
        {"speed": 3}, "Progress",
    ]  # fmt: skip


def test_pain_59_messages_of_our_own_are_no_event(dev):
    """What a preview device says first, acknowledgements, answers, requests for the twin."""
    dev.known()
    dev.desire({"fan": 5})
    program = dev.start(
        """
        d = device(name=NAME)
        d.setInterfaces({"settings": "urn:acme:settings:1"})
        d.setQosLevel(1)
        watch(d, "MessageSent")
        d.on("PropertiesUpdated", lambda info: None)
        d.on("Command", lambda info: info.setResponse(200, "x"))
        assert d.connect(HUB) == 0, d.error
        d.getDeviceProperties()
        report(up=True)
        while not d.do_next(10) or d.inflight:
            pass
        go_on(d)
        """
    )
    assert program.next_report() == {"up": True}
    assert dev.telemetry(1)[0][1]["$.schema"] == "modelInformation"
    dev.desire({"fan": 6})
    dev.rig.until(lambda: dev.rig.device(dev.name).twin["reported"]["properties"])
    assert dev.invoke("x") == (200, "x")
    said = program.stop()
    assert [r for r in said.reports if "event" in r] == []


# ---- 72: one address where there are several


def test_pain_72_a_server_may_be_several(dev):
    """DPS and hub by the second one, as the first one is dead; then the one that worked first."""
    got = dev.run(
        """
        d = device(name=NAME)
        d.server = ["127.0.0.1:1", SERVER]
        report(code=d.connect(), error=d.error, host=d.getHostName())
        d.disconnect()
        d.server = [SERVER, "127.0.0.1:1"]
        report(code=d.connect(), error=d.error, host=d.getHostName())
        """
    ).reports
    assert got == [{"code": 0, "error": None, "host": HUB}] * 2


def test_pain_72_an_empty_list_of_servers_is_an_error_in_words(dev):
    got = dev.run(
        """
        d = device(name=NAME)
        d.server = [5]
        report(code=d.connect(), error=str(d.error))
        """
    ).report
    assert got["code"] != 0 and "server" in got["error"]


# ---- what is counted, and what is due, ends with what it was about

ON_STREAM = """
import azure_stream, iotc
service = azure_stream.Service()
service.take_over()
d = iotc.Device("0ne00ABCDEF", KEY, azure_stream.NAME, 3)

def run(condition):
    for _ in range(400):
        if condition():
            return True
        d.do_next(0)
"""


def on_stream(board, source):
    return board.run(ON_STREAM + source, before_lib=sweep_rig.DOUBLES, KEY=azure_rig.DEVICE_KEY)


def test_nothing_is_subscribed_to_at_a_qos_that_a_hub_has_not(board):
    report = on_stream(
        board,
        """
assert d.start() == 0 and run(lambda: d.isConnected())
asked = []
for op, body in service.hub.packets:
    at = 2
    while op == 0x82 and at < len(body):
        at += 2 + (body[at] << 8 | body[at + 1])
        asked.append(body[at])
        at += 1
report(asked=asked)
""",
    ).report
    assert len(report["asked"]) >= 4 and set(report["asked"]) <= {0, 1}


def test_losses_between_which_the_hub_took_the_device_do_not_lead_to_dps(board):
    """However many there are: only failures in a row make the device doubt its hub."""
    report = on_stream(
        board,
        """
iotc.MQTTLink.backoff_ms = iotc.MQTTLink.backoff_max_ms = 0
d.start()
ups = []
d.on("ConnectionStatus", lambda info: ups.append(info.getStatusCode()))
for n in range(1, 8):
    assert run(lambda: ups.count(0) == n), ups
    service.hub.ended = True
report(registered=service.dps.connections, connections=service.hub.connections)
""",
    ).report
    assert report == {"registered": 1, "connections": 7}


def test_a_twin_that_was_due_is_not_asked_for_once_the_connection_is_lost(board):
    """The reason of the loss stays what `error` tells."""
    report = on_stream(
        board,
        """
import time
class clock:
    now = 0
    ticks_ms = lambda: clock.now
    ticks_diff = lambda a, b: a - b
    ticks_add = lambda a, b: a + b
    time, gmtime = time.time, time.gmtime
iotc.time = clock
iotc.MQTTLink.backoff_ms = iotc.MQTTLink.backoff_max_ms = 1 << 28  # days
service.busy = True
assert d.start() == 0 and run(lambda: d.isConnected())
assert run(lambda: "429" in str(d.error)), d.error
service.hub.ended = True
run(lambda: "429" not in str(d.error))
before = str(d.error)
clock.now += 100000
for _ in range(5):
    d.do_next(0)
report(before=before, after=str(d.error), up=service.is_up())
""",
    ).report
    assert report["up"] is False and "closed" in report["before"]
    assert report["after"] == report["before"]


# ---- 45: misspelt options


def test_pain_45_a_misspelt_name_of_a_certificate_is_told_with_the_right_one(board):
    got = board.run(
        """
        import iotc
        for key in (
            {"certfle": "c", "keyfile": "k"}, {"cert_file": "c", "key_fille": "k"},
            {"certfile": "c", "KeyFile": "k"}, {"certfile": "c", "keyfile": "k", "other": 1},
        ):
            try:
                iotc.Device("0ne00", key, "sensor-1", 2)
                report(said=None)
            except ValueError as e:
                report(said=str(e))
        """
    ).reports
    assert [one["said"] for one in got] == [
        "option 'certfle': write 'certfile'",
        "option 'key_fille': write 'key_file'",
        "option 'KeyFile': write 'keyfile'",
        None,
    ]


def test_pain_45_a_misspelt_model_id_is_told_with_the_right_name(board):
    """Passed over, the device would come up without its model."""
    got = board.run(
        """
        import iotc
        d = iotc.Device("0ne00", "QUJDREVGR0hJSktMTU5PUA==", "sensor-1", 3)
        for model in ({"modelID": "x"}, {"modeld": "x"}, {"modelId": "x"}, {"older": {}}, {}):
            report(code=d.setModelData(model), said=str(d.error))
            d.error = None
        """
    ).reports
    assert [one["code"] for one in got] == [1, 1, 0, 0, 0]
    assert got[0]["said"] == "option 'modelID': write 'modelId'"
    assert got[2]["said"] == "None"
