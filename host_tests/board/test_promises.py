"""
What README promises, measured where it counts: on an emulated board with lwIP and mbedTLS, whose
watchdog of eight seconds really bites. tools/board/promises.py has the rows, and prints them all.

A step is bounded by promises.STEP_MS of the board's own time, however busy this computer is. Named
exceptions: the TLS handshake's arithmetic, and the port's own look-up of names.
"""

import pathlib

import pytest
from board import emulator, promises
from device_program import program

PROGRAM_SHARED = program("promises_lwip_shared")
HANDSHAKE_MS = 4000  # P-256 takes 0.6 s there; a Pico W needs three times as long
FAULTS = promises.FAULTS
SIZES = (30, 512, 1500, 2200)
TRIES = 3  # what blocks blocks each time; a computer that was busy elsewhere is not so regular


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    reason = emulator.why_not()
    if reason:
        pytest.skip(reason)
    made = promises.Broker(tmp_path_factory.mktemp("broker"))
    yield made
    made.close()


def is_quick(row, tls):
    most = HANDSHAKE_MS if tls else promises.STEP_MS
    return not row.bitten and row.longest_ms < promises.STEP_MS and row.dialling_ms < most


def hold(make, tls=None, recovers=True):
    """
    Every row of make(wanted) keeps the promises; returns them. tls: whether a handshake is among
    the steps; None: the row's name tells. recovers: what it must say; None: the test looks itself.
    """
    rows = []
    for row in make(None):
        handshake = "TLS" in row.name if tls is None else tls
        for _ in range(TRIES - 1):
            if is_quick(row, handshake):
                break
            again = list(make(lambda name, wanted=row.name: name == wanted))
            row = again[-1]
        assert is_quick(row, handshake), str(row)
        if recovers is not None:
            assert row.recovered is recovers, str(row)
        rows.append(row)
    return rows


@pytest.mark.parametrize("way", ["plain", "TLS", "WebSocket", "WSS"])
def test_every_fault_of_a_peer(broker, board_lwip, way):
    """Each connection is broken in another way; the next is served, and nothing blocks."""
    faults = FAULTS if way in ("plain", "TLS") else FAULTS[::4]
    rows = hold(
        lambda wanted: promises.fault_rows(broker, [way], faults, wanted=wanted),
        tls=way in ("TLS", "WSS"),
    )
    assert len(rows) == len(faults) + 1


def test_tls_that_breaks_below(broker, board_lwip):
    rows = hold(lambda wanted: promises.record_rows(broker, wanted=wanted))
    assert len(rows) == 2 * len(promises.TLS_BYTES)


def test_pain_29_a_name_that_moves_is_followed(broker, board_lwip):
    assert len(hold(lambda wanted: promises.moved_rows(broker, wanted=wanted))) == 1


def test_nothing_is_allocated_when_idle_and_per_publish(broker, board_lwip):
    run = board_lwip.run(
        """
        import gc, sys, time
        from mqtt_link import MQTTLink

        link = MQTTLink("idle", "localhost", port, ssl={"ca": ca}, keepalive=0)
        link.connect(timeout=20)

        def grown(times, call, *args):
            for _ in range(3):  # what is made once, and the answers that are still coming
                call(*args)
            gc.collect()
            gc.disable()
            before = gc.mem_alloc()
            for _ in range(times):
                call(*args)
            after = gc.mem_alloc()
            gc.enable()
            return after - before

        idle = grown(100, link.do_next, 0)
        publish = grown(20, link.publish, b"up/x", b"21.5")
        report(idle=idle, publish=publish, version=sys.implementation.version[:2])
        """,
        port=broker.ready["mqtt"]["tls_port"],
        ca=pathlib.Path(broker.ready["ca_der"]),
    )
    assert run.report["idle"] == 0
    # 0 from MicroPython 1.26 on; before, it made an object of each of two slices.
    assert run.report["publish"] == (0 if run.report["version"] >= [1, 26] else 20 * 32)


@pytest.mark.parametrize("way", ["plain", "TLS"])
def test_pain_55_a_silent_line_blocks_no_publish(broker, board_lwip, way):
    rows = hold(lambda wanted: promises.silent_rows(broker, [way], SIZES, wanted=wanted))
    assert len(rows) == 2 * len(SIZES)


@pytest.mark.parametrize("way", ["plain", "TLS"])
@pytest.mark.parametrize(
    "count,size,ms",
    [(2, 640, 2500), (2, 20000, 2500), (1, 640, None), (1, 20000, None)],
    ids=["two links", "two links, long", "the next connection", "the next connection, long"],
)
def test_pain_55_connections_share_a_memory(broker, board_lwip, way, count, size, ms):
    """
    lwIP has 8000 bytes for all connections, those closed on a silent peer included. A write that
    lacks some blocked for ten seconds.
    """
    if way == "TLS" and count > 1:
        pytest.skip("two TLS connections take more than this board's heap")
    options = broker.options(way, link={"timeout": 4, "keepalive": 0, "window": 8})
    program = board_lwip.start(
        PROGRAM_SHARED
        + """
while not all_up():
    for one in links:
        one.do_next(100)
    dog.feed()
report(up=True)
wait_for_a_word()
publish(lambda passed: passed > ms if ms else downs or passed > 40000)
report(longest=longest, downs=len(downs))
wait_for_a_word()
longest = 0
publish(lambda passed: passed > 8000)
report(longest=longest, up=all_up())
""",
        count=count,
        ms=ms,
        size=size,
        port=options["port"],
        link=options["link"],
    )
    assert program.next_report(120) == {"up": True}
    program.line.stall()
    program.send("go on")
    silent = program.next_report(300)
    program.line.mend()
    program.send("go on")
    after = program.next_report(300)
    assert silent["longest"] < promises.STEP_MS and after["longest"] < promises.STEP_MS
    assert after["up"] and (ms or silent["downs"])


@pytest.mark.parametrize("filters,messages", [(200, 0), (1, 200)])
def test_much_waits_for_a_connection(broker, board_lwip, filters, messages):
    """Each filter and each message is a TLS record at most; a step takes only some of them."""
    run = board_lwip.run(
        """
        import time
        from mqtt_link import MQTTLink

        link = MQTTLink("much", "localhost", port, ssl={"ca": ca}, window=200)
        link.subscribe([("plant/%d/temperature/measured/#" % i, 1) for i in range(filters)])
        acked = []
        link.on_ack = lambda pid, code: acked.append(pid)
        for _ in range(messages):
            link.publish("up/device", b"x" * 30, False, 1)
        longest = 0
        start = time.ticks_ms()
        while len(acked) < 1 + messages:
            assert time.ticks_diff(time.ticks_ms(), start) < 60000, link.error
            was_up = link.is_connected()
            begun = time.ticks_us()
            link.do_next(0)
            if was_up:
                longest = max(longest, time.ticks_diff(time.ticks_us(), begun))
        report(longest_ms=longest / 1000)
        """,
        port=broker.ready["mqtt"]["tls_port"],
        ca=pathlib.Path(broker.ready["ca_der"]),
        heap="180k",
        filters=filters,
        messages=messages,
    )
    assert run.report["longest_ms"] < promises.STEP_MS


def test_connections_that_can_t_come_about(broker, board_lwip, tmp_path):
    rows = hold(
        lambda wanted: promises.refused_rows(broker, tmp_path, wanted=wanted), recovers=False
    )
    told = {row.name: row.last for row in rows}
    for name in ("refused, plain", "refused, TLS"):
        assert "ECONNRESET" in told[name] or "refused" in told[name], told[name]
    assert "no answer" in told["no such address, plain"]
    assert "no CONNACK" in told["silent server, plain"]
    assert "TLS handshake" in told["TLS: silent server"]
    assert "host:" in told["TLS: wrong name"] and "wrong.test" in told["TLS: wrong name"]
    assert "ca:" in told["TLS: wrong CA"]
    assert "clock" in told["TLS: clock of 1970"] and "NTP" in told["TLS: clock of 1970"]
    assert "expired" in told["TLS: clock of 2050"]


def test_names_without_blocking(broker, board_lwip):
    rows = hold(lambda wanted: promises.dns_rows(broker, wanted=wanted), recovers=None)
    recovered = [row.name for row in rows if row.recovered]
    assert recovered == ["DNS: a silent server before a good one"]
    told = {row.name: row.last for row in rows}
    assert "nowhere.test" in told["DNS: no such name"]
    assert "no server answers" in told["DNS: two silent servers"]


def test_pain_56_reconnects_in_a_heap_in_pieces_and_nothing_leaks(broker, board_lwip):
    for row in hold(lambda wanted: promises.cycle_rows(broker, wanted=wanted), recovers=None):
        after_10, after_all = row.done
        assert after_all == after_10, "the heap in use grows with each connection"
