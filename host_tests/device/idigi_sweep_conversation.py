# What a program does, over a stream of which one call fails. `told` collects what it heard.
from given import doubles

import sys
sys.path.insert(0, doubles)
import idigi_monitor_api
from digi_clock import Clock
from push_stream import Service

PAYLOADS = [b'{"n":%d}' % n for n in range(1, 4)]

def converse(fail_at, error, around=None):
    service = Service(PAYLOADS, fail_at, error)
    idigi_monitor_api.NetStream = service.stream
    idigi_monitor_api.time = Clock()
    client = idigi_monitor_api.push_client(
        "user", "password", hostname="h", secure=False, threads=False)
    got = []
    session = client.create_session(lambda data: got.append(bytes(data)) or True, 9001)
    raised = []
    deaf = 0
    for step in range(400):
        try:
            if around:
                around(step, client)
            else:
                client.do_next(20)
        except BaseException as e:
            raised.append(type(e).__name__)
        if session.is_connected() and not service.open:
            deaf += 1
        if len(service.acknowledged) == len(PAYLOADS) and session.is_connected():
            break
    missed = [p for p in PAYLOADS if p not in got]
    odd = [p for p in got if p not in PAYLOADS]
    return service, dict(raised=raised, deaf=deaf, missed=missed, odd=odd,
                         connections=len(service.sent))
