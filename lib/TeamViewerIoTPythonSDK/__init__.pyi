from .TVCMI_client import CertOverrideMode as CertOverrideMode
from .TVCMI_client import TVCMI_client as TVCMI_client
from .TVCMI_error import *  # noqa: F403
