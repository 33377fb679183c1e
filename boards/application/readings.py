"""
What your board measures: write this file. As it stands it reads what every board has.

read() returns a dict of names and numbers, texts or truth values, or None for nothing this time;
it should not take longer than a second. on_command(name, args) and on_setting(name, value), if
they are here, get what the application does not know itself.
"""

import gc
import time


_last = time.ticks_ms()
_uptime_ms = 0


def read():
    """Free heap, how long the program has run, and the board's temperature if it has a sensor."""
    global _last, _uptime_ms
    gc.collect()
    # ticks_ms() begins anew after twelve days: what passed since the last time is added up.
    now = time.ticks_ms()
    _uptime_ms += time.ticks_diff(now, _last)
    _last = now
    celsius = _temperature()
    fields = {"free": gc.mem_free(), "uptime": _uptime_ms // 1000, "celsius": celsius}
    if celsius is None:
        del fields["celsius"]
    return fields


def _temperature():
    try:
        # ESP32-C3, -S2, -S3 and others; raw on the first ESP32. No other firmware has this module.
        return __import__("esp32").mcu_temperature()
    except (ImportError, AttributeError):
        pass
    try:
        from machine import ADC

        # The RP2040's and RP2350's own sensor: 0.706 V at 27 degrees, 1.721 mV less for each.
        volts = ADC(ADC.CORE_TEMP).read_u16() * 3.3 / 65535
        return round(27 - (volts - 0.706) / 0.001721, 1)
    except (ImportError, AttributeError, ValueError):
        return None
