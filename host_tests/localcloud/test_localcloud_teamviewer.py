"""
The local cloud's TeamViewer agent: its rules, its topics, what it keeps; and the proof that a
client made as the vendor's SDK is made goes through all of it.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
import ssl

from certificates import make_rsa_key
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from localcloud import pki
from localcloud.mqtt import codec as mq
from localcloud.teamviewer import CODES, UNITS, Refused
from localcloud_rig import Control, Raw
from waiting import until
from teamviewer_rig import running
from teamviewer_sdk_like import SdkLike


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with running(tmp_path_factory.mktemp("agent")) as made:
        yield made


@pytest.fixture(autouse=True)
def _healthy(agent):
    agent.calls.clear()
    yield
    agent.set(backend=True, licensed=True, broken=False, mute=False, licences=1000)


class Connector:
    """A provisioned client on a raw connection. base: its topics' start."""

    def __init__(self, agent, folder):
        key = ec.generate_private_key(ec.SECP256R1())
        self.request = request_for(key)
        certificate = agent.do(agent.model.provision, self.request)
        self.paths = os.path.join(str(folder), "c.pem"), os.path.join(str(folder), "k.pem")
        with open(self.paths[0], "wb") as f:
            f.write(certificate)
        with open(self.paths[1], "wb") as f:
            f.write(key_pem(key))
        self.agent = agent
        self.id = pki.common_name(certificate)
        self.base = "/v1.0/%s/" % self.id
        self.pid = 0
        self.raw = self.open()

    def context(self):
        context = ssl.create_default_context(cafile=self.agent.ca_file)
        context.load_cert_chain(*self.paths)
        return context

    def open(self, client_id=""):
        return Raw(self.agent.port, tls=self.context()).connect(client_id)

    def listen(self, *filters):
        filters = [(self.base + f, 1) for f in filters or ("#",)]
        self.raw.send(mq.Subscribe(1, filters))
        packet = self.raw.read()
        assert packet == mq.Suback(1, [1] * len(filters))
        return self

    def send(self, path, body=None, base=None):
        self.pid += 1
        if not isinstance(body, bytes):
            body = json.dumps({} if body is None else body).encode()
        self.raw.send(mq.Publish((base or self.base) + path, body, 1, pid=self.pid))

    def hear(self):
        """(path, payload) of the next message that is not an echo of what we sent."""
        while True:
            packet = self.raw.read()
            if packet.type == mq.PUBLISH:
                if packet.qos:
                    self.raw.send(mq.Puback(packet.pid))
                path = packet.topic.replace(self.base, "", 1)
                if path.endswith(("inbox", "livedata")):
                    return path, packet.payload

    def call(self, path, body=None):
        self.send(path, body)
        return self.hear()

    def code(self, path, body=None):
        """The error code that answers; 0 words checked."""
        topic, payload = self.call(path, body)
        assert "error" in topic, (topic, payload)
        error = json.loads(payload)
        assert sorted(error) == ["errorMessage", "errorcode"]
        assert error["errorMessage"].startswith(CODES[error["errorcode"]] + ": ")
        return error["errorcode"]

    def sensor(self, name="s"):
        return json.loads(self.call("sensor/create", {"name": name})[1])["sensorId"]

    def metrics(self, sensor, *kinds):
        body = {
            "metrics": [
                {"matchingId": str(i), "name": kind, "valueType": kind}
                for i, kind in enumerate(kinds)
            ]
        }
        answer = self.call("sensor/%s/metric" % sensor, body)[1]
        return [metric["metricId"] for metric in json.loads(answer)]


def request_for(key, name="x"):
    names = [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else []
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name(names))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def key_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


@pytest.fixture
def connector(agent, tmp_path):
    made = Connector(agent, tmp_path)
    yield made.listen()
    made.raw.close()


# -- a client as the vendor makes it -----------------------------------------------------------


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_a_client_made_like_the_vendors_sdk_goes_through_everything(agent, tmp_path, tls):
    sdk = SdkLike(agent.part.ready(), tmp_path, tls_provisioning=tls)
    id = sdk.provision()
    assert len(id) == 32 and int(id, 16) and id == id.lower()
    assert sdk.connect() == "Success"
    assert json.loads(sdk.check_connection()[1])["request"] == "Ping"
    topic, payload = sdk.create_sensor("boiler")
    assert topic == "/sensor/inbox"
    sensor = json.loads(payload)
    assert sensor["name"] == "boiler"
    s = sensor["sensorId"]
    topic, payload = sdk.create_metric(
        {
            "metrics": [
                {"matchingId": "1", "name": "t", "valueUnit": "SI.Temperature.CELSIUS"},
                {"matchingId": "2", "name": "n", "valueType": "integer", "valueAnnotation": "x"},
            ]
        },
        s,
    )
    assert topic == "/sensor/%s/metric/inbox" % s
    made = json.loads(payload)
    assert [m["matchingId"] for m in made] == ["1", "2"]
    a, b = (m["metricId"] for m in made)
    sdk.listen_live_data(s)
    values = {"metrics": [{"metricId": a, "value": 21.5}, {"metricId": b, "value": 7}]}
    topic, payload = sdk.push_metrics(s, values, 1767603600000)
    assert topic == "/sensor/%s/info/inbox" % s
    topic, payload = sdk.heard.get(timeout=10)
    assert topic.endswith("/livedata")
    assert json.loads(payload) == {
        "metrics": [{"metricId": a, "value": 21.5}, {"metricId": b, "value": 7}],
        "timestamp": 1767603600000,
    }
    sdk.push_metrics(s, {"metrics": [{"metricId": b, "value": 7.5}]})
    sdk.update_sensor(s, "kettle")
    assert sdk.update_metrics(s, {"metrics": [{"metricId": b, "name": "count"}]})[0].endswith(
        "/metric/update/info/inbox"
    )
    assert json.loads(sdk.describe_metric(b, s)[1])["name"] == "count"
    assert json.loads(sdk.describe_metric("none", s)[1])["errorcode"] == 16
    (listed,) = json.loads(sdk.list_sensors()[1])
    assert (listed["name"], listed["sensorId"], listed["store"]) == ("kettle", s, True)
    assert [m["metricId"] for m in listed["metrics"]] == [a, b]
    text = json.dumps({"metrics": [{"metricId": a}]})
    assert sdk.delete_metric(text, s)[1] == b"All metrics were successfully deleted."
    assert json.loads(sdk.delete_metric(text, s)[1])["errorcode"] == 16
    sdk.client_error("out of paper")
    sdk.sensor_error("frozen", s)
    assert sdk.delete_sensor(s)[1] == b"Sensor was deleted."
    assert json.loads(sdk.delete_sensor(s)[1])["errorcode"] == 15
    model = agent.model.connectors[id]
    assert [text for _, _, text in model.reports] == ["out of paper"]
    sdk.deprovision()
    until(lambda: id not in agent.model.connectors)
    sdk.close()
    again = SdkLike(agent.part.ready(), tmp_path)
    assert again.connect() == "Not authorized"
    again.close()


# -- provisioning ------------------------------------------------------------------------------


def ask(agent, request, topic="/createConnector", tls=None):
    """(topic, payload) that answers a request for a certificate."""
    back = "/certBack/" + hashlib.sha256(request).hexdigest()
    with Raw(agent.provision_port, tls=tls, host="127.0.0.1").connect("") as raw:
        raw.subscribe((back, 1), (back + "/error", 1))
        raw.send(mq.Publish(topic, request, 1, pid=7))
        got = {packet.type: packet for packet in (raw.read(), raw.read())}
    assert got[mq.PUBACK] == mq.Puback(7)
    packet = got[mq.PUBLISH]
    return packet.topic.replace(back, ""), packet.payload


def test_the_certificate_is_for_the_requests_key_under_a_name_of_the_agents(agent):
    key = ec.generate_private_key(ec.SECP256R1())
    topic, payload = ask(agent, request_for(key, "my name"))
    assert topic == ""
    certificate = x509.load_pem_x509_certificate(payload)
    assert certificate.public_key() == key.public_key()
    name = pki.common_name(certificate)
    assert len(name) == 32 and set(name) <= set("0123456789abcdef")
    certificate.verify_directly_issued_by(agent.model.authority.certificate)


def test_the_same_request_gets_the_same_certificate(agent):
    request = request_for(ec.generate_private_key(ec.SECP256R1()))
    assert ask(agent, request) == ask(agent, request)


def test_the_provisioning_port_speaks_tls_to_who_speaks_tls(agent):
    request = make_rsa_key.make("x")[1]
    context = ssl.create_default_context(cafile=agent.ca_file)
    assert ask(agent, request, tls=context)[1].startswith(b"-----BEGIN CERTIFICATE-----")


def tampered():
    request = make_rsa_key.make("x")[1]
    other = make_rsa_key.make("y")[1]
    lines, others = request.split(b"\n"), other.split(b"\n")
    return b"\n".join(lines[:-4] + others[-4:])


BAD_REQUESTS = {
    "nothing": (b"", 0),
    "text": (b"hello", 0),
    "an empty PEM block": (
        b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n",
        0,
    ),
    "half a request": (make_rsa_key.make("x")[1][:300], 0),
    "a wrong signature": (tampered(), 0),
    "a key": (make_rsa_key.make("x")[0], 0),
    "far too long": (b"x" * 20000, 19),
}


@pytest.mark.parametrize("case", list(BAD_REQUESTS))
def test_what_is_no_request_is_refused_in_words(agent, case):
    request, code = BAD_REQUESTS[case]
    before = len(agent.model.connectors)
    topic, payload = ask(agent, request)
    assert topic == "/error"
    error = json.loads(payload)
    assert error["errorcode"] == code
    assert error["errorMessage"].startswith(CODES[code] + ": ")
    assert len(agent.model.connectors) == before


def test_no_licence_no_certificate(agent):
    agent.set(licences=len(agent.model.connectors))
    topic, payload = ask(agent, request_for(ec.generate_private_key(ec.SECP256R1())))
    assert (topic, json.loads(payload)["errorcode"]) == ("/error", 2)


def test_on_the_provisioning_port_nothing_else_can_be_heard_or_done(agent):
    request = request_for(ec.generate_private_key(ec.SECP256R1()))
    back = "/certBack/" + hashlib.sha256(request).hexdigest()
    with Raw(agent.provision_port).connect("") as raw:
        filters = ["#", "/certBack/#", "/certBack/+", "/createConnector", "/v1.0/#", back + "/x"]
        raw.subscribe(*[(f, 1) for f in filters], codes=[0x80] * len(filters))
        raw.subscribe((back + "/+", 2), pid=2, codes=[1])
        raw.send(mq.Publish("/v1.0/x/sensor/create", b"{}", 1, pid=3)).expect(mq.Puback(3))
        raw.sync()


def test_a_port_that_hears_nothing_closes(agent):
    agent.cloud.mqtt.connect_timeout, before = 0.2, agent.cloud.mqtt.connect_timeout
    try:
        with Raw(agent.provision_port) as raw:
            raw.closed()
        with Raw(agent.provision_port) as raw:
            raw.send(b"GET / HTTP/1.0\r\n\r\n").closed()
        with Raw(agent.provision_port) as raw:
            raw.send(b"\x16\x03\x01rubbish rubbish").closed()
    finally:
        agent.cloud.mqtt.connect_timeout = before


# -- who gets in -------------------------------------------------------------------------------


def test_the_data_port_wants_a_certificate_of_this_agent(agent, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    foreign = pki.Authority("somebody else's").sign_csr(request_for(key))
    (tmp_path / "c.pem").write_bytes(foreign.pem)
    (tmp_path / "k.pem").write_bytes(key_pem(key))
    for certificate in (None, "c.pem"):
        context = ssl.create_default_context(cafile=agent.ca_file)
        if certificate:
            context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            Raw(agent.port, tls=context)


def test_it_speaks_tls_1_2(agent, connector):
    assert connector.raw.sock.version() == "TLSv1.2"


def test_a_certificate_that_was_not_given_out_is_not_let_in(agent, tmp_path):
    """The CA's signature alone is not enough: a server's certificate, an unknown name."""
    issued = agent.do(agent.model.authority.issue_client, "0" * 32)
    paths = issued.write(str(tmp_path), "made")
    context = ssl.create_default_context(cafile=agent.ca_file)
    context.load_cert_chain(*paths)
    with Raw(agent.port, tls=context) as raw:
        raw.send(mq.Connect("")).expect(mq.Connack(5)).closed()


def test_several_connections_of_one_client_hear_the_same(agent, connector):
    with connector.open("second") as other:
        other.subscribe((connector.base + "sensor/inbox", 1))
        connector.sensor()
        assert other.read().topic == connector.base + "sensor/inbox"


# -- what a connector may reach ----------------------------------------------------------------


def test_filters_outside_its_own_id_are_refused(agent, connector, tmp_path):
    (tmp_path / "other").mkdir()
    other = Connector(agent, tmp_path / "other")
    filters = ["#", "/#", "/v1.0/#", "/v1.0/+/sensor/inbox", other.base + "#", "/certBack/#"]
    filters += ["/v1.0/" + connector.id, "v1.0/%s/#" % connector.id, "/v1.0/%s0/#" % connector.id]
    connector.raw.subscribe(*[(f, 1) for f in filters], pid=9, codes=[0x80] * len(filters))
    other.raw.close()


def test_publishing_elsewhere_is_forbidden_and_has_no_effect(agent, connector, tmp_path):
    (tmp_path / "other").mkdir()
    other = Connector(agent, tmp_path / "other").listen()
    connector.send("sensor/create", {"name": "x"}, base=other.base)
    topic, payload = connector.hear()
    assert topic == "error/inbox"
    assert json.loads(payload)["errorcode"] == 18
    connector.send("sensor/inbox", {"name": "forged"})  # the agent's to say
    other.raw.sync()
    assert not agent.model.connectors[other.id].sensors
    other.raw.close()


def test_everything_below_its_id_is_heard_its_own_calls_too(connector):
    connector.send("ping", {"request": "x"})
    topics = set()
    while len(topics) < 2:
        packet = connector.raw.read()
        if packet.type == mq.PUBLISH:
            topics.add(packet.topic.replace(connector.base, ""))
    assert topics == {"ping", "ping/info/inbox"}


# -- calls -------------------------------------------------------------------------------------


def test_older_and_newer_topics_of_the_same_call(agent, connector):
    s = connector.sensor()
    assert connector.call("sensor/list")[0] == "sensor/list/inbox"
    assert connector.hear()[0] == "inventory/inbox"
    body = {"metrics": [{"matchingId": "1", "name": "n", "valueType": "bool"}]}
    topic, payload = connector.call("sensor/%s/metric/create" % s, body)
    assert topic == "sensor/%s/metric/inbox" % s
    m = json.loads(payload)[0]["metricId"]
    push = {"metrics": [{"metricId": m, "value": True}]}
    assert connector.call("sensor/" + s, push)[0] == "sensor/%s/info/inbox" % s
    assert connector.hear()[0] == "sensor/%s/livedata" % s


def test_answers_go_to_all_topics_that_somebody_listens_to(connector):
    s = connector.sensor()
    m = connector.metrics(s, "bool")[0]
    body = {"metrics": [{"metricId": m}]}
    topics = [connector.call("sensor/%s/metric/delete" % s, body)[0]]
    topics += [connector.hear()[0] for _ in range(2)]
    assert topics == [
        "sensor/%s/metric/delete/info/inbox" % s,
        "sensor/%s/metric/delete/inbox" % s,
        "sensor/%s/delete/info/inbox" % s,
    ]
    topics = [connector.call("sensor/%s/metric/delete" % s, body)[0], connector.hear()[0]]
    assert topics == [
        "sensor/%s/metric/delete/error/inbox" % s,
        "sensor/%s/delete/error/inbox" % s,
    ]
    topics = [connector.call("sensor/%s/metric/none/inventory" % s)[0], connector.hear()[0]]
    assert topics == [
        "sensor/%s/metric/none/inventory/error/inbox" % s,
        "sensor/%s/inventory/error/inbox" % s,
    ]


def change(body, **values):
    return {"metrics": [{k: v for k, v in dict(body, **values).items() if v is not ...}]}


DEF = {"matchingId": "1", "name": "n", "valueType": "bool"}
PUSH = change({"metricId": "M", "value": True})
BAD_CALLS = [
    # (path with S for a sensor and M for its bool metric, body, code)
    ("nonsense", {}, 0),
    ("sensor/S/nonsense", {}, 0),
    ("sensor/create", b"{", 4),
    ("sensor/create", b"\xff", 4),
    ("sensor/create", b'{"name": NaN}', 4),
    ("sensor/create", b"[" * 100000, 4),
    ("sensor/create", b"[]", 5),
    ("sensor/create", {}, 6),
    ("sensor/create", {"name": 5}, 7),
    ("sensor/create", {"name": ""}, 19),
    ("sensor/create", {"name": "x" * 300}, 19),
    ("sensor/none/update", {"name": "x"}, 15),
    ("sensor/S/update", {"name": []}, 7),
    ("sensor/none/delete", {}, 15),
    ("ping", b"hello", 4),
    ("sensor/none/metric", change(DEF), 15),
    ("sensor/S/metric", {}, 6),
    ("sensor/S/metric", {"metrics": {}}, 10),
    ("sensor/S/metric", {"metrics": []}, 17),
    ("sensor/S/metric", {"metrics": ["x"]}, 5),
    ("sensor/S/metric", {"metrics": [DEF] * 2000}, 19),
    ("sensor/S/metric", change(DEF, matchingId=1), 7),
    ("sensor/S/metric", change(DEF, matchingId=...), 6),
    ("sensor/S/metric", change(DEF, name=...), 6),
    ("sensor/S/metric", change(DEF, valueType=...), 14),
    ("sensor/S/metric", change(DEF, valueType="float"), 13),
    ("sensor/S/metric", change(DEF, valueUnit="SI.Temperature.KELVIN"), 12),
    ("sensor/S/metric", change(DEF, valueAnnotation=1), 7),
    ("sensor/S/metric/update", change({"metricId": "none", "name": "x"}), 16),
    ("sensor/S/metric/update", change({"metricId": "M"}), 17),
    ("sensor/S/metric/update", change({"metricId": "M", "name": 1}), 7),
    ("sensor/none/metric/M/inventory", {}, 15),
    ("sensor/S/metric/pushValues", change({"metricId": "none", "value": 1}), 16),
    ("sensor/S/metric/pushValues", change({"metricId": "M"}), 6),
    ("sensor/S/metric/pushValues", {"metrics": []}, 17),
    ("sensor/S/metric/pushValues", dict(PUSH, timestamp="x"), 11),
    ("sensor/S/metric/pushValues", dict(PUSH, timestamp=1.5), 11),
    ("sensor/S/metric/pushValues", dict(PUSH, timestamp=-1), 19),
    ("sensor/none/error", b"x", 15),
    ("sensor/S/metric/none/error", b"x", 16),
]


def test_bad_calls_are_refused_with_their_code_in_words(agent, tmp_path):
    connector = Connector(agent, tmp_path)
    # One topic for each error: the shortest filter set that hears them all once.
    connector.listen("error/inbox", "+/error/inbox", "sensor/+/+/error/inbox")
    connector.raw.subscribe(
        *[
            (connector.base + f, 1)
            for f in (
                "sensor/inbox",
                "sensor/+/error/inbox",
                "sensor/+/metric/+/error/inbox",
                "sensor/+/metric/inbox",
            )
        ],
        pid=2,
    )
    s = connector.sensor()
    m = connector.metrics(s, "bool")[0]
    reached = set()
    for path, body, code in BAD_CALLS:
        path = path.replace("S", s).replace("M", m)
        if isinstance(body, dict):
            body = json.dumps(body).replace('"M"', '"%s"' % m).encode()
        assert connector.code(path, body) == code, (path, body[:80])
        reached.add(code)
    assert len(agent.model.connectors[connector.id].sensors) == 1
    assert list(agent.model.connectors[connector.id].sensors[s].metrics) == [m]
    assert not agent.model.connectors[connector.id].sensors[s].values
    connector.raw.close()


VALUES = [
    # value -> codes for bool, string, double, integer; None is taken
    (True, (None, 7, 8, 11)),
    ("x", (9, None, 8, 11)),
    (1, (9, 7, None, None)),
    (1.5, (9, 7, None, 11)),
    (None, (9, 7, 8, 11)),
    ([1], (9, 7, 8, 11)),
    (2**63, (9, 7, None, 19)),
    (-(2**63), (9, 7, None, None)),
    ("x" * 5000, (9, 19, 8, 11)),
    (10**400, (9, 7, 19, 19)),
]


def test_values_must_fit_their_metric(agent, connector):
    kinds = ("bool", "string", "double", "integer")
    s = connector.sensor()
    metrics = dict(zip(kinds, connector.metrics(s, *kinds)))
    for value, codes in VALUES:
        for kind, code in zip(kinds, codes):
            body = {"metrics": [{"metricId": metrics[kind], "value": value}]}
            topic, payload = connector.call("sensor/%s/metric/pushValues" % s, body)
            what = (str(value)[:20], kind, payload)
            if code is None:
                assert topic == "sensor/%s/info/inbox" % s, what
                topic, payload = connector.hear()
                assert json.loads(payload)["metrics"] == body["metrics"], what
            else:
                assert json.loads(payload)["errorcode"] == code, what


def test_a_push_is_taken_whole_or_not_at_all(agent, connector):
    s = connector.sensor()
    a, b = connector.metrics(s, "bool", "bool")
    body = {"metrics": [{"metricId": a, "value": True}, {"metricId": b, "value": 1}]}
    assert connector.code("sensor/%s/metric/pushValues" % s, body) == 9
    assert not agent.model.connectors[connector.id].sensors[s].values


def test_all_documented_units_are_known(agent, connector):
    s = connector.sensor()
    units = sorted(UNITS)
    assert len(units) == 23
    body = {"metrics": [{"matchingId": u, "name": u, "valueUnit": u} for u in units]}
    answer = json.loads(connector.call("sensor/%s/metric" % s, body)[1])
    assert [m["matchingId"] for m in answer] == units


def test_an_agent_in_trouble_says_which(agent, connector):
    for trouble, code in (
        ({"backend": False}, 1),
        ({"licensed": False}, 2),
        ({"broken": True}, 3),
    ):
        agent.set(backend=True, licensed=True, broken=False)
        agent.set(**trouble)
        assert connector.code("inventory") == code
        assert connector.call("ping", {"request": "x"})[0] == "ping/info/inbox"


def test_every_code_is_reachable():
    """By a test above: 1, 2, 3 in trouble, 8 and 9 by values, 18 elsewhere, the rest by calls."""
    reached = {code for _, _, code in BAD_CALLS}
    reached |= {code for _, codes in VALUES for code in codes if code is not None}
    assert reached | {1, 2, 3, 18} == set(range(len(CODES)))


def test_answers_come_in_the_order_of_the_calls(agent, connector):
    for i in range(300):
        if i % 3:
            connector.send("sensor/create", {"name": "s%d" % i})
        else:
            connector.send("ping", {"request": str(i)})
    heard = [json.loads(connector.hear()[1]) for _ in range(300)]
    assert [a.get("name") or a["request"] for a in heard] == [
        "s%d" % i if i % 3 else str(i) for i in range(300)
    ]


def test_the_published_sdks_error_topics_without_slashes_do_no_harm(agent, connector):
    with connector.open("other") as raw:
        base = "/v1.0/" + connector.id
        raw.subscribe((base + "sensorx/error/inbox", 1))
        raw.send(mq.Publish(base + "sensorx/error", b"x", 1, pid=5)).expect(mq.Puback(5))
        raw.sync()


def test_bounds_of_what_is_kept(agent, connector, monkeypatch):
    from localcloud.teamviewer import model

    monkeypatch.setattr(model, "SENSORS_MAX", 2)
    monkeypatch.setattr(model, "METRICS_MAX", 2)
    monkeypatch.setattr(model, "VALUES_KEPT", 3)
    s = connector.sensor()
    connector.sensor()
    assert connector.code("sensor/create", {"name": "x"}) == 19
    a, b = connector.metrics(s, "integer", "integer")
    assert connector.code("sensor/%s/metric" % s, change(DEF)) == 19
    for i in range(5):
        body = {"metrics": [{"metricId": a, "value": i}]}
        connector.call("sensor/%s/metric/pushValues" % s, body)
        connector.hear()
    kept = agent.model.connectors[connector.id].sensors[s].values
    assert [values[a] for _, _, values in kept] == [2, 3, 4]


# -- what outlives a restart, and the program --------------------------------------------------


def test_everything_outlives_a_restart(tmp_path):
    state = tmp_path / "state"
    with running(state) as agent:
        c = Connector(agent, tmp_path).listen()
        s, gone = c.sensor("kept"), c.sensor("gone")
        m, dropped = c.metrics(s, "integer", "bool")
        for i in range(3):
            c.call("sensor/%s/metric/pushValues" % s, {"metrics": [{"metricId": m, "value": i}]})
            c.hear()
        c.call("sensor/%s/delete" % gone)
        for _ in range(3):
            c.send("ping")
            c.hear()
        c.call("sensor/%s/metric/delete" % s, {"metrics": [{"metricId": dropped}]})
        c.hear(), c.hear()
        c.call("sensor/%s/update" % s, {"name": "renamed"})
        c.send("error", b"reported")
        c.call("ping", {"request": "x"})
        before = agent.show()
        ca = open(agent.ca_file).read()
        c.raw.close()
    with running(state) as agent:
        assert agent.show() == before
        assert open(agent.ca_file).read() == ca
        (kept,) = before["connectors"]
        (sensor,) = kept["sensors"]
        assert (sensor["name"], list(sensor["metrics"])) == ("renamed", [m])
        assert [values[m] for _, values in sensor["values"]] == [0, 1, 2]
        assert [text for _, _, text in kept["reports"]] == ["reported"]
        c.agent = agent
        c.raw = c.open()
        c.listen()
        assert json.loads(c.call("inventory")[1])[0]["sensorId"] == s
        assert ask(agent, c.request)[1] == open(c.paths[0], "rb").read()
        c.raw.close()


def test_a_deleted_connector_is_closed_and_forgotten(agent, connector):
    connector.sensor()
    assert connector.call("delete") == ("delete/info/inbox", b"Client was deleted.")
    while connector.raw.read() is not None:
        pass
    assert connector.id not in agent.model.connectors
    with Raw(agent.port, tls=connector.context()) as raw:
        raw.send(mq.Connect("")).expect(mq.Connack(5)).closed()


def raw_publish(connector, path, body=b"{}"):
    """Say something without waiting for an answer; None when the connection is closed."""
    connector.pid += 1
    packet = mq.Publish(connector.base + path, body, 1, pid=connector.pid)
    connector.raw.send(packet)


def test_a_deprovisioned_connectors_live_session_can_do_nothing(tmp_path):
    """Neither make a sensor, nor come back by reporting an error; the cloud starts again."""
    state = tmp_path / "state"
    with running(state) as agent:
        c = Connector(agent, tmp_path).listen()
        (tmp_path / "other").mkdir()
        other = Connector(agent, tmp_path / "other")
        s = c.sensor("s")
        (m,) = c.metrics(s, "integer")

        def delete_and_go_on():
            # In one go, so that the session is still there.
            model = agent.model
            connector = model.connectors[c.id]
            model.deprovision(connector)
            refused = []
            for call in (
                lambda: model.create_sensor(connector, b'{"name":"x"}'),
                lambda: model.report(connector, (), b"error"),
                lambda: model.inventory(connector),
                lambda: model.update_sensor(connector, s, b'{"name":"x"}'),
                lambda: model.push(connector, s, b"{}"),
                lambda: model.deprovision(connector),
            ):
                try:
                    call()
                except Refused as e:
                    refused.append(e.code)
            return refused

        assert agent.do(delete_and_go_on) == [18] * 6
        for path in ("sensor/create", "error", "inventory", "sensor/%s/metric/pushValues" % s):
            with contextlib.suppress(OSError):
                raw_publish(c, path, json.dumps({"name": "x"}).encode())
        with contextlib.suppress(OSError):
            while c.raw.read() is not None:
                pass
        assert [found["id"] for found in agent.connectors()] == [other.id]
        other.raw.close()
    with running(state) as agent:
        assert [found["id"] for found in agent.connectors()] == [other.id]
        assert agent.model.odd.count == 0


def test_an_odd_row_of_the_store_is_told_and_the_rest_is_served(tmp_path, caplog):
    state = tmp_path / "state"
    with running(state) as agent:
        c = Connector(agent, tmp_path).listen()
        s = c.sensor("kept")
        (m,) = c.metrics(s, "integer")
        for i in range(3):
            c.call("sensor/%s/metric/pushValues" % s, {"metrics": [{"metricId": m, "value": i}]})
            c.hear()
        c.raw.close()
    odd = [
        ("sensor", "nobody/%s" % s, '{"name":"x","metrics":{}}'),
        ("sensor", "no slash", '{"name":"x","metrics":{}}'),
        ("sensor", "%s/other" % c.id, '{"name":5,"metrics":{}}'),
        ("values", "nobody/%s/1" % s, "[1,{}]"),
        ("values", "%s/%s/x" % (c.id, s), "[1,{}]"),
        ("values", "%s/%s/9" % (c.id, s), "NaN"),
        ("connector", "broken", "{"),
        ("connector", "no certificate", '{"hash":"","certificate":"x","reports":[]}'),
    ]
    with sqlite3.connect(str(state / "cloud.db")) as base:
        for row in odd:
            base.execute("INSERT OR REPLACE INTO teamviewer VALUES (?, ?, ?)", row)
    with running(state) as agent:
        assert agent.model.odd.count == len(odd)
        (kept,) = agent.connectors()
        (sensor,) = kept["sensors"]
        assert sensor["name"] == "kept"
        assert [values[m] for _, values in sensor["values"]] == [0, 1, 2]
        c.agent = agent
        c.raw = c.open()
        c.listen()
        assert json.loads(c.call("inventory")[1])[0]["sensorId"] == s
        c.raw.close()
    assert "nobody" in caplog.text and "left out" in caplog.text


@pytest.mark.parametrize(
    "text",
    ['{"request":NaN}', '{"request":1e999}', '{"request":"\\ud83d"}', '{"request":-Infinity}'],
)
def test_what_is_no_json_is_not_answered_with(agent, connector, text):
    """A ping is echoed: what came must be what any reader takes."""
    connector.send("ping", text.encode())
    topic, answer = connector.hear()
    assert topic.endswith("error/inbox")
    assert json.loads(answer)["errorcode"] == 4


def test_in_the_ready_line_with_all_a_client_needs(cloud, tmp_path):
    ready = cloud["teamviewer"]
    assert sorted(ready) == ["ca_file", "host", "port", "provision_port"]
    assert ready["ca_file"].endswith("TeamViewerAuthority.crt")
    sdk = SdkLike(ready, tmp_path)
    id = sdk.provision()
    assert sdk.connect() == "Success"
    control = Control(cloud)

    def command(body=None):
        return control("GET" if body is None else "POST", "/teamviewer", body)[1]

    assert [c["id"] for c in command()["connectors"]] == [id]
    assert command({"backend": False})["backend"] is False
    assert json.loads(sdk.list_sensors()[1])["errorcode"] == 1
    command({"backend": True})
    assert command({"deprovision": id})["connectors"] == []
    sdk.close()
