"""What the tests of IBM's options share: good ones, and what a client makes of others."""

TOKEN = {"auth-method": "token", "auth-token": "s3cret"}
DEVICE = dict(TOKEN, org="abc123", type="pump", id="p1", host="broker.lan", ssl=False)
APPLICATION = {
    "org": "abc123",
    "id": "dash",
    "auth-method": "apikey",
    "auth-key": "a-abc123-k",
    "auth-token": "s3cret",
    "host": "broker.lan",
    "ssl": False,
}
MAKE = """
    import ibmiotf.device
    import ibmiotf.application
    import ibmiotf.broker
    import mqtt_link

    # The addresses only: a stand-in for the certificate's reader.
    def context(ssl, params=None):
        class Context:
            def wrap_socket(self):
                pass
        return Context() if ssl else None

    if plain:
        mqtt_link.tls_context = context

    for kind, options in cases:
        try:
            client = getattr(ibmiotf, kind).Client(options)
            link = client.link
            report(server=link.server, port=link.port, user=link.user, password=link.pswd,
                   clean=link.clean_session, options=client.options)
        except ibmiotf.ConnectionException as e:
            report(error=type(e).__name__, text=str(e))
"""


def made(board, *cases, plain=False):
    """What became of each (kind, options): the link's address and names, or the error."""
    reports = board.run(MAKE, cases=cases, plain=plain).reports
    assert len(reports) == len(cases)
    for report in reports:
        assert "s3cret" not in report.get("text", "")
    return reports


def without(options, *keys):
    return {key: value for key, value in options.items() if key not in keys}
