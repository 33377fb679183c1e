"""ibmiotc: the older name, whose constructors connect. One implementation, ibmiotf's."""

from ibm_rig import APPLICATION


def test_errors_are_ibmiotfs_and_come_out_of_the_constructor(board, rig):
    rig.witness.refuse = 5
    run = board.run(
        """
        import ibmiotc.application
        import ibmiotf
        try:
            ibmiotc.application.Client(options)
        except ibmiotc.ConnectionException as e:
            report(error=str(e), same=isinstance(e, ibmiotf.ConnectionException))
        options["auth-key"] = None
        try:
            ibmiotc.application.Client(options)
        except ibmiotc.ConfigurationException as e:
            report(error=str(e))
        """,
        options=dict(APPLICATION, port=rig.port),
    )
    refused, missing = run.reports
    assert refused["same"] and "not authorized" in refused["error"]
    assert missing["error"] == "Missing required property: auth-key"
