"""
A key and a certificate request for a TeamViewer client, made on this computer.

    python3 tools/certificates rsa-key certs --name client

writes certs/client-key.pem (RSA, as TeamViewer's own SDK makes it) and certs/client-csr.pem. Copy
both into the board's CertFolder; provision() with ClientName "client" takes them instead of making
a P-256 key on the board. The key belongs on the board alone: delete it here afterwards.
"""

import argparse
import os
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def make(name, bits=2048):
    """(key, request) as PEM: PKCS#1, and PKCS#10 with CN=name, signed with SHA-256."""
    key = rsa.generate_private_key(65537, bits)
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return private, request.public_bytes(serialization.Encoding.PEM)


def write(folder, name, bits=2048):
    """
    Write both files, readable by their owner only; returns their paths. Replaces nothing.

    Raises ValueError for a name that TVCMI_client would not take, FileExistsError, OSError.
    """
    if not name.strip() or len(name) > 64 or "/" in name:
        raise ValueError("a ClientName has 1 to 64 characters and no /")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    base = os.path.join(folder, name.replace(" ", ""))
    paths = base + "-key.pem", base + "-csr.pem"
    for path in paths + (base + "-cert.pem",):
        if os.path.exists(path):
            raise FileExistsError(path)
    # The request first: a key without one is of no use to provision().
    for path, data in reversed(list(zip(paths, make(name, bits)))):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
            f.write(data)
    return paths


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="python3 tools/certificates rsa-key",
        description="An RSA key and a certificate request for a TeamViewer client.",
    )
    parser.add_argument("folder", help="where the two files go; made if need be")
    parser.add_argument("--name", default="client", help="ClientName (default: %(default)s)")
    parser.add_argument(
        "--bits", type=int, choices=(2048, 3072, 4096), default=2048, help="(default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        paths = write(options.folder, options.name, options.bits)
    except FileExistsError as e:
        sys.exit("%s is there already: choose another --name, or delete it first" % e)
    except (OSError, ValueError) as e:
        sys.exit("not made: %s" % e)
    print("\n".join(paths))
