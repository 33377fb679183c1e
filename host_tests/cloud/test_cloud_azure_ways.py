"""
lib/cloud.py with Azure's settings of other kinds than a group's key: a certificate, and a list of
servers. On MicroPython and on CPython.
"""

import cloud_rig
import pytest
from cloud_rig import world  # noqa: F401
from localcloud import pki

# ruff: noqa: F811

PROGRAM = """
import cloud, time
report(found=cloud.check(SETTINGS))
device = cloud.Device(SETTINGS)
device.on_command = lambda name, args: {"heard": args}
device.send({"celsius": 21.5})
start = time.ticks_ms()
while device.pending or not device.is_connected():
    device.do_next(20)
    if time.ticks_diff(time.ticks_ms(), start) > 60000:
        raise Exception("in vain: %r" % device.error)
report(error=device.error)
while True:
    device.do_next(100)
"""


@pytest.fixture
def azure(world, tmp_path, request):
    made = world.place("azure", cloud_rig.name_of(request), tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def factory(world):
    """A CA whose certificates Azure's enrolment group takes."""
    authority = pki.Authority("a factory")
    pem = authority.pem.decode()
    world.control("PUT", "/azure/enrollments/factory", {"kind": "group-x509", "ca": pem})
    return authority


def with_certificate(azure, factory, name=None):
    azure.settings.pop("key")
    issued = factory.issue_client(name or azure.name)
    cert, key = issued.write(str(azure.folder), "device")[:2]
    azure.settings.update(cert=cert, key_file=key)


def serves(board, azure):
    """It connects, a message arrives, a command is answered."""
    program = board.start(PROGRAM, SETTINGS=azure.settings)
    found = program.next_report(60)["found"]
    assert program.next_report(60) == {"error": None}
    assert azure.wait(1) == [("telemetry", {"celsius": 21.5})]
    assert azure.command("blink", 3) == (200, {"heard": 3})
    program.stop()
    return found


def test_a_certificate_in_place_of_a_key(board, azure, factory):
    with_certificate(azure, factory)
    assert serves(board, azure) == []


def test_a_certificate_of_somebody_else_is_told(board, azure, factory):
    with_certificate(azure, factory, "another")
    run = board.run(
        """
        import cloud, time
        device = cloud.Device(SETTINGS)
        start = time.ticks_ms()
        while not device.error and time.ticks_diff(time.ticks_ms(), start) < 60000:
            device.do_next(20)
        report(said=str(device.error), connected=device.is_connected())
        """,
        SETTINGS=azure.settings,
    )
    assert run.report["connected"] is False and "401002" in run.report["said"]


def test_a_certificate_file_that_is_not_there_is_named(board, azure):
    azure.settings.pop("key")
    azure.settings.update(cert="/no/such/crt.pem", key_file="/no/such/key.pem")
    run = board.run(
        """
        import cloud, time
        report(found=cloud.check(SETTINGS))
        device = cloud.Device(SETTINGS)
        start = time.ticks_ms()
        while not device.error and time.ticks_diff(time.ticks_ms(), start) < 60000:
            device.do_next(20)
        report(said=str(device.error))
        """,
        SETTINGS=azure.settings,
    )
    assert any("can't read" in one and "/no/such/" in one for one in run.reports[0]["found"])
    assert "can't read file /no/such/" in run.reports[1]["said"]


def test_pain_72_a_list_of_servers(board, azure):
    """The first one is dead: told by the check, and no obstacle."""
    azure.settings["server"] = ["127.0.0.1:9", azure.settings["server"]]
    found = serves(board, azure)
    assert len(found) == 1 and "127.0.0.1:9" in found[0]


def test_both_of_them_at_once(board, azure, factory):
    with_certificate(azure, factory)
    azure.settings["server"] = [azure.settings["server"], "127.0.0.1:9"]
    assert serves(board, azure) == []
