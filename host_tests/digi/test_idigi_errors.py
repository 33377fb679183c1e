"""The exceptions of the Digi client are the same wherever a program finds them."""


def test_one_class_each(board):
    report = board.run(
        """
        import idigi_errors
        import idigi_messages
        import idigi_monitor_api
        import idigi_xml
        e = idigi_errors.MonitorError("text", 429, 7)
        report(
            monitor=idigi_monitor_api.MonitorError is idigi_errors.MonitorError,
            block=idigi_monitor_api.BlockError is idigi_messages.BlockError,
            xml=idigi_xml.BlockError is idigi_errors.BlockError,
            value=issubclass(idigi_errors.BlockError, ValueError),
            told=(str(e), e.status, e.retry_after),
        )
        """
    ).report
    assert report == {
        "monitor": True,
        "block": True,
        "xml": True,
        "value": True,
        "told": ["text", 429, 7],
    }
