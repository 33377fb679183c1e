"""
An IBM IoT Foundation application: hears devices' events, commands and status, sends commands,
speaks for devices. Stands on ibmiotf's common part.
"""

from ibmiotf import (
    APPLICATION,
    COMMAND,
    EVENT,
    SHARED_APPLICATION,
    TOKEN_USER,
    AbstractClient,
    ConfigurationException,
    InvalidEventException,
    decode_json,
    topics,
)
from ibmiotf import Event as _Event
from netstream import load_module, load_once

# What a status says. The attribute of a Status has the same name with a small first letter.
_STATUS = (
    "Action Time ClientAddr Port Protocol User ConnectTime Reason ReadBytes ReadMsg WriteBytes "
    "WriteMsg CloseCode Secure Durable"
)
_MOMENTS = ("Time", "ConnectTime")


class Event(_Event):
    """
    A device's event: device ("type:id"), deviceType, deviceId, event, format, data, timestamp,
    payload. As a Command, on its way to a device, it has command instead.
    """

    def __init__(self, parsed, payload):
        _, self.deviceType, self.deviceId, name, fmt = parsed
        if not self.deviceType:
            raise InvalidEventException("topic without a device")
        self.device = self.deviceType + ":" + self.deviceId
        super().__init__(name, fmt, payload)


Command = Event


class Status:
    """
    A client's coming or going: action ("Connect" or "Disconnect"), time, clientAddr, clientId,
    port, protocol, user, connectTime; at "Disconnect" reason, readBytes, readMsg, writeBytes,
    writeMsg, closeCode. What the service didn't say is None; times are as Event.timestamp.

    device ("type:id"), deviceType, deviceId: None when it is an application, whose id is appId.
    retained: True for how things stood when we subscribed. payload: the whole as a dict.
    """

    def __init__(self, parsed, payload, retained=False):
        _, self.deviceType, self.deviceId, self.appId, _ = parsed
        self.device = self.deviceType and self.deviceType + ":" + self.deviceId
        self.retained = retained
        self.payload = payload
        said = self.payload = decode_json(self).data
        if not isinstance(said, dict):
            raise InvalidEventException("status: must be a JSON object")
        timestamp = load_module("ibmiotf.timestamp")
        self.clientId = said.get("ClientID")
        for key in _STATUS.split():
            value = said.get(key)
            if key in _MOMENTS:
                value = timestamp.parse(value)
            setattr(self, key[0].lower() + key[1:], value)


class Client(AbstractClient):
    """
    Client({"org", "id", "auth-method": "apikey", "auth-key", "auth-token", "ca", ...}).

    deviceEventCallback(Event), deviceCommandCallback(Command), deviceStatusCallback(Status),
    appStatusCallback(Status): set at any time. "type": "shared" makes it one of several that
    share the messages (client id A:…): clean session, and QoS 0. Further options as device.Client.
    Raises ConfigurationException, UnsupportedAuthenticationMethod.
    """

    def __init__(self, options, logHandlers=None):
        self._asked = {}  # filter -> packet id of its SUBSCRIBE, until SUBACK
        self._shared = options.get("type") == "shared"
        role = SHARED_APPLICATION if self._shared else APPLICATION
        super().__init__(options, role, ("org", "id"), "apikey", logHandlers)
        if self.link.user == TOKEN_USER:
            raise ConfigurationException("Missing required property: auth-key")
        if self._shared:
            self.link.clean_session = True
        self._api = None
        self.deviceEventCallback = None
        self.deviceCommandCallback = None
        self.deviceStatusCallback = None
        self.appStatusCallback = None

    @property
    def api(self):
        """The management API (api.Client), loaded when first used. Needs an auth-key."""
        if not self._api:
            self._api = load_module("ibmiotf.api").Client(self.options)
            self._api.errorCallback = self._fail
            self._api.logger = self.logger
        return self._api

    def subscribeToDeviceEvents(
        self, deviceType="+", deviceId="+", event="+", msgFormat="+", qos=0
    ):
        """
        Hear events; "+" stands for all. True, or False in QuickStart unless a type is given.

        Remembered, and made again after a reconnect; a refusal reaches errorCallback.
        Raises ValueError for a name that can't be one.
        """
        return self._listen(EVENT, deviceType, deviceId, event, msgFormat, qos)

    def subscribeToDeviceCommands(
        self, deviceType="+", deviceId="+", command="+", msgFormat="+", qos=1
    ):
        """Hear the commands that devices get; as subscribeToDeviceEvents. False in QuickStart."""
        return not self.quickstart and self._listen(
            COMMAND, deviceType, deviceId, command, msgFormat, qos
        )

    def subscribeToDeviceStatus(self, deviceType="+", deviceId="+", qos=0):
        """Hear devices connect and disconnect; as subscribeToDeviceEvents."""
        return self._listen(topics.STATUS, deviceType, deviceId, None, None, qos)

    def subscribeToAppStatus(self, appId="+", qos=0):
        """Hear applications connect and disconnect; False in QuickStart unless an id is given."""
        if self.quickstart and appId == topics.ALL:
            return self._not_in_quickstart()
        return self._hear(topics.app_status(appId), qos)

    def _not_in_quickstart(self):
        self._log("QuickStart has no such subscriptions: %s", self.clientId)
        return False

    def _listen(self, kind, deviceType, deviceId, name, fmt, qos):
        if self.quickstart and deviceType == topics.ALL:
            return self._not_in_quickstart()
        topic = topics.space(deviceType, deviceId, True)
        topic += kind if kind == topics.STATUS else topics.message(kind, name, fmt, True)
        return self._hear(topic, 0 if self._shared else qos)

    def _hear(self, topic, qos):
        self._asked[topic] = self.link.subscribe(topic, qos)
        self._log("Subscribed: %s", topic)
        return True

    def _ack(self, what, code):
        for topic in self._asked:
            if self._asked[topic] == what:
                super()._ack(topic, code)
                del self._asked[topic]
                return
        super()._ack(what, code)

    def publishEvent(self, deviceType, deviceId, event, msgFormat=None, data=None, qos=0):
        """
        Send an event as if the device had: (…, event, data, qos=0) as IOTF JSON, or
        (…, event, msgFormat, data, qos=0). Returns and raises as device.Client.publishEvent.
        """
        space = topics.space(deviceType, deviceId)
        return self._send(space, EVENT, event, msgFormat, data, qos)

    def publishCommand(self, deviceType, deviceId, command, msgFormat=None, data=None, qos=0):
        """
        Send a command: (…, command, data=None, qos=0) as IOTF JSON, or
        (…, command, msgFormat, data=None, qos=0). False in QuickStart; otherwise returns and
        raises as device.Client.publishEvent.
        """
        if self.quickstart:
            return False
        space = topics.space(deviceType, deviceId)
        return self._send(space, COMMAND, command, msgFormat, data, qos)

    def _read(self, topic, payload, retained):
        parsed = topics.parse(topic)
        kind = parsed[0]
        if kind == EVENT:
            return self.deviceEventCallback, Event(parsed, payload)
        if kind == COMMAND:
            return self.deviceCommandCallback, Event(parsed, payload)
        status = None
        if payload:  # an empty one only clears what was retained
            status = Status(parsed, payload, retained)
        callback = self.deviceStatusCallback if kind == topics.STATUS else self.appStatusCallback
        return callback, status


def ParseConfigFile(path):
    """
    The options of an INI file: its [application] section, or a file without any section line.

    Missing keys are None. Raises ConfigurationException.
    """
    return load_once("ibmiotf.config").read(path, "application")
