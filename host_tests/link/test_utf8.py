"""lib/utf8.py: what counts as a text is what CPython's strict decoder takes, less NUL."""

import itertools

from board_rig import not_built

# The build joins it into the files that use it, under a name of its own choice.
pytestmark = not_built("no file of its own there")

PROGRAM = """
    import utf8
    report(all=[utf8.is_text(bytes(one)) for one in samples])
"""
# Every bound of RFC 3629's table, on both sides of it.
BOUNDS = (0x00, 0x01, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1)
BOUNDS += (0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF7, 0xF8, 0xFF)


def is_text(data):
    try:
        return "\0" not in bytes(data).decode()
    except UnicodeDecodeError:
        return False


def test_pain_36_every_pair_of_bytes_at_a_bound_is_judged_as_cpython_judges_it(board):
    samples = [[]]
    for first, second in itertools.product(BOUNDS, repeat=2):
        for rest in ([], [0x80], [0x80, 0xBF], [0x41]):
            samples.append([first, second] + rest)
    found = board.run(PROGRAM, samples=samples, timeout=100, heap="8m").report["all"]
    wrong = [one for one, good in zip(samples, found) if good is not is_text(one)]
    assert not wrong
    assert True in found and False in found


def test_pain_36_what_is_bad_is_found_behind_what_is_good(board):
    good = "a\u00e9\u0800\ud7ff\ue000\U00010000\U0010ffff".encode()
    bad = [b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\0"]
    samples = [list(good * 3)] + [list(good * 2 + one + good) for one in bad]
    assert board.run(PROGRAM, samples=samples).report["all"] == [True] + [False] * len(bad)
