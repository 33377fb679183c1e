# ruff: noqa: F821 (what stands before it defines the rest)
# A callback raises once; whatever else is to be told is told. teamviewer_rig_device.py is there.
from given import hook, report

hurry(30)
c = connected()
raised = [0]
def failing(**values):
    heard.append(dict(values, on=hook))
    if not raised[0]:
        raised[0] = 1
        raise KeyError("mine")
setattr(c, "on_api_" + hook, failing)
out = 0
sys.stdin.readline()
c.check_connection()
c.list_sensors(callback=hear("own"), timeout=60)
wanted = {"connect", "response", "disconnect", "error", "log"}
report(ready=1)
while True:
    names = {h["on"] for h in heard} | ({"log"} if logged else set())
    if wanted <= names and len([h for h in heard if h["on"] == "connect"]) > 0 and "own" in names:
        break
    try:
        c.do_next(20)
    except KeyError:
        out += 1
try:
    c.check_connection(callback=hear("after"))
    while "after" not in {h["on"] for h in heard}:
        c.do_next(20)
except KeyError:
    out += 1
report(out=out, raised=raised[0])
