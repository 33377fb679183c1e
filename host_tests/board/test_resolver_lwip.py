"""lib/resolver.py on the emulated board: names without a step that outlasts a watchdog."""

import pytest
from dns_rig import addresses, answer, servers, silent
from device_program import program

RESOLVE = program("resolver_lwip_resolve")
STEP_BOUND_US = 50000


@pytest.fixture
def serve():
    with servers() as start:
        yield start


def place(board, server):
    """Where a server on the host's loopback is, seen from the board."""
    return "{}:{}".format(board.host, server.place.split(":")[1])


def test_pain_12_silent_servers_hold_up_nothing(board_lwip, serve):
    dead, good = serve(silent), serve(addresses("192.0.2.1", "192.0.2.2"))
    failing = serve(lambda query: [answer(query, rcode=2)])
    nowhere = serve(lambda query: [answer(query, rcode=3)])
    source = (
        RESOLVE
        + """
report(
    both=look_up("iot.example.org", Resolver([dead, good])),
    none=look_up("iot.example.org", Resolver([dead, dead], timeout=3)),
    failing=look_up("iot.example.org", Resolver([failing])),
    nowhere=look_up("iot.example.org", Resolver([nowhere])),
    longest=longest,
)
"""
    )
    places = {"dead": dead, "good": good, "failing": failing, "nowhere": nowhere}
    got = board_lwip.run(
        source, **{name: place(board_lwip, places[name]) for name in places}
    ).report
    assert got["both"] == ["192.0.2.1", "192.0.2.2"]
    assert got["none"] == "DNS: iot.example.org: no server answers"
    assert got["failing"] == "DNS: iot.example.org: server failed, code 2"
    assert got["nowhere"] == "DNS: no IPv4 address for iot.example.org"
    assert got["longest"] < STEP_BOUND_US


def test_a_stalled_line_ends_in_words(board_lwip, serve):
    good = serve(addresses("192.0.2.1"))
    source = (
        RESOLVE
        + """
report(first=look_up("one.example.org", Resolver([good])))
import sys
sys.stdin.readline()
report(second=look_up("two.example.org", Resolver([good], timeout=3)), longest=longest)
"""
    )
    program = board_lwip.start(source, good=place(board_lwip, good))
    assert program.next_report(120) == {"first": ["192.0.2.1"]}
    program.line.stall()
    program.send("go")
    got = program.next_report(120)
    assert got["second"] == "DNS: two.example.org: no server answers"
    assert got["longest"] < STEP_BOUND_US


def test_the_networks_own_server_is_asked(board_lwip):
    """With the emulated board's names: what network.ipconfig("dns") says is where they are."""
    source = (
        RESOLVE
        + """
import network
report(server=network.ipconfig("dns"))
"""
    )
    assert board_lwip.run(source).report["server"]
