"""
Files that can't be used, and what must not be in any text.
"""

import json

from teamviewer_rig import DEVICE, PROVISION, expired_certificate, run


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
