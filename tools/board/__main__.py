"""
Runs a program on an emulated board, with lib/ and umqtt.simple: `python3 tools/board --help`.

The first start makes the firmware. docs/board.md tells what the board imitates and what not.
"""

import os
import sys

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Started as `python3 tools/board` this directory itself is on the path: its modules would answer
# to names that are not theirs.
sys.path[:] = [TOOLS] + [
    p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))
]

import workshop  # noqa: E402

if __name__ == "__main__":
    workshop.enter(__file__)

import argparse  # noqa: E402
import threading  # noqa: E402
from pathlib import Path  # noqa: E402

from board import emulator, firmware, image  # noqa: E402


def make_parser():
    parser = argparse.ArgumentParser(
        prog="python3 tools/board",
        description="Runs a MicroPython program on an emulated 32-bit board with lwIP sockets and "
        "mbedTLS. lib/ and umqtt.simple are on its path, and the files beside the program. The "
        "computer's own loopback is 10.0.2.2 there, and the name localhost means it. Ends with "
        "the program's status: 1 after an exception, 71 when the watchdog bit.",
    )
    add = parser.add_argument
    add("--heap", default=emulator.DEFAULT_HEAP, metavar="SIZE", help="MicroPython's whole heap, "
        "as 128k (default) or 1m")  # fmt: skip
    add("--as", dest="how", choices=image.HOWS, default="romfs", help="how lib/ and the program "
        "get onto the board (default: %(default)s)")  # fmt: skip
    add("--lib", metavar="DIR", help="what stands in for lib/, as build/iotc")
    add("--profile", choices=firmware.PROFILES, default="rp2", help="whose traits it has: a Pico "
        "W's (default) or some of an ESP32's")  # fmt: skip
    add("--stall", type=float, metavar="SECONDS", help="from then on every packet is lost, both "
        "ways")  # fmt: skip
    add("--restart", action="store_true", help="start again after a watchdog's bite or "
        "machine.reset(), as a board does (default: end)")  # fmt: skip
    add("--no-network", action="store_true", help="leave bringing the network up to the "
        "program")  # fmt: skip
    add("--record", metavar="FILE", help="write every packet into a pcap file")
    add("--make", action="store_true", help="only make what is needed: packages, sources, "
        "firmware")  # fmt: skip
    add("program", nargs="?", metavar="PROGRAM.py", help="without one: MicroPython's prompt")
    add("args", nargs=argparse.REMAINDER, metavar="ARG", help="its sys.argv")
    return parser


def main():
    parser = make_parser()
    options = parser.parse_args()
    try:
        if options.make:
            for profile in firmware.PROFILES:
                firmware.make(profile, fetch=True)
            firmware.make("rp2", image.libraries(), fetch=True)
            return 0
        return run(options)
    except KeyboardInterrupt:
        return 130  # as a shell has it for a command that Ctrl-C ended
    except (emulator.Missing, emulator.BadProgram, workshop.SetupError) as error:
        sys.exit("board: {}".format(error))
    except ValueError as error:
        parser.error(str(error))


def run(options):
    library = emulator.libraries(Path(options.lib).resolve()) if options.lib else None
    beside = []
    if options.program:
        if not os.path.isfile(options.program):
            raise ValueError("there is no file {}".format(options.program))
        beside = [os.path.dirname(os.path.abspath(options.program))]
    with emulator.NameServer(ask_host=True) as names, emulator.start(
        options.program, options.args, options.heap, options.how, options.profile, library=library,
        path=beside,
        names=names, network=not options.no_network, restart=options.restart, fetch=True,
        inherit=True,
    ) as machine:  # fmt: skip
        if options.record:
            machine.line.record(os.path.abspath(options.record))
        if options.stall is not None:
            threading.Timer(options.stall, stall, [machine.line]).start()
        return machine.process.wait(None)


def stall(line):
    try:
        line.stall()
    except emulator.LineError:
        pass  # the program has ended before
    else:
        print("board: from now on every packet is lost", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
