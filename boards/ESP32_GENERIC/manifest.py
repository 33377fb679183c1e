# Firmware for any ESP32 with the IBM client and the application in it. In micropython/ports/esp32:
#   make BOARD=ESP32_GENERIC FROZEN_MANIFEST=/path/to/picolink/boards/ESP32_GENERIC/manifest.py
# settings.py and ca.der stay outside: copy them onto the board with mpremote.

include("$(PORT_DIR)/boards/manifest.py")
include("../../manifest.py", azure=False, teamviewer=False, digi=False)

for name in ("main.py", "wifi.py", "clock.py"):
    module(name, base_path="../application")
