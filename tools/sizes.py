"""
What each client costs on a board: bytes of flash and heap after import, as a table in Markdown.

    python3 tools/sizes.py                       prints the table, then each figure and its ceiling
    python3 tools/sizes.py --write README.md     puts it between the file's two marker lines
    python3 tools/sizes.py --check README.md     status 1 when a figure there is over 3 % off

The figures are of what tools/build.py makes; heap is that of the 32-bit MicroPython in Node
(workshop/heap32.py). What a running client holds is seen in sys.modules after its import; a module
that is loaded at times and let go again counts only in the last column. Status 2 when it can't be
measured: there is no Node.
"""

import argparse
import sys
from typing import NamedTuple

import workshop

if __name__ == "__main__":
    workshop.enter(__file__)

from workshop import heap32, packages
import services
from building import outputs

BEGIN = "<!-- sizes: written by tools/sizes.py -->"
END = "<!-- end of sizes -->"
TOLERANCE = 0.03

HEADER = (
    "`import`",
    "one file, built",
    "heap, from it",
    "heap, from `.py`",
    "all files, built",
)


class Budget(NamedTuple):
    """Of one row: the most that it may cost, in bytes; and what it shall come down to."""

    file: int  # its file or files that stay loaded, umqtt.simple apart
    heap: int  # what they take when they are imported, everything counted
    file_aim: int
    heap_aim: int


# The ceilings stand some percent above what was measured last, so that a correction may cost a few
# lines. Lower them when a client got smaller; to raise one needs a reason, here beside it.
# While lib/ is being rewritten for readers they are wide.
BUDGETS = {
    # The link's cures: any exception ends a connection, deadlines from the last thing that moved,
    # what is unheard is bounded, poison messages, threads and interrupts, UTF-8 both ways.
    # An import for which there is no memory can be repeated (150 bytes in each client); why a
    # message was passed over, and tries of its own for each (130 bytes).
    # Connections share lwIP's memory (400 bytes in each client).
    # Constructors stay loaded (900 bytes; IBM's as much again): loaded for a call, they raised the
    # least heap that connects by 2 to 7 KB, see tools/building/apart.py.
    "mqtt_link": Budget(15440, 20430, 9500, 15200),
    "ibmiotf.device": Budget(21300, 30600, 14500, 19000),
    "ibmiotf.application": Budget(24470, 34850, 17100, 24000),
    # json_text, each acknowledgement judged alone, refusals told by what was true before; what
    # there is no memory for is told, or comes again.
    # The clock is compared here, or iotc_certificates would be loaded each minute.
    "iotc": Budget(24810, 35060, 17000, 24000),
    # iotc with rest and what goes wrong on the way of a file.
    "iotc_files": Budget(34950, 49620, 25000, 36000),
    # What there is no memory to tell is told in the next step, each thing once.
    "teamviewer_iot": Budget(22790, 33110, 18000, 28000),
    "idigi_monitor_api": Budget(9590, 14000, 12000, 16500),
}


_NO_BUDGET = Budget(0, 0, 0, 0)  # of a new client, until it has its line above


# A file that is loaded on demand lies in the heap beside all that a running client holds: it has
# 2 KB. The ones that may have more, and why.
SELDOM_MAX = 2048
LARGER = {
    "p256": 3400,  # elliptic curves and a certificate request; once in a board's life
    "teamviewer_setup": 2700,  # parameters, and connecting: before anything else is in the heap
    "teamviewer_provision": 2330,  # the way to a certificate; once in a client's life
    # HTTP as it is spoken, with all its bounds and refusals, bodies of any length; API calls and
    # file uploads only.
    "rest": 5500,
    "websocket_stream": 2800,  # stays loaded, where MQTT goes over WebSocket
    "iotc_certificates": 2560,  # key, request, file and renewal; while a certificate is issued
    "iotc_setup": 2350,  # what a device is made of; once, before anything is in the heap
    "iotc_dps": 2430,  # one conversation with DPS, with every answer that it may give
    "cloud_settings": 6500,  # reads a settings file and names each mistake; once, at the start
    "cloud_check": 3000,
    "idigi_messages": 2250,  # stays while a block is taken message by message
    "idigi_monitors": 2500,  # one request after the other; let go of by who listens only
    "ibmiotf.api": 2800,  # one call of IBM's API after the other
    "ibmiotf.application": 2650,  # stays loaded, in an application
}


def seldom(builder):
    """{module: bytes of its built file} of all that is loaded on demand."""
    found = {}
    lib = packages.modules()
    for service in services.SERVICES:
        built = builder.build([service])
        shared = {one.module for one in services.SHARED if one.seldom}
        for path, content in built.files.items():
            module = _module(path)
            is_part = module not in lib and module.startswith("picolink_")
            loaded = (shared | set(service.seldom)) - set(packages.resident(service))
            if is_part or module in loaded:
                found[module] = len(content)
    return found


def _as_source():
    # The device's file system with all of lib/ and umqtt as source.
    found = heap32.stand_ins()
    for top in (workshop.DEVICE_LIB, workshop.LIB):
        for path in sorted(top.rglob("*.py")):
            found["/lib/" + path.relative_to(top).as_posix()] = path.read_bytes()
    return found


def _loaded(modules, files):
    # Names of the modules that are there after importing these.
    steps = ("import " + ", ".join(modules), "import sys; print('@modules', *sys.modules)")
    out = heap32.run(*steps, files=files).out
    return [line.split()[1:] for line in out if line.startswith("@modules ")][0]


def _heap(modules, files):
    return sum(heap32.import_cost(*modules, files=files).values())


def measure():
    """
    The table's rows: (name, bytes of the built files that stay loaded, heap from them, heap from
    lib/'s source, bytes of all built files).

    Raises workshop.SetupError without Node.
    """
    builder = outputs.Builder()
    sources = _as_source()
    rows = []
    for service in services.SERVICES:
        built = builder.build([service]) if service.rows else None
        for row in service.rows:
            modules = (row,) + service.stays
            files = heap32.built(built.files)
            loaded = _loaded(modules, files)
            own = {path: content for path, content in built.files.items() if "umqtt" not in path}
            held = sum(len(own[path]) for path in own if _module(path) in loaded)
            for part in packages.resident(service):  # a stand-in of a part is not loaded
                held -= len(own.get(part + ".mpy", b"")) if part != service.imports[0] else 0
            rows.append(
                (
                    row,
                    held,
                    _heap(modules, files),
                    _heap(modules, sources),
                    sum(len(content) for content in own.values()),
                )
            )
    return rows


def _module(path):
    name = path[: -len(".mpy")].replace("/", ".")
    return name[: -len(".__init__")] if name.endswith(".__init__") else name


def over(rows):
    """What is over its ceiling, a line of text each."""
    found = []
    for name, file, heap, _, _ in rows:
        budget = BUDGETS.get(name)
        if budget is None:
            text = "{}: no ceiling; give it one in BUDGETS of tools/sizes.py, above {:,} and {:,}"
            found.append(text.format(name, file, heap))
            continue
        for what, is_now, most in (("file", file, budget.file), ("heap", heap, budget.heap)):
            if is_now > most:
                found.append("{}, {}: {:,} bytes, {:,} allowed".format(name, what, is_now, most))
    return found


def budgets(rows):
    """The rows beside their ceilings and aims, a line of text each."""
    yield "{:<22}{:>8} {:>8} {:>8}   {:>8} {:>8} {:>8}".format(
        "", "file", "at most", "aim", "heap", "at most", "aim"
    )
    for name, file, heap, _, _ in rows:
        one = BUDGETS.get(name, _NO_BUDGET)
        yield "{:<22}{:>8,} {:>8,} {:>8,}   {:>8,} {:>8,} {:>8,}".format(
            name, file, one.file, one.file_aim, heap, one.heap, one.heap_aim
        )


def table(rows):
    """The rows as Markdown."""
    lines = ["| " + " | ".join(HEADER) + " |", "|---" + "|--:" * (len(HEADER) - 1) + "|"]
    for row in rows:
        lines.append("| `{}` | {:,} | {:,} | {:,} | {:,} |".format(*row))
    return "\n".join(lines)


def split(text):
    """(before, table, after) of a file's text. Raises ValueError without the two markers."""
    before, found, rest = text.partition(BEGIN)
    written, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError("it must hold the lines {} and {}".format(BEGIN, END))
    return before + BEGIN, written.strip("\n"), END + after


def parse(written):
    """The rows of a table as table() writes it; what is no row of figures is passed over."""
    rows = []
    for line in written.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        figures = [cell.replace(",", "") for cell in cells[1:]]
        if len(cells) == len(HEADER) and all(figure.isdigit() for figure in figures):
            rows.append((cells[0].strip("`"),) + tuple(int(figure) for figure in figures))
    return rows


def differences(old, new):
    """What is stale in `old`, a line of text each; [] when it may stand."""
    if [row[0] for row in old] != [row[0] for row in new]:
        return ["its rows are not: " + ", ".join(row[0] for row in new)]
    return [
        "{}, {}: {:,} there, {:,} measured".format(after[0], column, before[i], after[i])
        for before, after in zip(old, new)
        for i, column in enumerate(HEADER)
        if i and abs(before[i] - after[i]) > TOLERANCE * after[i]
    ]


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python3 tools/sizes.py",
        description="What each client costs on a board: built files and 32-bit heap, as a table.",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--check", metavar="FILE", help="say what is stale in its table; status 1")
    group.add_argument("--write", metavar="FILE", help="write the table between its markers")
    options = parser.parse_args(arguments)
    name = options.check or options.write
    try:
        if name:
            with open(name, encoding="utf-8") as file:
                before, written, after = split(file.read())
        rows = measure()
    except (OSError, ValueError) as e:
        print("sizes: {}: {}".format(name, e), file=sys.stderr)
        return 2
    except workshop.SetupError as e:
        print("sizes: {}".format(e), file=sys.stderr)
        return 2
    if options.check:
        stale = differences(parse(written), rows)
        for line in stale:
            print(line)
        if stale:
            print("python3 tools/sizes.py --write {} brings it up to date".format(name))
        return 1 if stale else 0
    if options.write:
        with open(name, "w", encoding="utf-8") as file:
            file.write(before + "\n" + table(rows) + "\n" + after)
    else:
        print(table(rows))
        print("\n".join(budgets(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
