"""An IBM IoT Foundation device: sends events, hears commands. Stands on ibmiotf's common part."""

import ibmiotf
from ibmiotf import AbstractClient, Message


class Command(Message):
    """A command: command, format, data, timestamp, payload."""


class Client(AbstractClient):
    """
    Client({"org", "type", "id", "auth-method": "token", "auth-token", "ca", ...}).

    Set commandCallback(Command) at any time; the client subscribes to its commands by itself.
    Org "quickstart" needs no credentials and has no commands. Further options: domain, host,
    port, ca, ssl, transport, clean-session, keep-alive (s), max-packet (bytes).
    Raises ConfigurationException, UnsupportedAuthenticationMethod.
    """

    def __init__(self, options, logHandlers=None):
        super().__init__(options, "d", ("type", "id"), "token", "use-token-auth")
        self.typeId = self.options["type"]
        self.deviceId = self.options["id"]
        self.commandCallback = None
        if not self._quickstart:
            self._subscribe("iot-2/cmd/+/fmt/+", 1)

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
        return self._publish("iot-2/", "evt", event, msgFormat, data, qos)

    def _understand(self, topic, payload, retained):
        kind, _, _, name, fmt = topic
        if kind != "cmd":
            raise ibmiotf.InvalidEventException("not a command: " + kind)
        command = Command(payload, fmt)
        command.command = name
        return self.commandCallback, command


def ParseConfigFile(path):
    """Options from an INI file ([device] or no section). Raises ConfigurationException."""
    return ibmiotf.read_config(path, "device", ("org", "type", "id", "auth-method", "auth-token"))
