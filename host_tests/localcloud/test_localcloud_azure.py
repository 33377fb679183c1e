"""
The local Azure, rule by rule: who gets in and who doesn't, DPS, twins, methods, messages, limits,
the service side over HTTP, and what outlives a restart. With a raw MQTT client of its own.
"""

import base64
import json
import time
import urllib.error
import urllib.parse
import urllib.request

import azure_rig
import pytest
from cryptography import x509
from azure_rig import (  # noqa: F401
    DEVICE,
    DEVICE_KEY,
    GROUP_KEY,
    HUB,
    OTHER_HUB,
    SCOPE,
    fresh,
    token,
)
from localcloud import azure, store
from localcloud.azure import Refused, Registry, Token, why_not
from localcloud.background import Background
from localcloud.mqtt import codec as mq

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)

RES = "$dps/registrations/res/#"
REGISTER = "$dps/registrations/PUT/iotdps-register/?$rid=%s"
POLL = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=%s&operationId=%s"
FILTERS = (
    ("devices/%s/messages/devicebound/#" % DEVICE, 1),
    ("$iothub/twin/res/#", 1),
    ("$iothub/twin/PATCH/properties/desired/#", 0),
    ("$iothub/methods/POST/#", 1),
)
EVENTS = "devices/%s/messages/events/" % DEVICE


# ---- tokens


def test_the_vectors():
    assert azure.derive_key(GROUP_KEY, DEVICE) == DEVICE_KEY
    text = (
        "SharedAccessSignature sr=hub-7.azure-devices.net%2Fdevices%2Fsensor-01"
        "&sig=F%2BukFddcR5ten6V0w6W72dsp7rwHDMznYexYjkH9wHc%3D&se=1893456000"
    )
    why, got = why_not(text, "hub-7.azure-devices.net/devices/sensor-01", [DEVICE_KEY], 1)
    assert why is None and got.se == 1893456000


PATH = HUB + "/devices/" + DEVICE


def spelled(**changes):
    """A token with its fields in another spelling or order."""
    fields = dict(
        pair.split("=", 1) for pair in token(DEVICE_KEY, PATH).decode().split(" ")[1].split("&")
    )
    fields.update(changes)
    return "SharedAccessSignature " + "&".join(k + "=" + v for k, v in fields.items() if v)


def lower_hex(text, safe=""):
    quoted = urllib.parse.quote(text, safe)
    return "".join(
        c.lower() if i and "%" in quoted[max(0, i - 2) : i] else c for i, c in enumerate(quoted)
    )


@pytest.mark.parametrize(
    "text",
    [
        token(DEVICE_KEY, PATH).decode(),
        token(DEVICE_KEY, PATH, quote=lower_hex).decode(),
        token(DEVICE_KEY, PATH, quote=lambda path, safe: path).decode(),
        token(DEVICE_KEY, PATH, safe="/").decode(),
        token(DEVICE_KEY, HUB.upper() + "/devices/" + DEVICE).decode(),
        token(DEVICE_KEY, HUB).decode(),
        token(DEVICE_KEY, HUB + "/devices").decode(),
        "SharedAccessSignature "
        + "&".join(reversed(token(DEVICE_KEY, PATH).decode().split(" ")[1].split("&"))),
    ],
    ids=["upper", "lower", "raw", "slash", "host case", "hub", "prefix", "order"],
)
def test_every_spelling_that_clients_send_is_taken(text):
    assert why_not(text, PATH, [DEVICE_KEY], time.time())[0] is None


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "malformed"),
        ("Bearer x", "malformed"),
        (spelled(sig=None), "malformed"),
        (spelled(se="soon"), "malformed"),
        (spelled(se="1.5"), "malformed"),
        (spelled(sig="!!!!"), "malformed"),
        (spelled(se="1893456000"), "signature"),
        (token(GROUP_KEY, PATH).decode(), "signature"),
        (token(DEVICE_KEY, HUB + "/devices/sensor-0").decode(), "is for"),
        (token(DEVICE_KEY, HUB + "/devices/SENSOR-01").decode(), "is for"),
        (token(DEVICE_KEY, PATH + "/more").decode(), "is for"),
        (token(DEVICE_KEY, OTHER_HUB + "/devices/" + DEVICE).decode(), "is for"),
        (token(DEVICE_KEY, PATH, skn="registration").decode(), "skn"),
        (token(DEVICE_KEY, PATH, end=time.time() - 1).decode(), "ended"),
    ],
    ids=lambda value: value if len(value) < 12 else "token",  # the same in every process
)
def test_a_token_that_is_not_good_is_refused_with_a_reason(text, why):
    assert why in why_not(text, PATH, [DEVICE_KEY], time.time())[0]


def test_a_decoded_sr_does_not_verify():
    """What is signed is sr as it stands; who decodes or encodes it again gets nowhere."""
    text = token(DEVICE_KEY, PATH).decode()
    decoded = text.replace("%2F", "/", 2)
    assert why_not(decoded, PATH, [DEVICE_KEY], 0)[0] == "the signature is wrong"
    assert Token(text).path == PATH


# ---- DPS


def register(client, rid="1", body=b"", pid=None):
    client.send(mq.Publish(REGISTER % rid, body, 1 if pid else 0, pid=pid))
    return read_dps(client)


def read_dps(client):
    packet = client.read()
    if packet.type == mq.PUBACK:
        packet = client.read()
    _, _, _, status, rest = packet.topic.split("/", 4)
    query = dict(pair.split("=", 1) for pair in rest[1:].split("&"))
    return int(status), query, json.loads(packet.payload)


def poll(client, operation, rid="2", body=b" "):
    client.send(mq.Publish(POLL % (rid, operation), body))
    return read_dps(client)


def test_dps_registers_and_assigns(fresh):
    fresh.azure.retry_after = 3
    fresh.azure.polls = 1
    with fresh.dps() as client:
        status, query, body = register(client, "a%2Fb", b'{"registrationId":"sensor-01"}')
        assert (status, query, body["status"]) == (
            202, {"$rid": "a%2Fb", "retry-after": "3"}, "assigning",
        )  # fmt: skip
        assert poll(client, body["operationId"])[0] == 202
        status, query, body = poll(client, body["operationId"], body=b"")
    assert (status, query, body["status"]) == (200, {"$rid": "2"}, "assigned")
    state = body["registrationState"]
    assert (state["assignedHub"], state["deviceId"], state["substatus"]) == (
        HUB, DEVICE, "initialAssignment",
    )  # fmt: skip
    device = fresh.device()
    assert device.keys == [DEVICE_KEY] and device.hub == HUB


def assigned(rig, client, **body):
    return poll(client, register(client, body=json.dumps(body).encode())[2]["operationId"])[2]


def test_dps_keeps_model_payload_and_first_desired_properties(fresh):
    record = dict(fresh.azure.registry.enrolments["default"])
    record.update(desired={"fan": 3}, payload={"site": "north"})
    fresh.do(fresh.azure.enrol, "default", record)
    with fresh.dps() as client:
        state = assigned(fresh, client, payload={"modelId": "dtmi:a:b;1"})["registrationState"]
    assert state["payload"] == {"site": "north"}
    device = fresh.device()
    assert device.record["model"] == "dtmi:a:b;1"
    assert device.document()["desired"] == {"fan": 3, "$version": 1}


def test_dps_moves_a_device_and_keeps_its_data(fresh):
    with fresh.dps() as client:
        assigned(fresh, client)
        fresh.desire({"fan": 5})
        record = dict(fresh.azure.registry.enrolments["default"], hub=OTHER_HUB)
        fresh.do(fresh.azure.enrol, "default", record)
        with fresh.hub() as old:
            state = assigned(fresh, client)["registrationState"]
            old.closed()
    assert (state["assignedHub"], state["substatus"]) == (OTHER_HUB, "deviceDataMigrated")
    assert fresh.device().document()["desired"]["fan"] == 5
    refused(fresh, host=HUB)


def dps_refused(rig, user=None, password=None, client_id=DEVICE, code=5, **options):
    rig.azure.refuse = "connack"
    path = SCOPE + "/registrations/" + DEVICE
    password = token(DEVICE_KEY, path, skn="registration") if password is None else password
    with rig.raw(options.pop("tls", None)) as raw:
        raw.send(
            mq.Connect(
                client_id,
                user=user or path + "/api-version=2019-03-31",
                password=password,
                **options,
            )
        )
        assert raw.read() == mq.Connack(code)
        raw.closed()


def test_dps_lets_nobody_else_in(fresh):
    path = SCOPE + "/registrations/" + DEVICE
    other = "0neOTHER/registrations/" + DEVICE
    dps_refused(fresh, password=token(GROUP_KEY, path, skn="registration"))
    dps_refused(fresh, password=token(DEVICE_KEY, path, skn="device"))
    dps_refused(fresh, password=token(DEVICE_KEY, path, 1, "registration"))
    dps_refused(
        fresh, other + "/api-version=2019-03-31", token(DEVICE_KEY, other, skn="registration")
    )
    dps_refused(fresh, path + "/api-version=yesterday")
    dps_refused(fresh, client_id="sensor-02")
    bad = SCOPE + "/registrations/a b"
    dps_refused(fresh, bad + "/api-version=2019-03-31", b"x", client_id="a b")
    fresh.do(fresh.azure.registry.unenrol, "default")
    dps_refused(fresh)


def test_dps_does_without_skn(fresh):
    """As Microsoft's Python client does."""
    path = SCOPE + "/registrations/" + DEVICE
    with fresh.raw() as raw:
        user = path + "/api-version=2019-03-31"
        raw.connect(DEVICE, user=user, password=token(DEVICE_KEY, path))


@pytest.mark.parametrize(
    "options", [{"key": GROUP_KEY}, {"scope": "0neOTHER"}, {"registration": "unknown"}]
)
def test_dps_lets_a_wrong_token_in_and_answers_401(fresh, options):
    """As it has been seen to do: told at the first request, in a form of its own."""
    if "registration" in options:
        fresh.do(fresh.azure.registry.unenrol, "default")
    with fresh.dps(**options) as client:
        status, query, body = register(client)
    assert status == 401 and query == {"$rid": "1"}
    assert body["errorCode"] == 401000 and body["message"] == "Unauthorized"
    assert len(body["trackingId"]) == 32 and body["timestampUtc"].endswith("Z")


def test_dps_compares_registration_ids_without_case(fresh):
    with fresh.raw() as raw:
        path = SCOPE + "/registrations/" + DEVICE.upper()
        key = azure.derive_key(GROUP_KEY, DEVICE.upper())
        raw.connect(
            DEVICE,
            user=path + "/api-version=2019-03-31&ClientVersion=x%2F1",
            password=token(key, path, skn="registration"),
            clean=False,
        )
        raw.subscribe((RES, 2), codes=[1])
        assert register(raw, body=b'{"registrationId":"Sensor-01"}')[0] == 202


def test_dps_takes_only_what_is_documented(fresh):
    with fresh.dps() as client:
        client.subscribe(
            ("$dps/#", 1), ("#", 0), ("$dps/registrations/res/+", 1), pid=2, codes=[0x80] * 3
        )
        assert register(client, body=b"no json")[0] == 400
        assert register(client, body=b'{"registrationId":"other"}')[0] == 400
        assert register(client, body=b"[]")[0] == 400
        assert poll(client, "5.unknown")[0] == 404
    for topic in (
        "a/b",
        "$dps/registrations/PUT/other/?$rid=1",
        "$dps/registrations/PUT/iotdps-register/",
    ):
        with fresh.dps() as client:
            client.send(mq.Publish(topic, b"")).closed()
    with fresh.dps() as client:
        client.send(mq.Publish(REGISTER % 1, b"", 2, pid=7)).closed()


def test_dps_says_disabled(fresh):
    record = dict(fresh.azure.registry.enrolments["default"], enabled=False)
    fresh.do(fresh.azure.enrol, "default", record)
    with fresh.dps() as client:
        body = assigned(fresh, client)
    assert body["status"] == body["registrationState"]["status"] == "disabled"
    assert fresh.device() is None


def test_an_individual_enrolment_goes_before_the_group(fresh):
    key = azure.new_key()
    fresh.do(fresh.azure.enrol, DEVICE, {"kind": "device", "keys": [key], "device_id": "pump-1"})
    dps_refused(fresh)
    with fresh.dps(key=key) as client:
        assert assigned(fresh, client)["registrationState"]["deviceId"] == "pump-1"


def test_a_token_that_ends_ends_the_connection(fresh):
    path = SCOPE + "/registrations/" + DEVICE
    with fresh.raw() as raw:
        raw.connect(
            DEVICE,
            user=path + "/api-version=2019-03-31",
            password=token(
                DEVICE_KEY, path, time.time() + 1.2 - fresh.azure.grace, "registration"
            ),
        )
        raw.closed()
    fresh.create()
    with fresh.hub() as client:
        client.sync()
        fresh.do(fresh.azure.move_clock, 3600 + fresh.azure.grace - 60)
        client.sync()
        fresh.do(fresh.azure.move_clock, 3600 + fresh.azure.grace + 1)
        client.closed()


def test_a_clock_may_be_wrong_by_five_minutes(fresh):
    """A token that ended less than that ago still lets in; a minute later it doesn't."""
    fresh.create()
    end = time.time() - 290
    path = "%s/devices/%s" % (HUB, DEVICE)
    with fresh.raw() as raw:
        raw.connect(DEVICE, user=HUB_USER, password=token(DEVICE_KEY, path, end))
        raw.sync()
    refused(fresh, password=token(DEVICE_KEY, path, end - 60))
    fresh.azure.grace = 3600
    with fresh.raw() as raw:
        raw.connect(DEVICE, user=HUB_USER, password=token(DEVICE_KEY, path, end - 60))
        raw.sync()


# ---- X.509 (1.9)


@pytest.fixture
def certificate(fresh, tmp_path):
    issued = fresh.authority.issue_client(DEVICE)
    return issued, azure_rig.client_context(fresh, *issued.write(str(tmp_path), "device"))


def x509_connect(rig, context, user, client_id=DEVICE):
    raw = azure_rig.Raw(rig.tls_port, tls=context, host="localhost")
    raw.send(mq.Connect(client_id, user=user))
    return raw


DPS_USER = SCOPE + "/registrations/" + DEVICE + "/api-version=2019-03-31"
HUB_USER = HUB + "/" + DEVICE + "/?api-version=2021-04-12"


def enrol_certificate(rig, kind, issued):
    if kind == "group":
        record = {"kind": "group-x509", "ca": rig.authority.pem.decode()}
    else:
        record = {"kind": "device-x509", "thumbprint": azure_rig.pki.thumbprint(issued.der)}
    rig.do(rig.azure.enrol, DEVICE if kind == "individual" else "by-ca", record)


@pytest.mark.parametrize("kind", ["group", "individual"])
def test_a_certificate_stands_for_a_token(fresh, certificate, kind):
    issued, context = certificate
    with x509_connect(fresh, context, DPS_USER) as raw:
        assert raw.read() == mq.Connack(0)
        raw.subscribe((RES, 1))
        status, _, body = register(raw)
        assert (status, body["errorCode"], body["message"]) == (
            401, 401002, "Invalid certificate.",
        )  # fmt: skip
    enrol_certificate(fresh, kind, issued)
    with x509_connect(fresh, context, DPS_USER) as raw:
        assert raw.read() == mq.Connack(0)
        raw.subscribe((RES, 1))
        assert assigned(fresh, raw)["status"] == "assigned"
    with x509_connect(fresh, context, HUB_USER) as raw:
        assert raw.read() == mq.Connack(0)
    refused(fresh)  # by key: this device has none


def test_a_certificate_of_somebody_else_does_not(fresh, certificate, tmp_path):
    issued, context = certificate
    fresh.azure.refuse = "connack"
    enrol_certificate(fresh, "group", issued)
    other = fresh.authority.issue_client("sensor-02").write(str(tmp_path), "other")
    other = azure_rig.client_context(fresh, *other)
    with x509_connect(fresh, other, DPS_USER) as raw:
        assert raw.read() == mq.Connack(5)
    fresh.create(thumbprints=[azure_rig.pki.thumbprint(issued.der)])
    with x509_connect(fresh, other, HUB_USER) as raw:
        assert raw.read() == mq.Connack(5)
    with fresh.raw() as raw:
        raw.send(mq.Connect(DEVICE, user=HUB_USER))
        assert raw.read() == mq.Connack(5)


def test_a_self_signed_certificate_is_trusted_once_enrolled(fresh, tmp_path):
    alone = azure_rig.pki.Authority(DEVICE).issue_client(DEVICE)
    context = azure_rig.client_context(fresh, *alone.write(str(tmp_path), "alone"))
    record = {
        "kind": "device-x509",
        "thumbprint": azure_rig.pki.thumbprint(alone.der),
        "certificate": alone.pem.decode(),
    }
    fresh.do(fresh.azure.enrol, DEVICE, record)
    with x509_connect(fresh, context, DPS_USER) as raw:
        assert raw.read() == mq.Connack(0)


# ---- connecting to the hub (1.6)


def refused(rig, user=None, password=None, client_id=DEVICE, host=HUB, **options):
    path = "%s/devices/%s" % (host, DEVICE)
    user = user or "%s/%s/?api-version=2021-04-12" % (host, DEVICE)
    with rig.raw() as raw:
        raw.send(
            mq.Connect(
                client_id,
                user=user,
                password=token(DEVICE_KEY, path) if password is None else password,
                **options,
            )
        )
        assert raw.read() == mq.Connack(5)
        raw.closed()


def test_the_hub_lets_in_who_belongs(fresh):
    fresh.create()
    for user in (
        HUB + "/" + DEVICE + "/?api-version=2021-04-12",
        HUB + "/" + DEVICE + "/api-version=2016-11-14",
        HUB.upper() + "/" + DEVICE + "/?api-version=2019-07-01-preview&DeviceClientType=x%2F1",
    ):
        with fresh.raw() as raw:
            raw.connect(DEVICE, user=user, password=token(DEVICE_KEY, PATH))


def test_the_hub_lets_nobody_else_in(fresh):
    refused(fresh)
    fresh.create()
    refused(fresh, HUB + "/" + DEVICE + "/?api-version=x")
    refused(fresh, client_id="other")
    refused(fresh, HUB + "/" + DEVICE + "/module/?api-version=2021-04-12")
    refused(fresh, "hub-9.azure-devices.net/" + DEVICE + "/?api-version=2021-04-12")
    refused(fresh, host=OTHER_HUB)
    refused(fresh, password=b"secret")
    refused(fresh, password=token(GROUP_KEY, PATH))
    refused(fresh, password=token(DEVICE_KEY, PATH, skn="registration"))
    refused(fresh, will=mq.Will("a/b", b"", 0, False))
    fresh.do(fresh.azure.set_enabled, fresh.device(), False)
    refused(fresh)


def test_a_policy_key_may_sign_for_any_device(fresh):
    fresh.create()
    key = fresh.azure.registry.policies["device"]
    with fresh.raw() as raw:
        raw.connect(DEVICE, user=HUB_USER, password=token(key, HUB, skn="device"))
    refused(fresh, password=token(key, HUB, skn="other"))


def test_one_connection_each(fresh):
    fresh.create()
    with fresh.hub() as first, fresh.hub() as second:
        first.closed()
        second.sync()


def test_a_device_that_is_disabled_or_removed_is_hung_up(fresh):
    fresh.create()
    with fresh.hub() as client:
        fresh.do(fresh.azure.set_enabled, fresh.device(), False)
        client.closed()
    fresh.do(fresh.azure.set_enabled, fresh.device(), True)
    with fresh.hub() as client:
        fresh.do(fresh.azure.remove, fresh.device())
        client.closed()


def test_the_model_is_heard_from_new_enough_versions_only(fresh):
    fresh.create()
    more = "&model-id=dtmi%3Aacme%3APump%3B1"
    fresh.hub(version="2020-09-29" + more).close()
    assert fresh.device().record["model"] is None
    fresh.hub(version="2020-09-30" + more).close()
    assert fresh.device().record["model"] == "dtmi:acme:Pump;1"


@pytest.mark.parametrize("keepalive, silence", [(60, 90), (1177, 1765.5), (1740, 1767), (0, 1767)])
def test_the_hub_waits_no_longer_than_its_load_balancer(fresh, keepalive, silence):
    fresh.create()
    with fresh.hub(keepalive=keepalive):
        assert fresh.azure.hub.client_of(fresh.device()).silence == silence


# ---- filters


def test_five_documented_filters_and_no_more(fresh):
    fresh.create()
    with fresh.hub() as client:
        client.subscribe(*FILTERS, codes=[1, 1, 0, 1])
        fresh.azure.filter_refusal = "suback"
        client.subscribe(("a/b", 0), ("#", 0), ("devices/other/messages/devicebound/#", 0),
            ("$iothub/twin/#", 0), codes=[0x80] * 4)  # fmt: skip
        client.subscribe((EVENTS + "#", 2), codes=[1])
        client.subscribe(("$iothub/methods/#", 0), codes=[0x80])
        client.subscribe(FILTERS[0], codes=[1])
        client.send(mq.Unsubscribe(9, ["$iothub/twin/res/#"])).expect(mq.Unsuback(9))
        client.subscribe(("$iothub/methods/#", 2), codes=[1])


@pytest.mark.parametrize(
    "strange",
    ["a/b", "#", "$iothub/twin/#", "devices/other/messages/devicebound/#", "$iothub/methods/+/#"],
)
def test_a_strange_filter_ends_the_connection(fresh, strange):
    fresh.create()
    with fresh.hub() as client:
        client.send(mq.Subscribe(1, [(strange, 0)])).closed()


def test_a_sixth_filter_ends_the_connection(fresh):
    fresh.create()
    with fresh.hub() as client:
        client.subscribe(*FILTERS)
        client.subscribe((EVENTS + "#", 1))
        client.send(mq.Subscribe(1, [("$iothub/methods/#", 0)])).closed()


def test_methods_may_be_subscribed_by_name(fresh):
    fresh.create()
    with fresh.hub() as client:
        client.subscribe(("$iothub/methods/POST/reboot/#", 1), ("$iothub/methods/POST/blink/#", 0))
        for name in ("blink", "reboot"):
            call = fresh.start_invoke(name)
            rid = client.read().topic.split("$rid=")[1]
            client.send(mq.Publish("$iothub/methods/res/200/?$rid=" + rid, b""))
            assert call.result(10) == (200, None)
        with pytest.raises(Refused) as e:
            fresh.invoke("other")
        assert e.value.status == 404


def test_the_device_endpoint_is_the_same_hub_by_another_name(fresh):
    """Where TLS 1.3 is spoken; the token may be for either name, and the certificate has both."""
    fresh.create()
    other = HUB.replace(".azure-devices", ".device.azure-devices")
    for signed in (HUB, other):
        with fresh.raw() as raw:
            raw.connect(
                DEVICE,
                user="%s/%s/?api-version=2021-04-12" % (other, DEVICE),
                password=token(DEVICE_KEY, "%s/devices/%s" % (signed, DEVICE)),
            )
            raw.sync()
            assert fresh.azure.hub.client_of(fresh.device()) is not None
    with open(fresh.pki.server_pem, "rb") as f:
        leaf = x509.load_pem_x509_certificate(f.read())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "*.device.azure-devices.net" in names.get_values_for_type(x509.DNSName)


def test_a_quota_that_is_used_up_lets_nobody_in_until_tomorrow(fresh):
    fresh.create()
    fresh.azure.quota = 2
    with fresh.hub() as client:
        for pid in (1, 2):
            client.send(mq.Publish(EVENTS, b"x", 1, pid=pid)).expect(mq.Puback(pid))
        client.send(mq.Publish(EVENTS, b"x", 1, pid=3)).closed()
    refused(fresh)
    fresh.azure.grace = 3 * 86400
    fresh.do(fresh.azure.move_clock, 86400)
    with fresh.hub() as client:
        client.send(mq.Publish(EVENTS, b"x", 1, pid=1)).expect(mq.Puback(1))
    assert fresh.device().received == 3


def test_answers_may_be_late(fresh):
    """Each in its place, once, and in order with what comes after it."""
    fresh.create()
    azure = fresh.azure
    for place in ("hub.connect", "hub.subscribe", "hub.telemetry", "hub.twin.get"):
        azure.fail(place, delay=0.3)
    azure.fail("dps.connect", delay=0.3)
    azure.fail("dps.register", delay=0.3)

    def took(do):
        start = time.monotonic()
        do()
        return time.monotonic() - start

    key = token(DEVICE_KEY, PATH)
    with fresh.raw() as client:
        assert took(lambda: client.connect(DEVICE, user=HUB_USER, password=key)) > 0.3
        assert took(lambda: client.subscribe(*FILTERS)) > 0.3
        assert took(
            lambda: client.send(mq.Publish(EVENTS, b"x", 1, pid=1)).expect(mq.Puback(1))
        ) > 0.3  # fmt: skip
        assert took(lambda: twin(client)) > 0.3
    made = []
    assert took(lambda: made.append(fresh.dps())) > 0.3
    with made[0] as client:
        assert took(lambda: register(client)) > 0.3
    assert not any(azure.faults.left(place) for place in azure_rig.azure_module.FAULTS)


def test_dps_may_answer_anything_on_command(fresh):
    azure = fresh.azure
    azure.fail("dps.poll", failed=400207)
    azure.fail("dps.poll", status=429, code=429001)
    azure.fail("dps.poll", body={"status": "assigned", "registrationState": None})
    with fresh.dps() as client:
        operation = register(client)[2]["operationId"]
        status, _, body = poll(client, operation)
        assert (status, body["status"]) == (200, "failed")
        assert body["registrationState"]["errorCode"] == 400207
        assert poll(client, operation)[2]["errorCode"] == 429001
        status, _, body = poll(client, operation)
        assert (status, body) == (200, {"status": "assigned", "registrationState": None})


def test_dps_tells_a_hubs_connection_profile(fresh):
    record = dict(fresh.azure.registry.enrolments["default"], connection_profile="mqttV5")
    fresh.do(fresh.azure.enrol, "default", record)
    with fresh.dps() as client:
        assert assigned(fresh, client)["registrationState"]["connectionProfile"] == "mqttV5"


def test_the_documents_sdk_spells_two_of_them_otherwise(fresh):
    fresh.create()
    with fresh.hub() as client:
        client.subscribe(
            ("devices/%s/messages/deviceBound/#" % DEVICE, 1), ("$iothub/methods/#", 1)
        )
        fresh.send(b"x")
        assert client.read().topic.startswith("devices/%s/messages/deviceBound/" % DEVICE)


# ---- telemetry (1.7)


def test_telemetry_is_kept_with_its_properties(fresh):
    fresh.create()
    with fresh.hub() as client:
        client.send(
            mq.Publish(EVENTS + "%24.ct=application%2Fjson&$.ce=utf-8&a%26b=1%2B2&flag&e=", b"{}")
        )
        client.send(mq.Publish(EVENTS + "?mode=eco", b"\xff", 1, pid=3)).expect(mq.Puback(3))
        client.send(mq.Publish(EVENTS, b"kept", 1, True, pid=4)).expect(mq.Puback(4))
    bag = {"$.ct": "application/json", "$.ce": "utf-8", "a&b": "1+2", "flag": None, "e": ""}
    assert fresh.telemetry(3) == [
        (b"{}", bag), (b"\xff", {"?mode": "eco"}), (b"kept", {"mqtt-retain": "true"}),
    ]  # fmt: skip


def test_a_will_is_telemetry_of_its_own_kind(fresh):
    fresh.create()
    fresh.hub(will=mq.Will(EVENTS + "site=north", b"gone", 1, False)).reset()
    assert fresh.telemetry(1) == [(b"gone", {"site": "north", "iothub-MessageType": "Will"})]


@pytest.mark.parametrize(
    "topic, size, qos",
    [
        ("devices/other/messages/events/", 1, 0),
        ("devices/%s/messages/event/" % DEVICE, 1, 0),
        ("a/b", 1, 0),
        ("$iothub/twin/DELETE/?$rid=1", 0, 0),
        ("$iothub/twin/GET/?rid=1", 0, 0),
        ("$iothub/methods/res/200/?x=1", 0, 0),
        (EVENTS, 262145, 1),
        (EVENTS + "a=" + "x" * 1000, 262144, 1),
        (EVENTS, 1, 2),
    ],
)
def test_what_is_not_documented_ends_the_connection(fresh, topic, size, qos):
    fresh.create()
    with fresh.hub() as client:
        client.send(mq.Publish(topic, b"x" * size, qos, pid=5 if qos else None)).closed()
    assert fresh.device().received == 0


def test_the_largest_message_is_taken(fresh):
    fresh.create()
    with fresh.hub() as client:
        client.send(mq.Publish(EVENTS, b"x" * 262144, 1, pid=1)).expect(mq.Puback(1))


# ---- twins (1.8)


def twin(client, verb="GET", body=b" ", rid="1"):
    client.send(mq.Publish("$iothub/twin/%s/?$rid=%s" % (verb, rid), body))
    packet = client.read()
    _, _, _, status, query = packet.topic.split("/", 4)
    return int(status), query, json.loads(packet.payload) if packet.payload else None


PATCH = "PATCH/properties/reported"


def test_a_twin_is_read_patched_and_counted(fresh):
    fresh.create()
    with fresh.hub() as client:
        client.subscribe(*FILTERS)
        empty = {"desired": {"$version": 1}, "reported": {"$version": 1}}
        assert twin(client) == (200, "?$rid=1", empty)
        assert twin(client, PATCH, b'{"a":{"b":1,"c":[1,2]},"d":1}', "x%2Fy")[:2] == (
            204, "?$rid=x%2Fy&$version=2",
        )  # fmt: skip
        assert twin(client, PATCH, b'{"a":{"b":null,"c":[3]},"d":null}') == (
            204,
            "?$rid=1&$version=3",
            None,
        )
        assert twin(client)[2]["reported"] == {"a": {"c": [3]}, "$version": 3}
        assert fresh.desire({"fan": 5}) == 2
        packet = client.read()
        assert (
            packet.topic == "$iothub/twin/PATCH/properties/desired/?$version=2" and packet.qos == 0
        )
        assert json.loads(packet.payload) == {"fan": 5, "$version": 2}
        assert twin(client)[2]["desired"] == {"fan": 5, "$version": 2}


@pytest.mark.parametrize(
    "body, status",
    [
        (b"", 400), (b"no json", 400), (b"[1]", 400), (b"7", 400), (b'{"a":NaN}', 400),
        (b"\xff", 400), (b'{"a.b":1}', 400), (b'{"$a":1}', 400), (b'{"a b":1}', 400),
        (b'{"":1}', 400), (b'{"a\\u0001":1}', 400), (b'{"$iotin:x":1}', 400),
        (b'{"a":4503599627370496}', 400), (b'{"a":-4503599627370497}', 400),
        (json.dumps({"a": "x" * 4097}).encode(), 400), (json.dumps({"k" * 1025: 1}).encode(), 400),
        (json.dumps({"a%d" % i: "x" * 4000 for i in range(9)}).encode(), 413),
        (b'{"a":' * 11 + b"1" + b"}" * 11, 400),
        (b'{"a":' * 10 + b"1" + b"}" * 10, 204), (b'{"a":4503599627370495}', 204),
    ],
)  # fmt: skip
def test_a_patch_that_does_not_fit_is_refused_whole(fresh, body, status):
    fresh.create()
    with fresh.hub() as client:
        client.subscribe(*FILTERS)
        assert twin(client, PATCH, body)[0] == status
    if status != 204:
        assert fresh.reported() == {}


def test_the_preview_lets_its_own_names_in(fresh):
    fresh.create()
    with fresh.hub(version="2019-07-01-preview") as client:
        client.subscribe(*FILTERS)
        assert twin(client, PATCH, b'{"$iotin:settings":{"fan":{"value":1}}}')[0] == 204


def test_who_does_not_listen_gets_no_answer(fresh):
    fresh.create()
    with fresh.hub() as client:
        client.send(mq.Publish("$iothub/twin/GET/?$rid=1", b""))
        fresh.desire({"fan": 5})
        client.sync()
        with pytest.raises(Refused) as e:
            fresh.invoke("reboot")
        assert e.value.status == 404


# ---- methods


def test_a_method_and_its_answer(fresh):
    fresh.create()
    with fresh.hub() as client:
        client.subscribe(*FILTERS)
        for body, status, answer in (
            ({"x": 1}, 200, {"ok": True}), (None, -3, None), ("text", 404, "no"), (5, 200, [1, 0]),
        ):  # fmt: skip
            call = fresh.start_invoke("pump1*start", body)
            packet = client.read()
            path, rid = packet.topic.split("/?$rid=")
            assert path == "$iothub/methods/POST/pump1*start" and packet.qos == 0
            assert packet.payload == (b"" if body is None else json.dumps(body).encode())
            said = b"" if answer is None else json.dumps(answer).encode()
            client.send(mq.Publish("$iothub/methods/res/%d/?$rid=%s" % (status, rid), said))
            assert call.result(10) == (status, answer)


def test_a_method_without_an_answer_and_answers_without_a_method(fresh):
    fresh.create()
    with pytest.raises(Refused) as e:
        fresh.invoke("reboot")
    assert e.value.status == 404
    with fresh.hub() as client:
        client.subscribe(*FILTERS)
        with pytest.raises(Refused) as e:
            fresh.invoke("reboot", timeout=0.1)
        assert e.value.status == 504
        rid = client.read().topic.split("=")[1]
        for i in (rid, "never"):
            client.send(mq.Publish("$iothub/methods/res/200/?$rid=" + i, b"")).sync()
        assert fresh.device().answers == [(rid, 200), ("never", 200)]
        client.send(mq.Publish("$iothub/methods/res/200/?$rid=1", b"no json")).closed()


# ---- cloud-to-device messages


def test_messages_wait_arrive_once_and_are_done_when_acknowledged(fresh):
    fresh.create()
    fresh.send(b"one", "full", mode="eco & fast", empty="", flag=None)
    with fresh.hub() as client:
        client.subscribe(*FILTERS)
        packet = client.read()
        base, bag = packet.topic.rsplit("/", 1)
        assert base == "devices/%s/messages/devicebound" % DEVICE and packet.qos == 1
        mid = fresh.device().messages[0]["id"]
        assert bag == (
            "%24.mid=" + mid + "&%24.to=%2Fdevices%2Fsensor-01%2Fmessages%2FdeviceBound"
            "&iothub-ack=full&mode=eco%20%26%20fast&empty=&flag"
        )
        assert packet.payload == b"one"
    with fresh.hub() as client:
        client.sync()  # clean: nothing before a new SUBSCRIBE
        client.subscribe(*FILTERS)
        packet = client.read()
        client.send(mq.Puback(packet.pid)).sync()
    assert fresh.device().messages == []
    assert fresh.azure.feedback == [{"device": DEVICE, "message": mid, "status": "Success"}]


def test_a_kept_session_gets_its_messages_without_a_new_subscribe(fresh):
    fresh.create()
    with fresh.hub(clean=False) as client:
        client.subscribe(*FILTERS)
        fresh.send(b"0")
        client.read()  # and not acknowledged
    fresh.until(lambda: fresh.azure.hub.client_of(fresh.device()) is None)
    fresh.send(b"1")
    with fresh.hub(clean=False, present=True) as client:
        first, second = client.read(), client.read()
        assert (first.payload, first.dup) == (b"0", True)
        assert (second.payload, second.dup) == (b"1", False)
        client.send(mq.Puback(first.pid), mq.Puback(second.pid)).sync()
    assert fresh.device().messages == []


def test_at_qos_0_a_message_is_done_when_sent(fresh):
    fresh.create()
    with fresh.hub() as client:
        client.subscribe((FILTERS[0][0], 0))
        fresh.send(b"x")
        assert client.read().qos == 0
    assert fresh.device().messages == []


def test_messages_have_limits(fresh):
    fresh.create()
    with pytest.raises(Refused):
        fresh.send(b"x" * 65537)
    for i in range(50):
        fresh.send(b"%d" % i)
    with pytest.raises(Refused) as e:
        fresh.send(b"one more")
    assert e.value.status == 403
    fresh.do(fresh.azure.move_clock, 3601)
    fresh.send(b"again", "negative")
    assert len(fresh.device().messages) == 1
    fresh.do(fresh.azure.move_clock, 7203)
    fresh.send(b"and again")
    assert [f["status"] for f in fresh.azure.feedback] == ["Expired"]


def test_a_message_is_never_dropped_for_being_delivered_often(fresh):
    """The count rises when a message is abandoned, and MQTT can't do that: it only expires."""
    fresh.create()
    fresh.send(b"patient", "full")
    for _ in range(15):
        with fresh.hub() as client:
            client.subscribe(*FILTERS)
            assert client.read().payload == b"patient"
    assert len(fresh.device().messages) == 1 and fresh.azure.feedback == []
    with fresh.hub() as client:
        client.subscribe(*FILTERS)
        client.send(mq.Puback(client.read().pid)).sync()
    assert [f["status"] for f in fresh.azure.feedback] == ["Success"]


# ---- failures on command


def test_failures_on_command(fresh):
    fresh.create()
    azure = fresh.azure
    for place, how in (("hub.connect", {"connack": 3}), ("dps.connect", {"connack": 3})):
        azure.fail(place, **how)
    with fresh.raw() as raw:
        raw.send(mq.Connect(DEVICE, user=HUB_USER, password=token(DEVICE_KEY, PATH)))
        assert raw.read() == mq.Connack(3)
    dps_refused(fresh, code=3)
    azure.fail("dps.register", status=429, retry_after=9)
    azure.fail("dps.poll", silent=True)
    azure.fail("dps.poll", status=500)
    with fresh.dps() as client:
        assert register(client)[:2] == (429, {"$rid": "1", "retry-after": "9"})
        operation = register(client)[2]["operationId"]
        client.send(mq.Publish(POLL % ("2", operation), b"")).sync()
        assert poll(client, operation)[0] == 500
        assert poll(client, operation)[0] == 200
    azure.fail("hub.twin.get", count=2, status=429, device=DEVICE)
    azure.fail("hub.twin.patch", close=True)
    azure.fail("hub.subscribe", count=4, status=500)
    with fresh.hub() as client:
        client.subscribe(*FILTERS, codes=[0x80] * 4)
        client.subscribe(*FILTERS)
        assert [twin(client)[0] for _ in range(3)] == [429, 429, 200]
        client.send(mq.Publish("$iothub/twin/%s/?$rid=1" % PATCH, b"{}")).closed()
    azure.fail("hub.telemetry", count=None, close=True, device="another")
    with fresh.hub() as client:
        client.send(mq.Publish(EVENTS, b"", 1, pid=1)).expect(mq.Puback(1))
    for bad in (("nowhere", {"status": 1}), ("hub.telemetry", {"status": 1}), ("dps.poll", {})):
        with pytest.raises(ValueError):
            azure.fail(bad[0], **bad[1])


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"kind": "group", "keys": ["short"]},
        {"kind": "device-x509", "thumbprint": "12"},
        {"kind": "group-x509", "ca": "none"},
        {"kind": "device", "hub": "elsewhere"},
        {"kind": "device", "desired": {"a.b": 1}},
    ],
)
def test_an_impossible_enrolment_is_refused(record):
    with pytest.raises(Refused):
        Registry([HUB]).enrol("x", record)


# ---- what is kept


def test_everything_outlives_a_restart(tmp_path):
    with Background() as background:

        async def opened():
            return store.Store(str(tmp_path / "cloud.db"))

        kept = background.call(opened())
        records = azure.Records(kept)

        def started():
            registry = Registry([HUB], records=records)
            return registry

        first = background.do(started)
        scope, group = first.scope_id, first.group_key

        def fill():
            device = first.create(DEVICE, keys=[DEVICE_KEY])
            device.patch("desired", {"fan": 5})
            first.keep(device)
            first.queue(device, b"waits", {"mode": "eco"})
            for i in range(3):
                first.add_telemetry(device, b"%d" % i, {"n": str(i)})
            first.enrol("sensor-02", {"kind": "device", "keys": [DEVICE_KEY]})

        background.do(fill)

        async def settled():
            wait = kept.durable()
            if wait is not None:
                await wait

        background.call(settled())
        second = background.do(started)
        assert (second.scope_id, second.group_key) == (scope, group)
        assert set(second.enrolments) == {"default", "sensor-02"}
        device = second.get(DEVICE)
        assert device.document()["desired"] == {"fan": 5, "$version": 2}
        assert base64.b64decode(device.messages[0]["body"]) == b"waits"
        assert [body for _, _, body, _ in device.telemetry] == [b"0", b"1", b"2"]
        assert device.received == 3
        background.call(kept.close())


# ---- the service side over HTTP, in the cloud as a program


def test_the_service_side_over_http(start_cloud):
    cloud = start_cloud("--azure-scope", SCOPE, "--azure-group-key", GROUP_KEY)
    azure = cloud["azure"]
    assert azure["scope_id"] == SCOPE and azure["group_key"] == GROUP_KEY
    host = azure["hub_host"]
    control = azure_rig.Control(cloud)
    assert control("GET", "/devices", token="wrong")[0] == 401
    assert control("GET", "/devices") == (200, [])
    assert control("GET", "/devices/none")[0] == 404
    status, device = control("PUT", "/devices/" + DEVICE, {"keys": [DEVICE_KEY]})
    assert status == 200 and device["connected"] is False and device["hub"] == host
    with azure_rig.Raw(cloud["mqtt"]["port"]) as client:
        client.connect(
            DEVICE,
            user="%s/%s/?api-version=2021-04-12" % (host, DEVICE),
            password=token(DEVICE_KEY, "%s/devices/%s" % (host, DEVICE)),
        )
        client.subscribe(*FILTERS)
        client.send(mq.Publish(EVENTS + "a=b", b'{"t":1}', 1, pid=1)).expect(mq.Puback(1))
        client.send(mq.Publish(EVENTS, b"\xff", 1, pid=2)).expect(mq.Puback(2))
        path = "/devices/%s/messages/" % DEVICE
        status, got = control("GET", path + "events?count=2&wait=10")
        assert [m["number"] for m in got] == [1, 2]
        assert got[0]["body"] == {"t": 1} and got[0]["properties"] == {"a": "b"}
        assert got[1]["hex"] == "ff"
        assert control("GET", path + "events?after=2")[1] == []
        assert control("PATCH", "/twins/" + DEVICE, {"properties": {"desired": {"fan": 5}}}) == (
            200, {"version": 2},
        )  # fmt: skip
        assert json.loads(client.read().payload) == {"fan": 5, "$version": 2}
        twin_seen = control("GET", "/twins/" + DEVICE)[1]
        assert twin_seen["connectionState"] == "Connected"
        assert twin_seen["properties"]["desired"] == {"fan": 5, "$version": 2}
        sent = control(
            "POST",
            path + "deviceBound",
            {"body": "hello", "properties": {"a": "b"}, "ack": "full"},
        )
        assert sent[0] == 200
        packet = client.read()
        assert packet.payload == b"hello" and "%24.mid=" + sent[1]["id"] in packet.topic
        client.send(mq.Puback(packet.pid)).sync()
        assert control("GET", "/feedback")[1][0]["status"] == "Success"
        assert control("GET", path + "deviceBound") == (200, [])
        status, error = control(
            "POST",
            "/twins/%s/methods" % DEVICE,
            {"methodName": "x", "responseTimeoutInSeconds": 0.1},
        )
        assert status == 504 and error["errorCode"] == 504101 and error["trackingId"]
        assert control("PUT", "/devices/" + DEVICE, {"enabled": False})[1]["enabled"] is False
        client.read()
        client.closed()
    enrolment = {"kind": "device", "keys": [DEVICE_KEY], "device_id": "pump"}
    assert control("PUT", "/enrollments/" + DEVICE, enrolment)[1]["device_id"] == "pump"
    assert DEVICE in control("GET", "/enrollments")[1]
    assert control("PUT", "/enrollments/x", {"kind": "other"})[0] == 400
    assert control("DELETE", "/enrollments/" + DEVICE)[0] == 200
    assert control("POST", "/faults", {"place": "hub.connect", "connack": 3}) == (200, {})
    assert control("POST", "/faults", {"place": "nowhere"})[0] == 400
    assert control("DELETE", "/faults") == (200, {})
    assert control("POST", "/settings", {"retry_after": 0, "clock_offset": 60}) == (200, {})
    assert control("POST", "/settings", {"other": 1})[0] == 400
    assert control("DELETE", "/devices/" + DEVICE)[0] == 200
    assert control("GET", "/devices/" + DEVICE)[0] == 404


def test_what_azure_knows_survives_the_cloud(start_cloud, tmp_path):
    state = tmp_path / "state"
    cloud = start_cloud(state=state)
    control = azure_rig.Control(cloud)
    control("PUT", "/devices/" + DEVICE, {"keys": [DEVICE_KEY]})
    control("PATCH", "/twins/" + DEVICE, {"properties": {"desired": {"fan": 5}}})
    assert cloud["process"].stop() is not False
    again = start_cloud(state=state)
    for name in ("scope_id", "group_key", "hub_host"):
        assert again["azure"][name] == cloud["azure"][name]
    twin = azure_rig.Control(again)("GET", "/twins/" + DEVICE)[1]
    assert twin["properties"]["desired"]["fan"] == 5
