import teamviewer_iot
from teamviewer_iot import CertOverrideMode as CertOverrideMode

class TVCMI_client(teamviewer_iot.TVCMI_client): ...
