"""
What a device of cloud_mqtt does seldom: being made, hearing commands and settings, hanging up.
Loaded for each of these and let go again. Stands on mqtt_link, json_text and cloud_seldom.
"""

import json

from json_text import loads
from micropython import const
from mqtt_link import MQTTLink
from netstream import load_once

cloud_seldom = load_once("cloud_seldom")
acknowledged = cloud_seldom.acknowledged
stamp = cloud_seldom.stamp

_MOST = const(1 << 28)  # bytes of a message's text: what MQTT has room for
_OWN = const(8)  # places in the window for answers, states and discovery, beside the messages
_OK = const(200)


def make(device, settings):
    """Make the link of a device."""
    cloud_seldom.prepare(device, settings)
    if settings["discovery"]:
        device._settings = settings
        device._announced = set()  # (name, field) that Home Assistant has been told of
    device._topics = topics = settings["topics"]
    device._all = {}
    device._link = link = MQTTLink(
        settings["id"],
        settings["host"],
        settings.get("port") or 0,
        settings.get("user"),
        settings.get("password"),
        ssl=settings["ca"] and {"ca": settings["ca"]},
        window=settings["keep"] + _OWN,
    )
    link.set_last_will(topics["status"], "offline", True, 1)
    link.set_callback(device._hear)
    link.on_up = link.on_down = device._hear
    link.on_ack = device._on_ack
    kinds = "command", "setting"
    link.subscribe([(topics[kind].replace("{name}", "+"), 1) for kind in kinds])
    device._step = link.do_next
    device._put = link.publish


def look(device, name):
    """See cloud_seldom.look(); a message has a topic."""
    names = cloud_seldom.look(device, name)
    names[name] = device._topics["event"].replace("{name}", name)


def text(fields):
    """Return fields as JSON text; ValueError for what the service can't take."""
    return cloud_seldom.text(fields, _MOST)


def disconnect(device, wait_ms):
    """Say "offline", wait at most wait_ms for what is unacknowledged, and hang up."""
    if device.is_connected():
        _publish(device, "status", "offline", True)
    device._link.disconnect(wait_ms)


def _publish(device, kind, text, retain=False, name=""):
    # The packet id; None when there is no room, and `error` says so.
    try:
        topic = device._topics[kind].replace("{name}", name)
        return device._put(topic, text, retain, 1)
    except OSError as e:
        device.error = e


def tell(device):
    """Report. One retained message holds all that was reported since the start."""
    device._all.update(device._state)
    key = _publish(device, "report", device._text(device._all), True)
    cloud_seldom.told(device, key)


def hear(device, what, msg=None):
    """
    What the link tells: a message (topic and text, both bytes), a connection (True or False), or
    why it has ended (None: we wanted it to).
    """
    if isinstance(what, bool):
        _publish(device, "status", "online", True)
        cloud_seldom.up(device)
    elif msg is None:
        cloud_seldom.down(device, what)
    else:
        _heard(device, str(what, "utf-8"), msg)


def _heard(device, topic, msg):
    for kind in ("command", "setting"):
        front, _, back = device._topics[kind].partition("{name}")
        if topic.startswith(front) and topic.endswith(back):
            name = topic[len(front) : len(topic) - len(back)]
            _asked(device, kind, name, msg)
            return


def _asked(device, kind, name, msg):
    value = None
    try:
        if msg:
            value = _value(msg)
        elif kind == "setting":
            return  # it was cleared
    except ValueError as e:
        device.error = e
        return
    f = device.on_command if kind == "command" else device.on_setting
    status, said = cloud_seldom.answer(device, f, name, value)
    if kind == "setting" and status == _OK:
        device.report({name: value})
        return
    said = json.dumps({"status": status, "answer": said})
    _publish(device, "answer", said, False, name)


def _value(msg):
    # JSON, or else text: people send ON, too. ValueError when it is no UTF-8.
    try:
        return loads(msg)
    except ValueError:
        return str(msg, "utf-8")
