"""
Digi's side: monitors over HTTP (/ws/Monitor), and their events pushed over TCP.

    digi = Digi("user", "password", store=...)      store: a store.Store; else it forgets
    digi.add_to(web); await digi.listen(host, port); ... await digi.stop()
    digi.publish("DeviceCore", "882/7", {"devConnectwareId": ...})       one event, to who listens

model.py: monitors, events, devices, and what is kept of them. wire.py: the push protocol, and how
connections misbehave on command. api.py: the HTTP requests. control.py: what whoever runs the
cloud may ask for. part.py: Digi's share in the cloud.
"""

from .api import Condition
from .model import FAULTS, Event, Monitor, Pattern, check_fields
from .part import Digi, Part
from .wire import pack_block

__all__ = (
    "Condition",
    "Digi",
    "Event",
    "FAULTS",
    "Monitor",
    "Part",
    "Pattern",
    "check_fields",
    "pack_block",
)
