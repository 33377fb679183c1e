"""
Wi-Fi that is joined without blocking and joined again when it is lost. Stands on `network`.

Most ports join again by themselves; some don't, or not after the access point was away for long.
"""

import time

import network

_AGAIN_MS = 20000  # how long an attempt may take before it is started anew


class Wifi:
    """
    ssid, password: str. step() from the program's loop keeps it joined; nothing here waits.
    """

    def __init__(self, ssid, password):
        if not ssid:
            raise ValueError("SSID is empty: fill in settings.py")
        self._ssid = ssid
        self._password = password
        self._wlan = network.WLAN(network.STA_IF)
        self._wlan.active(True)
        self._due = time.ticks_ms()  # when to try, while not joined

    def step(self):
        """Returns whether the board is on the network. Starts an attempt when one is due."""
        if self._wlan.isconnected():
            self._due = time.ticks_add(time.ticks_ms(), _AGAIN_MS)
            return True
        if time.ticks_diff(self._due, time.ticks_ms()) <= 0:
            self._due = time.ticks_add(time.ticks_ms(), _AGAIN_MS)
            try:
                self._wlan.disconnect()
            except OSError:  # there was nothing to disconnect
                pass
            try:
                self._wlan.connect(self._ssid, self._password)
            except OSError as e:
                # ESP32 says so when it is still at its own attempt: the next one is soon enough.
                print("wifi:", e)
        return False

    def join(self, wait, timeout=60):
        """
        Step until joined. wait: called in each round, to feed a watchdog. timeout: seconds.

        Raises OSError with what the driver says is wrong.
        """
        end = time.ticks_add(time.ticks_ms(), timeout * 1000)
        while not self.step():
            if time.ticks_diff(end, time.ticks_ms()) <= 0:
                raise OSError(110, "no Wi-Fi within {} s: {}".format(timeout, self.why()))
            wait()
            time.sleep_ms(100)

    def why(self):
        """Text: the state that the driver is in."""
        status = self._wlan.status()
        for name, text in (
            ("STAT_WRONG_PASSWORD", "wrong password"),
            ("STAT_NO_AP_FOUND", "no such access point: " + self._ssid),
            ("STAT_CONNECT_FAIL", "the access point refuses"),
            ("STAT_CONNECTING", "still trying"),
        ):
            if status == getattr(network, name, None):
                return text
        return "status {}".format(status)
