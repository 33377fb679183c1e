"""
The port's stand-ins for MicroPython's own modules: what they hold there, and no more.

make(port) gives {name: function that makes the module}. Of CPython's own modules those that take
long to load, which most programs do without, are loaded where they are used.
"""

import binascii
import builtins
import collections
import gc
import hashlib
import importlib
import io
import json
import os
import socket
import struct
import sys
import time
import types
import zlib

from . import streams
from .device import ERRNO, ERRNO_NAME, OSError, guarded

_TICKS_PERIOD = 1 << 30  # as on 32-bit boards; the unix port's is too long to be met
_TICKS_START = _TICKS_PERIOD - 2000  # so that every program that runs two seconds sees them wrap

# CPython's that need no change; a device program sees more in them than a board has.
_SAME = "_thread array cmath heapq math re".split()

# Those that MicroPython also knows with a `u` before their name.
_U_NAMES = """array asyncio binascii collections errno hashlib heapq io json machine os platform
    random re select socket struct sys time""".split()


def make(port):
    makers = {
        "asyncio": _asyncio,
        "binascii": _binascii,
        "builtins": lambda: _module("builtins", **port._builtins),
        "collections": _collections,
        "deflate": lambda: _module("deflate", DeflateIO=DeflateIO, AUTO=0, RAW=1, ZLIB=2, GZIP=3),
        "errno": lambda: _module("errno", errorcode=dict(ERRNO_NAME), **ERRNO),
        "gc": _gc,
        "hashlib": _hashlib,
        "io": _io,
        "json": _json,
        "machine": _machine,
        "micropython": _micropython,
        "os": _os,
        "platform": lambda: _part("platform", "platform python_compiler libc_ver"),
        "random": lambda: _part(
            "random", "choice getrandbits randint random randrange seed uniform"
        ),
        "select": _select,
        "socket": _socket,
        "ssl": lambda: _from_secure().ssl(),
        "struct": _struct,
        "sys": lambda: _Sys(port),
        "time": _time,
        "tls": lambda: _from_secure().tls(),
    }
    for name in _SAME:
        makers[name] = lambda name=name: importlib.import_module(name)
    # The same module under both names, also where a file of the device's hides the plain one.
    made = {}

    def builtin(name):
        if name not in made:
            made[name] = makers[name]()
        return made[name]

    found = {name: lambda name=name: builtin(name) for name in makers}
    found.update(("u" + name, lambda name=name: builtin(name)) for name in _U_NAMES)
    return found


def _from_secure():
    from . import secure

    return secure


def _module(name, **content):
    module = types.ModuleType(name)
    module.__dict__.update(content)
    return module


def _part(name, names):
    """A module with some of the content of CPython's of that name."""
    real = importlib.import_module(name)
    return _module(name, **{part: getattr(real, part) for part in names.split()})


# --- machine and interpreter ---


def _gc():
    def nothing(*_):
        return 0

    # No heap of its own to measure: constants, so that differences are zero.
    return _module(
        "gc",
        collect=gc.collect,
        enable=gc.enable,
        disable=gc.disable,
        isenabled=gc.isenabled,
        threshold=nothing,
        mem_alloc=nothing,
        mem_free=lambda: 1 << 20,
    )


def _machine():
    def soft_reset():
        raise SystemExit

    return _module("machine", idle=lambda: time.sleep(0.001), soft_reset=soft_reset)


def _micropython():
    def nothing(*_):
        return 0

    def same(value):
        return value

    def schedule(function, argument):
        function(argument)

    return _module(
        "micropython",
        const=same,
        native=same,
        viper=same,
        asm_thumb=same,
        schedule=schedule,
        mem_info=nothing,
        mem_current=nothing,
        mem_peak=nothing,
        mem_total=nothing,
        qstr_info=nothing,
        stack_use=nothing,
        opt_level=nothing,
        heap_lock=nothing,
        heap_unlock=nothing,
        kbd_intr=nothing,
        alloc_emergency_exception_buf=nothing,
    )


class _Sys(types.ModuleType):
    """CPython's sys, with the device's path, modules and stdin, and print_exception()."""

    _SAME = """argv byteorder exc_info executable exit implementation maxsize platform stderr
        stdout version"""

    def __init__(self, port):
        super().__init__("sys")
        self.path = port.path
        self.modules = port.modules
        self.stdin = streams.Stdin()
        self.version_info = sys.version_info
        for name in self._SAME.split():
            setattr(self, name, getattr(sys, name))

    @staticmethod
    def print_exception(error, file=None):
        import traceback

        traceback.print_exception(type(error), error, error.__traceback__, file=file or sys.stdout)

    @staticmethod
    def atexit(function):
        import atexit

        atexit.register(function)


def _os():
    def ilistdir(path="."):
        with os.scandir(path) as entries:
            for entry in entries:
                is_directory = entry.is_dir()
                yield (entry.name, 0x4000 if is_directory else 0x8000, entry.inode(), 0)

    def stat(path):
        return tuple(int(field) for field in os.stat(path)[:10])

    def statvfs(path):
        return tuple(os.statvfs(path))[:10]

    names = "chdir getcwd listdir mkdir remove rename rmdir system unlink urandom".split()
    return _module(
        "os",
        sep="/",
        errno=0,
        getenv=os.environ.get,
        putenv=os.environ.__setitem__,
        unsetenv=lambda name: os.environ.pop(name, None),
        ilistdir=ilistdir,
        stat=guarded(stat),
        statvfs=guarded(statvfs),
        sync=os.sync,
        **{name: guarded(getattr(os, name)) for name in names},
    )


# --- time ---


def _time():
    def ticks(nanoseconds_each):
        origin = time.monotonic_ns()

        def now():
            passed = (time.monotonic_ns() - origin) // nanoseconds_each
            return (_TICKS_START + passed) % _TICKS_PERIOD

        return now

    def ticks_add(ticks, delta):
        return (ticks + delta) % _TICKS_PERIOD

    def ticks_diff(later, earlier):
        half = _TICKS_PERIOD // 2
        return (later - earlier + half) % _TICKS_PERIOD - half

    def gmtime(seconds=None):
        found = time.gmtime(seconds)
        return tuple(found[:8])

    def mktime(fields):
        import calendar

        return calendar.timegm(tuple(fields[:6]) + (0, 0, 0))

    return _module(
        "time",
        ticks_ms=ticks(1000000),
        ticks_us=ticks(1000),
        ticks_cpu=ticks(1000),
        ticks_add=ticks_add,
        ticks_diff=ticks_diff,
        sleep=time.sleep,
        sleep_ms=lambda ms: time.sleep(max(0, ms) / 1000),
        sleep_us=lambda us: time.sleep(max(0, us) / 1000000),
        time=lambda: int(time.time()),
        time_ns=time.time_ns,
        gmtime=gmtime,
        localtime=gmtime,  # a board has no time zone
        mktime=mktime,
    )


def _asyncio():
    import asyncio

    async def sleep_ms(ms):
        await asyncio.sleep(ms / 1000)

    async def wait_for_ms(awaitable, timeout):
        return await asyncio.wait_for(awaitable, timeout / 1000)

    names = """CancelledError Event Lock Task TimeoutError create_task current_task gather
        get_event_loop
        new_event_loop open_connection run sleep start_server wait_for""".split()
    content = {name: getattr(asyncio, name) for name in names}
    return _module("asyncio", sleep_ms=sleep_ms, wait_for_ms=wait_for_ms, **content)


# --- network ---


def _select():
    return _module(
        "select",
        poll=streams.Poll,
        POLLIN=streams.POLLIN,
        POLLOUT=streams.POLLOUT,
        POLLERR=streams.POLLERR,
        POLLHUP=streams.POLLHUP,
    )


def _socket():
    names = """AF_INET AF_INET6 AF_UNIX SOCK_DGRAM SOCK_RAW SOCK_STREAM SOL_SOCKET SO_BROADCAST
        SO_ERROR
        SO_KEEPALIVE SO_LINGER SO_REUSEADDR MSG_PEEK MSG_DONTWAIT""".split()
    return _module(
        "socket",
        socket=streams.Socket,
        getaddrinfo=streams.getaddrinfo,
        sockaddr=streams.sockaddr,
        inet_pton=guarded(socket.inet_pton),
        inet_ntop=guarded(socket.inet_ntop),
        **{name: int(getattr(socket, name)) for name in names},
    )


# --- data ---


def _binascii():
    def hexlify(data, *sep):
        return binascii.hexlify(data.encode() if isinstance(data, str) else data, *sep)

    def unhexlify(data):
        try:
            return binascii.unhexlify(data)
        except binascii.Error:
            raise ValueError("non-hex digit") from None

    def a2b_base64(data):
        try:
            return binascii.a2b_base64(data)
        except binascii.Error:
            raise ValueError("incorrect padding") from None

    def b2a_base64(data, newline=True):
        return binascii.b2a_base64(
            data.encode() if isinstance(data, str) else data, newline=newline
        )

    return _module(
        "binascii",
        hexlify=hexlify,
        unhexlify=unhexlify,
        a2b_base64=a2b_base64,
        b2a_base64=b2a_base64,
        crc32=binascii.crc32,
    )


def _struct():
    def guarded(function):
        def call(*args):
            try:
                return function(*args)
            except struct.error as error:
                raise ValueError(str(error)) from None

        return call

    names = "calcsize pack pack_into unpack unpack_from".split()
    return _module("struct", **{name: guarded(getattr(struct, name)) for name in names})


def _collections():
    class deque(collections.deque):
        def __init__(self, iterable, maxlen, flags=0):
            super().__init__(iterable, maxlen)
            self._checked = flags & 1

        def append(self, value):
            if self._checked and len(self) == self.maxlen:
                raise IndexError("full")
            super().append(value)

        def popleft(self):
            if not self:
                raise IndexError("empty")
            return super().popleft()

    return _module(
        "collections",
        deque=deque,
        OrderedDict=collections.OrderedDict,
        namedtuple=collections.namedtuple,
    )


def _hashlib():
    def maker(name):
        class Hash:
            def __init__(self, data=b""):
                self._hash = hashlib.new(name)
                self.update(data)

            def update(self, data):
                if self._hash is None:
                    raise ValueError("hash is final")
                self._hash.update(data.encode() if isinstance(data, str) else data)

            def digest(self):
                if self._hash is None:
                    raise ValueError("hash is final")
                made, self._hash = self._hash.digest(), None
                return made

        Hash.__name__ = name
        return Hash

    return _module("hashlib", **{name: maker(name) for name in ("md5", "sha1", "sha256")})


def _io():
    return _module(
        "io",
        BytesIO=io.BytesIO,
        StringIO=io.StringIO,
        IOBase=builtins.object,
        open=guarded(open),
    )


class DeflateIO(streams.Stream):
    """deflate.DeflateIO for reading, which is all that a build without compression has."""

    def __init__(self, stream, format=0, wbits=0, close=False):
        self._stream = stream
        self._close = close
        # A window smaller than the header's is fine with MicroPython, as long as nothing reaches
        # back farther; CPython's zlib would refuse the header.
        bits = 15 if format != 1 else wbits or 15
        self._inflate = zlib.decompressobj({0: bits + 32, 1: -bits, 2: bits, 3: bits + 16}[format])
        self._data = b""
        self._ended = False

    write = property()  # hides Stream's

    def close(self):
        if self._close:
            self._stream.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _take(self, size):
        while not self._data and not self._inflate.eof:
            part = self._stream.read(64)
            if part is None:
                raise OSError(ERRNO["EAGAIN"])
            if not part:
                raise EOFError
            try:
                self._data = self._inflate.decompress(part)
            except zlib.error:
                raise OSError(ERRNO["EINVAL"]) from None
        taken, self._data = self._data[:size], self._data[size:]
        return taken


def _json():
    def loads(text):
        if not isinstance(text, str):
            text = bytes(text).decode()
        try:
            return json.loads(text, parse_constant=_refuse)
        except ValueError:
            raise ValueError("syntax error in JSON") from None

    def dump(value, stream, separators=(", ", ": ")):
        stream.write(dumps(value, separators))

    def dumps(value, separators=(", ", ": ")):
        return _dump(value, *(separators or (", ", ": ")))

    return _module("json", load=lambda s: loads(s.read()), loads=loads, dump=dump, dumps=dumps)


def _refuse(name):
    raise ValueError(name)


def _dump(value, comma, colon):
    """MicroPython's json writes whatever it is given: what it doesn't know, as its repr."""
    for word, text in ((None, "null"), (True, "true"), (False, "false")):
        if value is word:
            return text
    if isinstance(value, bytes):
        value = "".join(map(chr, value))
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        items = [
            _key(key, comma, colon) + colon + _dump(value[key], comma, colon) for key in value
        ]
        return "{" + comma.join(items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + comma.join(_dump(item, comma, colon) for item in value) + "]"
    return repr(value)


def _key(key, comma, colon):
    text = _dump(key, comma, colon)
    return text if isinstance(key, (str, bytes)) else '"' + text + '"'
