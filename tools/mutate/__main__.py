"""
Makes small faults in lib/ and shows whether the tests notice: `python3 tools/mutate MODULE ...`.

    python3 tools/mutate iotc_wire               all its mutants, 60 at most
    python3 tools/mutate mqtt_link --count 200   a larger sample; --seed for another one
    python3 tools/mutate mqtt_link --line 412    those of one line
    python3 tools/mutate --known                 faults that once went unnoticed: none may
    python3 tools/mutate --list                  the modules, and how many mutants each has

One line for each mutant, "killed" with the test that noticed it or "SURVIVED", then the figures.
Status 1 when there was a survivor. A mutant that makes the tests run for ever is killed, too. Each
mutant is in a copy of this checkout; nothing here is changed.
"""

import argparse
import os
import queue
import sys
import tempfile
import threading
from pathlib import Path

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Started as `python3 tools/mutate` this directory itself is on the path: its modules would answer
# to names that are not theirs.
sys.path[:] = [TOOLS] + [
    p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))
]

import workshop  # noqa: E402

_PATIENCE = 3  # a mutant's tests may take so many times as long as those of the sound file ...
_PATIENCE_S = 60  # ... and so many seconds


def main(given=None):
    workshop.enter(__file__)
    from mutate import plan

    parser = argparse.ArgumentParser(
        prog="python3 tools/mutate", description=__doc__.split("\n\n")[0].strip()
    )
    parser.add_argument("module", nargs="*", help="one of: " + ", ".join(plan.TESTS))
    parser.add_argument(
        "--known", nargs="?", const="", metavar="WORD", help="the faults kept in a list, or some"
    )
    parser.add_argument("--list", action="store_true", help="how many mutants each module has")
    parser.add_argument("--count", type=int, default=60, help="most mutants of a module (60)")
    parser.add_argument("--seed", type=int, default=1, help="which ones, where there are more (1)")
    parser.add_argument("--line", type=int, action="append", help="of this line only")
    parser.add_argument("--jobs", type=int, default=1, help="so many at a time (1)")
    options = parser.parse_args(given)
    unknown = [one for one in options.module if one not in plan.TESTS]
    if unknown:
        parser.error("there are no tests for {}".format(", ".join(unknown)))
    if options.list:
        for module in options.module or plan.TESTS:
            print("{:<22}{}".format(module, len(mutants_of(module))))
        return 0
    if not options.module and options.known is None:
        parser.error("name a module, or --known")
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutate-") as directory:
        runners = Runners(Path(directory), options.jobs)
        if options.known is not None:
            survivors += runners.run("known", known(options.known))
        for module in options.module:
            survivors += run_module(runners, module, options)
    return 1 if survivors else 0


def mutants_of(module):
    from mutate import making, plan

    return making.make((workshop.LIB / plan.file(module)).read_bytes())


def run_module(runners, module, options):
    from mutate import making, plan

    mutants = mutants_of(module)
    if options.line:
        mutants = [one for one in mutants if one.line in options.line]
    chosen = making.sample(mutants, options.count, options.seed)
    file, tests = plan.file(module), plan.tests(module)
    tests = [one for one in tests if (workshop.ROOT / "host_tests" / one).exists()]
    status, spent, name = runners.sound(tests)
    if status != 0:
        sys.exit("picolink: {} fails without any mutant".format(name or "a test"))
    print("{}: {} of {} mutants".format(module, len(chosen), len(mutants)), flush=True)
    work = [(file, one, tests, spent * _PATIENCE + _PATIENCE_S) for one in chosen]
    return runners.run(module, work)


def known(word):
    """The faults of known.py in whose words this one is, as work for Runners.run()."""
    from mutate import known as kept

    chosen = [one for one in kept.KNOWN if word in one.what]
    return [(one.file, kept.make(one), one.tests.split(), 600) for one in chosen]


class Runners:
    """Copies of the checkout, and a thread for each."""

    def __init__(self, directory, jobs):
        from mutate import running

        self.copies = [running.Copy(directory / "copy{}".format(n)) for n in range(jobs)]

    def sound(self, tests):
        """Run tests without any fault."""
        return self.copies[0].test(tests, 1800)

    def run(self, name, work):
        """Run tests on each mutant in `work`; prints what became of it. Returns the survivors."""
        waiting = queue.Queue()
        for one in work:
            waiting.put(one)
        killed = []
        survivors = []

        def serve(copy):
            while True:
                try:
                    file, mutant, tests, limit_s = waiting.get_nowait()
                except queue.Empty:
                    return
                with copy.fault(file, mutant.text):
                    status, spent, by = copy.test(tests, limit_s)
                if status == 0:
                    survivors.append(mutant)
                    word, by = "SURVIVED", ""
                else:
                    killed.append(mutant)
                    word, by = "killed  ", by if status else "no end"
                place = "{}:{}".format(file, mutant.line)
                print("{} {:<26}{}  [{} {:.0f} s]".format(word, place, mutant.what, by, spent))
                sys.stdout.flush()

        threads = [threading.Thread(target=serve, args=(copy,)) for copy in self.copies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print("{}: {} killed, {} survived".format(name, len(killed), len(survivors)))
        sys.stdout.flush()
        return len(survivors)


if __name__ == "__main__":
    sys.exit(main())
