"""The local cloud's certificates: who trusts them, who must not, and what is left on disk."""

import datetime
import os
import socket
import ssl
import stat

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from localcloud import pki
from localcloud.mqtt import codec as mq
from localcloud.mqtt import server as mqtt_server
from localcloud_rig import Raw, running

DAY = datetime.timedelta(days=1)


def now():
    return datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return pki.Pki(
        str(tmp_path_factory.mktemp("pki")), ["*.messaging.example.com", "hub.azure-devices.net"]
    )


def handshake(server, client, name="localhost"):
    """TLS between two contexts in memory: the client's view of the server's certificate."""
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(a, b, server_hostname=name)
    ours = server.wrap_bio(b, a, server_side=True)
    for _ in range(10):
        for side in (theirs, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return theirs, ours


@pytest.mark.parametrize(
    "name",
    ["localhost", "127.0.0.1", "::1", "abc123.messaging.example.com", "hub.azure-devices.net"],
)
def test_every_name_is_verified(ca, name):
    theirs, _ = handshake(ca.server_context(), pki.client_context(ca.ca_pem), name)
    assert theirs.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize("name", ["example.com", "a.b.messaging.example.com", "127.0.0.2"])
def test_other_names_are_not(ca, name):
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch|not valid for"):
        handshake(ca.server_context(), pki.client_context(ca.ca_pem), name)


def test_nothing_older_than_tls_1_2(ca):
    assert ca.server_context().minimum_version == ssl.TLSVersion.TLSv1_2


def test_no_suite_without_ecdhe(ca):
    """Neither RSA key transport nor plain Diffie-Hellman, whatever a client offers."""
    for offered, taken in (("ECDHE+AESGCM", True), ("RSA+AESGCM", False), ("DHE+AES", False)):
        client = pki.client_context(ca.ca_pem)
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers(offered)
        if taken:
            handshake(ca.server_context(), client)
        else:
            with pytest.raises(ssl.SSLError):
                handshake(ca.server_context(), client)


@pytest.mark.parametrize(
    "key_type, kind", [("ec", ec.EllipticCurvePrivateKey), ("rsa", rsa.RSAPrivateKey)]
)
def test_key_types(tmp_path, key_type, kind):
    made = pki.Pki(str(tmp_path), key_type=key_type)
    assert isinstance(made.authority.key, kind)
    handshake(made.server_context(), pki.client_context(made.ca_pem))
    client = made.authority.issue_client("dev")
    assert client.key_pem.startswith(b"-----BEGIN %s PRIVATE KEY" % key_type.upper().encode())
    with pytest.raises(ValueError, match="ec or rsa"):
        pki.make_key("dsa")


def test_with_rsa_there_is_an_authority_in_between(tmp_path):
    """As with public services: the server shows it, and a client needs the root alone."""
    made = pki.Pki(str(tmp_path), ["a.example"], key_type="rsa")
    with open(made.server_pem, "rb") as f:
        leaf, between = x509.load_pem_x509_certificates(f.read())
    root = made.authority.certificate
    between.verify_directly_issued_by(root)
    leaf.verify_directly_issued_by(between)
    assert between.subject != root.subject and root.issuer == root.subject
    with pytest.raises((ValueError, InvalidSignature)):
        leaf.verify_directly_issued_by(root)
    again = pki.Pki(str(tmp_path), ["a.example"], key_type="rsa")
    assert again.issuing.certificate == between and again.authority.certificate == root


def test_files_are_der_and_pem_of_the_same_and_keys_are_private(tmp_path):
    before = os.umask(0)
    try:
        made = pki.Pki(str(tmp_path / "new"))
    finally:
        os.umask(before)
    names = sorted(os.listdir(made.directory))
    assert names == [
        "ca-key.pem",
        "ca.der",
        "ca.pem",
        "server-key.der",
        "server-key.pem",
        "server.der",
        "server.pem",
    ]
    for name in names:
        mode = stat.S_IMODE(os.stat(os.path.join(made.directory, name)).st_mode)
        assert mode == (0o600 if "key" in name else 0o644), name
    with open(made.ca_der, "rb") as der, open(made.ca_pem, "rb") as pem:
        assert x509.load_der_x509_certificate(der.read()) == x509.load_pem_x509_certificate(
            pem.read()
        )


def read(made, name):
    with open(os.path.join(made.directory, name), "rb") as f:
        return f.read()


def test_a_second_start_changes_nothing(tmp_path):
    first = pki.Pki(str(tmp_path), ["a.example"])
    before = {name: read(first, name) for name in os.listdir(str(tmp_path))}
    second = pki.Pki(str(tmp_path), ["a.example"])
    assert before == {name: read(second, name) for name in os.listdir(str(tmp_path))}


def test_new_names_make_a_new_server_certificate_of_the_same_ca(tmp_path):
    first = pki.Pki(str(tmp_path), ["a.example"])
    ca_before, server_before = read(first, "ca.pem"), read(first, "server.pem")
    second = pki.Pki(str(tmp_path), ["a.example", "b.example"])
    assert read(second, "ca.pem") == ca_before
    assert read(second, "server.pem") != server_before
    handshake(second.server_context(), pki.client_context(second.ca_pem), "b.example")


@pytest.mark.parametrize("damage", ["server.pem", "server-key.pem", "ca.pem", "ca-key.pem"])
def test_damaged_or_missing_files_are_made_again(tmp_path, damage):
    first = pki.Pki(str(tmp_path))
    path = os.path.join(first.directory, damage)
    for how in ("remove", "garble"):
        if how == "remove":
            os.remove(path)
        else:
            with open(path, "wb") as f:
                f.write(b"-----BEGIN CERTIFICATE-----\nno\n")
        again = pki.Pki(str(tmp_path))
        handshake(again.server_context(), pki.client_context(again.ca_pem))


def test_what_ends_soon_is_made_again(tmp_path):
    first = pki.Pki(str(tmp_path))
    soon = first.authority.issue_server(first.names, not_after=now() + 20 * DAY)
    soon.write(str(tmp_path), "server")
    again = pki.Pki(str(tmp_path))
    assert read(again, "server.pem") != soon.pem
    assert read(again, "ca.pem") == first.authority.pem


# ---- certificates that must not be trusted

BAD = {
    "expired": lambda a: a.issue_server(not_after=now() - DAY),
    "not yet valid": lambda a: a.issue_server(not_before=now() + DAY, not_after=now() + 9 * DAY),
    "wrong host": lambda a: a.issue_server(["elsewhere.example"]),
    "unknown CA": lambda a: pki.Authority("somebody else").issue_server(),
}


@pytest.mark.parametrize("bad", sorted(BAD))
def test_bad_certificates_for_tests_are_refused(ca, bad):
    context = BAD[bad](ca.authority).server_context()
    reasons = {
        "expired": "certificate has expired",
        "not yet valid": "certificate is not yet valid",
        "wrong host": "Hostname mismatch",
        "unknown CA": "unable to get local issuer certificate",
    }
    with pytest.raises(ssl.SSLCertVerificationError, match=reasons[bad]):
        handshake(context, pki.client_context(ca.ca_pem))


# ---- clients' certificates


def client_files(issued, tmp_path):
    return issued.write(str(tmp_path), "client")


def test_the_server_sees_a_clients_certificate_if_it_has_one(ca, tmp_path):
    class Service(mqtt_server.OpenBroker):
        seen = []

        def authenticate(self, client, password):
            self.seen.append(client.certificate and pki.common_name(client.certificate))
            assert client.secure
            return 0

    issued = ca.authority.issue_client("pump-7")
    with running(Service(), tls=ca.server_context(ask_client=True)) as (_, port, _):
        Raw(port, tls=pki.client_context(ca.ca_pem)).connect("a").leave()
        with_one = pki.client_context(ca.ca_pem, *client_files(issued, tmp_path))
        Raw(port, tls=with_one).connect("b").leave()
        # Without TLS there is nothing to see, and nothing comes through.
        Raw(port).send(mq.Connect("c")).closed()
    assert Service.seen == [None, "pump-7"]


@pytest.mark.parametrize("bad", ["stranger", "expired", "none"])
def test_a_client_that_must_show_a_certificate(ca, tmp_path, bad):
    if bad == "stranger":
        issued = pki.Authority("somebody else").issue_client("x")
    else:
        issued = ca.authority.issue_client("x", not_after=now() - DAY)
    files = () if bad == "none" else client_files(issued, tmp_path)
    with running(mqtt_server.OpenBroker(), tls=ca.server_context(client_required=True)) as (
        server,
        port,
        _,
    ):
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            Raw(port, tls=pki.client_context(ca.ca_pem, *files)).connect()
        assert not server.clients


def test_one_more_issuer_or_certificate_may_be_trusted_later(ca, tmp_path):
    context = ca.server_context(ask_client=True)
    other = pki.Authority("another").issue_client("self")
    client = pki.client_context(ca.ca_pem, *client_files(other, tmp_path))
    client.maximum_version = ssl.TLSVersion.TLSv1_2  # so that the refusal is in the handshake
    with pytest.raises(ssl.SSLError):
        handshake(context, client)
    context.load_verify_locations(cadata=other.der)
    _, ours = handshake(context, client)
    assert pki.common_name(ours.getpeercert(True)) == "self"


def make_csr(common_name="pump 7", key=None):
    key = key or pki.make_key("ec")
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .sign(key, hashes.SHA256())
    )


@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
def test_signing_a_request(ca, encoding):
    request = make_csr()
    issued = ca.authority.sign_csr(request.public_bytes(encoding))
    assert issued.common_name == "pump 7"
    assert issued.certificate.public_key() == request.public_key()
    issued.certificate.verify_directly_issued_by(ca.authority.certificate)
    assert (
        ca.authority.sign_csr(request.public_bytes(encoding), "renamed").common_name == "renamed"
    )


def test_requests_that_are_none(ca):
    forged = bytearray(make_csr().public_bytes(serialization.Encoding.DER))
    forged[-1] ^= 1
    for junk in (b"", b"hello", b"-----BEGIN CERTIFICATE REQUEST-----\nAA\n", bytes(forged)):
        with pytest.raises(ValueError):
            ca.authority.sign_csr(junk)


def test_thumbprint_and_common_name(ca):
    issued = ca.authority.issue_client("d1")
    assert (
        pki.thumbprint(issued.der) == issued.certificate.fingerprint(hashes.SHA1()).hex().upper()
    )
    assert len(pki.thumbprint(issued.der, "sha256")) == 64
    assert pki.common_name(issued.der) == pki.common_name(issued.pem) == "d1"


def test_a_handshake_that_never_ends_is_ended(ca):
    options = {"tls": ca.server_context(), "connect_timeout": 0.5}
    with running(mqtt_server.OpenBroker(), **options) as (server, port, _):
        with socket.create_connection(("127.0.0.1", port), 10) as s:
            s.sendall(b"\x16\x03\x01\x02\x00\x01")
            assert s.recv(100) == b""
