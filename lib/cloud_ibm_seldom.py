"""
What a device of cloud_ibm does seldom: being made, hearing commands, hanging up. Loaded for each
of these and let go again. Stands on ibmiotf.device and cloud_seldom.
"""

import ibmiotf.device
from micropython import const
from netstream import load_once

cloud_seldom = load_once("cloud_seldom")
acknowledged = cloud_seldom.acknowledged
stamp = cloud_seldom.stamp
lacks = cloud_seldom.lacks

_MOST = const(131072 - 48)  # bytes of a message's text; {"d":...,"ts":...} is around it


def make(device, settings):
    """Make the client of a device."""
    cloud_seldom.prepare(device, settings)
    get = settings.get
    ca = settings["ca"]
    client = ibmiotf.device.Client(
        {
            "org": settings["org"],
            "type": settings["type"],
            "id": settings["id"],
            "auth-method": "token",
            "auth-token": get("token"),
            "host": get("host"),
            "port": get("port") or (None if ca else 1883),
            "ca": ca,
            "ssl": bool(ca),
        }
    )
    client.commandCallback = device._hear
    client.errorCallback = device._hear
    device._link = link = client.link
    link.on_ack = device._on_ack
    link.on_up = device._hear
    device._step = client.do_next
    device._put = link.publish


def look(device, name):
    """See cloud_seldom.look(); a message has a topic."""
    cloud_seldom.look(device, name)[name] = _topic(name)


def _topic(name):
    return "iot-2/evt/%s/fmt/json" % name


def text(fields):
    """Return fields as JSON text; ValueError for what the service can't take."""
    return cloud_seldom.text(fields, _MOST)


def disconnect(device, wait_ms):
    """Wait at most wait_ms for what is unacknowledged, and hang up."""
    device._link.disconnect(wait_ms)
    if device.is_connected():
        cloud_seldom.down(device, None)


def tell(device):
    """Report what is to be reported, by an event."""
    cloud_seldom.told(device, _event(device, "state", device._state))


def hear(device, command):
    """
    A command that came, as ibmiotf has it; its answer is an event. Or an error; or the connection
    (True or False).
    """
    if isinstance(command, bool):
        cloud_seldom.up(device)
        return
    if isinstance(command, Exception):
        device.error = command
        if not device._link.is_connected():
            cloud_seldom.down(device, command)
        return
    status, said = cloud_seldom.answer(device, device.on_command, command.command, command.data)
    said = {"command": command.command, "status": status, "answer": said}
    _event(device, "answer", said)


def _event(device, name, fields):
    # The packet id; None when there is no room, and `error` says so.
    try:
        return device._put(*device._pack(_topic(name), device._text(fields), fields, None))
    except OSError as e:
        device.error = e
