"""
IBM IoT Foundation's side of MQTT: who may connect, what a topic means, who is told what.

Inside, every topic carries its organisation and device: ORG/iot-2/type/T/id/I/evt/E/fmt/F. A
device sees only iot-2/evt/E/fmt/F and iot-2/cmd/C/fmt/F, an application everything of its
organisation, without ORG.

No source decides, so it is our choice: a publish outside one's space, a topic part over 36
characters and a payload over 131072 bytes end the connection; a message for a device that is not
registered is acknowledged and dropped; gateways act for every device of their organisation, and
hear on .../notify of those that don't exist.
"""

import json
import re

from ..clock import utc
from ..mqtt import codec as mq
from ..mqtt import server as mqtt_server
from ..refused import Refused
from .model import DEVICE, GATEWAY, iotf_data, is_name

LISTENERS = ("mqtt", "mqtts", "ws", "wss")
QUICKSTART = "quickstart"
USER = "use-token-auth"
MAX_PAYLOAD = 131072
MAX_PART = 36  # characters of an event, command or format name

# What CloseCode says in a Disconnect status; the numbers are ours, 0 is a client's own goodbye.
CLOSE_CODES = {"normal": 0, "lost": 1, "keepalive": 2, "takeover": 3, "protocol": 4, "service": 5}


class Who:
    """What a client id says, and who it turned out to be. role: d, g, a or A."""

    __slots__ = ("role", "org", "type", "id", "app")

    def __init__(self, role, org, type=None, id=None, app=None):
        self.role = role
        self.org = org
        self.type = type
        self.id = id
        self.app = app

    @property
    def is_device(self):
        return self.role in "dg"

    @property
    def prefix(self):
        """Of the device's own topics."""
        return "%s/iot-2/type/%s/id/%s/" % (self.org, self.type, self.id)

    @property
    def status_topic(self):
        if self.is_device:
            return self.prefix + "mon"
        return "%s/iot-2/app/%s/mon" % (self.org, self.app)


def parse_client_id(text):
    """The Who of a client id, or None when it is none of IBM's."""
    parts = text.split(":")
    if parts[0] in ("d", "g") and len(parts) == 4:
        if is_name(parts[2]) and is_name(parts[3]) and parts[1]:
            return Who(parts[0], parts[1], parts[2], parts[3])
    elif parts[0] in ("a", "A") and len(parts) >= 3 and parts[1] and parts[2]:
        # An application's id may hold what a topic level may; of A the rest is the instance.
        app = parts[2] if parts[0] == "A" else ":".join(parts[2:])
        if not re.search("[/+#]", app):
            return Who(parts[0], parts[1], app=app)
    return None


def is_part(text):
    """A topic level that may stand for an event, a command or a format."""
    return 0 < len(text) <= MAX_PART


class Ibm(mqtt_server.Service):
    """The MQTT service."""

    name = "ibm"
    persistent = True

    def __init__(self, registry, historian=None):
        super().__init__()
        self.registry = registry
        self.historian = historian
        self._topics = {}  # (client's role, prefix, topic) -> what it means, for the hot path

    # ---- letting in

    def claims(self, client):
        return (
            client.listener in LISTENERS
            and client.client_id[:2] in ("d:", "g:", "a:", "A:", "G:")
            and "api-version=" not in (client.user or "")
        )

    def session_key(self, client):
        # Instances of a shared application may all use one client id.
        return None if client.data.role == "A" else client.client_id

    async def authenticate(self, client, password):
        who = client.data = parse_client_id(client.client_id)
        if who is None:
            raise Refused(400, "no client id of IBM's", connack=mq.BAD_CLIENT_ID)
        if who.role == "A":
            client.clean = True
        if who.org == QUICKSTART:
            if client.secure or who.role not in "da":
                raise Refused(403, "quickstart is for devices and applications without TLS")
            client.clean = True
            return mq.ACCEPTED
        if not password:
            raise Refused(401, "no token was given as the password")
        if who.is_device:
            kind = GATEWAY if who.role == "g" else DEVICE
            if client.user != USER:
                raise Refused(401, "a device's user name is %s" % USER)
            if not await self.registry.check_device(kind, who.org, who.type, who.id, password):
                raise Refused(401, "no such %s, or its token is wrong" % kind)
        elif await self.registry.check_key(client.user or "", password) != who.org:
            raise Refused(401, "no such API key of %s, or its token is wrong" % who.org)
        return mq.ACCEPTED

    def connected(self, client, present):
        self._tell_status(client, None)

    def disconnected(self, client, end):
        self._tell_status(client, end)

    # ---- publishing

    def publish(self, client, packet):
        who = client.data
        if len(packet.payload) > MAX_PAYLOAD:
            raise mqtt_server.Close(
                "a payload of %d bytes, %d are allowed" % (len(packet.payload), MAX_PAYLOAD)
            )
        key = who.role, who.org, who.type, who.id, packet.topic
        meant = self._topics.get(key)
        if meant is None:
            meant = self._understand(who, packet.topic)
            if len(self._topics) >= 20000:
                self._topics.clear()
            self._topics[key] = meant
        topic, type, id, event = meant
        if topic is None:
            return None
        if who.role != "d" and who.org != QUICKSTART and not self.registry.has(who.org, type, id):
            if who.role == "g":
                self._notify(who, packet.topic, type, id)
            return None
        if event is not None and self.historian is not None and who.org != QUICKSTART:
            data = iotf_data(packet.payload)
            if data is not None:
                self.historian.add(who.org, type, id, event, data, packet.qos > 0)
        return self.deliver(topic, packet.payload, packet.qos)

    def _understand(self, who, topic):
        """(internal topic, type, id, event or None) of a publish; Close if it is not allowed."""
        parts = topic.split("/")
        if parts[0] in ("iotdevice-1", "iotdm-1") and who.is_device:
            return None, None, None, None  # device management: taken, and out of our scope
        if who.role == "d":
            good = len(parts) == 5 and parts[:2] == ["iot-2", "evt"] and parts[3] == "fmt"
            if good and is_part(parts[2]) and is_part(parts[4]):
                return who.prefix + topic[6:], who.type, who.id, parts[2]
        elif (
            len(parts) == 9
            and parts[:2] == ["iot-2", "type"]
            and parts[3] == "id"
            and parts[7] == "fmt"
            and is_part(parts[6])
            and is_part(parts[8])
            and is_name(parts[2])
            and is_name(parts[4])
        ):
            kind = parts[5]
            commands = who.role in "aA" and who.org != QUICKSTART
            if kind == "evt" or (kind == "cmd" and commands):
                event = parts[6] if kind == "evt" else None
                return who.org + "/" + topic, parts[2], parts[4], event
        raise mqtt_server.Close("publish to %r is outside its space" % topic[:120])

    def _notify(self, gateway, topic, type, id):
        """Tell a gateway of a publish for a device that does not exist."""
        problem = {
            "Request": topic,
            "Time": utc(self.registry.clock.now()),
            "Topic": topic,
            "Type": type,
            "Id": id,
            "Client": "g:%s:%s:%s" % (gateway.org, gateway.type, gateway.id),
            "RC": 303,
            "Message": "The device is not registered.",
        }
        self.deliver(gateway.prefix + "notify", json.dumps(problem).encode(), 1)

    # ---- subscribing

    def subscribe(self, client, filter, qos):
        who = client.data
        pattern = self._pattern(who, filter.split("/"))
        if pattern is None:
            return mq.SUBACK_FAILURE
        if pattern == "":
            return qos
        if who.role == "A":
            return 0, pattern, "%s:%s" % (who.org, who.app)
        return qos, pattern

    def _pattern(self, who, parts):
        """The filter inside, "" for one that is granted and never matches, None for a refusal."""
        if who.is_device and parts[0] in ("iotdm-1", "iotdevice-1"):
            return ""
        if "#" in parts or parts[0] != "iot-2":
            return None
        if who.role == "d":
            if who.org == QUICKSTART or len(parts) != 5:
                return None
            if parts[1] != "cmd" or parts[3] != "fmt" or not is_part(parts[2]):
                return None
            return who.prefix + "/".join(parts[1:]) if is_part(parts[4]) else None
        inside = who.org + "/" + "/".join(parts)
        if len(parts) == 4 and parts[1] == "app" and parts[3] == "mon" and who.role in "aA":
            if who.org == QUICKSTART and parts[2] == "+":
                return None
            return inside if parts[2] else None
        if len(parts) < 6 or parts[1] != "type" or parts[3] != "id":
            return None
        if not all(part == "+" or is_name(part) for part in (parts[2], parts[4])):
            return None
        if who.org == QUICKSTART and (parts[2] == "+" or parts[5] == "cmd"):
            return None
        if len(parts) == 6:
            if parts[5] == "mon" and who.role in "aA":
                return inside
            if parts[5] == "notify" and who.role == "g":
                return inside if (parts[2], parts[4]) == (who.type, who.id) else None
            return None
        if len(parts) != 9 or parts[7] != "fmt" or not is_part(parts[6]) or not is_part(parts[8]):
            return None
        kinds = ("cmd",) if who.role == "g" else ("evt", "cmd")
        return inside if parts[5] in kinds else None

    def outgoing(self, session, topic):
        who = parse_client_id(session.key) if isinstance(session.key, str) else None
        if who is not None and who.role == "d":
            return "iot-2/" + topic[len(who.prefix) :]
        return topic.partition("/")[2]

    # ---- status

    def _tell_status(self, client, end):
        who = client.data
        text = {
            "Action": "Connect" if end is None else "Disconnect",
            "Time": utc(self.registry.clock.now()),
            "ClientAddr": client.peer[0],
            "ClientID": client.client_id,
            "Port": client.port,
            "Secure": client.secure,
            "Protocol": "mqtt%d%s" % (client.level, "-ws" if client.websocket else ""),
            "User": client.user or "",
            "ConnectTime": utc(client.connected_at),
            "Durable": not client.clean,
        }
        if end is not None:
            text.update(
                Reason=end.text,
                CloseCode=CLOSE_CODES.get(end.reason, 9),
                ReadBytes=client.read_bytes,
                ReadMsg=client.read_msg,
                WriteBytes=client.write_bytes,
                WriteMsg=client.write_msg,
            )
        payload = json.dumps(text).encode()
        topic = who.status_topic
        self.deliver(topic, payload, 1)
        # Who subscribes later learns how it stands: of devices the last word, of applications
        # only those that are connected. This holds for this process only, so it isn't stored.
        if end is not None and not who.is_device:
            payload = b""
        self._retain(topic, payload, 1, None)

    # ---- for the registry: credentials that are no more

    def cut(self, client_id, text):
        """End the connection of this client id, and forget its session."""
        session = self.sessions.get(client_id)
        if session is None:
            return
        if session.client is not None:
            session.client.close(text, "service")
        if self.sessions.get(client_id) is session:
            self.forget(session)

    def cut_key(self, key, text):
        """End all connections that were made with this API key."""
        for session in list(self.sessions.values()):
            if session.client is not None and session.client.user == key:
                session.client.close(text, "service")
