"""A traceback of a board that runs built files, in the words of lib/."""

import json
import re

_FRAME = re.compile(r'^(\s*)File "([^"]+)", line \d+, in (\S+)\s*$')
# What an error says where the file with its text is missing, or there was no memory for it.
_TEXT = re.compile(r"\btext (\d+)\b")
_ATTRIBUTE = re.compile(r"(no attribute '|name ')(\w+)(')")


def explain(text, names_file):
    """
    The text with each frame and each missing attribute named as in lib/, and the words of an error
    of which the board could only tell the number.

    text: what the board printed. names_file: the names.json of the build that is on the board.
    A built file has no line numbers: a frame gets its function's lines instead. Where several
    functions have the name, those stay that can have made the next call. Raises OSError when
    names_file is not there.
    """
    table = json.loads(names_file.read_text(encoding="utf-8"))
    lines = text.splitlines()
    frames = [_FRAME.match(line) for line in lines]
    out = []
    for number, line in enumerate(lines):
        frame = frames[number]
        if frame:
            following = frames[number + 1] if number + 1 < len(frames) else None
            out += _frame(table, frame, following)
        else:
            line = _ATTRIBUTE.sub(lambda found: _word(table, found), line)
            out.append(_TEXT.sub(lambda found: _told(table, found), line))
    return "\n".join(out) + "\n"


def _candidates(table, frame):
    # Entries (new name, name in lib/, module, lines, names it calls) that a frame may be.
    return [one for one in table["functions"].get(frame.group(2), []) if one[0] == frame.group(3)]


def _frame(table, frame, following):
    indent, file, called = frame.groups()
    if file not in table["functions"]:
        return [frame.group()]
    if called == "<module>":
        return ['{}File "{}", while it is imported'.format(indent, file)]
    found = _candidates(table, frame)
    if following:
        # The next frame's function must be one that this one calls.
        wanted = {one[1].rpartition(".")[2] for one in _candidates(table, following)}
        found = [one for one in found if wanted & set(one[4])] or found
    lines = []
    for _new, old, module, (first, last), _calls in found:
        lines.append(
            '{}{}File "lib/{}.py", lines {} to {}, in {}'.format(
                indent, "or " if lines else "", module.replace(".", "/"), first, last, old
            )
        )
    return lines or [frame.group()]


def _told(table, found):
    return table["texts"].get(found.group(1), found.group())


def _word(table, found):
    old = table["names"].get(found.group(2))
    return found.group(1) + (" or ".join(old) if old else found.group(2)) + found.group(3)
