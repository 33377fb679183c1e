# iotc: an Azure IoT Central or IoT Hub device: the calls of the light SDK's document, and what the
# service asks of a device today.
#
# Stands on mqtt_link and iotc_wire. It provisions itself over MQTT (no HTTP on the device),
# remembers its hub and signs a fresh token before the old one ends. One Device holds one
# connection at a time, to DPS or to its hub. Calls return 0 or an error code and leave the reason
# in words in `device.error`; no key or token gets into a text.
#
# Files beside it are loaded only when they are needed. iotc_constants.py, iotc_setup.py (checks
# what a device is made of), iotc_dps.py (registers it) and iotc_reasons.py (says what is wrong)
# are let go after use. iotc_twin.py and iotc_limits.py are about a twin's properties,
# iotc_properties.py about a message's, iotc_preview.py speaks the conventions of programs written
# before July 2020; they stay once they are used.
# iotc_certificates.py is there for a device whose certificate Azure issues: while it connects, and
# while a certificate is renewed.

import gc
import sys
import time

import json_text
from iotc_wire import bag, dump, quote, token, unix_time
from micropython import const
from mqtt_link import Full, MQTTLink
from netstream import load_module, load_once
from umqtt.simple import MQTTException

# Error codes that calls return: 1 for an argument, and IOTConnectionState.
_BAD_ARGUMENT = const(1)
_EXPIRED_SAS_TOKEN = const(1)
_DEVICE_DISABLED = const(2)
_BAD_CREDENTIAL = const(4)
_RETRY_EXPIRED = const(8)
_NO_NETWORK = const(16)
_COMMUNICATION_ERROR = const(32)

# Of IOTConnectType and IOTLogLevel, which programs get from iotc_constants.
_LOG_API = const(2)
_LOG_ALL = const(16)

# Where a Device is. isConnected() is true in _AWAY and _UP.
_OFF = const(0)  # before start(), after disconnect() and after an attempt that failed
_STARTING = const(1)  # since start() or connect(); the first failure that DPS can't mend ends it
_AWAY = const(2)  # was connected, and will be again by itself
_REFUSED = const(3)  # was connected; the service then refused the device, which goes on asking
_UP = const(4)  # the hub has granted the subscriptions

# CONNACK codes of a hub, and statuses of DPS, that have an error code of their own.
_CONNACK_UNAVAILABLE = const(3)
_CONNACK_BAD_USER = const(4)
_CONNACK_NOT_AUTHORIZED = const(5)
_STATUS_DISABLED = const(403)
_STATUS_BUSY = const(429)
_STATUS_SERVER = const(500)
_GRANTED_MAX = const(2)  # a SUBACK code over it is a refusal

# DPS is asked for the hub again after so many failures in a row, and then ever more seldom.
_PATIENCE = const(3)
_PATIENCE_MAX = const(64)
# A hub that refuses the device is asked so much more slowly than one that can't be reached.
_SLOWER = const(4)
_SLOWER_MAX = const(10)

_WINDOW = const(16)  # messages that the link keeps until they are acknowledged
_SENT_EVENTS = const(32)  # messages of which MessageSent is still to tell
_KEEPALIVE_MAX = const(1177)  # s; Hub closes after 1767, whatever a device asked for
_TWIN_RETRY_MS = const(500)  # doubled for each request in vain, up to 64 s
_TWIN_RETRY_SHIFT = const(7)
_LOOK_MS = const(60000)  # from one look whether a certificate is to be renewed to the next
_NEXT = const(0)  # of what iotc_certificates knows of it: not before it is anything done
_STEPS = const(2)  # of the same: a renewal under way

_DPS_API_VERSION = "2019-03-31"
_PROPERTY_EVENT = "PropertiesUpdated"
_SETTINGS = "Settings"  # how its name began in 2018

# Topics.
_EVENTS = "devices/%s/messages/events/"
_BOUND = "devices/%s/messages/devicebound/#"
_JSON_BAG = "%24.ct=application%2Fjson&%24.ce=utf-8"
_RESULTS = "$iothub/twin/res/"
_DESIRED = "$iothub/twin/PATCH/properties/desired/"
_METHODS = "$iothub/methods/POST/"
_METHOD_ANSWER = "$iothub/methods/res/%d/?$rid=%s"
_TWIN_GET = "GET"
_TWIN_REPORT = "PATCH/properties/reported"

_OURS = object()  # in place of what MessageSent would show: the message is not the program's

# Made beforehand: when it is needed there is no room for it.
_NO_MEMORY = MemoryError(
    "out of memory: run from .mpy files, lower max_packet, or free memory before connecting"
)


def __getattr__(name):
    # The constants; they are looked up when a program asks for them.
    if name[:3] == "IOT":
        return getattr(load_once("iotc_constants"), name)
    raise AttributeError(name)


def from_connection_string(text, certificate=None):
    """
    Return the Device that a connection string names, which the portal of IoT Hub shows for each
    device: "HostName=...;DeviceId=...;SharedAccessKey=...", or "...;x509=true".

    certificate: {"keyfile": ..., "certfile": ...} as for Device, with x509=true. Its connect()
    goes to that hub, without DPS. Raises ValueError that says what is missing or can't be used.
    """
    made = load_once("iotc_setup").from_connection_string(Device, text, certificate)
    device = made[0]
    device._host = made[1]
    return device


def _words(e):
    # The text of an exception, without the number that may stand before it.
    words = e.args[-1] if e.args else ""
    if not isinstance(words, str):
        words = "%s %s" % (type(e).__name__, words)
    return words or type(e).__name__


def _error_code(e):
    # The IOTConnectionState for what ended a connection.
    if isinstance(e, MQTTException) and isinstance(e.args[0], int):
        code = e.args[0]
        kind = code // 1000 if code > 999 else code
        if code == _CONNACK_UNAVAILABLE or kind == _STATUS_BUSY or kind >= _STATUS_SERVER:
            return _RETRY_EXPIRED
        return _DEVICE_DISABLED if code == _STATUS_DISABLED else _BAD_CREDENTIAL
    if "clock" in _words(e):
        return _EXPIRED_SAS_TOKEN
    return _NO_NETWORK if isinstance(e, OSError) else _COMMUNICATION_ERROR


class IOTCallbackInfo:
    """
    What an event callback gets. What does not apply is None.

    getClient() the Device, getEventName(), getTag() the property's or command's name,
    getInterface() its component (in conventions A and B its interface), getPayload(),
    getStatusCode() 0 when all is well, getMessageId(), getResponseCode(), getResponseMessage(),
    getCallback(). setResponse(code, message): the answer to a command or the acknowledgement of a
    property; message: any JSON value; ValueError or TypeError for a code that is no number or a
    message JSON can't hold. setCallback(f): f() is called once the answer is on its way.
    """

    responseCode = responseMessage = callback = _raised = None

    def __init__(
        self, client, eventName, payload, tag, statusCode, interface=None, messageId=None
    ):
        self.client = client
        self.eventName = eventName
        self.payload = payload
        self.tag = tag
        self.statusCode = statusCode
        self.interface = interface
        self.messageId = messageId

    def __getattr__(self, name):
        # getPayload() returns self.payload, and so on: ten functions of one line each would take
        # four times the heap.
        attribute = name[3:4].lower() + name[4:]
        if name[:3] != "get" or not hasattr(self, attribute):
            raise AttributeError(name)
        return lambda: getattr(self, attribute)

    def setResponse(self, responseCode, responseMessage=None):
        dump([responseMessage])  # A mistake is shown here, with the program's own line.
        self.responseCode = int(responseCode)
        self.responseMessage = responseMessage

    def setCallback(self, callback):
        self.callback = callback


class Device:
    """
    One device of IoT Central or IoT Hub.

    scopeId: ID scope of the provisioning service (DPS); None for a device that goes to its hub
    directly. keyORCert: the group's or the device's key in base64, or {"keyfile": ...,
    "certfile": ...} (file name or bytes, PEM or DER). deviceId: the registration id; DPS takes
    fewer characters than a hub does. credType: one of IOTConnectType. Raises ValueError naming
    the bad argument.

    Settings, on the class or on one device, before connect():
    ca          the service's root certificates, today DigiCert Global Root G2 and, as its
                replacement, Microsoft RSA Root 2017: file name or bytes, PEM (of both) or DER.
                Without it connect() fails: nothing is ever unverified
    server      "host:port" to dial in place of DPS and hub (a local cloud, a gateway), or a list
                of those: the next one after a failure. Their certificates must still carry the
                services' own names
    websocket   True: MQTT over WebSocket on port 443, for networks that close 8883
    keepalive   seconds; at most 1177 (Hub closes after 1767 s, whatever a device asked)
    timeout     seconds that the service has for each answer: TLS, CONNACK, SUBACK; for an
                acknowledgement twice as long. 60: Azure delays answers when it is busy
    max_packet  bytes of the largest message taken in: raise it for a large twin
    convention  "A" (2018), "B" (Plug and Play preview) or "C" (today). on("SettingsUpdated")
                means A; setInterfaces(), or a model of "__iot:interfaces", means B
    certificate_file  name of a file, for a device that signs in to its hub with a certificate
                which Azure issues to it (a preview part of Azure). Key and certificate are kept
                there; keyORCert is then for DPS alone. See docs/azure.md
    tls         False only for a test server on this machine: tokens travel in clear

    error: the last failure, an exception whose text says what to do; None after a success.
    dps_payload: what a custom allocation of DPS sent for this device, None without one.
    """

    ca = "ca.der"
    server = None
    websocket = None
    keepalive = 60
    timeout = 60
    max_packet = 4096
    convention = "C"
    certificate_file = None
    tls = True
    error = None
    dps_payload = None

    # What a program has set.
    _dps = "global.azure-devices-provisioning.net"
    _lifetime = 21600  # s of a token
    _level = 1  # of printing
    _qos = 0
    _exit = False  # a lost connection raises SystemExit
    _model = {}
    _interfaces = {}

    # Where the device is, and what it waits for.
    _state = _OFF
    _host = None  # the hub: DPS named it, or the program
    _hub = None  # the link to a hub ...
    _at = None  # ... and to which one it leads; None after disconnect()
    _task = None  # a generator: registering, then making the link
    _buffer = None  # of the link that is up
    _wait = 0  # ms that the next step of _task may wait
    _code = 0  # how the last attempt to connect ended
    _asked = False  # DPS, since start()
    _accepted = False  # _host has taken this device since it was named
    _failures = 0  # in a row, since _host took us or DPS was asked
    _patience = _PATIENCE  # so many of them lead to DPS
    _calling = False  # a callback of the program is running
    _api = "2021-04-12"  # the hub's version
    _issued = None  # what iotc_certificates knows of the one in use
    _look = None  # when (ticks_ms) it is to look whether that has to be renewed

    # The conversation with the hub.
    _old = None  # iotc_preview, for conventions A and B
    _events = None  # topic of telemetry ...
    _json = None  # ... and of JSON telemetry
    _subscribing = 0  # packet id of the SUBSCRIBE
    _rid = 0  # number of the last request about the twin
    _seen = 0  # version of the newest desired properties
    _due = None  # when (ticks_ms) to ask for the twin again
    _twin_tries = 0  # requests for the twin in vain, since the last good one

    def __init__(self, scopeId, keyORCert, deviceId, credType):
        check = load_once("iotc_setup").check
        # Either of them is None.
        self._cert, self._key = check(scopeId, keyORCert, deviceId, credType)
        self._scope = scopeId
        # What DPS knows the device by, and what the hub does.
        self._name = self._id = deviceId
        self._on = {}  # event -> the program's callback
        self._waiting = {}  # packet id, or $rid as str -> what MessageSent will show

    # -- settings

    def setLogLevel(self, logLevel):
        """What gets printed: one of IOTLogLevel. Nothing secret at any level. Returns 0 or 1."""
        if not isinstance(logLevel, int):
            return self._wrong("setLogLevel")
        self._level = logLevel
        return 0

    def setExitOnError(self, isEnabled):
        """True: a lost or refused connection raises SystemExit out of doNext(). Returns 0."""
        self._exit = isEnabled
        return 0

    def setModelData(self, modelJSON):
        """
        Announce a model: {"modelId": id}, its id alone, or a dict of older days. Returns 0; 1 for
        anything else.
        """
        try:
            self._model = load_once("iotc_setup").model(modelJSON)
        except ValueError as e:
            return self._fail(e)
        if "__iot:interfaces" in self._model:
            self.convention = "B"
        return 0

    def setInterfaces(self, interfaceJSON):
        """
        Interfaces of a preview model, {name: id}; selects convention B. Returns 0; 1 for anything
        else.
        """
        if not isinstance(interfaceJSON, dict):
            return self._wrong("setInterfaces")
        self._interfaces = interfaceJSON
        self.convention = "B"
        return 0

    def setTokenExpiration(self, totalSeconds):
        """Life of a token in seconds (21600). A new one is used before it ends. Returns 0 or 1."""
        if not (isinstance(totalSeconds, (int, float)) and 1 <= totalSeconds < 1 << 30):
            return self._wrong("setTokenExpiration")
        self._lifetime = int(totalSeconds)
        return 0

    def setServiceHost(self, url):
        """
        Host, or "host:port", of the provisioning service; the port goes for the hub as well.
        Returns 0; 1 once connected, and for what is no text.
        """
        if self._hub or not isinstance(url, str) or not url:
            return self._wrong("setServiceHost")
        self._dps = url.split("://")[-1].strip("/")
        return 0

    setDPSEndpoint = setServiceHost

    def setQosLevel(self, qosLevel):
        """One of IOTQosLevel, for all that is sent. Returns 0; 1 for QoS 2: Hub hangs up on it."""
        if qosLevel not in (0, 1):
            return self._wrong("setQosLevel")
        self._qos = qosLevel
        return 0

    def on(self, eventName, callback):
        """
        Call callback(IOTCallbackInfo) on an event; None for no more. Returns 0; 1 for a name that
        is no text, or a callback that can't be called.

        ConnectionStatus   connected (status 0), connection lost or refused (its error code)
        MessageSent        the service has taken a message (QoS 1, properties; status: 0 or its
                           refusal), or it was sent (QoS 0); payload: what the program passed
        Command            a command; setResponse() answers it (200 unless told otherwise)
        EnqueuedCommand    a queued command, where it should not go to Command
        Message            any other cloud-to-device message; interface: its properties (dict)
        PropertiesUpdated  a writable property (Properties, Updated, SettingsUpdated are the same)

        What a callback raises is printed; a command is then answered 500 and the device goes on.
        """
        if not isinstance(eventName, str) or not (callback is None or callable(callback)):
            return self._wrong("on")
        if "ropert" in eventName or "pdated" in eventName:
            if eventName.startswith(_SETTINGS) and self.convention == "C":
                self.convention = "A"
            eventName = _PROPERTY_EVENT
        self._on[eventName] = callback
        return 0

    # -- connecting

    def connect(self, hostName=None):
        """
        Connect: provision (unless the hub is known or given as hostName), sign in, subscribe.

        Blocks; each of its waits has an end. Returns 0, or one of IOTConnectionState:
        EXPIRED_SAS_TOKEN the clock is not set or wrong, BAD_CREDENTIAL refused: key, scope or
        device, DEVICE_DISABLED, RETRY_EXPIRED the service was busy for too long, NO_NETWORK,
        COMMUNICATION_ERROR anything else; `error` says it in words. 1 also for a hostName that is
        no text. Raises ConnectionStatus.
        """
        code = self.start(hostName)
        while self._state == _STARTING and not code:
            self.do_next(100)
        return code or self._code

    def start(self, hostName=None):
        """
        Begin to connect and return at once: do_next() does the work of connect(), for loops that
        feed a watchdog. Returns 0; 1 in a callback, or for a hostName that is no text.
        isStarting() tells when it has ended, then isConnected() how; ConnectionStatus tells of
        each attempt.
        """
        if self._calling:
            return self._wrong("callback")
        if hostName is not None and not isinstance(hostName, str):
            return self._wrong("connect")
        self.disconnect()
        if hostName and hostName != self._host:
            self._host = hostName
            self._accepted = False
            # Nobody has confirmed this name yet: DPS is asked after its first failure.
            self._failures = self._patience - 1
        self._code = 0
        self._asked = False
        self._state = _STARTING
        self._task = self._connect(not self._host)
        return 0

    def isStarting(self):
        """Return whether what start() began is still under way."""
        return self._state == _STARTING

    def disconnect(self):
        """Wait at most a second for what is unacknowledged, then hang up. Returns 0."""
        task, self._task = self._task, None
        if task:
            task.close()
        self._at = self._due = None
        self._state = _OFF
        if self._hub:
            self._hub.disconnect()
        return 0

    def isConnected(self):
        """
        Return whether the device is connected, or about to be again by itself.

        False before connect(), after disconnect(), and once the service has refused the device for
        good; ConnectionStatus tells of each loss and return.
        """
        return self._state in (_AWAY, _UP)

    @property
    def inflight(self):
        """How many messages of QoS 1 wait for the hub to acknowledge them, sent or not."""
        return self._hub.inflight if self._hub else 0

    def getHostName(self):
        """Return the hub's name, None before connect(). Kept in a file, it saves DPS a call."""
        return self._host

    getDeviceHostName = getHostName

    def do_next(self, wait_ms=0):
        """
        One bounded step of whatever is due, reconnecting and registering again included.

        Waits at most wait_ms when there is nothing to do. Returns True when something happened.
        Raises SystemExit only, and only after setExitOnError(True).
        """
        worked = True
        try:
            if self._task:
                worked = self._go_on(wait_ms)
            elif self._at:
                if self._due is not None and time.ticks_diff(self._due, time.ticks_ms()) <= 0:
                    self.getDeviceProperties()
                busy = self._look is not None and self._see_to_certificate()
                worked = self._hub.do_next(0 if busy else wait_ms) or busy
            elif self._state == _STARTING:
                # An exception such as KeyboardInterrupt ended the task: once more from its start.
                self._task = self._connect(not self._host)
            else:
                worked = False
        except MemoryError:
            self._out_of_memory()
        except Exception as e:
            self._fail(e)
        if self._state == _STARTING and self._code:
            self._after_failed_start()
        return worked

    def doNext(self, idleTime=1):
        """Wait up to idleTime seconds for something to happen, and do it. Returns 0 or 1."""
        if not isinstance(idleTime, (int, float)):
            return self._wrong("doNext")
        left = ms = int(idleTime * 1000)
        start = time.ticks_ms()
        while not self.do_next(left) and self._at:
            left = ms - time.ticks_diff(time.ticks_ms(), start)
            if left <= 0:
                break
        return 0

    def _go_on(self, wait_ms):
        # One step of the task. It is put aside meanwhile: one that raised is not asked again.
        self._wait = wait_ms
        task, self._task = self._task, None
        try:
            worked = next(task)
            self._task = task
            return worked
        except StopIteration:
            pass
        except MemoryError:
            self._lost(_NO_MEMORY, True)
        except Exception as e:
            self._lost(e, True)
        return True

    def _connect(self, ask):
        # A generator of do_next()'s results; raises what went wrong. ask: DPS, for the hub.
        new = False
        if self.certificate_file:
            new = yield from load_once("iotc_certificates").provide(self, ask)
        elif ask:
            yield from self._register()
        # The link to DPS has just been let go. The hub's needs the same large pieces.
        gc.collect()
        if new or self._at != self._host:
            self._lead_to_hub()

    def _see_to_certificate(self):
        # One step, if it is time; returns whether something was done. Where there is no memory for
        # it, or no clock, the connection goes on, and it is tried later.
        now = time.ticks_ms()
        if time.ticks_diff(self._look, now) > 0:
            return False
        self._look = time.ticks_add(now, _LOOK_MS)
        try:
            issued = self._issued
            if issued[_STEPS] or unix_time() >= issued[_NEXT]:
                return load_module("iotc_certificates").step(self)
        except Exception as e:
            self._fail(e)
        return False

    def _register(self, version=_DPS_API_VERSION, csr=None):
        # DPS says which hub is ours. Its link and code are held by this generator only. Returns
        # the chain of certificates that csr, a request, has asked for.
        if not self._scope:
            raise ValueError("scopeId: missing, and no hostName")
        self._asked = True
        name = self._scope + "/registrations/" + self._name
        link = self._link(
            self._dps, self._name, name + "/api-version=" + version, name, "registration"
        )
        body = {"registrationId": self._name}
        if csr:
            body["csr"] = csr
        if self._model:
            body["data" if self.convention == "A" else "payload"] = self._model
        # A busy service takes most of a minute to let a device in. That is the link's to wait for;
        # then the time for an answer begins.
        try:
            while not link.is_connected():
                yield link.do_next(self._wait)
                if link.error:
                    raise link.error
            register = load_once("iotc_dps").register
            host, self._id, chain = yield from register(link, json_text.dumps(body), self)
        finally:
            link.disconnect(0)
        if host != self._host:
            self._accepted = False
        self._host = host
        self._failures = 0
        return chain

    def _lead_to_hub(self):
        host = self._host
        user = host + "/" + self._id + "/?api-version="
        self._events = self._json = _EVENTS % self._id
        if self.convention == "C":
            self._json += _JSON_BAG
            user += self._api
            if "modelId" in self._model:
                user += "&model-id=" + quote(self._model["modelId"])
        else:
            self._old = load_module("iotc_preview")
            user += self._old.API
        link = self._link(host, self._id, user, host + "/devices/" + self._id, None)
        if self._hub:
            # What the old link still held goes with the new one.
            self._hub.discard(link)
            self._hub.disconnect(0)
        link.set_callback(self._on_message)
        link.on_up = self._on_up
        link.on_down = self._on_down
        link.on_ack = self._on_ack
        link.on_skip = self._on_skip
        self._hub = link
        self._at = host

    def _link(self, host, client_id, user, resource, policy):
        # A link to host, or to `server` in its place, that signs a new token for each connection.
        # policy: "registration" for DPS, None for a hub.
        key, cert = self._key, self._cert
        if self.certificate_file and not policy:
            key, cert = None, (self.certificate_file, self.certificate_file)
        ssl = None
        if self.tls:
            ssl = {"ca": self.ca, "server_hostname": host.split(":")[0]}
            if cert:
                ssl["cert"], ssl["key"] = cert
        path = "/$iothub/websocket" if self.websocket else None
        return MQTTLink(
            client_id,
            self.server or host,
            int(self._dps.partition(":")[2] or (443 if path else 8883)),
            keepalive=min(self.keepalive or _KEEPALIVE_MAX, _KEEPALIVE_MAX),
            ssl=ssl,
            credentials=self._credentials(user, key, quote(resource), policy),
            # DPS keeps no session; a hub's keeps the commands that wait.
            clean_session=policy is not None,
            max_packet=self._room(),
            timeout=self.timeout,
            websocket=path,
        )

    def _credentials(self, user, key, resource, policy):
        # What a link asks at each connect: for the user's name and a fresh token.
        def credentials():
            if not key:
                return user, None
            end = unix_time() + self._lifetime
            return user, token(key, resource, end, policy), self._lifetime

        return credentials

    def _room(self):
        # The buffer that packets are taken into. DPS's link and the hub's are never up at once: a
        # single one, made first, serves both and every link after them.
        if not self._buffer or len(self._buffer) != self.max_packet:
            self._buffer = None
            gc.collect()
            self._buffer = bytearray(self.max_packet)
        return self._buffer

    # -- the connection comes and goes

    def _on_up(self, present):
        # Every time: Hub may have forgotten some filters even where it kept the session.
        try:
            self._subscribing = self._hub.subscribe(
                (
                    (_BOUND % self._id, 1),
                    (_RESULTS + "#", 1),
                    (_DESIRED + "#", 1),
                    (_METHODS + "#", 1),
                )
            )
        except MemoryError:
            self._out_of_memory()

    def _on_ack(self, pid, code):
        if pid in self._waiting:
            # If the program can't be told for lack of memory, the link delivers this again.
            self._call("MessageSent", self._waiting[pid], None, code)
            self._waiting.pop(pid, None)
        elif pid == self._subscribing:
            if code <= _GRANTED_MAX:
                self._on_subscribed()
            else:
                self._hub.drop(
                    MQTTException("the hub refused to subscribe: does its tier allow it?")
                )

    def _on_subscribed(self):
        # Now the hub listens to the device, and the device to the hub.
        link = self._hub
        link.backoff_ms = MQTTLink.backoff_ms
        link.backoff_max_ms = MQTTLink.backoff_max_ms
        self._failures = self._seen = self._twin_tries = 0
        self._patience = _PATIENCE
        self._accepted = True
        # The next step asks for the twin: a program that adds its listeners after connect() must
        # not miss an answer that comes within this one.
        self._due = time.ticks_ms()
        before = self._state
        if before != _UP:
            self._state = _UP
            self._code = 0
            self.error = None
            if before == _STARTING and self._old:
                self._introduce()
            self._call("ConnectionStatus", None, None, 0)

    def _introduce(self):
        told = self._old.introduction(self.convention, self._interfaces, self._model)
        if told:
            self._send(self._json, told[0], properties=told[1])

    def _on_skip(self, topic, size):
        if self._hub.no_memory:
            self._fail("out of memory: a message of %d bytes is lost" % size)
        else:
            self._fail("%d bytes passed over: raise max_packet" % size)

    def _on_down(self, e):
        # e is None when it was we who closed: after disconnect(), or for a new token.
        if e:
            self._lost(e, False)

    def _lost(self, e, by_dps):
        # The connection, or an attempt at one, has failed. by_dps: while registering. What is to
        # happen next is noted before anything that needs memory.
        self._due = None
        before = self._state
        code = _error_code(e)
        if before == _STARTING:
            tell = True
            if not by_dps:
                self._failures += 1
        elif by_dps:
            # The hub's link goes on trying, ever more slowly, and so does what follows here.
            tell = code in (_DEVICE_DISABLED, _BAD_CREDENTIAL) and before != _REFUSED
            if tell:
                self._state = _REFUSED
        else:
            tell = before == _UP
            if tell:
                self._state = _AWAY
            self._failures += 1
            if self._failures >= self._patience and self._scope:
                self._ask_dps()
        self._code = code
        self._fail(e if by_dps else self._refusal(e))
        if tell:
            self._call("ConnectionStatus", None, None, code)
        if self._exit:
            raise SystemExit(str(self.error))

    def _ask_dps(self):
        self._failures = 0
        self._patience = min(self._patience * 2, _PATIENCE_MAX)
        self._task = self._connect(True)

    def _refusal(self, e):
        # A hub says "not authorized" to everything. Its link is slowed down, and the likely causes
        # are told.
        code = e.args[0] if isinstance(e, MQTTException) else None
        if code not in (_CONNACK_BAD_USER, _CONNACK_NOT_AUTHORIZED):
            return e
        self._hub.backoff_ms = MQTTLink.backoff_ms * _SLOWER
        self._hub.backoff_max_ms = MQTTLink.backoff_max_ms * _SLOWER_MAX
        try:
            refused = load_once("iotc_reasons").refused
            return MQTTException(
                refused(self._host, self.certificate_file or not self._key, self._accepted)
            )
        except (ImportError, MemoryError):
            return e

    def _after_failed_start(self):
        # DPS may know a better hub; after a refusal it is asked only when there were several.
        code = self._code
        may_help = code == _NO_NETWORK or (
            code == _BAD_CREDENTIAL and self._failures >= self._patience
        )
        if self._host and self._scope and may_help and not self._asked:
            self._code = 0
            self._ask_dps()
        else:
            self.disconnect()

    def _out_of_memory(self):
        # Nothing that was under way can be trusted: the connection ends and comes back.
        gc.collect()
        self.error = _NO_MEMORY
        if self._at:
            self._hub.drop(_NO_MEMORY)
        elif self._state == _STARTING:
            self._code = _COMMUNICATION_ERROR

    # -- sending

    def sendTelemetry(self, payload, properties=None):
        """
        Send one message: payload as it is when str or bytes, else as JSON.

        properties: dict of system and application properties; {"$.sub": name} says whose component
        the telemetry is (one component a message). A time in iothub-creation-time-utc may be
        time.time(). Returns 0, or what went wrong: 1 a value that JSON or Hub can't take, or over
        256 KB, 8 too many unacknowledged (call doNext()), 16 not connected, 32 out of memory.
        """
        topic = self._events if isinstance(payload, bytes) else self._json
        return self._send(topic, payload, payload, False, properties)

    sendState = sendEvent = sendTelemetry

    def sendProperty(self, payload, component=None):
        """
        Report properties: a dict, or its JSON text. component: whose they are (convention C).

        Returns 0 or an error code as sendTelemetry(). MessageSent tells what the service made of
        it: status 0, 400 malformed, 429 throttled: send it again later.
        """
        return self._report(payload, component, payload)

    def sendCommandUpdate(
        self, interface_name, command_name, request_id, status_code, update_message
    ):
        """
        Tell how an asynchronous command (answered 202) goes on or has ended: a property named like
        the command, in component interface_name if that is not empty. Returns as sendTelemetry().

        In conventions A and B: a message that carries request_id and status_code.
        """
        if not self._old:
            wrapped = {command_name: {"value": update_message}}
            return self._report(wrapped, interface_name, update_message)
        try:
            bag = self._old.update(interface_name, command_name, request_id, status_code)
            body = json_text.dumps(update_message)
        except Exception as e:
            return self._fail(e)
        return self._send(self._events + bag, body, update_message)

    def getDeviceProperties(self):
        """
        Ask for the whole twin; PropertiesUpdated follows. Returns 0 or an error code.

        A hub that is too busy is asked again after a second, then ever later, up to a minute.
        """
        self._due = None
        code = self._send(_TWIN_GET, "", twin=True)
        if code and code != _NO_NETWORK:
            self._ask_for_twin_later()
        return code

    def _report(self, payload, component, shown):
        try:
            patch = load_module("iotc_twin").patch(payload, component)
        except Exception as e:
            return self._fail(e)
        return self._send(_TWIN_REPORT, patch, shown, True)

    def _ask_for_twin_later(self):
        # Ever later, for as long as it is in vain.
        self._twin_tries += 1
        pause = _TWIN_RETRY_MS << min(self._twin_tries, _TWIN_RETRY_SHIFT)
        self._due = time.ticks_add(time.ticks_ms(), pause)

    def _send(self, topic, msg, shown=_OURS, twin=False, properties=None):
        # Returns 0 or an error code. shown: what MessageSent will show, _OURS for no event.
        key = None
        try:
            if not self._hub:
                raise OSError(-1, "not connected: call connect()")
            if properties is not None and properties != {}:
                topic = load_module("iotc_properties").with_bag(topic, properties)
            msg = dump(msg, twin, len(topic))
            if twin:
                self._rid += 1
                key = str(self._rid)
                topic = "$iothub/twin/" + topic + "/?$rid=" + key
            # Answers don't wait until the hub has taken the program's messages.
            full = shown is _OURS and self._hub.inflight >= _WINDOW
            pid = self._hub.publish(topic, msg, False, 0 if full else self._qos)
            if shown is not _OURS and self._on.get("MessageSent"):
                if len(self._waiting) > _SENT_EVENTS:
                    self._waiting.clear()
                if key or pid:
                    self._waiting[key or pid] = shown
                else:
                    self._call("MessageSent", shown, None, 0)
        except Exception as e:
            return self._fail(e)
        return 0

    def _answer(self, topic, msg, twin=False):
        # What the hub waits for. Where there is no memory to send it, the connection ends, so that
        # the hub does not wait in vain.
        if self._send(topic, msg, twin=twin) == _COMMUNICATION_ERROR:
            self._out_of_memory()

    # -- receiving

    def _on_message(self, topic, msg):
        if self._level >= _LOG_ALL:
            print("iotc:", topic, msg)
        try:
            self._understand(topic.decode(), msg)
        except MemoryError:
            raise  # the link ends the connection, and the message comes again
        except Exception as e:
            self._fail("a message from the hub can't be understood: %s" % _words(e))

    def _understand(self, topic, msg):
        # Which kind of message it is.
        path, _, query = topic.partition("?")
        if path.startswith(_METHODS):
            # $iothub/methods/POST/<name>/?$rid=<rid>; the rid goes back as it came.
            self._on_method(path[len(_METHODS) : -1], query[len("$rid=") :], msg)
        elif path.startswith(_DESIRED):
            # $iothub/twin/PATCH/properties/desired/?$version=<n>
            self._on_patch(json_text.receive(msg))
        elif path.startswith(_RESULTS):
            # $iothub/twin/res/<status>/?$rid=<rid>
            status = int(path[len(_RESULTS) :].split("/")[0])
            self._on_result(status, bag(query).get("$rid"), msg)
        elif path.startswith("devices/"):
            # devices/<id>/messages/devicebound/<bag>
            self._on_bound(bag(topic.split("/", 4)[4]), msg)

    def _on_result(self, status, rid, msg):
        if status < 300:
            status = 0
        else:
            self._fail("twin: the hub answered %d" % status)
        if rid in self._waiting:
            self._call("MessageSent", self._waiting[rid], None, status)
            self._waiting.pop(rid, None)
        elif status >= _STATUS_BUSY:
            # A busy hub is asked later. An acknowledgement it refused follows from the twin, too.
            self._ask_for_twin_later()
        elif msg and not status:
            self._on_twin(json_text.receive(msg))

    def _on_twin(self, twin):
        desired = twin["desired"]
        reported = twin.get("reported")
        version = _version(desired)
        if version < self._seen:
            # Made before a patch that has already come.
            self._ask_for_twin_later()
            return
        self._twin_tries = 0
        self._on_desired(desired, version, reported if isinstance(reported, dict) else {})

    def _on_patch(self, desired):
        version = _version(desired)
        if version > self._seen:
            self._on_desired(desired, version, None)

    def _on_desired(self, desired, version, reported):
        # reported: None for a patch; from a whole twin what was reported.
        self._seen = version
        if self._on.get(_PROPERTY_EVENT):
            for acks in load_module("iotc_twin").tell(self, desired, version, reported):
                self._answer(_TWIN_REPORT, acks, True)

    def _on_property(self, component, name, value):
        # Tells the program of a desired value; returns the IOTCallbackInfo.
        return self._call(_PROPERTY_EVENT, value, name, None, component)

    def _on_method(self, name, rid, msg):
        # A command, and its answer.
        code = 400
        answer = "not JSON"
        info = None
        try:
            args = json_text.receive(msg) if msg else None
            if name.startswith("$iotin:"):
                # Preview: $iotin:<interface>*<command>
                name = name[len("$iotin:") :]
                args = args and args.get("commandRequest")
            code = 404
            answer = "no such command"
            info = self._command("Command", name, args, rid)
            if info:
                code = 200 if info.responseCode is None else info.responseCode
                answer = info.responseMessage
        except (ValueError, AttributeError) as e:
            self._fail(e)
        answer = "" if answer is None else json_text.dumps(answer)
        self._answer(_METHOD_ANSWER % (code, rid), answer)
        if info and info.callback:
            self._run(info.callback)

    def _on_bound(self, properties, msg):
        # A cloud-to-device message; IoT Central queues commands as such.
        try:
            msg = None if msg == b"@" else json_text.receive(msg)
        except ValueError:
            try:
                msg = msg.decode()
            except ValueError:
                pass
        name = properties.get("method-name")
        mid = properties.get("$.mid")
        if name is None:
            info = self._call("Message", msg, None, None, properties, mid)
        else:
            event = "EnqueuedCommand" if self._on.get("EnqueuedCommand") else "Command"
            info = self._command(event, name, msg, mid)
        if info and isinstance(info._raised, MemoryError):
            raise info._raised  # perhaps the callback never began: the message is to come again

    def _command(self, event, name, args, mid):
        # <command>, or <component>*<command>; some applications put "Commands:" before it.
        component, star, command = name.partition("*")
        tag = (command or component).split("Commands:")[-1]
        return self._call(event, args, tag, None, component if star else None, mid)

    # -- telling the program

    def _call(self, event, payload, tag, status, interface=None, mid=None):
        # Returns the IOTCallbackInfo as the callback left it, None when nobody listens.
        callback = self._on.get(event)
        if not callback:
            return None
        info = IOTCallbackInfo(self, event, payload, tag, status, interface, mid)
        info._raised = e = self._run(callback, info)
        if e:
            info.setResponse(500, "callback raised " + type(e).__name__)
        return info

    def _run(self, callback, *args):
        # A mistake in the program's callback must not take the connection with it. Returns it.
        calling, self._calling = self._calling, True
        try:
            callback(*args)
        except Exception as e:
            self.error = e
            sys.print_exception(e)
            return e
        finally:
            self._calling = calling

    def _wrong(self, call):
        # An argument, or the moment, of a call is wrong.
        return self._fail(load_once("iotc_reasons").WRONG[call])

    def _fail(self, e):
        # Notes what is wrong, an exception or a text; returns the error code.
        if isinstance(e, MemoryError):
            self.error = _NO_MEMORY
            return _COMMUNICATION_ERROR
        words = e if isinstance(e, str) else _words(e)
        kind = ValueError
        if isinstance(e, OSError):
            kind = OSError
        elif isinstance(e, MQTTException):
            kind = MQTTException
        # A new one, whose text is the words alone.
        self.error = kind(words)
        if self._level >= _LOG_API:
            print("iotc:", words)
        if isinstance(e, Full):
            return _RETRY_EXPIRED
        return _NO_NETWORK if isinstance(e, OSError) else _BAD_ARGUMENT


def _version(properties):
    version = properties["$version"]
    if not isinstance(version, int):
        raise ValueError("$version is no number")
    return version
