"""
The service's own Python SDKs, unmodified, against a local cloud. Runs in a venv of its own (it has
no module of this project):

    python ibm_sdk.py ibmiotf|wiotp device|application SETTINGS

SETTINGS (JSON): ports (from their fixed ones to the local cloud's), ca, and the client's options.
On stdout a JSON object for all that happens; on stdin JSON lists [method, argument, ...] to call,
those of the management API ("api.method") included.
"""

import json
import logging
import socket
import sys
import threading
import types

_speaking = threading.Lock()


def tell(**what):
    with _speaking:  # the SDKs call back from threads of their own
        print(json.dumps(what, default=str), flush=True)


def redirect(ports):
    """The SDKs' hosts and ports are fixed: play DNS, and send them to the local cloud's ports."""
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *more, **options):
        if isinstance(host, bytes):
            host = host.decode()
        if host.endswith("internetofthings.ibmcloud.com"):
            host, port = "127.0.0.1", ports[str(port)]
        return real(host, port, *more, **options)

    socket.getaddrinfo = getaddrinfo


def trust(ca):
    """ibmiotf always names the CA file that came with it, long expired; name ours instead."""
    import paho.mqtt.client as paho

    real = paho.Client.tls_set

    def tls_set(self, ca_certs=None, *more, **options):
        return real(self, ca, *more, **options)

    paho.Client.tls_set = tls_set


NAMES = """device deviceType typeId deviceId event eventId command commandId format data timestamp
action clientId clientAddr port protocol user reason readMsg writeMsg""".split()


def hear(kind):
    def callback(what):
        tell(**{kind: {n: getattr(what, n) for n in NAMES if getattr(what, n, None) is not None}})

    return callback


def ibmiotf_client(role, options):
    # It imports one name, and never uses it, from a module that left Python with 3.10.
    module = types.ModuleType("symbol")
    module.parameters = None
    sys.modules.setdefault("symbol", module)
    import ibmiotf.application
    import ibmiotf.device

    handler = logging.StreamHandler(sys.stderr)
    return getattr(ibmiotf, role).Client(options, handler)


def wiotp_client(role, options):
    import wiotp.sdk.application
    import wiotp.sdk.device

    handler = logging.StreamHandler(sys.stderr)
    if role == "device":
        return wiotp.sdk.device.DeviceClient(options, handler)
    return wiotp.sdk.application.ApplicationClient(options, handler)


def main():
    sdk, role, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    redirect(settings["ports"])
    trust(settings["ca"])
    make = ibmiotf_client if sdk == "ibmiotf" else wiotp_client
    client = make(role, settings["options"])
    client.commandCallback = hear("command")
    client.deviceEventCallback = hear("event")
    client.deviceCommandCallback = hear("command")
    client.deviceStatusCallback = hear("status")
    client.subscriptionCallback = lambda *what: tell(subscribed=True)
    if not client.client.on_subscribe:  # ibmiotf's device does not tell
        client.client.on_subscribe = client.subscriptionCallback
    client.connect()
    tell(connected=True)
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        target = client
        for name in method.split("."):
            target = getattr(target, name)
        try:
            tell(returned=target(*arguments))
        except Exception as e:
            tell(raised=repr(e))
    client.disconnect()


main()
