# A client of any MQTT broker: sends, and hears what it sent. broker.json says where.

import json
import time

from mqtt_link import MQTTLink

with open("broker.json") as f:
    settings = json.load(f)
link = MQTTLink(
    settings["id"], settings["host"], settings["port"], settings.get("user"),
    settings.get("password"), ssl={"ca": settings["ca"]},
)  # fmt: skip
link.set_callback(lambda topic, msg: print("heard", topic.decode(), msg.decode()))
link.on_up = lambda present: print("connected")
link.on_down = lambda error: print("offline:", error)
link.on_ack = lambda pid, code: print("acknowledged", pid, code)
link.subscribe("greenhouse/+", 1)

last = time.ticks_add(time.ticks_ms(), -10000)
while True:
    link.do_next(1000)
    if time.ticks_diff(time.ticks_ms(), last) >= 10000 and link.inflight < link.window:
        last = time.ticks_ms()
        link.publish("greenhouse/climate", json.dumps({"celsius": 21.5}), qos=1)
