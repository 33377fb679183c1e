# A TeamViewer device with its files in flash made of RAM: it provisions, and sends for ever.
from given import SETTINGS, report

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
