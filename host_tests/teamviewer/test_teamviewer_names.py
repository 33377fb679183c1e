"""The documents' names of error codes."""

CODES = [
    "UnknownError", "NoBackendConnection", "NoLicence", "InternalError", "InvalidJson",
    "JsonIsNotAObject", "MissingParameter", "ParameterIsNotAString", "ParameterIsNotANumber",
    "ParameterisNotABool", "ParameterIsNotAnArray", "ParameterIsNotAnInteger", "UnknownValueUnit",
    "UnknownMetricType", "ValueUnitOrValueTypeHasToBeProvided", "UnknownSensorId",
    "UnknownMetricId", "NoMetricsUpdated", "ForbiddendAccess", "OutOfRange",
]  # fmt: skip


def test_every_code_has_the_documents_name(board):
    got = board.run(
        """
        import teamviewer_iot
        report(names=[teamviewer_iot.error_name(code) for code in range(20)],
               own=[teamviewer_iot.error_name(code) for code in (20, 21, 22)],
               other=[teamviewer_iot.error_name(code) for code in (-1, 23, 999)])
        """
    ).report
    assert got["names"] == CODES
    assert got["own"] == ["CallbackArgumentsMismatch", "TLSError", "NoAnswer"]
    assert got["other"] == ["UnknownError"] * 3
