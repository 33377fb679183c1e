"""rest.py: one verified HTTP request at a time. A scripted server answers byte for byte."""

import pytest
from http_rig import OK, scripts
from localcloud import pki


@pytest.fixture
def serve():
    with scripts() as start:
        yield start


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """contexts["localhost"], contexts["elsewhere"]; ca and stranger: DER file names."""
    place = tmp_path_factory.mktemp("tls")
    authority = pki.Authority("the test's CA")

    class Tls:
        ca = str(place / "ca.der")
        stranger = str(place / "stranger.der")
        contexts = {
            name: authority.issue_server([name]).server_context()
            for name in ("localhost", "elsewhere")
        }

    (place / "ca.der").write_bytes(authority.der)
    (place / "stranger.der").write_bytes(pki.Authority("a stranger").der)
    return Tls


PLAIN = """
    from rest import Session
    s = Session("127.0.0.1", port, ssl=False, user="key", password="pa:ss", timeout=%s, limit=%s)

    def get(path, method="GET", body=None, headers=None, limit=16384):
        try:
            r = s.request(method, path, body, headers)
            report(status=r.status, reason=r.reason, headers=r.headers, body=r.read(limit))
        except OSError as e:
            report(error=str(e))

""" % (10, 60)
HASTY = PLAIN.replace("timeout=10, limit=60", "timeout=0.5, limit=2")


def sized(body, more=b""):
    return OK + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


# ---- what a request and an answer look like


def test_request_carries_host_credentials_and_a_sized_json_body(board, serve):
    server = serve({"/api/x?a=1": [sized(b"")]})
    board.run(PLAIN + '    get("/api/x?a=1", "POST", \'{"a":"\u00e9"}\')', port=server.port)
    lines = server.requests[0].split("\r\n")
    assert lines[0] == "POST /api/x?a=1 HTTP/1.1"
    assert sorted(lines[1:]) == [
        "Authorization: Basic a2V5OnBhOnNz",
        "Content-Length: 10",
        "Content-Type: application/json",
        "Host: 127.0.0.1:%d" % server.port,
    ]
    assert server.bodies == ['{"a":"\u00e9"}'.encode()]


def test_status_reason_and_headers_are_read_whatever_their_case(board, serve):
    server = serve(
        {"/": [sized(b"hello", b"SET-Cookie: a=b; Path=/\r\nset-cookie:c=d\r\nX-Empty:\r\n")]}
    )
    got = board.run(PLAIN + '    get("/")', port=server.port).report
    assert got == {
        "status": 200,
        "reason": "OK",
        "headers": {"set-cookie": "a=b; Path=/, c=d", "x-empty": "", "content-length": "5"},
        "body": "hello",
    }


CHUNKED = (
    OK + b"Transfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n00c;name=value\r\n, two\r\nlines\r\n0\r\nTrailer: yes\r\n\r\n"
)


@pytest.mark.parametrize(
    "answer, body",
    [
        (sized(b"x" * 3000), "x" * 3000),
        (CHUNKED, "hello, two\r\nlines"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end"),
        (OK + b"Content-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 204\r\n\r\n", ""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + sized(b"a"), "a"),
    ],
    ids=["sized", "chunked", "until-close", "empty", "204", "304", "after-100"],
)
@pytest.mark.parametrize("pieces", [1, 0], ids=["byte-by-byte", "at-once"])
def test_every_kind_of_body_arrives_whole_however_it_is_cut(board, serve, answer, body, pieces):
    if pieces:
        answer = [answer[:600]] + [answer[i : i + 1] for i in range(600, len(answer))]
        answer = [answer[0][i : i + 1] for i in range(len(answer[0]))] + [b"".join(answer[1:])]
    else:
        answer = [answer]
    server = serve({"/": answer + ["close"]})
    assert board.run(PLAIN + '    get("/")', port=server.port).report["body"] == body


def test_head_has_no_body_and_leaves_the_connection_usable(board, serve):
    server = serve({"/a": [OK + b"Content-Length: 5\r\n\r\n"], "/b": [sized(b"b")]})
    reports = board.run(PLAIN + '    get("/a", "HEAD")\n    get("/b")', port=server.port).reports
    assert [r["body"] for r in reports] == ["", "b"]
    assert server.connections == 1


def test_a_body_far_larger_than_the_heap_streams_through_a_small_buffer(board, serve):
    chunk = b"4000\r\n" + b"z" * 0x4000 + b"\r\n"
    server = serve(
        {"/": [OK + b"Transfer-Encoding: chunked\r\n\r\n"] + [chunk] * 64 + [b"0\r\n\r\n"]}
    )
    run = board.run(
        PLAIN
        + """
    r = s.request("GET", "/")
    buf = bytearray(256)
    total = 0
    while True:
        n = r.readinto(buf)
        if n == 0:
            break
        if n is None:
            s.wait(100)
        else:
            total += n
            assert bytes(buf[:n]) == b"z" * n
    report(total=total, again=r.readinto(buf))
    """,
        heap="128k",
        port=server.port,
    )
    assert run.report == {"total": 64 * 0x4000, "again": 0}


# ---- the connection


def test_requests_share_a_connection_until_the_server_says_close(board, serve):
    server = serve(
        {
            "/a": [sized(b"a")],
            "/c": [CHUNKED],
            "/last": [sized(b"l", b"Connection: close\r\n"), "close"],
        }
    )
    reports = board.run(
        PLAIN + '    for p in ("/a", "/c", "/last", "/a"):\n        get(p)', port=server.port
    ).reports
    assert [r["body"][:5] for r in reports] == ["a", "hello", "l", "a"]
    assert server.connections == 2


def test_an_answer_not_read_to_its_end_does_not_spoil_the_next(board, serve):
    server = serve({"/long": [sized(b"HTTP/1.1 500 " * 500)], "/b": [sized(b"b")]})
    run = board.run(
        PLAIN
        + """
    old = s.request("GET", "/long")
    get("/b")
    try:
        old.readinto(bytearray(10))
    except OSError as e:
        report(error=str(e))
    """,
        port=server.port,
    )
    assert run.reports[0]["body"] == "b"
    assert "another request" in run.reports[1]["error"]


def test_a_kept_connection_that_the_server_closed_is_opened_again(board, serve):
    server = serve({"/a": [sized(b"a"), "close"], "/b": [sized(b"b")]})
    reports = board.run(
        PLAIN + '    get("/a")\n    import time\n    time.sleep(0.3)\n    get("/b", "POST", "x")',
        port=server.port,
    ).reports
    assert [r["body"] for r in reports] == ["a", "b"]
    assert server.bodies == [b"", b"x"]


def test_a_get_is_sent_again_when_the_kept_connection_ends_under_it_a_post_never(board, serve):
    server = serve({"/a": [sized(b"a")], "/drop": ["close"]})
    reports = board.run(
        PLAIN + '    get("/a")\n    get("/drop")\n    get("/a")\n    get("/drop", "POST", "x")',
        port=server.port,
    ).reports
    assert "closed" in reports[1]["error"] and "closed" in reports[3]["error"]
    drops = [r.split(" ")[0] for r in server.requests if "/drop" in r]
    assert drops == ["GET", "GET", "POST"]


def test_a_redirect_is_an_answer_and_credentials_stay_here(board, serve):
    other = serve({"/": [sized(b"thief")]})
    away = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
    server = serve({"/": [away % other.port]})
    got = board.run(PLAIN + '    get("/")', port=server.port).report
    assert got["status"] == 302
    assert got["headers"]["location"] == "http://127.0.0.1:%d/" % other.port
    assert other.connections == 0


# ---- waiting


@pytest.mark.parametrize(
    "script",
    [
        ["hang"],
        [OK, "hang"],
        [sized(b"12345")[:-2], "hang"],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", "hang"],
    ],
    ids=["before-status", "in-headers", "in-body", "in-chunk"],
)
def test_silence_ends_with_an_error_after_timeout(board, serve, script):
    server = serve({"/": script})
    error = board.run(HASTY + '    get("/")', timeout=15, port=server.port).report["error"]
    assert "no answer within" in error


def test_a_dripping_answer_ends_with_an_error_after_limit(board, serve):
    drip = [b"x", 0.2] * 40
    server = serve({"/": [OK + b"Content-Length: 99\r\n\r\n"] + drip})
    error = board.run(HASTY + '    get("/")', timeout=15, port=server.port).report["error"]
    assert "took too long" in error


def test_the_program_goes_on_while_a_request_waits(board, serve):
    server = serve({"/": [0.5, OK + b"Content-Length: 4\r\n\r\nab", 0.5, b"cd"]})
    run = board.run(
        PLAIN
        + """
    import time
    longest = turns = 0
    steps = s.start("GET", "/")
    result = None
    body = False
    while not isinstance(result, bytes):
        before = time.ticks_ms()
        result = next(steps)
        longest = max(longest, time.ticks_diff(time.ticks_ms(), before))
        if result is not None and not body:
            body = True
            steps = result.whole()
            result = None
        turns += 1
        s.wait(10)
    report(body=result, longest=longest, turns=turns)
    """,
        port=server.port,
    )
    assert run.report["body"] == "abcd"
    assert run.report["turns"] > 20
    assert run.report["longest"] < 400  # ms; the server paused for 1000


# ---- what must not pass


@pytest.mark.parametrize(
    "answer, error",
    [
        (b"\xff\xfe\xfd\r\n\r\n", "doesn't speak HTTP"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "doesn't speak HTTP"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "doesn't speak HTTP"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "doesn't speak HTTP"),
        (OK + b"no colon here\r\n\r\n", "without a colon"),
        (OK + b"A: " + b"x" * 2000 + b"\r\n\r\n", "line over"),
        (OK + b"A: x\r\n" * 100 + b"\r\n", "headers"),
        (OK + b"Content-Length: -1\r\n\r\n", "content-length"),
        (OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "content-length"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "transfer-encoding"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "chunk size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n", "chunk size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n", "longer than it said"),
        (b"HTTP/1.1 100 Go\r\n\r\n" * 99, "doesn't come to the point"),
    ],
)
def test_an_answer_that_is_not_http_is_an_error_that_says_so(board, serve, answer, error):
    server = serve({"/": [answer, "close"]})
    assert error in board.run(PLAIN + '    get("/")', port=server.port).report["error"]


@pytest.mark.parametrize(
    "answer",
    [
        sized(b"12345")[:-1],
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhell",
        OK + b"Content-Length: 5\r\n",
        b"",
    ],
)
def test_pain_24_an_answer_that_stops_short_is_never_taken_for_a_whole_one(board, serve, answer):
    server = serve({"/": [answer, "close"]})
    assert (
        "closed by the peer" in board.run(PLAIN + '    get("/")', port=server.port).report["error"]
    )


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_and_the_connection_not_used_again(board, serve, chunked):
    big = b"x" * 5000
    answer = OK + b"Transfer-Encoding: chunked\r\n\r\n1388\r\n" + big + b"\r\n0\r\n\r\n"
    server = serve({"/": [answer if chunked else sized(big)], "/b": [sized(b"b")]})
    reports = board.run(
        PLAIN + '    get("/", limit=4999)\n    get("/b")\n    get("/", limit=5000)',
        port=server.port,
    ).reports
    assert "over 4999" in reports[0]["error"]
    assert reports[1]["body"] == "b"
    assert len(reports[2]["body"]) == 5000


def test_paths_and_headers_that_would_break_the_request_are_refused(board, serve):
    server = serve({})
    run = board.run(
        PLAIN
        + """
    for path, headers in (
        ("", None), ("x", None), ("/a b", None), ("/a\\r\\nX: y", None), ("/\\u00e9", None),
        ("/", {"X": "a\\r\\nY: b"}), ("/", {"X\\r\\nY": "b"}), ("/", {"X:": "b"}),
    ):
        try:
            s.start("GET", path, None, headers)
            report(refused=False)
        except ValueError:
            report(refused=True)
    """,
        port=server.port,
    )
    assert [r["refused"] for r in run.reports] == [True] * 8
    assert server.connections == 0


# ---- trust


SECURE = """
    from rest import Session
    try:
        s = Session(host, port, ssl={"ca": ca} if ca else True, user="key", password="s3cret")
        report(body=s.request("GET", "/").read())
    except (OSError, ValueError) as e:
        report(error=str(e), secret="s3cret" in repr(e) or "s3cret" in str(e))
"""


def test_tls_is_verified_against_the_ca_and_the_host_name(board, serve, tls):
    server = serve({"/": [sized(b"ok")]}, tls.contexts["localhost"])
    got = board.run(SECURE, host="localhost", port=server.port, ca=tls.ca).report
    assert got == {"body": "ok"}


def test_pain_23_an_untrusted_server_never_sees_the_password(board, serve, tls):
    for name, ca, why in (
        ("localhost", tls.stranger, "ca:"),
        ("elsewhere", tls.ca, "host:"),
    ):
        server = serve({"/": [sized(b"ok")]}, tls.contexts[name])
        got = board.run(SECURE, host="localhost", port=server.port, ca=ca).report
        assert why in got["error"] and not got["secret"]
        assert server.requests == []


def test_without_a_ca_there_is_no_session_and_only_false_means_plain(board):
    run = board.run(
        """
        from rest import Session
        for ssl in (True, None, {}, {"ca": None}, {"verify": True}):
            try:
                Session("localhost", 1, ssl, "key", "s3cret")
                report(error=None)
            except ValueError as e:
                report(error=str(e))
        """
    )
    assert len(run.reports) == 5
    for report in run.reports:
        assert "ca" in report["error"]


def test_the_host_header_names_the_port_unless_it_is_the_usual_one(board):
    run = board.run(
        """
        from rest import Session
        for port in (0, 80, 443, 8080):
            report(plain=Session("h", port, False)._front,
                   secure=Session("h", port, {"verify": False})._front)
        """
    )
    assert [r["plain"] for r in run.reports] == [
        "Host: h\r\n",
        "Host: h\r\n",
        "Host: h:443\r\n",
        "Host: h:8080\r\n",
    ]
    assert [r["secure"] for r in run.reports] == [
        "Host: h\r\n",
        "Host: h:80\r\n",
        "Host: h\r\n",
        "Host: h:8080\r\n",
    ]


def test_a_failure_to_connect_names_the_server_and_not_the_password(board, serve, tls):
    server = serve({})
    server.stop()
    got = board.run(SECURE, host="localhost", port=server.port, ca=tls.ca).report
    assert "localhost:%d" % server.port in got["error"] and not got["secret"]
