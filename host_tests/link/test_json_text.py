"""lib/json_text.py: it reads exactly what RFC 8259 calls JSON, and writes nothing else."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

READ = """
    import json_text

    class Odd:
        pass

    def read(data):
        try:
            return {"value": json_text.loads(data)}
        except ValueError as e:
            return {"error": str(e)}

    def write(value):
        try:
            return {"text": json_text.dumps(value)}
        except ValueError as e:
            return {"error": str(e)}

"""


def outcomes(board, texts):
    """What loads() makes of each text on that board: {"value": v} or {"error": text}."""
    run = board.run(
        READ + "    for text in texts:\n        report(**read(text))",
        texts=texts,
        timeout=100,
        heap="32m",
    )
    return run.reports


def refuse(word):
    raise ValueError(word)


def finite(word):
    return float(word) if math.isfinite(float(word)) else refuse(word)


def expected(text):
    """
    What CPython's reader makes of a text (str or bytes), with the differences that the docstring
    names.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        value = json.loads(text.removeprefix("\ufeff"), parse_constant=refuse, parse_float=finite)
    except (ValueError, RecursionError):
        return None
    return {"value": joined(value)}


def joined(value):
    """A value with halves of surrogate pairs as U+FFFD."""
    if isinstance(value, str):
        return "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in value)
    if isinstance(value, list):
        return [joined(v) for v in value]
    if isinstance(value, dict):
        return {joined(key): joined(v) for key, v in value.items()}
    return value


NOT_JSON = [
    # structure
    *["{", "[", "}", "]", "{]", "[}", "[[1]", "[1]]", '{"a"', '{"a":', '{"a":1', '{"a":1]', "[1}"],
    *['{"a" 1}', '{"a":1 "b":2}', "[1 2]", "[1:2]", '{"a"::1}', '{"a":1:2}', '{"a","b"}', ":1"],
    *[
        "[1,]",
        "[,1]",
        "[,]",
        "[1,,2]",
        "{,}",
        '{"a":1,}',
        '{,"a":1}',
        '{"a":1,,"b":2}',
        ",1",
        "1,",
    ],
    *[
        '["a":1]',
        '{"k":1,2}',
        '{"a":{"b"}}',
        "{1:2}",
        "{null:1}",
        "{[]:1}",
        "{{}:1}",
        '{"a":[1],2}',
    ],
    *["", " ", "1 2", "[] []", "[],[]", "{},{}", '"a" x', '1,"a":2', '1},{"a":2', '"a":1', "[1],"],
    *['"a""b"', '{"a":"b""c"}', '["a" "b"]', '{"a":{},1}', '[{"a":1}{"b":2}]', "[1][2]"],
    # numbers and words
    *["01", "-01", "00", "1.", "-", "+1", ".5", "-.5", "1.e5", "1e", "1e+", "1e1.5", "1-1", "- 1"],
    *["1.5.2", "1e5e5", "e5", "--1", "0x10", "1_0", "1j", "\u0661", "1e999", "-1e999", "9" * 401],
    *["NaN", "Infinity", "-Infinity", "nan", "inf", "True", "None", "tru", "nulll", "truefalse"],
    # strings
    *[
        '"',
        '"a',
        '"\\',
        '"\\"',
        '"\\x"',
        '"\\u"',
        '"\\u12"',
        '"\\u00zz"',
        '"\\u+123"',
        '"\\u 123"',
    ],
    *["'a'", '"\t"', '"\n"', '"\x00"', '"\x1f"', '"a\\\n"', '{"\t":1}', '\\"a"', '["a\\"]'],
    # around it
    *["[1]\x00", "\x00", "\x0c1", "\x0b1", "\u00a01", "[1]x", "x[1]", "1\ufeff", "\ufeff\ufeff1"],
    # what the reader's own notation looks like
    *["v", "^v", "$", "[v]", '{"a":v}', "{p}", "kv", "[p]", "^1", "$1"],
]

JSON = [
    *["{}", "[]", '""', "0", "-0", "1", "-1", "1.5", "-0.5e-3", "1e5", "1E+5", "0.0", "0e0"],
    *["9" * 400, "-0.25"],  # the longest number
    *["true", "false", "null", " [ ] ", "\t{\r\n}\n", "[1, 2,3 ,\t4]", '{"a" : 1 , "b":[ ] }'],
    *['{"a":[1],"b":2,"c":[3,4,{"d":5}]}', '[{"a":1},2,3,[4],[],{}]', '["true",true]', "[[[]]]"],
    *['"\\""', '"\\\\"', '"\\\\\\""', '"\\/\\b\\f\\n\\r\\t"', '"\\u0000"', '"\\u00E9\\u20ac"'],
    *['["a","b\\"]"]', '{"a\\"b":"c:,d"}', '"{\\"a\\": [1,]}"', '"01 [v] ^ $ kv p,p"'],
    *['{"a":1,"a":2}', '{"a":1,"b":3,"a":{}}', "99999999999999999999999", "1" + "0" * 300],
    *[
        "\ufeff[1]",
        "\ufeff 1",
        '"\ufeff"',
        '"\u00e9\u20ac\U0001f600"',
        '"\x7f\u2028"',
        '"\\u2028"',
    ],
    *["[" * 32 + "]" * 32, '{"a":' * 31 + "[]" + "}" * 31],
]


def test_what_is_no_json_is_refused(board):
    for text, found in zip(NOT_JSON, outcomes(board, NOT_JSON)):
        assert found.get("error", "").startswith("not JSON: "), (text, found)


def test_what_is_json_is_read_as_cpython_reads_it(board):
    for text, found in zip(JSON, outcomes(board, JSON)):
        assert found == expected(text), text


def test_every_kind_of_text_may_be_given(board):
    run = board.run(
        READ
        + """
    text = '{"a":"\u20ac"}'
    data = text.encode()
    report(all=[json_text.loads(x)["a"] for x in (text, data, bytearray(data), memoryview(data))])
    """
    )
    assert run.report["all"] == ["\u20ac"] * 4


def test_other_arguments_than_text_are_a_type_error(board):
    run = board.run(
        READ
        + """
    for x in (None, 1.5, {}):
        try:
            report(got=json_text.loads(x))
        except (TypeError, ValueError) as e:
            report(kind=type(e).__name__)
    """
    )
    assert [r["kind"] for r in run.reports if "kind" in r] == [r["kind"] for r in run.reports]


@pytest.mark.parametrize("depth, good", [(32, True), (33, False), (1000, False), (30000, False)])
def test_the_depth_has_an_end(board, depth, good):
    texts = ["[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth]
    found = outcomes(board, texts)
    assert ["value" in one for one in found] == [good, good, False]
    if not good:
        assert found[0]["error"] == found[1]["error"] == "not JSON: more than 32 levels"


def test_pain_34_surrogate_pairs_are_one_character_and_halves_none(board):
    grin = "\U0001f600"
    cases = {
        '"\\ud83d\\ude00"': grin,
        '"\\uD83D\\uDE00 \\ud83d\\ude00"': grin + " " + grin,
        '{"\\ud83d\\ude00":1}': {grin: 1},
        '"\\ud800\\udc00\\udbff\\udfff"': "\U00010000\U0010ffff",
        '"\\ud83d"': "\ufffd",
        '"\\ude00"': "\ufffd",
        '"\\ude00\\ud83d"': "\ufffd\ufffd",
        '"\\ud83d\\ud83d\\ude00"': "\ufffd" + grin,
        '"\\ud83dx\\ude00"': "\ufffdx\ufffd",
        '"\\ud83d\\\\ude00"': "\ufffd\\ude00",
        '"\\\\ud83d\\ude00"': "\\ud83d\ufffd",
        '"\\ud83d\\u0041"': "\ufffdA",
        '"\\ud7ff\\ue000"': "\ud7ff\ue000",
        '["\\ud83d","\\ude00"]': ["\ufffd", "\ufffd"],
    }
    assert outcomes(board, list(cases)) == [{"value": value} for value in cases.values()]


def test_pain_34_half_a_pair_is_not_written(board):
    run = board.run(
        READ
        + """
    half = chr(0xD83D)
    cases = half, [half], {"a": {"b": [1, half]}}, {half: 1}, chr(0x1F600)
    report(all=[write(x) for x in cases])
    """
    )
    *refused, good = run.report["all"]
    assert json.loads(good["text"]) == "\U0001f600"
    assert len(refused) == 4 and all("error" in one for one in refused)


def test_pain_36_ill_formed_utf_8_is_refused(board):
    bad = [
        b"\xff",
        b"\x80",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\xbd\xed\xb8\x80",
    ]
    bad += [
        b"\xf0\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xe2\x82",
        b"\xf8\x88",
    ]
    good = [b"\xc2\x80", b"\xe0\xa0\x80", b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xf0\x90\x80\x80"]
    good += [b"\xf4\x8f\xbf\xbf", b"\xef\xbf\xbf"]
    for front, back in ((b'"', b'"'), (b'{"', b'":1}')):
        found = outcomes(board, [front + one + back for one in bad + good])
        assert ["value" in one for one in found] == [False] * len(bad) + [True] * len(good)


def test_pain_39_a_byte_order_mark_is_passed_over(board):
    texts = [b"\xef\xbb\xbf[1]", b"\xef\xbb\xbf", b"\xef\xbb[1]", b"\xff\xfe[\x001\x00]\x00"]
    found = outcomes(board, texts)
    assert found[0] == {"value": [1]}
    assert all("error" in one for one in found[1:])


def test_pain_40_exactly_rfc_8259_and_the_last_of_a_name_counts(board):
    good, *bad = outcomes(board, ['{"a":1,"a":2}', '{"a" 1}', '{"a":1 "b":2}', '{"a",1}'])
    assert good == {"value": {"a": 2}}
    assert all("error" in one for one in bad)


def test_an_error_shows_nothing_of_the_text(board):
    texts = ['{"token":"s3cret}', '{"token":s3cret}', '{"token":"s3cret\\x"}', '{"pin":0123456}']
    for one in outcomes(board, texts):
        assert "s3cret" not in one["error"] and "0123456" not in one["error"]


def test_too_little_memory_is_a_value_error(board):
    if board.name == "cpython":
        pytest.skip("CPython's heap has no end that a test could reach")
    run = board.run(
        READ
        + """
    text = "[" + "[1,2]," * 12000 + "1]"
    report(**read(text))
    report(**read("[1]"))
    """,
        heap="400k",
    )
    assert run.reports == [{"error": "JSON: not enough memory to read it"}, {"value": [1]}]


def test_what_somebody_has_sent_is_no_value_error_for_lack_of_memory(board):
    """Whoever receives it can tell the two apart, and have it sent again."""
    if board.name == "cpython":
        pytest.skip("CPython's heap has no end that a test could reach")
    run = board.run(
        """
import json_text

def received(text):
    try:
        return json_text.receive(text)
    except (ValueError, MemoryError) as e:
        return type(e).__name__

report(got=[received("[" + "[1,2]," * 12000 + "1]"), received("[1"), received("[1]")])
""",
        heap="400k",
    )
    assert run.report == {"got": ["MemoryError", "ValueError", [1]]}


# ---- the same as CPython, on thousands of texts

_LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(-1000, 1000).map(lambda n: n / 8)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
)
_VALUE = st.recursive(
    _LEAF,
    lambda v: st.lists(v, max_size=5) | st.dictionaries(st.text(max_size=4), v, max_size=5),
    max_leaves=15,
)
# Fragments that JSON consists of, strung together at random: most are nearly JSON.
_PIECES = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"', '"a"', '"a":', "1", "0", "-", ".5", "e3", "true", "null"]
    + [
        " ",
        "\n",
        "\\",
        '\\"',
        "\\u00e9",
        "\\ud83d",
        "\\ude00",
        "{}",
        "[]",
        '{"b":',
        "1,",
        "\u20ac",
    ]
)


def collect(strategy, n):
    """n values of a strategy, the same at every run."""
    values = []

    @settings(max_examples=n, derandomize=True)
    @given(strategy)
    def one(value):
        values.append(value)

    one()
    return values


def changed(text, edits):
    """A text with characters taken out, doubled or replaced: (position, what) each."""
    for at, what in edits:
        at %= len(text) + 1
        if what == "double":
            text = text[:at] + text[at : at + 1] + text[at:]
        else:
            text = text[:at] + what + text[at + 1 :]
    return text


def test_nearly_json_is_judged_as_cpython_judges_it(board):
    edit = st.tuples(st.integers(0, 500), st.sampled_from(["", "double", *'{}[],:"\\ 0-.e\n']))
    dumped = st.builds(
        lambda value, ascii, edits: changed(json.dumps(value, ensure_ascii=ascii), edits),
        _VALUE,
        st.booleans(),
        st.lists(edit, max_size=2),
    )
    texts = collect(st.lists(_PIECES, max_size=14).map("".join), 1500) + collect(dumped, 1500)
    good = 0
    for text, found in zip(texts, outcomes(board, texts)):
        want = expected(text)
        if want is None:
            assert "error" in found, text
        else:
            good += 1
            assert "value" in found and same(found["value"], want["value"]), text
    assert good > 500


def same(one, other):
    """Equal, with floats as close as a reader that rounds once more gets."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-300)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


def test_long_texts_are_judged_as_cpython_judges_them(board):
    """A text is looked through piece by piece: what stands at a seam is no exception."""
    piece = st.one_of(
        _VALUE,
        st.integers(380, 520).map(lambda n: "x" * n + '"\\\n' + "y" * (n % 7)),
        st.integers(1, 300).map(lambda n: [n * 1.5] * (n // 3)),
        st.integers(1, 60).map(lambda n: ["\\" * n, '"' * n, True, None, -n]),
    )
    edit = st.tuples(st.integers(0, 4000), st.sampled_from(["", "double", *'{}[],:"\\ 0x']))
    made = st.builds(
        lambda value, indent, edits: changed(json.dumps(value, indent=indent), edits),
        st.lists(piece, min_size=3, max_size=12),
        st.sampled_from([None, None, 1]),
        st.lists(edit, max_size=1),
    )
    texts = [text for text in collect(made, 300) if len(text) > 300]
    good = 0
    for text, found in zip(texts, outcomes(board, texts)):
        want = expected(text)
        if want is None:
            assert found.get("error", "").startswith("not JSON: "), text
        else:
            good += 1
            assert "value" in found and same(found["value"], want["value"]), text
    assert good > 30 and len(texts) - good > 30


def test_bytes_are_judged_as_cpython_judges_them(board):
    flip = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=2)

    def flipped(value, flips):
        data = bytearray(json.dumps(value, ensure_ascii=False).encode())
        for at, byte in flips:
            data[at % len(data)] = byte
        return bytes(data)

    texts = collect(st.builds(flipped, _VALUE, flip), 1500)
    for text, found in zip(texts, outcomes(board, texts)):
        want = expected(text)
        if want is None:
            assert found.get("error", "").startswith("not JSON: "), text
        else:
            assert "value" in found and same(found["value"], want["value"]), text


def test_what_is_written_is_json_of_the_same_value(board):
    values = collect(_VALUE, 800)
    run = board.run(
        READ + "    for value in values:\n        report(**write(value))",
        values=values,
        timeout=100,
        heap="32m",
    )
    for value, written in zip(values, run.reports):
        assert same(json.loads(written["text"]), value)


def test_what_has_no_form_in_json_is_refused_and_its_place_is_named(board):
    run = board.run(
        READ
        + """
    nan = float("nan")
    loop = {}
    loop["again"] = [loop]
    deep = 1
    for i in range(33):
        deep = [deep]
    report(all=[write(x) for x in (
        nan, [1, -float("inf")], {"a": {"b": [1, nan]}}, {"a": b"x"}, {"a": bytearray(1)},
        {"a": {1, 2}}, Odd(), {"a": Odd}, {"a": write}, {"a": 1j}, {b"a": 1}, {(1, 2): 1},
        {None: 1}, {1.5: 1}, {"a": [0, {"c": {None: 1}}]}, loop, deep, deep[0],
        {2: "x", "three": (1, None), False: {}},
    )])
    """
    )
    *refused, deepest, good = run.report["all"]
    places = [one["error"].partition(": JSON can't hold ") for one in refused]
    assert [place for place, _, _ in places] == (
        ["'data'", "'data'", "'b'", "'a'", "'a'", "'a'", "'data'", "'a'", "'a'", "'a'"]
        + ["b'a'", "(1, 2)", "None", "1.5", "None", "'again'", "'data'"]
    )
    assert places[0][2] == "nan" and places[1][2] == "-inf"
    assert places[15][2] == places[16][2] == "more than 32 levels"
    assert "text" in deepest
    assert json.loads(good["text"]) == {"2": "x", "three": [1, None], "false": {}}
