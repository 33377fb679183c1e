"""An IBM IoT Foundation device: sends events, hears commands. Stands on ibmiotf's common part."""

from ibmiotf import COMMAND, DEVICE, EVENT, AbstractClient, Event, InvalidEventException
from netstream import load_once

Command = Event  # command, format, data, timestamp, payload


class Client(AbstractClient):
    """
    Client({"org", "type", "id", "auth-method": "token", "auth-token", "ca", ...}).

    Set commandCallback(Command) at any time; the client subscribes to its commands by itself, at
    QoS 2, so that one sent at QoS 2 is heard once. Org "quickstart" needs no credentials and has
    no commands. Further options: domain (Maximo's), host, port, ca, ssl, transport
    ("websockets"), websocket-path, clean-session, max-packet (bytes).
    logHandlers: for micropython-lib's logging, where that is installed.
    Raises ConfigurationException, UnsupportedAuthenticationMethod.
    """

    def __init__(self, options, logHandlers=None):
        super().__init__(options, DEVICE, ("org", "type", "id"), "token", logHandlers)
        self.commandCallback = None
        self._space = self._own_space()
        if not self.quickstart:
            self.link.subscribe(self._space + COMMAND + "/+/fmt/+", 2)

    def _own_space(self):
        # What stands before the kind of a message in this device's topics.
        return "iot-2/"

    def publishEvent(self, event, msgFormat=None, data=None, qos=0):
        """
        Send an event: (event, data, qos=0) as IOTF JSON, or (event, msgFormat, data, qos=0).

        data: a dict in the first form, what the format's codec takes in the second.
        Returns True when sent (QoS 0) or kept for sending until it is acknowledged (1, 2); False
        when there is no connection (QoS 0) or no room: nothing was sent, `error` says why.
        Takes a step of do_next(), so callbacks may run; waits for room 5 s at most.
        Raises ValueError for a bad event name or qos, InvalidEventException for data that JSON
        can't hold or over 131072 bytes, MissingMessageEncoderException.
        """
        return self._send(self._space, EVENT, event, msgFormat, data, qos)

    def _read(self, topic, payload, retained):
        front = self._space + COMMAND + "/"
        name, found, fmt = topic[len(front) :].partition("/fmt/")
        if not (topic.startswith(front) and name and found and fmt) or "/" in name + fmt:
            raise InvalidEventException("no command: " + topic)
        return self.commandCallback, Event(name, fmt, payload)


def ParseConfigFile(path):
    """
    The options of an INI file: its [device] section, or a file without any section line.

    Missing keys are None. Raises ConfigurationException.
    """
    return load_once("ibmiotf.config").read(path, "device")
