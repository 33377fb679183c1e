"""
A device on one's own broker, where no service adds type and id to its topics. Stands on
device.Client, and on what every MQTT broker has. tools/brokers has the broker's side.
"""

from json_text import encode
from ibmiotf import device
from netstream import load_module


class Client(device.Client):
    """
    As device.Client, with full topics, so that applications need no change.

    The user name is <type>/id/<id> unless "auth-key" names another, so that one line of the
    broker's access rules holds for all devices; "auth-method": "none" sends none. Its status,
    which the service would send, the device sends itself: retained, and as its will.
    """

    def __init__(self, options, logHandlers=None):
        super().__init__(options, logHandlers)
        self._status_topic = self._space + "mon"
        # A will has no Time: it is written long before.
        will = self._status("Disconnect", "The connection broke.", False)
        self.link.set_last_will(self._status_topic, will, True, 1)
        self.disconnect = self._good_bye

    def _user(self):
        return self.options.get("auth-key") or self._name()

    def _name(self):
        return "%s/id/%s" % (self.options["type"], self.options["id"])

    def _own_space(self):
        return "iot-2/type/%s/" % self._name()

    def _status(self, action, reason=None, timed=True):
        # What the service would say of this device, as JSON.
        said = {"Action": action, "ClientID": self.clientId}
        now = load_module("ibmiotf.timestamp").now() if timed else None
        if now:
            said["Time"] = now.isoformat()
        if reason:
            said["Reason"] = reason
        return encode(said)

    def _up(self, present):
        super()._up(present)
        try:
            self.link.publish(self._status_topic, self._status("Connect"), True)
        except OSError:
            pass  # the connection has just ended again; the next one says it

    def _good_bye(self):
        link = self.link
        try:
            if link.is_connected():
                said = self._status("Disconnect", "The device said good-bye.")
                link.publish(self._status_topic, said, True, 1, 1000)
        except OSError:
            pass  # no room for it, and a good-bye cancels the will
        finally:
            link.disconnect()
