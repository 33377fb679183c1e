"""
A device on one's own broker, where no service adds type and id to its topics: loaded by
device.Client for the option "topics": "full". Stands on what every MQTT broker has.

The device speaks full topics, so that an application needs no change. Its user name is
<type>/id/<id> unless "auth-key" names another, so that one line of the broker's access rules (see
tools/brokers) holds for all devices. Its status, which the service would send, it sends itself:
retained, and as the will for when it can't.
"""

import json


def adopt(client):
    """Make client, a device.Client that was never connected, such a device."""
    link = client.link
    name = client.options["type"] + "/id/" + client.options["id"]
    client._front = "iot-2/type/" + name + "/"
    if link.user is not None and not client.options.get("auth-key"):
        link.user = name
    mon = client._front + "mon"

    def status(action, **more):
        from ibmiotf import timestamp

        said = {"Action": action, "ClientID": client.clientId}
        now = timestamp.now()
        if now:
            said["Time"] = now.isoformat()
        said.update(more)
        return json.dumps(said)

    def on_up(present):
        try:
            link.publish(mon, status("Connect"), True)
        except OSError:
            pass  # the connection has just ended again; the next one says it

    def disconnect():
        if link.is_connected():
            try:
                link.publish(
                    mon, status("Disconnect", Reason="The device said good-bye."), True, 1, 1000
                )
            except OSError:
                pass  # no room: the will would say it, but a good-bye cancels that
        link.disconnect()

    # A will has no Time: it is written long before.
    will = {"Action": "Disconnect", "ClientID": client.clientId, "Reason": "The connection broke."}
    link.set_last_will(mon, json.dumps(will), True, 1)
    link.on_up = on_up
    client.disconnect = disconnect
