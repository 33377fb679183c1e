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

PROGRAM = """
import gc
import os

class Disk:
    "Flash in RAM, of 32 blocks of 512 bytes."
    def __init__(self):
        self.data = bytearray(16384)
    def readblocks(self, n, buf, at=0):
        at += n * 512
        buf[:] = self.data[at : at + len(buf)]
    def writeblocks(self, n, buf, at=0):
        at += n * 512
        self.data[at : at + len(buf)] = buf
    def ioctl(self, what, n):
        return {4: 32, 5: 512, 6: 0}.get(what, 0)

disk = Disk()
os.VfsLfs2.mkfs(disk)
os.mount(os.VfsLfs2(disk), "/flash")

import iotc
iotc.Device.ca = CA
iotc.Device.server = SERVER
iotc.Device.certificate_file = "/flash/device.pem"
d = iotc.Device(SCOPE, GROUP, "sensor-01", 1)
d.setQosLevel(1)

def head():
    with open("/flash/device.pem") as file:
        return file.readline()

def step():
    start = _real.ticks_us()
    worked = d.do_next(0)
    took = _real.ticks_diff(_real.ticks_us(), start)
    if not worked:
        _real.sleep_ms(2)
    return took

assert d.connect() == 0, d.error
assert d.sendTelemetry({"n": 0}) == 0
while d.inflight:
    step()
gc.collect()
report(files=os.listdir("/flash"), free=gc.mem_free())
before = head()
time.ahead = DUE
steps = longest = took = 0
while head() == before and steps < 20000:
    longest = max(longest, took)
    took = step()
    steps += 1
# Twice TLS reads key and chain: before the file takes its name, and for the new connection. Then
# comes the handshake, which is arithmetic.
tls = max(took, step())
report(steps=steps, longest_ms=longest // 1000, tls_ms=tls // 1000, error=d.error)
assert d.sendTelemetry({"n": 1}) == 0
while d.inflight:
    step()
report(connected=d.isConnected(), error=d.error)
"""


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
