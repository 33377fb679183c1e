"""
A file goes up from an emulated board with lwIP and mbedTLS: lib/iotc_files.py within 128 KB of
heap, beside a line that falls silent. Its watchdog bites whoever blocks for eight seconds.
"""

import pathlib
import time

import azure_rig
from azure_rig import fresh  # noqa: F401
from board import promises

# ruff: noqa: F811 (the fixture above is what the tests' arguments are)

SIZE = 300000

PROGRAM = """
import gc
import time
import iotc
import iotc_files

iotc.Device.ca = CA
iotc_files.Upload.server = SERVER
d = iotc.Device(None, KEY, "sensor-01", 3)
d._host = HUB
gc.collect()
upload = iotc_files.Upload(d, FILE, "big.bin")
report(free=gc.mem_free(), size=upload.size)
connected = 0
longest = 0
pause = PAUSE
while True:
    # The TLS handshake is arithmetic, and told apart from the steps that follow.
    before = upload.sent
    start = time.ticks_us()
    done = upload.do_next(0)
    took = time.ticks_diff(time.ticks_us(), start)
    if before:
        longest = max(longest, took)
    if done:
        break
    if pause and upload.sent > 20000:
        pause = False
        report(sent=upload.sent)
    if took < 1000:
        time.sleep_ms(5)
report(sent=upload.sent, slice=upload.slice, longest_ms=longest // 1000)
"""


def values(fresh, board_lwip, tmp_path, pause=False):
    data = bytes(range(256)) * (SIZE // 256) + bytes(SIZE % 256)
    (tmp_path / "big.bin").write_bytes(data)
    fresh.create()
    return data, {
        "CA": pathlib.Path(fresh.ca_der),
        "SERVER": "%s:%d" % (board_lwip.host, fresh.https_port),
        "KEY": azure_rig.DEVICE_KEY,
        "HUB": azure_rig.HUB,
        "FILE": tmp_path / "big.bin",
        "PAUSE": pause,
    }


def test_a_file_larger_than_the_heap_goes_up(fresh, board_lwip, tmp_path):
    data, given = values(fresh, board_lwip, tmp_path)
    got = board_lwip.run(PROGRAM, timeout=110, heap="128k", **given).reports
    assert got[0]["free"] < SIZE == got[0]["size"]
    assert got[1]["sent"] == SIZE and got[1]["slice"] == 2048
    assert fresh.azure.files.blobs["sensor-01/big.bin"].content == data


def test_a_line_that_falls_silent_blocks_no_step(fresh, board_lwip, tmp_path):
    """lwIP's memory is small: a slice that nobody acknowledges must fit in it."""
    data, given = values(fresh, board_lwip, tmp_path, pause=True)
    program = board_lwip.start(PROGRAM, heap="128k", **given)
    program.next_report()
    program.next_report()
    program.line.stall()
    # Long enough for the board to send all that it may; it waits for a minute.
    time.sleep(3)
    program.line.mend()
    got = program.next_report(100)
    assert got["sent"] == SIZE
    assert got["longest_ms"] < promises.STEP_MS
    assert fresh.azure.files.blobs["sensor-01/big.bin"].content == data
