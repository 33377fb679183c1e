"""
NIST P-256 keys and certificate requests, made on the device.

A device that asks a gateway for a certificate needs three things once in its life: a private key
that never leaves it, a signature, and a PKCS#10 request. MicroPython's `tls` has none of them;
this file does, on big ints, `hashlib.sha256` and `os.urandom` alone. Import it when you need it
and let it go afterwards.

Everything slow is a generator: it yields True after each bit of arithmetic, the result is its
return value: `key = yield from p256.new_key()`, or `p256.run(p256.new_key())` in a program that
may wait. A key and its request are 225 steps. Most of them double a point and add another, 19
modular multiplications; the longest, twice to three times that, draws the signature's nonce with
ten hashes (`python3 tools/bench p256` measures them).

Side channels. Every scalar takes the same 63 doublings and 63 additions (signed comb, no zero
digit), the point starts with random projective coordinates, inverses are Fermat powers of
blinded values, and nonces follow RFC 6979, so a random source that fails after the key was drawn
can't give it away. What remains: MicroPython's big ints are not constant time (leading zeros
shorten them), the comb's table is read at secret places (visible to who shares a data cache),
and secrets lie in the heap until it is collected. That is sound for the signature or two that
set a device up. Don't sign on request with it, where an attacker may measure many signatures.

A key is as good as `os.urandom`. On ESP32 switch Wi-Fi or Bluetooth on first: without the radio
its generator has little noise.
"""

import hashlib
import os
from binascii import b2a_base64

# Domain parameters: FIPS 186-4, D.1.2.3; a = -3.
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B

# Eight affine points, 64 bytes each: entry i is (2^192 +- 2^128 +- 2^64 +- 1) * G, with a plus
# before 2^(64 m) where bit m of i is set.
_COMB = (
    b"\xdc\xa7\x46\x34\x84\x11\xaf\xb5\x7a\x94\x1b\x31\x00\xc7\x46\x2e\xc7\xdd\x30\x79\x02\xd8"
    b"\x83\x40\x2c\x14\x7b\xd3\x02\x3e\x0a\x99\xa3\x78\xf4\x9c\x3c\x60\x73\xe0\xef\xa2\x30\xd3"
    b"\x8e\x28\x75\xb6\xd1\x70\xfe\x41\x00\x60\x63\x2c\x47\xb0\xd5\x20\x23\x5f\x3f\xb0\x47\xb8"
    b"\xc1\x5b\x59\x31\x23\x90\x87\xf5\x1b\xcf\xa6\xc7\x51\x33\x24\xfc\x08\x1a\xd4\xe6\xe5\xc5"
    b"\xf7\x44\x7e\x16\xe0\xb9\x01\x0a\xea\xb6\x9c\xfc\xb2\x7b\xce\xd9\x1d\xe9\xc2\xea\xd6\x1a"
    b"\xa5\xc0\xc8\xcb\x9d\x1b\xc2\xfa\xa8\x27\x5d\x8a\x5a\x16\xd7\xb4\xb7\x92\x39\xf2\xe1\x26"
    b"\xe7\xa9\x01\x57\xaf\xf9\x55\xe9\x75\xa5\x29\x79\x4f\xcf\xde\x2a\x0f\xcb\x47\xe3\x8d\xb2"
    b"\x21\x50\x5b\x37\x0b\x39\x2f\xe3\x91\x8b\x81\xba\xc5\xc2\x03\x4c\xfc\x1d\x65\x14\x1b\x26"
    b"\x6f\xda\xb9\xfb\x48\x1d\xe5\xac\xc1\x3c\x7a\x63\x86\x51\x22\xba\xb9\x86\x68\xc6\x4a\x1d"
    b"\x88\x9b\x37\xb0\x90\x17\x18\x35\x52\x37\x43\x72\x6c\x12\xf9\x02\x1b\xc1\xdb\xd4\x0b\x53"
    b"\x76\x99\xe8\x98\x04\xef\x5f\xa9\xa1\x13\xf2\x97\xc8\xda\xa7\x51\x5d\xa9\xf6\x56\x4e\xc8"
    b"\x47\x65\x37\xc4\x8f\x4e\xc8\x94\xa7\x32\x3a\x91\x3c\x3d\x83\x99\xd7\x6d\xf7\x06\x60\xcb"
    b"\x57\x4a\xf4\x33\xf5\x1b\x14\xf0\xac\xcb\xd9\xe5\xa6\xc9\x02\xa9\x73\x42\xe8\x9b\x4c\x02"
    b"\xfa\xa6\xa0\x8f\x6b\x51\x56\xec\xb1\xcc\x58\xef\x27\xc6\x20\x16\xd4\xc8\x7a\x47\xe0\x13"
    b"\xc6\x87\x58\x72\x74\xc9\x3f\x9b\xe6\x8b\xa2\xba\x61\x30\x2d\x5d\x50\x8f\xdc\x2e\x7f\x8e"
    b"\xd5\x08\xa4\x3b\x83\xb7\x0b\xa6\xd2\xf4\xe0\x10\x3c\x59\xd1\x4f\x8e\xad\x7d\xb8\xca\xb2"
    b"\x6c\x58\x4e\x7f\x2c\xc4\xa0\x29\x04\x10\xb8\x83\x23\xe6\xde\x42\x70\x75\x0b\x1d\x46\xb0"
    b"\xf7\x59\xeb\xd1\x78\x2f\xb0\x12\x80\xc1\x87\x81\xfb\xda\xfc\x93\x14\x10\xb4\x14\xf9\xce"
    b"\xe8\x1f\xf1\x0c\x45\xe3\x88\xa8\x1f\xd9\xd0\x3d\xe4\x7c\x24\x7d\x3c\xe7\x42\xeb\x3e\xb3"
    b"\x52\x34\xfa\x6a\xda\x4c\xbf\xe6\x1e\xe2\x0c\x94\x51\x28\xca\xda\x9a\xd5\x97\x13\xe7\xca"
    b"\xa8\x7b\x21\x11\x08\x2c\xa2\x0d\xb4\x8e\x26\xb4\x84\xf7\xa2\x1c\x0a\x4a\x46\xfb\x6a\xaf"
    b"\x36\x3a\x66\xb0\xde\x32\x25\xc4\x74\x4b\x96\x15\xb5\x11\x0d\x1d\x78\xe5\xfa\xc0\x15\x40"
    b"\x4d\x4d\x3d\xab\x64\x13\x1b\xcd\xfe\xd6\xf6\x68\xc0\x04\xe4\x04\x8b\x7b\x0f\x98\x06\xeb"
    b"\xb0\xf6\x21\xa0\x1b\x2d"
)

# Object identifiers, as DER.
_CURVE = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"  # prime256v1
_EC_PUBLIC_KEY = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
_ECDSA_SHA256 = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"
_COMMON_NAME = b"\x06\x03\x55\x04\x03"
# Attributes [0] of the request: extensionRequest holding basicConstraints, critical, CA:FALSE
# (FALSE is the default, so DER leaves it out: an empty SEQUENCE).
_CA_FALSE = (
    b"\xa0\x1f\x30\x1d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e\x31\x10\x30\x0e"
    b"\x30\x0c\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x02\x30\x00"
)


def run(steps):
    """Drive one of this file's generators to its end; returns its result. Blocks meanwhile."""
    while True:
        try:
            next(steps)
        except StopIteration as e:
            return e.value


def new_key():
    """
    Generator: make a key pair. Returns (d, public): the secret int, the point as 65 bytes 04 X Y.

    d comes from os.urandom, drawn again until 1 <= d < N: rejection keeps it uniform (FIPS
    186-4, B.4.2). Raises OSError when os.urandom does not work on this board (make the key on a
    computer) or the memory miscalculates (mend the board).
    """
    d = _random(N)
    x, y = yield from multiply(d)
    # A miscalculated point (a flipped bit in RAM) would give a certificate that no signature fits.
    if (y * y - x * x * x + 3 * x - B) % P:
        raise OSError("the computed key is not on the curve: faulty memory or power")
    return d, b"\x04" + _bytes(x) + _bytes(y)


def multiply(k):
    """
    Generator: the curve's base point taken k times. Returns affine (x, y).

    Raises ValueError unless 1 <= k < N: other multiples are the point at infinity or repeat these.
    """
    if not 0 < k < N:
        raise ValueError("the scalar must be 1 to N - 1")
    # An odd k is a sum of s[i] * 2^i, i < 256, every s[i] +1 or -1, never 0: +1 where bit i of
    # (k + 2^256 - 1) / 2 is set. An even k goes as N - k, which is odd, and the point is mirrored.
    even = 1 - (k & 1)
    bits = _bytes(((k, N - k)[even] + (1 << 256) - 1) >> 1)
    x, y = _column(bits, 63)
    z = _random(P)
    zz = z * z % P
    x, y = x * zz % P, y * zz * z % P
    for j in range(62, -1, -1):
        x, y, z = _double(x, y, z)
        x, y, z = _add(x, y, z, _column(bits, j))
        yield True
    z = yield from _inverse(z, P)
    zz = z * z % P
    x = x * zz % P
    y = y * zz * z % P
    return x, (y, P - y)[even]


def sign(d, digest):
    """
    Generator: ECDSA signature of a SHA-256 digest (32 bytes) with the secret d.

    Returns DER (RFC 3279, 2.2.3). The nonce comes from key and digest (RFC 6979), so the same
    input gives the same signature. Raises ValueError for a digest that isn't 32 bytes or a
    secret outside 1 to N - 1.
    """
    if len(digest) != 32 or not 0 < d < N:
        raise ValueError("sign() takes a secret of 1 to N - 1 and a SHA-256 digest of 32 bytes")
    h = int.from_bytes(digest, "big") % N
    for k in _nonces(d, h):
        yield True
        r = (yield from multiply(k))[0] % N
        blind = _random(N)
        s = yield from _inverse(k * blind % N, N)
        s = s * ((h * blind + r * (d * blind % N)) % N) % N
        if r and s:
            return _der(0x30, _integer(r) + _integer(s))


def csr(d, public, name):
    """
    Generator: a PKCS#10 request (RFC 2986) for a key pair as new_key() gives it. Returns DER.

    Subject CN=name, basicConstraints critical CA:FALSE, signed with ECDSA-SHA256.
    name: str of 1 to 64 characters (X.520's bound for a common name), ValueError otherwise.
    """
    if not 0 < len(name) <= 64:
        raise ValueError("a certificate's common name has 1 to 64 characters")
    info = _der(
        0x30,
        b"\x02\x01\x00"
        + _der(0x30, _der(0x31, _der(0x30, _COMMON_NAME + _der(0x0C, name.encode()))))
        + _der(0x30, _der(0x30, _EC_PUBLIC_KEY + _CURVE) + _der(3, b"\0" + public))
        + _CA_FALSE,
    )
    signature = yield from sign(d, hashlib.sha256(info).digest())
    return _der(0x30, info + _der(0x30, _ECDSA_SHA256) + _der(3, b"\0" + signature))


def key_der(d, public):
    """The key pair as an ECPrivateKey (RFC 5915), DER: what TLS takes as a key. Keep it secret."""
    return _der(
        0x30,
        b"\x02\x01\x01"
        + _der(4, _bytes(d))
        + _der(0xA0, _CURVE)
        + _der(0xA1, _der(3, b"\0" + public)),
    )


def pem(label, der):
    """
    DER wrapped as PEM (RFC 7468): 64 characters a line, LF, a final LF. Returns bytes.

    label: "EC PRIVATE KEY" for key_der(), "CERTIFICATE REQUEST" for csr().
    """
    out = b"-----BEGIN " + label.encode() + b"-----\n"
    for i in range(0, len(der), 48):
        out += b2a_base64(der[i : i + 48])
    return out + b"-----END " + label.encode() + b"-----\n"


def _random(below):
    # 256 random bits miss 1 to below - 1 once in 2^32 draws: eight in a row are a dead source.
    for _ in range(8):
        k = int.from_bytes(os.urandom(32), "big")
        if 0 < k < below:
            return k
    raise OSError("os.urandom gives no random numbers on this board; make the key on a computer")


def _bytes(k):
    return k.to_bytes(32, "big")


def _column(bits, j):
    # The signed digit of column j: bits j, j + 64, j + 128 choose the point, j + 192 the sign.
    i = 0
    for k in (7 - (j >> 3), 15 - (j >> 3), 23 - (j >> 3), 31 - (j >> 3)):
        i = i << 1 | bits[k] >> (j & 7) & 1
    minus = 1 - (i >> 3)
    i = ((i ^ 7 * minus) & 7) << 6
    y = int.from_bytes(_COMB[i + 32 : i + 64], "big")
    return int.from_bytes(_COMB[i : i + 32], "big"), (y, P - y)[minus]


def _double(x, y, z):
    # Jacobian, a = -3 (EFD dbl-2001-b). The point at infinity (z = 0) stays there.
    zz = z * z % P
    yy = y * y % P
    b = x * yy % P
    a = 3 * (x - zz) * (x + zz) % P
    x = (a * a - 8 * b) % P
    return x, (a * (4 * b - x) - 8 * yy * yy) % P, 2 * y * z % P


def _add(x, y, z, point):
    # Jacobian + affine. Only scalars chosen by hand, near 0 or N, ever meet the special cases.
    u, v = point
    if not z:
        return u, v, 1
    zz = z * z % P
    h = (u * zz - x) % P
    r = (v * zz * z - y) % P
    if not h:
        return (1, 1, 0) if r else _double(x, y, z)
    hh = h * h % P
    hhh = h * hh % P
    xhh = x * hh % P
    x = (r * r - hhh - 2 * xhh) % P
    return x, (r * (xhh - x) - y * hhh) % P, z * h % P


def _inverse(a, m):
    # a^(m - 2) mod m, Fermat: the same steps for every a, unlike Euclid's.
    r = 1
    for byte in _bytes(m - 2):
        for i in range(7, -1, -1):
            r = r * r % m
            if byte >> i & 1:
                r = r * a % m
        yield True
    return r


def _hmac(key, *parts):
    # RFC 2104 with a key of 32 bytes.
    key = key + bytes(32)
    inner = hashlib.sha256(bytes([b ^ 0x36 for b in key]) + b"".join(parts)).digest()
    return hashlib.sha256(bytes([b ^ 0x5C for b in key]) + inner).digest()


def _nonces(d, h):
    # RFC 6979, 3.2, with HMAC-SHA256: candidates from 1 to N - 1; the caller takes the first
    # that gives a signature, in practice the first.
    seed = _bytes(d) + _bytes(h)
    v = b"\1" * 32
    k = _hmac(bytes(32), v, b"\0", seed)
    v = _hmac(k, v)
    k = _hmac(k, v, b"\1", seed)
    v = _hmac(k, v)
    while True:
        v = _hmac(k, v)
        n = int.from_bytes(v, "big")
        if 0 < n < N:
            yield n
        k = _hmac(k, v, b"\0")
        v = _hmac(k, v)


def _der(tag, body):
    # One TLV of at most 65,535 bytes, the length in its shortest form (X.690, 10.1).
    n = len(body)
    if n < 128:
        return bytes((tag, n)) + body
    if n < 256:
        return bytes((tag, 0x81, n)) + body
    return bytes((tag, 0x82, n >> 8, n & 255)) + body


def _integer(k):
    # Shortest two's complement of a positive number.
    b = _bytes(k).lstrip(b"\0")
    return _der(2, b"\0" + b if b[0] > 127 else b)
