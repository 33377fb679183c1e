"""
lib/iotc_certificates.py: a certificate that is issued to the device, used, renewed, refused with
each code, cut at each point; and a year of them.
"""

import base64
import json

import azure_rig
import pytest
from azure_rig import HUB, dev, rig  # noqa: F401
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from device_program import program

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)

CLOCK = program("iotc_endurance_clock")
DAY = 86400
DUE = 25 * DAY  # of the thirty that a certificate lives, it is renewed after four fifths
LATE = 28 * DAY  # in half of what was left then the hub has not done it

START = program("iotc_settle") + program("iotc_certificates_start")


class Certified(azure_rig.DeviceProgram):
    """A device whose programs have a file for a certificate, and a clock."""

    prelude = CLOCK + azure_rig.PRELUDE + START

    def __init__(self, dev, directory):
        super().__init__(dev.board, dev.rig, dev.name)
        self.file = directory / "device.pem"

    def values(self, epoch=1970, **values):
        return super().values(FILE=self.file, EPOCH=epoch, DUE=DUE, LATE=LATE, **values)

    @property
    def device(self):
        return self.rig.device(self.name)

    def known(self):
        return self.rig.do(self.rig.azure.certificates.of, self.device)

    def fail(self, place, count=1, **how):
        self.rig.do(lambda: self.rig.azure.fail(place, count, self.name, **how))

    def numbers(self):
        return [json.loads(body)["n"] for _, _, body, _ in list(self.device.telemetry)]

    def private_key(self):
        """The one in the file."""
        text = self.file.read_bytes()
        at = text.index(b"-----BEGIN EC")
        return serialization.load_pem_private_key(text[at:], None)


@pytest.fixture
def certified(dev, tmp_path):
    made = Certified(dev, tmp_path)
    yield made
    dev.rig.do(dev.rig.azure.faults.clear)
    dev.rig.do(dev.rig.azure.certificates.set, "delay", 0)


# ---- issued and used


def test_it_is_issued_kept_and_used_again(certified):
    """The second start asks nobody but the hub, which it finds in the file."""
    source = """
d = make()
code = d.connect()
sent = d.sendTelemetry({"n": N})
settle(d)
report(code=code, error=d.error, host=d.getHostName(), sent=sent)
d.disconnect()
"""
    good = {"code": 0, "error": None, "host": HUB, "sent": 0}
    assert certified.run("N = 1" + source).report == good
    certified.fail("dps.connect", None, connack=5)
    assert certified.run("N = 2" + source).report == good
    assert certified.numbers() == [1, 2]
    known = certified.known()
    assert len(known["issued"]) == 1 and known["used"] == known["issued"]
    assert [path.name for path in certified.file.parent.glob("device*")] == ["device.pem"]


def test_the_private_key_is_in_the_file_and_nowhere_else(certified):
    """Not in what is printed at the highest level, not in what goes to the cloud."""
    heard = []
    read = certified.rig.azure.certificates.read_csr
    certified.rig.azure.certificates.read_csr = lambda text: (heard.append(text), read(text))[1]
    try:
        run = certified.run(
            """
d = make()
d.setLogLevel(IOTLogLevel.IOTC_LOGGING_ALL)
assert d.connect() == 0, d.error
time.ahead = DUE
look(d)
print(d, d.error, said)
d.disconnect()
"""
        )
    finally:
        certified.rig.azure.certificates.read_csr = read
    number = certified.private_key().private_numbers().private_value
    raw = number.to_bytes(32, "big")
    for text in [run.out, run.err] + heard:
        for secret in (str(number), raw.hex(), base64.b64encode(raw).decode()[4:-4]):
            assert secret not in text
    assert len(heard) >= 2
    assert all(raw not in base64.b64decode(text) for text in heard)
    body = certified.file.read_text().split("-----")[2].split()
    assert not [line for line in body if line in run.out]


def test_a_certificate_may_open_dps_too(certified, tmp_path):
    issued = certified.rig.authority.issue_client(certified.name)
    cert, key = issued.write(str(tmp_path), "first")
    record = {
        "kind": "device-x509",
        "thumbprint": azure_rig.pki.thumbprint(issued.der),
        "certificate": issued.pem.decode(),
    }
    certified.rig.do(certified.rig.azure.enrol, certified.name, record)
    try:
        report = certified.run(
            """
d = make(key={"certfile": %r, "keyfile": %r}, kind=2)
report(code=d.connect(), error=d.error)
"""
            % (cert, key)
        ).report
    finally:
        certified.rig.do(certified.rig.azure.registry.unenrol, certified.name)
    assert report == {"code": 0, "error": None}
    assert len(certified.known()["used"]) == 1


def test_a_file_goes_up_with_it_too(certified):
    report = certified.run(
        """
import iotc_files
d = make()
assert d.connect() == 0, d.error
with open(FILE + ".data", "wb") as file:
    file.write(bytes(5000))
iotc_files.Upload.server = UPLOADS
upload = iotc_files.Upload(d, FILE + ".data", "five")
while not upload.done:
    upload.do_next(20)
    d.do_next(0)
    assert not upload.error, upload.error
report(sent=upload.sent)
""",
        UPLOADS="127.0.0.1:%d" % certified.rig.https_port,
    ).report
    assert report == {"sent": 5000}
    assert certified.rig.azure.files.blobs[certified.name + "/five"].content == bytes(5000)


def test_without_a_clock_nothing_is_asked(certified):
    before = certified.rig.server.accepted
    report = certified.run(
        """
time.ahead = -int(_real.time())
d = make()
report(code=d.connect(), error=d.error)
"""
    ).report
    assert report["code"] == 1 and "clock not set" in report["error"]
    assert certified.rig.server.accepted == before


def test_a_name_that_no_certificate_can_have_is_told(certified):
    report = certified.run(
        """
d = make(name="n" * 65)
report(code=d.connect(), error=d.error)
"""
    ).report
    assert report["code"] == 32 and "64 characters" in report["error"]


@pytest.mark.parametrize("chain", ["none", "other", "garbage"])
def test_a_registration_without_a_chain_of_use_is_told(certified, chain):
    certified.fail("dps.certificate", chain=chain)
    report = certified.run(
        """
d = make()
first = d.connect()
error = d.error
report(first=first, error=error, second=d.connect())
"""
    ).report
    assert (report["first"], report["second"]) == (32, 0)
    word = {"none": "credential policy", "other": "another key's", "garbage": "bad certificate"}
    assert word[chain] in report["error"]


@pytest.mark.parametrize("at", ["key", "chain", "head", "digest", "cut", "empty", "other"])
def test_a_damaged_file_is_told_and_replaced(certified, at):
    """One bit is enough; another device's file counts as damaged."""
    source = """
d = make(%s)
d.setLogLevel(IOTLogLevel.IOTC_LOGGING_API_ONLY)
report(code=d.connect(), error=d.error)
d.disconnect()
"""
    assert certified.run(source % "").report["code"] == 0
    text = bytearray(certified.file.read_bytes())
    if at == "cut":
        text = text[: len(text) // 2]
    elif at == "empty":
        text = b""
    elif at != "other":
        place = {"key": b"KEY-----\n", "chain": b"CERTIFICATE-----\n", "head": HUB.encode()}
        text[text.index(place[at]) + 20 if at in place else -10] ^= 1
    certified.file.write_bytes(text)
    name = 'name=NAME[:-1] + "x"' if at == "other" else ""
    run = certified.run(source % name)
    assert run.report["code"] == 0
    assert "damaged" in run.out and "device.pem" in run.out
    again = certified.run(source % name)
    assert "damaged" not in again.out


def test_one_that_has_ended_is_replaced(certified):
    source = """
time.ahead = AHEAD
d = make()
report(code=d.connect(), error=d.error)
d.disconnect()
"""
    assert certified.run("AHEAD = 0" + source).report["code"] == 0
    certified.rig.do(certified.rig.azure.move_clock, 40 * DAY)
    try:
        assert certified.run("AHEAD = 40 * 86400" + source).report["code"] == 0
    finally:
        certified.rig.do(certified.rig.azure.move_clock, 0)
    assert len(certified.known()["used"]) == 2


def test_one_that_is_revoked_is_replaced_and_no_message_lost(certified):
    program = certified.start(
        """
iotc.Device.timeout = 5
d = make()
assert d.connect() == 0, d.error
settle(d)
report(up=True)
sys.stdin.readline()
for n in range(5):
    assert d.sendTelemetry({"n": n}) == 0
step(d, lambda: not d.inflight, 40000)
report(shown=shown)
"""
    )
    assert program.next_report() == {"up": True}
    certified.rig.do(certified.rig.azure.revoke, certified.device)
    program.send("go on")
    got = program.next_report()
    assert got["shown"][0] == got["shown"][-1] == 0
    assert sorted(set(certified.numbers())) == list(range(5))
    assert len(certified.known()["used"]) == 2


# ---- renewed


@pytest.mark.parametrize("epoch, qos", [(1970, 1), (2000, 1), (1970, 0)])
def test_it_is_renewed_while_messages_are_in_flight(certified, epoch, qos):
    """At each step of the renewal one more is sent; acknowledgements are late."""
    if qos:
        certified.fail("hub.telemetry", None, delay=0.05)
    report = certified.run(
        """
d = make()
d.setQosLevel(QOS)
assert d.connect() == 0, d.error
settle(d)
time.ahead = DUE
MINUTES += 2
before = head()
n = 0
more = 50
start = _real.ticks_ms()
while more or d.inflight:
    if more and d.inflight < 14:
        assert d.sendTelemetry({"n": n}) == 0, d.error
        n += 1
    d.do_next(5)
    words(d)
    if more and head() != before:
        more -= 1
    assert _real.ticks_diff(_real.ticks_ms(), start) < 50000
settle(d)
send(d, n)
report(n=n + 1, said=said, shown=shown, connected=d.isConnected())
""",
        epoch=epoch,
        QOS=qos,
    ).report
    assert (report["said"], report["shown"], report["connected"]) == ([], [0], True)
    numbers = certified.numbers()
    assert (sorted(set(numbers)) if qos else numbers) == list(range(report["n"]))
    assert len(certified.known()["used"]) == 2


RENEW = """
d = make()
assert d.connect() == 0, d.error
settle(d)
time.ahead = DUE
look(d)
first = list(said)
send(d, 1)
if first:
    look(d, 61)
send(d, 2)
report(first=first, said=said, shown=shown, connected=d.isConnected())
"""


@pytest.mark.parametrize("code", [400040, 403010, 409005, 412001, 429002, 429003, 500001, 503001])
@pytest.mark.parametrize("accepted", [False, True], ids=["at once", "after 202"])
def test_each_refusal_is_told_and_a_later_renewal_succeeds(certified, code, accepted):
    certified.fail("hub.certificate", code=code, accepted=accepted)
    report = certified.run(RENEW).report
    # To a conflict the device answers at once; there is nothing to replace, which is told.
    told = 412001 if code == 409005 else code
    assert len(report["first"]) == 1 and "not renewed" in report["first"][0]
    assert '"errorCode": %d' % told in report["first"][0]
    assert (report["said"], report["shown"], report["connected"]) == (report["first"], [0], True)
    assert sorted(set(certified.numbers())) == [1, 2]
    assert len(certified.known()["used"]) == 2


def test_a_hub_that_wants_a_longer_pause_gets_it(certified):
    certified.fail("hub.certificate", code=429002, retry_after=7200)
    report = certified.run(
        RENEW.replace(
            "    look(d, 61)", "    MINUTES += 61; settle(d); time.ahead += 7300; look(d)"
        )
    ).report
    assert "429002" in report["first"][0]
    assert len(certified.known()["used"]) == 2
    # After the first hour nothing was asked: the only failure is the one that was told.
    assert report["said"] == report["first"]


@pytest.mark.parametrize("chain", ["none", "other", "garbage"])
def test_a_renewal_with_a_chain_of_no_use_leaves_the_old_one(certified, chain):
    certified.fail("hub.certificate", chain=chain)
    report = certified.run(RENEW).report
    assert len(report["first"]) == 1 and "not renewed" in report["first"][0]
    assert report["connected"] and len(certified.known()["used"]) == 2


def test_no_answer_is_told_and_asked_again(certified):
    certified.fail("hub.certificate", silent=True)
    report = certified.run("iotc.Device.timeout = 1\n" + RENEW).report
    assert "no answer" in report["first"][0] and report["connected"]
    assert len(certified.known()["used"]) == 2


@pytest.mark.parametrize("how", [{"close": True}, {"status": 400}], ids=["hangs up", "refuses"])
def test_a_hub_that_knows_no_such_filter_does_not_lose_the_device(certified, how):
    source = RENEW.replace(
        "time.ahead = DUE", "report(up=True)\nsys.stdin.readline()\ntime.ahead = DUE"
    )
    program = certified.start("iotc.Device.timeout = 2\n" + source)
    assert program.next_report() == {"up": True}
    certified.fail("hub.subscribe", **how)
    program.send("go on")
    report = program.next_report()
    assert "no answer" in report["first"][-1] and report["connected"]
    assert sorted(set(certified.numbers())) == [1, 2]
    assert len(certified.known()["used"]) == 2


def test_what_the_hub_does_not_renew_dps_does(certified):
    certified.fail("hub.certificate", None, code=503001)
    report = certified.run(
        """
d = make()
assert d.connect() == 0, d.error
settle(d)
time.ahead = DUE
look(d)
time.ahead = LATE
d.sendTelemetry({"n": 1})
look(d, 61)
step(d, lambda: d.isConnected() and not d.inflight)
send(d, 2)
report(said=said, shown=shown, connected=d.isConnected())
"""
    ).report
    assert "503001" in report["said"][0] and report["connected"]
    assert report["shown"][-1] == 0
    assert sorted(set(certified.numbers())) == [1, 2]
    assert len(certified.known()["used"]) == 2


def test_refusals_do_not_move_the_time_when_dps_is_asked(certified):
    certified.fail("hub.certificate", None, code=400040)
    report = certified.run(
        """
def look_after(seconds):
    "What the device has said about its certificate by then, and nothing older."
    time.ahead = seconds
    said.clear()
    d.error = None
    look(d, 61)
    return str(said)

d = make()
assert d.connect() == 0, d.error
settle(d)
refused = [look_after(seconds) for seconds in (DUE, DUE + 86400, LATE - 90000)]
asked = look_after(LATE)
step(d, lambda: d.isConnected() and not d.inflight)
send(d, 1)
report(refused=refused, asked=asked)
"""
    ).report
    assert all("400040" in text for text in report["refused"])
    assert "asking DPS" in report["asked"]
    assert len(certified.known()["used"]) == 2


@pytest.mark.parametrize("by", ["hub", "DPS"])
def test_no_pause_is_longer_than_a_day_or_later_than_dps(certified, by):
    certified.fail("hub.certificate", code=429002, retry_after=7200)
    report = certified.run(
        """
import json_text
_loads = json_text.loads

def loads(text):
    return _loads(text.replace(b'"retryAfter": 7200', b'"retryAfter": 1000000000'))

json_text.loads = loads
d = make()
assert d.connect() == 0, d.error
settle(d)
time.ahead = FIRST
look(d)
time.ahead = SECOND
look(d, 61)
step(d, lambda: d.isConnected() and not d.inflight)
send(d, 1)
report(said=said)
""",
        FIRST=DUE if by == "hub" else LATE - 100000,
        SECOND=DUE + DAY + 60 if by == "hub" else LATE - 80000,
    ).report
    assert "429002" in report["said"][0]
    assert ("asking DPS" in str(report["said"])) == (by == "DPS")
    assert len(certified.known()["used"]) == 2


def test_until_it_is_due_nothing_is_loaded(certified):
    report = certified.run(
        """
loaded = []

class Seen:
    def step(device):
        loaded.append(time.ahead)

d = make()
assert d.connect() == 0, d.error
settle(d)
sys.modules["iotc_certificates"] = Seen
for days in range(20):
    time.ahead = days * 86400
    MINUTES += 2
    send(d, days)
before = list(loaded)
time.ahead = DUE
MINUTES += 2
send(d, 20)
report(before=before, loaded=loaded)
"""
    ).report
    assert report["before"] == [] and DUE in report["loaded"]


def test_a_lack_of_memory_is_not_taken_for_a_bad_certificate(certified):
    report = certified.run(
        """
import netstream
_context = netstream.tls_context
shortages = 1

def tls_context(options, *more):
    global shortages
    if str(options.get("cert")).endswith(".new") and shortages:
        shortages -= 1
        raise MemoryError
    return _context(options, *more)

netstream.tls_context = tls_context
d = make()
first = d.connect()
error = str(d.error)
report(first=first, error=error, second=d.connect(), shortages=shortages)
"""
    ).report
    assert report["shortages"] == 0 and "memory" in report["error"]
    assert "bad certificate" not in report["error"]
    assert (report["first"], report["second"]) == (32, 0)


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Kolkata"])
def test_its_end_is_the_same_in_each_time_zone(certified, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    report = certified.run(
        """
d = make()
report(code=d.connect(), end=int(head().split()[-1]))
"""
    ).report
    text = certified.file.read_bytes()
    leaf = x509.load_pem_x509_certificate(text[text.index(b"-----BEGIN CERT") :])
    assert report == {"code": 0, "end": int(leaf.not_valid_after_utc.timestamp())}


def test_without_memory_for_it_the_connection_goes_on(certified):
    report = certified.run(
        """
class Full:
    def step(device):
        raise MemoryError

d = make()
assert d.connect() == 0, d.error
settle(d)
time.ahead = DUE
sys.modules["iotc_certificates"] = Full
MINUTES += 2
send(d, 1)
error = d.error
sys.modules.pop("iotc_certificates")
look(d)
send(d, 2)
report(error=error, shown=shown)
"""
    ).report
    assert "memory" in report["error"] and report["shown"] == [0]
    assert certified.numbers() == [1, 2]
    assert len(certified.known()["used"]) == 2


# ---- cut


CUTS = program("iotc_certificates_cuts")

# Opening, head, key, three certificates, checksum; before and after renaming.
POINTS = 9


@pytest.mark.parametrize("what", ["issued", "renewed"])
def test_power_may_fail_between_any_two_writes(certified, what):
    """Whatever was cut, the next start gets in; the certificate in use stays good until then."""
    good = """
d = make()
code = d.connect()
report(code=code, error=d.error, said=said)
d.disconnect()
"""
    renew = (
        good
        if what == "issued"
        else good.replace("report(", "settle(d)\ntime.ahead = DUE\nlook(d)\nreport(")
    )
    for cut in range(POINTS):
        if what == "issued":
            if certified.file.exists():
                certified.file.unlink()
        else:
            assert certified.run(good).report["code"] == 0
        before = certified.file.read_bytes() if certified.file.exists() else None
        certified.prelude = CLOCK + CUTS + azure_rig.PRELUDE + START
        run = certified.run(renew, check=False, CUT=cut)
        del certified.prelude
        assert run.rc == 7, run
        after = certified.file.read_bytes() if certified.file.exists() else None
        assert (after == before) == (cut < POINTS - 1), cut
        assert certified.run(good).report == {"code": 0, "error": None, "said": []}


@pytest.mark.parametrize("place", ["dps.connect", "dps.register", "dps.poll"])
def test_a_registration_that_is_cut_begins_anew(certified, place):
    certified.fail(place, close=True)
    report = certified.run(
        """
d = make()
first = d.connect()
error = d.error
report(first=first, second=d.connect(), error=error)
"""
    ).report
    assert report["second"] == 0
    assert len(certified.known()["used"]) == 1


@pytest.mark.parametrize("place", ["hub.connect", "hub.certificate"])
def test_a_renewal_whose_connection_is_cut_begins_anew(certified, place):
    source = RENEW.replace(
        "time.ahead = DUE", "report(up=True)\nsys.stdin.readline()\ntime.ahead = DUE"
    )
    program = certified.start(source)
    assert program.next_report() == {"up": True}
    certified.fail(place, close=True)
    program.send("go on")
    report = program.next_report()
    assert report["connected"] and report["shown"][-1] == 0
    assert sorted(set(certified.numbers())) == [1, 2]
    assert len(certified.known()["used"]) == 2


@pytest.mark.parametrize("stage", ["arithmetic", "accepted", "power"])
def test_a_renewal_that_is_cut_in_the_middle_begins_anew(certified, stage):
    """The hub holds the first request for active: the second one replaces it."""
    delay = 0 if stage == "arithmetic" else 3600
    certified.rig.do(certified.rig.azure.certificates.set, "delay", delay)
    source = """
d = make()
assert d.connect() == 0, d.error
settle(d)
time.ahead = DUE
MINUTES += 2
d.sendTelemetry({"n": 1})
for _ in range(20):
    d.do_next(5)
report(at="arithmetic")
sys.stdin.readline()
before = head()
start = _real.ticks_ms()
while not said and head() == before:
    d.do_next(5)
    words(d)
    assert _real.ticks_diff(_real.ticks_ms(), start) < 20000
settle(d)
report(at="cut", said=said)
sys.stdin.readline()
if said:
    send(d, 1)  # the connection is there again
    look(d, 61)
send(d, 2)
report(said=said, connected=d.isConnected())
"""
    program = certified.start(source)
    assert program.next_report() == {"at": "arithmetic"}
    active = certified.rig.azure.certificates.active
    if stage == "arithmetic":
        certified.rig.do(certified.rig.azure.hub.hang_up, certified.device, "cut")
        program.send("go on")
    else:
        program.send("go on")
        certified.rig.until(lambda: active(certified.device))
        if stage == "power":
            program.stop()
        else:
            certified.rig.do(certified.rig.azure.hub.hang_up, certified.device, "cut")
    certified.rig.do(certified.rig.azure.certificates.set, "delay", 0)
    if stage == "power":
        report = certified.run(RENEW).report
        assert report["said"] == []
    else:
        assert program.next_report()["at"] == "cut"
        program.send("go on")
        report = program.next_report()
    assert report["connected"]
    assert sorted(set(certified.numbers())) == [1, 2]
    assert len(certified.known()["used"]) == 2


# ---- a year


def test_a_year_of_certificates_loses_nothing(certified):
    """
    A day a round, both clocks; certificates of thirty days, and a cloud that ends each of
    them to the second.
    """
    program = certified.start(
        """
iotc.Device.keepalive = 1177
d = make()
assert d.connect() == 0, d.error
settle(d)
issued = 0
before = head()
for n in range(365):
    time.ahead = n * 86400
    assert d.sendTelemetry({"n": n}) == 0
    MINUTES += 2
    # On the day on which a renewal may be due its answers, and the handshake, must not meet the
    # next one; a day later it is due.
    settle(d, 40 if n - issued == 24 else 5)
    start = _real.ticks_ms()
    while n - issued > 24 and head() == before:
        d.do_next(5)
        assert _real.ticks_diff(_real.ticks_ms(), start) < 20000, "not renewed"
    if head() != before:
        settle(d, 40)
        before = head()
        issued = n
    report(n=n, at=time.ahead)
    sys.stdin.readline()
report(said=said, shown=shown, connected=d.isConnected())
"""
    )
    azure = certified.rig.azure
    grace, azure.grace = azure.grace, 0
    try:
        for n in range(365):
            got = program.next_report()
            assert got.get("n") == n, got
            certified.rig.do(azure.move_clock, got["at"])
            program.send("go on")
        assert program.next_report() == {"said": [], "shown": [0], "connected": True}
    finally:
        azure.grace = grace
        certified.rig.do(azure.move_clock, 0)
    assert certified.numbers() == list(range(365))
    known = certified.known()
    assert known["used"] == known["issued"] and len(known["used"]) >= 13
