"""
What would keep a device or watcher of cloud.py from working, found before it is tried: settings,
clock, CA, names, the key's form, the way to the service, and its answer to the credentials. Each
finding is one text with its cure. Loaded by cloud.check() and let go again.
"""

import time

import netstream
from micropython import const

cloud_settings = netstream.load_once("cloud_settings")

_STAGE_MS = const(20000)  # for the way to the service
_ACCEPT_MS = const(40000)  # for its answer: registering takes some round trips


def check(settings, role="Device", wait=None):
    """See cloud.check()."""
    try:
        module, given = cloud_settings.read(settings, role)
    except (ValueError, NotImplementedError) as e:
        return [str(e)]
    found = []
    _clock(given, found)
    _authority(given, found)
    _names(given, found)
    if not found:
        _way(given, found, wait)
    if not found:
        _accepted(module, role, given, found, wait)
    return found


# -- what can be seen without the network


def _clock(given, found):
    if not netstream.clock_is_set() and (given["ca"] or given["service"] == "azure"):
        found.append(
            "clock: not set (it says %d); set it from NTP first: certificates and tokens need it"
            % time.gmtime()[0]
        )


def _authority(given, found):
    for key in ("ca", "cert", "key_file"):
        path = given.get(key)
        if not path:
            continue
        try:
            with open(path, "rb") as f:
                data = f.read(4096)
        except OSError:
            found.append("%s: can't read %s; copy it onto the board" % (key, path))
            continue
        if not data:
            found.append("%s: %s is empty; copy it again" % (key, path))
        elif key != "key_file" and b"PRIVATE KEY" in data and b"CERTIFICATE" not in data:
            found.append("%s: %s is a private key, not a certificate" % (key, path))
        elif data[0] != 0x30 and b"-----BEGIN" not in data:
            found.append("%s: %s is neither PEM nor DER" % (key, path))
        elif key == "ca":
            _is_loadable(path, found)


def _is_loadable(path, found):
    try:
        netstream.tls_context({"ca": path})
    except ValueError as e:
        found.append("ca: %s; copy the file again" % e)


def _names(given, found):
    service = given["service"]
    if service == "azure":
        if not _only(given["id"], "-._:"):
            found.append("id: letters, digits and - . _ : only, or provisioning refuses it")
        if "key" in given:
            _key(given["key"], found)
    elif service == "ibm":
        for key in ("type", "id"):
            value = given.get(key)
            if value and "type" in given and not (_only(value, "-_.") and len(value) <= 36):
                found.append("%s: 1 to 36 letters, digits or - _ . only" % key)
        if "key" in given and given["key"].split("-")[1:2] != [given["org"]]:
            found.append("key: is of another organisation; it looks like a-%s-..." % given["org"])


def _only(text, others):
    for c in text:
        if not ("a" <= c <= "z" or "A" <= c <= "Z" or c.isdigit() or c in others):
            return False
    return True


def _key(key, found):
    from binascii import a2b_base64, b2a_base64

    try:
        raw = a2b_base64(key)
        good = 16 <= len(raw) <= 64 and b2a_base64(raw).decode().strip() == key
    except ValueError:
        good = False
    if not good:
        found.append(
            "key: not base64 of 16 to 64 bytes; copy the whole key, with its = at the end"
        )


# -- what only the network tells


def _places(given):
    # [(host, port, name in the certificate)] of what will be dialled first. A service with an MQTT
    # broker at `host` and `port` needs no branch of its own.
    service = given["service"]
    secure = bool(given["ca"])
    for key in ("host", "server"):
        if isinstance(given.get(key), list):
            # One that answers is enough; the first one is the one that is meant.
            given = dict(given)
            given[key] = given[key][0]
    if service == "azure":
        name = "global.azure-devices-provisioning.net"
        host, _, port = (given.get("server") or name + ":8883").rpartition(":")
        return [(host, int(port), name)]
    if service == "teamviewer":
        # Without its certificate an agent ends the handshake: only the way there can be seen.
        return [(given["host"], given[port], None) for port in ("provision_port", "port")]
    if service == "digi":
        host = given.get("host") or "remotemanager.digi.com"
        return [
            (host, given.get("port") or (443 if secure else 80), host),
            (host, given.get("push_port") or (3201 if secure else 3200), host),
        ]
    return [(given["host"], given.get("port") or (8883 if secure else 1883), given["host"])]


def _way(given, found, wait):
    for host, port, name in _places(given):
        context = None
        if name and given["ca"]:
            context = netstream.tls_context({"ca": given["ca"]})
        stream = netstream.NetStream(host, port, context, name, _STAGE_MS // 1000)
        try:
            for _ in stream.open():
                _pass(stream, wait)
            if context:
                # The handshake goes with the first bytes: those of no protocol, as none follow.
                for _ in stream.send(b"\0"):
                    _pass(stream, wait)
        except OSError as e:
            place = "%s:%d" % (host, port)
            found.append(
                "host: %s: %s; is the network there, and are host and port right?"
                % (place, e.args[-1])
                if not isinstance(e, netstream.TLSError)
                else "ca: %s: %s" % (place, e.args[-1])
            )
        finally:
            stream.close()


def _pass(stream, wait):
    stream.wait(100)
    if wait:
        wait()


def _accepted(module, role, given, found, wait):
    try:
        client = cloud_settings.made(role, module, given)
    except Exception as e:
        found.append("settings: %s" % e.args[-1])
        return
    told = []
    client.on_down = told.append
    if role == "Watcher" and wait:
        client.on_wait = wait
    start = time.ticks_ms()
    try:
        while not client.is_connected() and not told:
            client.do_next(100)
            if wait:
                wait()
            if time.ticks_diff(time.ticks_ms(), start) > _ACCEPT_MS:
                told.append(OSError(110, "no answer within %d s" % (_ACCEPT_MS // 1000)))
        if not client.is_connected():
            found.append("credentials: %s" % told[0].args[-1])
    finally:
        client.on_down = None
        client.disconnect(0)
