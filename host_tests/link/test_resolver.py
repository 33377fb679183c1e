"""resolver: DNS without blocking, read as its specification."""

import struct
import threading

import board_rig
import cpython_port
import pytest
import workshop
from dns_rig import Stranger, addresses, answer, servers, silent
from hypothesis import given, settings
from hypothesis import strategies as st
from device_program import program

(DOUBLES,) = board_rig.DOUBLES

RESOLVE = program("resolver_resolve")


@pytest.fixture
def serve():
    with servers() as start:
        yield start


def says(board, places, expression="look_up('iot.example.org', resolver)", timeout=10, **more):
    source = (
        RESOLVE
        + "resolver = Resolver(places, timeout=SECONDS)\n"
        + "report(said={}, turns=turns)".format(expression)
    )
    return board.run(source, 40, places=places, SECONDS=timeout, **more).report["said"]


# ---- what a name means


def test_all_addresses_come_in_the_order_of_the_answer(board, serve):
    server = serve(addresses("192.0.2.7", "198.51.100.9", "203.0.113.200"))
    assert says(board, [server.place]) == ["192.0.2.7", "198.51.100.9", "203.0.113.200"]
    assert server.names() == ["iot.example.org"]


def test_a_name_is_sent_in_lower_case_and_may_end_in_a_dot(board, serve):
    server = serve(addresses("192.0.2.7"))
    assert says(board, [server.place], "look_up('IoT.Example.ORG.', resolver)") == ["192.0.2.7"]
    assert server.names() == ["iot.example.org"]


def test_a_chain_of_aliases_is_followed_to_its_addresses(board, serve):
    def script(query):
        chain = [
            (None, 60, "CNAME", "one.example.net."),
            ("one.example.net.", 60, "CNAME", "two.example.net."),
            ("two.example.net.", 60, "A", "192.0.2.1"),
            ("two.example.net.", 60, "A", "192.0.2.2"),
        ]
        return [answer(query, *chain)]

    assert says(board, [serve(script).place]) == ["192.0.2.1", "192.0.2.2"]


def test_an_address_of_another_name_is_not_taken(board, serve):
    def script(query):
        return [
            answer(
                query,
                ("else.example.org.", 60, "A", "192.0.2.66"),
                (None, 60, "AAAA", "2001:db8::1"),
                (None, 60, "A", "192.0.2.1"),
            )
        ]

    assert says(board, [serve(script).place]) == ["192.0.2.1"]


@pytest.mark.parametrize(
    "host, found",
    [
        ("192.0.2.7", ["192.0.2.7"]),
        ("localhost", ["127.0.0.1"]),
        ("LocalHost", ["127.0.0.1"]),
        ("::1", ["::1"]),
    ],
)
def test_addresses_and_localhost_need_no_server(board, serve, host, found):
    server = serve(addresses("192.0.2.66"))
    assert says(board, [server.place], "look_up({!r}, resolver)".format(host)) == found
    assert server.queries == []


@pytest.mark.parametrize("host", ["", ".", "a..b", "x" * 64 + ".org", ".".join(["abcdefg"] * 40)])
def test_what_is_no_host_name_is_an_error_that_says_so(board, serve, host):
    server = serve(addresses("192.0.2.66"))
    assert "no host name" in says(board, [server.place], "look_up({!r}, resolver)".format(host))
    assert server.queries == []


# ---- servers that say no, or nothing


def test_a_name_that_does_not_exist_is_told_at_once(board, serve):
    server, second = serve(lambda query: [answer(query, rcode=3)]), serve(silent)
    said = says(board, [server.place, second.place])
    assert said.startswith("DNS: no IPv4 address for iot.example.org")
    assert len(server.queries) == 1


def test_a_name_without_ipv4_addresses_is_told_at_once(board, serve):
    server = serve(lambda query: [answer(query, (None, 60, "AAAA", "2001:db8::1"))])
    assert says(board, [server.place]).startswith("DNS: no IPv4 address for iot.example.org")
    assert len(server.queries) == 1


@pytest.mark.parametrize("rcode", [1, 2, 4, 5])
def test_when_one_server_fails_the_other_is_asked(board, serve, rcode):
    first = serve(lambda query: [answer(query, rcode=rcode)])
    second = serve(addresses("192.0.2.2"))
    assert says(board, [first.place, second.place]) == ["192.0.2.2"]
    both = says(board, [first.place, first.place])
    assert "iot.example.org" in both and "server failed, code {}".format(rcode) in both
    assert len(first.queries) == 3  # what has failed is not asked again


def test_pain_12_a_silent_server_costs_a_pause_once_and_no_step_blocks(board, serve):
    dead = serve(silent)
    good = serve(addresses("192.0.2.2", ttl=0))
    source = (
        RESOLVE
        + """
resolver = Resolver([dead, good])
first = look_up("one.example.org", resolver)
waited = turns
second = look_up("two.example.org", resolver)
report(first=first, second=second, waited=waited)
"""
    )
    got = board.run(source, dead=dead.place, good=good.place).report
    assert got["first"] == got["second"] == ["192.0.2.2"]
    assert got["waited"] > 1
    # The one that answered is asked first from then on.
    assert dead.names() == ["one.example.org"]
    assert good.names() == ["one.example.org", "two.example.org"]


def test_silent_servers_are_asked_more_and_more_seldom_and_given_up_in_time(board, serve):
    first, second = serve(silent), serve(silent)
    said = says(board, [first.place, second.place], timeout=4)
    assert said == "DNS: iot.example.org: no server answers"
    # At 0, 0.5, 1.5 and 3.5 seconds; a busy machine may leave one out.
    assert 1 <= len(first.queries) <= 2 and 1 <= len(second.queries) <= 2
    assert len(set(first.queries + second.queries)) == 1  # one question, one number


def test_a_question_that_got_lost_is_asked_again(board, serve):
    lost = []

    def script(query):
        if not lost:
            lost.append(query)
            return []
        return [answer(query, (None, 60, "A", "192.0.2.1"))]

    assert says(board, [serve(script).place]) == ["192.0.2.1"]


def test_a_late_answer_of_the_first_server_is_good(board, serve):
    second_asked = threading.Event()

    def slow(query):
        assert second_asked.wait(20)
        return [answer(query, (None, 60, "A", "192.0.2.1"))]

    def second(query):
        second_asked.set()
        return []

    places = [serve(slow).place, serve(second).place]
    assert says(board, places, timeout=25) == ["192.0.2.1"]


@pytest.mark.parametrize(
    "place", ["dns.example.org", "2001:db8::1", "1.2.3", "256.1.1.1", "0.0.0.0", ""]
)
def test_a_server_must_be_an_ipv4_address(board, place):
    assert says(board, [place]).endswith("no server known")


# ---- whom to believe


def forged(change):
    """A script: first an answer that `change` made a lie of, then the truth."""

    def script(query):
        lie = answer(query, (None, 60, "A", "192.0.2.66"))
        return [change(lie), answer(query, (None, 60, "A", "192.0.2.1"))]

    return script


@pytest.mark.parametrize(
    "change",
    [
        lambda lie: bytes((lie[0] ^ 1,)) + lie[1:],
        lambda lie: lie[:1] + bytes((lie[1] ^ 0x80,)) + lie[2:],
        Stranger,
        lambda lie: lie.replace(b"\x03iot", b"\x03iop", 1),
        lambda lie: lie.replace(b"\x00\x01\x00\x01\xc0", b"\x00\x1c\x00\x01\xc0", 1),
        lambda lie: lie[:4] + b"\0\0" + lie[6:],
        lambda lie: lie[:4] + b"\0\2" + lie[6:],
        lambda lie: lie[:2] + b"\x01" + lie[3:],
        lambda lie: lie[:2] + bytes((lie[2] | 0x10,)) + lie[3:],
        lambda lie: b"",
        lambda lie: lie[:1],
        lambda lie: lie[:11],
        lambda lie: lie[:20],
    ],
    ids=[
        "id-low",
        "id-high",
        "source",
        "name",
        "type",
        "no-question",
        "two-questions",
        "a-question",
        "opcode",
        "empty",
        "one-byte",
        "half-head",
        "half-question",
    ],
)
def test_what_is_no_answer_to_our_question_is_passed_over(board, serve, change):
    assert says(board, [serve(forged(change)).place]) == ["192.0.2.1"]


def test_the_case_of_the_name_in_the_answer_does_not_matter(board, serve):
    def script(query):
        return [answer(query, (None, 60, "A", "192.0.2.1")).replace(b"example", b"eXamPLe")]

    assert says(board, [serve(script).place]) == ["192.0.2.1"]


def test_each_question_has_a_number_of_its_own(board, serve):
    server = serve(addresses("192.0.2.1", ttl=0))
    says(board, [server.place], "[look_up('a.example', resolver) for _ in range(8)]")
    assert len({query[:2] for query in server.queries}) > 4


# ---- packets as they should not be


def raw(query, *records, count=None):
    """An answer put together by hand. records: bytes."""
    head = (
        query[:2] + b"\x81\x80\0\1" + struct.pack(">H", len(records) if count is None else count)
    )
    return head + b"\0\0\0\0" + query[12:] + b"".join(records)


GOOD = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1"  # 192.0.2.1


@pytest.mark.parametrize(
    "records",
    [
        [b"\xc0" + bytes([45]) + GOOD[2:]],
        [b"\xc0\xff" + GOOD[2:]],
        [b"\x03abc\xc0" + bytes([45]) + GOOD[2:]],
        [GOOD[:-1]],
        [GOOD[:5]],
        [b"\xc0"],
        [b"\x40" + GOOD],
        [b"\x80\x0c" + GOOD[2:]],
        [b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\2\xc0" + bytes([57]), GOOD],
    ],
    ids=[
        "points-at-itself",
        "points-ahead",
        "in-circles",
        "cut-address",
        "cut-record",
        "cut-pointer",
        "label-type-64",
        "label-type-128",
        "alias-in-circles",
    ],
)
def test_an_answer_that_cannot_be_read_ends_and_the_other_server_is_asked(board, serve, records):
    broken = serve(lambda query: [raw(query, *records)])
    good = serve(addresses("192.0.2.2"))
    assert says(board, [broken.place, good.place]) == ["192.0.2.2"]
    assert "server failed" in says(board, [broken.place])


def test_what_came_before_the_cut_is_used(board, serve):
    # TC is set where a server leaves out what would not fit.
    cut = serve(lambda query: [raw(query, GOOD, GOOD[:7], count=9)])
    assert says(board, [cut.place]) == ["192.0.2.1"]


def test_an_answer_over_512_bytes_gives_eight_addresses(board, serve):
    many = ["192.0.2.{}".format(i) for i in range(1, 101)]
    found = says(board, [serve(addresses(*many)).place])
    assert found == many[:8]


def test_a_flood_of_strangers_ends_with_the_time_given(board, serve):
    server = serve(lambda query: [Stranger(raw(query, GOOD))] * 300)
    assert says(board, [server.place], timeout=1).endswith("no server answers")


# ---- how long an answer holds

CLOCK = (
    RESOLVE
    + """
class Clock:
    now = 800000000
    ticks_ms, ticks_add, ticks_diff = time.ticks_ms, time.ticks_add, time.ticks_diff
    @classmethod
    def time(cls):
        return cls.now
module.time = Clock
resolver = Resolver(places)

def ask(host="iot.example.org"):
    return look_up(host, resolver)
"""
)


@pytest.mark.parametrize(
    "ttl, steps",
    [
        (60, [(0, False), (59, False), (1, True), (10, False)]),
        (0, [(0, True), (1, True)]),
        (0x80000000, [(0, True)]),
        (0x7FFFFFFF, [(86399, False), (1, True)]),
    ],
)
def test_an_answer_is_kept_as_long_as_it_allows_and_a_day_at_most(board, serve, ttl, steps):
    server = serve(addresses("192.0.2.1", ttl=ttl))
    source = (
        CLOCK
        + """
ask()
for seconds, _ in steps:
    Clock.now += seconds
    report(found=ask())
"""
    )
    run = board.run(source, places=[server.place], steps=steps)
    assert [report["found"] for report in run.reports] == [["192.0.2.1"]] * len(steps)
    assert len(server.queries) == 1 + len([asked for _, asked in steps if asked])


def test_the_shortest_time_in_a_chain_counts(board, serve):
    def script(query):
        return [
            answer(
                query,
                (None, 10, "CNAME", "one.example.net."),
                ("one.example.net.", 600, "A", "192.0.2.1"),
            )
        ]

    server = serve(script)
    board.run(CLOCK + "ask()\nClock.now += 11\nask()\nreport()", places=[server.place])
    assert len(server.queries) == 2


def test_pain_31_a_clock_that_jumps_never_keeps_an_answer_for_long(board, serve):
    server = serve(addresses("192.0.2.1", ttl=3600))
    source = (
        CLOCK
        + """
ask()
Clock.now -= 26 * 365 * 86400  # NTP was wrong, and came right
ask()
Clock.now += 30 * 365 * 86400
ask()
report()
"""
    )
    board.run(source, places=[server.place])
    assert len(server.queries) == 3


def test_a_few_names_are_remembered_and_no_more(board, serve):
    server = serve(addresses("192.0.2.1"))
    source = (
        CLOCK
        + """
for _ in range(2):
    for i in range(20):
        ask("name-%d.example.org" % i)
before = gc.mem_alloc()
for i in range(200):
    ask("longer-name-%d.example.org" % i)
gc.collect()
report(grown=gc.mem_alloc() - before)
"""
    )
    got = board.run("import gc\n" + source, places=[server.place]).report
    assert got["grown"] < 1000
    assert len(server.queries) >= 200 + 20 + 16
    assert board.run(
        CLOCK + "ask()\nask()\nreport(found=ask())", places=[server.place]
    ).report == {"found": ["192.0.2.1"]}


def test_nothing_stays_open_after_a_look_up_that_was_given_up(board, serve):
    server = serve(silent)
    source = (
        RESOLVE
        + """
resolver = Resolver(places)
for _ in range(2000):
    steps = resolver.resolve("iot.example.org")
    next(steps)
    steps.close()
report(said="done")
"""
    )
    assert board.run(source, places=[server.place]).report == {"said": "done"}


def test_two_look_ups_at_once_do_not_take_each_others_answers(board, serve):
    def script(query):
        number = query[12 + 5 : 12 + 6].decode()
        return [answer(query, (None, 60, "A", "192.0.2." + number))]

    source = (
        RESOLVE
        + """
resolver = Resolver(places)
waiting = [(i, resolver.resolve("name%d.example.org" % i)) for i in range(1, 5)]
found = {}
while waiting:
    for entry in list(waiting):
        try:
            next(entry[1])
        except StopIteration as e:
            found[entry[0]] = e.value
            waiting.remove(entry)
    resolver.wait(10)
report(found=[found[i] for i in range(1, 5)])
"""
    )
    got = board.run(source, places=[serve(script).place]).report["found"]
    assert got == [["192.0.2.%d" % i] for i in range(1, 5)]


# ---- whose servers


def test_the_networks_servers_are_asked_when_none_are_given(board, serve, tmp_path):
    server = serve(addresses("192.0.2.1"))
    if board.name == "micropython":
        (tmp_path / "network.py").write_text(
            "def ipconfig(name):\n    assert name == 'dns'\n    return {!r}\n".format(server.place)
        )
    source = RESOLVE + (
        """
import io
def fake(name):
    assert name == "/etc/resolv.conf"
    return io.StringIO("# by hand\\nsearch a.org\\nnameserver fe80::1\\nnameserver %s\\n" % place)
module.open = fake
resolver = Resolver()
report(found=look_up("iot.example.org", resolver))
"""
    )
    found = board.run(source, before_lib=(tmp_path,), place=server.place).report["found"]
    assert found == ["192.0.2.1"]


# ---- under a stream


def test_a_stream_waits_for_the_resolver_and_not_in_circles(board, serve):
    dead = serve(silent)
    source = """
from netstream import NetStream
from resolver import Resolver
stream = NetStream("iot.example.org", 1883, resolver=Resolver([place], timeout=1))
turns = 0
try:
    for _ in stream.open():
        turns += 1
        stream.wait(20)
except OSError as e:
    report(said=e.args[-1], turns=turns)
"""
    got = board.run(source, place=dead.place).report
    assert got["said"] == "DNS: iot.example.org: no server answers"
    assert 0 < got["turns"] <= 60  # a second of waits of 20 ms


def test_a_link_finds_its_broker_and_the_next_address_when_one_is_dead(board, serve, broker):
    server = serve(addresses("127.0.0.2", "127.0.0.1"))
    source = """
from mqtt_link import MQTTLink
from netstream import NetStream
from resolver import Resolver
link = MQTTLink("resolved", "broker.example.org", port, resolver=Resolver([place]))
link.connect()
report(up=link.is_connected())
link.disconnect()
"""
    assert board.run(source, place=server.place, port=broker.port).report == {"up": True}
    assert server.names() == ["broker.example.org"]


# ---- on boards' sockets


@pytest.mark.parametrize("kind", ["lwip", "esp32"])
def test_on_the_sockets_of_a_board(board, serve, kind):
    dead, good = serve(silent), serve(addresses("192.0.2.2"))
    found = says(board, [dead.place, good.place], before_lib=(DOUBLES / kind, DOUBLES / "sockets"))
    assert found == ["192.0.2.2"]


# ---- any bytes at all


class Wire:
    """socket and select in one: the packets that answer a question, made by `script`."""

    AF_INET, SOCK_DGRAM = 2, 2

    def __init__(self, script, unreachable=()):
        self.script = script
        self.unreachable = unreachable
        self.packets = []
        self.open = 0

    port_error = cpython_port.device.OSError

    def socket(self, *_):
        self.open += 1
        return self

    def setblocking(self, flag):
        pass

    def getaddrinfo(self, host, port):
        return [(2, 2, 0, "", (host, port))]

    def sendto(self, query, place):
        if place[0] in self.unreachable:
            raise self.port_error(113)
        self.packets += [(packet, place) for packet in self.script(query)]

    def recvfrom(self, size):
        packet, place = self.packets.pop(0)
        return packet[:size], place

    def close(self):
        self.open -= 1

    def poll(self):
        return self

    def register(self, sock, events):
        pass

    def unregister(self, sock):
        pass

    def ipoll(self, ms):
        # Another look-up's socket always has something.
        return [("another", 1)] + ([(self, 1)] if self.packets else [])


class Ticks:
    """A clock that every look at moves on by 20 ms."""

    def __init__(self):
        self.now = 0

    def ticks_ms(self):
        self.now += 20
        return self.now

    ticks_add = staticmethod(lambda ticks, more: ticks + more)
    ticks_diff = staticmethod(lambda later, earlier: later - earlier)

    def time(self):
        return self.now // 1000


@pytest.fixture(scope="module")
def module():
    return cpython_port.Port([workshop.LIB]).load("resolver")


def resolve(module, script, servers=("192.0.2.53",), unreachable=()):
    """Returns the addresses, or the error's text."""
    wire = Wire(script, unreachable)
    module.socket = module.select = wire
    module.time = Ticks()
    steps = module.Resolver(list(servers)).resolve("iot.example.org")
    for _ in range(10000):
        try:
            next(steps)
        except StopIteration as end:
            assert wire.open == 0
            return end.value
        except OSError as error:
            assert wire.open == 0
            return error.args[-1]
    raise AssertionError("it does not end")


def is_good(found):
    if isinstance(found, str):
        return found.startswith("DNS: ")
    return found and all(
        len(text.split(".")) == 4 and all(0 <= int(part) < 256 for part in text.split("."))
        for text in found
    )


def test_a_server_that_cannot_be_reached_makes_way_for_the_other(module):
    both = ("192.0.2.53", "192.0.2.54")
    found = resolve(module, lambda query: [raw(query, GOOD)], both, both[:1])
    assert found == ["192.0.2.1"]
    said = resolve(module, silent, both, both)
    assert said.startswith("DNS: iot.example.org: ") and "EHOSTUNREACH" in said


@settings(max_examples=500)
@given(tail=st.binary(max_size=600), count=st.integers(0, 65535))
def test_any_bytes_behind_the_question_end_in_addresses_or_words(module, tail, count):
    assert is_good(resolve(module, lambda query: [raw(query, tail, count=count)]))


@settings(max_examples=500)
@given(
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 250),
)
def test_a_good_answer_with_bytes_changed_and_cut_ends(module, changes, cut):
    def script(query):
        packet = bytearray(
            answer(
                query,
                (None, 60, "CNAME", "one.example.net."),
                ("one.example.net.", 60, "CNAME", "two.example.org."),
                ("two.example.org.", 60, "A", "192.0.2.1"),
                ("two.example.org.", 60, "A", "192.0.2.2"),
            )
        )
        for at, value in changes:
            packet[at % len(packet)] = value
        return [bytes(packet[:cut])]

    assert is_good(resolve(module, script))


@settings(max_examples=200)
@given(packets=st.lists(st.binary(max_size=40), max_size=20))
def test_any_packets_before_the_answer_do_not_matter(module, packets):
    found = resolve(module, lambda query: packets + [raw(query, GOOD)])
    assert found == ["192.0.2.1"]


def test_the_file_is_small(mpy_size):
    assert mpy_size("lib/resolver.py") <= 2350  # of which tools/build.py makes under 2048
