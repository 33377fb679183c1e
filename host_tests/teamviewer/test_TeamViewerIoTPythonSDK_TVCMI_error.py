"""The errors under the documents' import name are the library's own."""

NAMES = [
    "CallbackError",
    "ConfigError",
    "ConnectionError",
    "ConnectionParamError",
    "DirectoryError",
    "FileError",
    "InputError",
    "KeyCertificateError",
    "KeyGenerationError",
    "TLSError",
    "TvcmiError",
]


def test_the_errors_are_the_same_and_of_one_family(board):
    got = board.run(
        """
import teamviewer_iot
import TeamViewerIoTPythonSDK as package
import TeamViewerIoTPythonSDK.TVCMI_error as Error
for name in names:
    kind = getattr(Error, name)
    same = kind is getattr(teamviewer_iot, name) and kind is getattr(package, name)
    report(name=name, same=same, family=issubclass(kind, Error.TvcmiError))
e = Error.TvcmiError(15, "what to do")
report(code=e.error_code, message=e.message, text=str(e))
report(default=str(Error.TvcmiError()))
""",
        names=NAMES,
    ).reports
    assert got[:-2] == [{"name": name, "same": True, "family": True} for name in NAMES]
    assert got[-2] == {"code": 15, "message": "what to do", "text": "what to do"}
    assert got[-1]["default"]


def test_a_program_can_catch_them_all(board):
    got = board.run(
        """
from TeamViewerIoTPythonSDK import TVCMI_client
from TeamViewerIoTPythonSDK.TVCMI_error import TvcmiError
try:
    TVCMI_client("{}")
except TvcmiError as e:
    report(code=e.error_code, text=e.message)
"""
    ).report
    assert got["code"] == 6
    assert "MqttHost" in got["text"]
