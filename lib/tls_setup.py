# tls_setup: makes a TLS context out of certificates and keys. netstream.tls_context() loads it for
# that and lets go of it: a running client needs the heap for other things. Stands on tls and
# option_names.

import sys

import option_names

sys.modules.pop("option_names", None)  # it leaves the heap together with this file

# Names that other libraries have for the same things.
_ALIASES = {"ca": ("cadata", "cafile"), "cert": ("certfile",), "key": ("keyfile",)}
_NAMES = ("ca", "cadata", "cafile", "cert", "certfile", "key", "keyfile", "verify")
_NAMES += ("server_hostname",)


def load(source, label=b"CERTIFICATE"):
    """
    Return the certificates or keys in source, each as DER, in a list.

    source: a file name, or the PEM or DER itself as str or bytes. label: how the PEM blocks to
        take end their BEGIN line. Raises ValueError when the file can't be read, or the PEM holds
        no such block, or one that is cut, damaged or encrypted.
    """
    if isinstance(source, str):
        if "-----BEGIN" in source:
            source = source.encode()
        else:
            try:
                with open(source, "rb") as f:
                    source = f.read()
            except OSError:
                raise ValueError("can't read file " + source)
    if not source or b"-----BEGIN" not in source:
        return [source]
    # Not every build of MicroPython has mbedTLS's PEM parser (the unix port lacks it); all of them
    # have base64.
    from binascii import a2b_base64

    found = []
    for block in source.split(b"-----BEGIN ")[1:]:
        block = block.split(b"-----")
        if not block[0].endswith(label):
            continue
        if len(block) < 4 or block[2] != b"END " + block[0]:
            raise ValueError("PEM is cut: it has no END line")
        if b"ENCRYPTED" in block[0] or b"ENCRYPTED" in block[1]:
            raise ValueError("key is encrypted: openssl pkey -in key.pem -out open.pem")
        found.append(a2b_base64(block[1]))
    if not found:
        raise ValueError("PEM without " + label.decode())
    return found


def context(options):
    """
    Return a tls.SSLContext made of netstream.tls_context()'s dict.

    Raises ValueError that says which of its entries can't be used, or was misspelt.
    """
    if not isinstance(options, dict):
        raise ValueError("ssl: pass a dict or an SSLContext")
    import tls

    option_names.check_names(options, _NAMES)

    def get(name):
        for one in (name,) + _ALIASES[name]:
            if options.get(one):
                return options[one]

    made = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    what = "ca"
    try:
        ca = get("ca")
        if not options.get("verify", True):
            made.verify_mode = tls.CERT_NONE
        elif ca:
            for der in load(ca):
                made.load_verify_locations(der)
        else:
            # A board has no store of root certificates to fall back on.
            raise ValueError("pass the service's root certificate, ssl={'ca': 'ca.der'}")
        if get("cert"):
            what = "cert or key"
            key = load(get("key"), b"KEY")[0]
            # The certificate and, behind it, those that lead to one that the server knows.
            for der in load(get("cert")):
                made.load_cert_chain(der, key)
    except (OSError, ValueError, TypeError) as e:
        raise ValueError("ssl: bad %s: %s" % (what, e))
    return made
