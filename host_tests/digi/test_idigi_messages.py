"""A push block taken apart message by message: in any pieces, within a limit, damage told."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages_rig import Pieces, taken


def test_json_and_xml(board):
    report = board.run(
        """
        from idigi_messages import messages
        report(
            one=list(messages(b'{"Document":{"Msg":{"topic":"3/DeviceCore/1/0","n":{"a":{}}}}}')),
            many=list(messages(b' {"Document": {"Msg": [{"a": 1},\\n {"b": "}{\\\\"]"} ]}}')),
            none=list(messages(b'{"Document":{"Msg":[]}}')),
            xml=list(messages(b'<?xml version="1.0"?><Document><Msg topic="x"><D>1</D></Msg>'
                              b'<Msg>2</Msg></Document>')),
            no_xml=list(messages(b'<Document></Document>')),
        )
        """
    ).report
    assert report["one"] == [{"topic": "3/DeviceCore/1/0", "n": {"a": {}}}]
    assert report["many"] == [{"a": 1}, {"b": '}{"]'}]
    assert report["none"] == [] and report["no_xml"] == []
    assert report["xml"] == ['<Msg topic="x"><D>1</D></Msg>', "<Msg>2</Msg>"]


def test_only_one_message_is_in_memory(board):
    """300 KB of messages, from a stream, in a heap of 96 KB on 64 bits."""
    report = board.run(
        """
        from idigi_messages import messages

        class Source:
            n = 0
            rest = b'{"Document":{"Msg":['
            def readinto(self, buf):
                while len(self.rest) < len(buf) and self.n < 3000:
                    self.n += 1
                    self.rest += b'{"text":"%s","n":%d}%s' % (
                        b"x" * 80, self.n, b"," if self.n < 3000 else b"]}}")
                k = min(len(buf), len(self.rest))
                buf[:k] = self.rest[:k]
                self.rest = self.rest[k:]
                return k

        total = count = 0
        for message in messages(Source()):
            count += 1
            total += message["n"]
        report(count=count, total=total)
        """,
        heap="96k",
    ).report
    assert report == {"count": 3000, "total": 3000 * 3001 // 2}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
MESSAGE = st.dictionaries(st.text(max_size=6), VALUES, max_size=4)
SIZES = st.lists(st.integers(1, 600), min_size=1, max_size=5)


@given(st.lists(MESSAGE, max_size=6), SIZES, st.sampled_from([None, 1]))
def test_any_messages_in_any_pieces(batch, sizes, indent):
    text = json.dumps({"Document": {"Msg": batch}}, indent=indent).encode()
    assert taken(Pieces(text, sizes)) == (batch, None)
    if batch:
        text = json.dumps({"Document": {"Msg": batch[0]}}, ensure_ascii=False).encode()
        assert taken(Pieces(text, sizes)) == (batch[:1], None)


@given(st.lists(MESSAGE, min_size=1, max_size=4), st.data())
def test_a_cut_is_told_and_what_came_before_it_is_good(batch, data):
    text = json.dumps({"Document": {"Msg": batch}}).encode()
    cut = data.draw(st.integers(0, len(text) - 1))
    found, error = taken(text[:cut])
    assert error
    assert found == batch[: len(found)]


@given(st.binary(max_size=300))
def test_noise_ends(noise):
    taken(noise)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"   ",
        b"<Document>",
        b"<Document><Msg>",
        b"<Document></Msg></Document>",
        b'{"Document":{"Msg":{"n":nope}}}',
        b'{"Document":{"Msg":{"n":"\xff"}}}',
        b"nonsense",
    ],
)
def test_damage_is_a_block_error(board, text):
    report = board.run(
        """
        from idigi_messages import messages
        from idigi_monitor_api import BlockError
        try:
            list(messages(text))
        except BlockError as e:
            report(text=str(e))
        """,
        text=text,
    ).report
    assert report["text"]


BOM = b"\xef\xbb\xbf"

# payload -> (its messages, a word of the error or None): what a service may well send, and what
# must not be met with silence.
FORMS = [
    (b"<Document><Msg/></Document>", [b"<Msg/>"], None),
    (b'<Document><Msg topic="a>b" /><Msg\n>1</Msg></Document>', 2, None),
    (BOM + b'<?xml version="1.0"?>\r\n<Document><Msg>1</Msg></Document>', [b"<Msg>1</Msg>"], None),
    (BOM + b'{"Document":{"Msg":{"a":1}}}', [{"a": 1}], None),
    (b"<Document><!-- <Msg>no</Msg> --><Msg>1</Msg></Document>", [b"<Msg>1</Msg>"], None),
    (
        b"<Document><Msg><![CDATA[</Msg>]]></Msg></Document>",
        [b"<Msg><![CDATA[</Msg>]]></Msg>"],
        None,
    ),
    (b"<Document><MsgCount>1</MsgCount><Msg>1</Msg></Document>", [b"<Msg>1</Msg>"], None),
    (b"<Document><Msg><Msg>1</Msg></Msg></Document>", [b"<Msg><Msg>1</Msg></Msg>"], None),
    (b"<Msg>alone</Msg>", [b"<Msg>alone</Msg>"], None),
    (b"<Document/>", [], None),
    (b'{"Document":{}}', [], None),
    (b'{"x":[{"y":1}],"Document":{"n":{"z":2},"Msg":{"a":1},"m":2}}', [{"a": 1}], None),
    (b"<result><error>no</error></result>", [], "without a <Msg>"),
    (b"<Document>words</Document>", [], "without a <Msg>"),
    (b"<Document><Alarm>1</Alarm></Document>", [], "without a <Msg>"),
    (b'{"error":"no"}', [], "without a Document"),
    (b"{}", [], "without a Document"),
    (b'[{"a":1}]', [], "neither"),
    (b'"text"', [], "neither"),
    (b"\xff\xfe<\0D\0", [], "neither"),
    (BOM[:2] + b'{"Document":{"Msg":{"a":1}}}', [], "neither"),
    (b'{"Document":{"Msg":null}}', [], "no object"),
    (b'{"Document":{"Msg":"text"}}', [], "no object"),
    (b'{"Document":{"Msg":{"a":1}}} more', [{"a": 1}], "behind its end"),
    (b"<Document><Msg>1</Msg></Document><x/>", [b"<Msg>1</Msg>"], "behind its end"),
    (b'{"Document":{"Msg":{"a":1}', [{"a": 1}], "too early"),
    (b'{"Document":{"Msg":[{"a":1} {"a":2}]}}', [{"a": 1}], "damaged"),
]


@pytest.mark.parametrize("size", [1, 3, 600])
@pytest.mark.parametrize("payload, wanted, word", FORMS)
def test_pain_47_messages_or_an_error_but_no_silence(payload, wanted, word, size):
    found, error = taken(Pieces(payload, [size]))
    assert found == wanted or len(found) == wanted
    assert error is None if word is None else word in error


def test_pain_47_on_a_board(board):
    reports = board.run(
        """
        from idigi_errors import BlockError
        from idigi_messages import messages
        for payload in payloads:
            got = []
            why = None
            try:
                for message in messages(payload):
                    got.append(message)
            except BlockError as e:
                why = str(e)
            report(count=len(got), why=why)
        """,
        payloads=[payload for payload, _, _ in FORMS],
    ).reports
    for (payload, wanted, word), told in zip(FORMS, reports):
        assert told["count"] == (wanted if isinstance(wanted, int) else len(wanted)), payload
        assert told["why"] is None if word is None else word in told["why"], payload


def test_pain_34_a_surrogate_pair_is_one_character(board):
    report = board.run(
        """
        from idigi_messages import messages
        found = [m["n"] for m in messages(payload)]
        report(found=found, bytes=[len(text.encode()) for text in found])
        """,
        payload=b'{"Document":{"Msg":[{"n":"plain"},{"n":"\\ud83d\\ude00 \\u00e4"}]}}',
    ).report
    assert report == {"found": ["plain", "\U0001f600 \u00e4"], "bytes": [5, 7]}


LONG = b"x" * 3000

# One bad message among good ones: (payload, good ones, a word of the error).
NEIGHBOURS = [
    (b'{"Document":{"Msg":[{"n":1},{"n":nope},{"n":3}]}}', 2, "1 messages"),
    (b'{"Document":{"Msg":[{"n":nope},{"n":[},{"n":"\xff"},{"n":4}]}}', 1, "3 messages"),
    (b'{"Document":{"Msg":[1,"two",null,{"n":4}]}}', 1, "3 messages"),
    (b'{"Document":{"Msg":[{"n":1},{"n":"' + LONG + b'"},{"n":3}]}}', 2, "2000 bytes"),
    (b"<Document><Msg>1</Msg><Msg>" + LONG + b"</Msg><Msg/></Document>", 2, "2000 bytes"),
    (b"<Document><Msg>1</Msg><Msg>2</Message><Msg>3</Msg></Document>", 2, "</Message>"),
]


# Each is no JSON, though braces and quotation marks are in order.
@pytest.mark.parametrize(
    "bad",
    [
        b'{"n" 1}', b'{"n":[1,]}', b'{"n":01}', b'{"n":NaN}', b'{"n":1e999}', b'{"n":}',
        b'{"n":1 2}', b'{"n":"\\x"}', b'{"n":"\xed\xa0\xbd"}', b'{"n":' + b"9" * 401 + b"}",
        b'{"n":' + b"[" * 40 + b"]" * 40 + b"}", b'{"n":' + b"[" * 900 + b"]" * 900 + b"}",
    ],
)  # fmt: skip
def test_pain_40_what_is_no_json_is_no_message_and_costs_no_other(board, bad):
    report = board.run(
        """
        from idigi_errors import BlockError
        from idigi_messages import messages
        found = []
        try:
            for message in messages(payload):
                found.append(message)
        except BlockError as e:
            report(found=found, why=str(e))
        """,
        payload=b'{"Document":{"Msg":[{"n":1},' + bad + b',{"n":2,"n":3}]}}',
    ).report
    assert report["found"] == [{"n": 1}, {"n": 3}]
    assert "1 messages can't be used" in report["why"]


@pytest.mark.parametrize("payload, good, word", NEIGHBOURS)
def test_pain_42_one_bad_message_costs_no_other(board, payload, good, word):
    report = board.run(
        """
        from idigi_errors import BlockError
        from idigi_messages import messages
        count = 0
        try:
            for message in messages(payload, 2000):
                count += 1
        except BlockError as e:
            report(count=count, why=str(e))
        """,
        payload=payload,
    ).report
    assert report["count"] == good
    assert word in report["why"]


def test_limits():
    """`limit` bytes for one message, sixteen times as many for all."""
    one = b'{"Document":{"Msg":{"n":"%s"}}}'
    inner = len(b'{"n":""}')
    assert taken(one % (b"x" * (1000 - inner)), 1000)[1] is None
    assert "1000" in taken(one % (b"x" * (1001 - inner)), 1000)[1]
    many = b'{"Document":{"Msg":[' + b",".join([b'{"n":1}'] * 1900) + b"]}}"
    assert len(many) < 16000
    assert len(taken(many, 1000)[0]) == 1900
    found, error = taken(many + b" " * 2000, 1000)
    assert len(found) <= 1900 and "1000" in error
    found, error = taken(b"<Document><Msg>" + b"x" * 2000 + b"</Msg></Document>", 1000)
    assert found == [] and "1000" in error
