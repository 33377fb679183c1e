"""`import TeamViewerIoTPythonSDK.TVCMI_error as Error`, as in the documents' examples."""

from teamviewer_iot import (  # noqa: F401
    CallbackError,
    ConfigError,
    ConnectionError,
    ConnectionParamError,
    DirectoryError,
    FileError,
    InputError,
    KeyCertificateError,
    KeyGenerationError,
    TLSError,
    TvcmiError,
)
