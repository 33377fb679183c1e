# ruff: noqa: F821 (what stands before it defines the rest)
# The heap is filled to the brim before one step, up to `free` bytes: so each allocation of it
# fails, one after the other. mqtt_link_safe_conversation.py is there.
from given import report

from sweeping import Full

full = Full()

def talk(at, free):
    one = Talk(60, 400)
    for i in range(300):
        if one.pushes():
            one.act()
        if i == at:
            full.fill(free)
        try:
            one.step(not one.pushes())
        except MemoryError:
            pass
        if i == at:
            full.drain()
        if one.over():
            break
    one.steps = i
    return one

gc.disable()
bad = []
count = 0
whole = talk(-1, 0)
assert whole.wrong() is None, whole.wrong()
steps = whole.steps
for at in range(steps + 1):
    for free in range(0, 2400, 96):
        count += 1
        one = talk(at, free)
        if one.wrong() is not None:
            bad.append((at, free, one.wrong()))
        one = None
report(bad=bad[:3], count=count, steps=steps)
