# ruff: noqa: F821 (what stands before it defines the rest)
# A message each quarter of an hour; the test moves the cloud's clock. azure_rig_prelude.py,
# iotc_endurance_clock.py and iotc_settle.py are there.
from given import HOURS, NAME, report

d = device(name=NAME)
iotc.Device.keepalive = 1177
d.setQosLevel(1)
watch(d, "ConnectionStatus")
assert d.connect() == 0, d.error
settle(d, 1)  # the first step after connect() asks for the twin
for hour in range(HOURS):
    for _ in range(4):
        time.ahead += 900
        d.do_next(0)
        assert d.sendTelemetry({"n": hour}) == 0
        settle(d, 1)
    report(hour=hour, at=time.ahead)
    sys.stdin.readline()
report(error=d.error, connected=d.isConnected())
