"""What whoever runs the cloud may ask of IBM's side: credentials that are no more."""

from .. import web
from ..refused import Refused


class Control:
    """The control paths for a wire.Ibm."""

    def __init__(self, service):
        self.service = service
        self.registry = service.registry

    def paths(self):
        return (("POST", "/revoke", self._revoke),)

    async def _revoke(self, request):
        """
        {"key": API key} or {"org", "type", "id"}: its token is no longer taken, and what is
        connected with it is cut.
        """
        body = await web.read_object(request, key=str, org=str, type=str, id=str)
        if "key" in body:
            known = self.registry.revoke_key(body["key"])
            self.service.cut_key(body["key"], "The API key was revoked.")
        else:
            key = tuple(str(body.get(name)) for name in ("org", "type", "id"))
            device = self.registry.devices.get(key)
            known = device is not None
            if known:
                self.registry.revoke(device)
                self.service.cut(device.client_id, "The token was revoked.")
        if not known:
            raise Refused(404, "there is no such device or key")
        await self.registry.durable()
        return web.json_answer({"revoked": True})
