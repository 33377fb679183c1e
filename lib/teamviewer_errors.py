"""
What a TeamViewer client raises, and the modes of OverrideCerts. teamviewer_iot has all of these
names; this file is loaded by the first of them that is asked for, and stays.
"""


class TvcmiError(Exception):
    """What the calls here raise. error_code: int or None; message: what is wrong, and the cure."""

    def __init__(self, error_code=None, message="An error occurred."):
        super().__init__(message)
        self.error_code = error_code
        self.message = message


class CallbackError(TvcmiError):
    """Kept for programs that name it; what a callback raises comes out of do_next() as it is."""


class TLSError(TvcmiError):
    """CA, certificate or key can't be used for TLS."""


class ConnectionParamError(TvcmiError):
    """A number among the parameters is none, or out of bounds; the text names it."""


class ConnectionError(TvcmiError):
    """Call connect_api() first; or 16 calls wait for answers: do_next(), then try again."""


class FileError(TvcmiError):
    """A file is missing, or can't be read or written. error_code: errno."""


class ConfigError(TvcmiError):
    """The parameters are neither JSON nor a readable configuration file."""


class InputError(TvcmiError):
    """An argument or parameter is missing or wrong. error_code: what the agent would say."""


class DirectoryError(TvcmiError):
    """CertFolder can't be made. error_code: errno."""


class KeyGenerationError(TvcmiError):
    """No private key could be made on this board."""


class KeyCertificateError(TvcmiError):
    """A certificate is damaged, ended, or another key's."""


class CertOverrideMode:
    """OverrideCerts: what provision() does about files that exist. The number or the name."""

    OVERRIDE = 1  # delete them and provision
    NOT_OVERRIDE = 2  # keep them
    SMART = 3  # keep them if the agent accepts them
