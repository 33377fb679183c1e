"""tools/certificates azure-roots: both roots of Azure in one file, and a board takes that file."""

import hashlib
import ssl

from certificates import azure_roots
import pytest


def test_both_roots_in_one_file_that_a_board_takes(board, tmp_path, capsys):
    path = tmp_path / "azure.pem"
    if azure_roots.main([str(path)]):
        pytest.skip(capsys.readouterr().err)
    blocks = path.read_text().split("-----BEGIN CERTIFICATE-----")[1:]
    digests = [
        hashlib.sha256(
            ssl.PEM_cert_to_DER_cert(
                "-----BEGIN CERTIFICATE-----" + block.split("# ")[0].rstrip() + "\n"
            )
        ).hexdigest()
        for block in blocks
    ]
    assert digests == list(azure_roots.ROOTS)
    got = board.run(
        """
        import netstream, tls_setup
        report(kind=type(netstream.tls_context({"ca": path})).__name__,
            ders=[len(der) for der in tls_setup.load(path)])
        """,
        path=path,
    ).report
    assert got["kind"] == "SSLContext" and len(got["ders"]) == 2


def test_a_root_that_is_not_there_is_named():
    with pytest.raises(LookupError, match="DigiCert"):
        azure_roots.bundle([])


def test_how_it_is_called(tmp_path, capsys):
    assert azure_roots.main([]) == 2
    assert "FILE.pem" in capsys.readouterr().err
    assert azure_roots.main([str(tmp_path / "none" / "x.pem")]) == 1
    assert "none" in capsys.readouterr().err
