"""ibmiotf/surrogates.py: JSON from senders that write characters beyond U+FFFF as two escapes."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st


def decoded(board, payloads):
    run = board.run(
        """
        import ibmiotf

        class M:
            pass

        for payload in payloads:
            m = M()
            m.payload = payload
            try:
                text = ibmiotf.decode_json(m).data
                report(got=text.encode().decode(), n=len(text))
            except ValueError as e:
                report(error=str(e))
        """,
        payloads=payloads,
    )
    return run.reports


def test_a_pair_is_one_character_and_half_a_pair_is_marked(board):
    cases = {
        r'"\ud83d\ude00"': "\U0001f600",
        r'"a\uD83D\uDE00b\ud83d\ude01"': "a\U0001f600b\U0001f601",
        r'"\u00e9\u20ac\n\t\"\\"': '\u00e9\u20ac\n\t"\\',
        r'"\\ud83d\\ude00"': r"\ud83d\ude00",  # escaped backslashes: plain text
        r'"\\\ud83d\ude00"': "\\\U0001f600",
        r'"\ud83d"': "\ufffd",
        r'"\ude00\ud83d"': "\ufffd\ufffd",
        r'"\ud83dx\ude00"': "\ufffdx\ufffd",
        r'"\ud83d\ud83d\ude00"': "\ufffd\U0001f600",
        r'"\ud83d\n"': "\ufffd\n",
        r'"\udbff\udfff"': "\U0010ffff",
        r'"\ud7ff\ue000"': "\ud7ff\ue000",
    }
    reports = decoded(board, [text.encode() for text in cases])
    assert [r.get("got", r) for r in reports] == list(cases.values())
    assert [r["n"] for r in reports] == [len(text) for text in cases.values()]


def test_broken_escapes_are_not_json(board):
    payloads = [
        rb'"\ud8"',
        rb'"\udxyz"',
        rb'"\u12"',
        rb'"\ud83d\ud"',
        b'"\\',
        b'"\\u"',
        b'"\\ud83d',
    ]
    reports = decoded(board, payloads)
    assert [r.get("error") for r in reports] == ["not JSON"] * len(payloads)


def test_what_pythons_json_writes_is_read_as_it_was(board):
    """Property: 300 texts of one seed, escaped to ASCII as Python does it by default."""
    texts = []

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(st.text(st.characters(exclude_categories=("Cs",))))
    def collect(text):
        texts.append(text)

    collect()
    reports = decoded(board, [json.dumps(text).encode() for text in texts])
    assert [r.get("got", r) for r in reports] == texts
