"""reasons: the words for what went wrong, and that they cost nothing when nothing has."""

import pytest


@pytest.mark.parametrize(
    "error, word",
    [
        ("OSError(-9984, 'the certificate validity starts in the future')", "clock: "),
        ("OSError(-9984, 'The certificate validity has expired')", "expired: "),
        ("OSError(-9984, 'Common Name (CN) does not match')", "host: certificate is not for h"),
        ("OSError(-9984, 'not correctly signed by the trusted CA')", "ca: "),
        ("OSError(-32512, 'MBEDTLS_ERR_SSL_ALLOC_FAILED')", "memory: out of memory: TLS needs"),
        ("OSError(12)", "memory: out of memory: TLS needs"),
        ("OSError(-9999, 'ALLOC_FAILED somewhere')", "memory: "),
        ("OSError(-30592, 'handshake failure')", "handshake: "),
    ],
)
def test_why_tls_failed(board, error, word):
    source = "import reasons\nreport(said=reasons.tls({}, 'h', True))".format(error)
    assert board.run(source).report["said"].startswith(word)


def test_a_loss_after_the_handshake_needs_no_words(board):
    source = "import reasons\nreport(said=reasons.tls(OSError(104), 'h', False))"
    assert board.run(source).report["said"] is None


def test_where_the_heap_is_full_a_wrong_ca_is_not_claimed(board):
    # mbedTLS calls a certificate untrusted when it had no memory to verify it.
    source = """
import gc, sys
import reasons
error = OSError(-9984, "not correctly signed by the trusted CA")
def full(size):
    raise MemoryError
reasons.bytearray = full
report(said=reasons.tls(error, "h", True))
"""
    assert board.run(source).report["said"].startswith("memory: ")


def test_it_is_let_go_of_and_short_words_stand_in_when_it_can_not_be_loaded(board, tmp_path):
    source = """
import sys
import netstream
report(said=netstream.reason("short", "no_socket"), kept="reasons" in sys.modules)
"""
    report = board.run(source).report
    assert report["said"].startswith("no socket is free: ") and not report["kept"]
    (tmp_path / "reasons.py").write_text("raise MemoryError\n")
    assert board.run(source, before_lib=(tmp_path,)).report["said"] == "short"
