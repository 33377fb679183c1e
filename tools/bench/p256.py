"""
How long this machine's MicroPython takes for a P-256 key and its certificate request:

    python3 tools/bench p256 [--rounds 20] [--json FILE]

A step is what happens between two yields of p256's generators, and so within one do_next() of a
client that provisions itself. The longest step is the one with the largest median over all rounds;
the worst is the slowest single one that was seen, and so mostly what else this machine did then,
or a garbage collection. The same source on CPython stands beside it. Figures are this machine's at
this moment: a board's arithmetic is slower by its own factor.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import workshop

PROGRAM = """
import gc
import time
import p256

def drive(generator, took):
    while True:
        start = time.ticks_us()
        try:
            next(generator)
        except StopIteration as e:
            took.append(time.ticks_diff(time.ticks_us(), start))
            return e.value
        took.append(time.ticks_diff(time.ticks_us(), start))

for _ in range(ROUNDS):
    gc.collect()
    took = []
    start = time.ticks_us()
    d, public = drive(p256.new_key(), took)
    key = time.ticks_diff(time.ticks_us(), start)
    p256.pem("CERTIFICATE REQUEST", drive(p256.csr(d, public, "bench"), took))
    p256.pem("EC PRIVATE KEY", p256.key_der(d, public))
    print(key, time.ticks_diff(time.ticks_us(), start), *took)
"""


def measure(kind, rounds):
    """One dict for an interpreter: seconds for the key and for both, number and ms of steps."""
    with tempfile.TemporaryDirectory(prefix="picolink-bench-") as directory:
        script = Path(directory) / "p256_rounds.py"
        script.write_text(PROGRAM.replace("ROUNDS", str(rounds)))
        done = subprocess.run(
            workshop.device_command(script, kind=kind),
            env=workshop.device_env(),
            capture_output=True,
            text=True,
            timeout=60 + 30 * rounds,
        )
    if done.returncode:
        sys.exit("bench p256: the %s program failed:\n%s" % (kind, done.stdout + done.stderr))
    lines = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
    key, both, *steps = zip(*lines)
    return {
        "interpreter": kind,
        "key_s": statistics.median(key) / 1e6,
        "key_and_request_s": statistics.median(both) / 1e6,
        "steps": len(steps),
        "longest_step_ms": max(statistics.median(step) for step in steps) / 1e3,
        "worst_step_ms": max(max(step) for step in steps) / 1e3,
    }


def main():
    parser = argparse.ArgumentParser(
        prog="python3 tools/bench p256",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    if not workshop.micropython():
        sys.exit("bench p256: " + workshop.why_no_micropython())
    rows = [measure(kind, options.rounds) for kind in ("micropython", "cpython")]
    print("P-256 on this machine, medians of %d rounds" % options.rounds)
    print(
        "  %-12s %9s  %13s %6s  %12s  %10s"
        % ("", "key", "key + request", "steps", "longest step", "worst seen")
    )
    for row in rows:
        print(
            "  {interpreter:12} {key_s:7.4f} s  {key_and_request_s:11.4f} s {steps:6}  "
            "{longest_step_ms:9.3f} ms  {worst_step_ms:7.2f} ms".format(**row)
        )
    if options.json:
        figures = {"rounds": options.rounds, "rows": rows}
        Path(options.json).write_text(json.dumps(figures, indent=1))
