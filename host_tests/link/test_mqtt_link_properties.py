"""
Laws of the link's encoder and parser, tried with what hypothesis thinks up, against the local
cloud's codec, which shares no code with it. The same laws hold on MicroPython, which is given a
batch of generated cases in one program.
"""

import random

import cpython_port
import pytest
import workshop
from board_rig import DOUBLES
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from localcloud.mqtt import codec as mq
from device_program import program

_port = cpython_port.Port([workshop.LIB, workshop.DEVICE_LIB, *DOUBLES])
mqtt_link = _port.load("mqtt_link")
fake_stream = _port.load("fake_stream")
FakeStream = fake_stream.FakeStream
on_stream = fake_stream.on_stream

# The same cases each time where nobody watches; new ones at each run on one's own machine.
LAWS = settings(max_examples=200)


# ---- what there is to say

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), max_size=40)
topics = texts.filter(bool)
levels = st.one_of(texts.map(lambda text: text.replace("/", "")), st.just("+"))
filters = st.builds(
    lambda parts, end: "/".join(parts + end),
    st.lists(levels, min_size=1, max_size=5),
    st.sampled_from([[], ["#"]]),
).filter(bool)
payloads = st.one_of(
    st.binary(max_size=300),
    st.integers(0, 3000).map(lambda n: bytes(i & 255 for i in range(n))),
    st.sampled_from([b"x" * n for n in (120, 121, 127, 128, 16380, 16383, 16384)]),
)
qualities = st.integers(0, 2)
# How the program holds the bytes that it hands over.
holders = st.sampled_from([bytes, bytearray, memoryview])
rooms = st.lists(st.sampled_from([0, 1, 2, 7, 50, 600, 1 << 30]), min_size=1, max_size=5).filter(
    lambda room: max(room) > 500
)


def packets_in(data):
    parser = mq.Parser()
    parser.feed(bytes(data))
    packets = list(parser)
    assert not parser.pending, "half a packet"
    return packets


# ---- the encoder


@LAWS
@given(
    client_id=texts,
    user=st.none() | texts,
    password=st.none() | texts | st.binary(max_size=40),
    keepalive=st.integers(0, 65535),
    clean=st.booleans(),
    will=st.none() | st.tuples(topics, payloads, qualities, st.booleans()),
    room=rooms,
)
def test_every_connect_says_what_was_asked(
    client_id, user, password, keepalive, clean, will, room
):
    assume(client_id or clean)  # MQTT-3.1.3-8
    stream = FakeStream((), room)
    link = on_stream(stream, client_id, "host", 0, user, password, keepalive, clean_session=clean)
    if will:
        link.set_last_will(will[0], will[1], qos=will[2], retain=will[3])
    while not stream.reads:
        link.do_next()
    if isinstance(password, str):
        password = password.encode()
    assert packets_in(stream.written) == [
        mq.Connect(
            client_id,
            clean,
            keepalive,
            user,
            # MQTT-3.1.2-22: no password without a user.
            password if user is not None else None,
            mq.Will(will[0], will[1], will[2], will[3]) if will else None,
        )
    ]


@LAWS
@given(
    messages=st.lists(
        st.tuples(topics, payloads, qualities, st.booleans(), holders, st.booleans()), max_size=6
    ),
    first_id=st.integers(0, 65535),
    room=rooms,
)
def test_every_publish_says_what_was_asked(messages, first_id, room):
    stream = FakeStream()
    link = fake_stream.connected(stream, window=64)
    link.pid = first_id
    stream.room = room
    wanted = []
    for topic, payload, qos, retain, holder, topic_as_bytes in messages:
        given_topic = topic.encode() if topic_as_bytes else topic
        pid = link.publish(given_topic, holder(payload), retain, qos)
        wanted.append(mq.Publish(topic, payload, qos, retain, False, pid or None))
    fake_stream.rest(link)
    found = packets_in(stream.written)
    # Order is promised within QoS 0 and within what is kept until acknowledged (4.6).
    for kept in (False, True):
        assert [p for p in found if (p.qos > 0) is kept] == [
            p for p in wanted if (p.qos > 0) is kept
        ]
    ids = [packet.pid for packet in wanted if packet.qos]
    assert ids == [(first_id + i) % 65535 + 1 for i in range(len(ids))]


groups_of_filters = st.lists(
    st.lists(st.tuples(filters, qualities), min_size=1, max_size=4), max_size=4
)


@LAWS
@given(groups=groups_of_filters, room=rooms)
def test_every_subscribe_and_unsubscribe_says_what_was_asked(groups, room):
    stream = FakeStream()
    link = fake_stream.connected(stream)
    stream.room = room
    wanted = []
    for group in groups:
        unique = list(dict(group).items())
        link.subscribe(unique)
        wanted.append(("subscribe", unique))
        link.unsubscribe(unique[0][0])
        wanted.append(("unsubscribe", [unique[0][0]]))
    fake_stream.rest(link)
    said = [
        ("subscribe" if packet.type == mq.SUBSCRIBE else "unsubscribe", packet.filters)
        for packet in packets_in(stream.written)
    ]
    assert said == wanted


@LAWS
@given(
    text=st.text("+#/ab\0é☃$\ud800", max_size=8),
    qos=st.sampled_from([0, 1, 2, 3, -1, None, "1"]),
)
def test_what_mqtt_forbids_is_a_valueerror_and_nothing_else_is(text, qos):
    """Topic and filter rules are the codec's; what is refused leaves nothing behind."""
    stream = FakeStream()
    link = fake_stream.connected(stream)
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = None
    for call, check in ((link.publish, mq.check_topic), (link.subscribe, mq.check_filter)):
        good = encoded is not None and "\0" not in text and qos in (0, 1, 2)
        if good:
            try:
                check(text)
            except mq.ProtocolError:
                good = False
        before = bytes(stream.written)
        arguments = (text, b"x", False, qos) if call == link.publish else (text, qos)
        if call == link.subscribe and qos is None:
            continue  # how unsubscribe() calls it
        try:
            call(*arguments)
            said = True
        except ValueError:
            said = False
            assert stream.written == before and link.inflight == 0
        assert said == good
        packets_in(stream.written)
        link.discard()


# ---- the parser


class Model:
    """
    What the link must say and do about packets of a server: MQTT 3.1.1 in the fewest words.

    sent: {packet id: qos} of what it has published, oldest first; asked: {packet id on the wire:
    (packet id of the call, number of filters)}.
    """

    def __init__(self, sent, asked, max_packet):
        self.sent = {pid: "published" if qos == 2 else "1" for pid, qos in sent.items() if qos}
        self.asked = dict(asked)
        self.max_packet = max_packet
        self.unreleased = set()
        self.events = []
        self.written = []

    def on(self, packet, wire):
        """wire: the packet's bytes, which may say its length in more of them than it takes."""
        self.wire = wire
        getattr(self, "on_" + type(packet).__name__.lower())(packet)

    def on_publish(self, packet):
        size = len(self.wire)
        if size > self.max_packet:
            topic = packet.topic.encode()
            known = size - len(packet.payload) <= self.max_packet
            self.events.append(("skip", topic if known else None, remaining_length(self.wire)))
            if not known:
                return
        elif packet.qos < 2 or packet.pid not in self.unreleased:
            self.events.append(("message", packet.topic.encode(), packet.payload, packet.retain))
            if packet.qos == 2:
                self.unreleased.add(packet.pid)
        if packet.qos:
            self.written.append((mq.Puback if packet.qos == 1 else mq.Pubrec)(packet.pid))

    def on_pubrel(self, packet):
        self.unreleased.discard(packet.pid)
        self.written.append(mq.Pubcomp(packet.pid))

    def on_puback(self, packet):
        # For QoS 2, too: a broker that has none takes it at QoS 1.
        if self.sent.get(packet.pid) in ("1", "published"):
            published = self.sent[packet.pid] == "published"
            self.done(packet.pid)
            if published:
                self.release()

    def on_pubrec(self, packet):
        state = self.sent.get(packet.pid)
        if state == "released":
            self.written.append(mq.Pubrel(packet.pid))
        elif state == "published":
            self.sent[packet.pid] = "received"
        if state in (None, "1"):
            return
        self.release()

    def release(self):
        # PUBRELs leave in the order of their PUBLISHes.
        for pid, state in self.sent.items():
            if state == "published":
                return
            if state == "received":
                self.sent[pid] = "released"
                self.written.append(mq.Pubrel(pid))

    def on_pubcomp(self, packet):
        if self.sent.get(packet.pid) == "released":
            self.done(packet.pid)

    def done(self, pid):
        del self.sent[pid]
        self.events.append(("ack", pid, 0))

    def on_suback(self, packet):
        if packet.pid in self.asked:
            call, _ = self.asked.pop(packet.pid)
            self.events.append(("ack", call, max(packet.codes)))

    def on_pingresp(self, packet):
        pass


def remaining_length(wire):
    at = 1
    while wire[at] & 128:
        at += 1
    return len(wire) - at - 1


# What the link has published (QoS, payload) and asked for before the server speaks: the ids follow
# from this, 1 to 6 for the messages, then one of the call and one on the wire for each SUBSCRIBE.
MESSAGES = [(1, b"a"), (2, b"b"), (2, b"c"), (1, b"d"), (2, b"e"), (2, b"f" * 1500)]
FILTERS = [["x/#"], ["y", "z/+"]]
SENT = {i + 1: qos for i, (qos, _) in enumerate(MESSAGES)}
ASKED = {8: (7, 1), 10: (9, 2)}

own_ids = st.integers(1, 7) | st.just(65535)
their_ids = st.integers(1, 4) | st.just(65535)
server_publishes = st.builds(
    lambda topic, payload, qos, retain, dup, pid: mq.Publish(
        topic, payload, qos, retain, dup and qos > 0, pid if qos else None
    ),
    topics,
    st.one_of(st.binary(max_size=20), st.integers(0, 400).map(lambda n: b"p" * n)),
    qualities,
    st.booleans(),
    st.booleans(),
    their_ids,
)
codes = st.sampled_from([0, 1, 2, 0x80])
server_packets = st.one_of(
    server_publishes,
    st.builds(mq.Pubrel, their_ids),
    st.builds(mq.Puback, own_ids),
    st.builds(mq.Pubrec, own_ids),
    st.builds(mq.Pubcomp, own_ids),
    st.builds(lambda code: mq.Suback(8, [code]), codes),
    st.builds(lambda *both: mq.Suback(10, both), codes, codes),
    st.builds(lambda code: mq.Suback(99, [code]), codes),
    st.builds(mq.Pingresp),
)
conversations = st.lists(server_packets, max_size=12)
max_packets = st.integers(16, 300)


def cut(data, places, pauses):
    """data in pieces, cut at these places (any numbers); where pauses says so, nothing between."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    pieces = []
    start = 0
    for i, end in enumerate(ends):
        if end > start:
            pieces.append(data[start:end])
        if pauses and pauses[i % len(pauses)]:
            pieces.append(None)
        start = end
    return pieces


cuts = st.lists(st.integers(0, 5000), max_size=12)
pauses = st.lists(st.booleans(), max_size=3)


def expected(packets, max_packet):
    model = Model(SENT, ASKED, max_packet)
    for packet in packets:
        model.on(packet, packet.encode())
    return model.events, model.written


@settings(LAWS, max_examples=600)
@given(packets=conversations, places=cuts, pauses=pauses, max_packet=max_packets, room=rooms)
def test_any_split_of_any_stream_gives_the_same_messages_acks_and_writes(
    packets, places, pauses, max_packet, room
):
    data = b"".join(packet.encode() for packet in packets)
    events, written = fake_stream.case(
        cut(data, places, pauses), MESSAGES, FILTERS, max_packet, 0xFF, room
    )
    assert (events, packets_in(written)) == expected(packets, max_packet)


@LAWS
@given(packets=conversations, max_packet=max_packets)
def test_byte_by_byte_is_no_different(packets, max_packet):
    data = b"".join(packet.encode() for packet in packets)
    pieces = [data[i : i + 1] for i in range(len(data))]
    events, written = fake_stream.case(pieces, MESSAGES, FILTERS, max_packet)
    assert (events, packets_in(written)) == expected(packets, max_packet)


# ---- what no server would send


def mutate(data, changes):
    """data with bytes flipped, put in, left out, or its end cut off."""
    data = bytearray(data)
    for kind, place, byte in changes:
        place %= len(data) + 1
        if kind == "flip" and place < len(data):
            data[place] ^= byte
        elif kind == "insert":
            data.insert(place, byte)
        elif kind == "delete":
            del data[place : place + 1]
        elif kind == "truncate":
            del data[place:]
        elif kind == "double":
            data[place:place] = data[: byte % (len(data) + 1)]
    return bytes(data)


changes = st.lists(
    st.tuples(
        st.sampled_from(["flip", "insert", "delete", "truncate", "double"]),
        st.integers(0, 5000),
        st.integers(1, 255),
    ),
    min_size=1,
    max_size=4,
)
garbage = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda packets, changes: mutate(b"".join(p.encode() for p in packets), changes),
        conversations,
        changes,
    ),
    # Right first bytes with any lengths and contents.
    st.builds(
        lambda first, rest: bytes((first,)) + rest,
        st.sampled_from([0x20, 0x30, 0x32, 0x34, 0x3D, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0]),
        st.binary(max_size=60),
    ),
    # Well framed, with ids and codes that nobody gave out.
    st.lists(
        st.builds(
            lambda first, body: bytes((first, len(body))) + bytes(body),
            st.sampled_from([0x20, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0]),
            st.lists(st.sampled_from([0, 1, 2, 8, 128, 255]), max_size=5),
        ),
        max_size=6,
    ).map(b"".join),
)


FROM_SERVER = (
    mq.Publish,
    mq.Puback,
    mq.Pubrec,
    mq.Pubrel,
    mq.Pubcomp,
    mq.Suback,
    mq.Unsuback,
    mq.Pingresp,
)
# First bytes that tell at once: a client's packets, and a second CONNACK.
FORBIDDEN = (0x10, 0x20, 0x82, 0xA2, 0xC0, 0xE0)
AT_ONCE = ("reserved-type", "bad-flags", "publish-qos-3", "length-too-long")
# What the codec refuses and the link need not: it hands on what it does not have to understand.
LENIENT = (
    "bad-utf8",
    "nul-in-string",
    "wildcard-in-topic",
    "dup-at-qos-0",
    "reserved-suback-code",
)


def is_whole(data):
    """Whether a packet that is malformed otherwise is all there."""
    n = shift = 0
    for i, byte in enumerate(data[1:]):
        n |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return len(data) >= 2 + i + n
    return False


def judged(data, max_packet):
    """
    The codec's word on any bytes: a Model of all that was right before the first fault, and
    whether the link must end the connection there (None: it may do either).
    """
    model = Model(SENT, ASKED, max_packet)
    parser = mq.Parser()
    parser.feed(data)
    while True:
        at = len(data) - parser.pending
        try:
            packet = next(parser, None)
        except mq.ProtocolError as e:
            if e.name in AT_ONCE:
                return model, True
            # What is wrong with the rest may be seen when it is all there; and the id of a message
            # over max_packet may be out of reach.
            rest = data[at:]
            if e.name in LENIENT or not is_whole(rest):
                return model, None
            return model, None if rest[0] & 0xF0 == 0x30 and len(rest) > max_packet else True
        wire = data[at : len(data) - parser.pending]
        if packet is None:
            rest = data[at:]
            return model, None if rest and rest[0] not in FORBIDDEN else bool(rest)
        if not isinstance(packet, FROM_SERVER):
            return model, True
        if packet.type != mq.PUBLISH and len(wire) > max_packet:
            return model, True
        if packet.type == mq.SUBACK and packet.pid in model.asked:
            if len(packet.codes) != model.asked[packet.pid][1]:
                return model, True
        if packet.type == mq.UNSUBACK:
            if packet.pid in model.asked:
                return model, None
            continue
        model.on(packet, wire)


def check_garbage(data, places, pauses, max_packet):
    """
    Nothing is raised, every step reads or ends, nobody looks behind what was read; and what the
    codec says of these bytes is what happens.
    """
    results = []
    for poison in (0x00, 0xFF, 0x30):
        pieces = cut(data, places, pauses)
        results.append(fake_stream.case(pieces, MESSAGES, FILTERS, max_packet, poison))
    assert results[0] == results[1] == results[2]
    events, written = results[0]
    downs = [event for event in events if event[0] == "down"]
    assert downs in ([], [("down", "MQTTException")])
    if downs:
        assert events[-1] == downs[0], "the end is the end"
    model, must_end = judged(data, max_packet)
    right = len(model.events)
    assert events[:right] == model.events
    said = b"".join(packet.encode() for packet in model.written)
    if must_end is None:
        assert written.startswith(said)
    else:
        assert written == said and events[right:] == downs and bool(downs) == must_end
    return events


@pytest.mark.parametrize(
    "wire", [b"\x62\x02\x00\x00", b"\x40\x02\x00\x00", b"\x90\x03\x00\x00\x00"]
)
def test_packet_id_0_in_an_acknowledgement_is_malformed(wire):
    """MQTT-2.3.1-1; in a PUBLISH it is refused already."""
    events, written = fake_stream.case([wire], MESSAGES, FILTERS, 100)
    assert events == [("down", "MQTTException")] and written == b""


@pytest.mark.parametrize("text", [b"\xff", b"a/\xc3", b"\xed\xa0\x80"])
def test_topics_that_are_no_utf_8_are_a_valueerror(text):
    """
    MQTT-1.5.3-1: the broker closes the connection for them. At QoS 1 the message would be sent
    again after each reconnect, and nothing behind it would ever arrive.
    """
    link = fake_stream.connected(FakeStream())
    for call in (
        lambda: link.publish(text, b"x", qos=1),
        lambda: link.subscribe(text),
        lambda: link.set_last_will(text, b"x"),
    ):
        with pytest.raises(ValueError):
            call()


@settings(LAWS, max_examples=600)
@given(data=garbage, places=cuts, pauses=pauses, max_packet=max_packets)
def test_garbage_ends_the_connection_or_is_harmless(data, places, pauses, max_packet):
    events = check_garbage(data, places, pauses, max_packet)
    # And it is the same whole and in pieces.
    assert events == check_garbage(data, [], [], max_packet)


@settings(LAWS, max_examples=100)
@given(data=st.binary(min_size=1, max_size=60))
def test_garbage_instead_of_connack_is_an_error_that_says_so(data):
    stream = FakeStream([data])
    link = on_stream(stream, "id", "host")
    downs = []
    link.on_down = downs.append
    for _ in range(20):
        link.do_next()
    if link.is_connected():
        assert data.startswith(b"\x20\x02") and data[3] == 0
    elif downs:
        assert type(link.error).__name__ == "MQTTException" and str(link.error)
        assert stream.closed
    else:
        # A CONNACK that is not whole yet: nothing is known of it before its deadline.
        assert data[0] == 0x20
        assert len(data) < 2 or data[1] > 127 or len(data) < 2 + data[1]


@settings(LAWS, max_examples=100)
@given(packets=conversations, place=st.integers(0, 2000), max_packet=max_packets)
def test_an_end_anywhere_delivers_what_was_whole_and_no_more(packets, place, max_packet):
    data = b"".join(packet.encode() for packet in packets)
    place %= len(data) + 1
    whole, at = [], 0
    for packet in packets:
        at += len(packet.encode())
        if at <= place:
            whole.append(packet)
    error = _port.load("netstream").TLSError(-1, "connection closed by the peer")
    events, _ = fake_stream.case([data[:place], error], MESSAGES, FILTERS, max_packet)
    wanted, _ = expected(whole, max_packet)
    assert events == wanted + [("down", "TLSError")]


# ---- the same on the board

BATCH = program("mqtt_link_properties_batch")


def generate(seed, count):
    """Cases for the board, made without hypothesis so that they are the same everywhere."""
    rng = random.Random(seed)

    def text():
        return "".join(rng.choice("abä/☃$ 0") for _ in range(rng.randrange(1, 12)))

    def packet():
        kind = rng.randrange(9)
        if kind < 4:
            qos = rng.randrange(3)
            size = rng.choice((0, 1, 20, 118, 130, 400))
            return mq.Publish(
                text(),
                bytes(rng.randrange(256) for _ in range(size)),
                qos,
                rng.random() < 0.3,
                qos > 0 and rng.random() < 0.3,
                rng.choice((1, 2, 3, 65535)) if qos else None,
            )
        if kind == 4:
            return mq.Pubrel(rng.choice((1, 2, 3, 65535)))
        if kind == 5:
            return mq.Suback(8, [rng.choice((0, 1, 0x80))])
        if kind == 6:
            return mq.Suback(10, [rng.choice((0, 0x80)), rng.choice((1, 2))])
        return rng.choice((mq.Puback, mq.Pubrec, mq.Pubrec, mq.Pubcomp))(rng.randrange(1, 8))

    for _ in range(count):
        packets = [packet() for _ in range(rng.randrange(1, 10))]
        data = b"".join(p.encode() for p in packets)
        spoilt = rng.random() < 0.5
        if spoilt:
            packets = None
            kinds = ("flip", "insert", "delete", "truncate", "double")
            data = mutate(
                data,
                [
                    (rng.choice(kinds), rng.randrange(5000), rng.randrange(1, 256))
                    for _ in range(rng.randrange(1, 4))
                ],
            )
        places = [rng.randrange(5000) for _ in range(rng.randrange(8))]
        yield packets, cut(data, places, [rng.random() < 0.5]), rng.choice((16, 40, 130, 300))


def test_the_board_agrees_in_every_generated_case(board, tmp_path):
    cases = list(generate(5, 250))
    file = tmp_path / "cases.txt"
    file.write_text(
        "".join(
            "{!r}\n".format((pieces, MESSAGES, FILTERS, size, 0xA5)) for _, pieces, size in cases
        )
    )
    run = board.run(BATCH, timeout=60, heap="4m", CASES=file, before_lib=DOUBLES)
    *results, last = run.reports
    assert len(results) == len(cases)
    for (packets, pieces, max_packet), result in zip(cases, results):
        events, written = fake_stream.case(pieces, MESSAGES, FILTERS, max_packet)
        assert result == {"events": told(events), "written": told(written)}
        if packets is not None:
            assert (events, packets_in(written)) == expected(packets, max_packet)
    assert last["grown"] <= 0


def told(value):
    """As a report brings it."""
    if isinstance(value, (bytes, bytearray)):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return "hex:" + value.hex()
    if isinstance(value, (list, tuple)):
        return [told(item) for item in value]
    return value
