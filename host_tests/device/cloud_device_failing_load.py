# A file that is loaded on demand can't be loaded twice, for want of memory.
from given import report

import cloud_device

class Device(cloud_device.Device):
    _most = 1000
    def _step(self, wait_ms):
        return False
    def _pack(self, topic, text, fields, when):
        return (text,)
    def _put(self, text):
        return None

class Failing:
    left = 3
    def make(self, device, settings):
        device._template = "{name}"
    def named(self, names, name, template):
        names[name] = name
    def tell(self, device, fields):
        self.left -= 1
        if self.left:
            raise MemoryError("no heap")
        return "told"

failing = Failing()
cloud_device.load_once = lambda name: failing
device = Device({"keep": 4})
device._on_up()
device.report({"a": 1})
report(error=type(device.error).__name__, pending=device.pending)
for _ in range(4):
    device.do_next()
report(error=type(device.error).__name__, left=failing.left, pending=device.pending)
