"""
IBM IoT Foundation's side: MQTT, the management API and the historian.

model.py: the registry and the historian, and what is kept of them. wire.py: the MQTT service.
api.py: the management API over HTTPS. control.py: what whoever runs the cloud may ask for.
part.py: IBM's share in the cloud.
"""

from .model import AGGREGATES, APPLICATION, DEVICE, GATEWAY, Historian, Registry, iotf_data
from .part import Part
from .wire import Ibm

__all__ = (
    "AGGREGATES",
    "APPLICATION",
    "DEVICE",
    "GATEWAY",
    "Historian",
    "Ibm",
    "Part",
    "Registry",
    "iotf_data",
)
