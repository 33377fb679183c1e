"""
Checks the stub files of lib/ and every program of this house against them, as an editor would.

    python3 tools/check_types.py            mypy and pyright, for the ESP32's and the RP2's stubs
    python3 tools/check_types.py --stubs    only: does each stub file say what its source says
    python3 tools/check_types.py --install typings
                                            puts lib/'s stub files beside a board's, for an editor

Programs are those of examples/ and boards/application/, and the pages' examples that run on a
board. Status 1 when there
is an error. The checkers and MicroPython's stubs (tools/workshop/requirements-types.txt) go into
.venv/side/types on the first run. Status 2 when they can't be had: pyright needs Node.
"""

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import workshop

if __name__ == "__main__":
    workshop.enter(__file__)

from workshop import packages
import services

BOARDS = ("esp32", "rp2")
OTHERS = workshop.REQUIREMENTS / "stubs"  # umqtt.simple, where a board's stubs lack it
_REQUIREMENTS = workshop.REQUIREMENTS / "requirements-types.txt"
# An example for a computer, or with a placeholder that the reader puts something in for.
_NOT_FOR_A_BOARD = re.compile(r"^(from|import) (localcloud|logging)\b|\bSOURCE\b", re.M)
_MYPY = """
[mypy]
python_version = 3.12
platform = linux
mypy_path = {lib}:{typings}:{others}
custom_typeshed_dir = {typings}
cache_dir = {cache}
no_site_packages = true
check_untyped_defs = true
disable_error_code = var-annotated
[mypy-_mpy_shed.*,_io]
ignore_errors = true
ignore_missing_imports = true
"""


# --- does a stub file say what its source says ---


def compare(module, source, stub):
    """
    What a stub file lacks or says otherwise than its source: a line of text each.

    source, stub: their texts. Compared are the names that a module and its classes have, the
    parameters of each function, which of them have defaults, and the defaults.
    """
    real = _members(ast.parse(source).body, module_level=True)
    said = _members(ast.parse(stub).body, module_level=True)
    return sorted(_compare(module, real, said))


def _compare(where, real, said):
    for name, nodes in real.items():
        full = where + "." + name
        if name not in said:
            yield "{} is missing in the stub file".format(full)
            continue
        node, stubs = nodes[-1], said[name]
        if isinstance(node, ast.ClassDef):
            if not isinstance(stubs[-1], ast.ClassDef):
                yield "{} is a class".format(full)
                continue
            yield from _compare_class(full, node, stubs[-1])
        elif isinstance(node, ast.FunctionDef):
            for stub in stubs:
                if isinstance(stub, ast.FunctionDef):
                    yield from _compare_function(full, node, stub, len(stubs) > 1)
                elif not _is_property(node):
                    yield "{} is a function".format(full)
        elif isinstance(stubs[-1], ast.FunctionDef) and isinstance(node, ast.Attribute):
            continue  # an attribute that holds a function
    for name in said:
        if name not in real and not name.startswith("_"):
            node = said[name][-1]
            if isinstance(node, ast.FunctionDef) and not _is_property(node):
                yield "{}.{} is not there".format(where, name)


def _compare_class(full, node, stub):
    real, said = _class_members(node), _class_members(stub)
    if node.bases:  # the class below says what else it has
        real = {
            name: nodes
            for name, nodes in real.items()
            if name in said or not isinstance(nodes[-1], ast.Attribute)
        }
    if any(isinstance(one, ast.FunctionDef) and one.name == "__getattr__" for one in node.body):
        said = {name: nodes for name, nodes in said.items() if name in real}
    yield from _compare(full, real, said)


def _compare_function(full, real, stub, overloaded):
    if _is_property(real) != _is_property(stub):
        yield "{} is {}a property".format(full, "" if _is_property(real) else "not ")
        return
    theirs, ours = _parameters(real), _parameters(stub)
    if not overloaded:
        if list(theirs) != list(ours):
            yield "{}({}) is told as ({})".format(full, ", ".join(theirs), ", ".join(ours))
            return
    elif not set(ours) <= set(theirs):
        yield "{} has no {}".format(full, ", ".join(set(ours) - set(theirs)))
        return
    for name, default in ours.items():
        if default is None and theirs[name] is not None and not overloaded:
            yield "{}: {} has a default".format(full, name)
        elif default is not None and theirs[name] is None:
            yield "{}: {} has no default".format(full, name)
        elif default is not None and "..." not in (default, theirs[name]):
            if default != theirs[name]:
                yield "{}: {} = {}, not {}".format(full, name, theirs[name], default)


def _parameters(node):
    # {name: default as text, None without one}, "*" and "**" before the names that have them.
    args = node.args
    found = {one.arg: None for one in args.posonlyargs + args.args}
    for one, default in zip(list(found)[::-1], args.defaults[::-1]):
        found[one] = _text(default)
    if args.vararg:
        found["*" + args.vararg.arg] = None
    for one, default in zip(args.kwonlyargs, args.kw_defaults):
        found[one.arg] = None if default is None else _text(default)
    if args.kwarg:
        found["**" + args.kwarg.arg] = None
    return found


def _text(default):
    # A name stands for a constant of its file: only the file knows its value.
    return "..." if isinstance(default, (ast.Name, ast.Attribute)) else ast.unparse(default)


def _is_property(node):
    names = [getattr(one, "id", getattr(one, "attr", "")) for one in node.decorator_list]
    return bool({"property", "setter"} & set(names))


def _members(body, module_level=False):
    # {public name: nodes that make it}; imported names only where they are offered again.
    found = {}
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names = [node.name]
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [
                one.id
                for target in targets
                for one in ast.walk(target)
                if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
            ]
        elif isinstance(node, (ast.If, ast.Try)):
            inner = node.body + node.orelse + getattr(node, "finalbody", [])
            for name, nodes in _members(inner, module_level).items():
                found.setdefault(name, []).extend(nodes)
            continue
        else:
            continue
        for name in names:
            if not name.startswith("_") or name == "__init__":
                if isinstance(node, ast.AsyncFunctionDef):
                    node = ast.FunctionDef(
                        node.name, node.args, node.body, node.decorator_list, None, None
                    )
                found.setdefault(name, []).append(node)
    return found


def _class_members(node):
    # With what its methods put on self; a constructor that only raises a name's value is none.
    found = _members(node.body)
    for child in node.body:
        if isinstance(child, ast.FunctionDef):
            for one in ast.walk(child):
                if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store):
                    if isinstance(one.value, ast.Name) and one.value.id == "self":
                        if not one.attr.startswith("_"):
                            found.setdefault(one.attr, [one])
    return found


# Modules whose __getattr__ finds its functions in another file.
_ENTRIES = {"cloud": "cloud_entries"}


def stub_errors():
    """What is wrong with the stub files of lib/, a line of text each."""
    errors = []
    known = packages.modules()
    for module in services.public(known):
        path = known[module]
        stub = path.with_suffix(".pyi")
        if not stub.exists():
            errors.append(
                "{0} has no stub file: write {1}, or call it `inner` in tools/services.py if no"
                " program uses it".format(module, stub.relative_to(workshop.ROOT))
            )
            continue
        source = path.read_text()
        if module in _ENTRIES:
            source += known[_ENTRIES[module]].read_text()
        errors += compare(module, source, stub.read_text())
    for stub in sorted(workshop.LIB.rglob("*.pyi")):
        if not stub.with_suffix(".py").exists():
            errors.append("{} has no source".format(stub.relative_to(workshop.ROOT)))
    return errors


# --- mypy and pyright ---


def programs(place):
    """Write the house's programs for boards into a directory; returns their Paths."""
    found = []
    for path in sorted((workshop.ROOT / "examples").rglob("*.py")):
        name = "_".join(path.relative_to(workshop.ROOT).parts)
        found.append(place / name)
        found[-1].write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    # Files that import each other keep their names.
    for path in sorted((workshop.ROOT / "boards" / "application").glob("*.py")):
        found.append(place / path.name)
        found[-1].write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    pages = [workshop.ROOT / "README.md"] + sorted((workshop.ROOT / "docs").glob("*.md"))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for number, source in enumerate(re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)):
            if not _NOT_FOR_A_BOARD.search(source):
                found.append(place / "{}_{}.py".format(page.stem.lower(), number))
                found[-1].write_text(source, encoding="utf-8")
    return found


def tools():
    """
    (path of mypy, {board: directory of MicroPython's stubs for it}), made when missing.

    Raises workshop.SetupError.
    """
    lines = [
        line
        for line in _REQUIREMENTS.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    stubs = [line for line in lines if line.startswith("micropython-")]
    python = workshop.side_venv("types", [line for line in lines if line not in stubs])
    # Several workers of a test run ask for the same: the first one makes it.
    with workshop.lock("types"):
        places = {board: _install_stubs(python, board, stubs) for board in BOARDS}
    return python.parent / "mypy", places


def _install_stubs(python, board, stubs):
    """The directory (Path) with MicroPython's stubs for one board; made once."""
    place = python.parent.parent / board
    wanted = [line for line in stubs if "-{}-".format(board) in line or "-stdlib-" in line]
    stamp = place / "picolink.txt"
    if stamp.exists() and stamp.read_text() == "\n".join(wanted):
        return place
    shutil.rmtree(place, ignore_errors=True)
    workshop.pip_install(python, ["--no-deps", "--target", str(place)] + wanted)
    stamp.write_text("\n".join(wanted))
    return place


def run_mypy(mypy, typings, files, directory, board):
    """mypy's errors about these files and all stub files, a line each."""
    config = directory / "mypy-{}.ini".format(board)
    config.write_text(
        _MYPY.format(
            lib=workshop.LIB,
            typings=typings,
            others=OTHERS,
            cache=typings.parent / "cache" / board,
        )
    )
    stubs = sorted(str(path) for path in workshop.LIB.rglob("*.pyi"))
    found = []
    for some, options in ((stubs, ["--strict"]), ([str(path) for path in files], [])):
        done = subprocess.run(
            [str(mypy), "--config-file", str(config), "--no-error-summary"] + options + some,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=directory,
        )
        if done.returncode:
            # What is wrong in MicroPython's own stub files is not ours.
            place = os.path.join("side", "types", "")
            found += [line for line in done.stdout.splitlines() if place not in line]
    return found


# What pyright looks for in lib/ itself, which has no types of its own.
_IN_LIB = ("UndefinedVariable", "MissingImports", "Redeclaration", "SelfClsParameterName")


def run_pyright(typings, directory, lib=False):
    """
    pyright's errors about the files of a directory, a line each.

    lib: about lib/'s sources instead; the directory is only for its settings.
    """
    config = {
        "include": [os.path.relpath(workshop.LIB, directory) if lib else "."],
        "typeshedPath": str(typings),
        "stubPath": str(typings),
        "extraPaths": [str(workshop.LIB), str(OTHERS)],
        "pythonVersion": "3.12",
        "typeCheckingMode": "off" if lib else "basic",
        "reportMissingModuleSource": "none",
    }
    if lib:
        config.update(("report" + rule, "error") for rule in _IN_LIB)
    (directory / "pyrightconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        workshop.pyright() + ["-p", str(directory), "--outputjson"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        told = json.loads(done.stdout)["generalDiagnostics"]
    except (ValueError, KeyError):
        return [done.stdout + done.stderr]
    return [
        "{}:{}: {} ({})".format(
            one["file"], one["range"]["start"]["line"] + 1, one["message"], one.get("rule", "")
        )
        for one in told
        if one["severity"] == "error"
    ]


def check_lib():
    """What pyright says about lib/'s sources, a line each. Raises workshop.SetupError."""
    _, places = tools()
    with tempfile.TemporaryDirectory() as directory:
        return run_pyright(places[BOARDS[0]], Path(directory).resolve(), lib=True)


def check(board, more=()):
    """
    {"mypy": lines, "pyright": lines}: what the two say about the house's programs for a board.

    more: further programs, as (name, text). Raises workshop.SetupError.
    """
    mypy, places = tools()
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory).resolve()
        files = programs(directory)
        for name, text in more:
            files.append(directory / name)
            files[-1].write_text(text, encoding="utf-8")
        return {
            "mypy": run_mypy(mypy, places[board], files, directory, board),
            "pyright": run_pyright(places[board], directory),
        }


def install(place):
    """Copy the stub files into a directory that has a board's; returns how many."""
    copied = 0
    for top in (workshop.LIB, OTHERS):
        for stub in sorted(top.rglob("*.pyi")):
            target = place / stub.relative_to(top)
            if top == OTHERS and target.exists():
                continue  # the board's own
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(stub, target)
            copied += 1
    return copied


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python3 tools/check_types.py",
        description="Stub files of lib/ against their sources, and programs against the stubs.",
    )
    parser.add_argument("--stubs", action="store_true", help="only the stub files")
    parser.add_argument("--install", metavar="DIR", help="copy the stub files there, and end")
    options = parser.parse_args(arguments)
    if options.install:
        print("{} stub files in {}".format(install(Path(options.install)), options.install))
        return 0
    errors = stub_errors()
    try:
        for board in () if options.stubs else BOARDS:
            for checker, lines in check(board).items():
                errors += ["{}, {}: {}".format(board, checker, line) for line in lines]
        errors += [] if options.stubs else check_lib()
    except workshop.SetupError as error:
        print("check_types: {}".format(error), file=sys.stderr)
        return 2
    for line in errors:
        print(line)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
