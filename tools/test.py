"""
Runs the tests: `python3 tools/test.py [pytest arguments]`, with any Python 3.9 or newer.

    python3 tools/test.py                                  all of them, some files at a time
    python3 tools/test.py host_tests/digi                    one room
    python3 tools/test.py -k "cut and micropython" -x      what pytest can select
    python3 tools/test.py -n 0                             all, one after the other

Paths are relative to the project. Ends with pytest's status: 0 when everything passed.
"""

import os
import subprocess
import sys

import workshop


def main():
    workshop.enter(__file__)
    if workshop.why_no_micropython():
        workshop.say(workshop.why_no_micropython() + "; its half of the tests is skipped")
    # Most tests wait more than they work. A file's tests stay together: they share a cloud.
    selected = sys.argv[1:] or ["-n", "3", "--dist", "loadfile"]
    command = [sys.executable, "-m", "pytest"] + selected
    # The tests import tools/ and run device code; no bytecode is to litter the checkout.
    return subprocess.call(
        command, cwd=workshop.ROOT, env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    )


if __name__ == "__main__":
    sys.exit(main())
