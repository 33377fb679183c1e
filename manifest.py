# Freezes picolink into firmware, the way that leaves the most heap:
#
#     include("path/to/picolink/manifest.py")                                # everything
#     include("path/to/picolink/manifest.py", azure=False, teamviewer=False)   # some of it
#     include("path/to/picolink/manifest.py", azure_files=False)             # no file upload
#
# boards/ uses it for two common boards. The lists of files are those that mip installs from.

import json

metadata(
    description="IoT cloud clients: Azure IoT, IBM IoT Foundation, TeamViewer IoT, Digi",
    version="0.1.0",
    license="MIT",
    author="The picolink authors",
)

options.defaults(azure=True, azure_files=True, ibm=True, teamviewer=True, digi=True, cloud=True)

require("umqtt.simple")

frozen = {"resolver.py"}  # asked for by programs, not by a client
for client, wanted in (
    ("mqtt_link", True),
    ("link_asyncio", True),
    ("iotc", options.azure),
    ("iotc_files", options.azure and options.azure_files),
    ("ibmiotf", options.ibm),
    ("teamviewer_iot", options.teamviewer),
    ("idigi_monitor_api", options.digi),
    ("cloud_azure", options.cloud and options.azure),
    ("cloud_ibm", options.cloud and options.ibm),
    ("cloud_teamviewer", options.cloud and options.teamviewer),
    ("cloud_mqtt", options.cloud),
    ("cloud_digi", options.cloud and options.digi),
):
    if wanted:
        with open("lib/" + client + ".json") as file:
            frozen.update(name for name, source in json.load(file)["urls"])
for name in sorted(frozen):
    module(name, base_path="lib")
