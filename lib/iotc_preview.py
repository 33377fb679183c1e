# iotc_preview: the two conventions of IoT Central that programs written before July 2020 use.
#
# A is that of 2018, B that of the Plug and Play preview (the light SDK's document). iotc loads
# this when a program asks for one of them; it gives the shapes, the work stays with iotc.

from json_text import dumps
from iotc_wire import quote

API = "2019-07-01-preview"  # the last one that lets "$iotin:" into a twin

_NAME = "urn_azureiot_ModelDiscovery_ModelInformation"
_URN = "urn:azureiot:ModelDiscovery:ModelInformation:1"


def introduction(convention, interfaces, model):
    """
    What a device says first: (body, properties of the message), or None.

    In convention B it tells its model and its interfaces.
    """
    if convention != "B":
        return None
    told = {_NAME: _URN}
    told.update(interfaces)
    model = model.get("__iot:interfaces", {}).get("CapabilityModelId")
    return (
        {"modelInformation": {"capabilityModelId": model, "interfaces": told}},
        {"$.ifid": _URN, "$.ifname": _NAME, "$.schema": "modelInformation"},
    )


def desired(convention, value, version):
    """What a property's callback is shown, and the names of code, text and version in an ack."""
    if convention == "A":
        shown = dumps({"value": value, "$version": version})
        return shown, ("statusCode", "status", "desiredVersion")
    return {"value": value, "sv": version}, ("sc", "sd", "sv")


def update(interface, command, request_id, status):
    """The property bag of a message about an asynchronous command."""
    return (
        "iothub-message-schema=asyncResult&iothub-command-name=%s&%%24.ifname=%s"
        "&iothub-command-request-id=%s&iothub-command-statuscode=%s"
    ) % (quote(command), quote(interface), quote(request_id), status)
