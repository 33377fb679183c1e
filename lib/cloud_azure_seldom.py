"""
What a device of cloud_azure does seldom: being made, reporting, hearing commands and settings.
Loaded for each of these and let go again. Stands on iotc and cloud_seldom.
"""

import time

import iotc
from micropython import const
from netstream import load_once

cloud_seldom = load_once("cloud_seldom")
never = cloud_seldom.never

_GROUP_KEY = const(1)  # of iotc.IOTConnectType
_X509 = const(2)
_DEVICE_KEY = const(3)
_MOST = const(262144 - 512)  # bytes of a message's text; properties go beside it
_OK = const(200)
_BUSY = const(429)  # what a throttled hub says of a report
_NEVER = const(1)  # of sendProperty(): no twin would take it


def make(device, settings):
    """Make the client of a device."""
    cloud_seldom.prepare(device, settings)
    key = settings.get("key")
    if key:
        kind = _DEVICE_KEY if settings.get("key_kind") == "device" else _GROUP_KEY
    else:
        kind = _X509
        key = {"certfile": settings["cert"], "keyfile": settings["key_file"]}
    device._client = client = iotc.Device(settings["scope"], key, settings["id"], kind)
    client.ca = settings["ca"]
    client.tls = bool(client.ca)
    client.server = settings.get("server")
    client.certificate_file = settings.get("certificate_file")
    if settings.get("model"):
        client.setModelData(settings["model"])
    client.setQosLevel(1)
    device._quiet_until = None
    device._refusals = 0
    device._failures = 0
    device._due = None  # when (ticks_ms) to start again after a failure
    device._told = None  # the fields of a report on its way
    client.on("MessageSent", device._on_sent)
    for event in ("ConnectionStatus", "Command", "Message", "PropertiesUpdated"):
        client.on(event, device._hear)


def look(device, name):
    """See cloud_seldom.look(); a message has properties: of which component it is, if of any."""
    names = cloud_seldom.look(device, name)
    names[name] = {} if name == "telemetry" else {"$.sub": name}


def dated(properties, when):
    """Return the properties of a message that was measured at a time of its own."""
    found = dict(properties)
    found["iothub-creation-time-utc"] = when
    return found


def text(fields):
    """Return fields as JSON text; ValueError for what the service can't take."""
    return cloud_seldom.text(fields, _MOST)


def disconnect(device, wait_ms):
    """Wait at most a second for what is unacknowledged, and hang up until do_next()."""
    device._client.disconnect()
    if device.is_connected():
        cloud_seldom.down(device, None)


def begin(device):
    """Begin to connect; after a failure not before a pause that grows."""
    device._due = cloud_seldom.later(device._failures)
    device._failures += 1
    device._client.start()


def tell(device):
    """Report what is to be reported, if the hub has time; its answer is known by the patch."""
    if device._quiet_until is not None:
        if time.ticks_diff(device._quiet_until, time.ticks_ms()) > 0:
            return
        device._quiet_until = None
    fields = device._state
    patch = {}
    for name in fields:
        part, dot, tail = name.partition(".")
        if dot:
            patch.setdefault(part, {"__t": "c"})[tail] = fields[name]
        else:
            patch[name] = fields[name]
    code = device._client.sendProperty(patch)
    if code == _NEVER:
        # The twin will never take it: told, and dropped.
        device.error = device._client.error
        device._state = {}
    elif not code:
        device._told = device._state
        cloud_seldom.told(device, patch)


def hear(device, info):
    """A command, a message, a setting or the connection's status, as iotc has it."""
    event = info.getEventName()
    if event == "ConnectionStatus":
        _status(device, info.getStatusCode())
        return
    name = info.getTag()
    if event == "Message":
        cloud_seldom.answer(device, device.on_command, "message", info.getPayload())
        return
    if info.getInterface():
        name = info.getInterface() + "." + name
    is_command = "ommand" in event
    f = device.on_command if is_command else device.on_setting
    status, said = cloud_seldom.answer(device, f, name, info.getPayload())
    if not is_command and status == _OK:
        said = "completed"
    info.setResponse(status, said)


def acknowledged(device, key, code):
    """The hub has taken a report, or refused something; what it has no time for is sent again."""
    if code == _BUSY and key == device._told_key:
        _take_back(device)
        device._quiet_until = cloud_seldom.later(device._refusals)
        device._refusals += 1
    else:
        cloud_seldom.acknowledged(device, key, code)


def _take_back(device):
    # What was reported is not answered any more: again, under what was reported since.
    if device._told_key:
        device._told.update(device._state)
        device._state = device._told
        device._told_key = None


def _status(device, code):
    if code:
        _take_back(device)
        cloud_seldom.down(device, device._client.error)
    else:
        device._failures = device._refusals = 0
        device._due = None
        cloud_seldom.up(device)
