"""
Runs the tests: `python3 tools/test.py [pytest arguments]`, with any Python 3.9 or newer.

    python3 tools/test.py                                  all of them, some files at a time
    python3 tools/test.py host_tests/digi                    one room
    python3 tools/test.py -k "cut and micropython" -x      what pytest can select
    python3 tools/test.py -n 0                             all, one after the other
    python3 tools/test.py --built                          the clients' tests, on MicroPython and
                                                           what tools/build.py makes of lib/
    python3 tools/test.py --built --main                   of them each client's main flows only
    python3 tools/test.py --interpreter micropython32      what runs device code, on Debian's
                                                           32-bit MicroPython (an older version)

--interpreter NAME, more than once for several: micropython, cpython (tools/cpython_port) or
micropython32. Without it the first two, and also the tests that run no device code.

Paths are relative to the project. Ends with pytest's status: 0 when everything passed. Ctrl-C ends
it, and everything that the tests have started.
"""

import argparse
import os
import signal
import subprocess
import sys

import services
import workshop

# Where the clients' tests are: a service's room has its name.
BUILT_ROOMS = [
    one.name for one in services.SERVICES if (workshop.ROOT / "host_tests" / one.name).is_dir()
]
# Each client's main flows, by its public face alone: what every change passes on built files, too.
BUILT_MAIN = (
    "link/test_mqtt_link_tls.py",
    "azure/test_iotc.py",
    "ibm/test_ibmiotf_application.py",
    "teamviewer/test_TeamViewerIoTPythonSDK_TVCMI_client.py",
    "digi/test_digi_faithful.py",
    # Each service by cloud.py: what its devices and its watchers promise.
    "cloud/test_cloud_device_contract.py",
    "cloud/test_cloud_watcher_contract.py",
)
INTERPRETERS = ("micropython", "cpython", "micropython32")
_END_S = 10  # how long pytest and its workers may take to end after Ctrl-C
_INTERRUPTED = 130  # the status that shells give a program ended by Ctrl-C


def built_path():
    """Build everything into build/; returns what PICOLINK_BUILT is set to."""
    import build

    return build.search_path(build.build(), build.OUTPUT)


def parallel():
    """
    pytest's options for running several files at a time. Most tests wait more than they work, so
    there are more workers than cores; a file's tests stay together, since they share a cloud. The
    files come in host_tests/conftest.py's order.
    """
    workers = min(12, max(4, 3 * (os.cpu_count() or 1)))
    return ["-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder"]


def main():
    workshop.enter(__file__)
    if workshop.why_no_micropython():
        workshop.say(workshop.why_no_micropython() + "; its half of the tests is skipped")
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--built", action="store_true")
    parser.add_argument("--main", action="store_true")
    parser.add_argument("--interpreter", action="append", choices=INTERPRETERS)
    options, selected = parser.parse_known_args()
    everything = not selected
    # The tests import tools/ and run device code; no bytecode is to litter the checkout.
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    if options.built:
        environment["PICOLINK_BUILT"] = built_path()
        if not [one for one in selected if one.startswith("host_tests")]:
            chosen = BUILT_MAIN if options.main else BUILT_ROOMS
            selected += ["host_tests/" + one for one in chosen]
    if options.interpreter:
        environment["PICOLINK_BOARDS"] = " ".join(options.interpreter)
        if "micropython32" in options.interpreter:
            try:
                workshop.micropython32()
            except workshop.SetupError as error:
                workshop.say("{}; its tests are skipped".format(error))
    if everything:
        selected += parallel()
    return run([sys.executable, "-m", "pytest"] + selected, environment)


def run(command, environment):
    """Run pytest to its end; returns the status. Ctrl-C ends it and what it has started."""
    # In a session of its own pytest and its workers don't hear Ctrl-C, each in the middle of
    # something, and tell of it at length: we end them. A debugger needs the terminal.
    apart = not {"--pdb", "--trace"}.intersection(command)
    child = subprocess.Popen(command, cwd=workshop.ROOT, env=environment, start_new_session=apart)
    try:
        return child.wait()
    except KeyboardInterrupt:
        if not apart:
            return child.wait()
        # A second Ctrl-C must not stop the cleaning up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        end(child)
        print()
        workshop.say("interrupted; what the tests had started is ended")
        return _INTERRUPTED


def end(child):
    """End a process of ours that leads a group, and with it the group: pytest's workers."""
    os.killpg(child.pid, signal.SIGTERM)
    try:
        child.wait(_END_S)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def without_traceback(function):
    """Return what function() does, or after Ctrl-C, in one line, the status for it."""
    try:
        return function()
    except KeyboardInterrupt:
        workshop.say("interrupted")
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(without_traceback(main))
