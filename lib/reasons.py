# reasons: what went wrong, and what to do about it, in words. netstream.reason() loads it when
# something has gone wrong and lets go of it: texts take heap that a running client needs. Stands
# on gc; where there is no heap left to load it, the error keeps its number.

import gc

# mbedTLS's numbers for "no memory": of SSL, X.509, PK, RSA's and curves' parts, and big numbers.
_NO_MEMORY = (12, -32512, -10368, -16256, -17040, -19840, -16)
# A verification that fails for lack of memory calls the certificate untrusted. With less than this
# in one piece it may well have been that.
_PIECE = 4096


def _heap_is_short():
    gc.collect()
    try:
        bytearray(_PIECE)
        return False
    except MemoryError:
        return True


def memory():
    """TLS found no memory."""
    gc.collect()
    return (
        "out of memory: TLS needs 17 KB in one piece, 24 KB in all (%d bytes are free); collect"
        " garbage more often, gc.threshold(4096), or keep less" % gc.mem_free()
    )


def no_socket():
    """socket() found no place for another connection."""
    return (
        "no socket is free: one that was closed on a silent peer stays for up to 10 s; close"
        " others, or wait"
    )


def tls(error, name, handshaking):
    """
    Why TLS has failed, beginning with the word that TLSError promises; None when error doesn't
    tell. name: the host that was expected.
    """
    text = str(error)
    if error.args and error.args[0] in _NO_MEMORY or "ALLOC_FAILED" in text:
        return "memory: " + memory()
    for sign, cure in (
        ("future", "clock: certificate not valid yet; sync NTP"),
        ("expired", "expired: certificate has ended, or the clock is wrong"),
        ("Common Name", "host: certificate is not for " + name),
        ("trusted CA", "ca: not signed by the given ca; pass the service's root"),
    ):
        if sign in text:
            if sign == "trusted CA" and _heap_is_short():
                return "memory: " + memory()
            return cure
    return "handshake: " + text if handshaking else None
