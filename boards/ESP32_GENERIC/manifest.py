# Firmware for any ESP32 with every client and the application in it. In micropython/ports/esp32:
#   make BOARD=ESP32_GENERIC FROZEN_MANIFEST=/path/to/picolink/boards/ESP32_GENERIC/manifest.py
# device.json, secret.json, ca.der and readings.py stay outside: copy them onto the board with
# mpremote. A service that isn't wanted: azure=False, ibm=False, teamviewer=False, digi=False.

include("$(PORT_DIR)/boards/manifest.py")
include("../../manifest.py")

for name in ("main.py", "network_up.py", "clock.py", "lamp.py", "trouble.py"):
    module(name, base_path="../application")
