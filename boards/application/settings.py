# What differs from board to board, secrets among it: stays on the board's file system, never in
# firmware. Copy it with: mpremote cp settings.py ca.der :

SSID = ""
PASSWORD = ""

# What ibmiotf.device.Client() takes. "ca" is the root certificate of the service, as a file on the
# board.
DEVICE = {
    "org": "",
    "type": "",
    "id": "",
    "auth-method": "token",
    "auth-token": "",
    "ca": "/ca.der",
}

# Seconds between two events. The command "interval" changes it until the next restart.
INTERVAL = 10
