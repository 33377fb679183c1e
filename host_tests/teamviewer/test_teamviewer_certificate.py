"""
teamviewer_certificate: certificates byte by byte, PEM and keys cut anywhere.
"""

import datetime

from certificates import make_rsa_key
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from localcloud import pki
from teamviewer_rig import DEVICE


PARSE = """
import teamviewer_certificate as certificates
for pem in pems:
    try:
        name, until, key = certificates.parse(certificates.pem(pem, certificates.CERTIFICATE)[1])
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
    """Its kind of text written over the usual UTF8String: nobody looks at the signature here."""
    issued = _signed(authority, [x509.NameAttribute(x509.NameOID.COMMON_NAME, "plain")])
    der = issued.der.replace(b"\x0c\x05plain", b"\x13\x05plain")
    return pki.Issued(x509.load_der_x509_certificate(der), issued.key)


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
import teamviewer_certificate as certificates
whole = certificates.parse(der)
refused = harmless = 0
for i in range(len(der)):
    try:
        # As pem() does: one element, all of it.
        if certificates.element(der[:i], 0)[2] == i:
            certificates.parse(der[:i])
        harmless += 1
    except ValueError:
        refused += 1
for i in range(len(der)):
    for flip in (0x01, 0x80, 0xFF):
        changed = bytearray(der)
        changed[i] ^= flip
        try:
            certificates.parse(bytes(changed))
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


def test_pain_46_pem_cut_anywhere_is_a_value_error(board):
    """Never half a certificate; what stands before and behind a whole one does not matter."""
    issued = pki.Authority("a").issue_client("c7721a37a2224a0bae22b8ef38e4de80")
    got = board.run(
        """
import teamviewer_certificate as certificates
whole = certificates.pem(pem, certificates.CERTIFICATE)
refused = 0
for i in range(len(pem) - 1):
    try:
        found = certificates.pem(pem[:i], certificates.CERTIFICATE)
        assert found == whole, i
    except ValueError:
        refused += 1
around = certificates.pem(b"text\\n" + pem + b"more" + pem, certificates.CERTIFICATE)
report(refused=refused, around=around == whole)
""".replace("\\\\", "\\"),
        pem=issued.pem,
    ).report
    # The last line's dashes and its end may be missing.
    assert len(issued.pem) - 3 <= got["refused"] + 1 <= len(issued.pem)
    assert got["around"]


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_pain_46_a_key_cut_anywhere_is_refused_when_connecting(board, agent, tmp_path, kind):
    """connect_api() says so at once, whatever is left of the file; half a key is never used."""
    folder = tmp_path / "certs"
    if kind == "rsa":
        make_rsa_key.write(str(folder), "client")
    got = board.run(
        DEVICE
        + """
c = provisioned()
with open(c.get_key_path(), "rb") as f:
    key = f.read()
end = key.find(b"-----END")
step = 1 if end < 400 else 23
refused = taken = 0
for i in list(range(0, end, step)) + [end + 3]:
    with open(c.get_key_path(), "wb") as f:
        f.write(key[:i])
    try:
        c.connect_api()
        taken += 1
    except TLSError:
        refused += 1
report(taken=taken, refused=refused)
""",
        timeout=60,
        parameters=agent.parameters(folder),
    ).report
    assert got["taken"] == 0
    assert got["refused"] > 60
