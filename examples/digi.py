# Hears what devices send to Digi Remote Manager. digi.json says as whom.

import json

import idigi_monitor_api

with open("digi.json") as f:
    settings = json.load(f)
if "password_file" in settings:  # the local cloud's is made at its first start
    with open(settings["password_file"]) as f:
        settings["password"] = f.read().strip()
client = idigi_monitor_api.push_client(
    settings["username"], settings["password"], settings["host"], ca_certs=settings["ca"],
    port=settings.get("port"), push_port=settings.get("push_port"),
)  # fmt: skip
topics = settings["topics"]
monitor = client.get_monitor(topics) or client.create_monitor(topics, ackOption="explicit")


def on_block(data):
    print(str(data, "utf-8"))
    return True  # acknowledges it


session = client.create_session(on_block, monitor)
session.on_up = lambda: print("listening")
session.on_down = lambda error: print("offline:", error)
while True:
    client.do_next(1000)
