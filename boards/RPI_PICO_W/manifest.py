# Firmware for a Pico W with the IBM client and the application in it. In micropython/ports/rp2:
#   make BOARD=RPI_PICO_W FROZEN_MANIFEST=/path/to/picolink/boards/RPI_PICO_W/manifest.py
# settings.py and ca.der stay outside: copy them onto the board with mpremote.

include("$(PORT_DIR)/boards/RPI_PICO_W/manifest.py")
include("../../manifest.py", azure=False, teamviewer=False, digi=False)

for name in ("main.py", "wifi.py", "clock.py"):
    module(name, base_path="../application")
