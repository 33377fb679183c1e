"""
An IBM IoT Foundation application: hears devices' events, commands and status, sends commands,
speaks for devices. Stands on ibmiotf's common part.
"""

import ibmiotf
from ibmiotf import AbstractClient, InvalidEventException, Message, space, topic

_STATUS = (
    "Action Time ClientAddr Port Protocol User ConnectTime Reason ReadBytes ReadMsg WriteBytes "
    "WriteMsg CloseCode Secure Durable"
)


class _FromDevice(Message):
    def __init__(self, parsed, payload):
        _, self.deviceType, self.deviceId, name, fmt = parsed
        self.device = self.deviceType + ":" + self.deviceId
        self._name(name)
        super().__init__(payload, fmt)


class Event(_FromDevice):
    """A device's event: device ("type:id"), deviceType, deviceId, event, format, data, payload."""

    def _name(self, name):
        self.event = name


class Command(_FromDevice):
    """A command on its way to a device: as Event, with command instead of event."""

    def _name(self, name):
        self.command = name


class Status:
    """
    A device's coming or going: device, deviceType, deviceId, retained, payload, and action, time,
    clientAddr, clientId, port, protocol, user, connectTime; at "Disconnect" reason, readBytes,
    readMsg, writeBytes, writeMsg, closeCode. What the service didn't say is None.
    """

    def __init__(self, parsed, payload, retained=False):
        kind, self.deviceType, self.deviceId, app, _ = parsed
        if kind == "mon":
            self.device = self.deviceType + ":" + self.deviceId
        else:
            self.applicationId = app
        self.payload, _ = ibmiotf.decode_json(payload)
        self.retained = retained
        said = self.payload
        if not isinstance(said, dict):
            raise InvalidEventException("a status must be a JSON object")
        self.clientId = said.get("ClientID")
        for key in _STATUS.split():
            setattr(self, key[0].lower() + key[1:], said.get(key))


class Client(AbstractClient):
    """
    Client({"org", "id", "auth-method": "apikey", "auth-key", "auth-token", "ca", ...}).

    deviceEventCallback(Event), deviceCommandCallback(Command), deviceStatusCallback(Status),
    appStatusCallback(Status): set at any time. Further options as device.Client.
    Raises ConfigurationException, UnsupportedAuthenticationMethod.
    """

    def __init__(self, options, logHandlers=None):
        super().__init__(options, "a", ("id",), "apikey", None)
        self.deviceEventCallback = None
        self.deviceCommandCallback = None
        self.deviceStatusCallback = None
        self.appStatusCallback = None

    def subscribeToDeviceEvents(
        self, deviceType="+", deviceId="+", event="+", msgFormat="+", qos=0
    ):
        """Hear events; "+" stands for all. Returns False in QuickStart without a deviceId."""
        return self._hear("evt", deviceType, deviceId, event, msgFormat, qos)

    def subscribeToDeviceCommands(
        self, deviceType="+", deviceId="+", command="+", msgFormat="+", qos=1
    ):
        """Hear the commands sent to devices. Returns False in QuickStart."""
        return not self._quickstart and self._hear(
            "cmd", deviceType, deviceId, command, msgFormat, qos
        )

    def subscribeToDeviceStatus(self, deviceType="+", deviceId="+", qos=0):
        """Hear devices connect and disconnect. Returns False in QuickStart without a deviceId."""
        if self._quickstart and "+" in (deviceType, deviceId):
            return False
        return self._subscribe(space(deviceType, deviceId, True) + "mon", qos)

    def _hear(self, kind, deviceType, deviceId, name, fmt, qos):
        if self._quickstart and "+" in (deviceType, deviceId):
            return False
        return self._subscribe(
            topic(kind, name, fmt, space(deviceType, deviceId, True), True), qos
        )

    def publishEvent(self, deviceType, deviceId, event, msgFormat=None, data=None, qos=0):
        """
        Send an event as if the device had: (…, event, data, qos=0) as IOTF JSON, or
        (…, event, msgFormat, data, qos=0). Returns and raises as device.Client.publishEvent.
        """
        return self._publish(space(deviceType, deviceId), "evt", event, msgFormat, data, qos)

    def publishCommand(self, deviceType, deviceId, command, msgFormat=None, data=None, qos=0):
        """
        Send a command: (…, command, data=None, qos=0) as IOTF JSON, or
        (…, command, msgFormat, data=None, qos=0). Returns False in QuickStart; otherwise
        returns and raises as device.Client.publishEvent.
        """
        if self._quickstart:
            return False
        return self._publish(space(deviceType, deviceId), "cmd", command, msgFormat, data, qos)

    def _understand(self, parsed, payload, retained):
        kind = parsed[0]
        if kind == "evt":
            return self.deviceEventCallback, Event(parsed, payload)
        if kind == "cmd":
            return self.deviceCommandCallback, Command(parsed, payload)
        status = Status(parsed, payload, retained)
        return (self.deviceStatusCallback if kind == "mon" else self.appStatusCallback), status


def ParseConfigFile(path):
    """Options from an INI file ([application] or no section). Raises ConfigurationException."""
    return ibmiotf.read_config(
        path, "application", ("org", "id", "auth-method", "auth-key", "auth-token")
    )
