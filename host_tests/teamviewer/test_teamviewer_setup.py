"""
teamviewer_setup: parameters, key and certificate files, and provisioning in all its states.

Everything runs against the local cloud's agent in this process, on both interpreters.
"""

import datetime
import json
import os
import socket
import stat
import threading

import make_rsa_key
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from localcloud import pki
from teamviewer_rig import DEVICE, running


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with running(tmp_path_factory.mktemp("agent")) as made:
        yield made


@pytest.fixture(autouse=True)
def _healthy(agent):
    yield
    agent.set(backend=True, licensed=True, broken=False, mute=False, licences=1000)
    agent.wrap = None


@pytest.fixture
def folder(tmp_path):
    """CertFolder: not there yet, nor the one above it."""
    return tmp_path / "a" / "certs"


def files(folder):
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def run(board, source, agent, folder, **more):
    timeout = more.pop("timeout", 30)
    values = more.pop("values", {})
    return board.run(
        DEVICE + source, timeout=timeout, parameters=agent.parameters(folder, **more), **values
    )


PROVISION = """
c = client()
c.provision()
report(got=drive(c)[0])
"""


# -- parameters --------------------------------------------------------------------------------

CONFIG = """
# the agent on the gateway
MqttHost             localhost
MqttProvisionPort    18883   # plain
MqttPort \t 18884

MqttKeepAlive        None
CaFile               /var/lib/agent/ca.crt
CertFolder           /home/pi/my certs
ClientName           the pump
OverrideCerts        SMART
"""


def test_parameters_as_dict_json_text_or_file_say_the_same(board, tmp_path):
    path = tmp_path / "config"
    path.write_text(CONFIG)
    run = board.run(
        """
import json
from teamviewer_iot import TVCMI_client
given = {"MqttHost": "localhost", "MqttProvisionPort": "18883", "MqttPort": 18884,
         "MqttKeepAlive": "None", "CaFile": "/var/lib/agent/ca.crt",
         "CertFolder": "/home/pi/my certs", "ClientName": "the pump", "OverrideCerts": 3}
for parameters in (given, json.dumps(given), path):
    c = TVCMI_client(parameters)
    report(**c.parameters)
    report(key=c.get_key_path(), cert=c.get_cert_path(), ca=c.get_ca_path(),
           key_der=c.get_key_der_path(), cert_der=c.get_cert_der_path(),
           ca_der=c.get_ca_der_path())
report(untouched=given["MqttProvisionPort"])
""",
        path=path,
    )
    assert run.reports[0] == run.reports[2] == run.reports[4]
    assert run.reports[0] == {
        "MqttHost": "localhost",
        "MqttProvisionPort": 18883,
        "MqttPort": 18884,
        "MqttKeepAlive": "None",
        "CaFile": "/var/lib/agent/ca.crt",
        "CertFolder": "/home/pi/my certs",
        "ClientName": "the pump",
        "OverrideCerts": "SMART",
        "MaxPacket": 4096,
        "ProvisionTimeout": 30,
    }
    assert run.reports[1] == run.reports[3] == run.reports[5]
    assert run.reports[1] == {
        "key": "/home/pi/my certs/thepump-key.pem",
        "cert": "/home/pi/my certs/thepump-cert.pem",
        "ca": "/var/lib/agent/ca.crt",
        "key_der": "/home/pi/my certs/thepump-key.der",
        "cert_der": "/home/pi/my certs/thepump-cert.der",
        "ca_der": "/home/pi/my certs/ca.der",
    }
    assert run.reports[6] == {"untouched": "18883"}


def test_bad_parameters_are_errors_that_name_them(board, tmp_path):
    good = {
        "MqttHost": "localhost",
        "MqttProvisionPort": 18883,
        "MqttPort": 18884,
        "CaFile": "ca",
        "CertFolder": "certs",
    }
    cases = [({key: good[key] for key in good if key != gone}, gone) for gone in good]
    cases += [
        (dict(good, MqttPort="soon"), "MqttPort"),
        (dict(good, MqttProvisionPort=[1]), "MqttProvisionPort"),
        (dict(good, MaxPacket=None), "MaxPacket"),
        (dict(good, MqttPort=float("inf")), "MqttPort must be a number, 1 to 65535"),
        (dict(good, MqttPort=-1), "MqttPort must be a number, 1 to 65535"),
        (dict(good, MqttProvisionPort="65536"), "MqttProvisionPort"),
        (dict(good, MaxPacket=0), "MaxPacket must be a number, 128"),
        (dict(good, MaxPacket=-5), "MaxPacket"),
        (dict(good, ProvisionTimeout=0), "ProvisionTimeout must be a number, 1 to"),
        (dict(good, ServerName=7), "ServerName"),
        (dict(good, CertFolder=7), "CertFolder"),
        (dict(good, ClientName=None), "ClientName"),
        (dict(good, ClientName="a/b"), "ClientName"),
        (dict(good, ClientName=" "), "ClientName"),
        (dict(good, ClientName="x" * 65), "ClientName"),
        (dict(good, ClientName="x " * 33), "ClientName"),
        (dict(good, OverrideCerts="MAYBE"), "OverrideCerts"),
        (dict(good, OverrideCerts=4), "OverrideCerts"),
        ('{"MqttHost": ', "parameters"),
        (str(tmp_path / "missing"), "missing"),
        (5, "parameters"),
        (None, "parameters"),
        ("[1, 2]", "parameters"),
    ]
    kinds = ["InputError"] * 5 + ["ConnectionParamError"] * 9 + ["InputError"] * 9
    kinds += ["ConfigError"] * 5
    run = board.run(
        """
from teamviewer_iot import TVCMI_client, TvcmiError
inf = float("inf")
for parameters, word in eval(cases):
    try:
        TVCMI_client(parameters)
        report(kind="none")
    except TvcmiError as e:
        report(kind=type(e).__name__, named=word in str(e) or word == "missing",
               same=e.message == str(e))
""",
        cases=repr(cases),
    )
    assert [r.get("kind") for r in run.reports] == kinds
    assert all(r["named"] and r["same"] for r in run.reports), run.reports


def test_modes_by_number_name_and_enumeration(board):
    run = board.run(
        """
from teamviewer_iot import TVCMI_client, CertOverrideMode

class Member:  # as the SDK's Enum on a computer
    value = 3

given = {"MqttHost": "h", "MqttProvisionPort": 1, "MqttPort": 2, "CaFile": "c", "CertFolder": "f"}
report(default=TVCMI_client(given).parameters["OverrideCerts"])
for mode in (1, "2", "SMART", "CertOverrideMode.OVERRIDE", CertOverrideMode.SMART, Member()):
    report(mode=TVCMI_client(dict(given, OverrideCerts=mode)).parameters["OverrideCerts"])
"""
    )
    assert run.reports[0] == {"default": "NOT_OVERRIDE"}
    assert [r["mode"] for r in run.reports[1:]] == [
        "OVERRIDE",
        "NOT_OVERRIDE",
        "SMART",
        "OVERRIDE",
        "SMART",
        "SMART",
    ]


def test_error_codes_have_the_documents_names(board):
    (got,) = board.run(
        """
from teamviewer_iot import error_name
report(names=[error_name(i) for i in range(24)])
"""
    ).reports
    assert got["names"] == [
        "UnknownError",
        "NoBackendConnection",
        "NoLicence",
        "InternalError",
        "InvalidJson",
        "JsonIsNotAObject",
        "MissingParameter",
        "ParameterIsNotAString",
        "ParameterIsNotANumber",
        "ParameterisNotABool",
        "ParameterIsNotAnArray",
        "ParameterIsNotAnInteger",
        "UnknownValueUnit",
        "UnknownMetricType",
        "ValueUnitOrValueTypeHasToBeProvided",
        "UnknownSensorId",
        "UnknownMetricId",
        "NoMetricsUpdated",
        "ForbiddendAccess",
        "OutOfRange",
        "CallbackArgumentsMismatch",
        "TLSError",
        "NoAnswer",
        "UnknownError",
    ]


# -- provisioning ------------------------------------------------------------------------------


def test_provision_makes_key_request_and_certificate(board, agent, folder):
    got = run(
        board,
        """
c = client(ClientName="pump 3")
c.provision()
report(got=drive(c)[0], id=c.get_connector_id(), cert=c.read_cert_from_file(),
       key=c.read_key_from_file()[:30], ca=c.read_ca_from_file()[:27],
       loaded=[name for name in ("p256", "teamviewer_setup") if name in sys.modules])
""",
        agent,
        folder,
    ).report
    assert got["got"] == {
        "on": "response",
        "user_data": "mine",
        "msg": "Client is successfully provisioned.",
        "error_code": 0,
    }
    assert got["loaded"] == []
    assert got["ca"] == "-----BEGIN CERTIFICATE-----"
    assert got["key"] == "-----BEGIN EC PRIVATE KEY-----"

    assert files(folder) == {"pump3-key.pem", "pump3-csr.pem", "pump3-cert.pem"}
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = serialization.load_pem_private_key((folder / "pump3-key.pem").read_bytes(), None)
    request = x509.load_pem_x509_csr((folder / "pump3-csr.pem").read_bytes())
    certificate = x509.load_pem_x509_certificate((folder / "pump3-cert.pem").read_bytes())
    assert request.is_signature_valid
    assert isinstance(request.signature_hash_algorithm, hashes.SHA256)
    assert request.public_key() == key.public_key() == certificate.public_key()
    assert pki.common_name(certificate) == got["id"]
    assert [a.value for a in request.subject] == ["pump 3"]
    assert (folder / "pump3-cert.pem").read_text() == got["cert"]
    assert got["id"] in [connector["id"] for connector in agent.connectors()]


def test_a_key_is_made_in_small_steps_of_do_next(board, agent, folder):
    """One step of p256 each, and the compiling of p256.py not within one: also to override."""
    got = run(
        board,
        """
for mode in ("NOT_OVERRIDE", "OVERRIDE"):
    c = client(OverrideCerts=mode)
    del logged[:]
    c.provision()
    loaded = "p256" in sys.modules
    steps = 0
    while "making a key" not in logged:
        c.do_next(1000)
    while "asking for a certificate" not in logged:
        steps += 1
        c.do_next(1000)
    drive(c)
    report(loaded=loaded, steps=steps, left="p256" in sys.modules)
""",
        agent,
        folder,
    ).reports
    assert got == [{"loaded": True, "steps": 223, "left": False}] * 2


def test_no_moment_with_a_readable_key(board, agent, folder):
    """The file is private before the first byte of the key is in it, whatever the umask."""
    got = run(
        board,
        """
import teamviewer_setup
real = open
modes = {}
def spy(path, *mode):
    f = real(path, *mode)
    if mode and "w" in mode[0]:
        import os
        modes[path.split("/")[-1]] = os.stat(path)[0] & 0o777
    return f
teamviewer_setup.open = spy
c = client()
for _ in teamviewer_setup.provision(c):
    c.wait_ms = 5
report(modes=modes)
""",
        agent,
        folder,
    ).report
    assert got["modes"] == {
        "client-csr.pem.new": 0o600,
        "client-key.pem.new": 0o600,
        "client-cert.pem.new": 0o600,
    }


def test_a_provisioned_client_is_told_so(board, agent, folder):
    run(board, PROVISION, agent, folder)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    got = run(board, PROVISION, agent, folder).report["got"]
    assert got == {
        "on": "response",
        "user_data": "mine",
        "msg": "Client is already provisioned.",
        "error_code": 1,
    }
    assert {path: path.read_bytes() for path in before} == before


def test_override_makes_a_new_client_each_time(board, agent, folder):
    run(board, PROVISION, agent, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "client-cert.der").write_bytes(b"old")
    (folder / "client-key.der").write_bytes(b"old")
    got = run(board, PROVISION, agent, folder, OverrideCerts="OVERRIDE").report["got"]
    assert got["error_code"] == 0
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in after)


def test_smart_keeps_what_the_agent_accepts(board, agent, folder):
    run(board, PROVISION, agent, folder, OverrideCerts="SMART")
    before = (folder / "client-cert.pem").read_bytes()
    got = run(board, PROVISION, agent, folder, OverrideCerts="SMART").report["got"]
    assert got["msg"] == "Client is already provisioned."
    assert (folder / "client-cert.pem").read_bytes() == before


def test_smart_replaces_what_the_agent_refuses(board, agent, folder):
    run(board, PROVISION, agent, folder)
    certificate = (folder / "client-cert.pem").read_bytes()
    known = agent.model.connectors[pki.common_name(certificate)]
    agent.do(agent.model.deprovision, known)
    got = run(board, PROVISION, agent, folder, OverrideCerts="SMART").report["got"]
    assert got["msg"] == "Client is successfully provisioned."
    assert (folder / "client-cert.pem").read_bytes() != certificate


def test_smart_replaces_what_gets_no_ping_answered(board, agent, folder):
    run(board, PROVISION, agent, folder)
    before = (folder / "client-key.pem").read_bytes()
    agent.set(mute=True)
    got = run(
        board,
        """
c = client(OverrideCerts="SMART", ProvisionTimeout=1)
c.provision()
report(got=drive(c)[0])
""",
        agent,
        folder,
    ).report["got"]
    assert got["msg"] == "Client is successfully provisioned."
    assert (folder / "client-key.pem").read_bytes() != before


def test_smart_replaces_a_certificate_of_another_ca(board, agent, folder):
    run(board, PROVISION, agent, folder)
    foreign = pki.Authority("somebody else's").sign_csr((folder / "client-csr.pem").read_bytes())
    (folder / "client-cert.pem").write_bytes(foreign.pem)
    got = run(board, PROVISION, agent, folder, OverrideCerts="SMART").report["got"]
    assert got["msg"] == "Client is successfully provisioned."


def test_smart_replaces_an_expired_certificate(board, agent, folder):
    folder.mkdir(parents=True)
    expired_certificate(agent, folder)
    got = run(board, PROVISION, agent, folder, OverrideCerts="SMART").report["got"]
    assert got["msg"] == "Client is successfully provisioned."


def test_smart_keeps_its_identity_when_the_agent_is_away(board, agent, folder):
    """Or a gateway that reboots would cost every client its sensors."""
    run(board, PROVISION, agent, folder)
    before = {path.name: path.read_bytes() for path in folder.glob("*.pem")}
    got = run(board, PROVISION, agent, folder, OverrideCerts="SMART", MqttPort=1).report["got"]
    assert got["on"] == "error"
    assert got["error_code"] == 3
    assert "can't connect" in got["error_str"]
    assert {path.name: path.read_bytes() for path in folder.glob("*.pem")} == before


def test_smart_keeps_its_identity_when_the_agent_is_not_trusted(board, agent, folder):
    run(board, PROVISION, agent, folder)
    before = {path.name: path.read_bytes() for path in folder.glob("*.pem")}
    other = folder / "other.crt"
    other.write_bytes(pki.Authority("somebody else's").pem)
    got = run(board, PROVISION, agent, folder, OverrideCerts="SMART", CaFile=str(other)).report[
        "got"
    ]
    assert got["on"] == "error"
    assert got["error_code"] == 21
    assert {path.name: path.read_bytes() for path in folder.glob("client-*")} == before


def test_smart_keeps_its_identity_when_the_agent_can_t_serve(board, agent, folder):
    """CONNACK 3, an error for the ping, a reset before TLS: none of them is about us."""
    service = agent.service("teamviewer")
    authenticate, publish = service.authenticate, service.publish
    run(board, PROVISION, agent, folder)
    before = {path.name: path.read_bytes() for path in folder.glob("*.pem")}

    def unavailable(client, password):
        authenticate(client, password)
        return 3

    def no_backend(client, packet):
        topic = packet.topic.replace("/ping", "/ping/error/inbox")
        service.deliver(topic, b'{"errorMessage":"no backend","errorcode":1}', 1)

    source = """
c = client(OverrideCerts="SMART")
c.provision()
report(got=drive(c)[0])
"""
    reset = """
import netstream
def reset(self, address):
    raise OSError(104)
    yield
netstream.NetStream._dial = reset
"""
    try:
        service.authenticate = unavailable
        one = run(board, source, agent, folder).report["got"]
        service.authenticate = authenticate
        service.publish = no_backend
        two = run(board, source, agent, folder).report["got"]
        three = run(board, reset + source, agent, folder).report["got"]
    finally:
        service.authenticate, service.publish = authenticate, publish
    assert [got["on"] for got in (one, two, three)] == ["error"] * 3, (one, two, three)
    assert (one["error_code"], two["error_code"], three["error_code"]) == (3, 1, 3)
    assert two["error_str"] == "no backend"
    assert {path.name: path.read_bytes() for path in folder.glob("*.pem")} == before


@pytest.mark.parametrize("damage", ["empty", "cut", "another's"])
def test_a_key_that_can_t_be_used_is_named_and_replaced_by_smart(board, agent, folder, damage):
    run(board, PROVISION, agent, folder)
    key = folder / "client-key.pem"
    old = key.read_bytes()
    if damage == "another's":
        key.write_bytes(make_rsa_key.make("x")[0])
    else:
        key.write_bytes(old[: len(old) // 2] if damage == "cut" else b"")
    got = run(
        board,
        """
c = client()
try:
    c.connect_api()
    report(text=None, code=drive(c)[0]["error_code"])
except TLSError as e:
    report(text=str(e), code=e.error_code)
c = client(OverrideCerts="SMART")
c.provision()
report(msg=drive(c)[0].get("msg"))
c.connect_api()
report(on=drive(c)[0]["on"])
""",
        agent,
        folder,
    ).reports
    assert got[0]["code"] == 21
    # MicroPython does not compare key and certificate: there the agent refuses them.
    if got[0]["text"] or damage != "another's":
        assert "key" in got[0]["text"] and "provision() with SMART or OVERRIDE" in got[0]["text"]
    assert got[1] == {"msg": "Client is successfully provisioned."}
    assert got[2] == {"on": "connect"}
    assert key.read_bytes() != old


def expired_certificate(agent, folder):
    """A key with its request and a certificate that ended yesterday."""
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.timezone.utc)
    issued = agent.model.authority.issue_client("0" * 32, now - 9 * day, now - day)
    (folder / "client-key.pem").write_bytes(issued.key_pem)
    (folder / "client-cert.pem").write_bytes(issued.pem)


def test_a_key_from_a_computer_is_used(board, agent, folder):
    key_path, csr_path = make_rsa_key.write(str(folder), "from desk")
    key = open(key_path, "rb").read()
    assert key.startswith(b"-----BEGIN RSA PRIVATE KEY-----\n")
    assert stat.S_IMODE(os.stat(key_path).st_mode) == 0o600
    got = run(
        board,
        """
c = client(ClientName="from desk")
c.provision()
report(got=drive(c)[0])
c.connect_api()
report(got=drive(c)[0])
report(got=ask(c, c.check_connection))
""",
        agent,
        folder,
    ).reports
    assert [g["got"]["on"] for g in got] == ["response", "connect", "response"]
    assert open(key_path, "rb").read() == key
    with pytest.raises(FileExistsError):
        make_rsa_key.write(str(folder), "from desk")


def test_a_key_without_its_request_is_not_thrown_away(board, agent, folder):
    key_path, csr_path = make_rsa_key.write(str(folder), "client")
    os.unlink(csr_path)
    got = run(board, PROVISION, agent, folder).report["got"]
    assert got["on"] == "error"
    assert got["error_code"] == 2
    assert csr_path in got["error_str"]
    assert files(folder) == {"client-key.pem"}


# Where a board may lose power: what lies in the folder afterwards, and whether the same key goes
# on to serve.
CUT_SHORT = {
    "an unfinished request": (["csr.new"], False),
    "before the key": (["csr"], False),
    "an unfinished key": (["csr", "key.new"], False),
    "before the certificate": (["csr", "key"], True),
    "an unfinished certificate": (["csr", "key", "cert.new"], True),
    "a truncated certificate": (["csr", "key", "cert/2"], True),
    "an empty certificate": (["csr", "key", "cert/0"], True),
    "a certificate of an earlier key": (["csr", "key", "cert!"], True),
}


@pytest.mark.parametrize("case", list(CUT_SHORT))
def test_provisioning_goes_on_from_wherever_it_was_cut_short(board, agent, folder, case):
    whole = folder.parent / "whole"
    run(board, PROVISION, agent, whole)
    content = {part: (whole / ("client-%s.pem" % part)).read_bytes() for part in ("key", "csr")}
    content["cert"] = (whole / "client-cert.pem").read_bytes()
    present, same_key = CUT_SHORT[case]
    folder.mkdir()
    for entry in present:
        part, mark = entry.rstrip("!").split("/")[0], entry
        name, dot, new = part.partition(".")
        data = content[name]
        if new:
            data = data[: len(data) // 2]
        elif "/" in mark:
            data = data[: len(data) // 2] if mark.endswith("/2") else b""
        elif mark.endswith("!"):
            data = agent.model.authority.issue_client("1" * 32).pem
        (folder / ("client-%s.pem%s%s" % (name, dot, new))).write_bytes(data)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    got = run(board, PROVISION, agent, folder).report["got"]
    assert got["msg"] == "Client is successfully provisioned.", got
    assert files(folder) == {"client-key.pem", "client-csr.pem", "client-cert.pem"}
    if same_key:
        assert (folder / "client-key.pem").read_bytes() == before["client-key.pem"]
    certificate = x509.load_pem_x509_certificate((folder / "client-cert.pem").read_bytes())
    key = serialization.load_pem_private_key((folder / "client-key.pem").read_bytes(), None)
    assert certificate.public_key() == key.public_key()
    # The same request was answered with the same certificate: no second connector.
    if same_key and "cert!" not in present:
        assert (folder / "client-cert.pem").read_bytes() == content["cert"]


def test_an_agent_that_dies_in_mid_provisioning_is_asked_again(board, agent, folder):
    got = run(
        board,
        """
c = client(ProvisionTimeout=1, MqttProvisionPort=1)
c.provision()
report(got=drive(c)[0])
c.parameters["MqttProvisionPort"] = port
c.provision()
report(got=drive(c)[0])
""",
        agent,
        folder,
        values={"port": agent.provision_port},
    ).reports
    assert got[0]["got"]["on"] == "error"
    assert got[0]["got"]["error_code"] == 3
    assert "can't connect" in got[0]["got"]["error_str"]
    assert got[1]["got"]["msg"] == "Client is successfully provisioned."


def test_an_agent_that_falls_over_the_request_is_asked_again_by_itself(board, agent, folder):
    """The connection breaks when the request has arrived, before the answer: twice."""
    service = agent.service("teamviewer-provision")
    publish = service.publish
    times = []

    def fall(client, packet):
        times.append(packet.payload)
        if len(times) < 3:
            client.abort()
            return None
        return publish(client, packet)

    service.publish = fall
    try:
        got = run(board, PROVISION, agent, folder).report["got"]
    finally:
        service.publish = publish
    assert got["msg"] == "Client is successfully provisioned."
    assert len(times) == 3
    assert len(set(times)) == 1


@pytest.mark.parametrize("speaks", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_port_that_is_no_agents(board, agent, folder, speaks):
    """One that takes the connection and says nothing, one that speaks something else."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = []

        def accept():
            try:
                while True:
                    taken.append(server.accept()[0])
                    if speaks:
                        taken[-1].sendall(speaks)
            except OSError:
                pass

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        got = run(
            board, PROVISION, agent, folder, MqttProvisionPort=port, ProvisionTimeout=1
        ).report["got"]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for sock in taken:
        sock.close()
    assert got["on"] == "error"
    assert got["error_code"] == (3 if speaks else 22), got
    assert files(folder) == {"client-key.pem", "client-csr.pem"}


def test_an_agent_that_never_answers_is_given_up(board, agent, folder):
    """It takes the request and says nothing: error 22; the same request is sent the next time."""
    service = agent.service("teamviewer-provision")
    deliver = service.deliver
    service.deliver = lambda *message: None
    try:
        got = run(
            board,
            """
c = client(ProvisionTimeout=1)
c.provision()
report(got=drive(c)[0], files=sorted(__import__("os").listdir(c.parameters["CertFolder"])))
""",
            agent,
            folder,
        ).report
    finally:
        service.deliver = deliver
    assert got["got"]["on"] == "error"
    assert got["got"]["error_code"] == 22
    assert got["files"] == ["client-csr.pem", "client-key.pem"]
    connectors = len(agent.connectors())
    assert run(board, PROVISION, agent, folder).report["got"]["error_code"] == 0
    assert len(agent.connectors()) == connectors


def test_provision_again_from_within_the_callback(board, agent, folder):
    """on_api_error is a place to try again."""
    got = run(
        board,
        """
c = client(ProvisionTimeout=1, MqttProvisionPort=1)
def again(**values):
    c.parameters["MqttProvisionPort"] = port
    c.provision()
c.on_api_error = again
c.provision()
c.provision()  # under way: not a second time
report(got=drive(c)[0])
""",
        agent,
        folder,
        values={"port": agent.provision_port},
    ).report["got"]
    assert got["msg"] == "Client is successfully provisioned."


ANSWERS = {
    "text around it": lambda pem: b"Certificate:\n  caf\xe9\n" + pem + b"\nbye",
    "a chain behind it": lambda pem: pem + pki.Authority("issuer").pem,
    "CRLF": lambda pem: pem.replace(b"\n", b"\r\n"),
    "no newline at the end": lambda pem: pem.rstrip(b"\n"),
}


@pytest.mark.parametrize("case", list(ANSWERS))
def test_the_certificate_is_found_in_what_the_agent_sends(board, agent, folder, case):
    agent.wrap = ANSWERS[case]
    got = run(
        board,
        PROVISION + "c.connect_api()\nreport(got=drive(c)[0])\n",
        agent,
        folder,
    ).reports
    assert got[0]["got"]["error_code"] == 0, got
    assert got[1]["got"]["on"] == "connect", got


NO_CERTIFICATE = {
    "nothing": lambda pem: b"",
    "text": lambda pem: b"soon",
    "half a block": lambda pem: pem[: len(pem) // 2],
    "a block cut short inside": lambda pem: pem[:300] + b"\n-----END CERTIFICATE-----\n",
    "no base64": lambda pem: b"-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n",
    "another key's": lambda pem: pki.Authority("x").issue_client("2" * 32).pem,
    "a request": lambda pem: make_rsa_key.make("x")[1],
}


@pytest.mark.parametrize("case", list(NO_CERTIFICATE))
def test_nothing_else_is_taken_for_a_certificate(board, agent, folder, case):
    agent.wrap = NO_CERTIFICATE[case]
    got = run(board, PROVISION, agent, folder).report["got"]
    assert got["on"] == "error", got
    assert "no certificate for us" in got["error_str"]
    assert got["error_code"] == 0
    assert files(folder) == {"client-key.pem", "client-csr.pem"}


def test_pain_15_a_refusal_is_told_with_code_and_words(board, agent, folder):
    agent.set(licences=0)
    got = run(board, PROVISION, agent, folder).report["got"]
    assert got == {
        "on": "error",
        "user_data": "mine",
        "error_code": 2,
        "error_str": "NoLicence: no licence for a further connector",
    }


def test_an_agent_with_rsa_keys(board, tmp_path):
    """As the vendor's: its CA, its server, and so the signature on our P-256 key."""
    if board.kind == "micropython32":
        # OpenSSL then signs with RSA-PSS in TLS 1.2, and is told "illegal parameter" (-26112).
        pytest.skip("Debian's mbedTLS offers RSA-PSS in TLS 1.2, which it can't read there")
    with running(tmp_path / "state", key_type="rsa") as agent:
        got = run(
            board,
            """
c = connected()
report(got=ask(c, c.check_connection)["on"])
""",
            agent,
            tmp_path / "certs",
        ).report
        ca = x509.load_pem_x509_certificate(open(agent.ca_file, "rb").read())
    assert got == {"got": "response"}
    certificate = x509.load_pem_x509_certificate(
        (tmp_path / "certs" / "client-cert.pem").read_bytes()
    )
    assert ca.public_key().key_size == 2048
    assert certificate.public_key().key_size == 256
    certificate.verify_directly_issued_by(ca)


def test_an_agent_that_speaks_tls_on_the_provisioning_port(board, tmp_path):
    with running(tmp_path / "state", provision_tls=True) as agent:
        got = run(board, PROVISION, agent, tmp_path / "certs").report["got"]
    assert got["msg"] == "Client is successfully provisioned."


def test_the_provisioning_port_is_not_trusted_blindly(board, tmp_path):
    """Over TLS with a wrong CA there is no certificate, and the reason is told."""
    other = tmp_path / "other.crt"
    other.write_bytes(pki.Authority("somebody else's").pem)
    with running(tmp_path / "state", provision_tls=True) as agent:
        got = run(
            board,
            PROVISION,
            agent,
            tmp_path / "certs",
            CaFile=str(other),
            ProvisionTimeout=3,
        ).report["got"]
    assert got["on"] == "error"
    assert got["error_code"] == 21
    assert "ca:" in got["error_str"]


# -- files that can't be used ------------------------------------------------------------------


def test_a_folder_that_can_t_be_made(board, agent, folder):
    folder.parent.mkdir()
    folder.write_text("")
    got = run(
        board,
        """
try:
    client().provision()
except DirectoryError as e:
    report(code=e.error_code, text=str(e))
""",
        agent,
        folder / "inside",
    ).report
    assert got["code"] in (17, 20)  # EEXIST, ENOTDIR
    assert "certs/inside" in got["text"]


def test_a_folder_that_can_t_be_written(board, agent, folder):
    (folder / "client-csr.pem.new" / "x").mkdir(parents=True)  # a directory is in the way
    got = run(board, PROVISION, agent, folder).report["got"]
    assert got["on"] == "error"
    assert got["error_code"] in (17, 21, 39)
    assert "client-csr.pem" in got["error_str"]


def test_a_certificate_that_can_t_be_written(board, agent, folder):
    got = run(
        board,
        """
import os
c = client()
c.provision()
while not any("asking" in line for line in logged):
    c.do_next()
os.mkdir(c.get_cert_path() + ".new")
report(got=drive(c)[0])
os.rmdir(c.get_cert_path() + ".new")
c.provision()
report(got=drive(c)[0])
""",
        agent,
        folder,
    ).reports
    assert got[0]["got"]["error_str"] == "Error writing the certificate to file.", got
    assert got[0]["got"]["error_code"] == 21
    assert got[1]["got"]["msg"] == "Client is successfully provisioned."


def test_connecting_without_a_usable_certificate(board, agent, folder):
    never, cut, expired = (folder / name for name in ("never", "cut", "expired"))
    run(board, PROVISION, agent, cut)
    pem = (cut / "client-cert.pem").read_bytes()
    (cut / "client-cert.pem").write_bytes(pem[:-40])
    expired.mkdir()
    expired_certificate(agent, expired)
    reports = board.run(
        DEVICE
        + """
for folder in folders:
    try:
        client(CertFolder=folder).connect_api()
        report(kind="none")
    except TvcmiError as e:
        report(kind=type(e).__name__, text=str(e))
""",
        parameters=agent.parameters("x"),
        folders=[str(folder) for folder in (never, cut, expired)],
    ).reports
    assert [r["kind"] for r in reports] == [
        "FileError",
        "KeyCertificateError",
        "KeyCertificateError",
    ]
    assert "client-cert.pem" in reports[0]["text"]
    assert "damaged" in reports[1]["text"] and "provision()" in reports[1]["text"]
    assert "ended on 20" in reports[2]["text"] and "provision()" in reports[2]["text"]


# -- certificates, byte by byte ----------------------------------------------------------------

PARSE = """
import teamviewer_setup as setup
for pem in pems:
    try:
        name, until, key = setup._parse(setup._pem(pem, setup._CERTIFICATE)[1])
        report(name=name, until=until, key="".join("%02x" % b for b in key))
    except ValueError as e:
        report(error=str(e))
"""


def test_common_name_end_and_key_are_read_as_openssl_reads_them(board):
    ec = pki.Authority("a")
    rsa = pki.Authority("b", key_type="rsa")
    late = datetime.datetime(2061, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc)  # GeneralizedTime
    made = [
        ec.issue_client("c7721a37a2224a0bae22b8ef38e4de80"),
        rsa.issue_client("Käse & Söhne"),
        ec.issue_client("x", not_after=late),
        ec.issue_server(["a.example", "b.example"], key_type="rsa"),
        several_names(ec),
        printable_name(ec),
    ]
    reports = board.run("" + PARSE, pems=[issued.pem for issued in made]).reports
    for got, issued in zip(reports, made):
        certificate = issued.certificate
        assert got["name"] == pki.common_name(certificate)
        assert got["until"] == certificate.not_valid_after_utc.strftime("%Y%m%d%H%M%S")
        assert (
            got["key"]
            in certificate.public_key()
            .public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .hex()
        )


def _signed(authority, subject):
    key = pki.make_key()
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .sign(authority.key, hashes.SHA256())
    )
    return pki.Issued(certificate, key)


def several_names(authority):
    oid = x509.NameOID
    return _signed(
        authority,
        [
            x509.NameAttribute(oid.COUNTRY_NAME, "AM"),
            x509.NameAttribute(oid.ORGANIZATION_NAME, "o"),
            x509.NameAttribute(oid.COMMON_NAME, "first"),
            x509.NameAttribute(oid.COMMON_NAME, "second"),
        ],
    )


def printable_name(authority):
    kind = x509.name._ASN1Type.PrintableString
    return _signed(authority, [x509.NameAttribute(x509.NameOID.COMMON_NAME, "plain", _type=kind)])


def test_names_that_can_t_be_a_level_of_a_topic_are_refused(board):
    ec = pki.Authority("a")
    made = [ec.issue_client(name).pem for name in ("a/b", "+", "#")]
    made.append(_signed(ec, [x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "AM")]).pem)
    assert [r["error"] for r in board.run(PARSE, pems=made).reports] == [
        "no usable common name"
    ] * 4


def test_every_truncation_and_many_a_changed_byte_is_an_error_or_harmless(board):
    """Nothing but ValueError comes out, whatever the bytes."""
    der = pki.Authority("a").issue_client("c7721a37a2224a0bae22b8ef38e4de80").der
    (got,) = board.run(
        """
import teamviewer_setup as setup
whole = setup._parse(der)
refused = harmless = 0
for i in range(len(der)):
    try:
        # As _pem() does: one element, all of it.
        if setup._tlv(der[:i], 0)[2] == i:
            setup._parse(der[:i])
        harmless += 1
    except ValueError:
        refused += 1
for i in range(len(der)):
    for flip in (0x01, 0x80, 0xFF):
        changed = bytearray(der)
        changed[i] ^= flip
        try:
            setup._parse(bytes(changed))
        except ValueError:
            pass
report(refused=refused, harmless=harmless, name=whole[0])
""",
        der=der,
    ).reports
    assert got == {
        "refused": len(der),
        "harmless": 0,
        "name": "c7721a37a2224a0bae22b8ef38e4de80",
    }


# -- nothing secret is told --------------------------------------------------------------------


def test_pain_20_logs_and_errors_hold_no_key(board, agent, folder):
    got = run(
        board,
        """
c = connected()
c.client_error("x")
report(logged=logged, key=c.read_key_from_file())
""",
        agent,
        folder,
    )
    body = json.loads(json.dumps(got.report["key"])).split("\n")[1:-2]
    said = "\n".join(got.report["logged"]) + got.err
    assert got.report["logged"]
    assert not [line for line in body if line in said]
