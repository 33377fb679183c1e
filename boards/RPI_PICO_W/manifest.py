# Firmware for a Pico W with every client and the application in it. In micropython/ports/rp2:
#   make BOARD=RPI_PICO_W FROZEN_MANIFEST=/path/to/picolink/boards/RPI_PICO_W/manifest.py
# device.json, secret.json, ca.der and readings.py stay outside: copy them onto the board with
# mpremote. A service that isn't wanted: azure=False, ibm=False, teamviewer=False, digi=False.

include("$(PORT_DIR)/boards/RPI_PICO_W/manifest.py")
include("../../manifest.py")

for name in ("main.py", "network_up.py", "clock.py", "lamp.py", "trouble.py"):
    module(name, base_path="../application")
