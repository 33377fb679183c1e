# iotc_twin: properties: what a program reports, and desired ones, told to the program one by one
# and acknowledged.
#
# Loaded with the first of them; it stays then. Stands on iotc_wire; the device, whose callbacks
# and conventions it uses, is handed in.

from json_text import loads
from iotc_wire import dump
from micropython import const

_PATCH_BYTES = const(8192)  # of acknowledgements in one message, about


def patch(payload, component):
    """
    Return payload, a dict or JSON of one, as a reported patch, of that component if there is one.

    Raises ValueError for anything else.
    """
    if isinstance(payload, str):
        payload = loads(payload)
    if not isinstance(payload, dict):
        raise ValueError("properties: not a dict, or JSON of one")
    if not component:
        return payload
    if not isinstance(component, str):
        raise ValueError("component: its name, a text")
    marked = dict(payload)
    marked["__t"] = "c"
    return {component: marked}


def tell(device, desired, version, reported):
    """
    A generator that tells the program of each desired property and yields acknowledgements, as
    reported patches (dict).

    device: the iotc.Device. desired: a patch, or the whole of them; version: its number.
    reported: None for a patch; from a whole twin what was reported: what was acknowledged there
    is not acknowledged again.
    """
    acks = {}
    size = 0
    for name in desired:
        value = desired[name]
        if name == "$version":
            continue
        if isinstance(value, dict) and (value.get("__t") == "c" or name.startswith("$")):
            ack = _tell_component(device, name, value, version, reported)
        else:
            ack = _tell_property(device, None, name, value, version, reported)
        more = _size(device, name, {name: ack}) if ack else 0
        if more:
            if acks and size + more > _PATCH_BYTES:
                yield acks
                acks = {}
                size = 0
            acks[name] = ack
            size += more
    if acks:
        yield acks


def _tell_component(device, component, values, version, reported):
    # Returns the acknowledgements of its properties, an empty dict for none.
    before = reported if reported is None else reported.get(component) or {}
    acks = {}
    for name in values:
        if name != "__t":
            ack = _tell_property(device, component, name, values[name], version, before)
            if ack and _size(device, name, {component: {name: ack}}):
                acks[name] = ack
    if acks and not component.startswith("$"):
        acks["__t"] = "c"
    return acks


def _tell_property(device, component, name, value, version, reported):
    # Returns the acknowledgement (dict), or None when there is to be none.
    if isinstance(value, dict) and len(value) == 1 and "value" in value:
        # An envelope of older days. A dict with more in it is an object of the program's.
        value = value["value"]
    shown = value
    words = "ac", "ad", "av"
    if device._old:
        shown, words = device._old.desired(device.convention, value, version)
    info = device._on_property(component, name, shown)
    if not info or value is None:
        return None
    if reported is not None:
        before = reported.get(name) if isinstance(reported, dict) else None
        if device._old or isinstance(before, dict) and before.get("value") == value:
            # Acknowledged before; the older conventions acknowledge patches only.
            return None
    code, text, of_version = words
    return {
        "value": value,
        code: 200 if info.responseCode is None else info.responseCode,
        text: info.responseMessage or "completed",
        of_version: version,
    }


def _size(device, name, patch):
    # Each acknowledgement is judged alone: one that no twin takes (0) leaves the others.
    try:
        return len(dump(patch, True))
    except ValueError as e:
        device._fail("property %s is not acknowledged: %s" % (name, e))
        return 0
