# ruff: noqa: F821 (what stands before it defines the rest)
# A callback finds no memory, a number of times. teamviewer_rig_device.py is there.
from given import hook, report, times

hurry(30)
c = connected()
told = []
def failing(**values):
    told.append(values["error_code"])
    if len(told) <= times:
        raise MemoryError
sys.stdin.readline()
if hook in ("own", "late"):
    c.check_connection(callback=failing, timeout=5 if hook == "own" else 0.5)
else:
    setattr(c, "on_api_" + hook, failing)
c.check_connection(callback=hear("beside"), timeout=5)
for _ in range(20):
    c.do_next(10)  # the agent's broker has it; so has the client, in a moment
report(ready=1)
sys.stdin.readline()
out = 0
def step():
    global out
    try:
        c.do_next(20)
    except MemoryError:
        out += 1
while "beside" not in {h["on"] for h in heard} or len(told) < min(times, 2) + 1:
    step()
while hook != "late" and "connect" not in {h["on"] for h in heard}:
    step()
for _ in range(10):
    step()
report(told=len(told), out=out, others=sorted([h["on"] for h in heard]))
