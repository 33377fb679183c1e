# ruff: noqa: F821 (what stands before it defines the rest)
# A certificate that is issued into flash made of RAM, and renewed. iotc_endurance_clock.py is
# there.
from given import CA, DUE, GROUP, SCOPE, SERVER, report

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
