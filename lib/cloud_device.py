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

    can = ("command", "setting", "report")
    on_command = on_setting = on_up = on_down = on_sent = error = None
    _seldom = None  # the service's second file
    _birth = None  # a message of ours that each connection begins with
    _raised = None  # what a hook raised in this step
    _told = None  # reported fields that are with the client, not yet with the service
    _told_key = None  # what the client calls that report
    _up = False
    _number = 0

    def __init__(self, settings):
        self._keep = settings["keep"]
        self._kept = []  # (number, message) that the client could not take yet, in order
        self._out = []  # (number, the client's name for it): the client has it, the service not
        self._state = {}  # reported fields that the client has not got yet
        self._names = {}  # a message's name -> self._template with it, for the names in use
        load_once(self._seldom).make(self, settings)

    def is_connected(self):
        """Return whether the service has accepted the connection and nothing is wrong with it."""
        return self._up

    @property
    def pending(self):
        """How many messages, and reports, are not yet with the service."""
        return len(self._kept) + len(self._out) + (1 if self._state or self._told else 0)

    def send(self, fields, name="telemetry", when=None):
        """
        Send measured values, at least once and in order; returns at once, online or not.

        fields: dict of names and JSON values. name: what kind of message it is. when: the time of
        measuring as time.time() has it; None: the service dates the message when it comes.
        Returns the message's number; on_sent(number, error) follows. Raises ValueError for what
        JSON or the service can't take, mqtt_link.Full (an OSError) when `keep` messages wait.
        """
        if len(self._kept) + len(self._out) >= self._keep:
            load_once("cloud_seldom").full(self._keep)
        if name not in self._names:
            load_once("cloud_seldom").named(self._names, name, self._template)
        message = self._pack(self._names[name], self._text(fields), fields, when)
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
        return load_once("cloud_seldom").text(fields, self._most)

    def _pass_on(self):
        # Hands over to the client what it takes now.
        kept = self._kept
        try:
            while kept:
                # What the client calls it, None for "not now", an exception for "never".
                key = self._put(*kept[0][1])
                if key is None:
                    break
                self._out.append((kept.pop(0)[0], key))
                if isinstance(key, Exception):
                    self._on_ack(key, key)
            if self._state and self._up and not self._told:
                self._told_key = load_once(self._seldom).tell(self, self._state)
                if self._told_key:
                    self._told = self._state
                    self._state = {}
        except OSError:
            pass  # mqtt_link.Full: in one of the next steps
        except MemoryError as e:
            self.error = e  # so is what no heap was found for

    def _on_ack(self, key, code=0):
        # The service has taken (code 0) or refused what the client calls `key`. code: a number, or
        # the exception. What is not ours and refused is a subscription.
        number = 0
        for pair in self._out:
            if pair[1] == key:
                self._out.remove(pair)
                number = pair[0]
                break
        else:
            if key == self._told_key:
                self._told = self._told_key = None
            elif code < _REFUSED:
                return
        if code:
            self.error = code = load_once("cloud_seldom").refusal(code)
        if number:
            self._call(self.on_sent, number, code or None)

    def _hear(self, *what):
        # What the client says seldom: a command, a setting, an error.
        try:
            load_once(self._seldom).hear(self, *what)
        except MemoryError as e:
            self.error = e

    def _call(self, f, *args):
        # Run a hook of the program. What it raises waits until the step is finished.
        if f:
            try:
                f(*args)
            except Exception as e:
                self._raised = e

    def _on_up(self, present=None):
        self._up = True
        if self._birth:
            try:
                self._put(*self._birth)
            except OSError as e:
                self.error = e
        self._call(self.on_up)

    def _on_down(self, e):
        self._up = False
        if e:
            self.error = e
        self._call(self.on_down, e)
