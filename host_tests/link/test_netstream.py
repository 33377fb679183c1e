"""netstream, read as its specification: dialling, verified TLS with named errors, deadlines."""

import datetime
import socket
import threading

import pytest
from listening import EchoServer, TlsByHand, several
from localcloud import pki
from device_program import program

STREAM = program("netstream_stream")


@pytest.fixture
def echo():
    with several(EchoServer) as start:
        yield start


@pytest.fixture(scope="module")
def authority():
    return pki.Authority()


def says(board, server, expression, **values):
    source = STREAM + "report(said=" + expression + ")\n"
    return board.run(source, port=server.port, **values).report["said"]


def test_plain(board, echo):
    assert says(board, echo(), "talk()") == "hello\n"


def test_localhost_by_name(board, echo):
    assert says(board, echo(), "talk(host='localhost')") == "hello\n"


@pytest.mark.parametrize("form", ["der", "pem"])
@pytest.mark.parametrize("place", ["bytes", "file"])
def test_pain_16_ca_as_der_or_pem_from_file_or_bytes(
    board, echo, authority, tmp_path, form, place
):
    server = echo(authority.issue_server(["127.0.0.1"]).server_context())
    ca = authority.der if form == "der" else authority.pem
    if place == "file":
        path = tmp_path / ("ca." + form)
        path.write_bytes(ca)
        ca = str(path)
    assert says(board, server, "talk({'ca': ca})", ca=ca) == "hello\n"


def test_a_bundle_of_several_roots_in_one_pem(board, echo, authority):
    server = echo(authority.issue_server(["127.0.0.1"]).server_context())
    bundle = pki.Authority("some other CA").pem + authority.pem
    assert says(board, server, "talk({'ca': ca})", ca=bundle) == "hello\n"


@pytest.mark.parametrize("form", ["der", "pem"])
@pytest.mark.parametrize("key_type", ["ec", "rsa"])
def test_client_certificate(board, echo, authority, form, key_type):
    context = authority.issue_server(["127.0.0.1"]).server_context(
        client_ca=authority.pem.decode(), client_required=True
    )
    server = echo(context)
    client = authority.issue_client("board-1", key_type=key_type)
    cert, key = (client.der, client.key_der) if form == "der" else (client.pem, client.key_pem)
    said = says(
        board, server, "talk({'ca': ca, 'cert': cert, 'key': key})",
        ca=authority.der, cert=cert, key=key,
    )  # fmt: skip
    assert said == "hello\n"
    assert server.peers == [client.der]


def test_server_name_goes_out_as_sni_and_is_what_gets_verified(board, echo, authority):
    server = echo(authority.issue_server(["iot.example.org"]).server_context())
    said = says(board, server, "talk({'ca': ca}, 'iot.example.org')", ca=authority.der)
    assert said == "hello\n" and server.names == ["iot.example.org"]


def days(count):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=count)


@pytest.mark.parametrize("reason", ["ca", "host", "expired", "clock"])
def test_pain_10_a_certificate_failure_names_its_reason_and_cure(board, echo, authority, reason):
    signer = pki.Authority("stranger") if reason == "ca" else authority
    names = ["elsewhere.example.org"] if reason == "host" else ["127.0.0.1"]
    span = {"expired": (days(-20), days(-10)), "clock": (days(10), days(20))}.get(
        reason, (None, None)
    )
    server = echo(
        signer.issue_server(names, not_before=span[0], not_after=span[1]).server_context()
    )
    said = says(board, server, "talk({'ca': ca})", ca=authority.der)
    assert said.startswith("TLSError: " + reason + ": ")
    cure = {"ca": "root", "host": "127.0.0.1", "expired": "clock", "clock": "sync NTP"}[reason]
    assert cure in said


def test_verification_off_only_in_so_many_words(board, echo, authority):
    server = echo(pki.Authority("stranger").issue_server(["x.example.org"]).server_context())
    assert says(board, server, "talk({'verify': False})") == "hello\n"
    assert says(board, server, "talk({'verify': True})").startswith(
        "ValueError: ssl: bad ca: pass the"
    )
    assert says(board, server, "talk(True)").startswith("ValueError: ssl: bad ca: pass the")
    assert says(board, server, "talk({'server_hostname': 'x'})").startswith(
        "ValueError: ssl: bad ca: pass the"
    )


@pytest.mark.parametrize(
    "ssl_options, why",
    [
        ({"ca": "nowhere.der"}, "bad ca: can't read file nowhere.der"),
        ({"ca": b"\x30\x03abc"}, "bad ca"),
        ({"ca": b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"}, "bad ca"),
        ({"verify": False, "cert": b"\x30", "key": b"\x30"}, "bad cert or key"),
        ({"verify": False, "cert": "nowhere.pem", "key": b"\x30"}, "nowhere.pem"),
        ({"verify": False, "cert": b"\x30"}, "bad cert or key"),
        ("yes", "pass a dict or an SSLContext"),
        (5, "pass a dict or an SSLContext"),
    ],
)
def test_unusable_tls_material_is_a_valueerror(board, echo, ssl_options, why):
    said = says(board, echo(), "talk(options)", options=ssl_options)
    assert said.startswith("ValueError: ssl: ") and why in said


def test_unset_clock_is_said_before_dialling(board, echo, authority):
    server = echo(authority.issue_server(["127.0.0.1"]).server_context())
    source = (
        STREAM
        + """
class Unset:
    # A board that has never heard of NTP starts in 2000 or 1970; all else is the real thing.
    ticks_ms, ticks_add, ticks_diff = time.ticks_ms, time.ticks_add, time.ticks_diff
    @staticmethod
    def gmtime(*_):
        return (2000, 1, 1, 0, 0, 9, 5, 1)
netstream.time = Unset
report(said=talk({"ca": ca}), plain=talk({"verify": False}))
"""
    )
    report = board.run(source, port=server.port, ca=authority.der).report
    assert report["said"] == "TLSError: clock not set: sync NTP before connecting"
    assert server.peers == []


def test_a_server_without_tls(board, echo, authority):
    said = says(board, echo(), "talk({'ca': ca})", ca=authority.der)
    assert said.startswith("TLSError: handshake: ")


def test_nobody_there(board):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    said = board.run(STREAM + "report(said=talk())", port=port).report["said"]
    assert said.startswith("OSError: can't connect to 127.0.0.1:{}".format(port))


def test_pain_12_dns_failure_is_named_and_a_known_address_is_not_asked_for_again(board, echo):
    source = (
        STREAM
        + """
import socket
asked = []
class Sockets:
    socket, SOCK_STREAM = socket.socket, socket.SOCK_STREAM
    @staticmethod
    def getaddrinfo(host, port):
        asked.append(host)
        return socket.getaddrinfo(host, port)
netstream.socket = Sockets
stream = NetStream("localhost", port)
for _ in range(3):
    drive(stream.open(), stream)
    stream.confirm()
    again = len(asked)
for _ in range(2):
    drive(stream.open(), stream)  # confirmed once more, and then not
stream.close()
port = 1
report(again=again, unconfirmed=len(asked), said=talk(host="no-such-host.invalid"))
"""
    )
    report = board.run(source, port=echo().port).report
    assert report["again"] == 1 and report["unconfirmed"] == 2
    assert report["said"].startswith("OSError: DNS can't resolve no-such-host.invalid")


# ---- which address is dialled

POLICY = STREAM + program("netstream_policy")


class HangsUp(EchoServer):
    """Takes connections and closes them: an address whose service has moved."""

    def serve(self, sock):
        pass


@pytest.fixture
def hangs_up():
    server = HangsUp()
    yield server.port
    server.stop()


def test_pain_29_an_address_counts_once_the_service_has_answered(board, echo, hangs_up):
    source = (
        POLICY
        + """
names["svc"] = [gone, port]
stream = NetStream("svc", 1)
first = attempt(stream, True)
second = attempt(stream, True)
looked_up = len(asked)
third = attempt(stream, True)
report(first=first, rest=[second, third], looked_up=looked_up, after=len(asked))
"""
    )
    report = board.run(source, port=echo().port, gone=hangs_up).report
    assert report["first"] != "up"  # it took TCP, and no more
    assert report["rest"] == ["up", "up"]
    assert report["looked_up"] == report["after"] == 1


class Moves(EchoServer):
    """Answers its first connection; then the service has moved, and this hangs up."""

    def serve(self, sock):
        if not self.names:
            self.names.append("served")
            super().serve(sock)


@pytest.fixture
def moves():
    server = Moves()
    yield server.port
    server.stop()


def test_pain_29_a_service_that_moves_is_looked_up_again(board, echo, moves):
    source = (
        POLICY
        + """
names["svc"] = [port]
stream = NetStream("svc", 1)
said = [attempt(stream, True)]
names["svc"] = [other]
said += [attempt(stream, True) for _ in range(3)]
report(said=said, asked=asked)
"""
    )
    report = board.run(source, port=moves, other=echo().port).report
    said = report["said"]
    assert said[0] == "up" and said[1] != "up" and said[2:] == ["up", "up"]
    assert report["asked"] == ["svc", "svc"]


def test_pain_29_addresses_that_refuse_tcp_are_passed_over_at_once(board, echo):
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    source = (
        POLICY
        + """
names["svc"] = [closed, closed, port]
stream = NetStream("svc", 1)
report(said=attempt(stream, True))
"""
    )
    assert board.run(source, port=echo().port, closed=closed).report["said"] == "up"


def test_pain_30_an_empty_answer_of_the_look_up_is_told_and_asked_again(board, echo):
    source = (
        POLICY
        + """
names["svc"] = []
stream = NetStream("svc", 1)
said = [attempt(stream, True)]
names["svc"] = [port]
said.append(attempt(stream, True))
report(said=said)
"""
    )
    said = board.run(source, port=echo().port).report["said"]
    assert said == ["DNS has no address of svc: check the name", "up"]


def test_pain_72_of_several_servers_the_next_after_a_failure_the_one_that_worked_first(
    board, echo, hangs_up
):
    source = (
        POLICY
        + """
names["a"] = [gone]
names["b"] = [port]
stream = NetStream(["a:1", "b", "c:7"], 2)
said = [attempt(stream, True) for _ in range(4)]
report(said=said, asked=asked, host=stream.host, port=stream.port)
"""
    )
    report = board.run(source, port=echo().port, gone=hangs_up).report
    assert report["said"][0] != "up" and report["said"][1:] == ["up"] * 3
    assert report["asked"] == ["a", "b"]
    assert (report["host"], report["port"]) == ("b", 2)


def test_pain_72_when_all_servers_fail_the_error_names_the_last_and_it_goes_round(board, echo):
    source = (
        POLICY
        + """
stream = NetStream(["a:1", "b:2"], 2)
said = [attempt(stream, True)]
names["a"] = [port]
said.append(attempt(stream, True))
report(said=said)
"""
    )
    said = board.run(source, port=echo().port).report["said"]
    assert said == ["DNS can't resolve b: check name and network", "up"]


def test_a_resolver_of_ones_own(board, echo):
    source = (
        POLICY
        + """
class Resolver:
    answers = ["10.255.255.1x", "127.0.0.1"]
    def resolve(self, host):
        asked.append("resolver:" + host)
        yield
        if host == "nowhere":
            raise OSError(-2, "no such name: nowhere")
        return self.answers[1:]
    def wait(self, ms):
        pass
names["127.0.0.1"] = [port]
stream = NetStream("svc", port, resolver=Resolver())
said = attempt(stream, True)
direct = attempt(NetStream("127.0.0.1", port, resolver=Resolver()), True)
NetStream.resolver = Resolver()
lost = attempt(NetStream("nowhere", port), True)
report(said=said, direct=direct, lost=lost, asked=asked)
"""
    )
    report = board.run(source, port=echo().port).report
    assert report["said"] == report["direct"] == "up"
    assert report["lost"] == "no such name: nowhere"
    assert report["asked"] == [
        "resolver:svc", "127.0.0.1", "127.0.0.1", "resolver:nowhere"
    ]  # fmt: skip


def test_pain_22_end_of_stream_is_an_error_and_not_nothing_yet(board):
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        said = board.run(STREAM + "report(said=talk())", port=server.getsockname()[1]).report[
            "said"
        ]
    assert said in ("OSError: connection closed by the peer", "OSError: connection lost")


@pytest.mark.parametrize("tls", [False, True])
def test_pain_03_nothing_yet_is_none_with_and_without_tls(board, echo, authority, tls):
    context = authority.issue_server(["127.0.0.1"]).server_context() if tls else None
    source = (
        STREAM
        + """
stream = NetStream("127.0.0.1", port, tls_context({"ca": ca} if tls else None))
drive(stream.open(), stream)
drive(stream.send(b"x"), stream)
buf = bytearray(10)
while stream.readinto(buf) is None:
    stream.wait(10)
report(idle=[stream.readinto(buf) for _ in range(5)])
"""
    )
    report = board.run(source, port=echo(context).port, ca=authority.der, tls=tls).report
    assert report["idle"] == [None] * 5


class EndsWithData(EchoServer):
    """Its answer and TLS's good-bye come in one piece, and TCP stays open."""

    def serve(self, sock):
        tls = TlsByHand(sock, self._context)
        tls.write(tls.read())
        tls.end()
        sock.recv(4096)


def test_pain_54_the_end_of_a_tls_stream_that_comes_together_with_data(board, authority):
    server = EndsWithData(authority.issue_server(["127.0.0.1"]).server_context())
    source = (
        STREAM
        + """
stream = NetStream("127.0.0.1", port, tls_context({"ca": ca}))
drive(stream.open(), stream)
drive(stream.send(b"hello"), stream)
buf = bytearray(5)  # what is asked for and no more: else MicroPython swallows the end
n = stream.readinto(buf)
while n is None:
    stream.wait(100)
    n = stream.readinto(buf)
try:
    then = stream.readinto(buf)  # nothing more will come: there is nothing to wait for
except OSError as e:
    then = str(e.args[1])
report(got=bytes(buf[:n]), then=then)
"""
    )
    report = board.run(source, port=server.port, ca=authority.der).report
    server.stop()
    assert report == {"got": "hello", "then": "connection closed by the peer"}


class SilentServer:
    """Accepts (its backlog does) and never says a word."""

    def __enter__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        return self._socket.getsockname()[1]

    def __exit__(self, *_):
        self._socket.close()


def test_pain_04_a_handshake_that_stalls_ends_at_its_deadline_in_short_steps(board, authority):
    with SilentServer() as port:
        source = (
            STREAM
            + """
start = time.ticks_ms()
said = talk({"ca": ca}, timeout=0.5)
report(said=said, ms=time.ticks_diff(time.ticks_ms(), start))
"""
        )
        report = board.run(source, port=port, ca=authority.der).report
    assert report["said"].startswith("OSError: no TLS handshake within")
    assert 400 < report["ms"] < 5000


def test_a_peer_that_takes_nothing_ends_at_the_deadline(board):
    with SilentServer() as port:
        source = STREAM + "report(said=talk(timeout=0.5, words=bytes(20000000)))"
        report = board.run(source, port=port, heap="64m").report
    assert report["said"].startswith("OSError: no room to write within")


LWIP = program("netstream_lwip")


def test_pain_01_a_board_with_lwip_is_never_put_into_blocking_mode(board, echo, broker):
    assert (
        board.run(LWIP + STREAM + "report(said=talk(words=b'x' * 5000))", port=echo().port).report[
            "said"
        ]
        == "x" * 5000
    )
    source = (
        LWIP
        + """
from mqtt_link import MQTTLink
link = MQTTLink("lwip", host, port)
link.connect()
got = []
link.set_callback(lambda topic, msg: got.append(len(msg)))
link.subscribe("loop", 2)
link.publish("loop", bytes(1500), qos=2)
while not got or link.inflight:
    link.do_next(10)
link.disconnect()
report(got=got)
"""
    )
    assert board.run(source, host=broker.host, port=broker.port).report == {"got": [1500]}


@pytest.mark.parametrize("load", ["load_module", "load_once"])
@pytest.mark.parametrize("left", ["outer", "inner"])
def test_pain_33_an_import_without_memory_leaves_nothing_broken_behind(
    board, tmp_path, load, left
):
    """MicroPython makes a module's name first: without memory for the module that stays alone."""
    if board.name != "micropython":
        pytest.skip("CPython leaves nothing itself")
    (tmp_path / "outer.py").write_text("import inner\n")
    (tmp_path / "inner.py").write_text("ANSWER = 42\n")
    report = board.run(
        """
import builtins
import sys
import netstream

load = getattr(netstream, LOAD)
right = builtins.__import__

def short_of_memory(name, *more):
    sys.modules[LEFT] = None  # how a name without a module looks
    raise MemoryError

builtins.__import__ = short_of_memory
try:
    load("outer")
except MemoryError:
    report(raised=True)
builtins.__import__ = right
report(answer=load("outer").inner.ANSWER)
""",
        before_lib=(tmp_path,),
        LOAD=load,
        LEFT=left,
    )
    assert report.reports == [{"raised": True}, {"answer": 42}]


def test_a_module_that_stays_and_one_for_one_use(board, tmp_path):
    package = tmp_path / "shelf"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "book.py").write_text("COUNT = [0]\n")
    report = board.run(
        """
import sys
from netstream import load_module, load_once
once = load_once("shelf.book")
left = "shelf.book" in sys.modules or hasattr(sys.modules["shelf"], "book")
stays = load_module("shelf.book")
report(left=left, another=once is not stays, same=stays is load_module("shelf.book"),
       of_package=sys.modules["shelf"].book is stays)
""",
        before_lib=(tmp_path,),
    ).report
    assert report == {"left": False, "another": True, "same": True, "of_package": True}


@pytest.mark.parametrize("load", ["load_module", "load_once"])
@pytest.mark.parametrize("name", ["book", "shelf.book"])
def test_what_another_thread_lets_go_of_meanwhile_is_loaded_all_the_same(
    board, tmp_path, load, name
):
    """As when another thread has the same file for one use, at the same time."""
    if board.name != "micropython":
        pytest.skip("CPython dressed up imports by itself, not by builtins")
    package = tmp_path / "shelf"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for directory in (package, tmp_path):
        (directory / "book.py").write_text("ANSWER = 42\n")
    report = board.run(
        """
import builtins
import sys
import netstream

load = getattr(netstream, LOAD)
right = builtins.__import__

def let_go_of(name, *more):
    module = right(name, *more)
    if name == NAME:
        del sys.modules[name]
        if "." in name:
            del sys.modules["shelf"].book
    return module

builtins.__import__ = let_go_of
first = load(NAME).ANSWER
report(answers=[first, load(NAME).ANSWER])
""",
        before_lib=(tmp_path,),
        LOAD=load,
        NAME=name,
    ).report
    assert report == {"answers": [42, 42]}


def test_pain_01_a_connection_that_nobody_takes_ends_in_time(board):
    """A listener whose queue is full says nothing, not even no."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            said = board.run(STREAM + "report(said=talk(timeout=1))\n", port=port).report["said"]
        finally:
            for one in waiting:
                one.close()
    assert said == "OSError: can't connect to 127.0.0.1:%d: no answer within 1000 ms" % port


# A context whose connections take `room` writes and then say "not yet", each time with the number.
STALLING = """
class Stalling:
    def __init__(self, sock):
        self.sock = sock
        self.room = room
    def wrap_socket(sock, **options):
        return Stalling(sock)
    def write(self, buf, off, n):
        if self.room:
            self.room -= 1
            return 1
        raise OSError(number)
    def readinto(self, buf):
        raise OSError(number)
    def close(self):
        self.sock.close()

stream = NetStream("127.0.0.1", port, Stalling, None, 1)
drive(stream.open(), stream)
try:
    drive(stream.send(b"hello"), stream)
except OSError as e:
    report(said=str(e.args[-1]), read=stream.readinto(bytearray(1)))
"""


@pytest.mark.parametrize("room, wanted", [(0, "TLS handshake"), (2, "room to write")])
@pytest.mark.parametrize("number", [11, -11, -26880, -26752])
def test_what_tls_ports_say_for_not_yet_is_no_end(board, echo, number, room, wanted):
    source = STREAM + STALLING
    report = board.run(source, port=echo().port, number=number, room=room).report
    assert report["said"].startswith("no %s within" % wanted), report
    assert report["read"] is None


def test_close_is_seen_by_the_peer_at_once(board):
    """Not only when the collector comes to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(40)
        program = board.start(
            STREAM
            + """
stream = NetStream("127.0.0.1", port)
drive(stream.open(), stream)
kept = stream.sock
stream.close()
report(closed=True)
sys.stdin.readline()
""",
            port=listener.getsockname()[1],
        )
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(40)
            assert program.next_report() == {"closed": True}
            assert connection.recv(1) == b""


def test_a_look_up_that_is_over_is_not_waited_for(board, echo):
    """What waits for a stream between two connections is the program, not the resolver."""
    report = board.run(
        STREAM
        + """
class Resolver:
    waited = 0
    def resolve(self, host):
        yield
        return [address]
    def wait(self, ms):
        self.waited += 1

resolver = Resolver()
stream = NetStream("some.where", port, None, None, 5, resolver)
address = "127.0.0.1"
for _ in stream.open():
    stream.wait(20)
during = resolver.waited
stream.close()
stream.wait(1)
report(during=during, more=resolver.waited - during)
""",
        port=echo().port,
    ).report
    assert report["during"] > 0 and report["more"] == 0


def test_a_context_of_the_programs_own_is_used_as_it_is(board):
    report = board.run(
        """
import tls
from netstream import tls_context
own = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
report(same=tls_context(own) is own, plain=[tls_context(None), tls_context(False)])
"""
    ).report
    assert report == {"same": True, "plain": [None, None]}
