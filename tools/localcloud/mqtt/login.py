"""
From a CONNECT to its CONNACK: whose it is, whether it is let in, which session it resumes.
"""

import asyncio
import inspect
import logging
import time

from ..refused import Refused
from . import codec as mq
from .session import Session

log = logging.getLogger("localcloud.mqtt")


def introduce(client, packet):
    """Note what the CONNECT says and find its service; False when it was refused."""
    client.level = packet.level
    client.client_id = packet.client_id or client.server.new_client_id()
    client.user = packet.user
    client.clean = packet.clean
    client.keepalive = packet.keepalive
    client.silence = packet.keepalive * 1.5
    client.will = packet.will
    for service in client.server.services:
        if service.claims(client):
            client.service = service
            return True
    log.info("nobody knows %r", client)
    client.refuse(mq.NOT_AUTHORISED, "no service knows this client id and user name")
    return False


async def log_in(client, password):
    """Ask the service, find or make the session, and welcome the client."""
    why = "refused"
    try:
        code = client.service.authenticate(client, password)
        if inspect.isawaitable(code):
            code = await code
    except Refused as e:
        code, why = e.connack, str(e)
        log.info("%r is refused: %s", client, why)
    if client.end is not None:
        return
    if code:
        client.refuse(code, why)
        return
    session, present = _session_for(client)
    client.session = session
    client.connected_at = time.time()
    session.client = client
    if session.sid is not None:
        # What this session resends must be on disk as the client is going to see it.
        wait = client.service.store.durable()
        if wait is not None:
            await asyncio.shield(wait)
            if client.end is not None:
                return
    client.welcome(present)


def _session_for(client):
    """(Session, whether it is an older one that goes on); pushes out who had it."""
    service = client.service
    key = service.session_key(client)
    if key is None:
        key = object()
        client.clean = True
    old = service.sessions.get(key)
    if old is not None and old.client is not None:
        old.client.close("another connection with the same client id", "takeover")
        old = service.sessions.get(key)
    if old is not None and not client.clean and not old.clean:
        # To the end: trim_sessions() takes from the front.
        service.sessions[key] = service.sessions.pop(key)
        return old, True
    if old is not None:
        service.forget(old)
    session = Session(service, key, client.clean, service.queue_limit, service.store)
    service.sessions[key] = session
    client.server.trim_sessions(service)
    return session, False
