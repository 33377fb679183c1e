"""
A TeamViewer device of cloud.py on the emulated board: it makes its key, gets its certificate,
connects with it over mutual TLS, and comes back after a cut. Its files lie on a disk in
RAM, as the board has no flash.
"""

import cloud_rig
from cloud_rig import world  # noqa: F401
from waiting import until

# ruff: noqa: F811 (the fixture above is what the test's argument is)

PROGRAM = """
import gc
import time
import vfs

class Ram:
    SIZE = 256
    def __init__(self, count):
        self.data = bytearray(count * self.SIZE)
    def readblocks(self, block, buf, offset=0):
        at = block * self.SIZE + offset
        buf[:] = memoryview(self.data)[at : at + len(buf)]
    def writeblocks(self, block, buf, offset=0):
        at = block * self.SIZE + offset
        self.data[at : at + len(buf)] = buf
    def ioctl(self, op, arg):
        if op == 4:
            return len(self.data) // self.SIZE
        if op == 5:
            return self.SIZE
        return 0

disk = Ram(64)
vfs.VfsLfs2.mkfs(disk)
vfs.mount(vfs.VfsLfs2(disk), "/flash")

import cloud

device = cloud.Device(SETTINGS)
gc.collect()
report(free=gc.mem_free())
device.send({"celsius": 21.5})
start = time.ticks_ms()
while device.pending:
    device.do_next(20)
    if time.ticks_diff(time.ticks_ms(), start) > 600000:
        raise Exception("in vain: %r" % device.error)
report(error=str(device.error), connected=device.is_connected())
n = 0
while True:
    if not device.pending:
        n += 1
        device.send({"celsius": n})
    device.do_next(100)
"""


def test_it_provisions_connects_and_comes_back(board_lwip, world, tmp_path, request):
    place = world.place("teamviewer", cloud_rig.name_of(request), tmp_path)
    settings = dict(
        place.settings,
        host=board_lwip.host,
        server_name="localhost",
        folder="/flash/tv",
        ca="/host" + place.settings["ca"],
    )
    program = board_lwip.start(PROGRAM, heap="190k", SETTINGS=settings)
    assert program.next_report(60)["free"] > 0
    said = program.next_report(110)
    assert said["connected"] is True, said
    assert place.wait(1)[0] == ("telemetry", {"celsius": 21.5})
    connections = place.line.connections
    place.line.cut()
    until(lambda: place.line.connections > connections, 60, "another connection")
    place.wait(len(place.messages()) + 2, timeout=60)
    assert program.process.rc is None, "the watchdog has bitten: {}".format(program.process.tail())
    place.close()
