"""What a build writes: .mpy files in a directory, the same as a ROMFS image, an index for mip."""

import ast
import collections
import hashlib
import io
import json
import keyword
import shutil
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import services
import workshop
from workshop import heap32, packages

from . import apart, firmware, inline, joined, private, texts, umqtt
from .source import Source

MPY_CROSS = workshop.mpy_cross()
_LINK = "mqtt_link"  # the one file of lib/ that stands on umqtt.simple's client
_SHORT = 128  # places in a file's table of names that take one byte
# The one bytecode that MicroPython 1.23 and newer load; `tls`, which lib/ needs, came with 1.23.
MPY = "6.3"
# Boards (MicroPython's names) -> the .mpy version of their firmware.
BOARDS = {
    "ESP32_GENERIC": MPY,
    "ESP32_GENERIC_C3": MPY,
    "ESP32_GENERIC_S3": MPY,
    "RPI_PICO_W": MPY,
    "RPI_PICO2_W": MPY,
    "unix": MPY,
}


class BuildError(Exception):
    """Nothing was built; the text says why and what to do."""


class Built:
    """
    What one service, or several together, is on a board.

    name: of its directory. main: the modules a program imports. modules: {file below the library's
    directory, without ending: joined.Module}. files: {path below it: bytes}, ready to copy.
    one_file: the path of the file with what stays loaded.
    """

    def __init__(self, name, chosen, modules, files):
        self.name = name
        self.services = chosen
        self.modules = modules
        self.files = files

    def one_file(self, service):
        """The path (in `files`) of the file that holds a service's resident part."""
        main = service.imports[0]
        for path in (main + ".mpy", main + "/__init__.mpy"):
            if path in self.files:
                return path
        raise KeyError(main)


class Builder:
    """Builds out of lib/ as it is now. plain: leaves the private names as they are."""

    def __init__(self, plain=False, optimise=3):
        self._optimise = optimise
        self.sources, self._parts, self.texts = _sources(packages.modules(), not plain)
        files = [packages.resident(service) for service in services.SERVICES]
        self.names = private.Names(
            self.sources, files, foreign_names(), () if plain else services.joining()
        )
        if plain:
            self.names.attributes.clear()
            self.names.globals.clear()
            self.names.keywords.update(self.names.every_name)
        self._compiled = {}

    def build(self, chosen, separate=False):
        """
        A Built of some services (services.Service). What only one of them holds is one file, and
        what several hold another one. separate: every file of lib/ by itself.
        """
        groups = _groups(chosen)
        if separate:
            groups = [[part] for parts in groups for part in parts]
        mains = [_main_of(parts, chosen) if len(parts) > 1 else parts[0] for parts in groups]
        elsewhere = {}
        for main, parts in zip(mains, groups):
            if len(parts) > 1:
                elsewhere.update(joined.hidden(main, parts, self.names, self.sources))
        made = []
        for main, parts in zip(mains, groups):
            made += self._resident(main, parts, elsewhere)
        held = {part for parts in groups for part in parts}
        needed, outside = self._needed(chosen)
        made += [
            joined.alone(self.sources[module], self.names, self.sources, elsewhere)
            for module in sorted(needed - held)
        ]
        modules = {one.file: one for one in made}
        files = {
            file + ".mpy": self._compile(module.source, module.name)
            for file, module in modules.items()
        }
        if "umqtt.simple" in outside:
            files.update(self.umqtt())
        name = "+".join(service.imports[0] for service in chosen)
        return Built(name, chosen, modules, dict(sorted(files.items())))

    def _resident(self, main, parts, elsewhere):
        # The Modules that some modules of lib/ become which stay loaded: one, and its stand-ins.
        if len(parts) == 1:
            return [joined.alone(self.sources[main], self.names, self.sources, elsewhere)]
        made = joined.joined(main, parts, self.names, self.sources, elsewhere)
        return [made] + [
            joined.stand_in(part, main, self.names, self.sources, made.finals)
            for part in parts
            if not (part + ".").startswith(main + ".") and part not in self.names.inner
        ]

    def _needed(self, chosen):
        # (modules of lib/ and parts of them that these services need, modules from elsewhere)
        needed, outside = set(), set()
        for service in chosen:
            own, foreign = packages.closure(service.imports)
            needed |= set(own)
            outside |= foreign
            if service.rows:
                needed |= {one.module for one in services.SHARED if one.offered}
        needed |= {name for name, of in self._parts if needed & set(of)}
        return needed, outside

    def umqtt(self):
        """{path: .mpy} of umqtt.simple."""
        return {
            module.replace(".", "/") + ".mpy": self._compile(source, module)
            for module, source in umqtt.split(_umqtt_source()).items()
        }

    def _compile(self, source, name):
        # A module's own name as the file that a traceback shows: the board has it already.
        key = (source, name)
        if key not in self._compiled:
            self._compiled[key] = compile_small(source, name, self._optimise)
        return self._compiled[key]


def _sources(paths, inlined):
    # ({module: Source} of lib/ and of the files that parts of it go to, [(such a file, the modules
    # of lib/ that need it)], {number: text} of errors).
    made, parts = {}, []
    told = texts.Texts()
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in paths.items()}
    hidden = apart.inner(trees)
    bases = {umqtt.CLIENT: umqtt.methods(_umqtt_source())}
    last = [inline.Inline(trees, foreign_names(), compile_alone)] if inlined else []
    for module, path in paths.items():
        changes = [umqtt.stand_on_lean] if module == _LINK else []
        if module in apart.SELDOM or module in (_LINK, apart.LOADER):
            groups = [hidden[name] for name, of, _ in apart.files() if of == module]
            changes.append(apart.Resident(module, bases, set().union(*groups)))
        if told.change(module):
            changes.append(told.change(module))
        made[module] = Source(module, path, changes + last)
    for name, module, group in apart.files():
        change = apart.Apart(module, group, bases, hidden[name])
        made[name] = Source(name, paths[module], [change] + last, module)
        parts.append((name, (module,)))
    for name, of, change in told.files():
        made[name] = Source(name, paths[of[0]], [change], of[0])
        parts.append((name, of))
    return made, parts, told.numbered()


def _umqtt_source():
    return (workshop.DEVICE_LIB / "umqtt" / "simple.py").read_text(encoding="utf-8")


def _groups(chosen):
    # Resident modules of these services, those together that the same services hold.
    order = []
    for service in chosen:
        order += [module for module in packages.resident(service) if module not in order]
    holders = {
        module: tuple(one.name for one in chosen if module in packages.resident(one))
        for module in order
    }
    groups = {}
    for module in order:
        groups.setdefault(holders[module], []).append(module)
    return list(groups.values())


def _main_of(parts, chosen):
    # The module that gives a file its name: what a program imports, else the topmost part.
    for service in chosen:
        if service.imports[0] in parts:
            return service.imports[0]
    return parts[-1]


def foreign_names():
    """Names that umqtt.simple uses, in the versions of .venv and of the tests' doubles."""
    found = set()
    paths = sorted(workshop.DEVICE_LIB.rglob("*.py"))
    paths += sorted((workshop.ROOT / "host_tests").rglob("umqtt/*.py"))
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for field in ("id", "attr", "arg", "name"):
                value = getattr(node, field, None)
                if isinstance(value, str):
                    found.add(value)
    return found


def compile_small(source, name, optimise):
    """
    As compile_mpy(), with the names that are used most often first in the file's table: the first
    128 take one byte in the bytecode, the others two.
    """
    usual = compile_mpy(source, name, optimise)
    table = firmware.names_of(usual)
    if table[0] + len(table[1]) <= _SHORT:
        return usual
    often = collections.Counter(_names_in(ast.parse(source)))
    candidates = [word for word, count in often.most_common() if count > 1]
    candidates = [word for word in candidates if not keyword.iskeyword(word)]
    spelt = set(table[1]) | _numbered(candidates)
    first = [word for word in candidates if word in spelt][: _SHORT - 4]
    # The compiler enters a name into the table where it meets it, but writes no code for what
    # can't be reached.
    unreached = "while True:\n    break\n    None.{}\n".format(".".join(first))
    return min(usual, compile_mpy(unreached + source, name, optimise), key=len)


_known = {}  # name -> whether an .mpy holds it as a number


def _numbered(words):
    new = [word for word in words if word not in _known]
    if new:
        there = set(firmware.held(new, MPY_CROSS))
        _known.update((word, word in there) for word in new)
    return {word for word in words if _known[word]}


def _names_in(tree):
    for node in ast.walk(tree):
        for field in ("attr", "id", "arg", "name"):
            if isinstance(getattr(node, field, None), str) and not isinstance(node, ast.alias):
                yield getattr(node, field)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.isidentifier():
                yield node.value


def compile_mpy(source, name, optimise=3):
    """The .mpy of a source text; `name` is what a traceback shows. Raises BuildError."""
    try:
        return heap32.compiled(source.encode(), name, optimise)
    except heap32.StepFailed as error:
        raise BuildError(str(error))


def compile_alone(source):
    """The .mpy of functions whose modules are not there; the same for the same text."""
    return compile_mpy(source, "functions")


def romfs(files):
    """A ROMFS image (bytes) with these files below lib/, as `mpremote romfs deploy` takes it."""
    from mpremote.romfs import make_romfs

    with tempfile.TemporaryDirectory() as directory:
        _write_files(Path(directory) / "lib", files)
        with redirect_stdout(io.StringIO()):
            return bytes(make_romfs(directory, mpy_cross=False))


def _write_files(directory, files):
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write(output, built):
    """Write one Built below the directory `output`: the files, the image, the text they are of."""
    shutil.rmtree(output / built.name, ignore_errors=True)
    _write_files(output / built.name, built.files)
    (output / (built.name + ".romfs")).write_bytes(romfs(built.files))
    texts = output / "sources" / built.name
    shutil.rmtree(texts, ignore_errors=True)
    for file, module in built.modules.items():
        path = texts / (file + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(module.source, encoding="utf-8")


def write_index(output, all_built, umqtt_files):
    """
    Write output/mip, an index in the form of MicroPython's own: `mpremote mip install --index`.

    all_built: a Built a service. umqtt_files: Builder.umqtt(), which stands in the index, too.
    """
    place = output / "mip"
    shutil.rmtree(place, ignore_errors=True)
    version = packages.version()
    listed = []

    def add(name, files, deps, description):
        hashes = []
        for path, content in files.items():
            digest = hashlib.sha256(content).hexdigest()[:8]
            hashes.append([path, digest])
            _write_files(place / "file" / digest[:2], {digest: content})
        content = json.dumps(
            {"v": 1, "hashes": hashes, "version": version, "deps": deps}, indent=1
        )
        for tag in ("latest", version):
            for format in (MPY.partition(".")[0], "py"):
                _write_files(
                    place / "package" / format / name, {tag + ".json": content.encode() + b"\n"}
                )
        listed.append({"name": name, "version": version, "description": description})

    add("umqtt.simple", umqtt_files, [], "MQTT client of micropython-lib")
    for built in all_built:
        files = {path: one for path, one in built.files.items() if path not in umqtt_files}
        deps = [["umqtt.simple", "latest"]] if len(files) < len(built.files) else []
        (service,) = built.services
        add(service.imports[0], files, deps, service.title)
    index = {"v": 2, "updated": 0, "packages": listed}
    _write_files(place, {"index.json": json.dumps(index, indent=1).encode() + b"\n"})


def write_names(output, names, told, all_built):
    """
    Write output/names.json: what explain.py needs to read a board's traceback. told: {number:
    text} of errors.
    """
    back = {}
    for old, new in sorted(names.attributes.items()):
        back.setdefault(new, []).append(old)
    for (module, old), new in sorted(names.globals.items()):
        back.setdefault(new, []).append("{}.{}".format(module, old))
    functions = {}
    for built in all_built:
        for module in built.modules.values():
            for function in module.functions:
                entry = list(function)
                listed = functions.setdefault(module.name, [])
                if entry not in listed:
                    listed.append(entry)
    content = {
        "version": packages.version(),
        "names": back,
        "texts": told,
        "functions": functions,
    }
    _write_files(output, {"names.json": json.dumps(content, indent=1, sort_keys=True).encode()})


def check_table():
    """Raises BuildError when mpy-cross doesn't know a name of the table as the firmware's."""
    there = firmware.held(firmware.NUMBERED, MPY_CROSS)
    lacking = sorted(set(firmware.NUMBERED) - set(there))
    if lacking:
        raise BuildError("not in every firmware: " + " ".join(lacking))
