"""
What the devices of all services have in common: the queue, the promises, the hooks.

A service's file (cloud_azure.py and its kind) makes its class `Service` of it, by three functions:
_pack() makes a message, _put() hands it to the client, _step() is the client's do_next(). What it
does seldom stands in cloud_seldom.py and in the service's own second file, which are loaded for it
and let go: a running device keeps its heap for other things. Stands on netstream, to load them.
"""

import json

from micropython import const
from netstream import load_once

_SHORT = const(8192)  # texts below this are under every service's limit
_REFUSED = const(0x80)  # from here on an acknowledgement's code is a refusal

# What JSON has a plain form for. Made once: a tuple written where it is used is made at each call.
_PLAIN = (int, float, str, bool)


class Device:
    """
    A device of some service; cloud.Device() makes it. It connects, reconnects and waits by itself.

    Hooks, None at first; all run inside do_next():
    on_command(name, args): a command; args: what JSON holds, None for none. What it returns is
        the answer, any JSON value. ValueError refuses the command (400) with its text; any other
        exception is a mistake of the program: 500, and `error`. Without on_command: 404.
    on_setting(name, value): a writable property. Returning accepts it; exceptions as on_command.
    on_up(): the service has accepted the connection. on_down(error): a connection, or an attempt
        at one, has ended; error is None when we wanted it to.
    on_sent(number, error): message `number` (what send() returned) is with the service; error:
        None, or why the service will never take it (an exception).
    What on_up, on_down or on_sent raises comes out of do_next() after the step.

    can: which of "command", "setting" and "report" this service has. The hook of another is a
        NotImplementedError at once.
    error: the last failure, an exception whose last argument says what to do; None at first.
    """

    # The service's second file makes one: make(device, settings) gives it its attributes, which
    # cloud_seldom.prepare() has with what they mean.

    can = ("command", "setting", "report")
    on_command = on_setting = on_up = on_down = on_sent = error = None
    _seldom = None  # the service's second file

    def is_connected(self):
        """Return whether the service has accepted the connection and nothing is wrong with it."""
        return self._up

    @property
    def pending(self):
        """How many messages, and reports, are not yet with the service."""
        return len(self._kept) + len(self._out) + bool(self._state or self._told_key)

    def send(self, fields, name="telemetry", when=None):
        """
        Send measured values, at least once and in order; returns at once, online or not.

        fields: dict of names and JSON values. name: what kind of message it is. when: the time of
        measuring as time.time() has it; None: the service dates the message when it comes.
        Returns the message's number; on_sent(number, error) follows. Raises ValueError for what
        JSON or the service can't take, mqtt_link.Full (an OSError) when `keep` messages wait.
        """
        names = self._names
        if name not in names or len(self._kept) + len(self._out) >= self._keep:
            load_once(self._seldom).look(self, name)
        message = self._pack(names[name], self._text(fields), fields, when)
        self._number = number = self._number + 1
        self._kept.append((number, message))
        self._pass_on()
        return number

    def report(self, fields):
        """
        Report the state of the device, for the service to show; returns at once, online or not.

        fields: dict of names and JSON values; others, reported before, stay. The last value of
        each is with the service in the end; one that is overtaken before may be left out.
        Raises ValueError for what JSON or the service can't take.
        """
        self._text(fields)
        self._state.update(fields)
        self._pass_on()

    def do_next(self, wait_ms=0):
        """
        One bounded step of everything; waits at most wait_ms when there is nothing to do.

        Returns true when something happened. Raises what a hook raised, and nothing else.
        """
        worked = True
        try:
            worked = self._step(wait_ms)
        except MemoryError as e:
            self.error = e
        if self._kept or self._state:
            self._pass_on()
        if self._raised:
            e, self._raised = self._raised, None
            raise e
        return worked

    def disconnect(self, wait_ms=1000):
        """Wait at most wait_ms for what is unacknowledged, and hang up until connected anew."""
        load_once(self._seldom).disconnect(self, wait_ms)

    # -- for the services' files

    def _text(self, fields):
        # fields as JSON text; ValueError for what no service takes.
        if isinstance(fields, dict):
            for key in fields:
                if type(key) is not str or type(fields[key]) not in _PLAIN:
                    break
            else:
                text = json.dumps(fields)
                # MicroPython writes nan and inf for floats that JSON has no form for.
                if "nan" not in text and "inf" not in text:
                    if len(text.encode()) == len(text) < _SHORT:
                        return text
        # Nested, long, not ASCII, or nothing for JSON: looked at closely.
        return load_once(self._seldom).text(fields)

    def _pass_on(self):
        # Hands over to the client what it takes now.
        kept = self._kept
        try:
            while kept:
                key = self._put(*kept[0][1])  # what the client calls it, None for "not now"
                if key is None:
                    break
                self._out.append((kept[0][0], key))
                kept.pop(0)
            if self._state and self._up and not self._told_key:
                load_once(self._seldom).tell(self)
        except OSError:
            pass  # mqtt_link.Full: in one of the next steps
        except MemoryError as e:
            self.error = e  # so is what no heap was found for

    def _on_ack(self, key, code):
        # The service has taken, or from _REFUSED on refused, what the client calls `key`.
        if code < _REFUSED:
            for pair in self._out:
                if pair[1] == key:
                    self._out.remove(pair)
                    self._call(self.on_sent, pair[0], None)
                    return
            if key != self._told_key:
                return  # not the program's: a subscription, an answer
        load_once(self._seldom).acknowledged(self, key, code)

    def _hear(self, *what, **more):
        # What the client says seldom: a command, a setting, an error. Without memory for it the
        # client hears of that, and leaves what came unacknowledged where it can come again.
        load_once(self._seldom).hear(self, *what, **more)

    def _call(self, f, *args):
        # Run a hook of the program. What it raises waits until the step is finished.
        if f:
            try:
                f(*args)
            except Exception as e:
                self._raised = e
