"""
The board's LED tells where the program stands: on: connected to the service; blinking slowly:
the network is there, the service is not; blinking fast: no network. Stands on `machine`.
"""

import time

import machine

_SLOW_MS = 1000
_FAST_MS = 200


class Lamp:
    """pin: what machine.Pin() takes: a number, or a name such as "LED"; None: there is none."""

    def __init__(self, pin):
        self._pin = None if pin is None else machine.Pin(pin, machine.Pin.OUT)
        self._is_on = False
        self._start = time.ticks_ms()

    def step(self, is_there, is_connected):
        """Show it: whether the network is there, whether the service has accepted us."""
        if self._pin:
            half = _SLOW_MS if is_there else _FAST_MS
            age = time.ticks_diff(time.ticks_ms(), self._start)
            is_on = is_connected or age // half % 2 == 0
            if is_on != self._is_on:
                self._is_on = is_on
                self._pin.value(is_on)
