# ruff: noqa: F821 (what stands before it defines the rest)
# The clock is moved by days, the ticks by minutes: look() is when the device looks at its clock.
# iotc_endurance_clock.py, azure_rig_prelude.py and iotc_settle.py are there.
from given import FILE, NAME

iotc.Device.certificate_file = FILE
MINUTES = 0

def ticks_ms():
    return (_real.ticks_ms() + MINUTES * 60000) & _real.ticks_add(0, -1)

time.ticks_ms = ticks_ms
class Quick(iotc.MQTTLink):
    backoff_ms = 20
    backoff_max_ms = 100

iotc.MQTTLink = Quick
said = []
shown = []

def make(name=NAME, **options):
    made = device(name=name, **options)
    made.setQosLevel(1)
    made.on("ConnectionStatus", lambda info: shown.append(info.getStatusCode()))
    return made

def words(d):
    if "certificate" in str(d.error) and str(d.error) not in said:
        said.append(str(d.error))

def head():
    "The first line of the file: another certificate has another."
    with open(FILE) as file:
        return file.readline()

def send(d, n):
    "A message that the hub has acknowledged when this returns: by the certificate in use then."
    assert d.sendTelemetry({"n": n}) == 0, d.error
    settle(d)

def look(d, minutes=2):
    "Let the device look at its clock, and wait until a renewal is done or told to be in vain."
    global MINUTES
    before = head()
    told = len(said)
    MINUTES += minutes
    start = _real.ticks_ms()
    while head() == before and len(said) == told:
        d.do_next(5)
        words(d)
        assert _real.ticks_diff(_real.ticks_ms(), start) < 20000, "neither renewed nor told"
    settle(d)
