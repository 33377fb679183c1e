"""
What a program calls as cloud.Device(), cloud.Watcher() and cloud.check(): loaded by cloud.py when
it asks for one, and let go again. Stands on netstream.
"""

from netstream import load_once


def Device(settings):
    """
    Return a device of the service that the settings name: see cloud_device.Device.

    settings: a dict, or the name of a JSON file. Connects in do_next(), so returns at once.
    Raises ValueError, which names the wrong setting and the cure; NotImplementedError for a
    service that has no devices in this library.
    """
    return load_once("cloud_settings").make(settings, "Device")


def Watcher(settings):
    """
    Return a watcher of many devices: see cloud_watcher.Watcher. Arguments and errors as Device().
    """
    return load_once("cloud_settings").make(settings, "Watcher")


def check(settings, role="Device", wait=None):
    """
    Say what would keep Device(settings) (or role="Watcher") from working, before it is tried.

    Looks at the settings, the clock, the CA, names, the key's form, the way to the service and
    its answer to the credentials; at most a minute. wait: called every 100 ms, to feed a watchdog.
    Returns a list of texts, each with its cure; [] when the service has accepted us.
    """
    return load_once("cloud_check").check(settings, role, wait)
