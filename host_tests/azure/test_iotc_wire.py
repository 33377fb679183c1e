"""
lib/iotc_wire.py: keys and tokens against vectors, percent-encoding without gaps, both epochs, and
JSON that the service takes. On MicroPython and on the CPython port.
"""

import hashlib
import hmac
import json
import urllib.parse

import azure_rig
import pytest

VECTORS = {
    "GROUP": azure_rig.GROUP_KEY,
    "DEVICE": azure_rig.DEVICE_KEY,
}

FAKE_TIME = """
import sys
import time as _real

class time:
    "A clock with the epoch of the board that is wanted."
    now = 0
    def time():
        return time.now - (946684800 if EPOCH == 2000 else 0)
    def gmtime(seconds=None):
        seconds = time.time() if seconds is None else seconds
        if EPOCH == 2000:
            seconds += 946684800
        return _real.gmtime(seconds)

sys.modules["time"] = time
"""


def test_device_key_and_tokens_are_those_of_the_vectors(board):
    got = board.run(
        """
        from iotc_setup import pads
        from iotc_wire import quote, sign, token
        device = sign(pads(GROUP), "sensor-01")
        key = pads(device)
        dps = quote("0ne00ABCDEF/registrations/sensor-01")
        hub = quote("hub-7.azure-devices.net/devices/sensor-01")
        report(
            device=device,
            dps=token(key, dps, 1893456000, "registration"),
            hub=token(key, hub, 1893456000),
            slashes=token(key, hub, 1893456001),
        )
        """,
        **VECTORS,
    ).report
    head = "SharedAccessSignature sr="
    assert got == {
        "device": azure_rig.DEVICE_KEY,
        "dps": head
        + "0ne00ABCDEF%2Fregistrations%2Fsensor-01"
        + "&sig=ByRHyPtSJ25cbpaW3ANlxGLcBg77fAut4PLjcIiO5fc%3D&se=1893456000&skn=registration",
        "hub": head
        + "hub-7.azure-devices.net%2Fdevices%2Fsensor-01"
        + "&sig=F%2BukFddcR5ten6V0w6W72dsp7rwHDMznYexYjkH9wHc%3D&se=1893456000",
        "slashes": head
        + "hub-7.azure-devices.net%2Fdevices%2Fsensor-01"
        + "&sig=Nvozz%2F%2Bi7UIoX8qQc%2FJJ14IRUnE3%2FhSQh2LpmimtU2g%3D&se=1893456001",
    }


def test_hmac_is_rfc_2104_for_every_length_of_key_and_text(board):
    """Against hashlib's of CPython; keys of the 16 to 64 bytes that Azure allows."""
    run = board.run(
        """
        from binascii import b2a_base64
        from iotc_setup import pads
        from iotc_wire import sign
        for size in range(16, 65):
            key = b2a_base64(bytes(range(size))).decode()
            report(size=size, sig=sign(pads(key), "x" * (size * 3)))
        """
    )
    assert len(run.reports) == 49
    for got in run.reports:
        size = got["size"]
        digest = hmac.new(bytes(range(size)), b"x" * (size * 3), hashlib.sha256).digest()
        assert got["sig"] == azure_rig.base64.b64encode(digest).decode()


@pytest.mark.parametrize(
    "key",
    [
        "",
        "AAECAw==",
        "!!!not base64 at all!!!!!!!!!!!!",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        "AAECAwQFBgcICQoLDA0ODx AREhMUFRYXGBkaGxwdHh8=",
        azure_rig.GROUP_KEY + azure_rig.GROUP_KEY,
        None,
        5,
        {"keyfile": "k"},
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(board, key):
    got = board.run(
        """
        from iotc_setup import pads
        try:
            pads(key)
        except ValueError as e:
            report(text=str(e))
        """,
        key=key,
    ).report
    assert "keyORCert" in got["text"] and "base64" in got["text"]
    assert not isinstance(key, str) or len(key) < 8 or key[:8] not in got["text"]


def test_a_key_may_have_white_space_around_it(board):
    """As it has when it was read from a file."""
    got = board.run(
        "from iotc_setup import pads\nfrom iotc_wire import sign\n"
        "report(k=sign(pads(GROUP + '\\n'), 'sensor-01'))",
        **VECTORS,
    ).report
    assert got["k"] == azure_rig.DEVICE_KEY


def test_percent_encoding_has_no_gaps(board):
    """Every byte there is, and text beyond ASCII; what CPython's quote() leaves alone stays."""
    text = "".join(map(chr, range(1, 256))) + "ß€𝄞"
    got = board.run(
        """
        from iotc_wire import quote, unquote
        report(quoted=quote(text), back=unquote(quote(text)) == text, plain=quote("a-B.0_~"))
        """,
        text=text,
    ).report
    assert got["plain"] == "a-B.0_~"
    assert got["quoted"] == urllib.parse.quote(text, safe="")
    assert got["back"] is True


def test_bags_are_taken_apart_as_hub_writes_them(board):
    got = board.run(
        """
        from iotc_wire import bag
        report(bag=bag("%24.mid=77aa&a+b=1+2&empty=&alone&%C3%A4=%26%3D%3f"))
        try:
            bag("a=%zz")
        except ValueError:
            report(malformed=True)
        """
    )
    bag = {"$.mid": "77aa", "a+b": "1+2", "empty": "", "alone": None, "ä": "&=?"}
    assert got.reports == [{"bag": bag}, {"malformed": True}]


@pytest.mark.parametrize("epoch", [1970, 2000])
def test_pain_09_the_epoch_is_asked_not_assumed(board, epoch):
    got = board.run(
        FAKE_TIME
        + """
time.now = 1893456000
from iotc_wire import unix_time
report(now=unix_time(), whole=isinstance(unix_time(), int))
""",
        EPOCH=epoch,
    ).report
    assert got == {"now": 1893456000, "whole": True}


def test_a_clock_is_set_from_the_first_second_of_2025_on(board):
    got = board.run(
        FAKE_TIME
        + """
from iotc_wire import unix_time
time.now = 1735689600
report(now=unix_time())
time.now -= 1
try:
    unix_time()
except OSError as e:
    report(refused=str(e))
""",
        EPOCH=1970,
    ).reports
    assert got[0] == {"now": 1735689600} and "clock" in got[1]["refused"]


@pytest.mark.parametrize("epoch", [1970, 2000])
@pytest.mark.parametrize("year_zero_plus", [0, 3600, 86400 * 365])
def test_pain_11_a_clock_that_was_never_set_is_refused_in_words(board, epoch, year_zero_plus):
    start = 946684800 if epoch == 2000 else 0
    got = board.run(
        FAKE_TIME
        + """
time.now = start
from iotc_wire import unix_time
try:
    unix_time()
except OSError as e:
    report(text=str(e))
time.now = 1893456000
report(now=unix_time())
""",
        EPOCH=epoch,
        start=start + year_zero_plus,
    )
    refused, later = got.reports
    assert "clock" in refused["text"] and "NTP" in refused["text"]
    assert later == {"now": 1893456000}


def test_json_holds_what_it_can_and_refuses_what_it_would_garble(board):
    got = board.run(
        """
        from iotc_wire import dump
        good = [None, True, 1, -1 << 70, 1.5, ["text"], [1, (2, 3)], {"a": {"b": []}}, {}, ""]
        report(good=[dump(value) for value in good])
        bad = [float("nan"), float("inf"), -float("inf"), b"x", {1: 2}, {"a": b"x"}, [object()]]
        refused = []
        for value in bad[:3] + bad[4:]:
            try:
                dump(value)
            except ValueError as e:
                refused.append(str(e))
        report(refused=refused, bytes=dump(b"x") == b"x", text=dump('{"a":'))
        """
    )
    good, bad = got.reports
    assert [text and json.loads(text) for text in good["good"]] == [
        None, True, 1, -1 << 70, 1.5, ["text"], [1, [2, 3]], {"a": {"b": []}}, {}, "",
    ]  # fmt: skip
    assert len(bad["refused"]) == 6 and all("JSON" in text for text in bad["refused"])
    assert bad["bytes"] is True and bad["text"] == '{"a":'


def test_a_twins_limits_are_known_before_hub_tells(board):
    got = board.run(
        """
        from iotc_wire import dump
        def deep(levels):
            value = 1
            for _ in range(levels):
                value = {"a": value}
            return value
        good = [
            {"a": (1 << 52) - 1}, {"a": -(1 << 52)}, {"k" * 1024: 1}, {"a": "x" * 4096}, deep(10),
            {"$iotin:settings": {"fan": {"value": 1}}}, {"a": None}, {"a": [1, {"b": 2}]},
        ]
        bad = [
            {"a": 1 << 52}, {"a": -(1 << 52) - 1}, {"k" * 1025: 1}, {"a": "x" * 4097}, deep(11),
            {"a.b": 1}, {"$a": 1}, {"a b": 1}, {"": 1}, {"a\\tb": 1}, {"a": {"b.c": 1}},
            {"a": [{"$b": 1}]},
        ]
        def fits(value):
            try:
                return bool(dump(value, True))
            except ValueError as e:
                return "twin" in str(e) and str(e)
        report(good=[fits(v) for v in good], bad=[fits(v) for v in bad])
        """
    ).report
    assert got["good"] == [True] * 8
    assert all(isinstance(text, str) for text in got["bad"]), got["bad"]


def test_a_message_may_have_256_kb_with_what_stands_beside_it_and_not_a_byte_more(board):
    got = board.run(
        """
        from iotc_wire import dump

        def size(value, more=0):
            try:
                return len(dump(value, more=more))
            except ValueError:
                return "refused"

        most = 262144
        report(got=[
            size(b"x" * most), size(b"x" * (most + 1)), size("x" * most), size("x" * (most + 1)),
            size(b"x" * (most - 9), 9), size(b"x" * (most - 9), 10),
            size("\\u00e4" * (most // 2)), size("\\u00e4" * (most // 2) + "x"),
        ])
        """,
    ).report["got"]
    assert got == [262144, "refused"] * 2 + [262135, "refused", 262144, "refused"]


def test_a_key_that_json_would_change_is_refused_at_any_depth(board):
    got = board.run(
        """
        from iotc_wire import dump
        refused = []
        for value in ({1: 2}, {"a": {1: 2}}, [{"a": [{True: 2}]}], "\\ud83d"):
            try:
                dump(value)
            except ValueError:
                refused.append(True)
        report(refused=len(refused))
        """
        if board.name == "cpython"
        else """
        from iotc_wire import dump
        refused = []
        for value in ({1: 2}, {"a": {1: 2}}, [{"a": [{True: 2}]}], bytes((0xed, 0xa0, 0xbd))):
            try:
                dump(value if not isinstance(value, bytes) else str(value, "utf-8"))
            except ValueError:
                refused.append(True)
        report(refused=len(refused))
        """,
    ).report
    assert got == {"refused": 4}
