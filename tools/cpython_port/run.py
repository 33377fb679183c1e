"""Runs a device program on CPython: `python tools/cpython_port/run.py program.py [arguments]`."""

import os
import sys

# The directory of this file would make its modules shadow CPython's; the one above holds the
# package.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from cpython_port.device import main  # noqa: E402

if __name__ == "__main__":
    main(sys.argv[1:])
