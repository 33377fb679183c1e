"""tools/mutate: which mutants it makes, and that it tells a test that notices one from none."""

import ast

import pytest
import workshop
from mutate import __main__ as tool
from mutate import known, making, plan, running

SOURCE = b'''LIMIT = const(4)

def judge(x, told):
    """Text is left alone: 5 < 6."""
    if x < LIMIT and not told:
        told.append(x)
        return x == 1
    return True
'''


def test_mutants_are_one_fault_each_in_their_line():
    made = [(one.line, one.what) for one in making.make(SOURCE)]
    assert made == [
        (1, "4 -> 5"),
        (5, "and -> or"),
        (5, "< -> <="),
        (6, "told.append(x) -> pass"),
        (7, "x == 1 -> None"),
        (7, "== -> !="),
        (7, "1 -> 2"),
        (8, "True -> False"),
    ]
    for one in making.make(SOURCE):
        ast.parse(one.text)
        assert len(one.text.splitlines()) == len(SOURCE.splitlines())


def test_a_sample_is_the_same_for_the_same_seed():
    mutants = making.make(SOURCE)
    assert making.sample(mutants, 3, 1) == making.sample(mutants, 3, 1)
    assert len(making.sample(mutants, 3, 2)) == 3
    assert making.sample(mutants, 100, 1) == mutants


@pytest.mark.parametrize("module", sorted(plan.TESTS))
def test_every_module_of_the_plan_has_mutants_and_tests(module):
    assert tool.mutants_of(module)
    for path in plan.tests(module):
        assert (workshop.ROOT / "host_tests" / path).is_file(), path


@pytest.mark.parametrize("one", known.KNOWN, ids=lambda one: one.what)
def test_known_faults_can_still_be_made(one):
    """ValueError says what tools/mutate/known.py must be told."""
    compile(known.make(one).text, one.file, "exec")
    for path in one.tests.split():
        assert (workshop.ROOT / "host_tests" / path).is_file(), path


@pytest.mark.skipif(not workshop.micropython(), reason=workshop.why_no_micropython() or "-")
@pytest.mark.timeout(600)
def test_a_fault_is_noticed_and_only_there(tmp_path):
    """In a copy: what is here stays as it is."""
    path = workshop.LIB / "hosts.py"
    before = path.read_bytes()
    copy = running.Copy(tmp_path / "copy")
    with copy.fault("hosts.py", before.replace(b"65536", b"80")):
        status, _, name = copy.test(["link/test_hosts.py"], 300)
        assert status == 1 and "test_hosts.py::" in name
    status, _, name = copy.test(["link/test_hosts.py"], 300)
    assert (status, name) == (0, "")
    assert path.read_bytes() == before
