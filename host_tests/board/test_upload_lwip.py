"""
A file goes up from an emulated board with lwIP and mbedTLS: lib/iotc_files.py within 128 KB of
heap, beside a line that falls silent. Its watchdog bites whoever blocks for eight seconds.
"""

import base64
import pathlib
import time

import azure_rig
import pytest
from azure_rig import fresh  # noqa: F401
from board import promises
from device_program import program

# ruff: noqa: F811 (the fixture above is what the tests' arguments are)

PROGRAM = program("upload_lwip_slices")
LIST = program("upload_lwip_list")


def values(fresh, board_lwip, tmp_path, size, **more):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "big.bin").write_bytes(data)
    fresh.create()
    given = {
        "CA": pathlib.Path(fresh.ca_der),
        "BROKER": "%s:%d" % (board_lwip.host, fresh.tls_port),
        "SERVER": "%s:%d" % (board_lwip.host, fresh.https_port),
        "KEY": azure_rig.DEVICE_KEY,
        "HUB": azure_rig.HUB,
        "FILE": tmp_path / "big.bin",
        "CONNECTED": False,
        "SILENT": False,
        "SLICE": 0,
    }
    given.update(more)
    return data, given


def test_a_file_larger_than_the_heap_goes_up(fresh, board_lwip, tmp_path):
    data, given = values(fresh, board_lwip, tmp_path, 200000)
    got = board_lwip.run(PROGRAM, timeout=110, heap="128k", **given).reports
    assert got[0]["free"] < got[0]["size"]
    assert got[1]["sent"] == len(data) and got[1]["slice"] == 2048
    assert fresh.azure.files.blobs["sensor-01/big.bin"].content == data


@pytest.mark.parametrize("connected, slice", [(True, 0), (False, 40000)])
def test_a_line_that_falls_silent_blocks_no_step(fresh, board_lwip, tmp_path, connected, slice):
    """
    lwIP's memory is small, and a write that finds none left blocks for ten seconds: beside a
    device that goes on publishing a slice is small, too.
    """
    data, given = values(
        fresh, board_lwip, tmp_path, 100000, CONNECTED=connected, SLICE=slice, SILENT=True
    )
    program = board_lwip.start(PROGRAM, heap="190k", **given)
    program.next_report()
    program.next_report(100)
    program.line.stall()
    program.send("go on")
    time.sleep(3)  # for the board to send all that it may; it gives an answer a minute's time
    program.line.mend()
    got = program.next_report(100)
    assert got["sent"] == len(data)
    assert got["longest_ms"] < promises.STEP_MS
    assert fresh.azure.files.blobs["sensor-01/big.bin"].content == data


@pytest.mark.parametrize("connected, silent", [(False, False), (False, True), (True, True)])
def test_no_step_of_a_long_list_is_long(fresh, board_lwip, tmp_path, connected, silent):
    """
    6 MB in slices of 2048 bytes have a list of 75 KB. A lively network takes all of it at once, a
    silent one none for a while; a step is one piece of it, and what a device publishes beside it.
    """
    size, slice = 6_144_000, 2048
    with open(tmp_path / "big.bin", "wb") as file:
        file.truncate(size)
    fresh.create()
    files = fresh.azure.files
    for n in range(size // slice):
        block = base64.b64encode(b"%06d" % n).decode()
        fresh.do(files.put_block, "sensor-01/big.bin", block, b"x")
    program = board_lwip.start(
        LIST,
        heap="190k" if connected else "128k",
        BROKER="%s:%d" % (board_lwip.host, fresh.tls_port),
        CONNECTED=connected,
        CA=pathlib.Path(fresh.ca_der),
        SERVER="%s:%d" % (board_lwip.host, fresh.https_port),
        KEY=azure_rig.DEVICE_KEY,
        HUB=azure_rig.HUB,
        FILE=tmp_path / "big.bin",
        SLICE=slice,
    )
    assert program.next_report(100) == {"size": size, "sent": size}
    program.next_report(100)
    if silent:
        program.line.stall()
    program.send("go on")
    if silent:
        time.sleep(3)  # for the board to send all that it may
        program.line.mend()
    got = program.next_report(100)
    assert got["longest_ms"] < promises.STEP_MS
    assert got["slice"] == slice and got["pieces"] > 300
    assert files.blobs["sensor-01/big.bin"].content == b"x" * (size // slice)
