"""
Writes the package files that `mip` installs from: package.json (everything) and one per client in
lib/.

    python3 tools/packages.py            after a file of lib/ was added or an import changed
    python3 tools/packages.py --check    says what is out of date; status 1 then

What belongs to a client is read off the imports, those inside functions too, so a file that it
needs can't be forgotten. Only Python's standard library is needed here.
"""

import ast
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIB = ROOT / "lib"

# Package file -> the modules that a program imports from it; a package stands for all of its
# files.
PACKAGES = {
    "package.json": None,
    "lib/mqtt_link.json": ["mqtt_link"],
    "lib/link_asyncio.json": ["link_asyncio"],
    "lib/ibmiotf.json": ["ibmiotf", "ibmiotc"],
    "lib/iotc.json": ["iotc"],
    "lib/teamviewer_iot.json": ["teamviewer_iot", "TeamViewerIoTPythonSDK"],
    "lib/idigi_monitor_api.json": ["idigi_monitor_api"],
}
_UMQTT = "umqtt.simple"


def modules():
    """All of lib/ as {module name: Path}."""
    found = {}
    for path in sorted(LIB.rglob("*.py")):
        parts = path.relative_to(LIB).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name, path):
    """The names of modules that one file imports, anywhere in it."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
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


def closure(tops):
    """What the modules `tops` need: ({name: Path} in lib/, names from elsewhere)."""
    everything = modules()
    needed, outside = {}, set()
    queue = [
        name for name in everything for top in tops if name == top or name.startswith(top + ".")
    ]
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


def outdated():
    """The package files whose content is not what lib/ asks for."""
    there = modules()
    stale = []
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
            (ROOT / file).write_text(package(file))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
