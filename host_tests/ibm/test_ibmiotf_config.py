"""ibmiotf/config.py, and ParseConfigFile of the device and the application."""

PARSE = """
    import ibmiotf.device
    import ibmiotf.application
    import os

    def parse(module, text):
        with open(path, "w") as f:
            f.write(text)
        try:
            report(got=module.ParseConfigFile(path))
        except ibmiotf.ConfigurationException as e:
            report(error=str(e))

"""

DEVICE = """org=abc123
{}=pump
id=p1
auth-method=token
auth-token=s=e#c;ret
"""
APPLICATION = """org=abc123
id=dash
auth-method=apikey
auth-key=a-abc123-x1y2z3
auth-token=secret
"""


def run(board, tmp_path, *calls):
    source = PARSE + "".join("    parse(ibmiotf.%s, %r)\n" % call for call in calls)
    return board.run(source, path=tmp_path / "client.cfg").reports


def test_with_and_without_the_section_line_typ_and_type(board, tmp_path):
    texts = [
        head + DEVICE.format(key)
        for head in ("", "[device]\n", "# mine\n\n[device]\r\n", "[other]\nx=1\n [device] \n")
        for key in ("type", "typ")
    ]
    reports = run(board, tmp_path, *[("device", text) for text in texts])
    for report in reports:
        assert report["got"] == {
            "org": "abc123",
            "type": "pump",
            "id": "p1",
            "auth-method": "token",
            "auth-token": "s=e#c;ret",
        }
    assert len(reports) == 8


def test_an_application_reads_its_own_section(board, tmp_path):
    both = "[device]\n" + DEVICE.format("type") + "[application]\n" + APPLICATION
    for report in run(
        board,
        tmp_path,
        ("application", APPLICATION),
        ("application", both),
        ("application", "[application]\n" + APPLICATION + "[device]\n" + DEVICE.format("typ")),
    ):
        assert report["got"] == {
            "org": "abc123",
            "id": "dash",
            "auth-method": "apikey",
            "auth-key": "a-abc123-x1y2z3",
            "auth-token": "secret",
        }


def test_missing_keys_are_none_and_further_options_get_their_type(board, tmp_path):
    text = (
        "org = abc123\nPORT = 443\nssl = False\n\nclean-session=false\nca=/ca.der\n"
        "domain = iot.example.com\n; id = no\n"
    )
    (report,) = run(board, tmp_path, ("device", text))
    assert report["got"] == {
        "org": "abc123",
        "type": None,
        "id": None,
        "auth-method": None,
        "auth-token": None,
        "port": 443,
        "ssl": False,
        "clean-session": False,
        "ca": "/ca.der",
        "domain": "iot.example.com",
    }


def test_pain_39_a_byte_order_mark_is_passed_over(board, tmp_path):
    texts = ["\ufeff[device]\n" + DEVICE.format("type"), "\ufeff" + DEVICE.format("type")]
    texts.append("\ufeff\n\n[device]\n" + DEVICE.format("type"))
    for report in run(board, tmp_path, *[("device", text) for text in texts]):
        assert report["got"]["org"] == "abc123" and report["got"]["id"] == "p1"


def test_pain_45_ports_and_names_with_a_slip_are_looked_at_in_a_file_as_well(board, tmp_path):
    texts = ["org=abc123\nport=8883\napi-port=\n", "org=abc123\nhots=broker.lan\n"]
    texts += ["org=abc123\nport=70000\n", "org=abc123\nauthToken=x\n"]
    good, slip, number, spelling = run(board, tmp_path, *[("device", text) for text in texts])
    assert good["got"]["port"] == 8883 and good["got"]["api-port"] is None
    assert slip["error"] == "option 'hots': write 'host'"
    assert number["error"].startswith("port: must be a number from ")
    assert spelling["got"]["auth-token"] == "x" and "authtoken" not in spelling["got"]


def test_a_file_that_cant_be_used_is_a_configuration_exception(board, tmp_path):
    reports = run(
        board,
        tmp_path,
        ("device", "[application]\norg=abc123\n"),
        ("device", ""),
        ("device", "org=abc123\nmysecrettoken\n"),
        ("device", "org=abc123\nport=https\n"),
        ("device", "org=abc123\nclean-session=no\n"),
        ("application", "ssl=\n"),
    )
    errors = [report["error"] for report in reports]
    assert "no [device] section" in errors[0] and "no [device] section" in errors[1]
    assert "line 2" in errors[2] and "mysecret" not in errors[2]
    assert "port" in errors[3]
    assert errors[4:] == ["clean-session: must be true or false", "ssl: must be true or false"]
    run_ = board.run(
        PARSE
        + """
    try:
        ibmiotf.device.ParseConfigFile("/no/such/file")
    except ibmiotf.ConfigurationException as e:
        report(error=str(e))
    """,
        path="x",
    )
    assert "/no/such/file" in run_.report["error"]
