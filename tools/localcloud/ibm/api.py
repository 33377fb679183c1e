"""
IBM's management API over HTTPS, version v0001 whole and the v0002 calls of the registry.

Basic authentication with an API key and its token; the organisation is the key's, and a host name
<org>.<domain> must agree. 401: no or wrong token, 403: key unknown, no Basic authentication, plain
HTTP or another organisation's host. What is answered with 2xx is on disk. Paging of the historian
is without state here: a cursor says where to go on, signed together with the session's cookie.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets

from aiohttp import web

from .. import strict_json
from ..clock import utc
from ..refused import Refused
from ..web import basic_auth, json_answer, read_json, read_object
from .model import AGGREGATES, DEVICE, MAX_TOP, Query, is_name, new_token

V1 = "/api/v0001"
V2 = "/api/v0002"
COOKIE = "iotHistorianSessionId"
MAX_BULK = 1000


class Caller:
    """Who asks: the API key and its organisation."""

    def __init__(self, key, org):
        self.key = key
        self.org = org


class Api:
    """The API's paths, to be added to a web.Web. service: the MQTT side (wire.Ibm)."""

    def __init__(self, service, domain):
        self.service = service
        self.registry = service.registry
        self.historian = service.historian
        self.domain = domain
        self._cursor_key = os.urandom(32)

    def add_to(self, site):
        for method, path, handler in (
            ("GET", V1, self.organization),
            ("GET", V1 + "/devices", self.list_devices),
            ("GET", V1 + "/devices/{type}", self.list_devices),
            ("GET", V1 + "/device-types", self.list_types),
            ("POST", V1 + "/devices", self.register),
            ("GET", V1 + "/devices/{type}/{id}", self.view),
            ("PUT", V1 + "/devices/{type}/{id}", self.update),
            ("DELETE", V1 + "/devices/{type}/{id}", self.delete),
            ("GET", V1 + "/historian", self.history),
            ("GET", V1 + "/historian/{type}", self.history),
            ("GET", V1 + "/historian/{type}/{id}", self.history),
            ("GET", V2, self.organization),
            ("GET", V2 + "/device/types", self.v2_list_types),
            ("POST", V2 + "/device/types", self.v2_add_type),
            ("GET", V2 + "/device/types/{type}", self.v2_view_type),
            ("DELETE", V2 + "/device/types/{type}", self.v2_delete_type),
            ("GET", V2 + "/device/types/{type}/devices", self.v2_list_devices),
            ("POST", V2 + "/device/types/{type}/devices", self.v2_register),
            ("GET", V2 + "/device/types/{type}/devices/{id}", self.v2_view),
            ("PUT", V2 + "/device/types/{type}/devices/{id}", self.v2_update),
            ("DELETE", V2 + "/device/types/{type}/devices/{id}", self.delete),
            ("GET", V2 + "/bulk/devices", self.v2_list_devices),
            ("POST", V2 + "/bulk/devices/add", self.v2_bulk_add),
            ("POST", V2 + "/bulk/devices/remove", self.v2_bulk_remove),
            ("GET", V2 + "/historian", self.history),
            ("GET", V2 + "/historian/types/{type}", self.history),
            ("GET", V2 + "/historian/types/{type}/devices/{id}", self.history),
        ):
            guarded = self._for_callers(handler)
            site.add(method, path, guarded)
            site.add(method, path + "/", guarded)

    # ---- who asks

    def _for_callers(self, handler):
        async def guarded(request):
            return await handler(request, await self._caller(request))

        return guarded

    async def _caller(self, request):
        if not request.secure:
            raise Refused(403, "this API is spoken over HTTPS only")
        ask = {"WWW-Authenticate": 'Basic realm="%s"' % self.domain}
        given = request.headers.get("Authorization", "").strip()
        if not given:
            raise Refused(401, "give an API key and its token (Basic authentication)", ask)
        if given.split()[0].lower() != "basic":
            raise Refused(403, "only Basic authentication is known")
        try:
            key, token = basic_auth(request)
        except ValueError:
            raise Refused(401, "the Authorization header can't be read", ask)
        if not key or not token:
            raise Refused(401, "the API key or its token is empty", ask)
        if key not in self.registry.keys:
            raise Refused(403, "this API key is not known")
        org = await self.registry.check_key(key, token.encode())
        if org is None:
            raise Refused(401, "the token does not belong to the API key", ask)
        host = request.host.rpartition(":")[0] or request.host
        if host.lower().endswith("." + self.domain.lower()):
            if host[: -len(self.domain) - 1].lower() != org.lower():
                raise Refused(403, "the API key belongs to another organisation")
        return Caller(key, org)

    # ---- the organisation and its devices

    async def organization(self, request, caller):
        name, created = self.registry.orgs[caller.org]
        return json_answer(
            {
                "id": caller.org,
                "name": name,
                "created": utc(created, 0),
                "updated": utc(created, 0),
            }
        )

    async def list_devices(self, request, caller):
        found = self.registry.find(caller.org, request.match_info.get("type"))
        return json_answer([device_1(d) for d in found])

    async def list_types(self, request, caller):
        counts = self._count_types(caller.org)
        return json_answer([{"deviceType": t, "count": n} for t, n in sorted(counts.items())])

    def _count_types(self, org):
        counts = {}
        for device in self.registry.find(org):
            counts[device.type] = counts.get(device.type, 0) + 1
        return counts

    def _device(self, request, caller):
        key = caller.org, request.match_info["type"], request.match_info["id"]
        device = self.registry.devices.get(key)
        if device is None:
            raise Refused(404, "there is no device %s:%s" % key[1:])
        return device

    async def view(self, request, caller):
        return json_answer(device_1(self._device(request, caller)))

    async def register(self, request, caller):
        body = await read_object(request)
        device, token = await self._add(
            caller, body.get("type"), body.get("id"), body.get("metadata"), None, None
        )
        await self.registry.durable()
        path = "%s/devices/%s/%s" % (V1, device.type, device.id)
        location = {"Location": str(request.url.origin()) + path}
        return json_answer(dict(device_1(device), password=token), 201, location)

    async def _add(self, caller, type, id, metadata, token, info):
        """(Device, token); the failures that both versions know."""
        if not is_name(type) or not is_name(id):
            raise Refused(400, "type and id: 1 to 36 letters, digits, dashes, underscores, dots")
        if metadata is not None and not isinstance(metadata, dict):
            raise Refused(400, "metadata must be an object")
        token = new_token() if token is None else token
        auth = {"id": caller.key, "type": "app"}
        try:
            device = await self.registry.add(
                DEVICE, caller.org, type, id, token, metadata, auth, info
            )
        except KeyError:
            raise Refused(409, "the device %s:%s exists already" % (type, id))
        except ValueError as e:
            raise Refused(400, str(e))
        return device, token

    async def update(self, request, caller):
        device = self._device(request, caller)
        body = await read_object(request)
        if "metadata" not in body:
            raise Refused(400, "the body must be an object with metadata")
        if body["metadata"] is not None and not isinstance(body["metadata"], dict):
            raise Refused(400, "metadata must be an object")
        now = device_1(device)
        for name, value in body.items():
            if name != "metadata" and (name not in now or now[name] != value):
                raise Refused(400, "%s can't be changed; only metadata can" % name[:40])
        self.registry.update(device, body["metadata"])
        await self.registry.durable()
        return json_answer(device_1(device))

    async def delete(self, request, caller):
        self._remove(self._device(request, caller))
        await self.registry.durable()
        return web.Response(status=204)

    def _remove(self, device):
        self.registry.remove(device.org, device.type, device.id)
        self.service.cut(device.client_id, "The device was deleted.")

    # ---- historian

    async def history(self, request, caller):
        asked = request.query
        type, id = request.match_info.get("type"), request.match_info.get("id")
        cursor = request.headers.get("cursorId")
        if cursor is not None:
            return await self._next_page(request, caller, type, id, cursor)
        query = Query(
            caller.org,
            type,
            id,
            asked.get("evt_type"),
            milliseconds(asked, "start"),
            milliseconds(asked, "end"),
        )
        top = MAX_TOP
        if type is not None and "top" in asked:
            top = whole(asked, "top")
            if not 1 <= top <= MAX_TOP:
                raise Refused(400, "top is a number from 1 to %d" % MAX_TOP)
        if type is not None and "summarize" in asked:
            fields = field_names(asked["summarize"])
            aggregate = asked.get("summarize_type", "avg")
            if aggregate not in AGGREGATES:
                raise Refused(400, "summarize_type is one of %s" % " ".join(AGGREGATES))
            records = await self.historian.summarize(query, fields, aggregate, top)
            return self._records(records, query)
        return await self._page(query, top, None, secrets.token_urlsafe(16))

    async def _next_page(self, request, caller, type, id, cursor):
        session = request.cookies.get(COOKIE)
        if not session:
            raise Refused(400, "a cursorId goes with the cookie %s" % COOKIE)
        asked = self._read_cursor(cursor, session)
        if asked is None or asked[0] != [caller.org, type, id]:
            raise Refused(400, "this cursorId was not given for this cookie and address")
        (scope, evt_type, start, end, top, position) = asked
        return await self._page(Query(*scope, evt_type, start, end), top, position, session)

    async def _page(self, query, top, after, session):
        records, position = await self.historian.page(query, top, after)
        headers = None
        if records:
            asked = [
                [query.org, query.type, query.id],
                query.evt_type,
                query.start,
                query.end,
                top,
                position,
            ]
            headers = {
                "cursorId": self._write_cursor(asked, session),
                "Set-Cookie": "%s=%s; Path=/; Secure; HttpOnly" % (COOKIE, session),
            }
        return self._records(records, query, headers)

    def _records(self, records, query, headers=None):
        """Records as JSON; each scope omits what its address says."""
        texts = []
        for type, device, evt, t, data in records:
            head = {}
            if query.id is None:
                head["device_id"] = "d:%s:%s:%s" % (query.org, type, device)
            if query.type is None:
                head["device_type"] = type
            head["evt_type"] = evt
            head["timestamp"] = {"$date": t}
            # The data is JSON text already.
            texts.append(json.dumps(head)[:-1] + ', "evt": ' + data + "}")
        return web.Response(
            text="[" + ", ".join(texts) + "]", headers=headers, content_type="application/json"
        )

    def _write_cursor(self, asked, session):
        text = json.dumps(asked).encode()
        return base64.urlsafe_b64encode(self._sign(text, session) + text).decode()

    def _read_cursor(self, cursor, session):
        try:
            raw = base64.b64decode(cursor, b"-_", validate=True)
        except ValueError:
            return None
        if not hmac.compare_digest(raw[:16], self._sign(raw[16:], session)):
            return None
        return strict_json.loads(raw[16:])

    def _sign(self, text, session):
        given = session.encode("utf-8", "surrogateescape") + b"\n" + text
        return hmac.new(self._cursor_key, given, hashlib.sha256).digest()[:16]

    # ---- v0002: the registry with other names and shapes

    async def v2_list_types(self, request, caller):
        names = set(self._count_types(caller.org)) | self.registry.types_of(caller.org)
        return json_answer({"results": [type_2(t) for t in sorted(names)]})

    async def v2_add_type(self, request, caller):
        name = (await read_object(request)).get("id")
        if not is_name(name):
            raise Refused(400, "id: 1 to 36 letters, digits, dashes, underscores, dots")
        if name in self.registry.types_of(caller.org):
            raise Refused(409, "the device type exists already")
        self.registry.add_type(caller.org, name)
        await self.registry.durable()
        return json_answer(type_2(name), 201)

    def _type(self, request, caller):
        name = request.match_info["type"]
        known = name in self.registry.types_of(caller.org)
        if not known and not self.registry.find(caller.org, name):
            raise Refused(404, "there is no device type %s" % name[:40])
        return name

    async def v2_view_type(self, request, caller):
        return json_answer(type_2(self._type(request, caller)))

    async def v2_delete_type(self, request, caller):
        name = self._type(request, caller)
        if self.registry.find(caller.org, name):
            raise Refused(409, "the device type has devices")
        self.registry.remove_type(caller.org, name)
        await self.registry.durable()
        return web.Response(status=204)

    async def v2_list_devices(self, request, caller):
        found = self.registry.find(caller.org, request.match_info.get("type"))
        start = 0
        limit = whole(request.query, "_limit", 25)
        if request.query.get("_bookmark"):
            start = whole(request.query, "_bookmark")
        page = {"results": [device_2(d) for d in found[start : start + limit]]}
        page["meta"] = {"total_rows": len(found)}
        if start + limit < len(found):
            page["bookmark"] = str(start + limit)
        return json_answer(page)

    async def _v2_add(self, caller, body, type=None):
        if not isinstance(body, dict):
            raise Refused(400, "a device is an object with deviceId")
        type = body.get("typeId") if type is None else type
        token = body.get("authToken")
        if token is not None and (not isinstance(token, str) or not 8 <= len(token) <= 36):
            raise Refused(400, "authToken: 8 to 36 characters")
        info = body.get("deviceInfo")
        if info is not None and not isinstance(info, dict):
            raise Refused(400, "deviceInfo must be an object")
        device, token = await self._add(
            caller, type, body.get("deviceId"), body.get("metadata"), token, info
        )
        return dict(device_2(device), authToken=token)

    async def v2_register(self, request, caller):
        answer = await self._v2_add(caller, await read_json(request), request.match_info["type"])
        await self.registry.durable()
        return json_answer(answer, 201)

    async def v2_view(self, request, caller):
        return json_answer(device_2(self._device(request, caller)))

    async def v2_update(self, request, caller):
        device = self._device(request, caller)
        body = await read_object(request)
        for name in ("metadata", "deviceInfo"):
            if body.get(name) is not None and not isinstance(body[name], dict):
                raise Refused(400, "%s must be an object" % name)
        metadata = body.get("metadata")
        self.registry.update(
            device, device.metadata if metadata is None else metadata, body.get("deviceInfo")
        )
        await self.registry.durable()
        return json_answer(device_2(device))

    async def v2_bulk_add(self, request, caller):
        answers = []
        good = True
        for body in self._bulk(await read_json(request)):
            try:
                answers.append(dict(await self._v2_add(caller, body), success=True))
            except Exception as e:
                good = False
                named = body if isinstance(body, dict) else {}
                answers.append(
                    {
                        "typeId": named.get("typeId"),
                        "deviceId": named.get("deviceId"),
                        "success": False,
                        "message": str(e),
                    }
                )
        await self.registry.durable()
        return json_answer(answers, 201 if good else 202)

    async def v2_bulk_remove(self, request, caller):
        answers = []
        good = True
        for body in self._bulk(await read_json(request)):
            named = body if isinstance(body, dict) else {}
            device = self.registry.devices.get(
                (caller.org, str(named.get("typeId")), str(named.get("deviceId")))
            )
            if device is not None:
                self._remove(device)
            good = good and device is not None
            answers.append(
                {
                    "typeId": named.get("typeId"),
                    "deviceId": named.get("deviceId"),
                    "success": device is not None,
                }
            )
        await self.registry.durable()
        return json_answer(answers, 200 if good else 202)

    def _bulk(self, body):
        if not isinstance(body, list) or len(body) > MAX_BULK:
            raise Refused(400, "the body must be an array of at most %d devices" % MAX_BULK)
        return body


# ---- shapes


def device_1(d):
    shape = {"uuid": "d:%s:%s:%s" % (d.org, d.type, d.id), "type": d.type, "id": d.id}
    if d.metadata:
        shape["metadata"] = d.metadata
    shape["registration"] = {"auth": d.auth, "date": utc(d.date, 0)}
    return shape


def device_2(d):
    path = "%s/device/types/%s/devices/%s" % (V2, d.type, d.id)
    return {
        "clientId": d.client_id,
        "typeId": d.type,
        "deviceId": d.id,
        "deviceInfo": d.info or {},
        "metadata": d.metadata or {},
        "registration": {"auth": d.auth, "date": utc(d.date, 0)},
        "status": {"alert": {"enabled": False, "timestamp": utc(d.date, 0)}},
        "refs": {"location": path + "/location", "mgmt": path + "/mgmt"},
    }


def type_2(name):
    return {"id": name, "classId": "Device", "description": "", "deviceInfo": {}, "metadata": {}}


# ---- query parameters


def whole(asked, name, default=None):
    if name not in asked and default is not None:
        return default
    try:
        value = int(asked[name])
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 62 or not asked[name].isdigit():
        raise Refused(400, "%s is a whole number" % name)
    return value


def milliseconds(asked, name):
    return whole(asked, name) if name in asked else None


def field_names(text):
    """The names of "{field1,field2}"."""
    names = text[1:-1].split(",") if text[:1] == "{" and text[-1:] == "}" else []
    if not names or not all(names):
        raise Refused(400, "summarize is {field1,field2}, with the braces")
    return list(dict.fromkeys(names))
