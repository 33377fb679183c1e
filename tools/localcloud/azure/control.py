"""
The service-side interface of the local Azure: what a cloud application does to devices, and what a
test does to the cloud. Under web.CONTROL + "/azure", so it asks for the control token; paths and
names follow the real services' REST APIs where they have one. Bodies are JSON. Errors answer as
the real ones do: {"errorCode", "trackingId", "message", "timestampUtc"}.

    GET    /enrollments                        all of them, {name: record}
    PUT    /enrollments/{name}                 add or replace; kinds: model.Registry
    DELETE /enrollments/{name}
    GET    /devices                            what is known about each
    GET    /devices/{id}
    PUT    /devices/{id}                       {"enabled"}, or an identity made by hand: {"hub",
                                               "keys" or "thumbprints" or "certificate" (PEM)}
    DELETE /devices/{id}
    GET    /devices/{id}/certificates          serial numbers: issued, used, revoked
    POST   /devices/{id}/certificates/revoke   none that it has is good any more
    GET    /devices/{id}/messages/events       telemetry, ?after=<number>&count=<n>&wait=<s>
    POST   /devices/{id}/messages/deviceBound  {"body" (text or JSON), "properties", "ack", "life"}
    GET    /devices/{id}/messages/deviceBound  what waits
    GET    /twins/{id}
    PATCH  /twins/{id}                         {"properties": {"desired": patch}} -> {"version"}
    POST   /twins/{id}/methods                 {"methodName", "payload",
                                               "responseTimeoutInSeconds"} -> {"status", "payload"}
    GET    /feedback                           what became of cloud-to-device messages
    POST   /settings                           {"retry_after", "polls", "refuse", "filter_refusal",
                                               "quota", "grace", "signed_for", "clock_offset",
                                               "certificate_days", "certificate_delay"}
"""

import asyncio
import json

from .. import web
from .model import FILTER_REFUSALS, REFUSALS, Refused

LONGEST_WAIT = 60  # seconds for one request for telemetry
LONGEST_METHOD = 3600
SETTINGS = {
    "retry_after": int,
    "polls": int,
    "refuse": str,
    "filter_refusal": str,
    "quota": int,
    "grace": int,
    "signed_for": int,
    "clock_offset": int,
    "certificate_days": int,
    "certificate_delay": int,
}
WORDS = {"refuse": REFUSALS, "filter_refusal": FILTER_REFUSALS}


def _as_azure(handler):
    """What is wrong with a request is told as the service words it."""

    async def answer(request):
        try:
            return await handler(request)
        except (ValueError, TypeError, KeyError) as e:
            raise Refused(400, "bad request: %s" % e)

    return answer


async def _body(request):
    return await web.read_object(request) if await request.read() else {}


class Control:
    """The control paths for a part.Azure."""

    def __init__(self, azure):
        self.azure = azure
        self.registry = azure.registry

    def paths(self):
        handlers = (
            ("GET", "/enrollments", self.enrolments),
            ("PUT", "/enrollments/{name}", self.enrol),
            ("DELETE", "/enrollments/{name}", self.unenrol),
            ("GET", "/devices", self.devices),
            ("GET", "/devices/{id}", self.device),
            ("PUT", "/devices/{id}", self.put_device),
            ("DELETE", "/devices/{id}", self.remove_device),
            ("GET", "/devices/{id}/certificates", self.certificates),
            ("POST", "/devices/{id}/certificates/revoke", self.revoke),
            ("GET", "/devices/{id}/messages/events", self.telemetry),
            ("POST", "/devices/{id}/messages/deviceBound", self.send),
            ("GET", "/devices/{id}/messages/deviceBound", self.waiting),
            ("GET", "/twins/{id}", self.twin),
            ("PATCH", "/twins/{id}", self.patch_twin),
            ("POST", "/twins/{id}/methods", self.invoke),
            ("GET", "/feedback", self.feedback),
            ("POST", "/settings", self.settings),
        )
        return [(method, path, _as_azure(handler)) for method, path, handler in handlers]

    def _device(self, request):
        return self.registry.get(request.match_info["id"])

    def _show(self, device):
        record = device.record
        return {
            "id": device.id,
            "hub": device.hub,
            "enabled": device.enabled,
            "connected": self.azure.hub.client_of(device) is not None,
            "model": record["model"],
            "authentication": "x509" if device.thumbprints else "sas",
            "telemetry": device.received,
            "answers": device.answers,
        }

    # ---- enrolments

    async def enrolments(self, request):
        return web.json_answer(self.registry.enrolments)

    async def enrol(self, request):
        record = self.azure.enrol(request.match_info["name"], await _body(request))
        return web.json_answer(record)

    async def unenrol(self, request):
        self.registry.unenrol(request.match_info["name"])
        return web.json_answer({})

    # ---- devices

    async def devices(self, request):
        return web.json_answer([self._show(d) for d in self.registry.devices.values()])

    async def device(self, request):
        return web.json_answer(self._show(self._device(request)))

    async def put_device(self, request):
        body = await _body(request)
        unknown = set(body) - {"enabled", "keys", "thumbprints", "hub", "certificate"}
        if unknown:
            raise Refused(400, "unknown: %s" % ", ".join(sorted(unknown)))
        device = self.registry.find(request.match_info["id"])
        if device is None or {"keys", "thumbprints"} & set(body):
            device = self.azure.create(request.match_info["id"], body)
        if "enabled" in body:
            self.azure.set_enabled(device, body["enabled"])
        return web.json_answer(dict(self._show(device), keys=device.keys))

    async def remove_device(self, request):
        self.azure.remove(self._device(request))
        return web.json_answer({})

    async def certificates(self, request):
        return web.json_answer(self.azure.certificates.of(self._device(request)))

    async def revoke(self, request):
        self.azure.revoke(self._device(request))
        return web.json_answer({})

    # ---- messages

    async def telemetry(self, request):
        after = int(request.query.get("after", 0))
        count = int(request.query.get("count", 1))
        wait = min(float(request.query.get("wait", 0)), LONGEST_WAIT)
        device = self.registry.find(request.match_info["id"])
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            device = device or self.registry.find(request.match_info["id"])
            found = [m for m in device.telemetry if m[0] > after] if device is not None else []
            left = deadline - loop.time()
            if len(found) >= count or left <= 0:
                break
            try:
                await asyncio.wait_for(self.azure.events.wait(), left)
            except asyncio.TimeoutError:
                pass
        return web.json_answer([self._message(m) for m in found])

    @staticmethod
    def _message(message):
        number, at, body, properties = message
        shown = {"number": number, "at": at, "properties": properties}
        try:
            shown["text"] = body.decode()
            shown["body"] = json.loads(shown["text"])
        except UnicodeDecodeError:
            shown["hex"] = body.hex()
        except ValueError:
            pass
        return shown

    async def send(self, request):
        body = await _body(request)
        device = self._device(request)
        properties = body.get("properties") or {}
        text = body.get("body", "")
        text = text if isinstance(text, str) else json.dumps(text)
        message = self.azure.send(
            device, text.encode(), properties, body.get("ack"), body.get("life")
        )
        return web.json_answer({"id": message["id"]})

    async def waiting(self, request):
        return web.json_answer(self._device(request).messages)

    async def feedback(self, request):
        return web.json_answer(self.azure.feedback)

    # ---- twins and methods

    async def twin(self, request):
        device = self._device(request)
        connected = self.azure.hub.client_of(device) is not None
        return web.json_answer(
            {
                "deviceId": device.id,
                "modelId": device.record["model"] or "",
                "status": "enabled" if device.enabled else "disabled",
                "connectionState": "Connected" if connected else "Disconnected",
                "properties": device.document(),
            }
        )

    async def patch_twin(self, request):
        body = await _body(request)
        desired = (body.get("properties") or {}).get("desired")
        if not isinstance(desired, dict):
            raise Refused(400, "properties.desired: a JSON object")
        version = self.azure.set_desired(self._device(request), desired)
        return web.json_answer({"version": version})

    async def invoke(self, request):
        body = await _body(request)
        timeout = min(float(body.get("responseTimeoutInSeconds", 30)), LONGEST_METHOD)
        status, payload = await self.azure.invoke(
            self._device(request), body["methodName"], body.get("payload"), timeout
        )
        return web.json_answer({"status": status, "payload": payload})

    # ---- what only a test may do

    async def settings(self, request):
        for name, value in (await _body(request)).items():
            if not isinstance(value, SETTINGS.get(name, ())) or isinstance(value, bool):
                raise Refused(400, "settings: %s" % ", ".join(SETTINGS))
            if name in WORDS and value not in WORDS[name]:
                raise Refused(400, "%s: one of %s" % (name, ", ".join(WORDS[name])))
            if name == "clock_offset":
                self.azure.move_clock(value)
            elif name.startswith("certificate_"):
                self.azure.certificates.set(name[len("certificate_") :], value)
            else:
                setattr(self.azure, name, value)
        return web.json_answer({})
