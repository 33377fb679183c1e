"""ibmiotf/topics.py: the iot-2 topic grammar, built and read level by level."""

GOOD_TOPICS = {
    "iot-2/evt/status/fmt/json": ["evt", None, None, "status", "json"],
    "iot-2/cmd/go/fmt/bin": ["cmd", None, None, "go", "bin"],
    "iot-2/type/pump/id/p1/evt/status/fmt/json": ["evt", "pump", "p1", "status", "json"],
    "iot-2/type/pump/id/p1/cmd/go/fmt/json": ["cmd", "pump", "p1", "go", "json"],
    "iot-2/type/pump/id/p1/mon": ["mon", "pump", "p1", None, None],
    "iot-2/app/dash/mon": ["app", None, None, "dash", None],
    # Names that look like the grammar's own words.
    "iot-2/type/type/id/id/evt/evt/fmt/fmt": ["evt", "type", "id", "evt", "fmt"],
    "iot-2/type/evt/id/mon/mon": ["mon", "evt", "mon", None, None],
    "iot-2/evt/mon/fmt/\u00e9": ["evt", None, None, "mon", "\u00e9"],
}
BAD_TOPICS = [
    "",
    "iot-2",
    "/iot-2/evt/status/fmt/json",
    "iot-1/evt/status/fmt/json",
    "iot-2/evt/status/fmt",
    "iot-2/evt/status/fmt/json/",
    "iot-2/evt//fmt/json",
    "iot-2/evt/status/frm/json",
    "iot-2/event/status/fmt/json",
    "iot-2/mon",
    "iot-2/app/mon",
    "iot-2/app/a/b/mon",
    "iot-2/type/pump/id/p1",
    "iot-2/type/pump/id/p1/x",
    "iot-2/type/pump/id//mon",
    "iot-2/type/pump/ID/p1/mon",
    "iot-2/type/pump/id/p1/app/x/mon",
    "iot-2/type/pump/id/p1/evt/status/fmt",
    "iot-2/type/pump/id/p1/mon/x",
    # A greedy expression reads this one wrongly.
    "iot-2/type/a/id/b/evt/c/fmt/d/evt/x/fmt/y",
    "iot-2/type/a/id/b/type/a/id/b/mon",
    "iotdm-1/response",
]


def test_topics_are_read_level_by_level(board):
    run = board.run(
        """
        import ibmiotf
        from ibmiotf import topics
        for text in texts:
            try:
                report(got=topics.parse(text))
            except ibmiotf.InvalidEventException as e:
                report(error=str(e))
        """,
        texts=list(GOOD_TOPICS) + BAD_TOPICS,
    )
    good = run.reports[: len(GOOD_TOPICS)]
    assert [r.get("got") for r in good] == list(GOOD_TOPICS.values())
    bad = run.reports[len(GOOD_TOPICS) :]
    assert len(bad) == len(BAD_TOPICS)
    for topic, report in zip(BAD_TOPICS, bad):
        assert report.get("error") == "not an iot-2 topic: " + topic


def test_what_is_built_is_what_the_grammar_says(board):
    run = board.run(
        """
        from ibmiotf import topics
        report(
            got=[
                topics.space("pump", "p1") + topics.message("evt", "status", "json"),
                topics.space("+", "+", True) + topics.message("cmd", "+", "+", True),
                topics.space("pump", "+", True) + "mon",
                topics.app_status("dash"),
                topics.app_status("+"),
            ]
        )
        """
    )
    assert run.report["got"] == [
        "iot-2/type/pump/id/p1/evt/status/fmt/json",
        "iot-2/type/+/id/+/cmd/+/fmt/+",
        "iot-2/type/pump/id/+/mon",
        "iot-2/app/dash/mon",
        "iot-2/app/+/mon",
    ]


def test_wildcards_fill_a_level_and_only_where_a_filter_is_wanted(board):
    cases = [
        ("space", ["+", "p1"]),
        ("space", ["pump", "+"]),
        ("space", ["pu+", "p1", True]),
        ("space", ["#", "p1", True]),
        ("space", ["pump", "p/1", True]),
        ("space", ["p" * 37, "p1", True]),
        ("message", ["evt", "+", "json"]),
        ("message", ["evt", "status", "+"]),
        ("message", ["evt", "a+", "json", True]),
        ("message", ["evt", "#", "json", True]),
        ("message", ["evt", "e" * 33, "json", True]),
        ("app_status", ["#"]),
        ("app_status", ["a/b"]),
        ("app_status", [""]),
    ]
    run = board.run(
        """
        from ibmiotf import topics
        for name, args in cases:
            try:
                report(got=getattr(topics, name)(*args))
            except ValueError as e:
                report(error=str(e))
        """,
        cases=cases,
    )
    assert len(run.reports) == len(cases)
    for case, report in zip(cases, run.reports):
        assert "must be 1 to" in report.get("error", ""), case
