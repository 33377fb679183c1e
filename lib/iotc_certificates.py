# iotc_certificates: certificates that Azure issues to the device itself, a preview part of Azure.
#
# iotc loads this file when a device has a `certificate_file`: while it connects, and from the time
# when the certificate is to be renewed until that is done. Key and request are made here, with
# p256. The key goes into the file and nowhere else. A chain counts when it lies in the file whole
# and TLS has taken it; until then what was there before stays good. So each way can be cut
# anywhere, and begun anew.
#
# The file: registration id, hub, device id, when to renew and the end, in seconds since 1970; key
# and chain in PEM; the CRC-32 of all that, in hex.

import gc
import os
import sys
import time
from binascii import a2b_base64, b2a_base64, crc32

import json_text
from iotc_wire import unix_time
from micropython import const
from netstream import load_once, tls_context

_DPS_API_VERSION = const("2026-11-02-preview")
_HUB_API_VERSION = const("2025-08-01-preview")

_ROOM = const(6144)  # bytes of the largest packet: chains of three have come with 5 KB
_FILE_MAX = const(8192)  # bytes
_SUM = const(9)  # bytes at the file's end: its checksum

# What Device._issued holds. Times are in seconds since 1970.
_NEXT = const(0)  # not before it is the hub asked for a new one; iotc.py looks at it
_END = const(1)
_STEPS = const(2)  # a generator: a renewal under way; iotc.py looks whether there is one
_DPS_AT = const(3)  # from then on DPS is asked instead

_AGAIN_MS = const(3600000)  # after a renewal in vain
_PAUSE_MAX = const(86400)  # seconds: the longest that a hub can have for its retryAfter
_REQUESTS = const(3)  # of one renewal
_QUIET = const(500)  # steps that the hub has to acknowledge what is in flight
_GRANTED_MAX = const(2)
_FOUR_YEARS = const(1461)  # days
_TO_MARCH_2000 = const(11016)  # days from 1970-01-01 to the day before 2000-03-01


def provide(device, ask):
    """
    A generator of do_next()'s results: see to it that a Device has a certificate for its hub.
    Returns whether it is a new one.

    ask: True when DPS is to be asked for the hub. It is asked for a certificate when there is no
    good one in the file, and when a hub is known that can't be reached or doesn't take it.

    Raises what registering raises, OSError for a clock that isn't set, ValueError when there is no
    certificate after all.
    """
    device._api = _HUB_API_VERSION
    if device.max_packet < _ROOM:
        device.max_packet = _ROOM
    if not (ask and device._host) and _load(device) and unix_time() < device._issued[_END]:
        return False
    p256, key, csr = yield from _request(device._name)
    chain = yield from device._register(_DPS_API_VERSION, csr)
    yield from _keep(device, p256, key, chain)
    return True


def step(device):
    """
    One step of looking after the certificate of a Device. Returns whether something was done.
    """
    issued = device._issued
    steps, issued[_STEPS] = issued[_STEPS], None
    try:
        steps = steps or _renew(device)
        worked = next(steps)
        # It goes on in the next step, with what is true of the new certificate by then.
        device._issued[_STEPS] = steps
        device._look = time.ticks_ms()
        return worked
    except StopIteration:
        pass
    except Exception as e:
        gc.collect()
        _put_off(device, e)
    sys.modules.pop("iotc_certificates", None)
    return False


def _put_off(device, why):
    device._look = time.ticks_add(time.ticks_ms(), _AGAIN_MS)
    device._fail("certificate not renewed: %s" % why)


def _request(name):
    # (p256, key pair, request in base64)
    p256 = load_once("p256")
    key = yield from p256.new_key()
    csr = yield from p256.csr(key[0], key[1], name)
    return p256, key, b2a_base64(csr).decode()[:-1]


# -- at the hub


def _renew(device):
    # The steps of a renewal, which is due; none while there is no connection.
    link = device._hub
    if unix_time() >= device._issued[_DPS_AT]:
        # The hub didn't renew it in half of the time that was left. DPS gives a new one.
        why = ValueError("asking DPS")
        link.drop(why)
        device._ask_dps()
        raise why
    if not link.is_connected():
        return
    p256, key, csr = yield from _request(device._id)
    granted = []
    heard = []

    def on_ack(pid, code):
        if pid == asked and code <= _GRANTED_MAX:
            granted.append(pid)
        device._on_ack(pid, code)

    def on_message(topic, msg):
        if topic.startswith(b"$iothub/cr"):
            heard.append((topic.decode(), msg))
        else:
            device._on_message(topic, msg)

    asked = link.subscribe("$iothub/credentials/res/#", 1)
    link.on_ack = on_ack
    link.set_callback(on_message)
    try:
        yield from _wait(device, granted)
        chain = yield from _ask(device, csr, heard)
    except Exception:
        if not granted:
            # A hub that doesn't know this filter hangs up on it, each time: a link without it.
            device._lead_to_hub()
        link.on_ack = device._on_ack
        link.set_callback(device._on_message)
        raise
    yield from _keep(device, p256, key, chain)
    # What is acknowledged before is not sent twice; the rest goes with the next connection.
    for _ in range(_QUIET):
        yield False
        if not link.inflight:
            break
    device._lead_to_hub()


def _wait(device, items):
    # Until there is something in items.
    start = time.ticks_ms()
    while not items:
        yield False
        late = time.ticks_diff(time.ticks_ms(), start) > 2000 * device.timeout
        if late or not device._hub.is_connected():
            raise ValueError("no answer")


def _ask(device, csr, heard):
    # Returns the chain that the hub has issued.
    body = {"id": device._id, "csr": csr}
    for n in range(_REQUESTS):
        rid = "%d%d" % (unix_time(), n)
        if device._send("$iothub/credentials/POST/issueCertificate/?$rid=" + rid, body):
            raise device.error
        topic = ""
        while rid not in topic or "/202/" in topic:  # accepted: the answer is still to come
            yield from _wait(device, heard)
            # $iothub/credentials/res/<status>/?$rid=<rid>
            topic, msg = heard.pop(0)
        reply = json_text.loads(msg)
        if "/200/" in topic:
            return reply.get("certificates")
        if "/409/" not in topic:
            break
        # Another request is active. It was made before, and its key is lost.
        body["replace"] = "*"
    issued = device._issued
    at = unix_time() + min(reply.get("retryAfter") or 0, _PAUSE_MAX)
    issued[_NEXT] = min(at, issued[_DPS_AT])
    raise ValueError(msg.decode())


# -- the file


def _load(device):
    # Take up what the file holds; False without a file that is good and this device's.
    path = device.certificate_file
    try:
        with open(path, "rb") as file:
            text = file.read(_FILE_MAX)
    except OSError:
        return False
    if b"%08x\n" % crc32(text[:-_SUM]) == text[-_SUM:]:
        name, host, device_id, renew_at, end = text.decode().split()[:5]
        if name == device._name:
            device._host = device._host or host
            device._id = device_id
            due = int(renew_at)
            end = int(end)
            device._issued = [due, end, None, (due + end) // 2]
            device._look = time.ticks_ms()
            return True
    device._fail("%s: damaged or not ours" % path)
    return False


def _keep(device, p256, key, chain):
    # Write key and chain, whole or not at all. Each of its steps takes some 30 ms of a board.
    yield True
    if not chain:
        raise ValueError("no certificate: no credential policy?")
    path = device.certificate_file
    new = path + ".new"
    try:
        leaf = a2b_base64(chain[0])
        end = _end(leaf)
        now = unix_time()
        if key[1] not in leaf or now >= end:
            raise ValueError("another key's or ended")
        renew_at = end - (end - now) // 5
        head = "%s %s %s %d %d\n" % (device._name, device._host, device._id, renew_at, end)
        pieces = [head.encode(), p256.pem("EC PRIVATE KEY", p256.key_der(key[0], key[1]))]
        for one in chain:
            pieces.append(p256.pem("CERTIFICATE", a2b_base64(one)))
        yield True
        checksum = 0
        with open(new, "wb") as file:
            for piece in pieces:
                checksum = crc32(piece, checksum)
                file.write(piece)
            file.write(b"%08x\n" % checksum)
        yield True
        # This board's TLS must take it, before it takes the place of the one in use.
        tls_context({"verify": False, "cert": new, "key": new})
        os.rename(new, path)
    except MemoryError:
        raise
    except Exception as e:
        raise ValueError("bad certificate: %s" % e)
    _load(device)


def _end(leaf):
    # When a certificate ends, in seconds since 1970: the second of two UTCTimes, of thirteen
    # characters each (RFC 5280, 4.1.2.5; it has them so until 2049).
    at = leaf.find(b"Z\x17\r") + 3
    numbers = []
    for i in range(at, at + 12, 2):
        numbers.append(int(leaf[i : i + 2]))
    year, month, day, hour, minute, second = numbers
    # time.mktime() takes local time on some ports. Years that begin in March end with a leap day.
    if month < 3:
        year -= 1
        month += 12
    days = year * _FOUR_YEARS // 4 + (month * 153 - 457) // 5 + day + _TO_MARCH_2000
    return ((days * 24 + hour) * 60 + minute) * 60 + second
