"""lib/option_names.py: names with a slip in them, numbers as texts."""

from itertools import product

KNOWN = ["host", "port", "auth-token", "id"]


def one_slip(given, right):
    """Whether one letter more, less or changed, or two exchanged, make one of the other."""
    if given == right:
        return True
    letters = sorted(set(given) | set(right))
    near = set()
    for at in range(len(right) + 1):
        near.add(right[:at] + right[at + 1 :])
        near.add(right[:at] + right[at + 1 : at + 2] + right[at : at + 1] + right[at + 2 :])
        for letter in letters:
            near.add(right[:at] + letter + right[at:])
            if len(right) > 2:  # names so short have other words for neighbours
                near.add(right[:at] + letter + right[at + 1 :])
    return given in near


def test_pain_45_exactly_the_names_one_slip_away_are_told(board):
    words = ["".join(word) for n in range(1, 6) for word in product("host", repeat=n)][::3]
    words += [
        "auth_token",
        "authtoken",
        "Auth-Token",
        "auth-tokens",
        "auth-toekn",
        "token",
        "hsot",
    ]
    words += ["di", "idd", "i", "ip", "ID", "", "hostname", "ports", "Port"]
    words = [word for word in words if word not in KNOWN]
    run = board.run(
        """
        import option_names
        found = []
        for word in words:
            try:
                option_names.check_names({word: 1}, known)
                found.append(None)
            except ValueError as e:
                found.append(str(e))
        report(found=found)
        """,
        words=words,
        known=KNOWN,
    )
    told = 0
    for word, found in zip(words, run.report["found"]):
        near = [right for right in KNOWN if one_slip(word.lower(), right)]
        if near:
            told += 1
            assert found == "option {!r}: write {!r}".format(word, near[0]), word
        else:
            assert found is None, word
    assert told > 20


def test_pain_45_known_names_and_others_than_texts_pass(board):
    board.run(
        """
        import option_names
        option_names.check_names({"host": 1, "port": 2, 5: 3, None: 4, "other": 5}, known)
        option_names.check_names(("host", "mine"), known)
        option_names.check_names({}, known)
        """,
        known=KNOWN,
    )


def test_pain_45_numbers_may_be_texts(board):
    good = [(5, 5), ("5", 5), (" 443 ", 443), (65535, 65535), (1, 1), (None, None), ("", None)]
    bad = [0, 65536, -1, "x", "5.5", 5.0, 5.5, [], b"5", True, "0x10", "1e3"]
    run = board.run(
        """
        import option_names
        for value in values:
            try:
                report(got=option_names.number("port", value))
            except ValueError as e:
                report(error=str(e))
        try:
            option_names.number("pace", "7", 8, 9)
        except ValueError as e:
            report(error=str(e))
        """,
        values=[value for value, _ in good] + bad,
    )
    assert [report["got"] for report in run.reports[: len(good)]] == [right for _, right in good]
    errors = [report["error"] for report in run.reports[len(good) :]]
    assert errors[:-1] == ["port: must be a number from 1 to 65535"] * len(bad)
    assert errors[-1] == "pace: must be a number from 8 to 9"
