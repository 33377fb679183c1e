"""
Runs programs on the emulated board; for tests and tools. docs/board.md tells what it imitates.

    reason = emulator.why_not()             # '' or why the board can't be emulated here
    with emulator.start(Path("device.py"), args=["x"], heap="128k", how="romfs") as machine:
        print(machine.process.next_line(10))
        machine.line.stall()
        machine.process.send("a line for its stdin")
        status = machine.process.wait(30)

The host's loopback is HOST ("10.0.2.2") there. What the program prints is on process.out while it
runs, a traceback on process.err; the status is 0, 1 after an exception, what SystemExit says, or
one of STATUSES.
"""

import shutil
import tempfile
from pathlib import Path

from workshop import processes

from board import firmware, image
from board.image import BadProgram, libraries
from board.line import Line, LineError, Qmp
from board.names import HOST, NameServer

__all__ = [
    "HOST", "STATUSES", "WATCHDOG", "RESET", "CRASH", "BadProgram", "Line", "LineError", "Machine",
    "Missing", "NameServer", "heap_bytes", "libraries", "make", "start", "why_not",
]  # fmt: skip

Missing = firmware.Missing
why_not = firmware.why_not
make = firmware.make

# Exit statuses that mean more than the program's own. board.h has the same numbers.
CRASH = 70  # a hard fault, or the C stack overflowed: stderr says where
WATCHDOG = 71  # the watchdog was not fed in time
RESET = 72  # the program called machine.reset()
STATUSES = {CRASH: "it crashed", WATCHDOG: "the watchdog bit", RESET: "it reset the board"}

DEFAULT_HEAP = "128k"
_MIN_HEAP, _MAX_HEAP = 8 * 1024, 3 * 1024 * 1024
_UNITS = {"k": 1024, "m": 1024 * 1024}
_ROM_AT, _SETTINGS_AT = 0x21000000, 0x21F00000  # board.h


def heap_bytes(text):
    """Bytes of a heap size: a number, or text as "128k" or "1m". Raises ValueError."""
    text = str(text).strip().lower()
    unit = _UNITS.get(text[-1:], 1)
    digits = text[:-1] if unit > 1 else text
    if not digits.isdigit() or not _MIN_HEAP <= int(digits) * unit <= _MAX_HEAP:
        raise ValueError(
            "heap: {!r} is not a size from 8k to 3m, as 131072, 128k or 1m".format(text)
        )
    return int(digits) * unit


def start(
    program, args=(), heap=None, how="romfs", profile="rp2", modules=None, library=None, path=(),
    names=None, network=True, epoch=None, restart=False, exact=True, fetch=False, **process_options
):  # fmt: skip
    """
    Start a board that runs a program; returns a Machine.

    program: Path of a .py file; None for MicroPython's REPL on stdin and stdout.
    args: the program's sys.argv[1:], as str.
    heap: MicroPython's whole heap, as heap_bytes() reads it; None is DEFAULT_HEAP.
    how: how lib/ gets there: "romfs", "frozen", "mpy" or "py" (see image.py).
    profile: "rp2" or "esp32".
    modules: {name: Path} of .py files that the program may import beside lib/.
    library: {name: Path} in place of libraries(), that is lib/ and umqtt: .py or .mpy files.
    path: directories (of the host) that come last in sys.path.
    names: one or two NameServers; None starts one in which every name is the host. The list ()
        leaves the names to QEMU and so to the host's resolver.
    network: False leaves bringing it up to the program (network.WLAN or network.LAN, DHCP).
    epoch: what the clock says at the start, in seconds since 1970; None is the host's time.
    restart: after a watchdog's bite or machine.reset() the board starts again, as a real one does;
        else the run ends with the status WATCHDOG or RESET.
    exact: the processor runs at 125 million instructions a second of its own time, however busy
        the host is; False lets it run as fast as it can.
    fetch: see firmware.make().
    process_options: for processes.Process.

    Raises Missing, BadProgram (a syntax error), ValueError for a bad argument.
    """
    heap = heap_bytes(DEFAULT_HEAP if heap is None else heap)
    directory = Path(tempfile.mkdtemp(prefix="picolink-board-"))
    own_names = []
    try:
        if names is None:
            names = own_names = [NameServer()]
        elif isinstance(names, NameServer):
            names = [names]
        if len(names) > 2:
            raise ValueError("names: the board asks two servers at most")
        settings = [("heap", heap), ("restart", int(restart)), ("net", int(network))]
        settings += [("dns{}".format(i), server.port) for i, server in enumerate(names)]
        if epoch is not None:
            settings.append(("epoch", int(epoch)))
        settings += [("arg", arg) for arg in args]
        settings += [("path", image.HOST + str(Path(entry).resolve())) for entry in path]
        made = image.Image(
            directory, Path(program).resolve() if program else None, how, profile, modules or {},
            libraries() if library is None else library, fetch, settings,
        )  # fmt: skip
        return Machine(directory, made, restart, exact, own_names, process_options)
    except BaseException:
        for server in own_names:
            server.close()
        shutil.rmtree(directory, ignore_errors=True)
        raise


class Machine:
    """
    A board that runs.

    process: its processes.Process: next_line(), send(), wait(), out, err. line: its Line. Ended by
    close(), or at the end of a `with`.
    """

    def __init__(self, directory, made, restart, exact, names, process_options):
        self._directory = directory
        self._names = names
        control = directory / "qmp"
        command = ["qemu-system-arm", "-M", "mps2-an385", "-nodefaults", "-display", "none"]
        # Ctrl-C ends a program from outside, but it is a key for the one at a prompt.
        signal = "on" if made.program else "off"
        command += ["-chardev", "stdio,id=uart,signal=" + signal, "-serial", "chardev:uart"]
        command += ["-kernel", made.elf]
        command += ["-semihosting-config", "enable=on,target=native"]
        command += ["-netdev", "user,ipv6=off,id=n0", "-net", "nic,netdev=n0"]
        command += ["-qmp", "unix:{},server=on,wait=off".format(_option(control))]
        for file, address in ((made.rom, _ROM_AT), (made.settings, _SETTINGS_AT)):
            device = "loader,file={},addr={},force-raw=on"
            command += ["-device", device.format(_option(file), address)]
        if exact:
            command += ["-icount", "shift=3"]
        if restart:
            command += ["-action", "watchdog=reset"]
        process_options.setdefault("name", "the emulated board")
        self.process = processes.Process(command, **process_options)
        self.line = Line(Qmp(control), directory)

    def close(self):
        """End it (at once, if it still runs) and remove what it used."""
        self.process.stop()
        self.line.close()
        for server in self._names:
            server.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _option(path):
    """A path as QEMU's options take it: a comma ends a value."""
    return str(path).replace(",", ",,")
