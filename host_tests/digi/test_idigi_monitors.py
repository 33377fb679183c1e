"""
Requests about monitors: what the service of today refuses and asks for. The rest of them is in
test_idigi_monitor_api.py, where the calls are.
"""


import digi_rig
import pytest
from board_rig import DOUBLES
from digi_rig import answering


PRELUDE = """
import sys
from idigi_monitor_api import MonitorError, push_client

client = push_client(**K)

def attempt(f, *args):
    try:
        report(result=f(*args))
    except Exception as e:
        report(text=str(e), status=getattr(e, "status", None), name=type(e).__name__)
"""


@pytest.fixture(scope="module")
def digi(tmp_path_factory):
    with digi_rig.running(tmp_path_factory.mktemp("digi")) as cloud:
        yield cloud


# As built the client's clock is the connection's, too: as many looks at it as an answer may need.
PATIENT = 3600


def run(board, source, server, timeout=5, **values):
    given = server.arguments(timeout=timeout)
    return board.run(PRELUDE + source, K=given, before_lib=DOUBLES, **values)


def test_it_is_not_kept_and_neither_is_rest(board, digi):
    """A session needs the heap. A program that uses rest itself keeps its own."""
    reports = run(
        board,
        """
client.get_monitor(["DeviceCore"])
report(loaded=[name for name in ("rest", "idigi_monitors") if name in sys.modules])
import rest
client.get_monitor(["DeviceCore"])
report(same=sys.modules.get("rest") is rest)
""",
        digi,
    ).reports
    assert reports == [{"loaded": []}, {"same": True}]


def test_a_refusal_for_lack_of_a_subscription_says_what_to_buy(board):
    body = b"<result><error>The account is not subscribed to the feature</error></result>"
    with answering((403, {}, body), (403, {}, b"forbidden")) as web:
        first, second = run(board, "attempt(client.create_monitor, 'Job')\n" * 2, web).reports
    assert first["status"] == 403 and first["name"] == "MonitorError"
    assert "Push Monitor subscription" in first["text"]
    assert second["text"] == "Monitor Could not be Created (403): forbidden"


def test_a_request_beside_four_others_is_made_again_later(board, digi):
    others = [digi_rig.OpenRequest(digi, "<Monitor/>") for _ in range(4)]
    digi.until(lambda: digi.digi.open_requests == 4)
    client = board.start(PRELUDE + "report(made=client.create_monitor('Job'))", K=digi.arguments())
    digi.until(lambda: digi.digi.turned_away == 1)
    others[0].end("close")
    assert int(client.wait(60).report["made"]) in digi.digi.monitors
    for other in others[1:]:
        other.end("close")


@pytest.mark.parametrize("asked, paused", [(None, 3000), ("1", 3000), ("7", 14000)])
def test_too_many_requests_are_made_again_after_a_growing_pause(board, asked, paused):
    """1 s, then 2 s; as long as the service says where that is more."""
    headers = {} if asked is None else {"Retry-After": asked}
    made = (201, {"Location": "Monitor/7"}, b"")
    with answering((429, headers, b""), (429, headers, b""), made) as web:
        report = run(
            board,
            """
import idigi_monitor_api
from digi_clock import Clock
idigi_monitor_api.time = clock = Clock()
before = clock.now
made = client.create_monitor("Job")
report(made=made, paused=clock.now - before)
""",
            web,
            PATIENT,
        ).report
    assert report["made"] == "7"
    assert len(web.requests) == 3
    assert report["paused"] >= paused


def test_a_long_pause_is_the_callers_to_make(board):
    with answering((429, {"Retry-After": "3600"}, b"slow down")) as web:
        report = run(
            board,
            """
try:
    client.create_monitor("Job")
except MonitorError as e:
    report(status=e.status, after=e.retry_after)
""",
            web,
        ).report
    assert report == {"status": 429, "after": 3600}
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    "headers, body",
    [({}, b""), ({"Location": "Monitor/"}, b""), ({}, b"<html>hello</html>")],
)
def test_no_id_is_an_error_and_no_id(board, headers, body):
    with answering((201, headers, body)) as web:
        report = run(board, "attempt(client.create_monitor, 'Job')", web).report
    assert report["name"] == "OSError"
    assert "did not tell its id" in report["text"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"items":7}', b"<html>", b"[" * 4000])
def test_pain_50_an_answer_that_is_no_list_is_an_error_in_words(board, body):
    with answering((200, {}, body)) as web:
        report = run(board, "attempt(client.get_monitor, 'Job')", web).report
    assert report["name"] == "OSError"
    assert "not a list of monitors" in report["text"]


def test_pain_42_an_odd_row_of_a_list_costs_no_other(board):
    body = b'{"items":[null,5,{"monId":"1","monTransportType":"http"},{"monId":"2"}]}'
    with answering((200, {}, body)) as web:
        assert run(board, "attempt(client.get_monitor, 'Job')", web).report == {"result": "2"}


def test_pain_39_a_byte_order_mark_is_passed_over(board):
    body = b'\xef\xbb\xbf{"items":[{"monId":"2"}]}'
    with answering((200, {}, body)) as web:
        assert run(board, "attempt(client.get_monitor, 'Job')", web).report == {"result": "2"}


def test_a_disabled_monitor_is_recognised_and_enabled_on_request(board, digi):
    """The session's refusal says where to look; once enabled, the session comes back by itself."""
    monitor = digi.make()
    digi.do(digi.monitor(monitor).disable)
    program = board.start(
        PRELUDE
        + """
got = []
session = client.create_session(lambda data: got.append(data) or True, monitor)
session.backoff_ms = session.backoff_max_ms = 50
while not session.error:
    client.do_next(50)
report(kind=type(session.error).__name__, status=session.error.status, text=str(session.error))
report(before=client.monitor_status(monitor))
client.enable_monitor(monitor)
while not session.is_connected():
    client.do_next(50)
report(after=client.monitor_status(monitor))
while not got:
    client.do_next(50)
report(got=len(got))
""",
        K=digi.arguments(),
        before_lib=DOUBLES,
        monitor=monitor,
    )
    refused = program.next_report()
    assert (refused["kind"], refused["status"]) == ("MonitorError", 400)
    assert "disabled" in refused["text"] and "enable_monitor" in refused["text"]
    assert program.next_report() == {"before": "DISABLED"}
    assert program.next_report() == {"after": "ACTIVE"}
    digi.point(1)
    assert program.next_report() == {"got": 1}


def test_an_account_without_the_subscription(board, digi):
    monitor = digi.make()
    digi.do(setattr, digi.digi, "subscribed", False)
    try:
        reports = run(
            board,
            """
attempt(client.create_monitor, "Job")
session = client.create_session(print, monitor)
while not session.error:
    client.do_next(50)
report(text=str(session.error))
""",
            digi,
            monitor=monitor,
        ).reports
    finally:
        digi.do(setattr, digi.digi, "subscribed", True)
    assert reports[0]["status"] == 403
    assert "Push Monitor subscription" in reports[0]["text"]
    assert "subscription" in reports[1]["text"]


def test_enabling_says_again_what_is_monitored(board):
    """Any PUT resets a monitor; this one changes nothing else."""
    row = b'{"items":[{"monId":"7","monTopic":"Job,Alarm","monStatus":"DISABLED"}]}'
    with answering((200, {}, row), (200, {}, row), (200, {}, b"<result/>")) as web:
        reports = run(
            board,
            "attempt(client.monitor_status, 7)\nattempt(client.enable_monitor, '7')",
            web,
        ).reports
    assert reports == [{"result": "DISABLED"}, {"result": None}]
    method, path, _, body = web.requests[2]
    assert (method, path) == ("PUT", "/ws/Monitor/7")
    assert body == b"<Monitor><monTopic>Job,Alarm</monTopic></Monitor>"


def test_a_monitor_that_is_gone(board, digi):
    reports = run(
        board, "attempt(client.monitor_status, 1)\nattempt(client.enable_monitor, 1)", digi
    ).reports
    assert [told["status"] for told in reports] == [404, 404]


@pytest.mark.parametrize("name", ["port", "push_port", "max_block", "max_data", "max_idle"])
def test_pain_45_numbers_may_be_text_and_a_wrong_one_is_named(board, name):
    reports = board.run(
        """
        from idigi_monitor_api import push_client
        push_client("u", "p", hostname="h", secure=False, **{name: "123"})
        for wrong in ("12a", "", -1, 1 << 40, [1]):
            if wrong == "" and "port" in name:
                continue
            try:
                push_client("u", "p", hostname="h", secure=False, **{name: wrong})
                report(text="taken: %s" % (wrong,))
            except ValueError as e:
                report(text=str(e))
        """,
        name=name,
    ).reports
    assert len(reports) >= 4
    for told in reports:
        assert told["text"].startswith(name + " must be a number"), told


def test_pain_61_logging_tells_what_the_api_does(board, digi):
    """A program that has loaded logging hears of each step; no password is in it."""
    monitor = digi.make()
    program = board.start(
        PRELUDE
        + """
import logging
client.get_monitor(["DataPoint"])
session = client.create_session(lambda data: True, monitor)
while not session.is_connected():
    client.do_next(100)
report(up=True)
while not [line for line in logging.lines if "acknowledged" in line]:
    client.do_next(100)
client.stop_all()
client.delete_monitor(monitor)
report(lines=logging.lines)
""",
        K=digi.arguments(),
        before_lib=DOUBLES,
        monitor=monitor,
    )
    program.next_report()
    digi.point(1)
    lines = program.next_report()["lines"]
    said = "\n".join(lines)
    for word in ("GET /ws/Monitor", "dialling localhost:", "accepted", "bytes", "DELETE"):
        assert word in said, (word, lines)
    assert digi_rig.PASSWORD not in said
    assert all("idigi_monitor_api" in line for line in lines)


def test_pain_61_without_logging_nothing_is_loaded_for_it(board, digi):
    report = run(
        board,
        "sys.modules.pop('logging', None)\nclient.get_monitor('Job')\n"
        "report(loaded='logging' in sys.modules)",
        digi,
    ).report
    assert report == {"loaded": False}
