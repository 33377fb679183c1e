"""ibmiotc/application.py: a constructor that connects, and the older callbacks' names."""

from ibm_rig import APPLICATION


def test_the_constructor_connects_and_the_older_callbacks_are_other_names(board, rig):
    program = board.start(
        """
        import ibmiotc.application
        client = ibmiotc.application.Client(options)
        report(connected=client.isConnected())

        def heard(event):
            report(device=event.device, event=event.event, data=event.data)

        def came(status):
            report(device=status.device, action=status.action)

        client.eventCallback = heard
        client.statusCallback = came
        report(same=[client.deviceEventCallback is heard, client.deviceStatusCallback is came,
                     client.eventCallback is heard, client.statusCallback is came])
        client.subscribeToDeviceEvents()
        client.subscribeToDeviceStatus()
        report(sent=[client.publishEvent("pump", "p1", "status", {"a": 1}),
                     client.publishCommand("pump", "p1", "reboot", {"b": 2})])
        while True:
            client.do_next(100)
        """,
        options=dict(APPLICATION, port=rig.port),
    )
    assert program.next_report() == {"connected": True}
    assert program.next_report() == {"same": [True] * 4}
    assert program.next_report() == {"sent": [True, True]}
    rig.wait(lambda: len(rig.witness.publishes) == 2 and len(rig.witness.subscribes) == 2)
    assert [p.topic for p in rig.witness.publishes] == [
        "iot-2/type/pump/id/p1/evt/status/fmt/json",
        "iot-2/type/pump/id/p1/cmd/reboot/fmt/json",
    ]
    rig.send("iot-2/type/pump/id/p1/evt/status/fmt/json", '{"d":{"a":1}}')
    assert program.next_report() == {"device": "pump:p1", "event": "status", "data": {"a": 1}}
    rig.send("iot-2/type/pump/id/p1/mon", '{"Action":"Connect"}')
    assert program.next_report() == {"device": "pump:p1", "action": "Connect"}


def test_a_config_file_needs_no_section_line(board, tmp_path):
    path = tmp_path / "application.cfg"
    path.write_text("org=abc123\nid=dash\nauth-method=apikey\nauth-key=k\nauth-token=t\n")
    run = board.run(
        "import ibmiotc.application\nreport(got=ibmiotc.application.ParseConfigFile(path))",
        path=path,
    )
    assert run.report["got"] == {
        "org": "abc123",
        "id": "dash",
        "auth-method": "apikey",
        "auth-key": "k",
        "auth-token": "t",
    }
