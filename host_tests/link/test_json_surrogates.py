"""lib/json_surrogates.py: escapes of surrogates become characters; nothing else is changed."""

PROGRAM = """
    from json_surrogates import joined

    def joined_text(text):
        data = text.encode()
        plain = data.replace(b"\\\\\\\\", b"__").replace(b'\\\\"', b"__")
        return str(joined(data, plain), "utf-8")

    report(all=[joined_text(text) for text in texts])
"""


def test_pain_34_pairs_and_halves(board):
    cases = {
        '"\\ud83d\\ude00"': '"\U0001f600"',
        '"x\\uD83D\\uDE00y\\u00e9\\n"': '"x\U0001f600y\\u00e9\\n"',
        '"\\ud83d"': '"\ufffd"',
        '"\\ude00\\ud83d"': '"\ufffd\ufffd"',
        '"\\ud83d\\ud83d\\ude00"': '"\ufffd\U0001f600"',
        '"\\ud83d\\\\ude00"': '"\ufffd\\\\ude00"',
        '"\\\\ud83d\\ude00"': '"\\\\ud83d\ufffd"',
        '"\\ud83d\\u0041\\"\\udbff\\udfff"': '"\ufffd\\u0041\\"\U0010ffff"',
    }
    assert board.run(PROGRAM, texts=list(cases)).report["all"] == list(cases.values())
