"""What ibmiotf costs a board: heap per publishEvent, and of what is loaded on demand."""

from device_program import program

STREAM = program("ibmiotf_budget_stream")


def test_heap_of_the_time_stamps(heap32):
    """Loaded when an event's timestamp is asked for, on a board, which has no datetime module."""
    cost = heap32.import_cost("ibmiotf.application", "ibmiotf.timestamp")
    assert cost["ibmiotf.timestamp"] < 2800


CONNECT = """
import gc
import ibmiotf.device
client = ibmiotf.device.Client({"org": "abc123", "type": "pump", "id": "p1", "ssl": False,
                                "host": "broker", "auth-method": "token", "auth-token": "secret"})
client.connect()
for _ in range(5):
    client.do_next()
data = {"tank": "two", "bar": 31, "rpm": 9}
"""


def test_heap_of_publish_event(heap32):
    """
    Bytes that one publishEvent takes from the heap on 32 bit, everything counted that it does not
    give back at once: the only other MicroPython client takes 224.
    """
    run = heap32.run(
        STREAM + CONNECT,
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
