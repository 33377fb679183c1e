"""
One way of speaking to every cloud: a device, or a watcher of many, for the service that the
settings name. `"service"` in the settings is the only line that knows which one it is.

    device = cloud.Device("device.json")        # {"service": "azure", "scope": ..., ...}
    device.on_command = lambda name, args: "done"
    device.send({"celsius": 21.5})
    while True:
        device.do_next(1000)

Stands on one file a service (cloud_azure.py, cloud_mqtt.py ...), loaded when it is named, which
stands on that service's client. docs/cloud.md has the promises and the settings.
"""

from netstream import load_once


def __getattr__(name):
    # Device(), Watcher() and check(): each is called once or twice, and takes no heap afterwards.
    return getattr(load_once("cloud_entries"), name)
