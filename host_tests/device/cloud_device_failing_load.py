# A file that is loaded on demand can't be loaded twice, for want of memory.
from given import report

import cloud_device
import cloud_seldom

class Device(cloud_device.Device):
    def _step(self, wait_ms):
        return False
    def _pack(self, topic, text, fields, when):
        return (text,)
    def _put(self, text):
        return None

class Failing:
    left = 3
    def tell(self, device):
        self.left -= 1
        if self.left:
            raise MemoryError("no heap")
        cloud_seldom.told(device, "told")

failing = Failing()
cloud_device.load_once = lambda name: failing
device = Device()
cloud_seldom.prepare(device, {"keep": 4})
cloud_seldom.up(device)
device.report({"a": 1})
report(error=type(device.error).__name__, pending=device.pending)
for _ in range(4):
    device.do_next()
report(error=type(device.error).__name__, left=failing.left, pending=device.pending)
