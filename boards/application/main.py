"""
A board that tells IBM IoT Foundation how it is, and hears commands. Runs on its own for months.

Joins Wi-Fi, sets the clock, then goes round one loop in which no step waits long, so that a
watchdog of eight seconds can guard it: whatever hangs ends in a restart. settings.py says who it
is.
"""

import gc
import sys
import time

import clock
import ibmiotf.device
import machine
from wifi import Wifi

import settings

_WATCHDOG_MS = 8000  # the RP2040 can't count further than 8388
_PAUSE_S = 5  # before a restart, to read the error; less than the watchdog's time
_DAY_MS = 24 * 60 * 60 * 1000


def main():
    dog = machine.WDT(timeout=_WATCHDOG_MS)
    wifi = Wifi(settings.SSID, settings.PASSWORD)
    wifi.join(dog.feed)
    clock.set_by_ntp(dog.feed)

    client = ibmiotf.device.Client(settings.DEVICE)
    client.errorCallback = lambda error: print("client:", error)
    interval = [settings.INTERVAL]

    def on_command(command):
        if command.command == "interval" and isinstance(command.data, dict):
            seconds = command.data.get("seconds")
            if isinstance(seconds, int) and 0 < seconds <= 86400:
                interval[0] = seconds

    client.commandCallback = on_command

    now = time.ticks_ms()
    event_due = now
    clock_due = time.ticks_add(now, _DAY_MS)
    while True:
        dog.feed()
        if wifi.step():
            client.do_next(100)  # connects, reconnects, sends, hears; 100 ms at most without work
        else:
            time.sleep_ms(100)
        now = time.ticks_ms()
        if time.ticks_diff(event_due, now) <= 0:
            event_due = time.ticks_add(now, interval[0] * 1000)
            if client.isConnected():
                client.publishEvent("status", status(), 1)
        if time.ticks_diff(clock_due, now) <= 0:
            clock_due = time.ticks_add(now, _DAY_MS)
            clock.attempt()


def status():
    """What the board says of itself."""
    gc.collect()
    return {"free": gc.mem_free(), "used": gc.mem_alloc(), "time": int(time.time())}


def run():
    """main(), and a restart after anything that it could not handle."""
    try:
        main()
    except Exception as e:
        sys.print_exception(e)
        time.sleep(_PAUSE_S)
        machine.reset()


# Imported by MicroPython at power-on as the main program, by tests as a module.
if __name__ == "__main__":
    run()
