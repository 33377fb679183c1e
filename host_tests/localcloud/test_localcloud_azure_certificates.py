"""
Certificates that the local Azure issues: with a registration, renewed at the hub, refused with
each code that is documented, expired, revoked. With a raw MQTT client and OpenSSL's TLS.
"""

import base64
import json

import azure_rig
import pytest
from azure_rig import DEVICE, HUB, SCOPE, fresh, token  # noqa: F401
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from localcloud.mqtt import codec as mq

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)

DPS_API = "2026-11-02-preview"
HUB_API = "2025-08-01-preview"
DPS_FILTER = "$dps/registrations/res/#"
FILTER = "$iothub/credentials/res/#"
ASK = "$iothub/credentials/POST/issueCertificate/?$rid="
DAY = 86400


class Request:
    """A key and its certificate signing request, base64 of DER."""

    def __init__(self, name=DEVICE):
        self.key = ec.generate_private_key(ec.SECP256R1())
        builder = x509.CertificateSigningRequestBuilder()
        if name:
            builder = builder.subject_name(
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
            )
        else:
            builder = builder.subject_name(x509.Name([]))
        signed = builder.sign(self.key, hashes.SHA256())
        self.der = signed.public_bytes(serialization.Encoding.DER)
        self.text = base64.b64encode(self.der).decode()


def registered(rig, csr, api=DPS_API, **more):
    """Register with a request: the status and body of DPS's last answer."""
    path = "%s/registrations/%s" % (SCOPE, DEVICE)
    key = azure_rig.derive_key(rig.azure.registry.group_key, DEVICE)
    with rig.raw() as raw:
        raw.connect(
            DEVICE,
            user=path + "/api-version=" + api,
            password=token(key, path, skn="registration"),
        ).subscribe((DPS_FILTER, 1))
        body = json.dumps(dict({"registrationId": DEVICE, "csr": csr}, **more)).encode()
        raw.send(mq.Publish("$dps/registrations/PUT/iotdps-register/?$rid=1", body))
        while True:
            packet = raw.read()
            status = int(packet.topic.split("/")[3])
            body = json.loads(packet.payload)
            if status != 202:
                return status, body
            raw.send(
                mq.Publish(
                    "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId="
                    + body["operationId"]
                )
            )


def leaf(chain):
    return x509.load_der_x509_certificate(base64.b64decode(chain[0]))


class Credential:
    """What a device has after a registration: its chain and key as TLS takes them."""

    def __init__(self, rig, tmp_path, request, chain, shown=None):
        self.rig = rig
        self.chain = chain
        self.serial = "%x" % leaf(chain).serial_number
        base = str(tmp_path / self.serial)
        with open(base + "-key.pem", "wb") as f:
            f.write(
                request.key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
        with open(base + ".pem", "w") as f:
            for text in chain[:shown]:
                f.write(azure_rig.ssl.DER_cert_to_PEM_cert(base64.b64decode(text)))
        self.context = azure_rig.client_context(rig, base + ".pem", base + "-key.pem")

    def hub(self, code=0, clean=True, api=HUB_API, present=False):
        """A raw client at the hub by this certificate, or refused there with this code."""
        raw = azure_rig.Raw(self.rig.tls_port, tls=self.context, host="localhost")
        raw.send(
            mq.Connect(DEVICE, user="%s/%s/?api-version=%s" % (HUB, DEVICE, api), clean=clean)
        )
        assert raw.read() == mq.Connack(code, present)
        return raw


@pytest.fixture
def issued(fresh, tmp_path):
    """A function that registers with a request of its own: a Credential."""

    def issue(shown=None):
        request = Request()
        status, body = registered(fresh, request.text)
        assert (status, body["status"]) == (200, "assigned")
        chain = body["registrationState"]["issuedCertificateChain"]
        return Credential(fresh, tmp_path, request, chain, shown)

    return issue


@pytest.fixture
def client(issued):
    """A raw client, signed in by its certificate, that listens to the hub's answers."""
    with issued().hub() as raw:
        yield raw.subscribe((FILTER, 1))


def ask(raw, csr, rid="1234", pid=7, **more):
    """Publish a request to issue a certificate; its acknowledgement has come when this returns."""
    body = more.pop("body", None)
    if body is None:
        body = json.dumps(dict({"id": DEVICE, "csr": csr}, **more)).encode()
    raw.send(mq.Publish(ASK + rid, body, 1, pid=pid))


def answers(raw, count=1):
    """The next `count` answers as (status, rid, body); acknowledgements are passed over."""
    found = []
    while len(found) < count:
        packet = raw.read()
        assert packet is not None, "closed"
        if packet.type == mq.PUBACK:
            continue
        status, rid = packet.topic[len(FILTER) - 1 :].split("/?$rid=")
        found.append((int(status), rid, json.loads(packet.payload)))
        if packet.qos:
            raw.send(mq.Puback(packet.pid))
    return found


def fail(rig, **how):
    rig.do(lambda: rig.azure.fail("hub.certificate", **how))


def certificates(rig):
    return rig.do(rig.azure.certificates.of, rig.device())


# ---- issued with a registration


def test_a_registration_with_a_request_is_answered_with_a_chain(fresh):
    request = Request()
    status, body = registered(fresh, request.text, payload={"modelId": "dtmi:a:B;1"})
    state = body["registrationState"]
    chain = [
        x509.load_der_x509_certificate(base64.b64decode(c))
        for c in state["issuedCertificateChain"]
    ]
    assert (status, state["assignedHub"], state["deviceId"]) == (200, HUB, DEVICE)
    assert chain[0].public_key() == request.key.public_key()
    for below, above in zip(chain, chain[1:] + chain[-1:]):
        below.verify_directly_issued_by(above)
    assert chain[1].public_key().curve.name == "secp384r1"
    life = chain[0].not_valid_after_utc.timestamp() - fresh.azure.now()
    assert 29.9 * DAY < life <= 30 * DAY
    # As long as what the real service sends: a client's buffer has to have room for that.
    assert 4500 < len(json.dumps(body)) < 6144


def test_it_opens_the_hub_and_the_key_does_not_any_more(fresh, issued):
    credential = issued()
    with credential.hub():
        pass
    path = "%s/devices/%s" % (HUB, DEVICE)
    with fresh.raw() as raw:
        raw.send(
            mq.Connect(
                DEVICE,
                user="%s/%s/?api-version=%s" % (HUB, DEVICE, HUB_API),
                password=token(azure_rig.DEVICE_KEY, path),
            )
        )
        assert raw.read() == mq.Connack(5)
    assert certificates(fresh)["used"] == [credential.serial]


def test_the_hub_knows_the_root_so_the_whole_chain_is_to_be_shown(issued):
    with pytest.raises((azure_rig.ssl.SSLError, ConnectionError, AssertionError)):
        # With TLS 1.3 a client hears of it when it reads.
        issued(shown=1).hub()


def test_a_new_registration_leaves_the_certificate_before_it_good(issued):
    first, second = issued(), issued()
    for credential in (first, second):
        with credential.hub():
            pass


@pytest.mark.parametrize(
    "csr, word",
    [
        ("", "base64"),
        (5, "base64"),
        ("!!!", "base64"),
        (base64.b64encode(b"0\x03\x02\x01\x00").decode(), "PKCS#10"),
        ("A" * 8196, "8 KB"),
        (Request(None).text, "common name"),
        (base64.b64encode(Request().der[:-1] + b"\0").decode(), "csr"),
    ],
    ids=["empty", "number", "no base64", "no request", "long", "no name", "signature"],
)
def test_dps_refuses_what_is_no_request(fresh, csr, word):
    status, body = registered(fresh, csr)
    assert (status, body["errorCode"]) == (400, 400004) and word in body["message"]


def test_who_speaks_an_older_version_or_has_no_policy_gets_none(fresh):
    request = Request()
    state = registered(fresh, request.text, "2019-03-31")[1]["registrationState"]
    assert state["status"] == "assigned" and "issuedCertificateChain" not in state
    record = dict(fresh.azure.registry.enrolments["default"], credential_policy=None)
    fresh.do(fresh.azure.enrol, "default", record)
    state = registered(fresh, request.text)[1]["registrationState"]
    assert state["status"] == "assigned" and "issuedCertificateChain" not in state


# ---- renewed at the hub


def test_a_renewal_is_taken_in_and_then_answered(fresh, issued, tmp_path):
    before = issued()
    request = Request()
    with before.hub() as raw:
        raw.subscribe((FILTER, 1))
        ask(raw, request.text)
        (taken, rid, body), (done, rid_too, answer) = answers(raw, 2)
    assert (taken, done, rid, rid_too) == (202, 200, "1234", "1234")
    assert set(body) == {"correlationId", "operationExpires"}
    assert set(answer) == {"correlationId", "certificates"}
    assert body["correlationId"] == answer["correlationId"]
    after = Credential(fresh, tmp_path, request, answer["certificates"])
    for credential in (after, before):  # the one before is good until its end
        with credential.hub():
            pass
    assert certificates(fresh)["used"] == [before.serial, after.serial]


@pytest.mark.parametrize(
    "body, status, code",
    [
        (b"", 400, 400004),
        (b"{", 400, 400006),
        (b"[]", 400, 400004),
        (b'{"id": "other", "csr": "AAAA"}', 400, 400004),
        (b'{"id": "%s"}' % DEVICE.encode(), 400, 400004),
        (b'{"id": "%s", "csr": ""}' % DEVICE.encode(), 400, 400004),
        (b'{"id": "%s", "csr": "AAAA", "more": 1}' % DEVICE.encode(), 400, 400004),
        (b'{"id": "%s", "csr": "AAAA", "replace": "123"}' % DEVICE.encode(), 400, 400004),
        (b'{"id": "%s", "csr": "AAAA", "replace": "*"}' % DEVICE.encode(), 412, 412001),
        (b'{"id": "%s", "csr": "AAAA", "replace": "abcd-1"}' % DEVICE.encode(), 412, 412001),
    ],
    ids=["empty", "no json", "no object", "whose", "no csr", "empty csr", "unknown", "bad replace",
         "none active", "another one"],
)  # fmt: skip
def test_a_request_that_is_wrong_is_refused_at_once(client, body, status, code):
    ask(client, None, body=body)
    ((got, rid, said),) = answers(client)
    assert (got, rid, said["errorCode"]) == (status, "1234", code)
    assert {"message", "trackingId", "timestampUtc", "info"} <= set(said)


def test_what_is_no_csr_is_taken_in_and_refused_by_those_who_sign(client):
    ask(client, base64.b64encode(b"no request").decode())
    (taken, _, _), (refused, _, said) = answers(client, 2)
    assert (taken, refused, said["errorCode"]) == (202, 400, 400040)
    assert said["info"]["credentialError"] == "FailedToDecodeCsr"


def test_a_second_request_is_in_conflict_unless_it_replaces_the_first(fresh, client):
    fresh.do(fresh.azure.certificates.set, "delay", 3600)
    ask(client, Request().text, "first")
    ((_, _, first),) = answers(client)
    ask(client, Request().text, "second")
    ((status, rid, said),) = answers(client)
    assert (status, rid, said["errorCode"]) == (409, "second", 409005)
    assert said["info"] == dict(first, requestId="first")
    fresh.do(fresh.azure.certificates.set, "delay", 0)
    request = Request()
    ask(client, request.text, "third", replace="*")
    _, (status, rid, said) = answers(client, 2)
    assert (status, rid) == (200, "third")
    assert leaf(said["certificates"]).public_key() == request.key.public_key()


@pytest.mark.parametrize("code", [400040, 403010, 409005, 412001, 429002, 429003, 500001, 503001])
@pytest.mark.parametrize("accepted", [False, True], ids=["at once", "after 202"])
def test_each_code_on_command(fresh, client, code, accepted):
    fail(fresh, code=code, accepted=accepted, retry_after=5)
    ask(client, Request().text)
    status, rid, said = answers(client, 1 + accepted)[-1]
    assert (status, said["errorCode"], said["retryAfter"]) == (code // 1000, code, 5)
    ask(client, Request().text, "again")
    assert [status for status, _, _ in answers(client, 2)] == [202, 200]


def test_silence_and_spoiled_chains_on_command(fresh, client):
    fail(fresh, silent=True)
    ask(client, Request().text, "nobody")
    assert client.read().type == mq.PUBACK
    client.silent()
    for word in ("none", "other", "garbage"):
        fail(fresh, chain=word)
        ask(client, Request().text, "spoiled")
        said = answers(client, 2)[1][2]["certificates"]
        assert bool(said) == (word != "none")
    assert client.read().type == mq.PUBACK  # of the last one
    fail(fresh, close=True)
    ask(client, Request().text)
    client.closed()
    with pytest.raises(ValueError, match="chain: one of"):
        fail(fresh, chain="long")


@pytest.mark.parametrize("clean", [True, False], ids=["clean session", "kept session"])
def test_who_was_away_when_it_was_issued_hears_it_afterwards(fresh, issued, clean):
    credential = issued()
    fresh.do(fresh.azure.certificates.set, "delay", 1)
    with credential.hub(clean=clean) as raw:
        raw.subscribe((FILTER, 1))
        ask(raw, Request().text)
        answers(raw)
    with credential.hub(clean=clean, present=not clean) as raw:
        if clean:
            raw.subscribe((FILTER, 1))
        ((status, rid, _),) = answers(raw)
    assert (status, rid) == (200, "1234")


def test_who_does_not_listen_hears_nothing(issued):
    with issued().hub() as raw:
        ask(raw, Request().text)
        assert raw.read().type == mq.PUBACK
        raw.silent()
        raw.subscribe((FILTER, 1), pid=9)
        assert answers(raw)[0][0] == 200


def test_without_rid_and_in_older_versions_the_connection_ends(issued):
    credential = issued()
    with credential.hub() as raw:
        raw.send(mq.Publish("$iothub/credentials/POST/issueCertificate/", b"{}"))
        raw.closed()
    with credential.hub(api="2021-04-12") as raw:
        raw.send(mq.Subscribe(1, [(FILTER, 1)]))
        raw.closed()


def test_it_is_the_fifth_filter_of_five(client):
    for pid, filter in enumerate(
        (
            "devices/%s/messages/devicebound/#" % DEVICE,
            "$iothub/twin/res/#",
            "$iothub/twin/PATCH/properties/desired/#",
            "$iothub/methods/POST/#",
        )
    ):
        client.subscribe((filter, 1), pid=pid + 2)


# ---- its end


def test_a_certificate_ends_and_so_does_its_connection(fresh, issued):
    credential = issued()
    fresh.azure.grace = 0
    with credential.hub() as raw:
        fresh.do(fresh.azure.move_clock, 29 * DAY)
        raw.sync()
        fresh.do(fresh.azure.move_clock, 30 * DAY + 1)
        raw.closed()
    with credential.hub(code=5):
        pass


def test_a_revoked_one_is_good_no_more_and_the_next_one_is(fresh, issued):
    credential = issued()
    with credential.hub() as raw:
        fresh.do(fresh.azure.revoke, fresh.device())
        raw.closed()
    with credential.hub(code=5):
        pass
    with issued().hub():
        pass


def test_another_device_may_not_use_it(fresh, issued):
    credential = issued()
    fresh.create("other", keys=[])
    raw = azure_rig.Raw(fresh.tls_port, tls=credential.context, host="localhost")
    with raw:
        raw.send(mq.Connect("other", user="%s/other/?api-version=%s" % (HUB, HUB_API)))
        assert raw.read() == mq.Connack(5)


def test_an_enrolled_certificate_ends_by_the_clouds_clock_too(fresh, tmp_path):
    made = fresh.authority.issue_client(DEVICE)
    context = azure_rig.client_context(fresh, *made.write(str(tmp_path), "own"))
    fresh.create(thumbprints=[azure_rig.pki.thumbprint(made.der)], keys=[])
    user = "%s/%s/?api-version=%s" % (HUB, DEVICE, HUB_API)
    for ahead, code in ((0, 0), (1000 * DAY, 5)):
        fresh.do(fresh.azure.move_clock, ahead)
        with azure_rig.Raw(fresh.tls_port, tls=context, host="localhost") as raw:
            raw.send(mq.Connect(DEVICE, user=user))
            assert raw.read() == mq.Connack(code)


# ---- over HTTP, and over a restart


def test_the_control_interface_and_a_restart(start_cloud, tmp_path):
    state = tmp_path / "state"
    cloud = start_cloud(state=state)
    control = azure_rig.Control(cloud)
    assert control("POST", "/settings", {"certificate_days": 7, "certificate_delay": 1})[0] == 200
    for bad in ({"certificate_days": 6}, {"certificate_days": 91}, {"certificate_delay": -1}):
        assert control("POST", "/settings", bad)[0] == 400
    assert control("PUT", "/devices/" + DEVICE, {"keys": [azure_rig.DEVICE_KEY]})[0] == 200
    nothing = {"issued": [], "used": [], "revoked": []}
    assert control("GET", "/devices/%s/certificates" % DEVICE) == (200, nothing)
    assert control("POST", "/devices/%s/certificates/revoke" % DEVICE) == (200, {})
    fault = {"place": "hub.certificate", "code": 429002, "retry_after": 3}
    assert control("POST", "/faults", fault)[0] == 200
    assert control("POST", "/faults", {"place": "hub.certificate", "code": "x"})[0] == 400
    assert control("POST", "/faults", {"place": "dps.certificate", "chain": "none"})[0] == 200
    cloud["process"].stop()
    again = azure_rig.Control(start_cloud(state=state))
    assert again("GET", "/devices/%s/certificates" % DEVICE) == (200, nothing)


def test_the_authorities_are_the_same_after_a_restart():
    registry = azure_rig.azure_module.Registry([HUB])
    first = azure_rig.azure_module.Certificates(registry)
    assert azure_rig.azure_module.Certificates(registry).root_pem == first.root_pem
