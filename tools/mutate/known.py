"""
Faults in lib/ that once went unnoticed: made by hand, each in words that its file still has.

Who changes such a line changes it here, too: kept.make() says which one isn't found any more.
"""

from typing import NamedTuple, Tuple

import workshop

from .making import Mutant


class Known(NamedTuple):
    """what: the fault, in words. changes: (what stands there once, what the fault makes of it)."""

    what: str
    file: str  # below lib/
    changes: Tuple[Tuple[str, str], ...]
    tests: str  # below host_tests/


_LINK = "link/test_mqtt_link_properties.py link/test_mqtt_link_pains.py link/test_mqtt_link.py"
_AZURE = "azure/test_iotc_pains.py"

KNOWN = (
    Known(
        "a WebSocket says good-bye behind a frame that went out in part",
        "websocket_stream.py",
        (
            (
                "if self._out_at == self._out_end:\n                try:",
                "if True:\n                try:",
            ),
        ),
        "link/test_websocket_stream.py",
    ),
    Known(
        "the link reads on while the peer takes no acknowledgements",
        "mqtt_link.py",
        (
            ("if self._owed < _ANSWERS_MAX and (self._read()", "if True and (self._read()"),
            ("and self._owed < _ANSWERS_MAX and self._read()", "and self._read()"),
            (
                "            if self._owed >= _ANSWERS_MAX:\n                self._send",
                "            if False:\n                self._send",
            ),
        ),
        _LINK,
    ),
    Known(
        "Digi's pause starts small again after any connection",
        "idigi_monitor_api.py",
        (("if self._held and not 0 <= age <= self._stream.timeout_ms:", "if self._held:"),),
        "digi/test_idigi_monitor_api.py",
    ),
    Known(
        "TeamViewer: a call without an answer has no second deadline",
        "teamviewer_iot.py",
        (
            (
                "            call.late = True\n            call.wait_again()\n",
                "            call.late = True\n",
            ),
        ),
        "teamviewer/test_teamviewer_iot.py",
    ),
    Known(
        "an acknowledgement settles a message that was not sent on this connection",
        "mqtt_link.py",
        (
            (
                "        sent = self._sent\n        i = (pid",
                "        sent = _len(window)\n        i = (pid",
            ),
        ),
        _LINK,
    ),
    Known(
        "iotc counts failures on, though the hub has taken it in between",
        "iotc.py",
        (
            (
                "self._failures = self._seen = self._twin_tries = 0",
                "self._seen = self._twin_tries = 0",
            ),
        ),
        _AZURE,
    ),
    Known(
        "iotc asks for the twin while there is no connection",
        "iotc.py",
        (
            (
                "        self._due = None\n        before = self._state",
                "        before = self._state",
            ),
        ),
        _AZURE,
    ),
    Known(
        "the link keeps QoS 0, too, after credentials were renewed",
        "mqtt_link.py",
        (
            (
                "        self._state = _UP\n        self._holding = False\n",
                "        self._state = _UP\n",
            ),
        ),
        _LINK,
    ),
    Known(
        "another client with this id is thought of one connection too late",
        "link_reasons.py",
        (("if failures > 1:", "if failures > 2:"),),
        "link/test_link_reasons.py " + _LINK,
    ),
    Known(
        "the smallest low surrogate is none",
        "json_surrogates.py",
        (("low & 0xFC00 == 0xDC00", "0xDC00 < low < 0xE000"),),
        "link/test_json_surrogates.py link/test_json_text.py",
    ),
)


def make(known):
    """A known fault as a Mutant. Raises ValueError when the file has changed there."""
    text = (workshop.LIB / known.file).read_text(encoding="utf-8")
    line = None
    for old, new in known.changes:
        if text.count(old) != 1:
            what = "tools/mutate/known.py, {!r}: lib/{} has {} times: {!r}"
            raise ValueError(what.format(known.what, known.file, text.count(old), old))
        line = line or text[: text.index(old)].count("\n") + 1
        text = text.replace(old, new)
    return Mutant(line, known.what, text.encode())
