"""
A board that tells a cloud how things are where it stands, and hears commands: any board, any
service. Runs on its own for months.

device.json says who it is and where; readings.py, which you write, what it measures. One loop, in
which no step waits long, so that a watchdog of eight seconds can guard it: whatever hangs, and
whatever nobody foresaw, ends in a restart, and is reported on the next connection.
docs/application.md has it all.
"""

import gc
import sys
import time

import clock
import lamp
import machine
import network_up
import readings
import resolver
import trouble

import cloud
from netstream import NetStream, load_once

_SETTINGS = "device.json"
_WATCHDOG_MS = 8000  # the RP2040 can't count further than 8388
_PAUSE_S = 5  # before a restart, to read the error; less than the watchdog's time
_INTERVAL_S = 10
_LONGEST_S = 86400
_STEP_MS = 100  # longest wait in one round, without work
_FAREWELL_MS = 3000  # for the answer to "restart" to leave


class Application:
    """
    path: of the settings; feed: called at least once a round, to feed the watchdog.

    Raises ValueError for settings that can't be used, which names the key and the cure.
    """

    def __init__(self, path, feed):
        self._settings = settings = load_once("cloud_settings").read(path, "Device")[1]
        self._feed = feed
        self._lamp = lamp.Lamp(settings.get("led"))
        self._network = network_up.make(settings)
        # From here on no client waits for the port's own look-up.
        NetStream.resolver = resolver.Resolver(settings.get("dns"))
        self._clock = clock.Clock(settings.get("ntp"), NetStream.resolver)
        # Certificates and tokens need a clock; plain TCP on one's own network doesn't.
        self._needs_clock = settings["ca"] is not None or settings["service"] == "azure"
        self._trouble = trouble.Trouble()
        self._interval_ms = int(settings.get("interval", _INTERVAL_S) * 1000)
        self._due = time.ticks_ms()  # when to read again
        self._restart_at = None
        self._lost = 0  # readings that found no room
        self.device = device = cloud.Device(settings)
        device.on_up = self._on_up
        device.on_down = self._on_down
        device.on_sent = self._on_sent
        if "command" in device.can:
            device.on_command = self._on_command
        if "setting" in device.can:
            device.on_setting = self._on_setting

    def step(self):
        """One round: the network, the clock, the service, the readings, the lamp."""
        self._feed()
        device = self.device
        is_there = self._network.step()
        self._clock.step(is_there)
        if is_there and (self._clock.is_set() or not self._needs_clock):
            device.do_next(_STEP_MS)
        else:
            time.sleep_ms(_STEP_MS)
        now = time.ticks_ms()
        if time.ticks_diff(self._due, now) <= 0:
            self._due = time.ticks_add(now, self._interval_ms)
            self._read()
        if self._restart_at is not None and (
            not device.pending or time.ticks_diff(self._restart_at, now) <= 0
        ):
            raise Restart
        self._lamp.step(is_there, device.is_connected())

    def _read(self):
        # What the user's readings say goes out, now or when there is a connection.
        try:
            fields = readings.read()
        except Exception as e:
            self._trouble.note("readings", e)
            return
        if not fields:
            return
        when = time.time() if self._clock.is_set() else None
        try:
            self.device.send(fields, when=when)
        except OSError:  # so many wait already: the newest is left out, and counted
            self._lost += 1
        except ValueError as e:
            self._trouble.note("readings", e)

    # -- what the service says

    def _on_up(self):
        print("connected")
        said = self._trouble.take()
        if self._lost:
            said["lost_readings"] = self._lost
        said["interval"] = self._interval_ms // 1000
        self.device.report(said)

    def _on_down(self, error):
        if error:
            self._trouble.note("connection", error)

    def _on_sent(self, number, error):
        if error:
            self._trouble.note("message", error)

    def _on_command(self, name, args):
        if name == "restart":
            self._restart_at = time.ticks_add(time.ticks_ms(), _FAREWELL_MS)
            return "restarting"
        if name == "interval":
            seconds = args.get("seconds") if isinstance(args, dict) else args
            self._set_interval(seconds)
            return seconds
        on_command = getattr(readings, "on_command", None)
        if not on_command:
            raise ValueError("commands here: restart, interval")
        return on_command(name, args)

    def _on_setting(self, name, value):
        if name == "interval":
            self._set_interval(value)
            return
        on_setting = getattr(readings, "on_setting", None)
        if not on_setting:
            raise ValueError("settings here: interval")
        on_setting(name, value)

    def _set_interval(self, seconds):
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise ValueError("interval: a number of seconds")
        if not 1 <= seconds <= _LONGEST_S:
            raise ValueError("interval: 1 to %d seconds" % _LONGEST_S)
        self._interval_ms = int(seconds * 1000)
        self._due = time.ticks_ms()


class Restart(Exception):
    """The command "restart"."""


def main(path=_SETTINGS):
    """Go round for ever. Raises what nothing here could handle."""
    if hasattr(gc, "threshold"):
        # On a Pico W TLS takes 17 KB of this heap in one piece: keep it in large ones.
        gc.threshold(4096)
    dog = machine.WDT(timeout=_WATCHDOG_MS)
    application = Application(path, dog.feed)
    while True:
        application.step()


def run(path=_SETTINGS):
    """main(), and a restart after it, with the reason kept for the next connection."""
    try:
        main(path)
    except Restart:
        print("restarting, as told")
    except Exception as e:
        sys.print_exception(e)
        trouble.keep(e)
        time.sleep(_PAUSE_S)
    machine.reset()


# Imported by MicroPython at power-on as the main program, by tests as a module.
if __name__ == "__main__":
    run()
