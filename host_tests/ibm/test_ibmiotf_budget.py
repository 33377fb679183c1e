"""What ibmiotf costs a board: heap per publishEvent, and of what is loaded on demand."""

MEASURE = """
import sys

class Os:
    urandom = bytes  # this MicroPython has none

sys.modules["os"] = Os

class Socket:
    # Takes all, gives nothing.
    def readinto(self, buf):
        return None

    def write(self, buf, off, n):
        return n
"""


def test_heap_of_the_time_stamps(heap32):
    """Loaded when an event's timestamp is asked for, on a board, which has no datetime module."""
    cost = heap32.import_cost("ibmiotf.application", "ibmiotf.timestamp")
    assert cost["ibmiotf.timestamp"] < 2700


CONNECT = """
import gc
import ibmiotf.device
client = ibmiotf.device.Client({"org": "abc123", "type": "pump", "id": "p1", "ssl": False,
                                "auth-method": "token", "auth-token": "secret"})
link = client.link
link._stream.sock = Socket()
link._up = True
import time
link._last_in = link._last_out = link._acked_at = time.ticks_ms()
data = {"tank": "two", "bar": 31, "rpm": 9}
"""


def test_heap_of_publish_event(heap32):
    """
    Bytes that one publishEvent takes from the heap on 32 bit, everything counted that it does not
    give back at once: the only other MicroPython client takes 224.
    """
    run = heap32.run(
        MEASURE + CONNECT,
        """
client.publishEvent("status", data)
client.publishEvent("status", data, 1)
gc.collect()
gc.disable()
taken = []
for qos in (0, 1):
    before = gc.mem_alloc()
    for _ in range(10):
        client.publishEvent("status", data, qos)
    taken.append((gc.mem_alloc() - before) / 10)
gc.enable()
print(taken)
""",
    )
    qos0, qos1 = eval(run.out[-1])
    print(qos0, qos1)
    assert qos0 < 224
    assert qos1 < 304  # the kept message is part of it
