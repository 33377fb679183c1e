"""What is called from one place stands at that place in a built file, and nothing else changes."""

import ast
import subprocess

import pytest
import workshop
from building import apart, firmware, inline, outputs

PROGRAM = """
log = []


def _said(text):
    log.append(text)


def _twice(n):
    log.append("twice")
    return n * 2


def _sign(n):
    if n < 0:
        return -1
    if n > 0:
        return 1
    return 0


def _first(items, wanted=2):
    for item in items:
        if item == wanted:
            return item
    return None


def _tried(n):
    try:
        return 10 // n
    except ZeroDivisionError as e:
        log.append(str(e))
        return None
    finally:
        log.append("end")


def _numbers(n):
    if not n:
        return "none"
    for i in range(n):
        got = yield i
        if got:
            log.append(got)
    return "all"


class Base:
    _kind = 1

    def _over(self):
        return "base"

    def tell(self):
        return self._over()


class Thing:
    def __init__(self):
        self.total = 0

    def _add(self, n):
        if not n:
            return
        self.total += n
        if n > 5:
            log.append("large")
            return
        log.append("small")

    def add(self, n):
        self._add(n)
        return self.total

    def add_last(self, n):
        self._put(n)

    def _put(self, n):
        if n:
            self.total = n
            return
        self.total = -1

    def _is_new(self, n):
        if n == self.total:
            return False
        self.total = n
        return True

    def see(self, n):
        i = 7
        if n and not self._is_new(n):
            return "old", i
        return "new", i

    def _large(self, n):
        while n > 100:
            n -= 100
        return n > 50

    def is_large(self, n):
        if self._large(n):
            return "large", n
        return "not", n

    def _over(self):
        return "thing"

    def over(self):
        return self._over()


class Heir(Base):
    def _over(self):
        return "heir"


def signs(n):
    _said("signs")
    sign = _sign(n)
    e = _twice(n + 1)
    return sign, e


def first(items):
    found = _first(items)
    return found


def tried(n):
    try:
        x = _tried(n)
    except TypeError as e:
        return type(e)
    return x


def numbers(n):
    got = yield from _numbers(n)
    yield got
"""
CALLS = """
thing = Thing()
out = [signs(n) for n in (-3, 0, 4)]
out += [thing.add(n) for n in (0, 3, 9)]
out += [thing.add_last(0), thing.total, thing.add_last(4), thing.total]
out += [thing.see(n) for n in (0, 4, 5, 5)]
out += [thing.is_large(n) for n in (20, 170, 220)]
out += [first([1, 2]), first([3]), tried(5), tried(0), tried("a")]
out += [list(numbers(3)), list(numbers(0)), Heir().tell(), Base().tell(), Thing().over(), log]
steps = numbers(5)
out += [next(steps), steps.send("enough")]
"""


def inlined(text, *others, foreign=()):
    """(the new text, paths of the functions that are still there)."""
    tree = ast.parse(text)
    trees = {str(i): ast.parse(other) for i, other in enumerate((text,) + others)}
    inline.Inline(trees, foreign, outputs.compile_alone)(tree)
    return ast.unparse(ast.fix_missing_locations(tree)), [
        path for path, _, _ in apart.functions(tree)
    ]


def outcome(text, calls=CALLS):
    space = {}
    exec(text + calls, space)
    return space["out"]


def test_results_exceptions_and_their_order_are_the_same():
    text, there = inlined(PROGRAM)
    assert outcome(text) == outcome(PROGRAM)
    # A `return` in a loop is left alone, and so is what another class may do in a way of its own.
    private = [path for path in there if path.rpartition(".")[2].startswith("_")]
    assert private == ["_first", "Base._over", "Thing.__init__", "Heir._over"]


def said(program, tmp_path):
    """What a program prints on MicroPython."""
    if not workshop.micropython():
        pytest.skip(workshop.why_no_micropython())
    script = tmp_path / "program.py"
    script.write_text(program)
    done = subprocess.run(
        workshop.device_command(script), stdout=subprocess.PIPE, text=True, timeout=60
    )
    assert done.returncode == 0
    return done.stdout


def test_on_a_board_too(tmp_path):
    text, _ = inlined(PROGRAM)
    calls = CALLS + "print(out)\n"
    assert said(text + "\n" + calls, tmp_path) == said(PROGRAM + calls, tmp_path)


def caller(call, made):
    """A class whose method `go` makes a call, and what `_do` is there."""
    return "class A:\n def go(self, b):\n  {}\n {}".format(call, made)


@pytest.mark.parametrize(
    "call, made",
    [
        ("self._do()\n  self._do()", "def _do(self): pass"),
        ("self._do()", "def _do(self): return [self for _ in 'a']"),
        ("self._do(*[1])", "def _do(self, a): pass"),
        ("self._do(a=1)", "def _do(self, a): pass"),
        ("return 1 + self._do()", "def _do(self): return 2"),
        ("self._do()", "@property\n def _do(self): pass"),
        ("return self._do()", "def _do(self): yield 1"),
        ("b._do()", "def _do(self): pass"),
        ("x = self._do()", "def _do(self):\n  for i in 'ab':\n   return i"),
        # What a generator's names say is held until it ends.
        ("self._do()\n  yield", "def _do(self):\n  a = 1\n  b = a"),
    ],
)
def test_what_can_t_move_stays(call, made):
    assert "A._do" in inlined(caller(call, made))[1]


def test_what_is_not_private_stays():
    assert "A.do" in inlined(caller("self.do()", "def do(self): pass"))[1]
    assert "_do" in inlined("_do = 1\ndef go(): _do()\ndef _do(): pass\n")[1]


LITTLE = "class A:\n    def go(self):\n        self._do()\n    def _do(self):\n        pass\n"


def test_what_others_may_mean_stays():
    assert "A._do" not in inlined(LITTLE)[1]
    # Another class has one of its own: that says nothing about this one ...
    other = LITTLE.replace("A", "B")
    assert "A._do" not in inlined(LITTLE, other)[1]
    # ... unless it stands on this one, or somebody asks an object for it.
    assert "A._do" in inlined(LITTLE, "class B(A):\n    def _do(self):\n        pass\n")[1]
    assert "A._do" in inlined(LITTLE, "def f(a):\n    a._do()\n")[1]
    assert "A._do" in inlined(LITTLE, "NAME = '_do'\n")[1]
    assert "A._do" in inlined(LITTLE, foreign=["_do"])[1]


def names(count):
    return "".join("        v{0} = {0}\n".format(i) for i in range(count))


@pytest.mark.parametrize("count, moves", [(3, True), (8, False)])
def test_no_frame_begins_to_take_heap(count, moves):
    text = "class A:\n    def go(self):\n{0}        self._do()\n        return v0\n"
    text = (text + "    def _do(self):\n{0}").format(names(count))
    assert ("A._do" not in inlined(text)[1]) is moves


FRAMES = """
import gc
{}
def cost(f):
    found = []
    gc.collect()
    before = gc.mem_alloc()
    f(lambda: found.append(gc.mem_alloc() - before))
    return found[0]
print([cost(f) for f in ({})])
"""


def test_a_frame_of_more_words_than_eleven_is_an_object_in_the_heap(tmp_path):
    made = [
        "def f{0}(tell):\n{1}        tell()\n".format(count, names(count))
        for count in range(4, 14)
    ] + [
        "def g{0}(tell):\n        try:\n            tell()\n        except OSError:\n"
        "            pass\n{1}".format(count, names(count))
        for count in range(2, 10)
    ]
    functions = "\n".join(made)
    called = [one.partition("(")[0][len("def ") :] for one in made]
    frames = firmware.frames_of(outputs.compile_alone(functions))
    cost = ast.literal_eval(said(FRAMES.format(functions, ", ".join(called)), tmp_path))
    least = min(cost)  # the lambda
    assert [one > least for one in cost] == [words > 11 for words in frames]
    assert min(frames) < 11 < max(frames)


def test_a_generator_s_frame_counts_as_none():
    mpy = outputs.compile_alone("X = (1, 'a', b'b', 1.5, None)\ndef f():\n    yield X\n")
    assert firmware.frames_of(mpy) == [0]
