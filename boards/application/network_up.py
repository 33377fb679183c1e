"""
The network: Wi-Fi or Ethernet that is joined without blocking, and joined again when it is lost.
Stands on `network`, which is only loaded when the settings ask for one of them.

Most ports join again by themselves; some don't, or not after the access point was away for long.
"""

import time

_AGAIN_MS = 20000  # how long an attempt may take before it is started anew


def make(settings):
    """
    Return the network of the settings: an object whose step() keeps it up and returns whether it
    is. "wifi": {"ssid", "password"}; "ethernet": true, or the arguments of the port's
    network.LAN(), an object. With neither of them the network is somebody else's business.
    Raises ValueError.
    """
    wifi, ethernet = settings.get("wifi"), settings.get("ethernet")
    if wifi:
        return Wifi(wifi)
    if ethernet:
        return Ethernet(ethernet)
    return Somebody()


class Somebody:
    """A network that is there: on a computer, or made by boot.py."""

    def step(self):
        return True


class _Network:
    # What is tried again after _AGAIN_MS.

    def __init__(self, interface):
        self._interface = interface
        self._due = time.ticks_ms()  # when to try, while it is down
        self._was_up = False

    def step(self):
        """Return whether the network is up. Starts an attempt when one is due."""
        is_up = self._interface.isconnected()
        if is_up != self._was_up:
            self._was_up = is_up
            print("network:", "up" if is_up else "down, " + self.why())
        now = time.ticks_ms()
        if is_up:
            # It gets time to come back by itself.
            self._due = time.ticks_add(now, _AGAIN_MS)
        elif time.ticks_diff(self._due, now) <= 0:
            self._due = time.ticks_add(now, _AGAIN_MS)
            try:
                self._join()
            except OSError as e:
                # ESP32 says so when it is still at its own attempt: the next one is soon enough.
                print("network:", e)
        return is_up

    def _join(self):
        # Starts an attempt; OSError when that can't be.
        raise NotImplementedError

    def why(self):
        """Text: the state that the driver is in."""
        return "no link"


class Wifi(_Network):
    """settings: a dict of "ssid" and "password"."""

    def __init__(self, settings):
        if not isinstance(settings.get("ssid"), str) or not settings["ssid"]:
            raise ValueError("wifi: ssid: the name of the access point is missing in device.json")
        for key in settings:
            if key not in ("ssid", "password"):
                raise ValueError("wifi: %s: not known; there are ssid and password" % key)
        import network

        self._network = network
        self._settings = settings
        interface = network.WLAN(network.STA_IF)
        interface.active(True)
        super().__init__(interface)

    def _join(self):
        try:
            self._interface.disconnect()
        except OSError:  # there was nothing to disconnect
            pass
        self._interface.connect(self._settings["ssid"], self._settings.get("password") or "")

    def why(self):
        status = self._interface.status()
        for name, text in (
            ("STAT_WRONG_PASSWORD", "wrong password"),
            ("STAT_NO_AP_FOUND", "no such access point: " + self._settings["ssid"]),
            ("STAT_CONNECT_FAIL", "the access point refuses"),
            ("STAT_CONNECTING", "still trying"),
        ):
            if status == getattr(self._network, name, None):
                return text
        return "status %s" % status


class Ethernet(_Network):
    """settings: True, or a dict of what the port's network.LAN() takes."""

    def __init__(self, settings):
        import network

        super().__init__(network.LAN(**settings if isinstance(settings, dict) else {}))

    def _join(self):
        # Off and on: what a cable that was pulled and plugged needs on some ports.
        self._interface.active(False)
        self._interface.active(True)
        try:
            # Most ports ask for an address by themselves, some (STM32) only when told to.
            self._interface.ipconfig(dhcp4=True)
        except (AttributeError, ValueError):
            pass
