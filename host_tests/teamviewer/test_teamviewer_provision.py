"""
How a client gets its certificate: key, request, answer, and being cut short anywhere.
"""

import os
import socket
import stat
import threading

from certificates import make_rsa_key
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from localcloud import pki
from teamviewer_rig import PROVISION, files, run, running


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
import netstream
import os
real = open
modes = {}
def spy(path, *mode):
    f = real(path, *mode)
    if mode and "w" in mode[0]:
        modes[path.split("/")[-1]] = os.stat(path)[0] & 0o777
    return f
load = netstream.load_once
def load_spied(name):
    module = load(name)
    if name == "teamviewer_files":
        module.open = spy
    return module
netstream.load_once = load_spied
c = client()
c.provision()
drive(c)
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
