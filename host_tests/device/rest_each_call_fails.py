# ruff: noqa: F821 (what stands before it defines the rest)
# Each call of the stream fails once, in each of four ways; rest_double.py is there.
from given import report

def fresh(kept):
    Stream.fail = None
    session = Session("h", 80, False)
    if kept:
        assert session.request("GET", "/").read() == b"hello"
    Stream.calls = 0
    return session

tried = wrong = 0
for kept in (False, True):
    session = fresh(kept)
    session.request("GET", "/").read()
    count = Stream.calls
    for error in (MemoryError, KeyboardInterrupt, OSError, ValueError):
        for number in range(1, count + 1):
            session = fresh(kept)
            Stream.fail = number, error(5)
            try:
                good = session.request("GET", "/").read() == b"hello"
            except error:
                good = True
            Stream.fail = None
            tried += 1
            # The connection is closed, or it is good for another request: twice over.
            for _ in range(2):
                response = session.request("POST", "/", "x")
                if response.status != 200 or response.read() != b"hello":
                    good = False
            if not good:
                wrong += 1
report(tried=tried, wrong=wrong)
