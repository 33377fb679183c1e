"""The manifests of boards/, read by the rules of MicroPython's build."""

import pytest
import workshop


class Manifest:
    """What makemanifest.py gives a manifest; collects what gets frozen."""

    def __init__(self):
        self.frozen = {}
        self.required = []
        self.included = []

    def run(self, path, **given):
        from types import SimpleNamespace

        options = SimpleNamespace(**given)
        options.defaults = lambda **values: [
            setattr(options, name, values[name]) for name in values if not hasattr(options, name)
        ]

        def include(target, **values):
            self.included.append(target)
            if not target.startswith("$("):
                self.run(path.parent / target, **values)

        def module(name, base_path="."):
            file = path.parent / base_path / name
            assert file.is_file(), "{} freezes {}, which is not there".format(path, file)
            assert name not in self.frozen, "{} is frozen twice".format(name)
            self.frozen[name] = file.resolve()

        import os

        before = os.getcwd()
        os.chdir(path.parent)
        try:
            exec(
                compile(path.read_text(), str(path), "exec"),
                {
                    "metadata": lambda **_: None,
                    "options": options,
                    "require": lambda name, **_: self.required.append(name),
                    "include": include,
                    "module": module,
                },
            )
        finally:
            os.chdir(before)
        return self


@pytest.mark.parametrize("name", ["ESP32_GENERIC", "RPI_PICO_W"])
def test_board_manifest_freezes_what_main_needs(name):
    manifest = Manifest().run(workshop.ROOT / "boards" / name / "manifest.py")
    application = {path.name for path in (workshop.ROOT / "boards" / "application").glob("*.py")}
    assert application - {"readings.py"} <= set(manifest.frozen)
    assert {"cloud.py", "resolver.py", "iotc.py", "ibmiotf/device.py"} <= set(manifest.frozen)
    assert not [
        name for name in manifest.frozen if name in ("readings.py", "device.json", "secret.json")
    ], "what is the user's, secrets above all, doesn't belong into firmware"
    assert manifest.included[0].startswith("$(PORT_DIR)/")
    assert "umqtt.simple" in manifest.required


def test_manifest_leaves_out_what_is_not_wanted():
    def without(name):
        frozen = set(Manifest().run(workshop.ROOT / "manifest.py", **{name: False}).frozen)
        return set(everything) - frozen

    everything = Manifest().run(workshop.ROOT / "manifest.py").frozen
    assert without("azure") >= {"iotc.py", "iotc_files.py", "cloud_azure.py"}
    assert without("azure_files") == {"iotc_files.py"}
    assert without("digi") >= {"idigi_monitor_api.py", "cloud_digi.py"}
    assert "mqtt_link.py" not in without("ibm") and "ibmiotf/device.py" in without("ibm")
    assert without("cloud") >= {"cloud.py", "cloud_mqtt.py"}


def test_manifest_freezes_all_of_lib():
    manifest = Manifest().run(workshop.ROOT / "manifest.py")
    there = {path.relative_to(workshop.LIB).as_posix() for path in workshop.LIB.rglob("*.py")}
    assert set(manifest.frozen) == there
