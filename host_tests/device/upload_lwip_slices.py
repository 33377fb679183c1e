# A file goes up slice by slice, with telemetry in between if CONNECTED; each step is timed. If
# SILENT it waits for a word, so that the line can be silenced.
from given import BROKER, CA, CONNECTED, FILE, HUB, KEY, SERVER, SILENT, SLICE, report

import gc
import sys
import time
import iotc
import iotc_files

iotc.Device.ca = CA
iotc.Device.server = BROKER
iotc_files.Upload.server = SERVER
iotc_files.Upload.slice = SLICE
d = iotc.Device(None, KEY, "sensor-01", 3)
if CONNECTED:
    assert d.connect(HUB) == 0, d.error
else:
    d._host = HUB
gc.collect()
upload = iotc_files.Upload(d, FILE, "big.bin")
report(free=gc.mem_free(), size=upload.size)
longest = 0
silent = SILENT
sent = 0
done = False
while not done:
    # The TLS handshakes, before the first slice and after the last one, are arithmetic.
    counts = 0 < upload.sent < upload.size
    start = time.ticks_us()
    done = upload.do_next(0)
    took = time.ticks_diff(time.ticks_us(), start)
    if CONNECTED and counts:
        start = time.ticks_us()
        if upload.sent != sent or silent is None and d.inflight < 8:
            sent = upload.sent
            d.sendTelemetry({"sent": sent, "more": "x" * 500})
        d.do_next(0)
        took = max(took, time.ticks_diff(time.ticks_us(), start))
    if counts:
        longest = max(longest, took)
    if silent and upload.sent > 20000:
        silent = None
        report(sent=upload.sent)
        sys.stdin.readline()
    if took < 1000:
        time.sleep_ms(5)
report(sent=upload.sent, slice=upload.slice, longest_ms=longest // 1000)
