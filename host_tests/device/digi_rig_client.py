# A client from the test's arguments, and a loop with a deadline.
from given import K, report

import time
from idigi_monitor_api import BlockError, MonitorError, push_client

def run(until, client, seconds=15):
    start = time.ticks_ms()
    while not until():
        client.do_next(50)
        if time.ticks_diff(time.ticks_ms(), start) > seconds * 1000:
            raise RuntimeError("it never came")

client = push_client(**K)
