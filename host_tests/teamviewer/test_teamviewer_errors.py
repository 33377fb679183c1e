"""One class each of what the client raises, made when the first is asked for."""

import pytest


def test_classes_are_made_by_the_first_that_is_asked_for(board):
    """Until then they take no room; then there is one of each, under whatever name."""
    got = board.run(
        """
        import sys
        import teamviewer_iot
        before = "teamviewer_errors" in sys.modules
        kind = teamviewer_iot.InputError
        import teamviewer_errors
        from teamviewer_iot import TLSError, TvcmiError
        import netstream
        try:
            teamviewer_iot.TVCMI_client({})
        except TvcmiError as e:
            raised = type(e) is kind
        try:
            teamviewer_iot.no_such_name
            missing = False
        except AttributeError:
            missing = True
        report(before=before, same=teamviewer_errors.InputError is kind, raised=raised,
               own=TLSError is not netstream.TLSError and issubclass(TLSError, TvcmiError),
               missing=missing)
        """
    ).report
    assert got == {"before": False, "same": True, "raised": True, "own": True, "missing": True}


def test_import_star_brings_all_of_them(board):
    if board.kind == "micropython32":
        pytest.skip("MicroPython 1.25 does not look at __all__")
    got = board.run(
        """
        from teamviewer_iot import *
        report(smart=CertOverrideMode.SMART, classes=[issubclass(one, TvcmiError) for one in (
            CallbackError, TLSError, ConnectionParamError, ConnectionError, FileError, ConfigError,
            InputError, DirectoryError, KeyGenerationError, KeyCertificateError)],
            name=error_name(4), client=TVCMI_client.__name__)
        """
    ).report
    assert got == {
        "smart": 3,
        "classes": [True] * 10,
        "name": "InvalidJson",
        "client": "TVCMI_client",
    }
