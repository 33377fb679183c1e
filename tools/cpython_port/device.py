"""
The device's view of Python: its builtins, its OSError, its import.

A Port holds the modules of one device. Code is compiled from its own file, with names and line
numbers as they are, and run with a `__builtins__` whose `__import__` knows three places, in
MicroPython's order: the device's directories, the port's stand-ins for MicroPython's own modules
(modules.py), and a few of CPython's modules that need no change.
"""

import builtins
import errno as _errno
import functools
import gc
import os
import sys
import types
from importlib.machinery import SourceFileLoader

# What MicroPython's `builtins` holds (dir(builtins), 1.29 unix), and what CPython's compiler
# needs.
_NAMES = """
    ArithmeticError AssertionError AttributeError BaseException EOFError Ellipsis Exception
    GeneratorExit ImportError IndentationError IndexError KeyError KeyboardInterrupt LookupError
    MemoryError NameError NotImplemented NotImplementedError OverflowError RuntimeError
    StopAsyncIteration StopIteration SyntaxError SystemExit TypeError UnicodeError ValueError
    ZeroDivisionError abs all any bin bool bytearray bytes callable chr classmethod compile complex
    delattr dict dir divmod enumerate eval exec filter float frozenset getattr globals hasattr hash
    help hex id input int isinstance issubclass iter len list locals map max memoryview min next
    object oct ord pow print property range repr reversed round set setattr slice sorted
    staticmethod str sum super tuple type zip __build_class__ __debug__ __name__ None True False
""".split()

# errno's names on MicroPython; their numbers are Linux's on every port that has sockets.
ERRNO = {
    "EPERM": 1,
    "ENOENT": 2,
    "EIO": 5,
    "EBADF": 9,
    "EAGAIN": 11,
    "ENOMEM": 12,
    "EACCES": 13,
    "EEXIST": 17,
    "ENODEV": 19,
    "EISDIR": 21,
    "EINVAL": 22,
    "EOPNOTSUPP": 95,
    "EADDRINUSE": 98,
    "ECONNABORTED": 103,
    "ECONNRESET": 104,
    "ENOBUFS": 105,
    "ENOTCONN": 107,
    "ETIMEDOUT": 110,
    "ECONNREFUSED": 111,
    "EHOSTUNREACH": 113,
    "EALREADY": 114,
    "EINPROGRESS": 115,
}
ERRNO_NAME = {number: name for name, number in ERRNO.items()}


class OSError(builtins.OSError):
    """
    MicroPython's: errno is the first argument, and the text names it. CPython knows errno only
    with two.
    """

    def __init__(self, *args):
        super().__init__(*args)
        self.args = args

    @property
    def errno(self):
        return self.args[0] if self.args else None

    def __str__(self):
        if not self.args:
            return ""
        first = self.args[0]
        if len(self.args) > 2 or not isinstance(first, int):
            return str(first if len(self.args) == 1 else self.args)
        name = ERRNO_NAME.get(first)
        if len(self.args) == 1:
            return "[Errno {}] {}".format(first, name) if name else str(first)
        return "[Errno {}] {}: {}".format(first, name, self.args[1]) if name else str(self.args)


def device_error(error):
    """CPython's OSError as MicroPython's, with Linux's number on any system."""
    if isinstance(error, OSError) or error.errno is None:
        return error if isinstance(error, OSError) else OSError(str(error))
    name = _errno.errorcode.get(error.errno, "")
    return OSError(ERRNO.get(name, error.errno))


def guarded(function):
    """`function`, raising MicroPython's OSError where it would raise CPython's."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except builtins.OSError as error:
            raise device_error(error) from None

    return call


class Port:
    """
    One device: its path, its modules.

    path: list of directories, searched in order; one named ".frozen" is passed over. modules: dict
    of those loaded so far, by name, as the device's sys.modules.
    """

    def __init__(self, path):
        from . import modules

        self.path = [str(directory) for directory in path]
        self.modules = {}
        self._compiled = {}  # file -> (source, code)
        self._builtins = {
            name: getattr(builtins, name) for name in _NAMES if hasattr(builtins, name)
        }
        self._builtins.update(
            __import__=self._import,
            OSError=OSError,
            open=guarded(open),
            execfile=lambda file, *scope: exec(compile(open(file).read(), file, "exec"), *scope),
        )
        self._own = modules.make(self)

    def load(self, name):
        """Import a device module as device code would; returns the module that `name` names."""
        self._find(name)
        return self.modules[name]

    def run(self, file):
        """Run a program as __main__."""
        module = types.ModuleType("__main__")
        self.modules["__main__"] = module
        self._execute(module, file)
        return module

    def _import(self, name, globals=None, locals=None, fromlist=(), level=0):
        if level:
            package = (globals or {}).get("__package__") or ""
            parts = package.split(".")
            parts = parts[: len(parts) - level + 1]
            name = ".".join([part for part in parts + [name] if part])
        self._find(name)
        if not fromlist:
            return self.modules[name.split(".")[0]]
        module = self.modules[name]
        for wanted in fromlist:
            if wanted != "*" and not hasattr(module, wanted) and hasattr(module, "__path__"):
                try:
                    self._find(name + "." + wanted)
                except ImportError as error:
                    if error.name != name + "." + wanted:
                        raise
        return module

    def _find(self, name):
        """Load `name` and the packages above it, unless they are there."""
        parent = None
        for end in range(1, name.count(".") + 2):
            part = ".".join(name.split(".")[:end])
            if part not in self.modules:
                self._load(part, parent)
            parent = self.modules[part]

    def _load(self, name, parent):
        leaf = name.split(".")[-1]
        directories = self.path if parent is None else getattr(parent, "__path__", ())
        namespaces = []
        for directory in directories:
            base = os.path.join(directory, leaf)
            if os.path.isfile(base + ".py"):
                return self._load_file(name, base + ".py", None, parent)
            if os.path.isfile(os.path.join(base, "__init__.py")):
                return self._load_file(name, os.path.join(base, "__init__.py"), [base], parent)
            if os.path.isdir(base):
                namespaces.append(base)
        if parent is None and name in self._own:
            self.modules[name] = self._own[name]()
        elif namespaces:
            module = types.ModuleType(name)
            module.__path__ = namespaces
            self._keep(name, module, parent)
        else:
            raise ImportError("no module named '{}'".format(name), name=name)

    def _load_file(self, name, file, package_path, parent):
        module = types.ModuleType(name)
        if package_path:
            module.__path__ = package_path
        module.__package__ = name if package_path else name.rpartition(".")[0]
        self.modules[name] = module
        try:
            self._execute(module, file)
        except BaseException:
            self.modules.pop(name, None)
            raise
        self._keep(name, module, parent)

    def _keep(self, name, module, parent):
        self.modules[name] = module
        if parent is not None:
            setattr(parent, name.rpartition(".")[2], module)

    def _execute(self, module, file):
        module.__file__ = file
        module.__dict__["__builtins__"] = self._builtins
        exec(self._compile(file), module.__dict__)

    def _compile(self, file):
        """The code of a file; what is loaded, let go and loaded again is compiled once."""
        with open(file, "rb") as source:
            text = source.read()
        known, code = self._compiled.get(file, (None, None))
        if text == known:
            return code
        if sys.pycache_prefix and os.path.dirname(file) != self.path[0]:
            # Libraries: CPython keeps what it makes of them, apart from the device's files.
            code = SourceFileLoader("", file).get_code("")
        else:
            code = compile(text, file, "exec", dont_inherit=True)
        self._compiled[file] = text, code
        return code


def main(argv):
    """The command: argv[0] is the program. MICROPYPATH as MicroPython reads it."""
    if not argv:
        sys.exit("usage: run.py program.py [arguments], with MICROPYPATH for the device's modules")
    script = argv[0]
    path = [os.path.dirname(os.path.abspath(script))]
    path += [directory for directory in os.environ.get("MICROPYPATH", "").split(":") if directory]
    sys.argv[:] = argv
    port = Port(path)
    gc.freeze()  # programs that collect garbage often need not look at all of CPython each time
    port.run(script)
