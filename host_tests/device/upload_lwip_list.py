# Every slice of a file is in the storage; what is left is the list of them. Each step that sends a
# piece of it is timed. After the hundredth one it waits for a word.
from given import BROKER, CA, CONNECTED, FILE, HUB, KEY, SERVER, SLICE, report

import gc
import sys
import time
import iotc
import iotc_files
import rest

pieces = 0

class Session(rest.Session):
    def start(self, method, path, body=None, headers=None):
        if isinstance(body, tuple):
            length, made = body
            body = length, lambda: self.counted(made())
        return super().start(method, path, body, headers)

    def counted(self, made):
        global pieces
        for piece in made:
            pieces += 1
            yield piece

iotc.Device.ca = CA
iotc_files.Session = Session
iotc_files.Upload.server = SERVER
d = iotc.Device(None, KEY, "sensor-01", 3)
if CONNECTED:
    iotc.Device.server = BROKER
    assert d.connect(HUB) == 0, d.error
else:
    d._host = HUB
first = iotc_files.Upload(d, FILE)
first.slice = SLICE
upload = iotc_files.Upload(d, FILE, None, dict(first.state, slice=SLICE, sent=first.size))
gc.collect()
report(size=upload.size, sent=upload.sent)
longest = since = 0
while not upload.done:
    before = pieces
    start = time.ticks_us()
    upload.do_next(0)
    if CONNECTED and 0 < pieces:
        if d.inflight < 8:
            d.sendTelemetry({"pieces": pieces, "more": "x" * 500})
        d.do_next(0)
    took = time.ticks_diff(time.ticks_us(), start)
    # The TLS handshakes, before the first piece and after the last one, are arithmetic.
    since = max(since, took) if before else took
    if pieces != before:
        longest = max(longest, since)
        since = 0
    if before < 100 <= pieces:
        report(pieces=pieces)
        sys.stdin.readline()
report(pieces=pieces, longest_ms=longest // 1000, slice=upload.slice)
