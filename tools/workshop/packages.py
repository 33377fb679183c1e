"""
Writes the package files that `mip` installs from, package.json (everything) and one per client in
lib/, and what manifest.py reads.

    python3 tools/services.py            after a file of lib/ was added or an import changed
    python3 tools/services.py --check    says what is out of date; status 1 then

What a program imports stands in tools/services.py; what that needs is read off the imports, those
inside functions too, so a file that it needs can't be forgotten. Only Python's standard library is
needed here.
"""

import ast
import functools
import json
import sys

import services

from . import LIB, ROOT

# Package file -> the modules that a program imports from it.
PACKAGES = {"package.json": None}
PACKAGES.update((one.package, one.imports) for one in services.SERVICES)
_UMQTT = "umqtt.simple"
MANIFEST = "lib/manifest.json"  # what manifest.py reads: which package asks for which option


def modules():
    """All of lib/ as {module name: Path}."""
    found = {}
    for path in sorted(LIB.rglob("*.py")):
        parts = path.relative_to(LIB).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name, path, inside=True):
    """
    The names of modules that one file imports, anywhere in it; those too that a helper loads by
    name: a call of something called like "load" or "import" with the module's name as a string.

    inside: False leaves out what stands in functions, so what is not loaded with the file.
    """
    return _imports(name, path, inside, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=None)
def _imports(name, path, inside, written):
    # Remembered for as long as the file is the same: the build asks for each of them often.
    return tuple(_read_imports(name, path, inside))


def _read_imports(name, path, inside):
    there = modules()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in _walk(ast.parse(path.read_text(), str(path)), inside):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(above + ([base] if base else []))
            yield base
            for alias in node.names:
                yield base + "." + alias.name
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            for given in node.args if "load" in called or "import" in called else ():
                if isinstance(given, ast.Constant) and given.value in there:
                    yield given.value


def _walk(node, inside):
    if isinstance(node, (ast.FunctionDef, ast.Lambda)) and not inside:
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, inside)


def resident(service):
    """
    The modules of lib/ that a running client of a service (a services.Service) holds, each behind
    what it imports: what its main modules load when they are imported, and what `stays`.
    """
    everything = modules()
    found = []

    def visit(name, above):
        if name not in everything or name in found or name in above:
            return
        if "." in name:
            visit(name.rpartition(".")[0], above)
        for used in imports(name, everything[name], inside=False):
            visit(used, above | {name})
        if name not in found:
            found.append(name)

    for name in service.stays + service.imports[:1] + service.rows[:1]:
        visit(name, set())
    return found


def closure(tops):
    """
    What the modules `tops` need: ({name: Path} in lib/, names from elsewhere). A package stands
    for all of its files, a service's main module for all of the service's own.
    """
    everything = modules()
    needed, outside = {}, set()
    queue = [
        name for name in everything for top in tops if name == top or name.startswith(top + ".")
    ]
    for service in services.SERVICES:
        if service.imports[0] in tops:
            queue += service.own
    while queue:
        name = queue.pop()
        if name in needed:
            continue
        if name not in everything:
            outside.add(name)
            continue
        needed[name] = everything[name]
        queue += imports(name, everything[name])
        if "." in name:
            queue.append(name.rpartition(".")[0])
    return needed, outside


def package(file):
    """The content of one package file, as mip reads it; sources are relative to it."""
    tops = PACKAGES[file] or list(modules())
    needed, outside = closure(tops)
    base = "lib/" if file == "package.json" else ""
    names = sorted(path.relative_to(LIB).as_posix() for path in needed.values())
    urls = ",\n    ".join(json.dumps([name, base + name]) for name in names)
    deps = json.dumps([[_UMQTT, "latest"]] if _UMQTT in outside else [])
    return '{{\n  "version": "{}",\n  "urls": [\n    {}\n  ],\n  "deps": {}\n}}\n'.format(
        version(), urls, deps
    )


def version():
    """As manifest.py's metadata() states it."""
    for node in ast.walk(ast.parse((ROOT / "manifest.py").read_text())):
        if isinstance(node, ast.keyword) and node.arg == "version":
            return ast.literal_eval(node.value)
    raise ValueError("manifest.py has no version")


def manifest():
    """The content of MANIFEST: {package file in lib/: manifest.py's options that it asks for}."""
    asked = {one.package[len("lib/") :]: one.options for one in services.SERVICES}
    return json.dumps(asked, indent=2) + "\n"


def outdated():
    """The files written here whose content is not what lib/ and the table ask for."""
    there = modules()
    path = ROOT / MANIFEST
    stale = [] if path.exists() and path.read_text() == manifest() else [MANIFEST]
    for file, tops in PACKAGES.items():
        path = ROOT / file
        if tops and tops[0] not in there:
            continue
        if not path.exists() or path.read_text() != package(file):
            stale.append(file)
    return stale


def main():
    stale = outdated()
    for file in stale:
        print(file + (" is out of date" if "--check" in sys.argv else " written"))
        if "--check" not in sys.argv:
            (ROOT / file).write_text(manifest() if file == MANIFEST else package(file))
    return 1 if stale and "--check" in sys.argv else 0
