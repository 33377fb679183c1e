# The heap is locked from one turn of a request on; the next request must be whole.
from given import port, report

import micropython
from rest import Session
s = Session("127.0.0.1", port, ssl=False, user="u", password="p")
wrong = []
for step in range(40):
    steps = s.start("GET", "/")
    got = None
    turn = 0
    locked = False
    try:
        while got is None:
            s.wait(100)
            if turn == step % 20:
                micropython.heap_lock()
                locked = True
            turn += 1
            got = next(steps)
            if locked:
                micropython.heap_unlock()
                locked = False
    except MemoryError:
        pass
    finally:
        if locked:
            micropython.heap_unlock()
    if got and step < 20:
        buf = bytearray(8)
        micropython.heap_lock()
        try:
            got.readinto(buf)
        except MemoryError:
            pass
        micropython.heap_unlock()
    r = s.request("GET", "/b")
    if (r.status, r.read()) != (200, b"after"):
        wrong.append(step)
report(wrong=wrong)
