# iotc_preview: the two conventions of IoT Central that programs written before July 2020 use.
#
# A is that of 2018, B that of the Plug and Play preview (the light SDK's document). iotc loads
# this when a program asks for one of them; it gives the shapes, the work stays with iotc.

from iotc_wire import quote

API = "2019-07-01-preview"  # the last one that lets "$iotin:" into a twin

_NAME = "urn_azureiot_ModelDiscovery_ModelInformation"
_URN = "urn:azureiot:ModelDiscovery:ModelInformation:1"


def introduce(device):
    """First thing after connecting. In convention B: tell the model and its interfaces."""
    if device.convention != "B":
        return
    interfaces = {_NAME: _URN}
    interfaces.update(device._interfaces)
    model = device._model.get("__iot:interfaces", {}).get("CapabilityModelId")
    device.sendTelemetry(
        {"modelInformation": {"capabilityModelId": model, "interfaces": interfaces}},
        {"$.ifid": _URN, "$.ifname": _NAME, "$.schema": "modelInformation"},
    )


def desired(convention, value, version):
    """What a property's callback is shown, and the names of code, text and version in an ack."""
    if convention == "A":
        import json

        shown = json.dumps({"value": value, "$version": version})
        return shown, ("statusCode", "status", "desiredVersion")
    return {"value": value, "sv": version}, ("sc", "sd", "sv")


def update(interface, command, request_id, status):
    """The property bag of a message about an asynchronous command."""
    return (
        "iothub-message-schema=asyncResult&iothub-command-name=%s&%%24.ifname=%s"
        "&iothub-command-request-id=%s&iothub-command-statuscode=%s"
    ) % (quote(command), quote(interface), quote(request_id), status)
