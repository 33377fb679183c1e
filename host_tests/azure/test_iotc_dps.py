"""
lib/iotc_dps.py: the conversation with DPS, word by word, over a link that is a script. What the
service answers may be late, busy, final, nonsense or nothing; every wait has an end.
"""

import pytest
from device_program import program

SCRIPT = program("iotc_dps_script")

ASSIGNING = {"operationId": "4.d0/a6+x", "status": "assigning"}
ASSIGNED = {
    "operationId": "4.d0",
    "status": "assigned",
    "registrationState": {"assignedHub": "hub-7.azure-devices.net", "deviceId": "pump-1"},
}
BODY = '{"registrationId": "sensor-01"}'
TRACKING = "8b1c2d"


def talk(board, *answers):
    run = board.run(SCRIPT, ANSWERS=list(answers), BODY=BODY)
    first, entries = run.reports[0], [r["entry"] for r in run.reports[1:]]
    assert first["closed"] is True
    assert entries[0] == ["SUBSCRIBE", "$dps/registrations/res/#", 1]
    return first, entries[1:]


def test_register_wait_poll_assigned(board):
    got, asked = talk(
        board,
        (202, "&retry-after=3", ASSIGNING),
        (202, "&retry-after=5", ASSIGNING),
        (200, "", ASSIGNED),
    )
    assert got["result"] == ["hub-7.azure-devices.net", "pump-1", None]
    register, poll, again = asked
    assert register[1:4] == ["$dps/registrations/PUT/iotdps-register/?$rid=0", BODY, 1]
    head = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=%d&operationId=4.d0%%2Fa6%%2Bx"
    assert poll[1:4] == [head % 1, "", 1]
    assert again[1:4] == [head % 2, "", 1]
    assert 3000 <= poll[4] - register[4] <= 3300
    assert 5000 <= again[4] - poll[4] <= 5300


@pytest.mark.parametrize(
    "more, ms", [("", 2000), ("&retry-after=0", 0), ("&retry-after=9999", 9999000)]
)
def test_retry_after_is_kept_whole_and_is_two_seconds_without(board, more, ms):
    got, asked = talk(board, (202, more, ASSIGNING), (200, "", ASSIGNED))
    assert "result" in got
    assert ms <= asked[1][4] - asked[0][4] <= ms + 300


def test_an_assignment_may_come_at_once(board):
    got, asked = talk(board, (200, "", ASSIGNED))
    assert got["result"] == ["hub-7.azure-devices.net", "pump-1", None] and len(asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_service_is_asked_the_same_again(board, status):
    error = {"errorCode": status * 1000 + 1, "message": "later", "trackingId": TRACKING}
    got, asked = talk(
        board,
        (status, "&retry-after=7", error),
        (202, "", ASSIGNING),
        (status, "", error),
        (200, "", ASSIGNED),
    )
    assert got["result"] and len(asked) == 4
    verbs = [entry[1].split("/")[2] for entry in asked]
    assert verbs == ["PUT", "PUT", "GET", "GET"]
    assert 7000 <= asked[1][4] - asked[0][4] <= 7300
    assert len({entry[1].split("$rid=")[1] for entry in asked}) == 4


def test_pauses_of_a_busy_service_double_up_to_16_s_and_begin_anew_after_an_answer(board):
    busy = (429, "", {"errorCode": 429001})
    answers = [busy] * 5 + [(202, "", ASSIGNING), busy, (200, "", ASSIGNED)]
    got, asked = talk(board, *answers)
    assert got["result"]
    at = [entry[4] for entry in asked]
    pauses = [round((after - before) / 1000) for before, after in zip(at, at[1:])]
    assert pauses == [2, 4, 8, 16, 16, 2, 2]


def test_busy_for_ever_is_given_up_after_25_requests(board):
    got, asked = talk(board, *[(429, "&retry-after=1", {"errorCode": 429001})] * 40)
    assert got["kind"] == "MQTTException" and got["args"][0] == 429 and "busy" in got["args"][1]
    assert len(asked) == 25


@pytest.mark.parametrize(
    "answer, code, words",
    [
        (
            (401, {"errorCode": 401002, "message": "Unauthorized", "trackingId": TRACKING}),
            401002,
            ["401002", "Unauthorized", "key", "clock"],
        ),
        (
            (
                401,
                {"errorCode": 401002, "message": "Invalid certificate.", "trackingId": TRACKING},
            ),
            401002,
            ["Invalid certificate."],
        ),
        (
            (404, {"errorCode": 404201, "message": "Not found", "trackingId": TRACKING}),
            404201,
            ["404201", "scopeId", "enrolled"],
        ),
        ((400, {"message": "bad", "trackingId": TRACKING}), 400, ["400", "bad"]),
        (
            (
                200,
                {
                    "status": "disabled",
                    "trackingId": TRACKING,
                    "registrationState": {"status": "disabled"},
                },
            ),
            403,
            ["disabled", "enable"],
        ),
        ((200, {"status": "unassigned", "trackingId": TRACKING}), 200, ["unassigned"]),
    ],
)
def test_pain_15_a_final_answer_is_told_with_code_words_and_tracking_id(
    board, answer, code, words
):
    got, asked = talk(board, (202, "&retry-after=0", ASSIGNING), (answer[0], "", answer[1]))
    assert got["kind"] == "MQTTException" and got["args"][0] == code
    for word in words + [TRACKING]:
        assert word in got["args"][1]
    assert len(asked) == 2


@pytest.mark.parametrize(
    "status, body",
    [
        (200, b""),
        (200, b"\xff\xfe"),
        (200, b"[]"),
        (200, b"null"),
        (202, {"status": "assigning"}),
        (200, {"status": "assigned"}),
        (200, {"status": "assigned", "registrationState": {"deviceId": "x"}}),
        (200, {"status": "assigned", "registrationState": 7}),
        (401, b"<html>"),
    ],
)
def test_an_answer_that_lacks_what_it_should_say_is_an_error_not_a_KeyError(board, status, body):
    got, _ = talk(board, (status, "", body))
    assert got["kind"] == "OSError"
    assert "DPS" in got["args"][1] and str(status) in got["args"][1]


@pytest.mark.parametrize(
    "code, cure",
    [(401002, "key and clock"), (404201, "scopeId"), (400004, "enrolment"), (412001, "enrolment")],
)
def test_the_cure_fits_what_was_refused(board, code, cure):
    """A key is not to blame for an allocation that failed."""
    got, _ = talk(board, (code // 1000, "", {"errorCode": code, "message": "no"}))
    text = got["args"][1]
    assert cure in text and ("key" in text) is (code == 401002)


def test_a_retry_after_that_is_no_number_is_an_error_in_words(board):
    got, _ = talk(board, (202, "&retry-after=soon", ASSIGNING))
    assert got["kind"] == "OSError" and "DPS" in got["args"][1] and "202" in got["args"][1]


def test_no_answer_is_an_error_after_30_s(board):
    got, asked = talk(board, None)
    assert got["kind"] == "OSError" and "no answer within 30 s" in got["args"][1]
    assert len(asked) == 1 and 30000 <= got["now"] <= 30300


def test_what_ends_the_connection_comes_out_at_once(board):
    got, _ = talk(board, (202, "&retry-after=0", ASSIGNING), "connection closed by the peer")
    assert got["kind"] == "OSError" and got["args"] == [104, "connection closed by the peer"]


FAILED = {
    "status": "failed",
    "operationId": "4.d0",
    "registrationState": {"errorCode": 400207, "errorMessage": "the function said no"},
}


def test_a_custom_allocation_may_fail_four_times_and_is_asked_for_anew(board):
    got, asked = talk(board, *[(200, "&retry-after=0", FAILED)] * 4, (200, "", ASSIGNED))
    assert got["result"] == ["hub-7.azure-devices.net", "pump-1", None]
    assert [entry[1].split("/")[2] for entry in asked] == ["PUT"] * 5


def test_a_custom_allocation_that_fails_five_times_is_told(board):
    got, asked = talk(board, *[(200, "&retry-after=0", FAILED)] * 6)
    assert got["kind"] == "MQTTException" and got["args"][0] == 400207 and len(asked) == 5
    assert "the function said no" in got["args"][1] and "enrolment" in got["args"][1]


@pytest.mark.parametrize("profile", ["mqtt5", {"protocol": "mqttv5"}])
def test_a_hub_that_speaks_another_protocol_is_refused_in_words(board, profile):
    state = dict(ASSIGNED["registrationState"], connectionProfile=profile)
    got, _ = talk(board, (200, "", dict(ASSIGNED, registrationState=state)))
    assert got["kind"] == "ValueError" and "connection profile" in got["args"][0]
    state["connectionProfile"] = "Classic"
    got, _ = talk(board, (200, "", dict(ASSIGNED, registrationState=state)))
    assert got["result"] == ["hub-7.azure-devices.net", "pump-1", None]


def test_a_retry_after_below_nothing_is_none_and_one_of_years_a_day(board):
    got, asked = talk(board, (202, "&retry-after=-5", ASSIGNING), (200, "", ASSIGNED))
    assert "result" in got and asked[1][4] - asked[0][4] <= 300
    got, asked = talk(board, (202, "&retry-after=99999999", ASSIGNING), (200, "", ASSIGNED))
    assert 86400000 <= asked[1][4] - asked[0][4] <= 86400300
