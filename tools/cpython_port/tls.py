"""
MicroPython's `tls` on CPython: mbedTLS's habits over OpenSSL.

Follows extmod/modtls_mbedtls.c: DER only (the unix build has no PEM), TLS 1.2, the handshake
inside the first read or write when it was not asked for before, errors with mbedTLS's texts and
numbers. A write that the socket didn't take whole gives None, and the next write is taken to be
the same bytes again.
"""

import os
import ssl
import tempfile

from .device import ERRNO, OSError
from .streams import POLLIN, POLLNVAL, POLLOUT, Stream

PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER = 0, 1
CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED = 0, 1, 2
MBEDTLS_VERSION = "OpenSSL for " + ssl.OPENSSL_VERSION
_EAGAIN = ERRNO["EAGAIN"]
_MAX_RECORD = 4096  # what one record of a write holds, as MicroPython configures mbedTLS
_READ_SIZE = 16384

# OpenSSL's verify codes -> mbedtls_x509_crt_verify_info(). OpenSSL names the first fault, mbedTLS
# all.
_FUTURE = "The certificate validity starts in the future"
_EXPIRED = "The certificate validity has expired"
_HOST = "The certificate Common Name (CN) does not match with the expected CN"
_CA = "The certificate is not correctly signed by the trusted CA"
_VERIFY_TEXT = {9: _FUTURE, 10: _EXPIRED, 62: _HOST, 64: _HOST}

_VERIFY_FAILED = (-9984, "MBEDTLS_ERR_X509_CERT_VERIFY_FAILED")
_NO_CA = (-30336, "MBEDTLS_ERR_SSL_CA_CHAIN_REQUIRED")
_BAD_RECORD = (-29184, "MBEDTLS_ERR_SSL_INVALID_RECORD")
_ALERT = (-30592, "MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE")
_EOF = (-29312, "MBEDTLS_ERR_SSL_CONN_EOF")
_OTHER = (-28160, "MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE")


class SSLContext:
    def __init__(self, protocol):
        server = protocol & 1
        self._real = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        self._real.maximum_version = ssl.TLSVersion.TLSv1_2
        self._has_ca = False
        self._chain = b""
        self.verify_mode = CERT_NONE if server else CERT_REQUIRED

    @property
    def verify_mode(self):
        return self._verify_mode

    @verify_mode.setter
    def verify_mode(self, mode):
        self._verify_mode = mode
        if mode == CERT_NONE:
            self._real.check_hostname = False
        self._real.verify_mode = ssl.VerifyMode(mode)

    def load_verify_locations(self, cadata):
        try:
            self._real.load_verify_locations(cadata=_certificate(cadata))
        except ssl.SSLError:
            raise ValueError("invalid cert") from None
        self._has_ca = True

    def load_cert_chain(self, cert, key):
        key = _key(key)
        # As mbedTLS: a further certificate goes behind those that are there.
        self._chain += ssl.DER_cert_to_PEM_cert(_certificate(cert)).encode()
        text = self._chain + key
        # CPython loads it from files only.
        handle, name = tempfile.mkstemp(prefix="picolink-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text)
            self._real.load_cert_chain(name)
        except ssl.SSLError as error:
            wrong_key = "KEY" in (error.reason or "")
            raise ValueError("invalid key" if wrong_key else "invalid cert") from None
        finally:
            os.unlink(name)

    def wrap_socket(
        self, sock, *, server_side=False, do_handshake_on_connect=True, server_hostname=None
    ):
        if server_hostname is None and self._verify_mode == CERT_REQUIRED and not server_side:
            raise ValueError("CERT_REQUIRED requires server_hostname")
        stream = SSLSocket(self, sock, server_side, server_hostname)
        if do_handshake_on_connect:
            stream._shake_hands_blocking()
        return stream


class SSLSocket(Stream):
    def __init__(self, context, sock, server_side, server_hostname):
        self._context = context
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        real = context._real
        real.check_hostname = bool(server_hostname) and context._verify_mode != CERT_NONE
        self._tls = real.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        self._unsent = b""  # records that the socket has not taken yet
        self._written = False  # whether those carry what a write() was asked to send
        self._secure = False
        self._failure = None
        self._wants = 0  # what the protocol waits for when that is not what the caller asked

    def setblocking(self, flag):
        self._sock.setblocking(flag)

    def cipher(self):
        name, version, _ = self._tls.cipher()
        return name, version

    def getpeercert(self, binary_form):
        if not binary_form:
            raise NotImplementedError
        return self._tls.getpeercert(True)

    def close(self):
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def _take(self, size):
        self._check()
        while True:
            self._flush(POLLOUT)
            try:
                if not self._secure:
                    self._shake_hands()
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._flush(POLLOUT)
                if not self._feed():
                    if not self._secure:
                        self._fail(_EOF)
                    return b""
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                self._explain(error)

    def _give(self, view):
        self._check()
        self._flush(0)
        if self._written:
            # As mbedtls_ssl_write(): the record that was under way is out now, and stands for this
            # call.
            self._written = False
            return min(len(view), _MAX_RECORD)
        while not self._secure:
            try:
                self._shake_hands()
            except ssl.SSLWantReadError:
                self._flush(0)
                try:
                    fed = self._feed()
                except OSError as error:
                    if error.errno == _EAGAIN:
                        self._wants = POLLIN
                    raise
                if not fed:
                    self._fail(_EOF)
            except ssl.SSLError as error:
                self._explain(error)
        self._flush(0)
        count = self._tls.write(view[:_MAX_RECORD])
        self._written = True
        self._flush(0)
        self._written = False
        return count

    def _poll(self, events):
        """What select.poll() asks of a stream without a descriptor."""
        if self._sock is None or self._failure:
            return POLLNVAL
        ready = 0
        if events & POLLIN and (self._tls.pending() or self._incoming.pending):
            ready = POLLIN
        asked = self._wants if self._wants and events & (POLLIN | POLLOUT) else events
        found = _poll_socket(self._sock, asked)
        if found & self._wants:
            found |= events & (POLLIN | POLLOUT)
        return ready | found

    def _check(self):
        self._wants = 0
        if self._failure:
            raise OSError(*self._failure)
        if self._sock is None:
            raise OSError(ERRNO["EBADF"])

    def _shake_hands(self):
        if not self._context._has_ca and self._context._verify_mode == CERT_REQUIRED:
            self._fail(_NO_CA)
        try:
            self._tls.do_handshake()
        finally:
            self._unsent += self._outgoing.read()
        self._secure = True
        self._flush(POLLOUT)

    def _shake_hands_blocking(self):
        while not self._secure:
            try:
                self._shake_hands()
            except ssl.SSLWantReadError:
                try:
                    self._flush(0)
                    if not self._feed():
                        self._fail(_EOF)
                except OSError as error:
                    if error.errno != _EAGAIN:
                        raise
                    _poll_socket(self._sock, POLLIN, 1)
            except ssl.SSLError as error:
                self._explain(error)

    def _feed(self):
        """Take in what the socket has; False at its end. OSError(EAGAIN): nothing yet."""
        try:
            data = self._sock._take(_READ_SIZE)
        except OSError as error:
            if error.errno != _EAGAIN:
                self._failure = error.args
            raise
        self._incoming.write(data)
        return bool(data)

    def _flush(self, wants):
        """Write the records under way; OSError(EAGAIN) when the socket lacks room for them."""
        self._unsent += self._outgoing.read()
        while self._unsent:
            try:
                count = self._sock._give(memoryview(self._unsent))
            except OSError as error:
                if error.errno != _EAGAIN:
                    self._failure = error.args
                else:
                    self._wants = wants
                raise
            self._unsent = self._unsent[count:]

    def _fail(self, failure):
        self._failure = failure
        raise OSError(*failure)

    def _explain(self, error):
        """Raise what mbedTLS would for this SSLError, and from now on."""
        try:
            self._flush(0)  # the alert that tells the peer
        except OSError:
            pass
        if isinstance(error, ssl.SSLCertVerificationError):
            self._failure = _VERIFY_FAILED
            text = _VERIFY_TEXT.get(error.verify_code, _CA)
            raise ValueError("\n" + text + "\n") from None
        reason = error.reason or ""
        if "ALERT" in reason:
            failure = _ALERT
        elif reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "BAD_RECORD_TYPE"):
            failure = _BAD_RECORD
        elif isinstance(error, ssl.SSLEOFError):
            failure = _EOF
        else:
            failure = _OTHER
        self._fail(failure)


def _poll_socket(sock, events, timeout_ms=0):
    from .streams import Poll

    poll = Poll()
    poll.register(sock, events)
    for _, flags in poll.poll(timeout_ms):
        return flags
    return 0


def _data(value):
    if not isinstance(value, (bytes, str)):
        raise TypeError("can't convert '{}' object to str implicitly".format(type(value).__name__))
    return value.encode() if isinstance(value, str) else value


def _certificate(value):
    """A certificate in DER as mbedTLS takes it, without what trails it."""
    data = _data(value)
    if data[:1] != b"\x30" or len(data) < 4 or data[1] != 0x82:
        raise ValueError("invalid cert")
    return data[: 4 + int.from_bytes(data[2:4], "big")]


def _key(value):
    """A private key in DER (PKCS #8, SEC 1 or PKCS #1) as the PEM that OpenSSL reads."""
    data = _data(value)
    if data[:1] != b"\x30":
        raise ValueError("invalid key")
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_der_private_key(data, None)
    except (ValueError, TypeError):
        raise ValueError("invalid key") from None
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
