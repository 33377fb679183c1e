"""
Runs the tests: `python3 tools/test.py [pytest arguments]`, with any Python 3.9 or newer.

    python3 tools/test.py                                  all of them, some files at a time
    python3 tools/test.py host_tests/digi                    one room
    python3 tools/test.py -k "cut and micropython" -x      what pytest can select
    python3 tools/test.py -n 0                             all, one after the other
    python3 tools/test.py --built                          the clients' tests, on MicroPython and
                                                           what tools/build.py makes of lib/

Paths are relative to the project. Ends with pytest's status: 0 when everything passed.
"""

import os
import subprocess
import sys

import workshop


# Where the clients' tests are.
BUILT_ROOMS = ("link", "ibm", "azure", "teamviewer", "digi")


def built_path():
    """Build everything into build/; returns what PICOLINK_BUILT is set to."""
    import build

    return build.search_path(build.build(), build.OUTPUT)


def main():
    workshop.enter(__file__)
    if workshop.why_no_micropython():
        workshop.say(workshop.why_no_micropython() + "; its half of the tests is skipped")
    # Most tests wait more than they work. A file's tests stay together: they share a cloud.
    selected = [one for one in sys.argv[1:] if one != "--built"]
    # The tests import tools/ and run device code; no bytecode is to litter the checkout.
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    if "--built" in sys.argv:
        environment["PICOLINK_BUILT"] = built_path()
        if not [one for one in selected if one.startswith("host_tests")]:
            selected += ["host_tests/" + room for room in BUILT_ROOMS]
    selected = selected or ["-n", "3", "--dist", "loadfile"]
    command = [sys.executable, "-m", "pytest"] + selected
    return subprocess.call(command, cwd=workshop.ROOT, env=environment)


if __name__ == "__main__":
    sys.exit(main())
