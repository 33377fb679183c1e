"""
Makes of lib/ what a board wants: small .mpy files with what stays loaded in one file a service.

    python3 tools/build.py                       every service, into build/
    python3 tools/build.py azure                 one: build/iotc/, build/iotc.romfs
    python3 tools/build.py azure ibm --together  two that share a board: build/iotc+ibmiotf/
    python3 tools/build.py --for RPI_PICO_W      says so if that board can't take it
    python3 tools/build.py --explain trace.txt   a board's traceback in the words of lib/

Private names become names that every firmware holds, asserts and line numbers are left out, and
the files that a running client holds are joined into one; what is needed seldom stays beside it.
The same sources give the same bytes. docs/build.md has it all.
"""

import argparse
import sys
from pathlib import Path

import workshop

if __name__ == "__main__":
    workshop.enter(__file__)

import services
from building import explain, outputs

OUTPUT = workshop.ROOT / "build"


def chosen_services(words):
    """The Services that are asked for; all that have something resident if none is."""
    if words:
        return [services.named(word) for word in words]
    return list(services.SERVICES)


def build(words=(), output=OUTPUT, together=False):
    """
    Build services (their names; none for all) into a directory; returns the list of
    outputs.Built.
    """
    builder = outputs.Builder()
    chosen = chosen_services(words)
    if together:
        all_built = [builder.build(chosen)]
    else:
        all_built = [builder.build([service]) for service in chosen]
    output.mkdir(parents=True, exist_ok=True)
    for built in all_built:
        outputs.write(output, built)
    if not together:
        outputs.write_index(output, all_built, builder.umqtt())
    outputs.write_names(output, builder.names, builder.texts, all_built)
    return all_built


def search_path(all_built, output=OUTPUT):
    """What PICOLINK_BUILT is set to, so that programs find these builds instead of lib/."""
    return ":".join(str(output / built.name) for built in all_built)


def report(all_built, output):
    """Lines for the person at the screen."""
    for built in all_built:
        image = (output / (built.name + ".romfs")).stat().st_size
        for service in built.services:
            path = built.one_file(service)
            yield "{:<44} {:>7,} bytes".format(
                "{}/{}/{}".format(output.name, built.name, path), len(built.files[path])
            )
        yield "{:<44} {:>7,} bytes with {} files".format(
            "{}/{}.romfs".format(output.name, built.name), image, len(built.files)
        )


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python3 tools/build.py",
        description="lib/ -> build/: .mpy files, a ROMFS image and an index for mip.",
    )
    parser.add_argument(
        "service",
        nargs="*",
        help="one of: {}; none: all".format(", ".join(one.name for one in services.SERVICES)),
    )
    parser.add_argument("--together", action="store_true", help="for one board that has them all")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--for", metavar="BOARD", dest="board", help="MicroPython's name of it")
    target.add_argument("--mpy", metavar="VERSION", help="the firmware's .mpy version, 6.3")
    parser.add_argument("--output", metavar="DIR", default=str(OUTPUT), help="instead of build/")
    parser.add_argument("--explain", metavar="FILE", help="decode a traceback; - is stdin")
    options = parser.parse_args(arguments)
    output = Path(options.output)
    try:
        if options.explain:
            given = options.explain
            text = sys.stdin.read() if given == "-" else Path(given).read_text()
            print(explain.explain(text, output / "names.json"), end="")
            return 0
        check_target(options.board, options.mpy)
        for line in report(build(options.service, output, options.together), output):
            print(line)
    except (outputs.BuildError, OSError, ValueError) as error:
        print("build: {}".format(error), file=sys.stderr)
        return 2
    return 0


def check_target(board, version):
    """Raises outputs.BuildError for a board, or an .mpy version, that this build is not for."""
    if board:
        if board not in outputs.BOARDS:
            raise outputs.BuildError(
                "unknown board {}: known are {}; for another one say --mpy and the version that"
                " `import sys; print(sys.implementation._mpy & 0xFF,"
                " sys.implementation._mpy >> 8 & 3)` shows on it".format(
                    board, ", ".join(sorted(outputs.BOARDS))
                )
            )
        version = outputs.BOARDS[board]
    if version and version != outputs.MPY:
        raise outputs.BuildError(
            "{} is not the .mpy version of MicroPython 1.23 and newer, {}: older firmware has no"
            " `tls` module either".format(version, outputs.MPY)
        )


if __name__ == "__main__":
    sys.exit(main())
