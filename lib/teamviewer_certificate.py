"""
What a TeamViewer client's certificate and request say: PEM, and as much of X.509 as is needed.

Loaded by teamviewer_iot and its other parts when they need it, and let go again. Not for programs.
"""

import time
from binascii import a2b_base64

from micropython import const

from netstream import clock_is_set, load_once
from teamviewer_errors import FileError, KeyCertificateError

# The files' part, for who has loaded this one.
files = load_once("teamviewer_files")

_ENOENT = const(2)

# How the BEGIN line of a PEM block goes on.
CERTIFICATE = b"CERTIFICATE-"
REQUEST = b"CERTIFICATE REQUEST-"

# DER's tags (X.690).
_VERSION = const(0xA0)  # context tag 0: an X.509 certificate's version
_UTC_TIME = const(0x17)
_COMMON_NAME = b"\x55\x04\x03"  # object identifier 2.5.4.3


def element(der, at):
    """
    (tag, start, end) of the DER element that begins at `at`. ValueError if it isn't there whole.
    """
    if at + 2 > len(der):
        raise ValueError("truncated")
    tag = der[at]
    size = der[at + 1]
    at += 2
    if size > 127:  # the size of the size
        count = size & 127
        if not 0 < count < 4:
            raise ValueError("bad length")
        size = int.from_bytes(der[at : at + count], "big")
        at += count
    if at + size > len(der):
        raise ValueError("truncated")
    return tag, at, at + size


def pem(text, label):
    """
    (first PEM block of this kind, its DER). ValueError unless it is whole: base64, and one DER
    element.
    """
    begin = text.find(b"-----BEGIN " + label)
    body = text.find(b"\n", begin) + 1
    end = text.find(b"-----END ", body)
    stop = text.find(b"-----", end + 9)
    if begin < 0 or body < 1 or end < 0 or stop < 0:
        raise ValueError("no whole PEM block")
    der = a2b_base64(text[body:end])
    if element(der, 0)[2] != len(der):
        raise ValueError("damaged")
    return text[begin : stop + 5] + b"\n", der


def parse(der):
    """
    (common name, end of validity as YYYYMMDDHHMMSS, public key) of an X.509 certificate: RFC 5280,
    4.1. ValueError for what is none.
    """
    at = element(der, element(der, 0)[1])[1]
    tag, _, end = element(der, at)
    if tag == _VERSION:
        at = end
    for _ in range(3):  # serialNumber, signature, issuer
        at = element(der, at)[2]
    _, start, at = element(der, at)  # validity: notBefore, notAfter
    tag, start, end = element(der, element(der, start)[2])
    until = der[start : end - 1].decode()
    if tag == _UTC_TIME:  # 50 to 99 are years of the last century
        until = ("19" if until >= "5" else "20") + until
    _, start, at = element(der, at)  # subject
    name = _common_name(der, start, at)
    _, start, _ = element(der, at)  # subjectPublicKeyInfo: algorithm, key
    _, start, end = element(der, element(der, start)[2])
    return name, until, der[start:end]


def _common_name(der, at, stop):
    # The first common name of a subject; it becomes a level of a topic.
    name = ""
    while at < stop and not name:
        _, start, at = element(der, at)  # SET of SEQUENCE of (OID, text)
        _, oid, end = element(der, element(der, start)[1])
        if der[oid:end] == _COMMON_NAME:
            _, start, end = element(der, end)
            name = der[start:end].decode()
    if not name or [c for c in "/+#\0" if c in name]:
        raise ValueError("no usable common name")
    return name


def certificate(client):
    """(connector id, end as YYYYMMDDHHMMSS, public key). Raises FileError, KeyCertificateError."""
    path = client.get_cert_path()
    try:
        return parse(pem(files.read(path), CERTIFICATE)[1])
    except ValueError as e:
        raise KeyCertificateError(None, "%s is damaged (%s): provision() anew" % (path, e))


def usable(client):
    """
    What certificate() says, or None when there is none, it is damaged, or it is not for the
    request beside it. FileError when it can't be read.
    """
    try:
        found = certificate(client)
        if files.exists(client.get_csr_path()):
            if found[2] not in pem(files.read(client.get_csr_path()), REQUEST)[1]:
                return None
        return found
    except (ValueError, KeyCertificateError):
        return None
    except FileError as e:
        if e.error_code == _ENOENT:
            return None
        raise


def has_ended(found):
    """Whether a certificate, as certificate() told of it, is valid no more."""
    now = "%04d%02d%02d%02d%02d%02d" % tuple(time.gmtime()[:6])
    return clock_is_set() and now > found[1]
