"""
What a device of cloud_azure does seldom: being made, reporting, hearing commands and settings.
Loaded for each of these and let go again. Stands on iotc and cloud_seldom.
"""

import time

import iotc
from cloud_seldom import answer, later
from micropython import const

_GROUP_KEY = const(1)  # of iotc.IOTConnectType
_X509 = const(2)
_DEVICE_KEY = const(3)
_OK = const(200)


def make(device, settings):
    """Make the client of a device."""
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
    device._names["telemetry"] = ""  # of no component
    client.on("MessageSent", device._on_sent)
    for event in ("ConnectionStatus", "Command", "Message", "PropertiesUpdated"):
        client.on(event, device._hear)


def disconnect(device, wait_ms):
    """Wait at most a second for what is unacknowledged, and hang up until do_next()."""
    device._client.disconnect()
    if device.is_connected():
        device._on_down(None)


def begin(device):
    """Begin to connect; after a failure not before a pause that grows."""
    device._due = later(device._failures)
    device._failures += 1
    device._client.start()


def tell(device, fields):
    """Report fields; returns the patch, by which its answer is known, or None for "not now"."""
    if device._quiet_until is not None:
        if time.ticks_diff(device._quiet_until, time.ticks_ms()) > 0:
            return None
        device._quiet_until = None
    patch = {}
    for name in fields:
        part, dot, tail = name.partition(".")
        if dot:
            patch.setdefault(part, {"__t": "c"})[tail] = fields[name]
        else:
            patch[name] = fields[name]
    code = device._client.sendProperty(patch)
    if code == 1:
        # The twin will never take it: told, and dropped.
        device.error = device._client.error
        device._state = {}
    return None if code else patch


def hear(device, info):
    """A command, a message, a setting or the connection's status, as iotc has it."""
    event = info.getEventName()
    if event == "ConnectionStatus":
        _status(device, info.getStatusCode())
        return
    name = info.getTag()
    if event == "Message":
        answer(device, device.on_command, "message", info.getPayload())
        return
    if info.getInterface():
        name = info.getInterface() + "." + name
    is_command = "ommand" in event
    f = device.on_command if is_command else device.on_setting
    status, said = answer(device, f, name, info.getPayload())
    if not is_command and status == _OK:
        said = "completed"
    info.setResponse(status, said)


def busy(device):
    """The hub has no time for a report: again, after a pause that grows."""
    _take_back(device)
    device._quiet_until = later(device._refusals)
    device._refusals += 1


def _take_back(device):
    # What was reported is not answered any more: again, under what was reported since.
    if device._told:
        device._told.update(device._state)
        device._state = device._told
        device._told = device._told_key = None


def _status(device, code):
    if code:
        _take_back(device)
        device._on_down(device._client.error)
    else:
        device._failures = device._refusals = 0
        device._due = None
        device._on_up()
