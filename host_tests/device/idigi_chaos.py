# ruff: noqa: F821 (what stands before it defines the rest)
# A session that stops, refuses and raises while it is served with faults.
from given import monitor, report, total

import json
taken = set()
calls = [0]
def callback(data):
    messages = json.loads(data)["Document"]["Msg"]
    messages = messages if isinstance(messages, list) else [messages]
    calls[0] += 1
    if calls[0] % 5 == 0:
        session.stop()
        session.start()
        return False
    if calls[0] % 7 == 0:
        raise ValueError
    for message in messages:
        taken.add(message["DataPoint"]["data"])
    return True
session = client.create_session(callback, monitor)
session.backoff_ms = 20
run(session.is_connected, client)
report(up=True)
start = time.ticks_ms()
while len(taken) < total and time.ticks_diff(time.ticks_ms(), start) < 40000:
    try:
        client.do_next(50)
    except ValueError:
        session.stop()
        session.start()
report(taken=sorted(taken))
run(lambda: False, client, 60)
