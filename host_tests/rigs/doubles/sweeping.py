# sweeping: lets each call of a stream and each allocation of a conversation fail in turn. Device
# code, for every client; the tests call it through sweep_rig.
#
# A conversation is an object, made anew for each run by make():
#   stream      counts its calls (a Counter); it is what fails
#   step()      what the program does next, and one do_next()
#   over()      whether everything was said and heard, on a connection that stands
#   wrong()     what is wrong about what was said and heard, None when nothing is
#   raised      exceptions that came out of step(), as texts

import gc
import sys

try:
    from micropython import heap_lock, heap_unlock
except ImportError:
    heap_lock = heap_unlock = None  # CPython

_STEPS_MAX = 500


class Counter:
    """
    Counts calls; the one with number `fail_at` calls `failure`. locked: the heap is, for the
    client: what stands in for others uses it all the same.
    """

    def __init__(self):
        self.calls = 0
        self.fail_at = 0
        self.failure = None
        self.locked = False

    def called(self):
        self.calls += 1
        if self.calls == self.fail_at:
            self.failure()

    def lock(self):
        heap_lock()
        self.locked = True

    def unlock(self):
        # For good.
        if self.locked:
            self.locked = False
            heap_unlock()

    def lend(self):
        # To somebody who is not the client; give_back() what this returns.
        locked = self.locked
        if locked:
            heap_unlock()
        return locked

    def give_back(self, locked):
        if locked and self.locked:
            heap_lock()


def forget(*names):
    """Modules are to be loaded again when they are needed, in each conversation."""
    for name in names:
        sys.modules.pop(name, None)
        package, dot, inner = name.rpartition(".")
        if dot and package in sys.modules:
            sys.modules[package].__dict__.pop(inner, None)


class Slots:
    """A list that takes no memory: what callbacks of the program note things in."""

    def __init__(self, size=300):
        self.items = [None] * size
        self.n = 0

    def add(self, item):
        if self.n < len(self.items):
            self.items[self.n] = item
            self.n += 1

    def all(self):
        return self.items[: self.n]


def _run(make, prepare, before=None, after=None):
    # One conversation. before and after: called with (conversation, number) around each step.
    one = make()
    one.raised = []
    one.stuck = False
    prepare(one)
    for i in range(_STEPS_MAX):
        if before:
            before(one, i)
        try:
            one.step()
        except BaseException as e:
            one.stream.unlock()
            one.raised.append(repr(e))
        one.stream.unlock()
        if after:
            after(one, i)
        if one.over():
            break
    else:
        one.stuck = True
    one.steps = i + 1
    return one


def _judge(one, may_raise):
    if one.stream.corrupt:
        return "corrupt", one.stream.corrupt
    if one.stuck:
        return "deaf", one.where(), one.raised
    if len(one.raised) > 1 or one.raised and not one.raised[0].startswith(may_raise or "?"):
        return "raised", one.raised
    return one.wrong()


def _sound(make):
    one = _run(make, lambda one: None)
    wrong = _judge(one, None)
    assert wrong is None, wrong
    return one


def calls(make, error, step=1):
    """Each call of the stream raises error in turn. Returns ([what was wrong], how many)."""
    may_raise = None if isinstance(error, Exception) else type(error).__name__

    def fail():
        raise error

    bad = []
    total = _sound(make).stream.calls
    count = 0
    for at in range(1, total + 1, step):

        def prepare(one, at=at):
            one.stream.fail_at = at
            one.stream.failure = fail

        wrong = _judge(_run(make, prepare), may_raise)
        count += 1
        if wrong is not None:
            bad.append((at, wrong))
    return bad, count


def locked(make):
    """
    No memory from one call of the stream to the end of that step, for each call in turn; and in
    the whole of each step in turn. Returns as calls().
    """
    bad = []
    whole = _sound(make)
    total = whole.stream.calls
    for at in range(1, total + 1):

        def prepare(one, at=at):
            one.stream.fail_at = at
            one.stream.failure = one.stream.lock

        wrong = _judge(_run(make, prepare), None)
        if wrong is not None:
            bad.append((at, wrong))
    for at in range(whole.steps):

        def before(one, i, at=at):
            if i == at:
                one.act()
                one.may_act = False
                one.stream.lock()

        def after(one, i):
            one.may_act = True

        wrong = _judge(_run(make, lambda one: None, before, after), None)
        if wrong is not None:
            bad.append(("step", at, wrong))
    return bad, total + whole.steps


class Full:
    """A heap that is full; made while there is room."""

    def __init__(self):
        self._pieces = [None] * 4000

    def fill(self, free):
        """Take all that is left of it but for some bytes, in one piece."""
        gc.collect()
        spare = bytearray(free)
        n = 0
        size = 1 << 16
        while size > 8:
            try:
                self._pieces[n] = bytearray(size)
                n += 1
            except MemoryError:
                size >>= 1
        del spare

    def drain(self):
        """Give it all back."""
        for n in range(len(self._pieces)):
            self._pieces[n] = None
        gc.collect()


def brim(make, most, piece, every=1):
    """
    The heap is full but for some bytes during one step, for each step and 0, piece, 2 * piece ...
    up to most bytes: so each allocation of the step fails, one after the other. every: only each
    second or third of these figures, others in the next step. Returns as calls().
    """
    full = Full()
    bad = []
    count = 0
    steps = _sound(make).steps
    for at in range(steps):
        for free in range(at % every * piece, most, piece * every):

            def before(one, i, at=at, free=free):
                if i == at:
                    one.act()
                    one.may_act = False
                    full.fill(free)

            def after(one, i, at=at):
                one.may_act = True
                if i == at:
                    full.drain()

            one = _run(make, lambda one: None, before, after)
            wrong = _judge(one, None)
            count += 1
            if wrong is not None:
                bad.append((at, free, wrong))
    return bad, count
