"""An IBM IoT Foundation device: sends events, hears commands. Stands on ibmiotf's common part."""

from ibmiotf import AbstractClient, Event, InvalidEventException

Command = Event  # command, format, data, timestamp, payload


class Client(AbstractClient):
    """
    Client({"org", "type", "id", "auth-method": "token", "auth-token", "ca", ...}).

    Set commandCallback(Command) at any time; the client subscribes to its commands by itself.
    Org "quickstart" needs no credentials and has no commands. Further options: domain, host,
    port (443 with Maximo), ca, ssl, transport ("websockets"), clean-session, max-packet (bytes).
    Raises ConfigurationException, UnsupportedAuthenticationMethod.
    """

    _evt = "iot-2/evt/"
    _cmd = "iot-2/cmd/"

    def __init__(self, options, logHandlers=None):
        super().__init__(options, "d", ("org", "type", "id"), "token")
        self.commandCallback = None
        if not self.quickstart:
            self.link.subscribe(self._cmd + "+/fmt/+", 1)

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
        return self._send(self._evt, event, msgFormat, data, qos)

    def _read(self, topic, payload, retained):
        name, _, fmt = topic.split("/")[-3:]
        if topic != self._cmd + "%s/fmt/%s" % (name, fmt):
            raise InvalidEventException("no command: " + topic)
        return self.commandCallback, Event(name, fmt, payload)


def ParseConfigFile(path):
    """
    The options of an INI file: its [device] section, or a file without any section line.

    Missing keys are None. Raises ConfigurationException.
    """
    from ibmiotf import config

    return config.read(path, "device")
