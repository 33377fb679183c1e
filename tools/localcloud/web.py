"""
The HTTP side: one application on an HTTP and an HTTPS port; the service sides add their paths.

    web.add("GET", "/api/v0001/devices", handler)   aiohttp's: async (request) -> response
    web.control("POST", "/ibm/revoke", handler)     under CONTROL, for who has the control token
    json_answer(value, status), raise fail(status, text)

request.secure tells HTTPS from HTTP. Paths must be added before start(). The control side is for
whoever runs the cloud (tests cut a client with it): it asks for `Authorization: Bearer <token>`,
the token being in a file (0600) of the state directory that the ready line names.
"""

import json
import logging
import secrets
import socket

from aiohttp import web

from . import strict_json

log = logging.getLogger("localcloud.http")

CONTROL = "/localcloud/v1"
MAX_BODY = 1 << 20  # bytes of a request


class Failure(Exception):
    """An answer that is an error; raise it through fail()."""

    def __init__(self, status, text, headers=None):
        self.status = status
        self.headers = headers
        super().__init__(text)


def fail(status, text, headers=None):
    """The exception to raise for an error answer {"message": text}."""
    return Failure(status, text, headers)


def json_answer(value, status=200, headers=None):
    return web.Response(
        text=json.dumps(value), status=status, headers=headers, content_type="application/json"
    )


async def read_json(request):
    """The request's body as JSON; Failure 400 when it is none."""
    try:
        return strict_json.loads(await request.read())
    except (ValueError, RecursionError):
        raise fail(400, "the body is not JSON")


@web.middleware
async def _answer_failures(request, handler):
    try:
        return await handler(request)
    except Failure as e:
        return json_answer({"message": str(e)}, e.status, e.headers)
    except web.HTTPException as e:
        if e.status < 400:
            raise
        headers = {"Allow": e.headers["Allow"]} if "Allow" in e.headers else None
        return json_answer({"message": e.reason}, e.status, headers)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return json_answer({"message": "internal error"}, 500)


class Web:
    """control_token: what the control side asks for; None for a new one."""

    def __init__(self, control_token=None):
        self.control_token = control_token or secrets.token_urlsafe(24)
        self.app = web.Application(middlewares=[_answer_failures], client_max_size=MAX_BODY)
        self._runner = None
        self.port = None
        self.tls_port = None

    def add(self, method, path, handler):
        self.app.router.add_route(method, path, handler)

    def control(self, method, path, handler):
        """Add CONTROL + path; only who has the control token gets to the handler."""

        async def guarded(request):
            given = request.headers.get("Authorization", "").encode()
            if not secrets.compare_digest(given, b"Bearer " + self.control_token.encode()):
                raise fail(401, "the control token is missing or wrong")
            return await handler(request)

        self.add(method, CONTROL + path, guarded)

    async def start(self):
        """No more paths after this."""
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()

    async def listen(self, host, port, tls=None):
        """Open a port and return its number; OSError when it can't be had."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            site = web.SockSite(self._runner, sock, ssl_context=tls)
            await site.start()
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
        return self._runner.server()

    async def stop(self):
        if self._runner is not None:
            await self._runner.cleanup()
