"""ibmiotf/options.py and option_names.py: what a client makes of the options it is given."""

import pytest
from ibm_options_rig import APPLICATION, DEVICE, TOKEN, made, without

CLOSED = "internetofthings.ibmcloud.com was closed on 2023-12-01"


def test_pain_45_a_number_may_be_a_text_and_anything_else_is_an_error_that_names_it(board):
    good = [("port", "1883"), ("port", 1883), ("port", " 1883 "), ("max-packet", "4096")]
    good += [("port", None), ("port", ""), ("port", 0), ("api-port", "8443")]
    bad = [("port", "https"), ("port", 70000), ("port", -1), ("port", 1883.5), ("port", True)]
    bad += [("max-packet", "2 KB"), ("max-packet", 3), ("api-port", [443]), ("port", b"1883")]
    reports = made(board, *[("device", dict(DEVICE, **{key: v})) for key, v in good + bad])
    assert [report.get("port") for report in reports[: len(good)]] == [1883] * len(good)
    for (key, value), report in zip(bad, reports[len(good) :]):
        assert report["error"] == "ConfigurationException", (key, value)
        assert report["text"].startswith(key + ": must be a number from "), report


def test_pain_45_switches_may_be_texts(board):
    cases = [("ssl", "False"), ("clean-session", "FALSE"), ("clean-session", "true")]
    cases += [("clean-session", False), ("ssl", "no"), ("clean-session", "")]
    reports = made(board, *[("device", dict(DEVICE, **{key: v})) for key, v in cases])
    assert [report.get("clean") for report in reports[:4]] == [True, False, True, False]
    assert reports[4]["text"] == "ssl: must be true or false"
    assert reports[5]["text"] == "clean-session: must be true or false"


def test_pain_45_a_name_one_slip_away_from_a_known_one_is_an_error_that_says_which(board):
    slips = {
        "hots": "host",
        "hst": "host",
        "hostt": "host",
        "Host": "host",
        "prot": "port",
        "ports": "port",
        "orgs": "org",
        "tpye": "type",
        "auth_token": "auth-token",
        "auth-tokn": "auth-token",
        "clean_session": "clean-session",
        "cleansession": "clean-session",
        "transpotr": "transport",
        "domian": "domain",
        "maxpacket": "max-packet",
        "ID": "id",
        "Ca": "ca",
        "idd": "id",
        "api_host": "api-host",
    }
    reports = made(board, *[("device", dict(DEVICE, **{name: "x"})) for name in slips])
    for (name, right), report in zip(slips.items(), reports):
        assert report.get("error") == "ConfigurationException", name
        assert report["text"] == "option {!r}: write {!r}".format(name, right)


def test_pain_45_all_other_unknown_names_pass(board):
    names = ["ip", "cn", "mine", "note", "hostname", "keepalive", "x", "", "shared", "tls"]
    reports = made(board, *[("device", dict(DEVICE, **{name: "x"})) for name in names])
    assert [report.get("server") for report in reports] == ["broker.lan"] * len(names)
    assert made(board, ("device", {**DEVICE, 5: "x", None: 1}))[0]["server"] == "broker.lan"


def test_pain_45_the_defaults_are_looked_at_as_well(board):
    run = board.run(
        """
        import ibmiotf.device
        ibmiotf.defaults["hots"] = "broker.lan"
        try:
            ibmiotf.device.Client(options)
        except ibmiotf.ConfigurationException as e:
            report(text=str(e))
        """,
        options=DEVICE,
    )
    assert run.report["text"] == "option 'hots': write 'host'"


def test_pain_46_tls_in_other_words_is_an_error_that_names_it(board):
    for word in ("verify", "certfile", "keyfile", "caFile", "ca_certs", "cert", "cadata"):
        (report,) = made(board, ("device", dict(DEVICE, ca="ca.der", **{word: False})))
        assert report["error"] == "ConfigurationException"
        assert repr(word) in report["text"] and "'ssl'" in report["text"]


def test_pain_67_the_proses_spellings_are_taken_too(board):
    device = dict(without(DEVICE, *TOKEN), authMethod="token", authToken="s3cret")
    application = dict(
        without(APPLICATION, "auth-method", "auth-key", "auth-token"),
        authMethod="apikey",
        authKey="a-abc123-k",
        authToken="s3cret",
    )
    broker = dict(device, authKey="me")
    typ = dict(without(DEVICE, "type"), typ="pump")
    reports = made(
        board,
        ("device", device),
        ("application", application),
        ("broker", broker),
        ("broker", device),
        ("device", typ),
    )
    assert [(r.get("user"), r.get("password")) for r in reports] == [
        ("use-token-auth", "s3cret"),
        ("a-abc123-k", "s3cret"),
        ("me", "s3cret"),
        ("pump/id/p1", "s3cret"),
        ("use-token-auth", "s3cret"),
    ]
    for report in reports:
        assert not [name for name in report["options"] if name != name.lower()]


# Plays a DNS that knows no such name, and counts how often it is asked.
NO_SUCH_NAME = """
    import netstream
    import socket

    class Resolver:
        def __getattr__(self, name):
            return getattr(socket, name)

        def getaddrinfo(self, host, port, *more):
            raise OSError(-2, "no such name")

    netstream.socket = Resolver()
"""


@pytest.mark.parametrize("domain", [None, "internetofthings.ibmcloud.com"])
def test_the_closed_platform_is_told_as_such(board, domain):
    options = without(DEVICE, "host")
    if domain:
        options["domain"] = domain
    run = board.run(
        NO_SUCH_NAME
        + """
    import ibmiotf.device
    client = ibmiotf.device.Client(options)
    heard = []
    client.errorCallback = heard.append
    try:
        client.connect()
    except ibmiotf.ConnectionException as e:
        report(text=str(e), heard=heard, kept=str(client.error), sent=client.publishEvent("e", {}))
    """,
        options=options,
    )
    got = run.report
    assert got["text"] == got["kept"] and got["text"].startswith(CLOSED)
    assert "'domain'" in got["text"] and "'host'" in got["text"]
    assert got["sent"] is False and len(got["heard"]) == 1


def test_the_closed_platforms_api_is_told_as_such(board):
    options = dict(without(APPLICATION, "host"), ca=b"CA")
    run = board.run(
        NO_SUCH_NAME
        + """
    import rest
    import ibmiotf.application

    class Context:
        def wrap_socket(self):
            pass

    rest.tls_context = lambda ssl, params=None: Context()
    try:
        ibmiotf.application.Client(options).api.getDevices()
    except OSError as e:
        report(text=str(e.args[1]))
    """,
        options=options,
    )
    assert run.report["text"].startswith(CLOSED)


def test_what_reads_the_options_leaves_the_heap(board):
    run = board.run(
        """
        import sys
        import ibmiotf.device
        ibmiotf.device.Client(options)
        report(there=[name for name in ("ibmiotf.options", "option_names") if name in sys.modules],
               kept=hasattr(ibmiotf, "options"))
        """,
        options=DEVICE,
    )
    assert run.report == {"there": [], "kept": False}
