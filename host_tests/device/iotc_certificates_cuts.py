# ruff: noqa: F821 (what stands before it defines the rest)
# The power goes in the middle of what is done to files.
from given import CUT

import os as _os

LEFT = CUT  # of what is done to files, so much succeeds before the power goes

def spend():
    global LEFT
    LEFT -= 1
    return LEFT < 0

class File:
    def __init__(self, file):
        self.file = file
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self.file.close()
    def write(self, data):
        if spend():
            self.file.write(data[: len(data) // 2])
            self.file.close()
            raise SystemExit(7)
        return self.file.write(data)

def open_counted(name, mode="r"):
    if "w" not in mode:
        return _open(name, mode)
    if spend():
        raise SystemExit(7)
    return File(_open(name, mode))

class os:
    def rename(old, new):
        if spend():
            raise SystemExit(7)
        _os.rename(old, new)
        if spend():
            raise SystemExit(7)
    urandom = _os.urandom
    stat = _os.stat

_open = open
try:
    __builtins__["open"] = open_counted  # the CPython port
except NameError:
    import builtins
    builtins.open = open_counted
sys.modules["os"] = os
