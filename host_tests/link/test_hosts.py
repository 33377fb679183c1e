"""hosts: servers in the forms in which programs give them, and what can not be one."""

import pytest


@pytest.mark.parametrize(
    "host, port, found",
    [
        ("example.org", 1883, [("example.org", 1883)]),
        ("example.org", "1883", [("example.org", 1883)]),
        ("example.org:8883", 1883, [("example.org", 8883)]),
        ("::1", 1883, [("::1", 1883)]),
        ("[::1]", 1883, [("::1", 1883)]),
        ("[fe80::2]:99", 1883, [("fe80::2", 99)]),
        (["a", "b:2", "[::1]:3"], 1, [("a", 1), ("b", 2), ("::1", 3)]),
    ],
)
def test_pain_43_hosts_and_ports_as_programs_give_them(board, host, port, found):
    source = "import netstream\nreport(found=netstream.places(host, port))"
    report = board.run(source, host=host, port=port).report
    assert [tuple(one) for one in report["found"]] == found


@pytest.mark.parametrize(
    "host, port",
    [
        ("h", "x"),
        ("h", "1883x"),
        ("h", 0),
        ("h", 65536),
        ("h", None),
        ("", 1),
        ("[::1", 1),
        ("[::1]x", 1),
        (["h", 5], 1),
        ([], 1),
        ("h:", 1),
        (":1", 1),
    ],
)
def test_pain_45_a_host_or_port_that_can_not_be_is_an_error_that_names_the_option(
    board, host, port
):
    source = """
from netstream import NetStream
try:
    said = NetStream(host, port)
except ValueError as e:
    said = str(e)
report(said=str(said))
"""
    assert board.run(source, host=host, port=port).report["said"].startswith("server")
