"""
A device on one's own broker, where no service adds type and id to its topics. Stands on
device.Client, and on what every MQTT broker has. tools/brokers has the broker's side.
"""

import json_text
from ibmiotf import defaults, device


class Client(device.Client):
    """
    As device.Client, with full topics, so that applications need no change.

    The user name is <type>/id/<id> unless "auth-key" names another, so that one line of the
    broker's access rules holds for all devices; "auth-method": "none" sends none. Its status,
    which the service would send, the device sends itself: retained, and as its will.
    """

    def __init__(self, options, logHandlers=None):
        own = dict(defaults)
        own.update(options)
        name = "%s/id/%s" % (own.get("type"), own.get("id"))
        front = "iot-2/type/%s/" % name
        self._evt = front + "evt/"
        self._cmd = front + "cmd/"
        self._mon = front + "mon"
        own["auth-key"] = own.get("auth-key") or name
        super().__init__(own)
        link = self.link
        # A will has no Time: it is written long before.
        link.set_last_will(
            self._mon,
            self._status("Disconnect", "The connection broke.", False),
            True,
            1,
        )
        link.on_up = self._on_up
        self.disconnect = self._good_bye

    def _status(self, action, reason=None, timed=True):
        from ibmiotf import timestamp

        said = {"Action": action, "ClientID": self.clientId}
        now = timestamp.now()
        if now and timed:
            said["Time"] = now.isoformat()
        if reason:
            said["Reason"] = reason
        return json_text.dumps(said)

    def _on_up(self, present):
        try:
            self.link.publish(self._mon, self._status("Connect"), True)
        except OSError:
            pass  # the connection has just ended again; the next one says it

    def _good_bye(self):
        link = self.link
        if link.is_connected():
            try:
                said = self._status("Disconnect", "The device said good-bye.")
                link.publish(self._mon, said, True, 1, 1000)
            except OSError:
                pass  # no room for it, and a good-bye cancels the will
        link.disconnect()
