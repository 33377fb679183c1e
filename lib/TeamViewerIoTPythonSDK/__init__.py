"""The import names of TeamViewer's own SDK. The code is teamviewer_iot's."""

from .TVCMI_client import CertOverrideMode, TVCMI_client  # noqa: F401
from .TVCMI_error import *  # noqa: F403
