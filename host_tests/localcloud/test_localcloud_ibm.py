"""
IBM's service side over MQTT: who is let in, which topics are whose, what an application is told.
"""

import asyncio
import json
import sqlite3

import pytest
from localcloud import ibm, pki, store
from localcloud.background import Background
from localcloud.mqtt import codec as mq
from localcloud_rig import Raw, running
from waiting import until

ORG = "abc123"
KEY = "a-abc123-k1"
EVENTS = "iot-2/type/+/id/+/evt/+/fmt/+"


async def registered():
    registry = ibm.Registry()
    registry.add_org(ORG)
    await registry.ensure_keys([(KEY, "apptoken"), ("a-zyx987-k2", "othertoken")])
    await registry.ensure_devices(
        ORG, ibm.DEVICE, [("pump", "p1", "t1"), ("pump", "p2", "t2"), ("fan", "f1", "t3")]
    )
    await registry.ensure_devices(ORG, ibm.GATEWAY, [("gw", "g1", "t4")])
    await registry.ensure_devices("zyx987", ibm.DEVICE, [("pump", "p1", "tz")])
    return registry


@pytest.fixture
def cloud():
    with Background() as background:
        registry = background.call(registered())
    with running(ibm.Ibm(registry)) as (server, port, background):
        yield Cloud(server, port, background)


class Cloud:
    def __init__(self, server, port, background):
        self.server = server
        self.port = port
        self.background = background
        self.service = server.services[0]
        self.registry = self.service.registry

    def try_connect(self, client_id, user=None, password=None, **options):
        """The CONNACK code of an attempt."""
        with Raw(self.port) as a:
            a.send(mq.Connect(client_id, user=user, password=password, **options))
            return a.read().code

    def device(self, id="p1", type="pump", token=None, org=ORG, **options):
        token = token or {"p1": b"t1", "p2": b"t2", "f1": b"t3"}[id]
        return Raw(self.port).connect(
            "d:%s:%s:%s" % (org, type, id), user="use-token-auth", password=token, **options
        )

    def gateway(self):
        return Raw(self.port).connect("g:abc123:gw:g1", user="use-token-auth", password=b"t4")

    def application(self, app="app", key=KEY, token=b"apptoken", letter="a", **options):
        org = key.split("-")[1]
        return Raw(self.port).connect(
            "%s:%s:%s" % (letter, org, app), user=key, password=token, **options
        )


# ---- letting in


@pytest.mark.parametrize(
    "client_id, user, password",
    [
        ("d:abc123:pump:p1", "use-token-auth", b"t1"),
        ("g:abc123:gw:g1", "use-token-auth", b"t4"),
        ("a:abc123:anything at all", KEY, b"apptoken"),
        ("a:abc123:with:colons", KEY, b"apptoken"),
        ("A:abc123:shared", KEY, b"apptoken"),
        ("A:abc123:shared:instance-1", KEY, b"apptoken"),
        ("d:quickstart:any:thing", None, None),
        ("a:quickstart:any", None, None),
    ],
)
def test_who_is_let_in(cloud, client_id, user, password):
    assert cloud.try_connect(client_id, user, password) == 0
    assert cloud.try_connect(client_id, user, password, level=3) == 0


@pytest.mark.parametrize(
    "code, client_id, user, password",
    [
        (5, "d:abc123:pump:p1", "use-token-auth", b"wrong"),
        (5, "d:abc123:pump:p1", "use-token-auth", b""),
        (5, "d:abc123:pump:p1", "use-token-auth", None),
        (5, "d:abc123:pump:p1", "someone", b"t1"),
        (5, "d:abc123:pump:p1", None, None),
        (5, "d:abc123:pump:p1", "use-token-auth", b"t2"),
        (5, "d:abc123:pump:p9", "use-token-auth", b"t1"),
        (5, "d:zyx987:pump:p1", "use-token-auth", b"t1"),
        (5, "d:nobody:pump:p1", "use-token-auth", b"t1"),
        (5, "d:abc123:gw:g1", "use-token-auth", b"t4"),
        (5, "g:abc123:pump:p1", "use-token-auth", b"t1"),
        (5, "a:abc123:app", KEY, b"wrong"),
        (5, "a:abc123:app", "a-abc123-unknown", b"apptoken"),
        (5, "a:abc123:app", "use-token-auth", b"t1"),
        (5, "a:zyx987:app", KEY, b"apptoken"),
        (5, "g:quickstart:gw:g1", None, None),
        (2, "d:abc123:pump", "use-token-auth", b"t1"),
        (2, "d:abc123:pump:p1:x", "use-token-auth", b"t1"),
        (2, "d:abc123:pu mp:p1", "use-token-auth", b"t1"),
        (2, "d:abc123:pump:" + "p" * 37, "use-token-auth", b"t1"),
        (2, "d::pump:p1", "use-token-auth", b"t1"),
        (2, "a:abc123", KEY, b"apptoken"),
        (2, "a:abc123:a/b", KEY, b"apptoken"),
        (2, "a:abc123:+", KEY, b"apptoken"),
        (2, "G:abc123:gw:g1", "use-token-auth", b"t4"),
        (5, "mosq-1234", None, None),
    ],
)
def test_who_is_refused(cloud, code, client_id, user, password):
    assert cloud.try_connect(client_id, user, password) == code


def test_another_connection_with_the_same_client_id_pushes_the_first_out(cloud):
    first = cloud.device()
    second = cloud.device()
    first.closed()
    second.sync()


def test_quickstart_is_without_tls(tmp_path):
    ca = pki.Pki(str(tmp_path))
    with Background() as background:
        registry = background.call(registered())
    with running(ibm.Ibm(registry), tls=ca.server_context()) as (_, port, _):
        tls = pki.client_context(ca.ca_pem)
        a = Raw(port, tls=tls).send(mq.Connect("d:quickstart:t:i")).expect(mq.Connack(5))
        a.closed()
        b = Raw(port, tls=tls)
        b.connect("d:abc123:pump:p1", user="use-token-auth", password=b"t1").leave()


# ---- events


def test_an_event_reaches_applications_with_who_sent_it(cloud):
    app = cloud.application().subscribe((EVENTS, 2))
    device = cloud.device()
    for qos in (0, 1, 2):
        device.send(mq.Publish("iot-2/evt/status/fmt/json", b"{}", qos, pid=7 if qos else None))
    device.expect(mq.Puback(7), mq.Pubrec(7))
    topic = "iot-2/type/pump/id/p1/evt/status/fmt/json"
    app.expect(
        mq.Publish(topic, b"{}"),
        mq.Publish(topic, b"{}", 1, pid=1),
        mq.Publish(topic, b"{}", 2, pid=2),
    )


@pytest.mark.parametrize(
    "filter, gets",
    [
        (EVENTS, "p1 p2 f1"),
        ("iot-2/type/pump/id/+/evt/+/fmt/+", "p1 p2"),
        ("iot-2/type/+/id/f1/evt/+/fmt/json", "f1"),
        ("iot-2/type/pump/id/p2/evt/status/fmt/json", "p2"),
        ("iot-2/type/+/id/+/evt/other/fmt/+", ""),
        ("iot-2/type/+/id/+/evt/+/fmt/xml", ""),
    ],
)
def test_applications_choose_by_type_id_event_and_format(cloud, filter, gets):
    app = cloud.application().subscribe(filter)
    for type, id in (("pump", "p1"), ("pump", "p2"), ("fan", "f1")):
        cloud.device(id, type).send(mq.Publish("iot-2/evt/status/fmt/json", id.encode())).sync()
    for id in gets.split():
        assert app.read().payload == id.encode()
    app.silent(0.05)


def test_organisations_do_not_see_each_other(cloud):
    mine = cloud.application().subscribe(EVENTS, "iot-2/type/+/id/+/mon")
    theirs = cloud.application("x", "a-zyx987-k2", b"othertoken").subscribe(EVENTS)
    cloud.device("p1", "pump", b"tz", "zyx987").send(mq.Publish("iot-2/evt/e/fmt/f")).sync()
    theirs.expect(mq.Publish("iot-2/type/pump/id/p1/evt/e/fmt/f"))
    mine.silent()


def test_retain_is_cleared(cloud):
    app = cloud.application().subscribe(EVENTS)
    cloud.device().send(mq.Publish("iot-2/evt/e/fmt/f", b"x", retain=True)).sync()
    app.expect(mq.Publish("iot-2/type/pump/id/p1/evt/e/fmt/f", b"x"))
    cloud.application("later").subscribe(EVENTS).silent()


def test_the_largest_payload_and_one_byte_more(cloud):
    app = cloud.application().subscribe(EVENTS)
    device = cloud.device()
    device.send(mq.Publish("iot-2/evt/e/fmt/f", bytes(131072), 1, pid=1)).expect(mq.Puback(1))
    assert len(app.read().payload) == 131072
    device.send(mq.Publish("iot-2/evt/e/fmt/f", bytes(131073), 1, pid=2)).closed()
    app.silent()


@pytest.mark.parametrize(
    "topic",
    [
        "iot-2/cmd/c/fmt/f",
        "iot-2/evt/e",
        "iot-2/evt/e/fmt",
        "iot-2/evt//fmt/f",
        "iot-2/evt/e/fmt/",
        "iot-2/evt/e/fmt/f/x",
        "iot-2/evt/%s/fmt/f" % ("e" * 37),
        "/iot-2/evt/e/fmt/f",
        "iot-2/type/pump/id/p2/evt/e/fmt/f",
        "iot-2/mon",
        "iot-2/app/a/mon",
        "anything",
        "abc123/iot-2/type/pump/id/p2/evt/e/fmt/f",
        "$SYS/x",
    ],
)
def test_a_device_stays_in_its_space(cloud, topic):
    app = cloud.application().subscribe(EVENTS)
    cloud.device().send(mq.Publish(topic, b"", 1, pid=1)).closed()
    app.silent(0.05)


def test_device_management_is_taken_and_goes_nowhere(cloud):
    device = cloud.device().subscribe("iotdm-1/#")
    device.send(mq.Publish("iotdevice-1/mgmt/manage", b"{}", 1, pid=1)).expect(mq.Puback(1))
    device.silent(0.05)


def test_an_event_by_an_application_for_a_device(cloud):
    app = cloud.application().subscribe(EVENTS)
    topic = "iot-2/type/pump/id/p1/evt/status/fmt/json"
    app.send(mq.Publish(topic, b"x", 1, pid=1)).expect_all(mq.Puback(1), mq.Publish(topic, b"x"))
    # One that is not registered: acknowledged, and dropped.
    app.send(mq.Publish("iot-2/type/pump/id/p9/evt/e/fmt/f", b"", 1, pid=2)).expect(mq.Puback(2))
    app.silent(0.05)


# ---- commands


def test_a_command_reaches_its_device_only_and_only_if_it_listens(cloud):
    p1 = cloud.device("p1").subscribe(("iot-2/cmd/+/fmt/+", 2))
    p2 = cloud.device("p2").subscribe(("iot-2/cmd/reboot/fmt/json", 1))
    fan = cloud.device("f1", "fan")
    app = cloud.application()
    for type, id, command in (
        ("pump", "p1", "reboot"),
        ("pump", "p2", "other"),
        ("pump", "p2", "reboot"),
        ("fan", "f1", "reboot"),
    ):
        topic = "iot-2/type/%s/id/%s/cmd/%s/fmt/json" % (type, id, command)
        app.send(mq.Publish(topic, id.encode(), 2, pid=1)).expect(mq.Pubrec(1))
        app.send(mq.Pubrel(1)).expect(mq.Pubcomp(1))
    p1.expect(mq.Publish("iot-2/cmd/reboot/fmt/json", b"p1", 2, pid=1)).silent(0.05)
    p2.expect(mq.Publish("iot-2/cmd/reboot/fmt/json", b"p2", 1, pid=1)).silent(0.05)
    fan.silent(0.05)


def test_applications_see_commands_too(cloud):
    watcher = cloud.application("w").subscribe("iot-2/type/+/id/+/cmd/+/fmt/+")
    topic = "iot-2/type/pump/id/p1/cmd/c/fmt/f"
    cloud.application().send(mq.Publish(topic, b"1"))
    watcher.expect(mq.Publish(topic, b"1"))


def test_commands_wait_for_a_durable_device(cloud):
    cloud.device(clean=False).subscribe(("iot-2/cmd/+/fmt/+", 1)).leave()
    app = cloud.application()
    app.send(mq.Publish("iot-2/type/pump/id/p1/cmd/c/fmt/f", b"1", 1, pid=1)).expect(mq.Puback(1))
    device = cloud.device(clean=False, present=True)
    device.expect(mq.Publish("iot-2/cmd/c/fmt/f", b"1", 1, pid=1))


def test_a_backlog_of_5000_and_the_oldest_goes_first(cloud):
    cloud.application("slow", clean=False).subscribe((EVENTS, 1)).leave()
    device = cloud.device()
    n = 5100
    for start in range(0, n, 100):
        device.send(
            *[
                mq.Publish("iot-2/evt/e/fmt/f", b"%d" % i, 1, pid=i + 1)
                for i in range(start, start + 100)
            ]
        )
    device.expect(*[mq.Puback(i + 1) for i in range(n)])
    app = cloud.application("slow", clean=False, present=True)
    got = []
    while len(got) < 5000:
        packet = app.read()
        got.append(int(packet.payload))
        app.send(mq.Puback(packet.pid))
    app.silent()
    assert got == list(range(100, n))


# ---- filters


@pytest.mark.parametrize(
    "filter",
    [
        "#",
        "iot-2/#",
        "iot-2/evt/+/fmt/+",
        "iot-2/cmd/+",
        "iot-2/cmd/#",
        "iot-2/cmd/+/+/+",
        "/iot-2/cmd/+/fmt/+",
        EVENTS,
        "iot-2/type/pump/id/p1/cmd/+/fmt/+",
        "iot-2/type/pump/id/p1/mon",
        "iot-2/app/+/mon",
        "+/cmd/+/fmt/+",
    ],
)
def test_filters_that_a_device_is_refused(cloud, filter):
    cloud.device().subscribe((filter, 1), ("iot-2/cmd/+/fmt/+", 1), codes=[0x80, 1]).sync()


@pytest.mark.parametrize(
    "filter",
    [
        "#",
        "iot-2/type/+/id/+/#",
        "iot-2/type/+/id/+/+/+/fmt/+",
        "iot-2/type/+/id/+/evt/+",
        "iot-2/+/+/id/+/evt/+/fmt/+",
        "iot-2/type/a b/id/+/evt/+/fmt/+",
        "iot-2/cmd/+/fmt/+",
        "iot-2/app/a/b/mon",
        "iot-2/type/gw/id/g1/notify",
    ],
)
def test_filters_that_an_application_is_refused(cloud, filter):
    cloud.application().subscribe((filter, 1), (EVENTS, 2), codes=[0x80, 2]).sync()


# ---- status

KEYS = {"Action", "Time", "ClientAddr", "ClientID", "Port", "Secure", "Protocol", "User"} | {
    "ConnectTime",
    "Durable",
}
AT_THE_END = {"Reason", "CloseCode", "ReadBytes", "ReadMsg", "WriteBytes", "WriteMsg"}


def test_device_status_as_it_happens(cloud):
    app = cloud.application().subscribe(("iot-2/type/+/id/+/mon", 1))
    device = cloud.device().subscribe("iot-2/cmd/+/fmt/+")
    device.send(mq.Publish("iot-2/evt/e/fmt/f", bytes(100))).sync()
    device.leave()
    up, down = app.read(), app.read()
    for packet in (up, down):
        assert packet.topic == "iot-2/type/pump/id/p1/mon" and not packet.retain
    up, down = json.loads(up.payload), json.loads(down.payload)
    assert set(up) == KEYS and set(down) == KEYS | AT_THE_END
    assert (up["Action"], down["Action"]) == ("Connect", "Disconnect")
    assert up["ClientID"] == "d:abc123:pump:p1" and up["User"] == "use-token-auth"
    assert up["ClientAddr"] == "127.0.0.1" and up["Port"] == cloud.port
    assert up["Protocol"] == "mqtt4" and up["Secure"] is False and up["Durable"] is False
    assert len(up["Time"]) == 24 and up["Time"][-1] == "Z"
    assert down["ConnectTime"] == up["ConnectTime"]
    assert down["Reason"] == "The connection has completed normally." and down["CloseCode"] == 0
    assert down["ReadMsg"] == 1 and down["ReadBytes"] > 100
    assert down["WriteMsg"] == 0 and down["WriteBytes"] == 4 + 5 + 2


def test_the_reason_of_other_ends(cloud):
    app = cloud.application().subscribe("iot-2/type/pump/id/+/mon")
    device = cloud.device()
    newer = cloud.device()
    device.closed()
    cloud.device("p2").reset()
    texts = [json.loads(app.read().payload) for _ in range(5)]
    ends = [(t["ClientID"][-2:], t["CloseCode"]) for t in texts if t["Action"] == "Disconnect"]
    assert ends == [("p1", 3), ("p2", 1)]
    newer.sync()


def test_who_subscribes_late_learns_how_it_stands(cloud):
    stays = cloud.device("p1")
    cloud.device("p2").leave()
    app = cloud.application().subscribe("iot-2/type/+/id/+/mon")
    seen = {}
    for _ in range(2):
        packet = app.read()
        assert packet.retain
        seen[packet.topic] = json.loads(packet.payload)["Action"]
    assert seen == {
        "iot-2/type/pump/id/p1/mon": "Connect",
        "iot-2/type/pump/id/p2/mon": "Disconnect",
    }
    app.silent(0.05)
    stays.sync()


def test_application_status(cloud):
    stays = cloud.application("stays")
    cloud.application("goes").leave()
    app = cloud.application("watcher").subscribe("iot-2/app/+/mon")
    first = [app.read() for _ in range(2)]
    assert {p.topic for p in first} == {"iot-2/app/stays/mon", "iot-2/app/watcher/mon"}
    assert {json.loads(p.payload)["Action"] for p in first} == {"Connect"}
    cloud.application("new").leave()
    live = [json.loads(app.read().payload) for _ in range(2)]
    assert [(p["Action"], p["ClientID"]) for p in live] == [
        ("Connect", "a:abc123:new"),
        ("Disconnect", "a:abc123:new"),
    ]
    assert live[0]["User"] == KEY and "apptoken" not in json.dumps(live)
    stays.sync()


# ---- shared applications, gateways, QuickStart


def test_a_shared_application_spreads_its_messages(cloud):
    instances = [
        cloud.application("s", letter="A", clean=False),
        cloud.application("s", letter="A"),
        cloud.application("s:two", letter="A"),
    ]
    for instance in instances:
        instance.subscribe((EVENTS, 2), codes=[0])
    other = cloud.application("other", letter="A").subscribe(EVENTS)
    single = cloud.application("one").subscribe(EVENTS)
    device = cloud.device()
    device.send(*[mq.Publish("iot-2/evt/e/fmt/f", b"%d" % i) for i in range(30)]).sync()
    got = []
    for instance in instances:
        got += [int(instance.read().payload) for _ in range(10)]
        instance.silent(0.05)
    assert sorted(got) == list(range(30))
    for each in (other, single):
        assert [int(each.read().payload) for _ in range(30)] == list(range(30))


def test_a_gateway_speaks_for_devices_and_hears_of_those_that_do_not_exist(cloud):
    app = cloud.application().subscribe(EVENTS)
    gateway = cloud.gateway().subscribe(
        ("iot-2/type/+/id/+/cmd/+/fmt/+", 1), ("iot-2/type/gw/id/g1/notify", 0)
    )
    gateway.send(mq.Publish("iot-2/type/pump/id/p1/evt/e/fmt/f", b"1", 1, pid=1))
    gateway.expect(mq.Puback(1))
    app.expect(mq.Publish("iot-2/type/pump/id/p1/evt/e/fmt/f", b"1"))
    gateway.send(mq.Publish("iot-2/type/pump/id/p9/evt/e/fmt/f", b"1"))
    notice = gateway.read()
    assert notice.topic == "iot-2/type/gw/id/g1/notify"
    assert json.loads(notice.payload)["Id"] == "p9"
    app.send(mq.Publish("iot-2/type/pump/id/p2/cmd/c/fmt/f", b"x"))
    gateway.expect(mq.Publish("iot-2/type/pump/id/p2/cmd/c/fmt/f", b"x"))
    for filter in (EVENTS, "iot-2/type/gw/id/g2/notify", "iot-2/type/+/id/+/mon"):
        gateway.subscribe((filter, 0), codes=[0x80])
    gateway.send(mq.Publish("iot-2/type/pump/id/p1/cmd/c/fmt/f")).closed()


def test_quickstart(cloud):
    app = (
        Raw(cloud.port)
        .connect("a:quickstart:viewer")
        .subscribe("iot-2/type/demo/id/dev/evt/+/fmt/+", "iot-2/type/demo/id/dev/mon")
    )
    device = Raw(cloud.port).connect("d:quickstart:demo:dev", clean=False)
    assert json.loads(app.read().payload)["Action"] == "Connect"
    device.send(mq.Publish("iot-2/evt/status/fmt/json", b"{}")).sync()
    app.expect(mq.Publish("iot-2/type/demo/id/dev/evt/status/fmt/json", b"{}"))
    # No commands, no wildcard for the type, no durable sessions.
    device.subscribe(("iot-2/cmd/+/fmt/+", 0), codes=[0x80]).leave()
    assert json.loads(app.read().payload)["Action"] == "Disconnect"
    for filter in (
        EVENTS,
        "iot-2/type/+/id/dev/mon",
        "iot-2/app/+/mon",
        "iot-2/type/demo/id/dev/cmd/+/fmt/+",
    ):
        app.subscribe((filter, 0), codes=[0x80])
    Raw(cloud.port).connect("d:quickstart:demo:dev", clean=False, present=False)


def test_quickstart_has_no_commands(cloud):
    app = Raw(cloud.port).connect("a:quickstart:viewer")
    app.send(mq.Publish("iot-2/type/demo/id/dev/cmd/c/fmt/f")).closed()


# ---- the will, and what is kept


def test_a_devices_will_is_an_event(cloud):
    app = cloud.application().subscribe(EVENTS)
    cloud.device(will=mq.Will("iot-2/evt/gone/fmt/json", b"bye")).reset()
    app.expect(mq.Publish("iot-2/type/pump/id/p1/evt/gone/fmt/json", b"bye"))


def test_a_will_outside_the_space_is_not_published(cloud):
    app = cloud.application().subscribe(EVENTS)
    cloud.device(will=mq.Will("iot-2/type/pump/id/p2/evt/e/fmt/f", b"bye")).reset()
    app.silent()


def test_tokens_are_kept_salted_and_hashed_and_survive(tmp_path):
    path = str(tmp_path / "db")

    async def fill():
        kept = store.Store(path)
        registry = ibm.Registry(kept)
        devices = [("pump", "p1", "sesame-1"), ("pump", "p2", "sesame-1")]
        await registry.ensure_devices(ORG, ibm.DEVICE, devices)
        await registry.ensure_keys([(KEY, "sesame-2")])
        await kept.close()

    async def check():
        kept = store.Store(path)
        registry = ibm.Registry(kept)
        answers = [
            await registry.check_device("device", ORG, "pump", "p1", b"sesame-1"),
            await registry.check_device("device", ORG, "pump", "p1", b"sesame-2"),
            await registry.check_key(KEY, b"sesame-2"),
            await registry.check_key(KEY, b"sesame-1"),
        ]
        await kept.close()
        return answers

    with Background() as background:
        background.call(fill())
        for name in ("db", "db-wal"):
            if (tmp_path / name).exists():
                assert b"sesame" not in (tmp_path / name).read_bytes()
        db = sqlite3.connect(path)
        rows = db.execute("SELECT salt, hash FROM ibm_devices").fetchall()
        db.close()
        assert rows[0][0] != rows[1][0] and rows[0][1] != rows[1][1], "the same token, two salts"
        assert background.call(check()) == [True, False, ORG, None]


def test_a_changed_token_on_the_command_line_replaces_the_old_one():
    async def change():
        registry = ibm.Registry()
        for token in ("old", "new"):
            await registry.ensure_devices(ORG, ibm.DEVICE, [("t", "i", token)])
        return [
            await registry.check_device("device", ORG, "t", "i", token)
            for token in (b"old", b"new")
        ]

    with Background() as background:
        assert background.call(change()) == [False, True]


def test_two_hundred_devices_come_at_once(cloud):
    async def register():
        devices = [("many", "m%d" % i, "tok%d" % i) for i in range(200)]
        await cloud.registry.ensure_devices(ORG, ibm.DEVICE, devices)
        # As after a restart: nothing is remembered, every token is checked against its hash.
        cloud.registry.forget_right_ones()

    cloud.background.call(register())
    clients = [Raw(cloud.port, timeout=30) for _ in range(200)]
    for i, client in enumerate(clients):
        client.send(
            mq.Connect("d:abc123:many:m%d" % i, user="use-token-auth", password=b"tok%d" % i)
        )
    for client in clients:
        client.expect(mq.Connack(0))
    assert len(cloud.service.sessions) == 200
    for client in clients:
        client.close()
    until(lambda: not cloud.server.clients)


def test_removing_a_device_while_its_token_is_checked(cloud):
    async def race():
        check = asyncio.ensure_future(
            cloud.registry.check_device("device", ORG, "pump", "p1", b"t1")
        )
        cloud.registry.forget_right_ones()
        await asyncio.sleep(0)
        cloud.registry.remove(ORG, "pump", "p1")
        return await check

    assert cloud.background.call(race()) is False
