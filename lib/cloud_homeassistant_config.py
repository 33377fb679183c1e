"""
What Home Assistant wants to be told of a field that a device sends, so that it appears there as
a sensor by itself: the discovery message of its MQTT integration. Loaded for each new field by
cloud_mqtt, and let go again.
"""

import json

# Units that belong to one kind of thing: what Home Assistant calls that kind.
_CLASSES = {
    "°C": "temperature",
    "°F": "temperature",
    "K": "temperature",
    "Pa": "pressure",
    "hPa": "pressure",
    "V": "voltage",
    "mV": "voltage",
    "A": "current",
    "mA": "current",
    "W": "power",
    "kW": "power",
    "Hz": "frequency",
    "lx": "illuminance",
    "dBm": "signal_strength",
}


def _word(text):
    # Object ids are made of these characters only.
    return "".join([c if "a" <= c <= "z" or "A" <= c <= "Z" or c.isdigit() else "_" for c in text])


def config(settings, topic, name, field, value):
    """
    Return (topic, JSON text) of the message for one field, None for a value that is no state
    (an object, a list, null).

    settings: the device's; its "units" name the unit of a field. topic: where its messages come,
    as JSON objects. name: the message's name; field, value: of the field as first sent.
    """
    if value is None or isinstance(value, (dict, list, tuple)):
        return None
    device_id = settings["id"]
    told = {
        "name": field,
        "unique_id": "%s_%s_%s" % (_word(device_id), _word(name), _word(field)),
        "state_topic": topic,
        "availability_topic": settings["topics"]["status"],
        "device": {"identifiers": [device_id], "name": device_id, "manufacturer": "picolink"},
    }
    place = "value_json[%s]" % json.dumps(field)
    kind = "sensor"
    if isinstance(value, bool):
        kind = "binary_sensor"
        place = "'ON' if %s else 'OFF'" % place
    elif isinstance(value, (int, float)):
        told["state_class"] = "measurement"
        unit = (settings.get("units") or {}).get(field)
        if unit:
            told["unit_of_measurement"] = unit
            if unit in _CLASSES:
                told["device_class"] = _CLASSES[unit]
    told["value_template"] = "{{ %s }}" % place
    if name == "state":
        told["entity_category"] = "diagnostic"
    prefix = settings["discovery"]
    return "%s/%s/%s/config" % (prefix, kind, told["unique_id"]), json.dumps(told)
