"""What the tests of IBM's options share: good ones, and what a client makes of others."""

from device_program import program

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
MAKE = program("ibm_options_rig_make")


def made(board, *cases, plain=False):
    """What became of each (kind, options): the link's address and names, or the error."""
    reports = board.run(MAKE, cases=cases, plain=plain).reports
    assert len(reports) == len(cases)
    for report in reports:
        assert "s3cret" not in report.get("text", "")
    return reports


def without(options, *keys):
    return {key: value for key, value in options.items() if key not in keys}
