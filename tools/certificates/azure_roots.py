"""
Writes the root certificates that a device of Azure's has to trust, as one PEM file for device.ca:

    python3 tools/certificates azure-roots azure.pem

They are taken out of this computer's own store, or of the one that pip brings along, and known by
their SHA-256: DigiCert Global Root G2, which IoT Hub, DPS and IoT Central show today, and
Microsoft RSA Root Certificate Authority 2017, which is to take its place if that is ever needed.
Microsoft advises to trust both. Status 1 when one of them is not there. Only Python's standard
library is needed here.
"""

import hashlib
import ssl
import sys

ROOTS = {
    "cb3ccbb76031e5e0138f8dd39a23f9de47ffc35e43c1144cea27d46a5ab1cb5f": "DigiCert Global Root G2",
    "c741f70f4b2a8d88bf2e71c14122ef53ef10eba0cfa5e64cfa20f418853073e0": (
        "Microsoft RSA Root Certificate Authority 2017"
    ),
}


def stores():
    """Certificates (DER) of every store there is, one store after the other."""
    yield ssl.create_default_context().get_ca_certs(binary_form=True)
    try:
        from pip._vendor import certifi
    except ImportError:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certifi.where())
    yield context.get_ca_certs(binary_form=True)


def bundle(found):
    """The PEM of the roots out of these stores. LookupError names one that is in none."""
    known = {}
    for certificates in found:
        for der in certificates:
            known.setdefault(hashlib.sha256(der).hexdigest(), der)
    text = ""
    for digest, name in ROOTS.items():
        if digest not in known:
            raise LookupError("{} is in no store of this computer".format(name))
        text += "# {}\n{}".format(name, ssl.DER_cert_to_PEM_cert(known[digest]))
    return text


def main(arguments):
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python3 tools/certificates azure-roots FILE.pem", file=sys.stderr)
        return 2
    try:
        text = bundle(stores())
        with open(arguments[0], "w", encoding="ascii") as file:
            file.write(text)
    except (LookupError, OSError) as e:
        print("azure-roots: {}".format(e), file=sys.stderr)
        return 1
    print("{}: {}".format(arguments[0], " and ".join(ROOTS.values())))
    return 0
