"""
p256: keys, deterministic signatures and certificate requests, held against OpenSSL and vectors.

Sources: NIST's point multiples for P-256, RFC 6979 A.2.5, and the kinds of scalar and digest that
Wycheproof collects (edges of the group, leading zeros, numbers at and above the order).
"""

import hashlib
import random

import pytest
from board_rig import not_built
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

# k, x, y as NIST publishes them ("Mathematical routines for the NIST prime elliptic curves").
NIST_MULTIPLES = [
    (
        1,
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    ),
    (
        2,
        "7cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978",
        "07775510db8ed040293d9ac69f7430dbba7dade63ce982299e04b79d227873d1",
    ),
    (
        3,
        "5ecbe4d1a6330a44c8f7ef951d4bf165e6c6b721efada985fb41661bc6e7fd6c",
        "8734640c4998ff7e374b06ce1a64a2ecd82ab036384fb83d9a79b127a27d5032",
    ),
    (
        112233445566778899,
        "339150844ec15234807fe862a86be77977dbfb3ae3d96f4c22795513aeaab82f",
        "b1c14ddfdc8ec1b2583f51e85a5eb3a155840f2034730e9b5ada38b674336a21",
    ),
    (
        112233445566778899112233445566778899,
        "1b7e046a076cc25e6d7fa5003f6729f665cc3241b5adab12b498cd32f2803264",
        "bfea79be2b666b073db69a2a241adab0738fe9d2dd28b5604eb8c8cf097c457b",
    ),
    (
        N - 1,
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "b01cbd1c01e58065711814b583f061e9d431cca994cea1313449bf97c840ae0a",
    ),
]

# RFC 6979, A.2.5: the key, then message, nonce k, r, s with SHA-256.
RFC6979_KEY = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"
RFC6979 = [
    (
        b"sample",
        "a6e3c57dd01abe90086538398355dd4c3b17aa873382b0f24d6129493d8aad60",
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
    ),
    (
        b"test",
        "d16b6ae827f17175e040871a1c7ec3500192c4c92677336ec2537acaee0008e0",
        "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
        "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
    ),
]

MULTIPLY = """
import p256
for k in scalars.split():
    x, y = p256.run(p256.multiply(int(k, 16)))
    report(x="%064x" % x, y="%064x" % y)
"""


def openssl_multiple(k):
    numbers = ec.derive_private_key(k, ec.SECP256R1()).public_key().public_numbers()
    return {"x": "%064x" % numbers.x, "y": "%064x" % numbers.y}


def multiples(board, scalars):
    return board.run(MULTIPLY, scalars=" ".join("%x" % k for k in scalars)).reports


def indent(source):
    return "\n".join("    " + line for line in source.splitlines())


def edge_scalars():
    """The ends of the group, around powers of two, the comb's column borders, runs of one bit."""
    scalars = set(range(1, 21)) | {N - k for k in range(1, 21)}
    scalars |= {N // 2 + k for k in range(-2, 4)}
    for power in (31, 32, 63, 64, 65, 127, 128, 129, 191, 192, 193, 254, 255):
        scalars |= {2**power - 1, 2**power, 2**power + 1}
    for m in range(16):  # every digit of the comb's top column, all of the table with both signs
        scalars.add(sum(2 ** (64 * i + 63) for i in range(4) if m >> i & 1) | 1)
        scalars.add(sum(2 ** (64 * i) for i in range(4) if m >> i & 1) | 2)
    scalars |= {2**256 - 2**224 - 1, int("55" * 32, 16), int("aa" * 31, 16), int("0f" * 32, 16)}
    return sorted(k for k in scalars if 0 < k < N)


# -- the group ---------------------------------------------------------------------------------


def test_the_base_points_multiples_are_nists(board):
    got = multiples(board, [k for k, x, y in NIST_MULTIPLES])
    assert got == [{"x": x, "y": y} for k, x, y in NIST_MULTIPLES]


def test_edge_scalars_agree_with_openssl(board):
    scalars = edge_scalars()
    assert multiples(board, scalars) == [openssl_multiple(k) for k in scalars]


def test_random_scalars_of_every_length_agree_with_openssl(board):
    rng = random.Random(256)
    scalars = [rng.getrandbits(bits) | 1 << bits - 1 for bits in range(1, 256, 5)]
    assert multiples(board, scalars) == [openssl_multiple(k) for k in scalars]


def test_scalars_outside_the_group_are_refused(board):
    run = board.run(
        """
import p256
for k in (0, p256.N, p256.N + 1, 2 * p256.N, -1):
    try:
        p256.run(p256.multiply(k))
        report(refused=False)
    except ValueError as e:
        report(refused="1 to N - 1" in str(e))
"""
    )
    assert run.reports == [{"refused": True}] * 5


def test_infinity_and_equal_points_are_handled(board):
    run = board.run(
        """
import p256
P = p256.P
g = p256.run(p256.multiply(1))
two = p256.run(p256.multiply(2))

def affine(x, y, z):
    if not z:
        return "infinity"
    i = pow(z, P - 2, P)
    return (x * i * i % P, y * i * i * i % P)

z = 12345  # any coordinates of G
G = (g[0] * z * z % P, g[1] * z * z * z % P, z)
infinity = (1, 1, 0)
report(what="infinity + G", ok=affine(*p256._add(1, 1, 0, g)) == g)
report(what="G + G", ok=affine(*p256._add(*G + (g,))) == two)
report(what="G + -G", ok=affine(*p256._add(*G + ((g[0], P - g[1]),))) == "infinity")
report(what="2 * infinity", ok=affine(*p256._double(*infinity)) == "infinity")
report(what="2 * G", ok=affine(*p256._double(*G)) == two)
"""
    )
    assert run.reports == [
        {"what": "infinity + G", "ok": True},
        {"what": "G + G", "ok": True},
        {"what": "G + -G", "ok": True},
        {"what": "2 * infinity", "ok": True},
        {"what": "2 * G", "ok": True},
    ]


# The table is a constant: the build puts it where it is used.
own_files = not_built("p256's table has no name there")


@own_files
def test_the_comb_table_holds_the_points_it_says(board):
    (table,) = board.run(
        "import p256, binascii\nreport(hex=binascii.hexlify(p256._COMB).decode())"
    ).reports
    expected = ""
    for i in range(8):
        k = 2**192 + sum(2 ** (64 * m) if i >> m & 1 else -(2 ** (64 * m)) for m in range(3))
        point = openssl_multiple(k % N)
        expected += point["x"] + point["y"]
    assert table["hex"] == expected


# -- key generation ----------------------------------------------------------------------------

FAKE_RANDOM = """
import p256

class Random:
    def __init__(self, draws):
        self.draws = draws
        self.asked = 0
    def urandom(self, n):
        self.asked += 1
        return self.draws[min(self.asked, len(self.draws)) - 1].to_bytes(n, "big")
"""


def test_numbers_outside_the_group_are_drawn_again_not_reduced(board):
    (got,) = board.run(
        FAKE_RANDOM
        + """
p256.os = Random([0, p256.N, 2**256 - 1, p256.N - 1])
d, public = p256.run(p256.new_key())
report(last=d == p256.N - 1, public="".join("%02x" % b for b in public))
"""
    ).reports
    point = openssl_multiple(N - 1)
    assert got == {"last": True, "public": "04" + point["x"] + point["y"]}


def test_a_dead_random_source_is_an_error_not_a_hang(board):
    run = board.run(
        FAKE_RANDOM
        + """
for stuck in (0, 2**256 - 1):
    p256.os = Random([stuck])
    try:
        p256.run(p256.new_key())
    except OSError as e:
        report(text=str(e), asked=p256.os.asked)
"""
    )
    assert [r["asked"] for r in run.reports] == [8, 8]
    assert "make the key on a computer" in run.reports[0]["text"]


@own_files
def test_a_point_off_the_curve_is_never_handed_out(board):
    (got,) = board.run(
        """
import p256
table = bytearray(p256._COMB)
for i in range(0, 512, 64):
    table[i + 7] ^= 4
p256._COMB = table
try:
    p256.run(p256.new_key())
    report(text="")
except OSError as e:
    report(text=str(e))
"""
    ).reports
    assert "not on the curve" in got["text"]


NEW_KEY = """
import p256
d, public = p256.run(p256.new_key())
report(
    d="%064x" % d,
    key=p256.pem("EC PRIVATE KEY", p256.key_der(d, public)).decode(),
    csr=p256.pem("CERTIFICATE REQUEST", p256.run(p256.csr(d, public, name))).decode(),
)
"""


def test_openssl_accepts_the_key_and_the_request(board):
    (made,) = board.run(NEW_KEY, name="pump 3").reports
    assert made["key"].startswith("-----BEGIN EC PRIVATE KEY-----\n")
    key = serialization.load_pem_private_key(made["key"].encode(), None)
    assert isinstance(key.curve, ec.SECP256R1)
    assert key.private_numbers().private_value == int(made["d"], 16)

    request = x509.load_pem_x509_csr(made["csr"].encode())
    assert request.is_signature_valid
    assert isinstance(request.signature_hash_algorithm, hashes.SHA256)
    assert request.public_key().public_numbers() == key.public_key().public_numbers()
    assert [(a.oid, a.value) for a in request.subject] == [(x509.NameOID.COMMON_NAME, "pump 3")]
    (extension,) = request.extensions
    assert extension.critical
    assert extension.value == x509.BasicConstraints(ca=False, path_length=None)


def test_key_and_request_are_byte_for_byte_what_openssl_writes(board):
    """DER has one spelling: OpenSSL writes the same key file and the same body of the request."""
    (made,) = board.run(NEW_KEY, name="x").reports
    key = ec.derive_private_key(int(made["d"], 16), ec.SECP256R1())
    own_key = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    assert made["key"].encode() == own_key
    own = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")]))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    request = x509.load_pem_x509_csr(made["csr"].encode())
    assert request.tbs_certrequest_bytes == own.tbs_certrequest_bytes
    assert made["csr"].encode() == request.public_bytes(serialization.Encoding.PEM)


def test_two_keys_differ(board):
    one, two = board.run("for name in ('a', 'b'):\n" + indent(NEW_KEY)).reports
    assert one["d"] != two["d"]


@pytest.mark.parametrize("name", ["a", "Wärmepumpe №7", "n" * 64])
def test_common_names_of_1_to_64_characters(board, name):
    (made,) = board.run(NEW_KEY, name=name).reports
    request = x509.load_pem_x509_csr(made["csr"].encode())
    assert request.is_signature_valid
    assert [attribute.value for attribute in request.subject] == [name]


@pytest.mark.parametrize("name", ["", "n" * 65])
def test_other_common_names_are_refused(board, name):
    (got,) = board.run(
        """
import p256
try:
    p256.run(p256.csr(1, bytes(65), name))
    report(text="")
except ValueError as e:
    report(text=str(e))
""",
        name=name,
    ).reports
    assert "1 to 64" in got["text"]


# -- signatures --------------------------------------------------------------------------------


def test_nonces_and_signatures_are_rfc_6979s(board):
    run = board.run(
        """
import p256, hashlib
d = int(key, 16)
for message in ("sample", "test"):
    digest = hashlib.sha256(message.encode()).digest()
    nonce = next(p256._nonces(d, int.from_bytes(digest, "big") % p256.N))
    signature = p256.run(p256.sign(d, digest))
    report(k="%064x" % nonce, der="".join("%02x" % b for b in signature))
""",
        key=RFC6979_KEY,
    )
    for got, (_message, k, r, s) in zip(run.reports, RFC6979):
        assert got["k"] == k
        assert got["der"] == utils.encode_dss_signature(int(r, 16), int(s, 16)).hex()


SIGN = """
import p256, binascii
for line in work.split():
    d, digest = line.split(",")
    one = p256.run(p256.sign(int(d, 16), binascii.unhexlify(digest)))
    two = p256.run(p256.sign(int(d, 16), binascii.unhexlify(digest)))
    report(der=binascii.hexlify(one).decode(), same=one == two)
"""


def test_openssl_verifies_signatures_over_edge_digests_and_keys(board):
    edge = [0, 1, N - 1, N, N + 1, 2**256 - 1, P, 2**128, 2**255]
    digests = [k.to_bytes(32, "big") for k in edge] + [hashlib.sha256(b"x").digest()]
    keys = [1, 2, N - 1, N - 2, N // 2, 2**128, int(RFC6979_KEY, 16)]
    work = [(d, digest) for d in keys for digest in digests]
    run = board.run(SIGN, work=" ".join("%x,%s" % (d, digest.hex()) for d, digest in work))
    assert len(run.reports) == len(work)
    for got, (d, digest) in zip(run.reports, work):
        public = ec.derive_private_key(d, ec.SECP256R1()).public_key()
        signature = bytes.fromhex(got["der"])
        public.verify(signature, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        # Shortest DER: decoding and encoding again changes nothing.
        assert utils.encode_dss_signature(*utils.decode_dss_signature(signature)) == signature
        assert got["same"]


def test_der_integers_are_shortest_and_positive(board):
    values = [1, 127, 128, 255, 256, 2**247 - 1, 2**247, 2**255 - 1, 2**255, N - 1]
    run = board.run(
        """
import p256
for v in values.split():
    report(der="".join("%02x" % b for b in p256._integer(int(v, 16))))
""",
        values=" ".join("%x" % v for v in values),
    )
    # A signature is a SEQUENCE of two INTEGERs; OpenSSL's encoder gives one to compare with.
    for got, v in zip(run.reports, values):
        assert got["der"] == utils.encode_dss_signature(1, v)[5:].hex()


def test_a_refused_nonce_is_followed_by_the_next(board):
    """RFC 6979, 3.2 h: a k that gives r = 0 or s = 0 is thrown away and the generator goes on."""
    (got,) = board.run(
        """
import p256
real = p256.multiply
asked = []
def multiply(k):
    asked.append(k)
    if len(asked) == 1:
        yield
        return p256.N, 1  # r = N % N = 0
    return (yield from real(k))
p256.multiply = multiply
signature = p256.run(p256.sign(5, bytes(31) + b"\\x09"))
report(asked=len(set(asked)), der="".join("%02x" % b for b in signature))
"""
    ).reports
    assert got["asked"] == 2
    digest = bytes(31) + b"\x09"
    public = ec.derive_private_key(5, ec.SECP256R1()).public_key()
    public.verify(bytes.fromhex(got["der"]), digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))


def test_bad_digests_and_secrets_are_refused(board):
    run = board.run(
        """
import p256
for d, digest in ((1, b""), (1, bytes(31)), (1, bytes(33)), (0, bytes(32)), (p256.N, bytes(32))):
    try:
        p256.run(p256.sign(d, digest))
        report(refused=False)
    except ValueError as e:
        report(refused="32 bytes" in str(e))
"""
    )
    assert run.reports == [{"refused": True}] * 5


# -- manners -----------------------------------------------------------------------------------


def test_the_work_comes_in_small_equal_steps(board):
    """A step is a doubling and an addition, or a byte of an exponent: as many for every secret."""
    run = board.run(
        """
import p256
for d in (1, 2, 2**255, p256.N - 1):
    def steps(generator):
        n = 0
        while True:
            try:
                next(generator)
                n += 1
            except StopIteration:
                return n
    report(multiply=steps(p256.multiply(d)), csr=steps(p256.csr(d, bytes(65), "x")))
report(new_key=steps(p256.new_key()))
"""
    )
    assert run.reports == [{"multiply": 95, "csr": 128}] * 4 + [{"new_key": 95}]


def test_pem_lines_have_64_characters_and_end_in_a_newline(board):
    run = board.run(
        """
import p256
for n in (1, 47, 48, 49, 96):
    report(pem=p256.pem("CERTIFICATE REQUEST", bytes(n)).decode())
"""
    )
    for got in run.reports:
        lines = got["pem"].split("\n")
        assert lines[0] == "-----BEGIN CERTIFICATE REQUEST-----"
        assert lines[-2:] == ["-----END CERTIFICATE REQUEST-----", ""]
        body = lines[1:-2]
        assert [len(line) for line in body[:-1]] == [64] * (len(body) - 1)
        assert 0 < len(body[-1]) <= 64


def test_a_32_bit_board_computes_the_same_in_little_heap(heap32):
    """Digits of 16 bits, as on every microcontroller; this build has no os.urandom."""
    message, _k, r, s = RFC6979[0]
    result = heap32.run(
        """
import hashlib, p256
class Random:
    n = 0
    def urandom(self, size):
        self.n += 1
        return hashlib.sha256(str(self.n).encode()).digest()[:size]
p256.os = Random()
""",
        """
digest = hashlib.sha256(b"sample").digest()
print(p256.run(p256.sign(int("%s", 16), digest)).hex())
d, public = p256.run(p256.new_key())
print(public.hex(), "%%064x" %% d)
print(p256.run(p256.csr(d, public, "board")).hex())
del d, public, digest
"""
        % RFC6979_KEY,
    )
    signature, (point, d), request = (
        result.out[0],
        result.out[1].split(),
        bytes.fromhex(result.out[2]),
    )
    assert signature == utils.encode_dss_signature(int(r, 16), int(s, 16)).hex()
    assert point == "04" + "".join(openssl_multiple(int(d, 16)).values())
    assert x509.load_der_x509_csr(request).is_signature_valid
    assert heap32.import_cost("p256")["p256"] <= 7000
    assert result.heap[-1] - result.heap[1] <= 1000  # nothing stays behind
