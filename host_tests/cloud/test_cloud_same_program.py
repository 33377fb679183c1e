"""
The same program, unchanged, on every service of the local cloud and on a broker that is not ours:
examples/device.py, and what it prints.
"""

import json

import cloud_rig
import pytest
import workshop
from workshop import processes
from cloud_rig import world  # noqa: F401

# ruff: noqa: F811


@pytest.mark.parametrize("service", cloud_rig.DEVICES + ("broker",))
def test_the_same_program_on_every_service(service, world, broker, tmp_path, monkeypatch):
    if not workshop.micropython():
        pytest.skip(workshop.why_no_micropython())
    if service == "broker":
        settings = {
            "service": "mqtt", "id": "same", "host": broker.host, "port": broker.port, "ca": None,
        }  # fmt: skip
        place = None
    else:
        place = world.place(service, "same-program", tmp_path)
        place.line.lift()
        settings = place.settings
    (tmp_path / "device.json").write_text(json.dumps(settings))
    source = (workshop.ROOT / "examples" / "device.py").read_text()
    (tmp_path / "program.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    process = processes.Process(
        workshop.device_command(tmp_path / "program.py", kind="micropython"),
        service,
        workshop.device_env(),
    )
    try:
        for line in ("connected", "message 1 arrived"):
            while line not in process.next_line(40):
                pass
        if place:
            assert place.wait(1) == [("climate", {"celsius": 21.5})]
            cloud_rig.until(lambda: place.reported().get("firmware") == "1.2", what="the state")
            if "command" in place.has:
                assert place.command("blink", 3) == (200, "done")
                while "command blink 3" not in process.next_line(20):
                    pass
    finally:
        process.stop()
        if place:
            place.close()
    said = [line for line in process.out if "WARNING" not in line]
    print("{:<11}| {}".format(service, " | ".join(said)))
    assert not [line for line in said if line.startswith("check:")]
