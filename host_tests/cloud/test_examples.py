"""
examples/: each runs on MicroPython as it lies against the local cloud that its README starts (only
ports and the state directory are put in), is short, and asks its settings file who it is.
"""

import json
import re

import pytest
import workshop
from localcloud_rig import Control
from workshop import processes

EXAMPLES = workshop.ROOT / "examples"
# Of each program, what must be printed, in this order.
PRINTED = {
    "device": ("connected", "message 1 arrived"),
    "azure": ("status 0 None", "sent {'celsius': 21.5}"),
    "ibm": ("published",),
    "teamviewer": ("provisioned", "pushed"),
    "digi": ("listening", "greenhouse/celsius"),
    "broker": ("connected", 'heard greenhouse/climate {"celsius": 21.5}'),
}
PORTS = {
    "8883": ("mqtt", "tls_port"), "18883": ("teamviewer", "provision_port"),
    "18884": ("teamviewer", "port"), "8443": ("digi", "https_port"),
    "3201": ("digi", "push_tls_port"),
}  # fmt: skip


def test_no_example_is_forgotten():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PRINTED)
    assert {path.stem for path in EXAMPLES.glob("*.json")} == set(PRINTED)
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name in PRINTED:
        assert "`%s.py`" % name in readme


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_an_example_is_short_and_holds_no_address(name):
    source = (EXAMPLES / (name + ".py")).read_text(encoding="utf-8")
    code = [one for one in source.splitlines() if one.strip() and not one.startswith("#")]
    assert 10 <= len(code) <= 32
    assert "localhost" not in source and "/tmp/" not in source


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """The local cloud as the README starts it, on free ports."""
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (command,) = re.findall(r"python3 tools/localcloud (.*)", text)
    options = command.split()
    at = options.index("--state")
    del options[at : at + 2]
    state = tmp_path_factory.mktemp("cloud")
    process, ready = processes.start_cloud(*options, state=state)
    yield dict(ready, state=state)
    process.stop()
    print(process.tail(40))


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_an_example_runs(name, cloud, tmp_path, monkeypatch):
    if not workshop.micropython():
        pytest.skip(workshop.why_no_micropython())
    (tmp_path / "program.py").write_text((EXAMPLES / (name + ".py")).read_text())
    settings = (EXAMPLES / (name + ".json")).read_text().replace("/tmp/cloud", str(cloud["state"]))
    for port, (part, key) in PORTS.items():
        settings = re.sub(r"\b{}\b".format(port), str(cloud[part][key]), settings)
    (tmp_path / (name + ".json")).write_text(settings)
    monkeypatch.chdir(tmp_path)
    process = processes.Process(
        workshop.device_command(tmp_path / "program.py", kind="micropython"),
        name,
        workshop.device_env(),
    )
    try:
        for text in PRINTED[name]:
            if name == "digi" and text != "listening":
                event = {"stream": "greenhouse/celsius", "data": 21.5}
                assert Control(cloud)("POST", "/digi/event", event)[0] == 200
            while text not in process.next_line(30):
                pass
    finally:
        process.stop()
    assert "Traceback" not in "\n".join(process.out) + "\n".join(process.err)


@pytest.mark.parametrize("there", [True, False])
def test_the_readme_s_device_works_and_says_its_errors_aloud(there, cloud, tmp_path, monkeypatch):
    if not workshop.micropython():
        pytest.skip(workshop.why_no_micropython())
    text = (workshop.ROOT / "README.md").read_text(encoding="utf-8")
    source = re.search(r"^```python\n(.*?)^```", text, re.S | re.M).group(1)
    assert len(source.splitlines()) <= 13
    settings = json.loads((EXAMPLES / "device.json").read_text())
    settings["ca"] = cloud["ca_der"]
    settings["port"] = cloud["mqtt"]["tls_port"] if there else 9
    (tmp_path / "device.json").write_text(json.dumps(settings))
    (tmp_path / "program.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    process = processes.Process(
        workshop.device_command(tmp_path / "program.py", kind="micropython"),
        "the README's device",
        workshop.device_env(),
    )
    try:
        wanted = "message 1 arrived" if there else "offline: "
        while wanted not in process.next_line(30):
            pass
    finally:
        process.stop()
