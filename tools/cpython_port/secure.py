"""The port's stand-ins for `tls` and `ssl`: apart, since OpenSSL takes long to load."""

from . import tls as real_tls
from .device import guarded
from .modules import _module as module

_TLS_NAMES = """SSLContext PROTOCOL_TLS_CLIENT PROTOCOL_TLS_SERVER CERT_NONE CERT_OPTIONAL
    CERT_REQUIRED
    MBEDTLS_VERSION""".split()


class _SSLContext(real_tls.SSLContext):
    """micropython-lib's ssl.SSLContext: verifies only when asked to, reads files by name."""

    def __init__(self, *args):
        super().__init__(*args)
        self.verify_mode = real_tls.CERT_NONE

    def load_cert_chain(self, certfile, keyfile):
        super().load_cert_chain(_read(certfile), _read(keyfile))

    def load_verify_locations(self, cafile=None, cadata=None):
        super().load_verify_locations(_read(cafile) if cafile else cadata)

    def wrap_socket(
        self, sock, server_side=False, do_handshake_on_connect=True, server_hostname=None
    ):
        return super().wrap_socket(
            sock,
            server_side=server_side,
            do_handshake_on_connect=do_handshake_on_connect,
            server_hostname=server_hostname,
        )


def ssl():
    """The module `ssl`."""

    def wrap_socket(
        sock,
        server_side=False,
        key=None,
        cert=None,
        cert_reqs=real_tls.CERT_NONE,
        cadata=None,
        server_hostname=None,
        do_handshake=True,
    ):
        side = real_tls.PROTOCOL_TLS_SERVER if server_side else real_tls.PROTOCOL_TLS_CLIENT
        context = _SSLContext(side)
        if cert or key:
            context.load_cert_chain(cert, key)
        if cadata:
            context.load_verify_locations(cadata=cadata)
        context.verify_mode = cert_reqs
        return context.wrap_socket(sock, server_side, do_handshake, server_hostname)

    content = {name: getattr(real_tls, name) for name in _TLS_NAMES}
    content["SSLContext"] = _SSLContext
    return module("ssl", wrap_socket=wrap_socket, **content)


def tls():
    """The module `tls`."""
    return module("tls", **{name: getattr(real_tls, name) for name in _TLS_NAMES})


def _read(name_or_data):
    if isinstance(name_or_data, str):
        with guarded(open)(name_or_data, "rb") as file:
            return file.read()
    return name_or_data
