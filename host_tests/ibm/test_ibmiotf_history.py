"""ibmiotf/history.py: the historian, against the local cloud and by script."""

import json

import pytest
from ibm_api_rig import START, answer


@pytest.fixture
def history(board, cloud, options):
    """250 events of two devices, made once for each interpreter; its type's name."""
    kind = "hist-" + board.name
    if kind not in cloud:
        cloud[kind] = True
        board.run(
            START
            + """
    for name in ("h1", "h2"):
        api.registerDevice(kind, name)
    client.connect()
    for i in range(250):
        assert client.publishEvent(kind, "h%d" % (1 + i % 2), ("warm", "cold")[i % 5 == 0],
                                   {"i": i, "half": i / 2}, 1)
    while client.link.inflight:
        client.do_next(10)
    """,
            options=options,
            kind=kind,
        )
    return kind


def test_the_historian_answers_for_all_a_type_and_a_device(board, options, history):
    run = board.run(
        START
        + """
    attempt(api.getHistoricalEvents)
    attempt(api.getHistoricalEvents, kind)
    attempt(api.getHistoricalEvents, kind, "h1")
    attempt(api.getHistoricalEvents, kind, "h1", {"evt_type": "cold", "top": 3})
    """,
        options=options,
        kind=history,
    )
    everything, of_type, of_device, cold = [r["got"] for r in run.reports]
    assert {"device_id", "device_type", "evt_type", "timestamp", "evt"} == set(everything[0])
    assert [e["evt"]["i"] for e in of_type] == list(range(249, 149, -1))
    assert "device_type" not in of_type[0] and of_type[0]["device_id"].endswith(":h2")
    assert [e["evt"]["i"] for e in of_device] == list(range(248, 48, -2))
    assert "device_id" not in of_device[0]
    assert [e["evt"]["i"] for e in cold] == [240, 230, 220]


def test_the_iterator_gives_all_pages_and_holds_one(board, options, history):
    run = board.run(
        START
        + """
    import rest
    asked = []
    request = rest.Session.request

    def counted(self, *args):
        asked.append(args[1])
        return request(self, *args)

    rest.Session.request = counted
    numbers = [e["evt"]["i"] for e in api.historicalEvents(kind, None, {"top": 60})]
    report(numbers=numbers, pages=len(asked))
    numbers = [e["evt"]["i"] for e in api.historicalEvents(kind, "h1")]
    report(numbers=numbers)
    del asked[:]
    for e in api.historicalEvents(kind, None, {"top": 10}):
        break
    report(pages=len(asked))
    """,
        options=options,
        kind=history,
    )
    by_type, by_device, stopped = run.reports
    assert by_type["numbers"] == list(range(249, -1, -1))
    assert by_type["pages"] in (5, 6)  # an empty one may end it
    assert by_device["numbers"] == list(range(248, -1, -2))
    assert stopped["pages"] == 1


def test_bounds_and_summaries_reach_the_service(board, options, history):
    run = board.run(
        START
        + """
    ms = [e["timestamp"]["$date"] for e in api.getHistoricalEvents(kind, "h1", {"top": 20})]
    first, last = ms[-1], ms[0]
    attempt(api.getHistoricalEvents, kind, "h1", {"end": first - 1, "top": 1})
    attempt(api.getHistoricalEvents, kind, "h1", {"start": last + 1})
    names = ("avg", "count", "min", "max", "sum", "range", "stdev", "variance")
    for name in names:
        got = api.getHistoricalEvents(
            kind, "h1", {"summarize": ["i", "half"], "summarize_type": name}
        )
        report(name=name, i=got[0]["evt"]["i"], half=got[0]["evt"]["half"])
    got = api.getHistoricalEvents(kind, "h1", {"summarize": "{i}"})
    report(average=got[0]["evt"]["i"])
    """,
        options=options,
        kind=history,
    )
    before, after, *sums, average = run.reports
    assert after["got"] == [] and len(before["got"]) <= 1
    got = {r["name"]: (r["i"], r["half"]) for r in sums}
    assert got["count"] == (125, 125)
    assert got["min"] == (0, 0) and got["max"] == (248, 124) and got["range"] == (248, 124)
    assert got["sum"] == (15500, 7750) and got["avg"] == (124, 62)
    assert abs(got["variance"][0] - got["stdev"][0] ** 2) < 1
    assert average["average"] == 124


def test_parameters_that_the_historian_lacks_are_refused(board, options):
    cases = [
        [None, None, {"top": 5}],
        [None, None, {"summarize": ["i"]}],
        [None, None, {"summarize_type": "avg"}],
        ["pump", None, {"top": 0}],
        ["pump", None, {"top": 101}],
        ["pump", None, {"top": "5"}],
        ["pump", None, {"summarize_type": "median"}],
        ["pump", None, {"start": "yesterday"}],
        ["pump", None, {"evt_type": "a/b"}],
        ["pump", None, {"since": 5}],
        ["pump", None, {"summarize": 5}],
        ["pump", None, {"summarize": "cpu"}],
        ["pump", None, {"summarize": []}],
        ["pump", None, {"summarize": [1]}],
        ["pump", None, {"summarize": ["cpu,mem"]}],
        ["pu/mp", None, {}],
        [None, "p1", {}],
    ]
    run = board.run(
        START + "    for case in cases:\n        attempt(api.getHistoricalEvents, *case)",
        options=dict(options, **{"api-port": 1}),
        cases=cases,
    )
    assert len(run.reports) == len(cases)
    for case, report in zip(cases, run.reports):
        assert "invalid" in report, case


# ---- by script


def test_cursor_and_cookie_lead_from_page_to_page(board, scripted):
    def page(numbers, cursor=None, cookie=None):
        headers = "CursorID: %s\r\n" % cursor if cursor else ""
        if cookie:
            headers += "Set-Cookie: other=1; Path=/\r\n"
            headers += "Set-Cookie: iotHistorianSessionId=%s; Secure; HttpOnly\r\n" % cookie
        return answer("200 OK", [{"evt": {"i": i}} for i in numbers], headers)

    server, options = scripted(
        {
            # One script serves each request of the connection in turn.
            "historian?evt_type=a%20b&start=1760000000000": [page([5, 4], "c1", "s1")],
        }
    )
    pages = iter([page([5, 4], "c1", "s1"), page([3, 2], "c2"), page([1], "c3", "s2"), page([])])

    class Pages(dict):
        def __getitem__(self, path):
            return [next(pages)]

    server.scripts = Pages()
    run = board.run(
        START
        + """
    report(got=[e["evt"]["i"] for e in api.historicalEvents(
        options={"evt_type": "a b", "start": 1760000000000})])
    """,
        options=options,
    )
    assert run.report["got"] == [5, 4, 3, 2, 1]
    assert server.connections == 1
    paths = [r.split(" ")[1] for r in server.requests]
    assert paths[0].startswith("/api/v0001/historian?") and len(set(paths)) == 1
    assert sorted(paths[0].split("?")[1].split("&")) == ["evt_type=a%20b", "start=1760000000000"]
    sent = [
        sorted(line for line in r.split("\r\n") if line.startswith(("cursorId", "Cookie")))
        for r in server.requests
    ]
    assert sent == [
        [],
        ["Cookie: iotHistorianSessionId=s1", "cursorId: c1"],
        ["Cookie: iotHistorianSessionId=s1", "cursorId: c2"],
        ["Cookie: iotHistorianSessionId=s2", "cursorId: c3"],
    ]


def record(i, size=400):
    return {
        "device_id": "d:abc123:pump:p%d" % i,
        "evt_type": "status",
        "timestamp": {"$date": 1760000000000 + i},
        "evt": {"i": i, "text": '], [ {"} \\ ' + "x" * size},
    }


def test_pain_62_the_documents_three_snippets_print_an_ordinary_history(board, scripted):
    """A hundred records of 550 bytes are 55 KB, more than an answer taken in one piece."""
    page = answer("200 OK", [record(i) for i in range(100)])
    assert len(page) > 50000
    paths = ["historian/pump/p1", "historian/pump", "historian"]
    server, options = scripted({path: [page] for path in paths})
    run = board.run(
        """
    import ibmiotf.application
    client = ibmiotf.application.Client(options)
    deviceType = "pump"
    deviceId = "p1"
    result = client.api.getHistoricalEvents(deviceType, deviceId)
    print(result)
    report(n=len(result))
    result = client.api.getHistoricalEvents(deviceType)
    print(result)
    report(n=len(result))
    result = client.api.getHistoricalEvents()
    print(result)
    report(n=len(result), numbers=[r["evt"]["i"] for r in result])
    """,
        options=options,
        heap="512k",
    )
    assert [r["n"] for r in run.reports] == [100] * 3
    assert run.reports[2]["numbers"] == list(range(100))
    assert [r.split(" ")[1] for r in server.requests] == ["/api/v0001/" + path for path in paths]


@pytest.mark.parametrize("chunked", [False, True])
def test_pain_62_the_iterator_holds_one_record_and_not_a_page(board, scripted, chunked):
    """1.2 MB of history through a heap of 800 KB, most of which the program fills."""
    records = [record(i, 12000) for i in range(100)]
    page = answer("200 OK", records)
    if chunked:
        body = json.dumps(records).encode()
        parts = [body[i : i + 5000] for i in range(0, len(body), 5000)] + [b""]
        page = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
            b"%x\r\n%s\r\n" % (len(part), part) for part in parts
        )
    server, options = scripted({"historian": [page]})
    run = board.run(
        START
        + """
    numbers = []
    for record in api.historicalEvents():
        assert len(record["evt"]["text"]) > 12000
        numbers.append(record["evt"]["i"])
    report(numbers=numbers)
    """,
        options=options,
        heap="400k" if board.name == "micropython" else None,
    )
    assert run.report["numbers"] == list(range(100))


def test_pain_42_a_record_that_cant_be_read_costs_no_other(board, scripted):
    body = (
        b'[{"evt": {"i": 1}}, {"evt": {"i": 01}}, {"evt": {"i": 3}}, {"evt" 4}, {"evt": {"i": 5}}]'
    )
    server, options = scripted(
        {"historian": [answer("200 OK", body)], "historian/pump": [answer("200 OK", body)]}
    )
    run = board.run(
        START
        + """
    errors = []
    client.errorCallback = errors.append
    report(got=[r["evt"]["i"] for r in api.getHistoricalEvents()])
    report(got=[r["evt"]["i"] for r in api.historicalEvents("pump")], errors=errors)
    """,
        options=options,
    )
    assert [r["got"] for r in run.reports] == [[1, 3, 5]] * 2
    assert len(run.reports[1]["errors"]) == 4
    for error in run.reports[1]["errors"]:
        assert "IoTFCReSTException: GET historian" in error and "can't be read" in error


@pytest.mark.parametrize(
    "body, good",
    [
        (b"<html>welcome", 0),
        (b'{"evt": 1}', 0),
        (b"", 0),
        (b"[", 0),
        (b'[{"evt": {"i": 0}}, {"evt": {"i": 1}}, {"evt"', 2),
        (b'[{"evt": {"i": 0}}', 0),
        (b'[{"evt": {"i": 0}}, "' + b"x" * 40000 + b'"]', 1),
    ],
)
def test_what_is_no_page_of_history_is_an_exception_and_what_came_before_is_there(
    board, scripted, body, good
):
    server, options = scripted({"historian": [answer("200 OK", body)]})
    run = board.run(
        START
        + """
    got = []
    try:
        for r in api.historicalEvents():
            got.append(r["evt"]["i"])
    except ibmiotf.IoTFCReSTException as e:
        report(got=got, code=e.httpCode, text=str(e))
    """,
        options=options,
    )
    assert run.report["got"] == list(range(good)) and run.report["code"] == 200
    assert "GET historian: 200 but no JSON" in run.report["text"]


def test_pages_are_read_with_spaces_marks_and_nothing_in_them(board, scripted):
    bodies = [b" [ ] ", b"\xef\xbb\xbf[]", b'\r\n[\t{} , {"a":[1,2,{"b":"]"}]}\n]\n', b'["a"]']
    server, options = scripted(
        {"historian/p%d" % i: [answer("200 OK", body)] for i, body in enumerate(bodies)}
    )
    run = board.run(
        START + "    for i in range(4):\n        attempt(api.getHistoricalEvents, 'p%d' % i)",
        options=options,
    )
    got = [r["got"] for r in run.reports]
    assert got == [[], [], [{}, {"a": [1, 2, {"b": "]"}]}], ["a"]]


def test_a_page_too_large_for_the_heap_is_an_error_that_says_what_to_do(board, scripted):
    if board.name == "cpython":
        pytest.skip("CPython's heap has no end that a test could reach")
    page = answer("200 OK", [record(i, 12000) for i in range(100)])
    server, options = scripted({"historian": [page]})
    run = board.run(
        START
        + """
    try:
        api.getHistoricalEvents()
    except OSError as e:
        report(text=str(e.args[1]))
    """,
        options=options,
        heap="400k",
    )
    assert "'top'" in run.report["text"] and "historicalEvents()" in run.report["text"]
