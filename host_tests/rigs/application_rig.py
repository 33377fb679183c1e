"""
What the application's tests share: the parts of a board that a computer lacks (network, ntptime,
machine), played by the test.
"""

import json

import workshop
from device_program import program

APPLICATION = workshop.ROOT / "boards" / "application"

BOARD = program("application_rig_board")

DEFAULTS = {"JOINS_NEEDED": 1, "FLAP": None, "LOSSES": 0, "before_lib": (APPLICATION,)}


def values(**more):
    return dict(DEFAULTS, **more)


def write_settings(directory, settings, **more):
    """device.json with secret.json beside it; the path of the first."""
    settings = dict(settings, **more)
    secret = {key: settings.pop(key) for key in ("key", "token", "password") if key in settings}
    if secret:
        settings["secrets"] = "secret.json"
        (directory / "secret.json").write_text(json.dumps(secret))
    (directory / "device.json").write_text(json.dumps(settings))
    return str(directory / "device.json")
