"""
The mock broker: MQTT 3.1.1 over TCP, TLS, WebSocket and both together, for several services.

It keeps the rules of MQTT 3.1.1 strictly and leaves everything that is a cloud's own to a Service
(service.py). One connection is client.py's.

Bounds: max_packet bytes, max_clients, connect_timeout for TLS + WebSocket + CONNECT together, the
queues of session.py, the levels of a topic (codec.py), and acks.PENDING_ACKS, beyond which a
client is not read from until the store has caught up. Who publishes faster than a subscriber
reads: flow.py.
"""

import asyncio
import secrets
import socket
import time
from asyncio import sslproto

from .client import Client
from .service import Close, End, OpenBroker, Service
from .websocket import Visitors

__all__ = ["Client", "Close", "End", "Listener", "OpenBroker", "Server", "Service"]

# asyncio takes so many connections in one go, and logs as many failures when there are no file
# descriptors left; the kernel's queue is set apart from it.
_ACCEPT_AT_ONCE = 16
_BACKLOG = 1024
# asyncio holds a buffer of this size for each TLS connection from its first byte on. At its own
# 256 KB six hundred handshakes that nobody finishes take 190 MB.
sslproto.SSLProtocol.max_size = 16384


class Listener:
    """name, host, port (the real one), tls and websocket of an open port."""

    def __init__(self, name, host, tls, websocket):
        self.name = name
        self.host = host
        self.port = 0
        self.tls = tls
        self.websocket = websocket
        self.server = None


class Server:
    """
    server = Server(); server.add(service); await server.listen("mqtt", "127.0.0.1", 0); await
    server.stop()

    store: None, or the sessions' store (store.SessionStore). visitors: which pages and host names
    may open a WebSocket. http: None, or a factory of asyncio protocols that gets the connections
    of WebSocket listeners which turn out to be plain HTTP.
    """

    def __init__(
        self,
        store=None,
        max_packet=1 << 20,
        max_clients=5000,
        connect_timeout=15,
        max_sessions=10000,
    ):
        self.store = store
        self.max_packet = max_packet
        self.max_clients = max_clients
        self.connect_timeout = connect_timeout
        self.max_sessions = max_sessions
        self.http = None
        self.visitors = Visitors(hosts=None)
        self.services = []
        self.listeners = {}
        self.clients = set()
        self.accepted = 0  # connections, ever
        # Who hears of all services' clients: connected(client), published(client, packet) and
        # disconnected(client), after the service. They must not block and only look.
        self.watchers = []
        self.publisher = None  # the client whose PUBLISH is being handled
        self._dirty = []
        self._auto = 0

    def add(self, service):
        """Register a service; the first one that claims a CONNECT has it."""
        service.server = self
        self.services.append(service)
        if service.store is not None:
            service.restore()
        return service

    async def listen(self, name, host="127.0.0.1", port=0, tls=None, websocket=False):
        """
        Open a port and return its Listener. tls: None or an ssl.SSLContext. websocket: the port
        speaks MQTT over WebSocket, and plain MQTT as well (told apart by the first byte). OSError
        when the port can't be had.
        """
        listener = Listener(name, host, tls is not None, websocket)
        loop = asyncio.get_running_loop()
        options = {}
        if tls is not None:
            options = {"ssl": tls, "ssl_handshake_timeout": self.connect_timeout}
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server((host, port), family=family)
        try:
            listener.server = await loop.create_server(
                lambda: Client(self, listener), sock=sock, backlog=_ACCEPT_AT_ONCE, **options
            )
        except BaseException:
            sock.close()
            raise
        sock.listen(_BACKLOG)
        listener.port = sock.getsockname()[1]
        self.listeners[name] = listener
        return listener

    async def stop(self):
        """Close ports and connections; give last bytes a moment to leave."""
        for listener in self.listeners.values():
            listener.server.close()
        for client in list(self.clients):
            client.close("the server stops", "shutdown")
        deadline = time.monotonic() + 1
        while self.clients and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for client in list(self.clients):
            client.abort()
        await asyncio.sleep(0)

    def find(self, client_id):
        """All connected clients of this client id, of any service."""
        return [c for c in self.clients if c.session is not None and c.client_id == client_id]

    def new_client_id(self):
        self._auto += 1
        return "auto-%d-%s" % (self._auto, secrets.token_hex(6))

    def later_flush(self, client):
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        self._dirty.append(client)

    def _flush(self):
        dirty, self._dirty = self._dirty, []
        for client in dirty:
            client.flush()

    def trim_sessions(self, service):
        """Keep the number of sessions without a client bounded; the longest kept goes first."""
        if len(service.sessions) > self.max_sessions:
            for session in list(service.sessions.values()):
                if session.client is None:
                    service.forget(session)
                    if len(service.sessions) <= self.max_sessions:
                        break
