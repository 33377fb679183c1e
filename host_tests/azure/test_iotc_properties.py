"""lib/iotc_properties.py: the properties of a message, behind its topic."""

PROGRAM = """
    from iotc_properties import with_bag

    def made(properties):
        try:
            return with_bag(topic, properties)
        except ValueError as e:
            return ["refused", str(e)]

    report(all=[made(one) for one in given])
"""
TOPIC = "devices/d/messages/events/"


def bags(board, given, topic=TOPIC):
    return board.run(PROGRAM, given=given, topic=topic).report["all"]


def test_names_and_values_are_percent_encoded(board):
    assert bags(board, [{"a b": 1}, {"n": "\u00e9&=?"}, {"$.sub": "pump"}, {}]) == [
        ["refused", "property name: letters, digits, !#$%&'*+-.^_`|~"],
        TOPIC + "n=%C3%A9%26%3D%3F",
        TOPIC + "%24.sub=pump",
        TOPIC,
    ]


def test_they_go_behind_those_that_a_topic_has(board):
    assert bags(board, [{"a": 1}], TOPIC + "x=y") == [TOPIC + "x=y&a=1"]


def test_a_creation_time_is_a_time_of_this_board_or_a_text(board):
    name = "iothub-creation-time-utc"
    found = bags(board, [{name: 0}, {name: "2025-01-01T00:00:00Z"}, {name: None}])
    assert found[0].split("=")[1].endswith("-01-01T00%3A00%3A00Z")  # 1970, or 2000
    assert found[1] == TOPIC + name + "=2025-01-01T00%3A00%3A00Z"
    assert found[2][0] == "refused" and name in found[2][1]


def test_what_is_no_dict_and_half_a_surrogate_pair_are_refused(board):
    found = bags(board, ["a=1", [1], 5])
    assert [one[1] for one in found] == ["properties: a dict, or None"] * 3
    run = board.run(PROGRAM + "    report(half=made({'a': chr(0xD83D)}))", given=[], topic=TOPIC)
    assert run.reports[-1]["half"][0] == "refused"


def test_a_name_that_hub_does_not_take_is_refused_and_which_it_takes_is_said(board):
    got = board.run(
        """
        from iotc_properties import with_bag
        said = []
        for name in ("", "a b", "a/b", "\u00e4"):
            try:
                said.append(with_bag("t/", {name: 1}))
            except ValueError as e:
                said.append(str(e))
        report(said=said, good=with_bag("t/", {"a!#$": 1}), none=with_bag("t/", {}))
        """
    ).report
    assert got["said"] == ["property name: letters, digits, !#$%&'*+-.^_`|~"] * 4
    assert got["good"] == "t/a%21%23%24=1" and got["none"] == "t/"
