"""
The TeamViewer IoT agent's side: a port to get a certificate on, and one with mutual TLS.

model.py: connectors, sensors, metrics, values, and what is kept of them. api.py: the calls, their
topics and where their answers go. wire.py: the two MQTT services, and the port that takes MQTT
plain and over TLS. control.py: what whoever runs the cloud may ask for. part.py: the agent's
share in the cloud.
"""

from .model import CODES, UNITS, Agent, Refused
from .part import Part
from .wire import DATA, PROVISION

__all__ = ("Agent", "CODES", "DATA", "PROVISION", "Part", "Refused", "UNITS")
