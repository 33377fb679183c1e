"""rest.py: one verified HTTP request at a time. A scripted server answers byte for byte."""

import socket
import threading

import pytest
from http_rig import OK, scripts
from localcloud import pki
from device_program import program


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


def test_a_head_of_sixty_lines_is_read(board, serve):
    """64 are the most; one more is told in the list of what is no HTTP."""
    lines = b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(60))
    server = serve({"/": [sized(b"hello", lines)]})
    got = board.run(PLAIN + '    get("/")', port=server.port).report
    assert got["body"] == "hello" and got["headers"]["x-59"] == "59"


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
        (b"HTTP/1.1 200 " + b"x" * 2000 + b"\r\n\r\n", "doesn't speak HTTP"),
        (OK + b"A: " + b"x" * 99000 + b"\r\n\r\n", "lines over"),
        (OK + b"x" * 2000 + b"\r\n\r\n", "without a colon"),
        (OK + b"A: x\r\n" * 100 + b"\r\n", "headers"),
        (OK + b"Content-Length: -1\r\n\r\n", "content-length"),
        (OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "content-length"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "transfer-encoding"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "chunk size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n", "chunk size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n", "longer than it said"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 99 + b"\r\n", "headers"),
        (b"HTTP/1.1 100 Go\r\n\r\n" * 99, "headers"),
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


DOUBLE = program("rest_double")


@pytest.mark.parametrize(
    "host, port, secure, header",
    [
        ("h", 0, False, "h"),
        ("h", 80, False, "h"),
        ("h", 443, False, "h:443"),
        ("h", 8080, False, "h:8080"),
        ("h", 0, True, "h"),
        ("h", 80, True, "h:80"),
        ("h", 443, True, "h"),
        ("::1", 80, False, "[::1]"),
        ("::1", 38583, False, "[::1]:38583"),
        ("2001:db8::7", 443, True, "[2001:db8::7]"),
    ],
)
def test_pain_43_the_host_header_names_the_port_unless_it_is_usual_and_brackets_ipv6(
    board, host, port, secure, header
):
    source = (
        DOUBLE
        + """
Session(host, port, {"verify": False} if secure else False).request("GET", "/")
report(head=Stream.heads[0])
"""
    )
    head = board.run(source, host=host, port=port, secure=secure).report["head"]
    assert "\r\nHost: " + header + "\r\n" in head


def test_pain_43_host_may_carry_its_port_with_brackets_round_ipv6(board, serve):
    server = serve({"/": [sized(b"ok")]})
    source = """
from rest import Session
for host in ("127.0.0.1:%d" % port, ["127.0.0.1:%d" % port]):
    report(body=Session(host, ssl=False).request("GET", "/").read())
for host in ("[::1", "[::1]x", "h:99999", "h:http", ""):
    try:
        Session(host, ssl=False)
        report(error=None)
    except ValueError as e:
        report(error=str(e))
"""
    reports = board.run(source, port=server.port).reports
    assert [r["body"] for r in reports[:2]] == ["ok", "ok"]
    assert all(r["error"] for r in reports[2:])
    assert "Host: 127.0.0.1:%d" % server.port in server.requests[0]


def test_pain_33_whatever_fails_in_an_exchange_the_next_one_is_whole(board):
    """Each call of the stream fails once, in each of four ways, with and without a connection."""
    source = DOUBLE + program("rest_each_call_fails")
    got = board.run(source).report
    assert got["wrong"] == 0 and got["tried"] > 60


def test_pain_33_no_heap_left_in_an_exchange(board, serve):
    """Every allocation of a request and its answer fails in turn; the next request is whole."""
    if board.name == "cpython":
        pytest.skip("only MicroPython can lock its heap")
    server = serve({"/": [CHUNKED], "/b": [sized(b"after")]})
    source = program("rest_no_heap")
    assert board.run(source, port=server.port).report == {"wrong": []}


def test_a_request_given_up_halfway_leaves_the_session_usable(board, serve):
    server = serve({"/hang": ["hang"], "/b": [sized(b"b")]})
    source = (
        PLAIN
        + """
    for close in (True, False):
        steps = s.start("GET", "/hang")
        for _ in range(5):
            next(steps)
            s.wait(10)
        if close:
            steps.close()
        get("/b")
    """
    )
    reports = board.run(source, port=server.port).reports
    assert [r["body"] for r in reports] == ["b", "b"]


# ---- answers as they are in the world, and as they must not be


def test_pain_44_heads_in_latin_1_and_long_lines(board, serve):
    server = serve(
        {
            "/": [
                b"HTTP/1.1 404 Pas trouv\xe9\r\n",
                b"Set-Cookie: " + b"c" * 1400 + b"\r\n",
                b"X-Name: Z\xfcrich\r\nX-Utf: Z\xc3\xbcrich\r\n",
                b"Policy: " + b"p" * 9000 + b"\r\n",
                b"Content-Length: 2\r\n\r\nok",
            ],
            "/b": [sized(b"b")],
        }
    )
    reports = board.run(PLAIN + '    get("/")\n    get("/b")', port=server.port).reports
    assert reports[0] == {
        "status": 404,
        "reason": "Pas trouv\u00e9",
        "headers": {"x-name": "Z\u00fcrich", "x-utf": "Z\u00fcrich", "content-length": "2"},
        "body": "ok",
    }
    assert reports[1]["body"] == "b" and server.connections == 1


CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer, error",
    [
        (b"HTTP/1.1 2_00 OK\r\n\r\n", "doesn't speak HTTP"),
        (b"HTTP/1.1 +200 OK\r\n\r\n", "doesn't speak HTTP"),
        (b"HTTP/1.1 0200 OK\r\n\r\n", "doesn't speak HTTP"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "doesn't speak HTTP"),
        (b"HTTP/1.1 600 OK\r\n\r\n", "doesn't speak HTTP"),
        (b"HTTP/1.1  200 OK\r\n\r\n", "doesn't speak HTTP"),
        (b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n", "doesn't speak HTTP"),
        (CHUNKS + b"0x3\r\nabc\r\n0\r\n\r\n", "chunk size"),
        (CHUNKS + b"+3\r\nabc\r\n0\r\n\r\n", "chunk size"),
        (CHUNKS + b"0_3\r\nabc\r\n0\r\n\r\n", "chunk size"),
        (CHUNKS + b" 3\r\nabc\r\n0\r\n\r\n", "chunk size"),
        (CHUNKS + b"\r\nabc\r\n0\r\n\r\n", "chunk size"),
        (CHUNKS + b"1" * 20 + b"\r\nabc\r\n0\r\n\r\n", "chunk size"),
        (CHUNKS + b"3;" + b"x" * 2000 + b"\r\nabc\r\n0\r\n\r\n", "line over"),
        (OK + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "bad HTTP header"),
        (OK + b"Content-Length : 3\r\n\r\nabc", "bad HTTP header"),
        (OK + b" Content-Length: 3\r\n\r\nabc", "bad HTTP header"),
        (OK + b"A: b\r\n c: d\r\nContent-Length: 0\r\n\r\n", "bad HTTP header"),
        (OK + b"A: b\rContent-Length: 3\r\n\r\nabc", "bad HTTP header"),
        (OK + b"A: b\0\r\nContent-Length: 3\r\n\r\nabc", "bad HTTP header"),
        (OK + b": b\r\nContent-Length: 3\r\n\r\nabc", "bad HTTP header"),
        (OK + b"Content-Length: 3\r\ncontent-length: 3\r\n\r\nabc", "content-length given twice"),
        (OK + b"Content-Length: 3, 3\r\n\r\nabc", "bad HTTP content-length"),
        (OK + b"Content-Length: 3_0\r\n\r\nabc", "bad HTTP content-length"),
        (OK + b"Content-Length: +3\r\n\r\nabc", "bad HTTP content-length"),
        (OK + b"Content-Length: 0x3\r\n\r\nabc", "bad HTTP content-length"),
        (OK + b"Content-Length: 1a\r\n\r\nabc", "bad HTTP content-length"),
        (OK + b"Content-Length: \xb2\r\n\r\nabc", "bad HTTP content-length"),
        (OK + b"Content-Length:\r\n\r\nabc", "bad HTTP content-length"),
        (OK + b"Content-Length: 99999999999\r\n\r\nabc", "bad HTTP content-length"),
        (
            OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "not chunked alone",
        ),
        (OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", "given twice"),
        (
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "not chunked alone",
        ),
        (OK + b"Transfer-Encoding: " + b" " * 1400 + b"chunked\r\n\r\n0\r\n\r\n", "line over"),
        (OK + b"Content-Length: " + b" " * 1400 + b"3\r\n\r\nabc", "line over"),
    ],
)
def test_pain_57_what_two_readers_could_take_for_two_things_is_refused(
    board, serve, answer, error
):
    server = serve({"/": [answer, "close"]})
    got = board.run(PLAIN + '    get("/")', port=server.port).report
    assert error in got.get("error", ""), got


def test_pain_57_more_than_was_announced_is_not_the_next_answer(board, serve):
    poison = OK + b"Content-Length: 4\r\n\r\nevil"
    server = serve({"/": [sized(b"good") + poison], "/b": [sized(b"b")]})
    reports = board.run(PLAIN + '    get("/")\n    get("/b")', port=server.port).reports
    assert [r["body"] for r in reports] == ["good", "b"]
    assert server.connections == 2


def test_pain_57_methods_headers_and_bodies_that_would_break_the_request_are_refused(board, serve):
    server = serve({})
    run = board.run(
        PLAIN
        + """
    for method, headers, body in (
        ("GET / HTTP/1.1\\r\\nX: y\\r\\n\\r\\nGET", None, None), ("GE T", None, None),
        ("", None, None),
        ("GET\\n", None, None), ("G\u00c9T", None, None),
        ("GET", {"X": "a\\nb"}, None), ("GET", {"X": "a\\rb"}, None),
        ("GET", {"X": "a\\0b"}, None),
        ("GET", {"X Y": "b"}, None), ("GET", {"": "b"}, None), ("GET", {"X\\t": "b"}, None),
        ("GET", {"X": 5}, None), ("GET", {"X": b"y"}, None),
        ("POST", {"Content-Length": "99"}, "x"), ("POST", {"transfer-encoding": "chunked"}, "x"),
        ("GET", {"host": "elsewhere"}, None), ("POST", None, 5), ("POST", None, {"a": 1}),
    ):
        try:
            s.start(method, "/", body, headers)
            report(refused=False)
        except ValueError:
            report(refused=True)
    for user in ("a:b",):
        try:
            Session("h", 1, False, user, "p")
            report(refused=False)
        except ValueError as e:
            report(refused=True)
    """,
        port=server.port,
    )
    assert [r["refused"] for r in run.reports] == [True] * 19
    assert server.connections == 0


def test_a_content_type_of_ones_own_stands_alone(board, serve):
    server = serve({"/": [sized(b"")]})
    board.run(
        PLAIN + '    get("/", "PUT", b"<a/>", {"content-type": "text/xml"})', port=server.port
    )
    lines = server.requests[0].lower().split("\r\n")
    assert [line for line in lines if line.startswith("content-type")] == [
        "content-type: text/xml"
    ]


def test_pain_32_a_body_counts_in_bytes(board, serve):
    server = serve({"/": [sized(b"")]})
    source = (
        PLAIN
        + """
    from array import array
    get("/", "PUT", memoryview(array("h", [1, 2, 3])))
    get("/", "PUT", bytearray(b"abc"))
    """
    )
    board.run(source, port=server.port)
    assert server.bodies == [b"\1\0\2\0\3\0", b"abc"]


def test_pain_29_an_address_that_answers_no_http_makes_way_for_the_next(board, serve):
    """The first takes TCP and closes; the second answers, and is asked first from then on."""
    mute = serve({"/": ["close"]})
    good = serve({"/": [sized(b"good", b"Connection: close\r\n"), "close"]})
    source = """
from rest import Session
s = Session(["127.0.0.1:%d" % mute, "127.0.0.1:%d" % good], ssl=False)
said = []
for _ in range(4):
    try:
        said.append(s.request("GET", "/").read())
    except OSError as e:
        said.append("closed" if "closed" in str(e) else str(e))
report(said=said)
"""
    got = board.run(source, mute=mute.port, good=good.port).report
    assert got["said"] == ["closed", "good", "good", "good"]
    assert mute.connections == 1


def test_pain_38_a_head_that_comes_slowly_is_waited_for_while_it_moves(board, serve):
    """Each line comes before the time without progress is over; all together take longer."""
    lines = []
    for i in range(10):
        lines += [b"X-%d: y\r\n" % i, 0.5]
    server = serve({"/": [OK] + lines + [b"Content-Length: 2\r\n\r\nok"]})
    source = PLAIN.replace("timeout=10, limit=60", "timeout=4, limit=60") + '    get("/")'
    assert board.run(source, port=server.port).report["body"] == "ok"


def test_pain_31_an_exchange_left_alone_for_a_week_is_late(board, serve):
    server = serve({"/": [sized(b"12345")[:-1], "hang"]})
    source = (
        PLAIN
        + """
    import rest, time
    class Later:
        half_a_week = 7 * 43200 * 1000
        ticks_add, ticks_diff = time.ticks_add, time.ticks_diff
        @classmethod
        def ticks_ms(cls):
            half = time.ticks_add(time.ticks_ms(), cls.half_a_week)
            return time.ticks_add(half, cls.half_a_week)
    r = s.request("GET", "/")
    rest.time = Later
    try:
        r.read()
        report(error=None)
    except OSError as e:
        report(error=str(e))
    """
    )
    assert "took too long" in board.run(source, port=server.port).report["error"]


def test_names_are_looked_up_by_a_resolver_of_ones_own(board, serve):
    server = serve({"/": [sized(b"ok")]})
    source = """
from rest import Session
class Resolver:
    def resolve(self, host):
        yield
        return ["127.0.0.1"] if host == "api.example.org" else []
    def wait(self, ms):
        pass
s = Session("api.example.org", port, False, resolver=Resolver())
report(body=s.request("GET", "/").read())
"""
    assert board.run(source, port=server.port).report == {"body": "ok"}
    assert "Host: api.example.org:%d" % server.port in server.requests[0]


def test_a_failure_to_connect_names_the_server_and_not_the_password(board, serve, tls):
    server = serve({})
    server.stop()
    got = board.run(SECURE, host="localhost", port=server.port, ca=tls.ca).report
    assert "localhost:%d" % server.port in got["error"] and not got["secret"]


# ---- a body in pieces


PIECES = """
    from rest import Session
    s = Session("127.0.0.1", port, ssl=False, timeout=%s)

    def put(path, body, method="PUT"):
        try:
            r = s.request(method, path, body)
            report(status=r.status, body=r.read())
        except (OSError, ValueError) as e:
            report(kind=type(e).__name__, error=str(e.args[-1]))

    buf = bytearray(1000)

    def pieces(count=3, size=1000):
        def make():
            for n in range(count):
                for i in range(size):
                    buf[i] = n + 65
                yield memoryview(buf)[:size]
        return make

"""


def test_a_body_in_pieces_is_never_whole(board, serve):
    """Each piece is sent before the next is asked for, so that one buffer serves them all."""
    server = serve({"/p": [sized(b"thanks")], "/empty": [sized(b"")]})
    got = board.run(
        PIECES % 10
        + """
    put("/p", (3000, pieces()))
    put("/empty", (0, pieces(0)))
    """,
        port=server.port,
    ).reports
    assert got == [{"status": 200, "body": "thanks"}, {"status": 200, "body": ""}]
    assert server.bodies == [b"A" * 1000 + b"B" * 1000 + b"C" * 1000, b""]
    assert "Content-Length: 3000" in server.requests[0]
    assert "Content-Length: 0" in server.requests[1]
    assert server.connections == 1


@pytest.mark.parametrize("said", [2999, 3001, 0])
def test_pieces_of_another_length_than_was_said(board, serve, said):
    """Told, and the connection is not used again: the server waits for the rest."""
    server = serve({"/p": [sized(b"")], "/next": [sized(b"next")]})
    got = board.run(
        PIECES % 10
        + """
    put("/p", (said, pieces()))
    put("/next", None, "GET")
    """,
        port=server.port,
        said=said,
    ).reports
    assert got[0]["kind"] == "ValueError" and "not as many bytes" in got[0]["error"]
    assert got[1] == {"status": 200, "body": "next"}


def test_pieces_are_made_anew_when_the_kept_connection_has_gone(board, serve):
    server = serve({"/first": [sized(b"1"), "close"], "/p": [sized(b"2")]})
    got = board.run(
        PIECES % 10
        + """
    put("/first", None, "GET")
    put("/p", (3000, pieces()))
    """,
        port=server.port,
    ).reports
    assert [one["status"] for one in got] == [200, 200]
    assert server.bodies[-1] == b"A" * 1000 + b"B" * 1000 + b"C" * 1000


def test_what_pieces_raises_ends_the_connection(board, serve):
    server = serve({"/p": [sized(b"")], "/next": [sized(b"next")]})
    got = board.run(
        PIECES % 10
        + """
    def broken():
        yield b"abc"
        raise ValueError("the file has gone")
    put("/p", (1000, broken))
    put("/next", None, "GET")
    """,
        port=server.port,
    ).reports
    assert got[0] == {"kind": "ValueError", "error": "the file has gone"}
    assert got[1] == {"status": 200, "body": "next"}


@pytest.mark.parametrize("secure", [False, True])
def test_a_server_that_refuses_early_is_heard(board, tls, secure):
    """It answers on the head and takes no more: the refusal is told, not "connection lost"."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve():
            sock, _ = listener.accept()
            if secure:
                sock = tls.contexts["localhost"].wrap_socket(sock, server_side=True)
            with sock:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += sock.recv(100)
                sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmuch")
                over.wait(60)

        threading.Thread(target=serve, daemon=True).start()
        try:
            got = board.run(
                (PIECES % 30).replace("ssl=False", "ssl=SSL")
                + """
    def endless():
        while True:
            yield memoryview(buf)
            time.sleep_ms(1)
    import time
    put("/p", (100000000, endless))
    """,
                port=listener.getsockname()[1],
                SSL={"ca": tls.ca, "server_hostname": "localhost"} if secure else False,
            ).report
        finally:
            over.set()
    assert got == {"status": 413, "body": "much"}
