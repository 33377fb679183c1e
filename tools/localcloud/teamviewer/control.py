"""What whoever runs the cloud may ask of the agent: see everything, make trouble, delete."""

from .. import web
from ..refused import Refused

_SWITCHES = ("backend", "licensed", "broken", "mute")


class Control:
    """The control paths for a model.Agent."""

    def __init__(self, agent):
        self.agent = agent

    def paths(self):
        return (("GET", "", self._show), ("POST", "", self._command))

    async def _show(self, request):
        """Every connector with its sensors, metrics, newest values and reports."""
        return web.json_answer(self.agent.show())

    async def _command(self, request):
        """
        {"backend": bool, "licensed": bool, "broken": bool, "mute": bool}, any of them: calls are
        refused with 1, 2, 3 or not answered at all; {"deprovision": connector id}.
        """
        body = await web.read_object(request, **dict.fromkeys(_SWITCHES, bool))
        connector = None
        if "deprovision" in body:
            id = body["deprovision"]
            connector = self.agent.connectors.get(id) if isinstance(id, str) else None
            if connector is None:
                raise Refused(404, "deprovision: there is no such connector")
        for key in _SWITCHES:
            if key in body:
                setattr(self.agent, key, body[key])
        if connector is not None:
            self.agent.deprovision(connector)
            await self.agent.kept()
        return web.json_answer(self.agent.show())
