"""
What each client costs on a board: bytes of flash as .mpy and heap after import, as a table in
Markdown.

    python3 tools/sizes.py                       prints the table
    python3 tools/sizes.py --write README.md     puts it between the file's two marker lines
    python3 tools/sizes.py --check README.md     status 1 when a figure there is over 3 % off

Heap figures come from the 32-bit MicroPython in Node (tools/heap32.py), sizes from mpy-cross. What
a running client holds is seen in sys.modules after its import; a module that is loaded at times
and let go again counts only in the last column. Status 2 when it can't be measured: there is no
Node.
"""

import argparse
import sys

import workshop

if __name__ == "__main__":
    workshop.enter(__file__)

import heap32
import packages
import services

BEGIN = "<!-- sizes: written by tools/sizes.py -->"
END = "<!-- end of sizes -->"
TOLERANCE = 0.03

# What a program imports, with what of lib/ stays loaded once it runs though the import alone does
# not load it; and the package file that brings it all.
CLIENTS = tuple(
    ((row,) + service.stays, service.package)
    for service in services.SERVICES
    for row in service.rows
)
HEADER = (
    "`import`",
    "loads, `.mpy`",
    "heap, from `.mpy`",
    "heap, from `.py`",
    "may load, `.mpy`",
)


def _source(module):
    # The Path of a module of lib/ or of umqtt; None for what MicroPython brings along.
    known = packages.modules()
    if module in known:
        return known[module]
    path = workshop.DEVICE_LIB / (module.replace(".", "/") + ".py")
    return path if path.exists() else None


def _mpy_size(modules):
    return sum(len(heap32.mpy(_source(module))) for module in modules if _source(module))


def _as_source(files):
    # The same file system, with the source in place of each .mpy.
    found = {}
    for name, content in files.items():
        module = name[len("/lib/") : -len(".mpy")].replace("/", ".")
        if name.endswith(".mpy"):
            module = module[: -len(".__init__")] if module.endswith(".__init__") else module
            name, content = name[:-4] + ".py", _source(module).read_bytes()
        found[name] = content
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
    The table's rows: (name, loaded .mpy, heap from .mpy, heap from .py, all .mpy), in bytes.

    Raises workshop.SetupError without Node.
    """
    files = heap32.library()
    sources = _as_source(files)
    rows = []
    for modules, package in CLIENTS:
        loaded = _mpy_size(_loaded(modules, files))
        heap = _heap(modules, files), _heap(modules, sources)
        needed, outside = packages.closure(packages.PACKAGES[package])
        everything = set(needed) | outside
        rows.append((modules[0], loaded) + heap + (_mpy_size(everything),))
    return rows


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
        description="What each client costs on a board: .mpy sizes and 32-bit heap, as a table.",
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
