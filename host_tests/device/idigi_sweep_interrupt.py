# ruff: noqa: F821 (what stands before it defines the rest)
# Ctrl-C in a callback. idigi_sweep_conversation.py is there.
from given import hook, report

service = Service(PAYLOADS, REQUEST, ACKS)
idigi_monitor_api.NetStream = service.stream
idigi_monitor_api.time = Clock()
client = idigi_monitor_api.push_client(
    "user", "password", hostname="h", secure=False, threads=False)
got = []
session = client.create_session(lambda data: got.append(bytes(data)) or True, 9001)
calls = []
plain = session.callback
def interrupted(*args):
    calls.append(1)
    if len(calls) == 1:
        raise KeyboardInterrupt
    if hook == "callback":
        return plain(*args)
setattr(session, hook, interrupted)
if hook == "on_down":
    service.fail_at = 3
    def fail():
        raise OSError(104)
    service.failure = fail
raised = 0
while len(service.acknowledged) < 3:
    try:
        client.do_next(20)
    except KeyboardInterrupt:
        raised += 1
        report(connected=session.is_connected(), open=service.open)
report(raised=raised, got=got, error=type(session.error).__name__)
