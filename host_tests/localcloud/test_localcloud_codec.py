"""
The MQTT codec of the local cloud: what it reads and writes, and every input that MQTT 3.1.1
forbids, by name.

It is the yardstick for the clients' own codec, so it is measured here against bytes worked out by
hand.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from localcloud.mqtt import codec as mq


def unhex(text):
    return bytes.fromhex(text.replace(" ", ""))


# ---- known bytes

KNOWN = [
    (
        "10 14 00 04 4d 51 54 54 04 c2 00 3c 00 02 64 31 00 01 75 00 01 70",
        mq.Connect("d1", True, 60, "u", b"p"),
    ),
    (
        "10 14 00 06 4d 51 49 73 64 70 03 02 00 00 00 06 61 62 63 64 65 66",
        mq.Connect("abcdef", True, 0, level=3),
    ),
    (
        "10 1b 00 04 4d 51 54 54 04 34 00 0a 00 01 63 00 03 77 2f 74 00 07 74 68 65 20 65 6e 64",
        mq.Connect("c", False, 10, will=mq.Will("w/t", b"the end", 2, True)),
    ),
    ("20 02 01 00", mq.Connack(0, True)),
    ("20 02 00 05", mq.Connack(5)),
    ("30 05 00 01 61 68 69", mq.Publish("a", b"hi")),
    ("32 09 00 03 61 2f 62 00 0a 68 69", mq.Publish("a/b", b"hi", 1, pid=10)),
    ("3d 05 00 01 61 ff ff", mq.Publish("a", b"", 2, True, True, 65535)),
    ("40 02 00 01", mq.Puback(1)),
    ("50 02 01 00", mq.Pubrec(256)),
    ("62 02 00 02", mq.Pubrel(2)),
    ("70 02 00 02", mq.Pubcomp(2)),
    ("82 08 00 01 00 03 61 2f 23 01", mq.Subscribe(1, [("a/#", 1)])),
    ("90 04 00 01 01 80", mq.Suback(1, [1, 0x80])),
    ("a2 05 00 03 00 01 2b", mq.Unsubscribe(3, ["+"])),
    ("b0 02 00 03", mq.Unsuback(3)),
    ("c0 00", mq.Pingreq()),
    ("d0 00", mq.Pingresp()),
    ("e0 00", mq.Disconnect()),
]


@pytest.mark.parametrize("wire, packet", KNOWN, ids=[mq.NAMES[p.type] for _, p in KNOWN])
def test_known_bytes_both_ways(wire, packet):
    assert packet.encode() == unhex(wire)
    assert mq.decode(unhex(wire)) == [packet]


@pytest.mark.parametrize(
    "n, wire",
    [
        (0, "00"),
        (127, "7f"),
        (128, "80 01"),
        (16383, "ff 7f"),
        (16384, "80 80 01"),
        (2097151, "ff ff 7f"),
        (2097152, "80 80 80 01"),
        (268435455, "ff ff ff 7f"),
    ],
)
def test_remaining_length_at_its_edges(n, wire):
    assert mq.encode_length(n) == unhex(wire)


def test_lengths_that_can_not_be_said():
    with pytest.raises(ValueError, match="268435456"):
        mq.encode_length(268435456)
    with pytest.raises(ValueError, match="16 bits"):
        mq.Publish("x" * 65536).encode()
    for pid in (0, None, 65536):
        with pytest.raises(ValueError):
            mq.Puback(pid).encode()


def test_a_byte_order_mark_is_data():
    assert mq.decode(unhex("30 06 00 04 ef bb bf 61"))[0].topic == "\ufeffa"


def test_no_password_in_any_text():
    packet = mq.Connect("c", user="u", password=b"hunter2")
    assert "hunter2" not in repr(packet) and "hunter2" not in str(packet)


# ---- every forbidden input, by name

FORBIDDEN = [
    ("reserved-type", "00 00"),
    ("reserved-type", "f0 00"),
    ("bad-flags", "11"),
    ("bad-flags", "21"),
    ("bad-flags", "41"),
    ("bad-flags", "52"),
    ("bad-flags", "60"),
    ("bad-flags", "6a"),
    ("bad-flags", "72"),
    ("bad-flags", "80"),
    ("bad-flags", "83"),
    ("bad-flags", "92"),
    ("bad-flags", "a0"),
    ("bad-flags", "b2"),
    ("bad-flags", "c1"),
    ("bad-flags", "d8"),
    ("bad-flags", "e4"),
    ("publish-qos-3", "36"),
    ("publish-qos-3", "3f"),
    ("dup-at-qos-0", "38"),
    ("length-too-long", "30 80 80 80 80"),
    ("length-too-long", "30 ff ff ff ff"),
    ("wrong-length", "40 03"),
    ("wrong-length", "40 01"),
    ("wrong-length", "20 00"),
    ("wrong-length", "c0 01"),
    ("wrong-length", "e0 05"),
    ("zero-packet-id", "40 02 00 00"),
    ("zero-packet-id", "62 02 00 00"),
    ("zero-packet-id", "32 05 00 01 61 00 00"),
    ("zero-packet-id", "82 06 00 00 00 01 61 00"),
    ("zero-packet-id", "a2 05 00 00 00 01 61"),
    ("zero-packet-id", "90 03 00 00 00"),
    ("truncated", "30 00"),
    ("truncated", "30 01 00"),
    ("truncated", "30 03 00 02 61"),
    ("truncated", "32 04 00 01 61 00"),
    ("truncated", "82 01 00"),
    ("truncated", "82 05 00 01 00 01 61"),
    ("truncated", "82 03 00 01 00"),
    ("truncated", "10 08 00 04 4d 51 54 54 04 02"),
    ("truncated", "10 0c 00 04 4d 51 54 54 04 82 00 3c 00 00"),
    ("truncated", "10 0d 00 04 4d 51 54 54 04 02 00 3c 00 05 61"),
    ("trailing-bytes", "10 0f 00 04 4d 51 54 54 04 02 00 3c 00 02 64 31 00"),
    ("bad-utf8", "30 03 00 01 ff"),
    ("bad-utf8", "30 05 00 03 ed a0 80"),  # U+D800
    ("bad-utf8", "30 05 00 03 ed bf bf"),  # U+DFFF
    ("bad-utf8", "30 04 00 02 c0 80"),  # overlong U+0000
    ("bad-utf8", "30 04 00 02 e2 82"),
    ("bad-utf8", "82 07 00 01 00 02 c3 28 00"),
    ("nul-in-string", "30 03 00 01 00"),
    ("nul-in-string", "10 0e 00 04 4d 51 54 54 04 02 00 3c 00 02 64 00"),
    ("wrong-protocol-name", "10 0e 00 04 6d 71 74 74 04 02 00 3c 00 02 64 31"),
    ("unacceptable-level", "10 0e 00 04 4d 51 54 54 05 02 00 3c 00 02 64 31"),
    ("unacceptable-level", "10 0e 00 04 4d 51 54 54 03 02 00 3c 00 02 64 31"),
    ("unacceptable-level", "10 10 00 06 4d 51 49 73 64 70 04 02 00 3c 00 02 64 31"),
    ("reserved-connect-flag", "10 0e 00 04 4d 51 54 54 04 03 00 3c 00 02 64 31"),
    ("will-qos-without-will", "10 0e 00 04 4d 51 54 54 04 0a 00 3c 00 02 64 31"),
    ("will-retain-without-will", "10 0e 00 04 4d 51 54 54 04 22 00 3c 00 02 64 31"),
    ("will-qos-3", "10 13 00 04 4d 51 54 54 04 1e 00 3c 00 02 64 31 00 01 77 00 00"),
    ("password-without-user", "10 11 00 04 4d 51 54 54 04 42 00 3c 00 02 64 31 00 01 70"),
    ("wildcard-in-topic", "10 13 00 04 4d 51 54 54 04 06 00 3c 00 02 64 31 00 01 2b 00 00"),
    ("empty-topic", "10 12 00 04 4d 51 54 54 04 06 00 3c 00 02 64 31 00 00 00 00"),
    ("empty-client-id", "10 0c 00 04 4d 51 54 54 04 00 00 3c 00 00"),
    ("empty-client-id", "10 0e 00 06 4d 51 49 73 64 70 03 02 00 3c 00 00"),
    ("bad-connack-flags", "20 02 02 00"),
    ("session-present-on-refusal", "20 02 01 05"),
    ("reserved-return-code", "20 02 00 06"),
    ("empty-topic", "30 02 00 00"),
    ("wildcard-in-topic", "30 03 00 01 23"),
    ("wildcard-in-topic", "30 05 00 03 61 2f 2b"),
    ("too-many-levels", "30 ca 01 00 c8" + " 2f" * 200),
    ("too-many-levels", "82 cd 01 00 01 00 c8" + " 2f" * 200 + " 00"),
    ("empty-filter", "82 05 00 01 00 00 00"),
    ("empty-filter", "a2 04 00 01 00 00"),
    ("bad-multilevel-wildcard", "82 07 00 01 00 02 61 23 00"),
    ("bad-multilevel-wildcard", "82 0a 00 01 00 05 61 2f 23 2f 62 00"),
    ("bad-multilevel-wildcard", "82 08 00 01 00 03 23 2f 23 00"),
    ("bad-singlelevel-wildcard", "82 07 00 01 00 02 61 2b 00"),
    ("bad-singlelevel-wildcard", "82 09 00 01 00 04 2b 61 2f 62 00"),
    ("bad-singlelevel-wildcard", "a2 06 00 01 00 02 2b 2b"),
    ("empty-subscribe", "82 02 00 01"),
    ("bad-requested-qos", "82 06 00 01 00 01 61 03"),
    ("bad-requested-qos", "82 06 00 01 00 01 61 11"),
    ("empty-suback", "90 02 00 01"),
    ("reserved-suback-code", "90 03 00 01 03"),
    ("empty-unsubscribe", "a2 02 00 01"),
]


@pytest.mark.parametrize(
    "name, wire", FORBIDDEN, ids=["%s %s" % (n, w[:23]) for n, w in FORBIDDEN]
)
def test_forbidden_input_has_a_name_and_a_statement(name, wire):
    with pytest.raises(mq.ProtocolError) as caught:
        mq.decode(unhex(wire))
    assert caught.value.name == name
    assert caught.value.statement == mq.STATEMENTS[name]
    assert mq.STATEMENTS[name] in str(caught.value)


def test_every_error_of_the_codec_is_reached():
    servers = {"first-not-connect", "second-connect", "not-for-servers", "data-after-disconnect"}
    assert {name for name, _ in FORBIDDEN} | {"packet-too-large"} | servers == set(mq.STATEMENTS)


def test_what_a_server_answers_before_it_closes():
    codes = {}
    for name, wire in FORBIDDEN:
        with pytest.raises(mq.ProtocolError) as caught:
            mq.decode(unhex(wire))
        codes.setdefault(name, caught.value.connack)
    answered = {name: code for name, code in codes.items() if code is not None}
    assert answered == {"unacceptable-level": mq.BAD_LEVEL, "empty-client-id": mq.BAD_CLIENT_ID}


@pytest.mark.parametrize(
    "name, wire", FORBIDDEN, ids=["%s %s" % (n, w[:23]) for n, w in FORBIDDEN]
)
def test_an_error_is_the_same_byte_by_byte_and_after_good_packets(name, wire):
    parser = mq.Parser()
    seen = []
    with pytest.raises(mq.ProtocolError) as caught:
        for byte in unhex("c0 00 40 02 00 07") + unhex(wire) + unhex("c0 00"):
            parser.feed(bytes((byte,)))
            seen.extend(parser)
    assert seen == [mq.Pingreq(), mq.Puback(7)]
    assert caught.value.name == name
    with pytest.raises(mq.ProtocolError) as again:
        next(parser)
    assert again.value is caught.value


def test_a_packet_over_the_limit_is_refused_before_its_body():
    parser = mq.Parser(limit=100)
    parser.feed(mq.Publish("t", bytes(95)).encode())
    assert len(next(parser).payload) == 95
    parser.feed(unhex("30 63"))  # 101 bytes in all
    with pytest.raises(mq.ProtocolError) as caught:
        next(parser)
    assert caught.value.name == "packet-too-large"
    parser = mq.Parser(limit=100)
    parser.feed(unhex("30 ff ff ff 7f"))  # 256 MB
    with pytest.raises(mq.ProtocolError):
        next(parser)


def test_half_a_packet_is_no_packet():
    parser = mq.Parser()
    wire = mq.Publish("some/topic", b"payload", 1, pid=3).encode()
    parser.feed(wire[:7])
    assert list(parser) == []
    assert parser.pending == 7
    with pytest.raises(mq.ProtocolError) as caught:
        mq.decode(wire[:7])
    assert caught.value.name == "truncated"


def test_a_large_packet_in_single_bytes_is_not_quadratic():
    wire = mq.Publish("t", bytes(300000)).encode()
    parser = mq.Parser()
    for i in range(len(wire)):
        parser.feed(wire[i : i + 1])
        if i < len(wire) - 1:
            assert next(parser, None) is None
    assert len(next(parser).payload) == 300000


# ---- properties

text = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=40)
topics = text.map(lambda s: s.replace("+", "p").replace("#", "h")).filter(bool)
levels = st.one_of(
    st.just("+"), text.map(lambda s: s.replace("+", "").replace("#", "").replace("/", ""))
)
filters = st.builds(
    lambda ls, tail: "/".join(ls + tail),
    st.lists(levels, max_size=5),
    st.sampled_from([[], ["#"]]),
).filter(bool)
pids = st.integers(1, 65535)
payloads = st.binary(max_size=300)
wills = st.none() | st.builds(mq.Will, topics, payloads, st.integers(0, 2), st.booleans())


@st.composite
def connects(draw):
    user = draw(st.none() | text)
    password = draw(st.none() | payloads) if user is not None else None
    clean = draw(st.booleans())
    level = draw(st.sampled_from([3, 4]))
    client_id = draw(text)
    if not client_id and (not clean or level == 3):
        client_id = "x"
    return mq.Connect(
        client_id, clean, draw(st.integers(0, 65535)), user, password, draw(wills), level
    )


@st.composite
def publishes(draw):
    qos = draw(st.integers(0, 2))
    return mq.Publish(
        draw(topics),
        draw(payloads),
        qos,
        draw(st.booleans()),
        bool(qos) and draw(st.booleans()),
        draw(pids) if qos else None,
    )


@st.composite
def connacks(draw):
    code = draw(st.integers(0, 5))
    return mq.Connack(code, not code and draw(st.booleans()))


packets = st.one_of(
    connects(),
    publishes(),
    connacks(),
    *[st.builds(cls, pids) for cls in (mq.Puback, mq.Pubrec, mq.Pubrel, mq.Pubcomp, mq.Unsuback)],
    st.builds(
        mq.Subscribe, pids, st.lists(st.tuples(filters, st.integers(0, 2)), min_size=1, max_size=5)
    ),
    st.builds(
        mq.Suback,
        pids,
        st.lists(st.sampled_from([0, 1, 2, 128]), min_size=1, max_size=9).map(bytes),
    ),
    st.builds(mq.Unsubscribe, pids, st.lists(filters, min_size=1, max_size=5)),
    st.builds(mq.Pingreq),
    st.builds(mq.Pingresp),
    st.builds(mq.Disconnect),
)


def split(data, cuts):
    cuts = sorted({c % (len(data) + 1) for c in cuts})
    return [data[a:b] for a, b in zip([0] + cuts, cuts + [len(data)])]


def read(pieces):
    """(packets, name of the error or None) of a stream that comes in these pieces."""
    parser = mq.Parser(limit=100000)
    out = []
    try:
        for piece in pieces:
            parser.feed(piece)
            out.extend(parser)
    except mq.ProtocolError as e:
        return out, e.name
    return out, None


@settings(max_examples=300)
@given(st.lists(packets, max_size=6), st.lists(st.integers(0, 5000), max_size=8))
def test_what_is_written_is_read_in_any_split(sent, cuts):
    wire = b"".join(packet.encode() for packet in sent)
    assert read(split(wire, cuts)) == (sent, None)


@settings(max_examples=500)
@given(st.binary(max_size=200), st.lists(st.integers(0, 5000), max_size=8))
def test_any_bytes_give_packets_or_a_named_error_the_same_in_any_split(data, cuts):
    assert (
        read(split(data, cuts))
        == read([data])
        == read([data[i : i + 1] for i in range(len(data))])
    )


@settings(max_examples=500)
@given(
    packets, st.integers(0, 5000), st.integers(0, 255), st.lists(st.integers(0, 5000), max_size=3)
)
def test_a_packet_with_one_byte_changed_is_read_or_named(packet, where, byte, cuts):
    wire = bytearray(packet.encode())
    wire[where % len(wire)] = byte
    whole = read([bytes(wire)])
    assert read(split(bytes(wire), cuts)) == whole
    # What was understood can be said again.
    for understood in whole[0]:
        assert mq.decode(understood.encode()) == [understood]


# ---- topics and filters


@pytest.mark.parametrize(
    "text", ["#", "+", "/", "+/+", "/+", "a/+/b/#", "a//b", "+/#", "$SYS/#", " "]
)
def test_filters_that_are_valid(text):
    mq.check_filter(text)


@pytest.mark.parametrize(
    "text, topic, expected",
    [
        ("a/#", "a", True),
        ("a/#", "a/", True),
        ("a/#", "a/b", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("+/+", "/x", True),
        ("/+", "/x", True),
        ("+", "/x", False),
        ("+", "x", True),
        ("+", "", True),
        ("#", "a/b", True),
        ("#", "/", True),
        ("a/+/b", "a//b", True),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("a/b", "a/b", True),
        ("a/b", "a/B", False),
        ("/a", "a", False),
        ("a", "a/", False),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("$SYS/+", "$SYS/x", True),
        ("a/+/#", "a", False),
        ("a/+/#", "a/b", True),
        ("+/#", "a", True),
    ],
)
def test_matching(text, topic, expected):
    assert mq.matches(text, topic) is expected
