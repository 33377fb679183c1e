"""
SMART: whether the agent accepts the certificate that is there.
"""


from certificates import make_rsa_key
import pytest
from localcloud import pki
from teamviewer_rig import PROVISION, expired_certificate, run


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
