"""
Azure's side: the provisioning service (DPS), IoT Hub, and the storage that files go to.

    azure = Azure(hubs=["localhost"], records=...)
    azure.add_to(server)            # an mqtt_server.Server
    api.add_to(web, azure)          # HTTPS: uploads, on a web.Web

model.py: enrolments, devices with their twins and messages, and what is kept of them.
certificates.py: those that are issued to devices. wire.py: DPS and Hub over MQTT. api.py: file
upload over HTTPS. control.py: what a cloud application does to devices, and a test to the cloud.
part.py: all of it together, and Azure's share in the cloud. Failures on command:
azure.faults.order(place, ...), what FAULTS names.
"""

from .certificates import Certificates
from .model import Records, Refused, Registry, Token, derive_key, new_key, why_not
from .part import DPS_HOST, FAULTS, NAMES, Azure, Part

__all__ = (
    "Azure",
    "Certificates",
    "DPS_HOST",
    "FAULTS",
    "NAMES",
    "Part",
    "Records",
    "Refused",
    "Registry",
    "Token",
    "derive_key",
    "new_key",
    "why_not",
)
