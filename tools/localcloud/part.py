"""
One service's share in the local cloud. A service is a package of five files: part.py (what it
declares here), model.py (what it knows and keeps), wire.py (MQTT, or a protocol of its own),
api.py (HTTP, or its calls) and control.py (what whoever runs the cloud may ask of it).
"""

import collections

# default: the port's number unless another is asked for.
Port = collections.namedtuple("Port", "option default text")


class CloudError(Exception):
    """The cloud can't start; the text says why and what to do."""


class Part:
    """To be derived from; the class attributes and the methods are what a service declares."""

    key = ""  # its name for --parts, its place in the ready line, and below the control side
    title = ""  # of its options in --help
    mqtt = True  # it is reached through the common MQTT ports
    ports = ()  # Port: those of its own, opened in start()
    faults = None  # a fault_values.Faults: what can be told to fail, under /<key>/faults

    @staticmethod
    def options(group):
        """Add command line options (an argparse group)."""

    @staticmethod
    def names(options):
        """Host names that the certificate must hold."""
        return []

    def __init__(self, cloud):
        """
        cloud has .options .host .state (directory) .clock .pki .tls (the listeners' context)
        .store .mqtt .web by now. MQTT services (cloud.mqtt.add) and HTTP paths (cloud.web.add)
        are added here.
        """
        self.cloud = cloud

    def controls(self):
        """
        [(method, path, handler)]: what whoever runs the cloud may ask, below /<key>. A handler
        takes aiohttp's request.
        """
        return ()

    async def start(self):
        """May open listeners of its own with cloud.listen(); CloudError if that can't be."""

    def ready(self):
        """Its entry in the ready line (dict), or None. All listeners are open."""

    def introduce(self):
        """[(what, text)] for a person who wants to know whom it lets in, and where."""
        return []

    def device(self):
        """What cloud.Device takes (docs/cloud.md) to be a device of this part: a dict, or None."""

    def command(self):
        """Another command that a person may want to type next, beside such a device's; or None."""

    async def stop(self):
        """Connections are closed, the store is still open."""
