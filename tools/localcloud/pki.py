"""
Certificates of the local cloud: its CA, the servers', clients', and deliberately bad ones.

Made on first start into a directory (keys 0600, written whole or not at all) and made again when
names are missing or the end is near. ECDSA P-256 unless RSA is asked for. PEM and DER of all.
With RSA, as with the real services, a server's certificate is signed by an authority between it
and the root: the server shows both, a client has the root. With ECDSA the root signs it.
What clients need: ca.pem or ca.der. Stands on cryptography.
"""

import datetime
import ipaddress
import os
import ssl
import tempfile

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
SERVER_DAYS = 390
RENEW_DAYS = 30  # before the end, a certificate is made again at the next start
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

_PARTIAL_CHAIN = 0x80000  # X509_V_FLAG_PARTIAL_CHAIN; ssl names it from Python 3.10 on
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME


class _Certified:
    """Has a certificate."""

    @property
    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self):
        return self.certificate.public_bytes(serialization.Encoding.DER)


class Issued(_Certified):
    """One certificate with its key (None when a CSR was signed). chain: its issuers' PEM."""

    def __init__(self, certificate, key=None, chain=b""):
        self.certificate = certificate
        self.key = key
        self.chain = chain

    @property
    def key_pem(self):
        """Unencrypted, in the traditional form ("EC PRIVATE KEY", "RSA PRIVATE KEY")."""
        return _key_bytes(self.key, serialization.Encoding.PEM)

    @property
    def key_der(self):
        return _key_bytes(self.key, serialization.Encoding.DER)

    @property
    def common_name(self):
        return common_name(self.certificate)

    def write(self, directory, name):
        """Write <name>.pem, .der, -key.pem, -key.der; the paths of certificate and key (PEM)."""
        base = os.path.join(directory, name)
        write_private(base + "-key.pem", self.key_pem)
        write_private(base + "-key.der", self.key_der)
        write_public(base + ".der", self.der)
        write_public(base + ".pem", self.pem + self.chain)
        return base + ".pem", base + "-key.pem"

    def server_context(self, **options):
        """An SSLContext that serves with it; options as server_context()."""
        with tempfile.TemporaryDirectory() as directory:
            return server_context(*self.write(directory, "server"), **options)


def server_context(certificate, key, client_ca=None, client_required=False):
    """
    TLS 1.2 and 1.3 for a server. certificate, key: PEM file names. client_ca: PEM text or DER
    bytes of whom clients' certificates may come from: they are asked for one, and with
    client_required they must have one. More issuers, or single certificates, may be trusted later
    with context.load_verify_locations(cadata=...).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Of TLS 1.2 what Azure has left since August 2025; the other services take it, too.
    context.set_ciphers("ECDHE+AESGCM:ECDHE+AES:!aNULL")
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED if client_required else ssl.CERT_OPTIONAL
        context.verify_flags |= _PARTIAL_CHAIN
        context.load_verify_locations(cadata=client_ca)
    return context


def truster(context):
    """
    A function that lets a server's context trust the issuer, or certificate, in a PEM. Whether a
    client's certificate is valid now is then for the service to say: its clock may be moved, and
    the real ones let such a client in at TLS, too, and refuse it in MQTT.
    """
    context.verify_flags |= _NO_CHECK_TIME
    return lambda pem: context.load_verify_locations(cadata=pem)


def client_context(ca, certificate=None, key=None):
    """For tests and tools: trusts only `ca` (a PEM file name), shows the certificate if given."""
    context = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


class Authority(_Certified):
    """
    A CA. Authority() makes one that lives in memory; Authority.load(directory) keeps it there.

    key_type: "ec" (P-256) or "rsa" (2048), for it and, unless said otherwise, for all it issues.
    """

    def __init__(self, name="picolink local cloud CA", key_type="ec", _made=None, issuer=None):
        self.key_type = key_type
        self.chain = b""  # what a server must show beside a certificate of this authority
        if _made is not None:
            self.certificate, self.key = _made
        else:
            self._make(_name(name), issuer)
        if issuer is not None:
            self.chain = self.pem + issuer.chain

    def _make(self, subject, issuer):
        self.key = make_key(self.key_type)
        start, end = _span(None, None, CA_DAYS)
        public_key = self.key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(True, self._levels_below(issuer)), True)
            .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
        )
        if issuer is not None:
            above = issuer.key.public_key()
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(above), False
            )
        self.certificate = builder.sign(
            self.key if issuer is None else issuer.key, hashes.SHA256()
        )

    def _levels_below(self, issuer):
        return 1 if issuer is None and self.key_type == "rsa" else 0

    @classmethod
    def load(
        cls, directory, name="picolink local cloud CA", key_type="ec", issuer=None, file="ca"
    ):
        """
        The CA kept in `directory` as <file>.pem, .der and -key.pem; made when it is not there,
        can't be read, ends soon, has another key type or (a root) could sign no other authority.
        issuer: the Authority above it, None for a root.
        """
        pem = os.path.join(directory, file + ".pem")
        key = os.path.join(directory, file + "-key.pem")
        made = _read_pair(pem, key, key_type)
        if made is not None and _can_issue(made[0], issuer, key_type):
            return cls(name, key_type, made, issuer)
        authority = cls(name, key_type, issuer=issuer)
        write_private(key, _key_bytes(authority.key, serialization.Encoding.PEM))
        write_public(os.path.join(directory, file + ".der"), authority.der)
        write_public(pem, authority.pem)
        return authority

    def issue_server(
        self, names=LOCAL_NAMES, not_before=None, not_after=None, key_type=None, common_name=None
    ):
        """
        A server's certificate. names: host names (wildcards too) and IP addresses. not_before,
        not_after: datetimes in UTC, for those that are expired or not valid yet.
        """
        key = make_key(key_type or self.key_type)
        return self._issue(
            _name(common_name or names[0]),
            key.public_key(),
            _span(not_before, not_after, SERVER_DAYS),
            ExtendedKeyUsageOID.SERVER_AUTH,
            key,
            names,
        )

    def issue_client(self, common_name, not_before=None, not_after=None, key_type=None):
        """A client's certificate with this subject CN."""
        key = make_key(key_type or self.key_type)
        return self._issue(
            _name(common_name),
            key.public_key(),
            _span(not_before, not_after, SERVER_DAYS),
            ExtendedKeyUsageOID.CLIENT_AUTH,
            key,
        )

    def sign_csr(self, csr, common_name=None, days=SERVER_DAYS):
        """
        A client's certificate for a CSR (PEM or DER bytes). common_name replaces the CSR's.
        ValueError when it is no CSR, or its signature is wrong.
        """
        try:
            load = x509.load_pem_x509_csr if b"-----BEGIN" in csr else x509.load_der_x509_csr
            request = load(csr)
            good = request.is_signature_valid
        except (ValueError, TypeError, InvalidSignature) as e:
            raise ValueError("this is no certificate request: %s" % e)
        if not good:
            raise ValueError("the request's signature is not made by its key")
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if common_name is None and not names:
            raise ValueError("the request has no common name")
        return self._issue(
            _name(common_name or names[0].value),
            request.public_key(),
            _span(None, None, days),
            ExtendedKeyUsageOID.CLIENT_AUTH,
        )

    def _issue(self, subject, public_key, span, usage, key=None, names=()):
        # An RSA key may also be used to transport a session key (TLS 1.2 without ECDHE).
        wraps = isinstance(public_key, rsa.RSAPublicKey)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(span[0])
            .not_valid_after(span[1])
            .add_extension(x509.BasicConstraints(False, None), True)
            .add_extension(_key_usage(digital_signature=True, key_encipherment=wraps), True)
            .add_extension(x509.ExtendedKeyUsage([usage]), False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(n) for n in names]), False
            )
        return Issued(builder.sign(self.key, hashes.SHA256()), key, self.chain)


class Pki:
    """
    The CA and the server certificate kept in a directory.

    names: what the server is called, beside LOCAL_NAMES. After construction: authority, ca_pem and
    ca_der, server_pem and server_key (file names).
    """

    def __init__(self, directory, names=(), key_type="ec"):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self.directory = directory
        self.names = list(dict.fromkeys(list(LOCAL_NAMES) + list(names)))
        self.authority = Authority.load(directory, key_type=key_type)
        self.issuing = self.authority
        if key_type == "rsa":
            # What stands between the root and the server, as with every public service.
            self.issuing = Authority.load(
                directory, "picolink local cloud issuing CA", key_type, self.authority, "issuing"
            )
        self.ca_pem = os.path.join(directory, "ca.pem")
        self.ca_der = os.path.join(directory, "ca.der")
        self.server_pem = os.path.join(directory, "server.pem")
        self.server_key = os.path.join(directory, "server-key.pem")
        if not self._server_is_good(key_type):
            issued = self.issuing.issue_server(self.names, common_name="picolink local cloud")
            issued.write(directory, "server")

    def _server_is_good(self, key_type):
        made = _read_pair(self.server_pem, self.server_key, key_type)
        if made is None:
            return False
        try:
            made[0].verify_directly_issued_by(self.issuing.certificate)
            has = made[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return False
        return set(_general_name(n) for n in self.names) <= set(has)

    def server_context(self, ask_client=False, client_required=False):
        """For listeners. ask_client: the TLS client may show a certificate of this CA."""
        return server_context(
            self.server_pem,
            self.server_key,
            self.authority.pem.decode() if ask_client or client_required else None,
            client_required,
        )


# ---- certificates read


def common_name(certificate):
    """The subject's CN of a certificate (x509 object, PEM or DER bytes), or None."""
    if isinstance(certificate, bytes):
        load = (
            x509.load_pem_x509_certificate
            if certificate.lstrip()[:10] == b"-----BEGIN"
            else x509.load_der_x509_certificate
        )
        certificate = load(certificate)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return names[0].value if names else None


def is_valid(der, now):
    """Is a certificate (DER) valid at this time, seconds since 1970?"""
    certificate = x509.load_der_x509_certificate(der)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return start.timestamp() <= now <= end.timestamp()


def thumbprint(der, algorithm="sha1"):
    """Upper-case hex digest of a certificate, as Azure names certificates."""
    digest = hashes.Hash(hashes.SHA1() if algorithm == "sha1" else hashes.SHA256())
    digest.update(der)
    return digest.finalize().hex().upper()


# ---- files


def write_private(path, data):
    _write(path, data, 0o600)


def write_public(path, data):
    _write(path, data, 0o644)


def _write(path, data, mode):
    """Whole or not at all, and never readable by others in between."""
    unfinished = "%s.%d.tmp" % (path, os.getpid())
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


def _can_issue(certificate, issuer, key_type):
    """May a kept authority go on: a root sign one below it, another one still be its issuer's?"""
    if key_type != "rsa":
        return True
    try:
        if issuer is not None:
            certificate.verify_directly_issued_by(issuer.certificate)
            return True
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        return found.path_length != 0
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False


def _read_pair(pem, key_pem, key_type):
    """(certificate, key) when both are there, belong together and last; else None."""
    try:
        with open(pem, "rb") as f:
            certificate = x509.load_pem_x509_certificate(f.read())
        with open(key_pem, "rb") as f:
            key = serialization.load_pem_private_key(f.read(), None)
    except (OSError, ValueError, TypeError):
        return None
    kind = ec.EllipticCurvePrivateKey if key_type == "ec" else rsa.RSAPrivateKey
    ends = certificate.not_valid_after_utc - datetime.timedelta(days=RENEW_DAYS)
    now = _now()
    if not isinstance(key, kind) or not certificate.not_valid_before_utc <= now < ends:
        return None
    return (certificate, key) if certificate.public_key() == key.public_key() else None


# ---- small parts


def make_key(key_type="ec"):
    """A private key: "ec" is P-256, "rsa" 2048 bits."""
    if key_type == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    if key_type == "rsa":
        return rsa.generate_private_key(65537, 2048)
    raise ValueError("key type is ec or rsa, not %r" % (key_type,))


def _key_bytes(key, encoding):
    return key.private_bytes(
        encoding,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _now():
    return datetime.datetime.now(datetime.timezone.utc)


def _span(not_before, not_after, days):
    # A day back: the clocks of small boards are seldom right.
    start = not_before or _now() - datetime.timedelta(days=1)
    end = not_after or _now() + datetime.timedelta(days=days)
    if start >= end:
        start = end - datetime.timedelta(days=days)
    return start, end


def _name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(**true):
    usages = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    usages.update(true)
    return x509.KeyUsage(**usages)
