# iotc: an Azure IoT Central or IoT Hub device: the calls of the light SDK's document, and what the
# service asks of a device today.
#
# Stands on mqtt_link and iotc_wire. It provisions itself over MQTT (no HTTP on the device),
# remembers its hub and signs a fresh token before the old one ends. One Device holds one
# connection at a time, to DPS or to its hub. Calls return 0 or an error code and leave the reason
# in words in `device.error`; no key or token gets into a text.
#
# Two files beside it are loaded only when they are needed: iotc_dps.py registers a device and is
# let go after, iotc_preview.py speaks the conventions of programs written before July 2020.

import json
import sys
import time

from iotc_wire import bag, dump, plain, quote, signer, token, unix_time, with_bag
from mqtt_link import Full, MQTTLink
from umqtt.simple import MQTTException


class _Constants:
    # Looked up when a program asks: as attributes they would take a kilobyte and a half.
    def __init__(self, error):
        self.error = error

    def __getattr__(self, name):
        prefix, *rest = self.error.split()
        for i, word in enumerate(rest):
            if prefix + word == name:
                return int(rest[i + 1])
        raise AttributeError(name)


IOTConnectType = _Constants("IOTC_CONNECT_ SYMM_KEY 1 X509_CERT 2 DEVICE_KEY 3")
IOTLogLevel = _Constants("IOTC_LOGGING_ DISABLED 1 API_ONLY 2 ALL 16")
IOTQosLevel = _Constants("IOTC_QOS_ AT_MOST_ONCE 0 AT_LEAST_ONCE 1")
IOTProtocol = _Constants("IOTC_PROTOCOL_ MQTT 1 AMQP 2 HTTP 4")
IOTConnectionState = _Constants(
    "IOTC_CONNECTION_ EXPIRED_SAS_TOKEN 1 DEVICE_DISABLED 2 BAD_CREDENTIAL 4 RETRY_EXPIRED 8"
    " NO_NETWORK 16 COMMUNICATION_ERROR 32 OK 64"
)
IOTMessageStatus = _Constants("IOTC_MESSAGE_ ACCEPTED 1 REJECTED 2 ABANDONED 4")


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

    def __init__(self, *values):
        self._out = list(values) + [None] * 3

    def __getattr__(self, name):
        # The getters, looked up: ten functions of one line would take four times the heap.
        names = (
            "Client EventName Payload Tag StatusCode Interface MessageId ResponseCode"
            " ResponseMessage Callback"
        ).split()
        if name[3:] not in names:
            raise AttributeError(name)
        return lambda: self._out[names.index(name[3:])]

    def setResponse(self, responseCode, responseMessage=None):
        dump([responseMessage])  # here the program's own line is shown
        self._out[7:9] = int(responseCode), responseMessage

    def setCallback(self, callback):
        self._out[9] = callback


class Device:
    """
    One device of IoT Central or IoT Hub.

    scopeId: ID scope of the provisioning service. keyORCert: the group's or the device's key in
    base64, or {"keyfile": ..., "certfile": ...} (file name or bytes, PEM or DER). deviceId: the
    registration id. credType: one of IOTConnectType. Raises ValueError naming the bad argument.

    Settings, on the class or on one device, before connect():
    ca          the service's root certificate, today DigiCert Global Root G2: file name or
                bytes, PEM or DER. Without it connect() fails: nothing is ever unverified
    server      "host:port" to dial in place of DPS and hub (a local cloud, a gateway). Their
                certificates must still carry the services' own names
    websocket   True: MQTT over WebSocket on port 443, for networks that close 8883
    keepalive   seconds; at most 1177 (Hub closes after 1767 s, whatever a device asked)
    max_packet  bytes of the largest message taken in: raise it for a large twin
    convention  "A" (2018), "B" (Plug and Play preview) or "C" (today). on("SettingsUpdated")
                means A; setInterfaces(), or a model of "__iot:interfaces", means B
    tls         False only for a test server on this machine: tokens travel in clear

    error: the last failure, an exception whose text says what to do.
    """

    ca = "ca.der"
    keepalive = 60
    max_packet = 4096
    convention = "C"
    tls = True
    server = websocket = error = None

    _dps = "global.azure-devices-provisioning.net"
    _lifetime = 21600
    _level = 1
    _qos = _code = _failures = _pid = _rid = _seen = _busy = 0
    # _hub: the link, which leads to _at; _task: a registration under way; _old: iotc_preview
    # _due: when (ticks_ms) to ask for the twin again; _busy: how often the hub had no time for us
    _key = _hub = _at = _host = _known = _task = _old = _events = _json = _due = None
    # _open: connected or about to be again; _up: the hub listens; _trying: connecting for the
    # first time since connect() or start(), _known: to this hub, which DPS did not name just now
    _open = _up = _trying = _calling = _exit = False
    _model = _interfaces = {}

    def __init__(self, scopeId, keyORCert, deviceId, credType):
        if not (isinstance(deviceId, str) and 0 < len(deviceId) < 129 and plain(deviceId, "-._:")):
            raise ValueError("deviceId: 1 to 128 letters, digits, or - . _ :")
        if credType == 2:
            get = getattr(keyORCert, "get", {}.get)
            key = get("keyfile") or get("key_file")
            self._cert = get("certfile") or get("cert_file"), key
            if not all(self._cert) or get("cert_phrase"):
                raise ValueError("keyORCert: keyfile and certfile, not encrypted")
        elif credType in (1, 3):
            self._key = signer(keyORCert)
            if credType == 1:
                self._key = signer(self._key(deviceId))
        else:
            raise ValueError("credType: one of IOTConnectType")
        self._scope = scopeId
        self._name = self._id = deviceId  # what DPS knows us by, what the hub knows us by
        self._on = {}
        self._waiting = {}  # packet id, or $rid as str -> what MessageSent will show

    # -- settings

    def setLogLevel(self, logLevel):
        """What gets printed: one of IOTLogLevel. Nothing secret at any level. Returns 0."""
        self._level = logLevel
        return 0

    def setExitOnError(self, isEnabled):
        """True: a lost or refused connection raises SystemExit out of doNext(). Returns 0."""
        self._exit = isEnabled
        return 0

    def setModelData(self, modelJSON):
        """Announce a model: {"modelId": id}, its id alone, or a dict of older days. Returns 0."""
        if isinstance(modelJSON, str):
            modelJSON = {"modelId": modelJSON}
        if "__iot:interfaces" in modelJSON:
            self.convention = "B"
        self._model = modelJSON
        return 0

    def setInterfaces(self, interfaceJSON):
        """Interfaces of a preview model, {name: id}; selects convention B. Returns 0."""
        self._interfaces = interfaceJSON
        self.convention = "B"
        return 0

    def setTokenExpiration(self, totalSeconds):
        """Life of a token in seconds (21600). A new one is used before it ends. Returns 0 or 1."""
        if not totalSeconds > 0:
            return self._fail("setTokenExpiration: at least 1 s")
        self._lifetime = int(totalSeconds)
        return 0

    def setServiceHost(self, url):
        """
        Host, or "host:port", of the provisioning service; the port goes for the hub as well.
        Returns 0; 1 once connected.
        """
        if self._hub:
            return self._fail("setServiceHost: before connect() only")
        self._dps = url.split("://")[-1].strip("/")
        return 0

    setDPSEndpoint = setServiceHost

    def setQosLevel(self, qosLevel):
        """One of IOTQosLevel, for all that is sent. Returns 0; 1 for QoS 2: Hub hangs up on it."""
        if qosLevel not in (0, 1):
            return self._fail("setQosLevel: Hub has QoS 0 and 1")
        self._qos = qosLevel
        return 0

    def on(self, eventName, callback):
        """
        Call callback(IOTCallbackInfo) on an event. Returns 0.

        ConnectionStatus   connected (status 0), connection lost or refused (its error code)
        MessageSent        the service has taken a message (QoS 1, properties; status: 0 or its
                           refusal), or it was sent (QoS 0)
        Command            a command; setResponse() answers it (200 unless told otherwise)
        EnqueuedCommand    a queued command, where it should not go to Command
        Message            any other cloud-to-device message; interface: its properties (dict)
        PropertiesUpdated  a writable property (Properties, Updated, SettingsUpdated are the same)

        What a callback raises is printed; a command is then answered 500 and the device goes on.
        """
        if "ropert" in eventName or "pdated" in eventName:
            if eventName[0] == "S" and self.convention == "C":
                self.convention = "A"
            eventName = "Properties"
        self._on[eventName] = callback
        return 0

    # -- connecting

    def connect(self, hostName=None):
        """
        Connect: provision (unless the hub is known or given as hostName), sign in, subscribe.

        Blocks; each of its waits has an end. Returns 0, or one of IOTConnectionState:
        EXPIRED_SAS_TOKEN the clock is not set or wrong, BAD_CREDENTIAL refused: key, scope or
        device, DEVICE_DISABLED, RETRY_EXPIRED the service was busy for too long, NO_NETWORK,
        COMMUNICATION_ERROR anything else; `error` says it in words. Raises ConnectionStatus.
        """
        code = self.start(hostName)
        while self._trying and not code:
            self.do_next(100)
        return code or self._code

    def start(self, hostName=None):
        """
        Begin to connect and return at once: do_next() does the work of connect(), for loops that
        feed a watchdog. Returns 0; 1 in a callback. isStarting() tells when it has ended, then
        isConnected() how; ConnectionStatus tells of each attempt.
        """
        if self._calling:
            return self._fail("connect: not in a callback")
        self.disconnect()
        self._host = self._known = hostName or self._host
        self._code = 0
        self._trying = True
        self._task = self._connect(not self._host)
        return 0

    def isStarting(self):
        """Return whether what start() began is still under way."""
        return self._trying

    def _attempted(self):
        # After each step of start() or connect(): has the attempt ended?
        if self._code and self._known and self._scope and not self._up:
            # The hub is gone or won't have us: ask DPS for a better one.
            self._known = self._host = None
            self._code = 0
            self._task = self._connect(True)
        elif self._up or self._code:
            self._trying = False
            if not self._up:
                self.disconnect()

    def disconnect(self):
        """Wait at most a second for what is unacknowledged, then hang up. Returns 0."""
        self._task = self._at = self._due = None
        self._open = self._up = self._trying = False
        if self._hub:
            self._hub.disconnect()
        return 0

    def isConnected(self):
        """
        Return whether the device is connected, or about to be again by itself.

        False before connect(), after disconnect(), and once the service has refused the device for
        good; ConnectionStatus tells of each loss and return.
        """
        return self._open

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
        """
        worked = True
        if self._task:
            self._wait = wait_ms
            try:
                worked = next(self._task)
            except StopIteration:
                self._task = None
            except Exception as e:
                self._task = None
                self._drop(e, True)
        else:
            if self._due and time.ticks_diff(self._due, time.ticks_ms()) <= 0:
                self.getDeviceProperties()
            worked = self._hub.do_next(wait_ms) if self._hub else False
        if self._trying:
            self._attempted()
        return worked

    def doNext(self, idleTime=1):
        """Wait up to idleTime seconds for something to happen, and do it. Returns 0."""
        left = ms = int(idleTime * 1000)
        start = time.ticks_ms()
        while not self.do_next(left) and self._at:
            left = ms - time.ticks_diff(time.ticks_ms(), start)
            if left <= 0:
                break
        return 0

    def _link(self, host, user, resource, policy):
        # A link to host, or to `server` in its place, that signs a new token for each connection.
        def credentials():
            if not self._key:
                return user, None
            end = unix_time() + self._lifetime
            return user, token(self._key, quote(resource), end, policy), self._lifetime

        address, _, port = (self.server or host).partition(":")
        ssl = None
        if self.tls:
            ssl = {"ca": self.ca, "server_hostname": host.split(":")[0]}
            if not self._key:
                ssl["cert"], ssl["key"] = self._cert
        path = self.websocket and "/$iothub/websocket"
        return MQTTLink(
            self._name if policy else self._id,
            address,
            int(port or self._dps.partition(":")[2] or (443 if path else 8883)),
            keepalive=min(self.keepalive or 1177, 1177),
            ssl=ssl,
            credentials=credentials,
            # DPS keeps no session; a hub's keeps the commands that wait.
            clean_session=policy is not None,
            max_packet=self.max_packet,
            websocket=path,
        )

    def _connect(self, ask):
        # A generator of do_next()'s results; raises what went wrong. ask: DPS, for the hub.
        if ask:
            import iotc_dps

            # Registering is done once in a while: its code need not stay.
            del sys.modules["iotc_dps"]
            if not self._scope:
                raise ValueError("scopeId: missing, and no hostName")
            name = self._scope + "/registrations/" + self._name
            link = self._link(self._dps, name + "/api-version=2019-03-31", name, "registration")
            body = {"registrationId": self._name}
            if self._model:
                body["data" if self.convention == "A" else "payload"] = self._model
            self._host, self._id = yield from iotc_dps.register(link, json.dumps(body), self)
        host = self._host
        if self._at == host:
            # The link is there and will try again by itself.
            return
        user = host + "/" + self._id + "/?api-version="
        self._events = self._json = "devices/" + self._id + "/messages/events/"
        if self.convention == "C":
            self._json += "%24.ct=application%2Fjson&%24.ce=utf-8"
            user += "2021-04-12"
            if "modelId" in self._model:
                user += "&model-id=" + quote(self._model["modelId"])
        else:
            import iotc_preview

            self._old = iotc_preview
            user += iotc_preview.API
        link = self._link(host, user, host + "/devices/" + self._id, None)
        if self._hub:
            # What the old link still held goes with the new one.
            self._hub.discard(link)
        self._hub = link
        self._at = host
        link.set_callback(self._on_message)
        link.on_up = self._on_up
        link.on_down = self._drop
        link.on_ack = self._on_ack
        link.on_skip = self._on_skip

    def _on_up(self, present):
        # Every time: Hub may have forgotten some filters even where it kept the session.
        self._pid = self._hub.subscribe(
            (
                (self._events[:-7] + "devicebound/#", 1),
                ("$iothub/twin/res/#", 1),
                ("$iothub/twin/PATCH/properties/desired/#", 1),
                ("$iothub/methods/POST/#", 1),
            )
        )

    def _on_ack(self, pid, code):
        if pid in self._waiting:
            self._call("MessageSent", self._waiting.pop(pid), None, code)
        elif pid == self._pid:
            if code > 2:
                return self._drop(MQTTException(code, "hub refused a filter"))
            self._seen = self._failures = self._busy = 0
            if not self._up:
                self._up = self._open = True
                if self._trying and self._old:
                    self._old.introduce(self)
                self._call("ConnectionStatus", None, None, 0)
            self.getDeviceProperties()

    def _on_skip(self, topic, size):
        self._fail("%d bytes passed over: raise max_packet" % size)

    def _drop(self, e, by_dps=False):
        # The connection, or an attempt at one, has failed: tell, and see whether DPS may help.
        if not e:
            return
        code = 16 if isinstance(e, OSError) else 32
        if isinstance(e, MQTTException) and isinstance(e.args[0], int):
            code = e.args[0]
            code = 8 if code in (3, 429) else 2 if code == 403 else 4
        elif "clock" in str(e):
            code = 1
        self._fail(e)
        self._code = code
        tell = self._up or self._trying
        self._up = self._due = False
        if self._trying:
            pass
        elif by_dps:
            # The hub's link goes on trying, ever more slowly, and so does what follows here.
            if code in (2, 4):
                tell, self._open = self._open, False
        elif self._scope:
            self._failures += 1
            if code == 4 or self._failures > 2:
                self._failures = 0
                self._task = self._connect(True)
        if tell:
            self._call("ConnectionStatus", None, None, code)
        if self._exit:
            raise SystemExit(str(e))

    # -- sending

    def sendTelemetry(self, payload, properties=None):
        """
        Send one message: payload as it is when str or bytes, else as JSON.

        properties: dict of system and application properties; {"$.sub": name} says whose component
        the telemetry is (one component a message). A time in iothub-creation-time-utc may be
        time.time(). Returns 0, or what went wrong: 1 a value that JSON or Hub can't take, or over
        256 KB, 8 too many unacknowledged (call doNext()), 16 not connected.
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
        try:
            if isinstance(payload, str):
                payload = json.loads(payload)
            payload = dict(payload)
        except (TypeError, ValueError):
            return self._fail("not a dict, or JSON of one")
        if component:
            payload["__t"] = "c"
            payload = {component: payload}
        return self._send("PATCH/properties/reported", payload, payload, True)

    def sendCommandUpdate(
        self, interface_name, command_name, request_id, status_code, update_message
    ):
        """
        Tell how an asynchronous command (answered 202) goes on or has ended: a property named like
        the command, in component interface_name if that is not empty. Returns as sendTelemetry().

        In conventions A and B: a message that carries request_id and status_code.
        """
        if self._old:
            topic = self._old.update(interface_name, command_name, request_id, status_code)
            return self._send(self._events + topic, json.dumps(update_message), update_message)
        return self.sendProperty({command_name: {"value": update_message}}, interface_name)

    def getDeviceProperties(self):
        """
        Ask for the whole twin; PropertiesUpdated follows. Returns 0 or an error code.

        A hub that is too busy is asked again after a second, then ever later, up to a minute.
        """
        self._due = None
        return self._send("GET", "", None, True)

    def _send(self, topic, msg, shown, twin=False, properties=None):
        # Returns 0 or an error code. shown: what MessageSent will show, None for no event.
        key = None
        try:
            if not self._hub:
                raise OSError(-1, "not connected: call connect()")
            topic = with_bag(topic, properties)
            msg = dump(msg, twin, len(topic))
            if twin:
                self._rid += 1
                key = str(self._rid)
                topic = "$iothub/twin/" + topic + "/?$rid=" + key
            # Answers don't wait until the hub has taken the program's messages.
            full = shown is None and self._hub.inflight > 15
            pid = self._hub.publish(topic, msg, False, 0 if full else self._qos)
        except (OSError, ValueError) as e:
            return self._fail(e)
        if shown is not None and "MessageSent" in self._on:
            if len(self._waiting) > 32:
                self._waiting.clear()
            if key or pid:
                self._waiting[key or pid] = shown
            else:
                self._call("MessageSent", shown, None, 0)
        return 0

    # -- receiving

    def _on_message(self, topic, msg):
        if self._level > 2:
            print("iotc:", topic, msg)
        try:
            topic = topic.decode()
            path, _, query = topic.partition("?")
            if path[0] != "$":
                # devices/<id>/messages/devicebound/<bag>
                self._on_bound(bag(topic.split("/", 4)[4]), msg)
            elif path[8] == "m":
                # $iothub/methods/POST/<name>/?$rid=<rid>
                self._on_method(path[21:-1], query[5:], msg)
            elif path[13] == "P":
                # $iothub/twin/PATCH/properties/desired/?$version=<n>
                self._on_desired(json.loads(msg))
            else:
                # $iothub/twin/res/<status>/?$rid=<rid>
                self._on_answer(int(path[17:20]), bag(query)["$rid"], msg)
        except Exception as e:
            self._fail(e)

    def _on_answer(self, status, rid, msg):
        if status < 300:
            status = 0
        else:
            self._fail("twin: the hub answered %d" % status)
        if rid in self._waiting:
            self._call("MessageSent", self._waiting.pop(rid), None, status)
        elif status > 428:
            # A busy hub is asked later. An acknowledgement it refused follows from the twin, too.
            self._busy += 1
            self._due = time.ticks_add(time.ticks_ms(), 500 << min(self._busy, 7))
        elif msg and not status:
            twin = json.loads(msg)
            if twin["desired"]["$version"] < self._seen:
                # Made before a patch that has already come.
                self.getDeviceProperties()
            else:
                self._on_desired(twin["desired"], twin["reported"])

    def _on_desired(self, desired, reported=None):
        # A patch, or with `reported` the whole twin.
        version = desired.pop("$version")
        if reported is None and version <= self._seen:
            return
        self._seen = version
        acks = {}
        for name in desired:
            value = desired[name]
            if name[0] == "$" or isinstance(value, dict) and value.pop("__t", 0):
                part = {}
                old = reported and (reported.get(name) or 0)
                for key in value:
                    self._on_property(part, name, key, value[key], version, old)
                if part:
                    if name[0] != "$":
                        part["__t"] = "c"
                    acks[name] = part
            else:
                self._on_property(acks, None, name, value, version, reported)
        if acks:
            self._send("PATCH/properties/reported", acks, None, True)

    def _on_property(self, acks, part, name, value, version, reported):
        # reported: None for a patch; from a whole twin what was reported, a dict as a rule.
        if isinstance(value, dict) and "value" in value:
            value = value["value"]
        shown = value
        words = "ac", "ad", "av"
        if self._old:
            shown, words = self._old.desired(self.convention, value, version)
        info = self._call("Properties", shown, name, None, part)
        if not info or value is None:
            return
        if reported is not None:
            old = isinstance(reported, dict) and reported.get(name)
            if self._old or isinstance(old, dict) and old.get("value") == value:
                # Acknowledged before; the older conventions acknowledge patches only.
                return
        acks[name] = {
            "value": value,
            words[0]: info._out[7] or 200,
            words[1]: info._out[8] or "completed",
            words[2]: version,
        }

    def _on_method(self, name, rid, msg):
        code = 400
        text = "not JSON"
        info = None
        try:
            args = json.loads(msg) if msg else None
            if name[0] == "$":
                # Preview: $iotin:<interface>*<command>
                name = name[7:]
                args = args and args.get("commandRequest")
            code = 404
            text = "no such command"
            info = self._command("Command", name, args, rid)
            if info:
                code = info._out[7] or 200
                text = info._out[8]
        except (ValueError, AttributeError) as e:
            self._fail(e)
        if text is not None:
            text = json.dumps(text)
        self._send("$iothub/methods/res/%d/?$rid=%s" % (code, rid), text or "", None)
        if info and info._out[9]:
            self._run(info._out[9])

    def _on_bound(self, bag, msg):
        # A cloud-to-device message; IoT Central queues commands as such.
        try:
            msg = msg.decode()
            msg = None if msg == "@" else json.loads(msg)
        except ValueError:
            pass
        name = bag.get("method-name")
        if name is None:
            self._call("Message", msg, None, None, bag, bag.get("$.mid"))
        else:
            event = "EnqueuedCommand"
            if event not in self._on:
                event = "Command"
            self._command(event, name, msg, bag.get("$.mid"))

    def _command(self, event, name, args, mid):
        # <command>, or <component>*<command>; some applications put "Commands:" before it.
        part, star, tail = name.partition("*")
        tag = (tail or part).split("Commands:")[-1]
        return self._call(event, args, tag, None, part if star else None, mid)

    def _call(self, event, payload, tag, status, part=None, mid=None):
        # Returns what the callback left, None when nobody listens.
        f = self._on.get(event)
        if f:
            f = IOTCallbackInfo(self, event, payload, tag, status, part, mid)
            e = self._run(self._on[event], f)
            if e:
                f.setResponse(500, "callback raised " + type(e).__name__)
        return f

    def _run(self, f, *args):
        # A mistake in the program's callback must not take the connection with it.
        calling, self._calling = self._calling, True
        try:
            f(*args)
        except Exception as e:
            self.error = e
            sys.print_exception(e)
            return e
        finally:
            self._calling = calling

    def _fail(self, e):
        # Notes what is wrong, an exception or a text; returns the error code.
        if isinstance(e, str):
            e = ValueError(e)
        self.error = e
        if self._level > 1:
            print("iotc:", e)
        return 8 if isinstance(e, Full) else 16 if isinstance(e, OSError) else 1
