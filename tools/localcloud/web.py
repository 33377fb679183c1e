"""
The HTTP side: one application on an HTTP and an HTTPS port; the service sides add their paths.

    web.add("GET", "/api/v0001/devices", handler)   aiohttp's: async (request) -> response
    web.control("POST", "/ibm/revoke", handler)     under CONTROL, for who has the control token
    json_answer(value, status), raise Refused(status, text)

request.secure tells HTTPS from HTTP. Paths must be added before start(). The control side is for
whoever runs the cloud (tests cut a client with it): it asks for `Authorization: Bearer <token>`,
the token being in a file (0600) of the state directory that the ready line names.
"""

import asyncio
import base64
import json
import logging
import secrets
import socket

from aiohttp import web

from . import strict_json
from .refused import Refused

log = logging.getLogger("localcloud.http")

CONTROL = "/localcloud/v1"
MAX_BODY = 1 << 20  # bytes of a request
HEAD_S = 30  # seconds that a request's head may take, counted from its first byte
BODY_S = 30  # seconds without progress in its body
IDLE_S = 75  # seconds between two requests of a connection
LINGER_S = 10  # seconds for which the rest of a body that was answered before is still read
HANDSHAKE_S = 15  # seconds of a TLS handshake
_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
# What a handler raises that is given values of another kind than it expects.
_MISFITS = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


def json_answer(value, status=200, headers=None):
    return web.Response(
        text=json.dumps(value), status=status, headers=headers, content_type="application/json"
    )


def refusal_answer(refused):
    """The answer that a Refused is."""
    return web.Response(
        body=refused.body(),
        status=refused.status,
        headers=refused.headers,
        content_type=refused.content_type,
        charset=refused.charset,
    )


async def read_json(request):
    """The request's body as JSON; Refused 400 when it is none."""
    try:
        return strict_json.loads(await request.read())
    except ValueError as e:
        raise Refused(400, "the body is not JSON: %s" % e)


async def read_object(request, **kinds):
    """
    The request's body as a dict; Refused 400 when it is none, or when a key of `kinds` that it has
    is of another type: read_object(request, client_id=str, how=str).
    """
    body = await read_json(request)
    if not isinstance(body, dict):
        raise Refused(400, "the body must be an object")
    for key, kind in kinds.items():
        if key in body and not _is_a(body[key], kind):
            raise Refused(400, "%s must be %s" % (key, _KINDS[kind]))
    return body


_KINDS = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    dict: "an object",
    list: "an array",
}


def _is_a(value, kind):
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def basic_auth(request):
    """
    (user, password) of a Basic Authorization header. None where the request has no such header;
    ValueError for another scheme, and for one that can't be read.
    """
    given = request.headers.get("Authorization")
    if given is None:
        return None
    scheme, _, text = given.strip().partition(" ")
    if scheme.lower() != "basic":
        raise ValueError("only Basic authentication is known")
    # Both of its exceptions, for other letters than base64's and for bytes that are no UTF-8, are
    # ValueErrors.
    user, colon, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    if not colon:
        raise ValueError("no colon between user and password")
    return user, password


class _Door(asyncio.Protocol):
    """
    aiohttp's connection, with deadlines for what it waits for without end: the first request, and
    the rest of a request's head. A handler that works has no deadline.
    """

    def __init__(self, web, inner):
        self._web = web
        self._inner = inner
        self._transport = None
        self._timer = None
        self._begun = False  # a request's head has begun, and its handler has not

    def connection_made(self, transport):
        self._transport = transport
        self._web.doors[transport] = self
        self._inner.connection_made(transport)
        self._expect(self._web.head_s)

    def data_received(self, data):
        if self._timer is not None and not self._begun:
            self._begun = True
            self._expect(self._web.head_s)
        self._inner.data_received(data)

    def eof_received(self):
        return self._inner.eof_received()

    def pause_writing(self):
        self._inner.pause_writing()

    def resume_writing(self):
        self._inner.resume_writing()

    def connection_lost(self, error):
        self._stop()
        self._web.doors.pop(self._transport, None)
        self._inner.connection_lost(error)

    def working(self):
        """A handler has begun."""
        self._stop()
        self._begun = False

    def waiting(self):
        """A handler has ended: the next request may come."""
        if self._transport in self._web.doors:
            self._expect(IDLE_S)

    def _expect(self, seconds):
        self._stop()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._late)

    def _stop(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self):
        self._timer = None
        if self._begun:
            self._transport.write(_LATE)
        self._transport.close()


async def _read_body(request, seconds):
    # The whole body is there before a handler looks at it; Refused 408 when nothing comes for so
    # long. A trickle may last, but no longer than the size of a body allows.
    reading = asyncio.ensure_future(request.read())
    seen = -1
    while not reading.done():
        if request.content.total_bytes == seen:
            reading.cancel()
            raise Refused(408, "the rest of the request did not come", {"Connection": "close"})
        seen = request.content.total_bytes
        await asyncio.wait([reading], timeout=seconds)
    try:
        return reading.result()
    except (ConnectionError, web.RequestPayloadError):
        raise Refused(400, "the request ends within its body")


@web.middleware
async def _answer_failures(request, handler):
    try:
        return await handler(request)
    except Refused as e:
        return refusal_answer(e)
    except web.HTTPException as e:
        if e.status < 400:
            raise
        headers = {"Allow": e.headers["Allow"]} if "Allow" in e.headers else None
        return json_answer({"message": e.reason}, e.status, headers)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return json_answer({"message": "internal error"}, 500)


class Web:
    """
    control_token: what the control side asks for; None for a new one. head_s, body_s: seconds that
    a request's head may take, and that its body may pause.
    """

    def __init__(self, control_token=None, head_s=HEAD_S, body_s=BODY_S):
        self.control_token = control_token or secrets.token_urlsafe(24)
        self.head_s = head_s
        self.body_s = body_s
        self.doors = {}  # transport -> its _Door
        self._servers = []
        self._streams = set()  # handlers that read a body themselves
        self._guards = {}  # handler -> its guard
        self.app = web.Application(
            # Twice: what a guard raises is answered, and what comes after is answered within it.
            middlewares=[
                self._mind_the_clock,
                _answer_failures,
                self._guarded,
                _answer_failures,
                self._complete,
            ],
            client_max_size=MAX_BODY,
        )
        self._runner = None
        self.port = None
        self.tls_port = None

    def add(self, method, path, handler, whole=True, guard=None):
        """
        whole=False: the handler reads the request's body itself, which may be of any size.

        guard: (request) -> a context manager, entered as soon as a request's head is there, left
        when its answer has been written. What entering it raises is the answer: the body is not
        waited for then, and the handler not called.
        """
        self.app.router.add_route(method, path, handler)
        if not whole:
            self._streams.add(handler)
        if guard is not None:
            self._guards[handler] = guard

    def control(self, method, path, handler):
        """
        Add CONTROL + path; only who has the control token gets to the handler. What that raises
        over values of the wrong kind is the caller's mistake.
        """

        async def guarded(request):
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not secrets.compare_digest(given, b"Bearer " + self.control_token.encode()):
                raise Refused(401, "the control token is missing or wrong")
            try:
                return await handler(request)
            except _MISFITS as e:
                log.debug("%s %s", request.method, request.path, exc_info=True)
                raise Refused(400, "a value is of the wrong kind (%s: %s)" % (type(e).__name__, e))

        self.add(method, CONTROL + path, guarded)

    async def start(self):
        """No more paths after this."""
        self._runner = web.AppRunner(
            self.app,
            access_log=None,
            shutdown_timeout=1,
            lingering_time=min(LINGER_S, self.body_s),
        )
        await self._runner.setup()

    async def listen(self, host, port, tls=None):
        """Open a port and return its number; OSError when it can't be had."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            more = {"ssl": tls, "ssl_handshake_timeout": HANDSHAKE_S} if tls else {}
            loop = asyncio.get_running_loop()
            self._servers.append(await loop.create_server(self.protocol, sock=sock, **more))
        except BaseException:
            sock.close()
            raise
        number = sock.getsockname()[1]
        if tls is None:
            self.port = number
        else:
            self.tls_port = number
        return number

    def protocol(self):
        """A new HTTP connection's protocol, for a listener that is shared with WebSocket."""
        return _Door(self, self._runner.server())

    @property
    def _mind_the_clock(self):
        @web.middleware
        async def mind(request, handler):
            door = self.doors.get(request.transport)
            if door is not None:
                door.working()
            try:
                return await handler(request)
            finally:
                if door is not None:
                    door.waiting()

        return mind

    @property
    def _guarded(self):
        @web.middleware
        async def guarded(request, handler):
            guard = self._guards.get(request.match_info.handler)
            if guard is None:
                return await handler(request)
            with guard(request):
                response = await handler(request)
                try:
                    # aiohttp does this only after the last middleware, too late for the guard; it
                    # then finds it done.
                    await response.prepare(request)
                    await response.write_eof()
                except ConnectionError:
                    pass  # the client has gone: aiohttp finds that, too
                return response

        return guarded

    @property
    def _complete(self):
        @web.middleware
        async def complete(request, handler):
            if request.can_read_body and request.match_info.handler not in self._streams:
                await _read_body(request, self.body_s)
            return await handler(request)

        return complete

    async def stop(self):
        for server in self._servers:
            server.close()
        if self._runner is not None:
            await self._runner.cleanup()
