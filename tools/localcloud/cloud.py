"""
All service sides together: state directory, certificates, store, MQTT and HTTP, and the parts.

A part is one service's module (ibm, azure, teamviewer, digi: those that are there are served) with
a class Part like the one below. The ready line is a contract with everybody who starts the cloud:

    {"ready": true, "ca_pem", "ca_der",
     "mqtt": {"host", "port", "tls_port", "ws_port", "wss_port"}, "http": {"url", "tls_url"},
     "control": {"url", "token_file"} (web.py tells what for), and each part's own entry}
"""

import errno
import fcntl
import importlib.util
import logging
import os
import secrets
import tempfile

from . import pki, store, web
from .mqtt import server as mqtt_server

log = logging.getLogger("localcloud")

PARTS = ("ibm", "azure", "teamviewer", "digi")


class CloudError(Exception):
    """It can't start; the text says why and what to do."""


class Part:
    """One service's share in the cloud; to be derived from."""

    key = ""  # its place in the ready line
    title = ""  # of its options in --help

    @staticmethod
    def options(group):
        """Add command line options (an argparse group)."""

    @staticmethod
    def names(options):
        """Host names that the certificate must hold."""
        return []

    def __init__(self, cloud):
        """
        cloud has .options .host .state (directory) .pki .tls (the listeners' context) .store
        .mqtt .web by now. MQTT services (cloud.mqtt.add) and HTTP paths (cloud.web.add,
        cloud.web.control) are added here.
        """
        self.cloud = cloud

    async def start(self):
        """May open listeners of its own with cloud.listen(); CloudError if that can't be."""

    def ready(self):
        """Its entry in the ready line (dict), or None. All listeners are open."""

    async def stop(self):
        """Connections are closed, the store is still open."""


def load_parts():
    """The Part classes of the service modules that there are."""
    found = []
    for name in PARTS:
        if importlib.util.find_spec("." + name, __package__) is not None:
            found.append(importlib.import_module("." + name, __package__).Part)
    return found


class Cloud:
    """
    cloud = Cloud(options, parts); ready = await cloud.start(); ... await cloud.stop()

    options: what __main__'s parser gives. CloudError from start() when it can't be served.
    """

    def __init__(self, options, parts=None):
        self.options = options
        self.host = options.host
        self._classes = load_parts() if parts is None else parts
        self._temporary = None
        self._lock = None
        self.parts = []
        self.state = self.pki = self.tls = self.store = self.sessions = self.mqtt = self.web = None

    async def start(self):
        options = self.options
        try:
            self._open_state()
            names = [n for part in self._classes for n in part.names(options)]
            self.pki = pki.Pki(os.path.join(self.state, "tls"), names, options.key_type)
            self.tls = self.pki.server_context(ask_client=True)
            self.store = store.Store(os.path.join(self.state, "cloud.db"))
            self.sessions = store.SessionStore(self.store)
            self.mqtt = mqtt_server.Server(self.sessions)
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

    def secret_file(self, name, make=None):
        """The text of a file (0600) in the state directory; made by make() or at random."""
        path = os.path.join(self.state, name)
        try:
            with open(path, encoding="utf-8") as f:
                return f.read().strip()
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

    def port_error(self, port, option, error):
        """The CloudError to raise when a port can't be opened."""
        if error.errno == errno.EADDRINUSE:
            why = "is taken: stop what uses it, or choose another one (0 is any free port)"
        elif error.errno in (errno.EACCES, errno.EPERM):
            why = "is for root only: choose one over 1023 (0 is any free port)"
        else:
            why = "can't be opened: %s" % (error.strerror or error)
        return CloudError("port %d of %s (%s) %s" % (port, self.host, option, why))

    async def _listen(self):
        options = self.options
        tls = self.tls
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
            if port and port == self.mqtt.listeners[name].port:
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
        ports = {name: listener.port for name, listener in self.mqtt.listeners.items()}
        host = "[%s]" % self.host if ":" in self.host else self.host
        line = {
            "ready": True,
            "ca_pem": self.pki.ca_pem,
            "ca_der": self.pki.ca_der,
            "mqtt": {
                "host": self.host,
                "port": ports["mqtt"],
                "tls_port": ports["mqtts"],
                "ws_port": ports["ws"],
                "wss_port": ports["wss"],
            },
            "http": {
                "url": "http://%s:%d" % (host, self.web.port),
                "tls_url": "https://%s:%d" % (host, self.web.tls_port),
            },
            "control": {
                "url": "http://%s:%d%s" % (host, self.web.port, web.CONTROL),
                "token_file": os.path.join(self.state, "control-token"),
            },
        }
        for part in self.parts:
            entry = part.ready()
            if entry is not None:
                line[part.key] = entry
        return line

    # ---- the control side that belongs to no service

    def _add_controls(self):
        self.web.control("GET", "/clients", self._list_clients)
        self.web.control("POST", "/cut", self._cut)

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
        body = await web.read_json(request)
        if not isinstance(body, dict) or not isinstance(body.get("client_id"), str):
            raise web.fail(400, "client_id is missing")
        clients = self.mqtt.find(body["client_id"])
        for client in clients:
            if body.get("how") == "reset":
                client.abort()
            else:
                client.close("cut by the control side", "service")
        return web.json_answer({"cut": len(clients)})

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
