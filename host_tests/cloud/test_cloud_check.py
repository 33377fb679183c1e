"""
lib/cloud_check.py: what would keep a device from working is found, with its cure; a good device
has no findings. On MicroPython and on CPython.
"""

import cloud_rig
import pytest
from cloud_rig import place, world  # noqa: F401

# ruff: noqa: F811

CHECK = """
import cloud
fed = []
report(found=cloud.check(SETTINGS, ROLE, lambda: fed.append(1)), fed=len(fed) > 0)
"""


# Each time that the program is let to feed its watchdog a second has passed.
HURRIED = """
import sys
import time as _time

class Time:
    late = 0
    def __getattr__(self, name):
        return getattr(_time, name)
    def ticks_ms(self):
        return _time.ticks_add(_time.ticks_ms(), self.late)

sys.modules["time"] = time = Time()

def hurry():
    time.late += 1000
"""


def check(board, settings, role="Device"):
    return board.run(CHECK, timeout=90, SETTINGS=settings, ROLE=role).report


def test_good_settings_have_no_findings(board, place):
    assert check(board, place.settings) == {"found": [], "fed": True}


@pytest.mark.parametrize("service", ["ibm", "mqtt", "digi"])
def test_good_watchers_have_no_findings(board, world, service):
    settings = cloud_rig.watcher_settings(world, service)
    assert check(board, settings, "Watcher")["found"] == []


def test_a_wrong_setting_is_the_only_finding(board, place):
    del place.settings["ca"]
    (text,) = check(board, place.settings)["found"]
    assert text.startswith("ca: missing")


def test_a_ca_that_is_none(board, place, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("<html>404</html>")
    (tmp_path / "key.pem").write_text("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END")
    (tmp_path / "cut.der").write_bytes(b"\x30\x82\x01\x00abc")
    for name, word in (
        ("missing", "can't read"),
        ("empty", "empty"),
        ("text", "neither PEM nor DER"),
        ("key.pem", "private key"),
        ("cut.der", "ca"),
    ):
        place.settings["ca"] = str(tmp_path / name)
        found = check(board, place.settings)["found"]
        assert len(found) == 1 and found[0].startswith("ca: ") and word in found[0], found


def test_an_unset_clock(board, place):
    got = board.run(
        """
import sys, time
class Clock:
    def __getattr__(self, name):
        return getattr(time, name)
    def gmtime(self, at=None):
        return (2000, 1, 1, 0, 0, 7, 5, 1)
sys.modules["time"] = Clock()
import cloud_check
report(found=cloud_check.check(SETTINGS))
""",
        SETTINGS=place.settings,
    ).report
    assert len(got["found"]) == 1 and "clock" in got["found"][0] and "NTP" in got["found"][0]


def test_names_and_keys_by_their_form(board, world):
    azure = {"service": "azure", "scope": "0ne", "ca": world.ready["ca_der"]}
    (text,) = check(board, dict(azure, id="d1", key="not base64!"))["found"]
    assert text.startswith("key: ") and "not base64!" not in text
    (text,) = check(board, dict(azure, id="d 1", key="QUJDREVGR0hJSktMTU5PUA=="))["found"]
    assert text.startswith("id: ")
    ibm = {"service": "ibm", "org": "abc123", "host": "localhost", "token": "t"}
    ibm["ca"] = world.ready["ca_der"]
    (text,) = check(board, dict(ibm, type="t y", id="d1"))["found"]
    assert text.startswith("type: ")
    (text,) = check(board, dict(ibm, id="app", key="a-zzz999-x"), "Watcher")["found"]
    assert text.startswith("key: ") and "a-abc123-" in text


def test_nobody_there(board, place):
    for key, value in (("server", "127.0.0.1:9"), ("host", "127.0.0.1"), ("port", 9)):
        if key in place.settings:
            place.settings[key] = value
    found = check(board, place.settings)["found"]
    assert found and found[0].startswith("host: 127.0.0.1:"), found


def test_another_s_ca(board, world, tmp_path):
    from localcloud import pki

    other = pki.Authority("somebody else")
    (tmp_path / "other.pem").write_bytes(other.pem if hasattr(other, "pem") else b"")
    ready = world.ready
    settings = {
        "service": "mqtt", "host": "localhost", "port": ready["mqtt"]["tls_port"], "id": "c",
        "ca": ready["teamviewer"]["ca_file"], "user": "rig", "password": "a-password",
    }  # fmt: skip
    (text,) = check(board, settings)["found"]
    assert text.startswith("ca: localhost:") and "root" in text


def test_credentials_that_are_refused(board, place):
    if place.lets_all_in:
        pytest.skip("an agent gives everybody a certificate")
    place.settings.update(place.wrong)
    (text,) = check(board, place.settings)["found"]
    assert text.startswith("credentials: ") and list(place.wrong.values())[0] not in text


def test_a_service_that_says_nothing_is_given_up(board, place):
    if place.service == "teamviewer":
        pytest.skip("its provisioning port is not behind the proxy")
    place.line.apply("silent", connections=None)
    source = HURRIED + CHECK.replace("lambda: fed.append(1)", "hurry")
    found = board.run(source, SETTINGS=place.settings, ROLE="Device").report["found"]
    assert len(found) == 1
    place.line.lift()
    place.line.cut()
    assert cloud_rig.until(lambda: True)
