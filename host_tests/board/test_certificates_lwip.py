"""
A certificate is issued to an emulated board and renewed there: lib/iotc_certificates.py with lwIP,
mbedTLS and littlefs. Its watchdog bites whoever blocks for eight seconds.
"""

import pathlib

import azure_rig
from azure_rig import fresh  # noqa: F401
from board import promises
from device_program import program

# ruff: noqa: F811 (the fixture above is what the test's argument is)

PROGRAM = program("certificates_lwip_renewal")


def test_a_certificate_is_issued_and_renewed_step_by_step(fresh, board_lwip):
    """No step of a renewal is long; the TLS handshake of the new connection comes after it."""
    source = program("iotc_endurance_clock") + PROGRAM
    got = board_lwip.run(
        source,
        timeout=110,
        heap="190k",
        CA=pathlib.Path(fresh.ca_der),
        SERVER="%s:%d" % (board_lwip.host, fresh.tls_port),
        SCOPE=azure_rig.SCOPE,
        GROUP=azure_rig.GROUP_KEY,
        DUE=25 * 86400,
        EPOCH=1970,
    ).reports
    assert got[0]["files"] == ["device.pem"]
    assert got[1]["error"] is None and got[2] == {"connected": True, "error": None}
    assert got[1]["longest_ms"] < promises.STEP_MS
    assert got[1]["tls_ms"] < 2 * promises.STEP_MS  # 49 were measured
    known = fresh.do(fresh.azure.certificates.of, fresh.device("sensor-01"))
    assert len(known["used"]) == 2
    assert len(fresh.telemetry(2)) == 2
