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

# Which package asks for which options; `python3 tools/services.py` writes it.
with open("lib/manifest.json") as file:
    packages = json.load(file)
options.defaults(**{name: True for asked in packages.values() for name in asked})

require("umqtt.simple")

frozen = {"resolver.py"}  # asked for by programs, not by a client
for package, asked in packages.items():
    if all(getattr(options, name) for name in asked):
        with open("lib/" + package) as file:
            frozen.update(name for name, source in json.load(file)["urls"])
for name in sorted(frozen):
    module(name, base_path="lib")
