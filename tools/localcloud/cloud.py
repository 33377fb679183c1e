"""
All service sides together: state directory, certificates, store, MQTT and HTTP, and the parts.

A part is one service's package with a class Part (part.py); the table in tools/services.py says
which there are. The ready line is a contract with everybody who starts the cloud:

    {"ready": true, "ca_pem", "ca_der",
     "mqtt": {"host", "port", "tls_port", "ws_port", "wss_port"}, "http": {"url", "tls_url"},
     "control": {"url", "token_file"} (web.py tells what for), and each part's own entry}
"""

import errno
import fcntl
import importlib
import ipaddress
import logging
import os
import secrets
import socket
import tempfile

import services

from . import fault_values, pki, store, web
from .clock import Clock
from .mqtt import server as mqtt_server
from .mqtt import websocket
from .part import CloudError, Port
from .refused import Refused

log = logging.getLogger("localcloud")

# Their names, in the order of the table of services. "mqtt" there is the broker that all stand on.
PARTS = tuple(dict.fromkeys(one.cloud for one in services.SERVICES if one.cloud != "mqtt"))

HTTP_PORTS = (
    Port("--http-port", 8080, "HTTP"),
    Port("--https-port", 8443, "HTTPS"),
)
MQTT_PORTS = (
    Port("--mqtt-port", 1883, "MQTT over TCP"),
    Port("--mqtts-port", 8883, "MQTT over TLS"),
    Port("--ws-port", 9001, "MQTT over WebSocket, paths /mqtt and /$iothub/websocket"),
    Port("--wss-port", 9443, "MQTT over WebSocket over TLS; may be the same as --https-port"),
)


def ports(parts):
    """Every Port of a cloud with these parts; the common ones first."""
    return MQTT_PORTS + HTTP_PORTS + tuple(port for part in parts for port in part.ports)


def load_parts():
    """The Part classes of all services."""
    return [importlib.import_module("." + name + ".part", __package__).Part for name in PARTS]


class Cloud:
    """
    cloud = Cloud(options, parts); ready = await cloud.start(); ... await cloud.stop()

    options: what __main__'s parser gives. CloudError from start() when it can't be served.
    """

    def __init__(self, options, parts=None):
        self.options = options
        self.host = options.host
        self.clock = Clock()
        self._classes = load_parts() if parts is None else parts
        self._temporary = None
        self._lock = None
        self.parts = []
        self.state = self.pki = self.tls = self.store = self.sessions = self.mqtt = self.web = None

    async def start(self):
        options = self.options
        try:
            self._check_ports()
            self._open_state()
            names = [n for part in self._classes for n in part.names(options)]
            self.pki = pki.Pki(os.path.join(self.state, "tls"), names, options.key_type or "rsa")
            self.tls = self.pki.server_context(ask_client=True)
            self.store = store.Store(os.path.join(self.state, "cloud.db"))
            self.sessions = store.SessionStore(self.store)
            self.mqtt = mqtt_server.Server(self.sessions)
            self.mqtt.visitors = self._visitors()
            token = self.secret_file("control-token")
            self.web = web.Web(token)
            self.parts = [part(self) for part in self._classes]
            if options.open_broker is not None:
                user, _, password = options.open_broker.partition(":")
                self.mqtt.add(mqtt_server.OpenBroker(user or None, password or None))
            self._add_controls()
            await self.web.start()
            for part in self.parts:
                await part.start()
            await self._listen()
            return self._ready()
        except (store.StoreError, OSError) as e:
            await self.stop()
            raise CloudError(str(e))
        except BaseException:
            await self.stop()
            raise

    def _open_state(self):
        if self.options.state is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="localcloud-")
            self.state = self._temporary.name
        else:
            self.state = os.path.abspath(self.options.state)
            try:
                os.makedirs(self.state, mode=0o700, exist_ok=True)
                self._lock = os.open(
                    os.path.join(self.state, "lock"), os.O_RDWR | os.O_CREAT, 0o600
                )
            except OSError as e:
                raise CloudError("--state %s can't be used: %s" % (self.state, e.strerror))
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CloudError(
                    "--state %s is in use by another local cloud: stop it, or give another"
                    % self.state
                )

    def _visitors(self):
        """Whose pages may open a WebSocket; a cloud that listens to a network has any name."""
        try:
            local = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            local = self.host == "localhost"
        return websocket.Visitors(self.pki.names if local else None, self.options.allow_origin)

    def secret_file(self, name, make=None):
        """
        The text of a file (0600) in the state directory; made by make() or at random. CloudError
        when it is empty: an empty secret lets everybody in.
        """
        path = os.path.join(self.state, name)
        try:
            with open(path, encoding="utf-8") as f:
                text = f.read().strip()
            if not text:
                raise CloudError("%s is empty: delete it, and a new one is made" % path)
            return text
        except FileNotFoundError:
            text = make() if make is not None else secrets.token_urlsafe(24)
            pki.write_private(path, text.encode() + b"\n")
            return text

    async def listen(self, name, port, option, tls=None, websocket=False):
        """server.listen(); CloudError naming the option when the port can't be had."""
        try:
            return await self.mqtt.listen(name, self.host, port, tls, websocket)
        except OSError as e:
            raise self.port_error(port, option, e)

    def mqtt_place(self):
        """Where MQTT is spoken over TLS, and HTTP: {"host", "port", "url"}, for people."""
        host = "localhost" if self.host in ("127.0.0.1", "::1") else self.host
        return {
            "host": host,
            "port": self.mqtt.listeners["mqtts"].port,
            "url": "https://%s:%d" % (host, self.web.tls_port),
        }

    def port_error(self, port, option, error):
        """The CloudError to raise when a port can't be opened."""
        return CloudError(_why_no_port(port, self.host, option, error))

    @property
    def lasts(self):
        """Whether its state is there again after a restart."""
        return self._temporary is None

    @property
    def _serves_mqtt(self):
        return self.options.open_broker is not None or any(part.mqtt for part in self._classes)

    def _check_ports(self):
        """CloudError that names every port that can't be had, not only the first."""
        served = HTTP_PORTS + (MQTT_PORTS if self._serves_mqtt else ())
        for part in self._classes:
            served += part.ports
        errors = {}
        for port in served:
            number = getattr(self.options, port.option[2:].replace("-", "_"))
            if number and number not in errors:
                try:
                    _try_port(self.host, number)
                except OSError as e:
                    errors[number] = _why_no_port(number, self.host, port.option, e)
        if errors:
            raise CloudError("; ".join(errors.values()))

    async def _listen(self):
        options = self.options
        tls = self.tls
        if self._serves_mqtt:
            await self.listen("mqtt", options.mqtt_port, "--mqtt-port")
            await self.listen("mqtts", options.mqtts_port, "--mqtts-port", tls)
            await self.listen("ws", options.ws_port, "--ws-port", None, True)
            await self.listen("wss", options.wss_port, "--wss-port", tls, True)
        # Clouds serve WebSocket and HTTPS on one port: here both may be given the same number.
        self.mqtt.http = self.web.protocol
        for name, port, option, context in (
            ("ws", options.http_port, "--http-port", None),
            ("wss", options.https_port, "--https-port", tls),
        ):
            listener = self.mqtt.listeners.get(name)
            if port and listener is not None and port == listener.port:
                if context is None:
                    self.web.port = port
                else:
                    self.web.tls_port = port
                continue
            try:
                await self.web.listen(self.host, port, context)
            except OSError as e:
                raise self.port_error(port, option, e)

    def _ready(self):
        host = "[%s]" % self.host if ":" in self.host else self.host
        line = {
            "ready": True,
            "ca_pem": self.pki.ca_pem,
            "ca_der": self.pki.ca_der,
            "http": {
                "url": "http://%s:%d" % (host, self.web.port),
                "tls_url": "https://%s:%d" % (host, self.web.tls_port),
            },
            "control": {
                "url": "http://%s:%d%s" % (host, self.web.port, web.CONTROL),
                "token_file": os.path.join(self.state, "control-token"),
            },
        }
        if self._serves_mqtt:
            ports = {name: listener.port for name, listener in self.mqtt.listeners.items()}
            line["mqtt"] = {
                "host": self.host,
                "port": ports["mqtt"],
                "tls_port": ports["mqtts"],
                "ws_port": ports["ws"],
                "wss_port": ports["wss"],
            }
        for part in self.parts:
            entry = part.ready()
            if entry is not None:
                line[part.key] = entry
        return line

    # ---- the control side: what belongs to no service, and what the parts declare

    def _add_controls(self):
        self.web.control("GET", "/clients", self._list_clients)
        self.web.control("POST", "/cut", self._cut)
        self.web.control("POST", "/clock", self._move_clock)
        for part in self.parts:
            for method, path, handler in part.controls():
                self.web.control(method, "/" + part.key + path, handler)
            if part.faults is not None:
                fault_values.add_to(self.web, "/%s/faults" % part.key, part.faults)

    async def _list_clients(self, request):
        """All connected MQTT clients."""
        return web.json_answer(
            [
                {
                    "client_id": c.client_id,
                    "service": c.service.name,
                    "listener": c.listener,
                    "peer": list(c.peer),
                    "clean": c.clean,
                    "keepalive": c.keepalive,
                    "subscriptions": {s.filter: s.qos for s in c.session.subscriptions.values()},
                    "read_bytes": c.read_bytes,
                    "read_msg": c.read_msg,
                    "write_bytes": c.write_bytes,
                    "write_msg": c.write_msg,
                    "inflight": len(c.session.inflight),
                    "queued": len(c.session.queue),
                }
                for c in self.mqtt.clients
                if c.session is not None
            ]
        )

    async def _cut(self, request):
        """{"client_id": ..., "how": "close" or "reset"}: end that client's connections."""
        body = await web.read_object(request, client_id=str, how=str)
        if "client_id" not in body:
            raise Refused(400, "client_id is missing")
        if body.get("how") not in (None, "close", "reset"):
            raise Refused(400, "how: close or reset")
        clients = self.mqtt.find(body["client_id"])
        for client in clients:
            if body.get("how") == "reset":
                client.abort()
            else:
                client.close("cut by the control side", "service")
        return web.json_answer({"cut": len(clients)})

    async def _move_clock(self, request):
        """{"ahead": seconds}: the cloud's clock goes ahead by so many in all."""
        body = await web.read_object(request, ahead=int)
        if "ahead" not in body:
            raise Refused(400, "ahead is missing")
        self.clock.move(body["ahead"])
        return web.json_answer({})

    async def stop(self):
        """Everything, in the order in which nothing is lost; safe after a failed start."""
        if self.mqtt is not None:
            await self.mqtt.stop()
        for part in self.parts:
            await part.stop()
        if self.web is not None:
            await self.web.stop()
        if self.store is not None:
            await self.store.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._temporary is not None:
            self._temporary.cleanup()


def _try_port(host, port):
    """OSError when nobody could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen()


def _why_no_port(port, host, option, error):
    if error.errno == errno.EADDRINUSE:
        why = "is taken: stop what uses it, or choose another one (0 is any free port)"
    elif error.errno in (errno.EACCES, errno.EPERM):
        why = "is for root only: choose one over 1023 (0 is any free port)"
    else:
        why = "can't be opened: %s" % (error.strerror or error)
    return "port %d of %s (%s) %s" % (port, host, option, why)
