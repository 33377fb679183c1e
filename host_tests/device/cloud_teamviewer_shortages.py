# Some loads of a file fail for want of memory: SHORT says which, counted from 1.
from given import SETTINGS, SHORT, report

import cloud
import cloud_teamviewer

load = cloud_teamviewer.load_once
loads = 0

def short_of_memory(name):
    global loads
    loads += 1
    if loads in SHORT:
        raise MemoryError("no heap")
    return load(name)

cloud_teamviewer.load_once = short_of_memory
errors = set()
sent = []
device = cloud.Device(SETTINGS)
device.on_sent = lambda number, error: sent.append((number, error))
for n in range(3):
    device.send({"n": n, "more": "x"}, "climate")
while device.pending:
    device.do_next(50)
    errors.add(type(device.error).__name__)
device.disconnect()
report(loads=loads, errors=sorted(errors), sent=sent)
