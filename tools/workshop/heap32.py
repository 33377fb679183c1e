"""
Heap figures of a 32-bit MicroPython, the size of machine a board has: MicroPython for WebAssembly,
in Node.

A 64-bit interpreter's objects are twice as large, so its figures say little about a board. This
build has no sockets, TLS or `machine`; empty stand-ins take their place in the import, and what
they cost is taken off.
"""

import base64
import functools
import json
import subprocess
import tempfile
from pathlib import Path

import workshop

# Names that every firmware with a network holds, since its own socket, select, tls and os modules
# are made of them: a program that uses them pays for none. This build has no such modules.
HELD = """
    socket getaddrinfo AF_INET SOCK_STREAM SOCK_DGRAM bind listen accept connect send recv sendto
    recvfrom settimeout setblocking setsockopt makefile read readinto readline write close select
    poll POLLIN POLLOUT POLLERR POLLHUP register unregister modify ipoll SSLContext
    PROTOCOL_TLS_CLIENT PROTOCOL_TLS_SERVER CERT_NONE CERT_OPTIONAL CERT_REQUIRED verify_mode
    load_cert_chain load_verify_locations wrap_socket server_side server_hostname
    do_handshake_on_connect cipher urandom tls ssl
    """.split()
# Modules that this build lacks and lib/ imports. `u` names are what umqtt.simple 1.3.4 asks for.
_STAND_INS = {
    "socket.py": "class socket:\n pass\nclass _Held:\n {} = 0\n".format(" = ".join(HELD)),
    "ssl.py": "class SSLContext:\n pass\n",
    "machine.py": "",
    "network.py": "",
    "usocket.py": "from socket import *\n",
    "ustruct.py": "from struct import *\n",
    "ubinascii.py": "from binascii import *\n",
    "utime.py": "from time import *\n",
}
# This build also freezes in what no board's firmware has, and 6 KB of heap would be charged to
# whoever imports it. (The frozen modules come before /lib, the current directory before them.)
_LACKING = {"/datetime.py": b"raise ImportError('no datetime on a board')\n"}


class StepFailed(Exception):
    """A step raised; the text holds MicroPython's traceback."""


class Result:
    """heap: bytes in use, first before any step, then after each. out: list of lines printed."""

    def __init__(self, heap, out):
        self.heap = heap
        self.out = out


def mpy(path, opt=0):
    """Compile a .py (a path, from the project's root) with mpy-cross; returns the .mpy's bytes."""
    path = workshop.ROOT / path
    return compiled(path.read_bytes(), path.name, opt)


@functools.lru_cache(maxsize=None)
def compiled(source, name, opt):
    """The .mpy of a source (bytes); `name` is what a traceback shows. Raises StepFailed."""
    with tempfile.TemporaryDirectory() as directory:
        path, target = Path(directory) / name.replace("/", "."), Path(directory) / "out.mpy"
        path.write_bytes(source)
        done = subprocess.run(
            [str(workshop.mpy_cross()), "-O{}".format(opt), "-s", name]
            + ["-o", str(target), str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise StepFailed("{} does not compile:\n{}".format(name, done.stdout))
        return target.read_bytes()


def library():
    """
    The device's file system as {path: bytes}: all of lib/ and umqtt, as .mpy or as source, and
    stand-ins.
    """
    files = stand_ins()
    for top in (workshop.DEVICE_LIB, workshop.LIB):
        for path in sorted(top.rglob("*.py")):
            name = "/lib/" + path.relative_to(top).as_posix()
            try:
                files[name[:-3] + ".mpy"] = mpy(path)
            except StepFailed:  # whoever imports it gets to see the error
                files[name] = path.read_bytes()
    return files


def run(*steps, files=None, timeout=60):
    """
    Run each step (Python source, globals shared) and measure the heap after it, garbage collected.

    files: {path: bytes}, library() if None. Returns a Result. Raises StepFailed,
    workshop.SetupError (no Node).
    """
    job = {
        "module": workshop.wasm().as_uri(),
        "files": {
            path: base64.b64encode(content).decode()
            for path, content in (library() if files is None else files).items()
        },
        "steps": steps,
    }
    done = subprocess.run(
        ["node", str(Path(__file__).with_suffix(".mjs"))],
        input=json.dumps(job),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=timeout,
    )
    heap, out = [], []
    for line in done.stdout.splitlines():
        if line.startswith("@heap "):
            heap.append(int(line.split()[1]))
        else:
            out.append(line)
    if done.returncode or len(heap) != len(steps) + 1:
        raise StepFailed("step {}:\n{}{}".format(len(heap), done.stdout, done.stderr))
    return Result(heap, out)


def stand_ins():
    """{path: bytes} of the modules that this build lacks, on a device's file system."""
    files = {"/lib/" + name: text.encode() for name, text in _STAND_INS.items()}
    files.update(_LACKING)
    return files


def built(files):
    """A device's file system, as library(), with built files: {path below lib/: bytes}."""
    found = stand_ins()
    found.update(("/lib/" + name, content) for name, content in files.items())
    return found


def import_cost(*modules, files=None):
    """
    Bytes of heap that importing each module takes, in the order given: {module: bytes}.

    What the stand-ins and MicroPython's own modules take is spent before, so that a figure is the
    module's own and that of what it imports and the ones before it have not. The table of names
    grows in large steps; a figure holds the steps of a board where these imports are the first.
    """
    # `os` is a package of Python code in this build, in C on a board.
    spent = {name[:-3] for name in _STAND_INS}
    spent |= {"struct", "binascii", "time", "select", "json", "os", "micropython"}
    first = "".join("import {}\n".format(name) for name in sorted(spent))
    told = "\nmicropython.qstr_info()"
    steps = ["import {}".format(module) + told for module in modules]
    result = run(first + told, *steps, files=files)
    heap = result.heap[1:]
    told = [line for line in result.out if "n_qstr=" in line]
    names = [int(line.split("n_qstr=")[1].split(",")[0]) for line in told]
    cost = {}
    for i, module in enumerate(modules):
        before, after = names[i], names[i + 1]
        here = _name_tables(after) - _name_tables(before)
        board = _name_tables(after - names[0]) - _name_tables(before - names[0])
        cost[module] = heap[i + 1] - heap[i] - here + board
    return cost


def _name_tables(count):
    # Bytes of heap that the tables for so many new names take: for the first 20, then for twice as
    # many each time; 7 bytes a name and 20 a table, in blocks of 16.
    taken, room, size = 0, 0, 10
    while room < count:
        size *= 2
        room += size
        taken += -(-(20 + 7 * size) // 16) * 16
    return taken
