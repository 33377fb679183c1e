"""
What a device of cloud_ibm does seldom: being made, hearing commands, hanging up. Loaded for each
of these and let go again. Stands on ibmiotf.device and cloud_seldom.
"""

import ibmiotf.device
from cloud_seldom import answer


def make(device, settings):
    """Make the client of a device."""
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
    link.on_up = device._on_up
    device._step = client.do_next
    device._put = link.publish


def disconnect(device, wait_ms):
    """Wait at most wait_ms for what is unacknowledged, and hang up."""
    device._link.disconnect(wait_ms)
    if device.is_connected():
        device._on_down(None)


def tell(device, fields):
    """Report fields, by an event."""
    return _event(device, "state", fields)


def hear(device, command):
    """A command that came, as ibmiotf has it; its answer is an event. Or an error."""
    if isinstance(command, Exception):
        device.error = command
        if not device._link.is_connected():
            device._on_down(command)
        return
    status, said = answer(device, device.on_command, command.command, command.data)
    said = {"command": command.command, "status": status, "answer": said}
    _event(device, "answer", said)


def _event(device, name, fields):
    # The packet id; None when there is no room, and `error` says so.
    topic = device._template.replace("{name}", name)
    try:
        return device._put(*device._pack(topic, device._text(fields), fields, None))
    except OSError as e:
        device.error = e
