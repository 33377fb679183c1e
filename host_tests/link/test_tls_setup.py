"""tls_setup, read as its specification: certificates and keys, and what can not be used."""

import pytest
from localcloud import pki

LOAD = """
import tls_setup

def load(source, label=b"CERTIFICATE"):
    try:
        return [len(der) for der in tls_setup.load(source, label)]
    except ValueError as e:
        return str(e)

def context(options):
    try:
        return tls_setup.context(options) is not None
    except ValueError as e:
        return str(e)
"""


@pytest.fixture(scope="module")
def authority():
    return pki.Authority()


@pytest.fixture(scope="module")
def client(authority):
    return authority.issue_client("board-1")


def test_a_pem_that_is_cut_anywhere_is_a_valueerror(board, authority):
    # Only the newline behind its END line may be missing.
    source = (
        LOAD
        + """
whole = load(pem)
bad = []
for n in range(1, len(pem) - 1):
    said = load(pem[:n])
    if said == whole:
        bad.append(n)
report(whole=whole, bad=bad)
"""
    )
    pem = authority.pem
    # What is cut in its first line is no PEM any more, and comes back as it is.
    report = board.run(source, pem=pem).report
    assert report["whole"] == [len(authority.der)]
    assert report["bad"] == []


def test_pain_46_an_encrypted_key_is_named(board):
    old = (
        b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n"
        b"-----END EC PRIVATE KEY-----\n"
    )
    new = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    source = LOAD + "report(said=[load(old, b'KEY'), load(new, b'KEY')])"
    for said in board.run(source, old=old, new=new).report["said"]:
        assert said.startswith("key is encrypted: openssl ")


def test_pain_46_other_words_for_the_same_things(board, authority, client):
    source = (
        LOAD
        + """
report(said=[
    context({"cafile": ca, "certfile": cert, "keyfile": key}),
    context({"cadata": ca}),
    context({"ca": ca, "verify": False}),
    context({"ca": ca, "certfile": cert}),
])
"""
    )
    said = board.run(source, ca=authority.der, cert=client.pem, key=client.key_pem).report["said"]
    assert said[:3] == [True] * 3
    assert said[3].startswith("ssl: bad cert or key")


def test_verify_off_beside_a_ca_verifies_nothing(board, authority):
    source = LOAD + (
        "import tls\n"
        "made = tls_setup.context({'ca': ca, 'verify': False})\n"
        "report(none=made.verify_mode == tls.CERT_NONE)"
    )
    assert board.run(source, ca=authority.der).report["none"]


def test_it_is_let_go_of(board, authority):
    source = """
import sys
import netstream
netstream.tls_context({"ca": ca})
report(kept="tls_setup" in sys.modules)
"""
    assert not board.run(source, ca=authority.der).report["kept"]


def test_pain_45_a_misspelt_name_is_told_with_the_right_one(board, authority, client):
    """Silently passed over, "verfiy" would verify and "server_hostnam" would verify another."""
    source = (
        LOAD
        + """
import sys
for name in names:
    options = {"ca": ca, "cert": cert, "key": key, name: "x"}
    report(said=context(options))
report(kept="option_names" in sys.modules)
"""
    )
    wrong = {
        "verfiy": "verify", "Verify": "verify", "cerfile": "certfile", "kye": "key",
        "server_hostnam": "server_hostname", "caa": "ca",
    }  # fmt: skip
    other = ["cert_reqs", "do_handshake", "server_side", "x"]
    reports = board.run(
        source,
        names=list(wrong) + other,
        ca=authority.der,
        cert=client.der,
        key=client.key_der,
    ).reports
    for (name, right), got in zip(wrong.items(), reports):
        assert got["said"] == "option %r: write %r" % (name, right)
    assert [got["said"] for got in reports[len(wrong) : -1]] == [True] * len(other)
    assert reports[-1]["kept"] is False
