"""
Makes CPython look like MicroPython to device code, for coverage, property tests, debuggers, and
for machines that have no MicroPython. Never the only proof: MicroPython is the truth,
host_tests/house/test_cpython_port.py holds this against it.

    python tools/cpython_port/run.py program.py [arguments]     with MICROPYPATH as for MicroPython

    port = cpython_port.Port([LIB, DEVICE_LIB])                 inside a CPython program, a test
    for one mqtt_link = port.load("mqtt_link")

Device code gets builtins and an importer of its own (device.py), so nothing outside it is touched:
the same process can run pytest, asyncio and a broker. It is a strict device. What MicroPython
lacks is missing here, too: `import typing` fails, so do TimeoutError and bytes.foo of CPython's
modules. Where the ports of MicroPython differ from each other, it follows the boards: ticks wrap
after 2**30 ms (two seconds into each run, so that a comparison without ticks_diff shows),
time.time() is an int, gmtime() has 8 fields, setblocking(True) clears a timeout.

It can't measure heap: gc.mem_alloc() is a constant.
"""

from .device import Port

__all__ = ["Port"]
