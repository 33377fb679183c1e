# ruff: noqa: F821 (what stands before it defines the rest)
# The heap is locked from one call of the stream on to the end of the step: the next thing that
# needs memory gets none. mqtt_link_safe_conversation.py is there.
from given import report

import micropython

def talk(at):
    one = Talk(30, 200)
    one.stream.fail_at = at
    locked = []
    def lock():
        locked.append(1)
        micropython.heap_lock()
    one.stream.failure = lock
    for _ in range(600):
        try:
            one.step(not one.pushes())
        except MemoryError:  # the test's own, with its heap locked
            pass
        if locked:
            micropython.heap_unlock()
            locked.clear()
        if one.pushes():
            one.act()
        if one.over():
            break
    return one

bad = []
whole = talk(0)
assert whole.wrong() is None, whole.wrong()
for at in range(1, whole.stream.calls + 1):
    one = talk(at)
    if one.wrong() is not None:
        bad.append((at, one.wrong()))
report(bad=bad[:3], count=whole.stream.calls)
