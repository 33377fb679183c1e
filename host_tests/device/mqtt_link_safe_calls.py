# ruff: noqa: F821 (what stands before it defines the rest)
# Each call of the stream raises `failure` in turn. mqtt_link_safe_conversation.py is there.
from given import report

def fail():
    raise ERROR

def talk(at, piece, room):
    one = Talk(piece, room)
    one.stream.fail_at = at
    one.stream.failure = fail
    for _ in range(600):
        one.step(True)
        if one.over():
            break
    return one

bad = []
count = 0
for piece, room in ((1 << 30, 1 << 30), (7, 40)):
    whole = talk(0, piece, room)
    assert whole.wrong() is None, whole.wrong()
    calls = whole.stream.calls
    for at in range(1, calls + 1, STEP if piece == 7 else 1):
        count += 1
        one = talk(at, piece, room)
        if one.wrong() is not None:
            bad.append((piece, at, one.wrong()))
report(bad=bad[:3], count=count)
