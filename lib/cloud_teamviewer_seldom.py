"""
What a device of cloud_teamviewer does seldom: being made, provisioning and connecting, looking
closely at what is sent. Loaded for each of these and let go again; what has to do with sensors and
metrics at the agent is in cloud_teamviewer_sensors. Stands on teamviewer_iot and cloud_seldom.
"""

import time

import teamviewer_iot
from micropython import const
from netstream import load_once

cloud_seldom = load_once("cloud_seldom")
acknowledged = cloud_seldom.acknowledged
lacks = cloud_seldom.lacks

_MOST = const(65536)  # bytes of a message's text
_EIO = const(5)
_TO_1970 = const(946684800)  # seconds from 1970 to 2000, where some boards' time begins

# Where the connection is.
_AWAY = const(0)  # begin, or begin again, when it is due
_PROVISIONING = const(1)
_CONNECTED = const(2)  # once; the client reconnects by itself

# What the agent takes.
_VALUES = (bool, int, float, str)


def make(device, settings):
    """Make the client of a device."""
    cloud_seldom.prepare(device, settings)
    folder = settings["folder"].rstrip("/")
    device._units = settings.get("units") or {}
    device._file = folder + "/metrics.json"
    device._client = client = teamviewer_iot.TVCMI_client(
        {
            "MqttHost": settings["host"],
            "MqttProvisionPort": settings["provision_port"],
            "MqttPort": settings["port"],
            "CaFile": settings["ca"],
            "CertFolder": folder,
            "ServerName": settings.get("server_name") or settings["host"],
            "ClientName": settings.get("id") or "client",
        }
    )
    client.on_api_response = client.on_api_connect = device._hear
    client.on_api_error = client.on_api_disconnect = device._hear
    device._stage = _AWAY
    device._failures = 0
    device._due = time.ticks_ms()  # when to begin, or to go on after a failure
    device._message = None  # on its way to the agent: (sensor, fields, timestamp)
    device._asked = None
    device._said = {}  # the agent's answer to that, as the client's callbacks are told
    device._sensors = load_once("cloud_teamviewer_sensors").remembered(device._file)


def look(device, name):
    """See cloud_seldom.look(); a message has a sensor, which may be still to be made."""
    names = cloud_seldom.look(device, name)
    names[name] = _sensor(device, name)


def _sensor(device, name):
    return device._sensors.setdefault(name, [None, {}, name])


def text(fields):
    """Return fields as JSON text; ValueError for what the service can't take."""
    made = cloud_seldom.text(fields, _MOST)
    for field in fields:
        if type(fields[field]) not in _VALUES:
            refuse(field)
    return made


def refuse(field):
    """Raise ValueError for a value that the agent can't take, or not with what it has already."""
    text = "%s: the agent takes numbers, texts and truth values, always of one kind"
    raise ValueError(text % field)


def stamp(when):
    """Return a moment of time.time() as the agent has it: since 1970."""
    return (int(when) + (_TO_1970 if time.gmtime(0)[0] == 2000 else 0)) * 1000


def disconnect(device, wait_ms):
    """Send what is queued, at most a second, and hang up until do_next()."""
    device._stage = _AWAY
    device._due = time.ticks_ms()
    device._client.disconnect_api()
    if device.is_connected():
        cloud_seldom.down(device, None)


# -- the connection


def start(device):
    """A pause is over: provision, and connecting follows; or the message is tried again."""
    if device._stage == _AWAY:
        # Whatever happens in here, it is tried again.
        device._due = cloud_seldom.later(device._failures)
        try:
            device._client.provision()
            device._stage = _PROVISIONING
        except teamviewer_iot.TvcmiError as e:
            _failed(device, e)
            return
    device._due = None


def tell(device):
    """Report what is to be reported, as metrics of the sensor "state"."""
    fields = device._state
    message = device._pack(_sensor(device, "state"), "", fields, None)
    cloud_seldom.told(device, device._put(*message))


def hear(device, msg=None, error_code=0, error_str=None, **ignored):
    """
    What the client says of provisioning and the connection. msg: an answer, or None; error_code,
    error_str: an error's; with code 0 of the connection: there (text or not), or ended by us.
    """
    code, text = error_code, error_str
    stage = device._stage
    if stage == _PROVISIONING and msg is not None:
        try:
            device._client.connect_api()
            device._stage = _CONNECTED
        except teamviewer_iot.TvcmiError as e:
            _failed(device, e)
    elif stage == _PROVISIONING:
        _failed(device, OSError(code or _EIO, text))
    elif stage == _CONNECTED and not code:
        if not device.is_connected():
            device._failures = 0
            cloud_seldom.up(device)
    elif stage == _CONNECTED:
        if device.is_connected():
            # Lost, most likely; if it was about something else the agent answers.
            device._client.check_connection(callback=device._hear)
        cloud_seldom.down(device, OSError(code, text))


def _failed(device, e):
    device._stage = _AWAY
    device._due = cloud_seldom.later(device._failures)
    device._failures += 1
    cloud_seldom.down(device, e)
