"""
Home Assistant's discovery: what cloud_homeassistant sends is what the MQTT integration's documents
ask for, key by key; and a whole device appears with a sensor for each field.
"""

import json
import re

import cloud_rig
from cloud_rig import world  # noqa: F401


# Keys of a discovery message that the documents of the integration name for sensors and binary
# sensors, with the type that they give them (of those that are used here, and those beside them).
DOCUMENTED = {
    "name": str, "unique_id": str, "state_topic": str, "availability_topic": str,
    "payload_available": str, "payload_not_available": str, "value_template": str,
    "unit_of_measurement": str, "device_class": str, "state_class": str, "entity_category": str,
    "expire_after": int, "force_update": bool, "icon": str, "qos": int, "device": dict,
    "payload_on": str, "payload_off": str, "object_id": str, "enabled_by_default": bool,
}  # fmt: skip
DEVICE = {
    "identifiers", "connections", "name", "manufacturer", "model", "sw_version", "hw_version",
    "suggested_area", "configuration_url", "via_device",
}  # fmt: skip
# Of which kind a class and its units may be (sensor's documents).
UNITS = {
    "temperature": {"°C", "°F", "K"}, "pressure": {"Pa", "hPa", "kPa", "bar", "mbar", "psi"},
    "voltage": {"V", "mV"}, "current": {"A", "mA"}, "power": {"W", "kW"},
    "frequency": {"Hz", "kHz", "MHz", "GHz"}, "illuminance": {"lx"},
    "signal_strength": {"dB", "dBm"},
}  # fmt: skip


def is_documented(topic, text):
    prefix, kind, object_id, last = topic.split("/")
    assert prefix == "homeassistant" and last == "config"
    assert kind in ("sensor", "binary_sensor")
    assert re.fullmatch("[a-zA-Z0-9_-]+", object_id)
    config = json.loads(text)
    for key, value in config.items():
        assert isinstance(value, DOCUMENTED[key]), key
    assert {"name", "unique_id", "state_topic", "device"} <= set(config)
    assert set(config["device"]) <= DEVICE and config["device"]["identifiers"]
    assert object_id == config["unique_id"], "best practice, by the documents"
    assert config["value_template"].startswith("{{ ") and "value_json" in config["value_template"]
    if "device_class" in config and kind == "sensor":
        assert config["unit_of_measurement"] in UNITS[config["device_class"]]
    if "state_class" in config:
        assert kind == "sensor" and config["state_class"] == "measurement"
    return kind, config


def test_configs_are_as_documented(board):
    fields = {
        "celsius": 21.5, "count": 7, "door open": True, "word": "x", "mode/2": "y", "pressure": 1,
    }  # fmt: skip
    got = board.run(
        """
from cloud_homeassistant_config import config
for field in FIELDS:
    found = config(SETTINGS, "devices/d1/event/climate", "climate", field, FIELDS[field])
    report(field=field, topic=found[0], text=found[1])
report(none=[config(SETTINGS, "t", "n", "f", value) for value in (None, [1], {"a": 1})])
""",
        FIELDS=fields,
        SETTINGS={
            "id": "greenhouse 1",
            "topics": {"status": "devices/d1/status"},
            "units": {"celsius": "°C", "pressure": "hPa", "count": "pieces"},
            "discovery": "homeassistant",
        },
    ).reports
    found = {one["field"]: is_documented(one["topic"], one["text"]) for one in got[:-1]}
    assert got[-1] == {"none": [None, None, None]}
    assert {field for field, (kind, _) in found.items() if kind == "binary_sensor"} == {
        "door open"
    }
    assert found["celsius"][1]["device_class"] == "temperature"
    assert found["celsius"][1]["unit_of_measurement"] == "°C"
    assert found["count"][1]["unit_of_measurement"] == "pieces"
    assert "device_class" not in found["count"][1]
    assert found["word"][1].get("state_class") is None
    assert found["celsius"][1]["value_template"] == '{{ value_json["celsius"] }}'
    assert len({config["unique_id"] for _, config in found.values()}) == len(fields)


place = cloud_rig.place_at("mqtt")


def test_a_sensor_for_each_field_appears(board, place):
    place.settings.update(discovery=True, units={"celsius": "°C"})
    board.run(
        """
import cloud
device = cloud.Device(SETTINGS)
for n in range(3):
    device.send({"celsius": 21.5 + n, "open": False}, "climate")
device.report({"firmware": "1.2"})
while device.pending or not device.is_connected():
    device.do_next(50)
device.send({"celsius": 25, "humidity": 40}, "climate")
while device.pending:
    device.do_next(50)
device.disconnect()
""",
        SETTINGS=place.settings,
    )
    place.wait(4)
    mine = place.settings["id"].replace("-", "_")

    def configs():
        got = [
            (topic, text)
            for topic, text in list(place.listener.got)
            if topic.startswith("homeassistant/") and mine in topic
        ]
        return got if len(got) >= 4 else None

    got = cloud_rig.until(configs, what="the discovery messages")
    assert len(got) == 4, "each once"
    found = {}
    for topic, text in got:
        kind, config = is_documented(topic, text)
        found[config["name"]] = kind
        # What it says is where the values are.
        assert config["availability_topic"] == place.root + "status"
        assert place.on(config["state_topic"])
    assert found == {
        "celsius": "sensor", "open": "binary_sensor", "firmware": "sensor", "humidity": "sensor",
    }  # fmt: skip
