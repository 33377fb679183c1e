"""
lib/iotc_files.py on a board, against the local Azure's hub and storage over verified TLS: a file
goes up, through whatever goes wrong, and what is said then. On MicroPython and the CPython port.
"""

import hashlib
import json
import os

import azure_rig
import pytest
from azure_rig import dev, fresh, rig  # noqa: F401
from device_program import program
from localcloud.azure import api as azure_files

# ruff: noqa: F811 (the fixtures above are what the tests' arguments are)

SLICE = 4096

# The hub is known, so nothing but the upload goes over the line.
PRELUDE = azure_rig.PRELUDE + program("iotc_files_prelude")


def content(size):
    """What made(size) writes."""
    return b"".join((b"%08d" % n * 8)[: min(64, size - n)] for n in range(0, size, 64))


class Uploads(azure_rig.DeviceProgram):
    """Upload programs of one device, and what the cloud's side has of them."""

    prelude = PRELUDE

    def __init__(self, dev, folder):
        super().__init__(dev.board, dev.rig, dev.name)
        self.folder = str(folder)
        self.files = self.rig.azure.files

    def values(self, **values):
        given = {
            "UPLOADS": "127.0.0.1:%d" % self.rig.https_port,
            "KEY": self.key,
            "FOLDER": self.folder,
        }
        return super().values(**dict(given, **values))

    def run(self, source, **options):
        result = super().run(source, **options)
        said = result.out + result.err
        assert "sig=" not in said and "%3D&se" not in said, "a signature in a text"
        return result

    def fail(self, place, **how):
        count = how.pop("count", 1)
        self.rig.do(lambda: self.rig.azure.fail(place, count, self.name, **how))

    @property
    def statuses(self):
        return [one for one in self.files.statuses if one["device"] == self.name]

    @property
    def notices(self):
        return [one for one in self.files.notifications if one["deviceId"] == self.name]

    @property
    def active(self):
        device = self.rig.device(self.name)
        return self.rig.do(self.files.active, device)

    def blob(self, name="data.bin"):
        found = self.files.blobs.get(self.name + "/" + name)
        return found and found.content

    def arrived(self, size, name="data.bin"):
        """The file is there, whole; the service side has heard of it once; nothing is open."""
        assert self.blob(name) == content(size)
        assert [one["blobSizeInBytes"] for one in self.notices] == [size]
        assert self.active == []


@pytest.fixture
def up(dev, tmp_path):
    made = Uploads(dev, tmp_path)
    made.known()
    return made


# ---- a file goes up


def test_a_connected_device_sends_a_file(up):
    got = up.run(
        """
        d = device(KEY, NAME, 3)
        assert d.connect(HUB) == 0, d.error
        upload = iotc_files.Upload(d, made(100000), "2026/november.bin")
        upload.content_type = "application/x-readings"
        report(size=upload.size, sent=upload.sent, done=upload.done)
        upload.run()
        report(size=upload.size, sent=upload.sent, done=upload.done, again=upload.do_next())
        report(code=d.sendTelemetry({"still": "there"}))
        while d.inflight:
            d.do_next(20)
        """
    ).reports
    assert got == [
        {"size": 100000, "sent": 0, "done": False},
        {"size": 100000, "sent": 100000, "done": True, "again": True},
        {"code": 0},
    ]
    up.arrived(100000, "2026/november.bin")
    assert up.files.blobs[up.name + "/2026/november.bin"].type == "application/x-readings"
    (status,) = up.statuses
    assert (status["good"], status["code"], status["known"]) == (True, 200, True)


@pytest.mark.parametrize("size", [0, 1, SLICE - 1, SLICE, SLICE + 1, 3 * SLICE])
def test_files_of_every_kind_of_size(up, size):
    got = up.run("attempt(iotc_files.Upload(known(), made(%d)))" % size).report
    assert got == {"done": True, "sent": size}
    up.arrived(size)


def test_a_file_larger_than_the_heap_goes_up(up):
    """Four megabytes through a heap that is a tenth of it; slices as the class chooses them."""
    size = 4 << 20
    got = up.run(
        """
        upload = iotc_files.Upload(known(), made(%d))
        upload.slice = 0
        attempt(upload)
        report(slice=upload.slice)
        """
        % size,
        heap="400K",
        timeout=180,
    ).reports
    assert got == [{"done": True, "sent": size}, {"slice": 32768}]
    up.arrived(size)


def test_do_next_takes_many_small_steps(up):
    """No step sends a whole slice; between them the program does other things."""
    got = up.run(
        """
        upload = iotc_files.Upload(known(), made(200000))
        upload.slice = 100000
        steps = 0
        while not upload.do_next(20):
            steps += 1
        report(enough=steps > 50)
        """
    ).report
    assert got == {"enough": True}
    up.arrived(200000)


def test_a_name_may_hold_what_a_path_may_not(up):
    name = "caf\u00e9 100% & more?#.txt"
    got = up.run("attempt(iotc_files.Upload(known(), made(10), %s))" % ascii(name)).report
    assert got == {"done": True, "sent": 10}
    up.arrived(10, name)


def test_a_device_with_a_certificate(dev, tmp_path):
    rig = dev.rig
    issued = rig.authority.issue_client(dev.name)
    rig.create(dev.name, keys=[], certificate=issued.pem.decode())
    (tmp_path / "crt.der").write_bytes(issued.der)
    (tmp_path / "key.der").write_bytes(issued.key_der)
    got = Uploads(dev, tmp_path).run(
        """
        d = device({"certfile": CERT, "keyfile": KEYFILE}, NAME, 2)
        d._host = HUB
        attempt(iotc_files.Upload(d, made(10000)))
        """,
        KEY=None,
        CERT=tmp_path / "crt.der",
        KEYFILE=tmp_path / "key.der",
    ).report
    assert got == {"done": True, "sent": 10000}
    assert rig.azure.files.blobs[dev.name + "/data.bin"].content == content(10000)


# ---- what passes by itself


@pytest.mark.parametrize(
    "place, how",
    [
        ("hub.files.start", {"status": 500}),
        ("hub.files.start", {"status": 429, "retry_after": 0}),
        ("hub.files.start", {"close": True}),
        ("storage.block", {"status": 503, "word": "ServerBusy"}),
        ("storage.block", {"status": 500, "word": "OperationTimedOut", "retry_after": 0}),
        ("storage.block", {"status": 400, "word": "Md5Mismatch"}),
        ("storage.block", {"status": 403, "word": "AuthenticationFailed"}),
        ("storage.block", {"cut": 1000}),
        ("storage.block", {"deaf": True}),
        ("storage.block", {"lost": True}),
        ("storage.block", {"close": True}),
        ("storage.list", {"status": 500}),
        ("storage.list", {"cut": 60}),
        ("storage.list", {"deaf": True}),
        ("storage.list", {"status": 403, "word": "AuthenticationFailed"}),
        ("hub.files.notify", {"status": 503}),
        ("hub.files.notify", {"status": 429}),
        ("hub.files.notify", {"status": 404}),
        ("hub.files.notify", {"close": True}),
    ],
)
def test_what_passes_by_itself_is_tried_again(up, place, how):
    up.fail(place, **how)
    got = up.run("attempt(iotc_files.Upload(known(), made(20000)))").report
    assert got == {"done": True, "sent": 20000}
    assert up.blob() == content(20000)
    assert [one["blobSizeInBytes"] for one in up.notices] == [20000]


def test_what_went_wrong_is_told_meanwhile_and_the_pause_is_the_service_s(up):
    up.fail("storage.block", status=503, word="ServerBusy", retry_after=2)
    got = up.run(
        """
        upload = iotc_files.Upload(known(), made(100))
        start = time.ticks_ms()
        while not upload.error:
            upload.do_next(20)
        report(said=upload.error.args[1], done=upload.done)
        upload.run()
        report(done=upload.done, error=upload.error,
            waited=time.ticks_diff(time.ticks_ms(), start) >= 2000)
        """
    ).reports
    assert got[0]["done"] is False and "503 ServerBusy" in got[0]["said"]
    assert got[1] == {"done": True, "error": None, "waited": True}


def test_only_the_slice_that_was_cut_is_sent_again(up):
    up.fail("storage.block", cut=100)
    up.files.taken.clear()
    up.run("attempt(iotc_files.Upload(known(), made(%d)))" % (10 * SLICE))
    up.arrived(10 * SLICE)
    assert up.files.taken.count(("block", SLICE)) == 10


def test_a_signature_that_has_ended_is_replaced_and_the_slices_stay(dev, fresh, tmp_path):
    dev.rig = fresh
    up = Uploads(dev, tmp_path)
    up.known()
    program = up.start(
        """
        upload = iotc_files.Upload(known(), made(40960))
        while upload.sent < 20480:
            upload.do_next(20)
        report(state=upload.state)
        input()
        attempt(upload)
        report(new=upload.state["id"])
        """
    )
    state = program.next_report()["state"]
    fresh.do(fresh.azure.move_clock, azure_files.SIGNED_FOR + 1)
    program.send("\n")
    assert program.next_report() == {"done": True, "sent": 40960}
    assert program.next_report()["new"] != state["id"]
    assert program.wait().rc == 0
    up.arrived(40960)
    assert up.files.taken.count(("block", SLICE)) == 10


def test_an_upload_that_the_hub_has_forgotten_is_told_under_a_new_id(dev, fresh, tmp_path):
    """The file is in the storage by then: it is not sent again."""
    dev.rig = fresh
    up = Uploads(dev, tmp_path)
    up.known()
    up.fail("hub.files.notify", status=503, retry_after=1)
    program = up.start(
        """
        upload = iotc_files.Upload(known(), made(8192))
        while not upload.error:
            upload.do_next(20)
        report(sent=upload.sent)
        input()
        attempt(upload)
        """
    )
    assert program.next_report() == {"sent": 8192}
    fresh.do(fresh.azure.move_clock, azure_files.SIGNED_FOR + 1)
    program.send("\n")
    assert program.next_report() == {"done": True, "sent": 8192}
    assert program.wait().rc == 0
    up.arrived(8192)
    assert up.files.taken.count(("block", SLICE)) == 2
    assert [one["known"] for one in up.statuses] == [False, True]


# ---- the program goes on


def test_a_program_goes_on_after_a_reboot(up):
    """What it keeps holds no secret; what was acknowledged before is not sent again."""
    first = up.run(
        """
        upload = iotc_files.Upload(known(), made(40960))
        while upload.sent < 20480:
            upload.do_next(20)
        with open(STATE, "w") as f:
            json.dump(upload.state, f)
        report(keys=sorted(upload.state))
        """
    ).report
    assert first == {"keys": ["id", "name", "sent", "size", "slice", "stamp"]}
    assert up.active == [up.name + "/data.bin"]
    up.files.taken.clear()
    got = up.run(
        """
        with open(STATE) as f:
            state = json.load(f)
        upload = iotc_files.Upload(known(), FILE, state=state)
        report(sent=upload.sent)
        attempt(upload)
        """
    ).reports
    assert got == [{"sent": 20480}, {"done": True, "sent": 40960}]
    up.arrived(40960)
    assert up.files.taken == [("block", SLICE)] * 5 + [("blocklist", up.files.taken[-1][1])]
    assert [(one["good"], one["text"]) for one in up.statuses] == [
        (False, "begun anew"), (True, "uploaded")
    ]  # fmt: skip


def test_another_file_is_no_continuation(up):
    """The state is that of a file which was written anew since: all of it is sent."""
    up.run(
        """
        upload = iotc_files.Upload(known(), made(40960))
        while upload.sent < 20480:
            upload.do_next(20)
        state = upload.state
        upload.close()
        made(30000)
        upload = iotc_files.Upload(known(), FILE, state=state)
        assert upload.sent == 0
        attempt(upload)
        for wrong in ({}, [], "x", {"id": 5}, {"sent": -1, "slice": 4096}):
            assert iotc_files.Upload(known(), FILE, state=wrong).sent == 0
        """
    )
    up.arrived(30000)


def test_a_slice_of_another_size_begins_the_slices_anew(up):
    """A slice's number means other bytes then. The state says how what was sent is cut."""
    got = up.run(
        """
        upload = iotc_files.Upload(known(), made(40960))
        while upload.sent < 8192:
            upload.do_next(20)
        state = upload.state
        upload.close()
        upload = iotc_files.Upload(known(), FILE, state=state)
        upload.slice = 16384
        report(kept=upload.state == state, cut=upload.state["slice"], sent=upload.sent)
        attempt(upload)
        """
    ).reports
    assert got == [{"kept": True, "cut": SLICE, "sent": 8192}, {"done": True, "sent": 40960}]
    up.arrived(40960)


def test_a_slice_that_is_changed_on_the_way(up):
    """The upload goes on as it was cut; what it said it had sent stays true."""
    up.files.taken.clear()
    got = up.run(
        """
        upload = iotc_files.Upload(known(), made(40960))
        while upload.sent < 8192:
            upload.do_next(20)
        upload.slice = 16384
        attempt(upload)
        report(cut=upload.state["slice"])
        """
    ).reports
    assert got == [{"done": True, "sent": 40960}, {"cut": SLICE}]
    up.arrived(40960)
    assert up.files.taken.count(("block", SLICE)) == 10


def test_a_state_that_ends_within_a_slice_is_passed_over(up):
    got = up.run(
        """
        upload = iotc_files.Upload(known(), made(20480))
        while upload.sent < 8192:
            upload.do_next(20)
        state = dict(upload.state, sent=4097)
        upload.close()
        upload = iotc_files.Upload(known(), FILE, state=state)
        report(sent=upload.sent)
        attempt(upload)
        """
    ).reports
    assert got == [{"sent": 0}, {"done": True, "sent": 20480}]
    up.arrived(20480)


@pytest.mark.parametrize("lost", ["uncommitted", "other"])
def test_slices_that_are_gone_are_sent_again(up, lost):
    """The storage keeps them for a week only; somebody else may have written there."""
    up.run(
        """
        upload = iotc_files.Upload(known(), made(20480))
        while upload.sent < 12288:
            upload.do_next(20)
        with open(STATE, "w") as f:
            json.dump(upload.state, f)
        """
    )
    blocks = up.files.blobs[up.name + "/data.bin"].blocks
    blocks.clear()
    if lost == "other":
        blocks["b3RoZXI="] = b"other"
    got = up.run(
        """
        with open(STATE) as f:
            upload = iotc_files.Upload(known(), FILE, state=json.load(f))
        attempt(upload)
        """
    ).report
    assert got == {"done": True, "sent": 20480}
    assert up.blob() == content(20480)


def test_giving_up_frees_the_hub_s_place(up):
    got = up.run(
        """
        upload = iotc_files.Upload(known(), made(40960))
        while upload.sent < 8192:
            upload.do_next(20)
        upload.give_up("no room for it")
        attempt(upload)
        report(ended=upload.do_next())
        """
    ).reports
    # `done` would say that the file is there.
    assert got == [{"done": False, "sent": 8192}, {"ended": True}]
    assert up.active == [] and up.notices == [] and up.blob() is None
    assert [(one["good"], one["text"]) for one in up.statuses] == [(False, "no room for it")]


@pytest.mark.parametrize("how", [{"status": 503, "retry_after": 1}, {"close": True}])
def test_giving_up_is_tried_again_too(up, how):
    up.fail("hub.files.notify", **how)
    got = up.run(
        """
        upload = iotc_files.Upload(known(), made(40960))
        while upload.sent < 8192:
            upload.do_next(20)
        upload.give_up("no room for it")
        while not upload.error:
            upload.do_next(20)
        attempt(upload)
        report(error=upload.error)
        """
    ).reports
    assert got == [{"done": False, "sent": 8192}, {"error": None}]
    assert up.active == []
    assert [(one["good"], one["text"]) for one in up.statuses] == [(False, "no room for it")]


def test_giving_up_while_nobody_listens_raises_only_after_the_tries(up):
    """And a later call tells the hub."""
    got = up.run(
        """
        upload = iotc_files.Upload(known(), made(40960))
        while upload.sent < 8192:
            upload.do_next(20)
        upload.give_up()
        upload.server = "127.0.0.1:1"
        upload.tries = 2
        while not upload.error:
            upload.do_next(20)
        report(said=upload.error.args[1])
        attempt(upload)
        upload.server = UPLOADS
        attempt(upload)
        """
    ).reports
    assert "can't connect to 127.0.0.1:1" in got[0]["said"]
    assert got[1]["kind"] == "OSError" and "can't connect to 127.0.0.1:1" in got[1]["said"]
    assert got[2] == {"done": False, "sent": 8192}
    assert up.active == [] and len(up.statuses) == 1


def test_an_interrupted_step_leaves_nothing_half_done(up):
    """KeyboardInterrupt out of any step; the next call goes on."""
    got = up.run(
        """
        class Device(iotc.Device):
            count = 0
            def getHostName(self):
                Device.count += 1
                if Device.count % 40 == 0:
                    raise KeyboardInterrupt
                return iotc.Device.getHostName(self)
        d = Device(None, KEY, NAME, 3)
        d._host = HUB
        upload = iotc_files.Upload(d, made(40960))
        interrupted = 0
        while not upload.done:
            try:
                upload.do_next(20)
            except KeyboardInterrupt:
                interrupted += 1
        report(interrupted=interrupted > 1, sent=upload.sent)
        """
    ).report
    assert got == {"interrupted": True, "sent": 40960}
    up.arrived(40960)


# ---- refusals, in words


def refused(up, more=""):
    got = up.run("attempt(iotc_files.Upload(known(), made(10000)))" + more).report
    assert got["done"] is False
    return got["kind"], got["said"]


def test_a_wrong_key(dev, tmp_path):
    up = Uploads(dev, tmp_path)
    up.known()
    up.key = azure_rig.derive_key(azure_rig.GROUP_KEY, "another")
    kind, said = refused(up)
    assert kind == "OSError"
    assert "hub" in said and "401003" in said and "clock" in said and "key" in said


def test_ten_uploads_that_nobody_ended(up):
    device = up.rig.device(up.name)
    for n in range(10):
        up.rig.do(up.files.start, device, "other%d" % n)
    kind, said = refused(up)
    assert kind == "OSError"
    assert "403006" in said and "exceeded" in said and "within the hour" in said
    assert up.statuses == []


def test_a_hub_without_a_storage_account(up):
    up.fail("hub.files.start", status=400)
    kind, said = refused(up)
    assert kind == "OSError" and "storage account" in said


def test_a_device_that_the_hub_does_not_know(up):
    up.rig.do(up.rig.azure.remove, up.rig.device(up.name))
    kind, said = refused(up)
    assert kind == "OSError" and "404001" in said and "known to that hub" in said


@pytest.mark.parametrize(
    "place, status, word",
    [
        ("storage.block", 404, "ContainerNotFound"),
        ("storage.block", 409, "BlobOperationNotSupported"),
        ("storage.block", 413, "RequestBodyTooLarge"),
        ("storage.list", 412, "LeaseIdMissing"),
        ("storage.list", 400, "InvalidBlockList"),
    ],
)
def test_a_refusal_by_the_storage_is_told_to_the_hub_too(up, place, status, word):
    up.fail(place, count=2, status=status, word=word)
    kind, said = refused(up)
    assert kind == "OSError"
    assert "%d %s" % (status, word) in said and "container" in said
    (told,) = up.statuses
    assert (told["good"], told["code"], told["text"]) == (False, status, said)
    assert up.active == []


def test_a_storage_that_takes_no_signature_at_all(up):
    up.fail("storage.block", count=2, status=403, word="AuthorizationFailure")
    kind, said = refused(up)
    assert kind == "OSError" and "403 AuthorizationFailure" in said and "firewall" in said
    assert up.active == []


def test_in_vain_and_then_the_next_call_goes_on(up):
    up.fail("storage.block", count=2, status=500)
    got = up.run(
        """
        upload = iotc_files.Upload(known(), made(10000))
        upload.tries = 1
        attempt(upload)
        attempt(upload)
        attempt(upload)
        """
    ).reports
    assert [one["done"] for one in got] == [False, False, True]
    assert "storage" in got[0]["said"]
    up.arrived(10000)
    assert len(up.statuses) == 1


def test_nobody_listens(up):
    got = up.run(
        """
        import socket
        s = socket.socket()
        s.bind(socket.getaddrinfo("127.0.0.1", 0)[0][-1])
        upload = iotc_files.Upload(known(), made(10))
        upload.server = "127.0.0.1:1"
        upload.tries = 1
        attempt(upload)
        """
    ).report
    assert got["kind"] == "OSError" and "can't connect to 127.0.0.1:1" in got["said"]


def test_a_storage_that_can_not_be_trusted(up):
    """Its certificate must carry its own name, whatever was dialled."""
    up.rig.do(setattr, azure_files, "ACCOUNT", "elsewhere.blob.example")
    try:
        got = up.run(
            """
            upload = iotc_files.Upload(known(), made(10))
            upload.tries = 1
            attempt(upload)
            """
        ).report
    finally:
        up.rig.do(setattr, azure_files, "ACCOUNT", "picolinkfiles.blob.core.windows.net")
    assert got["kind"] in ("TLSError", "OSError") and "elsewhere.blob.example" in got["said"]


@pytest.mark.parametrize(
    "change",
    [
        {"sasToken": None},
        {"sasToken": "?sig=a b\\r\\nX: y"},
        {"hostName": "a/b"},
        {"hostName": 5},
        {"containerName": None},
        {"blobName": []},
        {"correlationId": ""},
        None,
    ],
)
def test_an_answer_of_the_hub_without_what_it_should_say(up, monkeypatch, change):
    start = up.files.start

    def changed(device, name):
        return dict(start(device, name), **change) if change else [1]

    monkeypatch.setattr(up.files, "start", changed)
    got = up.run(
        """
        upload = iotc_files.Upload(known(), made(10))
        upload.tries = 1
        attempt(upload)
        """
    ).report
    assert got["kind"] == "OSError" and "without what it should say" in got["said"]


# ---- what the program does wrong


def test_a_file_that_shrinks_or_goes(up):
    got = up.run(
        """
        for how in ("shrinks", "goes"):
            upload = iotc_files.Upload(known(), made(40960))
            while upload.sent < 8192:
                upload.do_next(20)
            if how == "goes":
                os.remove(FILE)
            else:
                made(9000)
            attempt(upload)
        """
    ).reports
    assert [one["kind"] for one in got] == ["ValueError", "ValueError"]
    assert "has changed" in got[0]["said"] and "can't read" in got[1]["said"]
    assert [one["good"] for one in up.statuses] == [False, False]
    assert up.active == []


@pytest.mark.parametrize("how", ["grows", "is written anew"])
@pytest.mark.parametrize("sent", [8192, 16384])
def test_a_file_that_changes_on_the_way(up, how, sent):
    """Early, and while the last slice is on its way. No mixture is left behind."""
    program = up.start(
        """
        upload = iotc_files.Upload(known(), made(20480))
        while upload.sent < %d:
            upload.do_next(20)
        report(ready=True)
        input()
        attempt(upload)
        attempt(upload)
        """
        % sent
    )
    assert program.next_report() == {"ready": True}
    path = os.path.join(up.folder, "data.bin")
    was = os.stat(path)
    with open(path, "ab" if how == "grows" else "r+b") as file:
        file.write(b"other")
    stamp = was.st_mtime if how == "grows" else was.st_mtime + 5
    os.utime(path, (stamp, stamp))
    program.send("\n")
    for _ in range(2):
        got = program.next_report()
        assert (got["kind"], got["done"]) == ("ValueError", False)
        assert "has changed" in got["said"]
    assert program.wait().rc == 0
    assert up.blob() is None
    assert up.active == []
    # The second attempt has cost nothing: the hub was asked for no other place.
    (told,) = up.statuses
    assert told["good"] is False and "has changed" in told["text"]


def test_arguments_that_can_not_be_used(up):
    got = up.run(
        """
        def wrong(*args):
            try:
                iotc_files.Upload(known(), *args)
                report(said=None)
            except ValueError as e:
                report(said=str(e))
        wrong("nothing.bin")
        wrong(FOLDER, "folder.bin")
        made(10)
        for name in ("/a", "a//b", "a/../b", "x" * 1025, 5):
            wrong(FILE, name)
        upload = iotc_files.Upload(device(KEY, NAME, 3), FILE)
        try:
            upload.do_next()
        except ValueError as e:
            report(said=str(e))
        """
    ).reports
    assert got[0]["said"] == "can't read file nothing.bin"
    assert got[1]["said"] == "can't read file " + up.folder
    assert all("name:" in one["said"] for one in got[2:7])
    assert "knows no hub" in got[7]["said"]


def test_a_file_that_becomes_a_directory(up):
    """What can't be read is told at once; no pause makes it better."""
    got = up.run(
        """
        upload = iotc_files.Upload(known(), made(20480))
        while upload.sent < 8192:
            upload.do_next(20)
        os.remove(FILE)
        os.mkdir(FILE)
        attempt(upload)
        report(error=upload.error)
        """
    ).reports
    assert got[0]["kind"] == "ValueError" and got[0]["done"] is False
    assert got[1] == {"error": None}
    assert up.active == []


def test_a_file_whose_storage_fails_within_a_slice(up):
    """A flash that gives an error is no network that comes back."""
    got = up.run(
        """
        class File:
            def __init__(self, file):
                self.file = file
            def __enter__(self):
                return self
            def __exit__(self, *args):
                self.file.close()
            def seek(self, at):
                self.file.seek(at)
            def readinto(self, buf):
                raise OSError(5)
        upload = iotc_files.Upload(known(), made(20480))
        while upload.sent < 8192:
            upload.do_next(20)
        iotc_files.open = lambda path, mode: File(open(path, mode))
        attempt(upload)
        report(error=upload.error)
        """
    ).reports
    assert got[0]["said"] == "can't read file " + os.path.join(up.folder, "data.bin")
    assert got[0]["kind"] == "ValueError"
    assert got[1] == {"error": None}
    assert up.active == []


# ---- the cloud as a program


def test_the_control_side_shows_what_arrived(board, start_cloud, tmp_path):
    """`python3 tools/localcloud` serves it on its HTTPS port; faults and settings by HTTP."""
    cloud = start_cloud("--parts", "azure")
    control = azure_rig.Control(cloud)
    azure = cloud["azure"]
    key = azure_rig.derive_key(azure["group_key"], "logger-1")
    assert control("PUT", "/devices/logger-1", {"keys": [key]})[0] == 200
    assert control(
        "POST", "/faults", {"place": "storage.block", "cut": 10, "device": "logger-1"}
    ) == (200, {})
    assert control("POST", "/faults", {"place": "storage.block", "cut": 0})[0] == 400
    assert control("POST", "/settings", {"signed_for": 600}) == (200, {})
    source = PRELUDE + "attempt(iotc_files.Upload(known(), made(9000)))"
    tls_url = cloud["http"]["tls_url"]
    got = board.run(
        source, CA=cloud["ca_der"], SERVER=None, UPLOADS=tls_url.split("/")[2], KEY=key,
        NAME="logger-1", HUB=azure["hub_host"], GROUP=None, SCOPE=None,
        FOLDER=str(tmp_path),
    ).report  # fmt: skip
    assert got == {"done": True, "sent": 9000}
    status, shown = control("GET", "/devices/logger-1/files")
    assert status == 200
    assert shown["blobs"]["logger-1/data.bin"] == {
        "uncommitted": 0, "size": 9000, "blocks": 3, "type": "application/octet-stream",
        "md5": hashlib.md5(content(9000)).hexdigest(),
    }  # fmt: skip
    assert shown["active"] == [] and len(shown["notifications"]) == 1
    assert json.dumps(shown).count("sig") == 0
