"""
tools/board, read as its specification: a 32-bit board with lwIP and mbedTLS on which a test may
break the line. What real boards do, and Linux does not, is here as facts for other tests to build
on.
"""

import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import workshop
from workshop import processes
from board import emulator, image
from device_program import program

# Every program that publishes starts with this.
PUBLISHER = """
import sys, time
from mqtt_link import MQTTLink

link = MQTTLink("device", host, port, ssl={"ca": ca} if ca else None, window=16)
acked = []
link.on_ack = lambda pid, code=0: acked.append(pid)
while not link.is_connected():
    link.do_next(10)
report(connected=True)
"""


# --- the board itself ---


def test_it_is_a_32_bit_micropython_with_what_boards_have(board_lwip):
    run = board_lwip.run(
        """
        import gc, os, sys, machine, network, socket, ssl, tls, asyncio, select, cryptolib, deflate
        report(
            name=sys.implementation.name,
            pointer=len(bin(sys.maxsize)) - 1,
            heap=gc.mem_free() + gc.mem_alloc(),
            address=network.LAN().ifconfig()[0],
            connected=network.WLAN(network.STA_IF).isconnected(),
            nodelay=socket.TCP_NODELAY,
            cause=machine.reset_cause() == machine.PWRON_RESET,
        )
        """,
        heap="100k",
    )
    told = run.report
    assert told.pop("heap") in range(90 * 1024, 100 * 1024 + 1)  # the collector's table is in it
    assert told == {
        "name": "micropython", "pointer": 32, "address": "10.0.2.15", "connected": True,
        "nodelay": 0x40, "cause": True,
    }  # fmt: skip


def test_output_is_there_while_it_runs_and_lines_go_in(board_lwip):
    program = board_lwip.start(
        """
        import sys
        print("ready")
        print("heard", sys.stdin.readline().strip())
        """
    )
    assert program.process.next_line() == "ready"
    program.send("a word")
    assert program.process.next_line() == "heard a word"
    assert program.wait().rc == 0


@pytest.mark.parametrize(
    "source, status",
    [
        ("1 / 0", 1),
        ("raise SystemExit(3)", 3),
        ("raise SystemExit", 0),
        ("import sys\nsys.exit('no')", 1),
    ],
)
def test_the_status_is_the_programs(board_lwip, source, status):
    assert board_lwip.run(source, check=False).rc == status


def test_tracebacks_are_on_stderr_with_line_numbers(board_lwip):
    run = board_lwip.run("\n\n1 / 0", check=False)
    assert "ZeroDivisionError" in run.err and "device.py" in run.err and "line 4" in run.err
    assert "Traceback" not in run.out


@pytest.mark.firmware("frozen")
@pytest.mark.parametrize("how", image.HOWS)
def test_lib_gets_there_each_way(board_lwip, how):
    run = board_lwip.run(
        """
        import gc
        gc.collect()
        before = gc.mem_alloc()
        import mqtt_link, umqtt.simple
        gc.collect()
        report(grown=gc.mem_alloc() - before, file=mqtt_link.__file__)
        """,
        how=how,
    )
    grown = run.report["grown"]
    if how in ("mpy", "py"):
        assert grown > 15000
    else:
        assert grown < 12000  # code stays where it is
    assert run.report["file"].endswith(".py" if how in ("py", "frozen") else ".mpy")


def test_files_of_its_own_and_of_the_host(board_lwip, tmp_path):
    given = tmp_path / "given.bin"
    given.write_bytes(bytes(range(256)) * 20)
    run = board_lwip.run(
        """
        import os
        with open(given, "rb") as file:
            file.seek(250)
            part = file.read(10)
            whole = len(part) + 250 + len(file.read())
        with open("kept.txt", "w") as file:
            file.write("mine")
        try:
            open("/host/tmp/picolink-never", "w")
        except OSError as e:
            refused = e.errno
        try:
            open("/host/nowhere/x")
        except OSError as e:
            missing = e.errno
        report(part=part, whole=whole, kept=open("kept.txt").read(), size=os.stat(given)[6],
               refused=refused, missing=missing)
        """,
        given=given,
    )
    assert run.report == {
        "part": "hex:fafbfcfdfeff00010203", "whole": 5120, "kept": "mine", "size": 5120,
        "refused": 30, "missing": 2,
    }  # fmt: skip


def test_the_clock_is_the_hosts_or_the_one_given_and_can_be_set(board_lwip):
    source = """
        import time, machine
        first = time.gmtime()[:3]
        machine.RTC().datetime((2030, 2, 3, 0, 4, 5, 6, 0))
        report(first=first, set=time.gmtime()[:5], epoch=time.gmtime(0)[0])
        """
    run = board_lwip.run(source, epoch=86400)
    assert run.report == {"first": [1970, 1, 2], "set": [2030, 2, 3, 4, 5], "epoch": 1970}
    assert board_lwip.run(source).report["first"][0] >= 2024


# --- watchdog and reset ---


def test_the_watchdog_bites_who_does_not_feed_it(board_lwip):
    run = board_lwip.run(
        """
        import machine, time
        dog = machine.WDT(timeout=8000)
        for i in range(3):
            time.sleep_ms(50)
            dog.feed()
        report(fed=True)
        dog = machine.WDT(timeout=2000)
        time.sleep_ms(1200)
        dog.feed()
        time.sleep_ms(1200)
        report(fed=True)
        while True:
            pass
        """,
        check=False,
    )
    assert run.rc == emulator.WATCHDOG
    assert run.reports == [{"fed": True}, {"fed": True}]
    assert "watchdog" in run.err


def test_the_watchdog_is_no_longer_than_a_boards(board_lwip):
    run = board_lwip.run("import machine\nmachine.WDT(timeout=8389)", check=False)
    assert run.rc == 1 and "ValueError" in run.err


def test_after_a_bite_it_starts_again_and_knows_why(board_lwip):
    program = board_lwip.start(
        """
        import machine
        try:
            count = int(open("count").read())
        except OSError:
            count = 0
        with open("count", "w") as file:
            file.write(str(count + 1))
        report(count=count, bitten=machine.reset_cause() == machine.WDT_RESET)
        if count == 0:
            machine.WDT(timeout=50)
            while True:
                pass
        if count == 1:
            machine.reset()
        """,
        restart=True,
    )
    assert program.next_report() == {"count": 0, "bitten": False}
    assert program.next_report() == {"count": 1, "bitten": True}
    assert program.next_report() == {"count": 2, "bitten": False}
    assert program.wait().rc == 0


def test_a_reset_ends_the_run_with_its_status(board_lwip):
    assert board_lwip.run("import machine\nmachine.reset()", check=False).rc == emulator.RESET


def test_a_c_stack_that_overflows_is_an_error_not_a_crash(board_lwip):
    run = board_lwip.run(
        """
        def deep(n):
            return deep(n + 1)
        try:
            deep(0)
        except RuntimeError as e:
            report(error=e)
        """
    )
    assert "recursion" in run.report["error"]


# --- network ---


def test_mqtt_over_plain_tcp_and_verified_tls(board_lwip, cloud_broker):
    ports = cloud_broker["mqtt"]
    for port, ca in ((ports["port"], None), (ports["tls_port"], Path(cloud_broker["ca_der"]))):
        run = board_lwip.run(
            PUBLISHER
            + """
for i in range(20):
    link.publish("a/topic", "x" * 100, qos=1)
    while link.inflight:
        link.do_next(10)
report(acked=len(acked))
""",
            host="localhost", port=port, ca=ca,
        )  # fmt: skip
        assert run.reports[-1] == {"acked": 20}


@pytest.fixture(scope="module")
def cloud_broker(tmp_path_factory):
    """The ready line of a local cloud that is an ordinary broker, too."""
    process, ready = processes.start_cloud("--open-broker", state=tmp_path_factory.mktemp("cloud"))
    yield ready
    process.stop()
    print(process.tail(60))


def test_names_are_asked_at_the_tests_own_servers(board_lwip):
    with emulator.NameServer({"one.test": ["192.0.2.7"], "more.test": ["192.0.2.8"]}) as names:
        run = board_lwip.run(
            """
            import socket
            found = socket.getaddrinfo("One.test", 80)[0][-1]
            try:
                socket.getaddrinfo("none.test", 80)
            except OSError as e:
                report(found=found, missing=e.errno)
            """,
            names=names,
        )
    assert run.report == {"found": ["192.0.2.7", 80], "missing": -2}
    assert ("one.test", 1) in names.asked and ("none.test", 1) in names.asked


def test_a_name_servers_port_53_is_reached_by_programs_that_ask_themselves(board_lwip):
    with emulator.NameServer(silent=True) as first, emulator.NameServer() as second:
        run = board_lwip.run(
            """
            import socket, network
            query = b"\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0"
            query += b"\\x04some\\x04test\\0\\0\\x01\\0\\x01"
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.sendto(query, ("10.0.2.2", 53))
            sock.sendto(query, ("10.0.2.3", 53))
            answer, source = sock.recvfrom(512)
            report(id=answer[:2], source=source, address=answer[-4:], dns=network.ipconfig("dns"))
            """,
            names=[first, second],
        )
    assert run.report == {
        "id": "\x124", "source": ["10.0.2.3", 53], "address": "\n\0\2\2", "dns": "10.0.2.2",
    }  # fmt: skip
    assert first.asked == second.asked == [("some.test", 1)]


def test_dhcp_gives_an_address_to_who_joins_by_itself(board_lwip):
    run = board_lwip.run(
        """
        import network, time
        wlan = network.WLAN(network.STA_IF)
        before = wlan.isconnected()
        wlan.active(True)
        wlan.connect("any", "password")
        while not wlan.isconnected():
            time.sleep_ms(20)
        got_ip = wlan.status() == network.STAT_GOT_IP
        report(before=before, address=wlan.ifconfig()[0], got_ip=got_ip)
        """,
        network=False,
    )
    assert run.report == {"before": False, "address": "10.0.2.15", "got_ip": True}


# --- the line ---


def test_a_cut_line_is_noticed_and_mended(board_lwip):
    program = board_lwip.start(
        """
        import network, time
        lan = network.LAN()
        report(up=lan.isconnected())
        while lan.isconnected():
            time.sleep_ms(10)
        report(up=False)
        while not lan.isconnected():
            time.sleep_ms(10)
        report(up=True)
        """
    )
    assert program.next_report() == {"up": True}
    program.line.cut()
    assert program.next_report() == {"up": False}
    program.line.mend()
    assert program.next_report() == {"up": True}


ECHO = """
import socket, sys, time, network
sock = socket.socket()
sock.connect(socket.getaddrinfo(host, port)[0][-1])
sock.settimeout(patience)
report(connected=True)
while True:
    sys.stdin.readline()
    start = time.ticks_ms()
    try:
        sock.write(b"hello")
        answer = sock.recv(5)
    except OSError as e:
        answer = "errno %d" % e.errno
    took = time.ticks_diff(time.ticks_ms(), start)
    report(answer=answer, ms=took, up=network.LAN().isconnected())
"""


@pytest.fixture
def echo_server():
    """The port of a server that sends back what it gets."""

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                while True:
                    data = connection.recv(1000)
                    if not data:
                        break
                    connection.sendall(data)

    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


def test_a_stalled_line_loses_everything_and_nobody_is_told(board_lwip, echo_server):
    program = board_lwip.start(ECHO, host=board_lwip.host, port=echo_server, patience=1)
    assert program.next_report() == {"connected": True}
    program.send("go")
    assert program.next_report()["answer"] == "hello"
    program.line.stall()
    program.send("go")
    told = program.next_report()
    assert told["answer"] == "errno 110" and told["up"]
    program.line.mend()
    # What was lost is sent again by TCP; both words arrive.
    for _ in range(40):
        program.send("go")
        if program.next_report()["answer"] == "hello":
            break
    else:
        pytest.fail("the mended line stays silent")


def test_a_slow_line_delays_each_way(board_lwip, echo_server):
    program = board_lwip.start(ECHO, host=board_lwip.host, port=echo_server, patience=8)
    program.next_report()
    program.line.slow(delay_ms=200)
    program.send("go")
    told = program.next_report()
    assert told["answer"] == "hello" and told["ms"] >= 250  # more than one way's
    program.line.mend()
    for _ in range(5):
        program.send("go")
        told = program.next_report()
        if told["answer"] == "hello" and told["ms"] < 250:
            break
    else:
        pytest.fail("the mended line stays slow: {}".format(told))


def test_loss_is_made_good_by_tcp(board_lwip, cloud_broker):
    program = board_lwip.start(
        PUBLISHER
        + """
sys.stdin.readline()
for i in range(100):
    while link.inflight >= link.window:
        link.do_next(10)
    link.publish("a/topic", "x" * 300, qos=1)
while link.inflight:
    link.do_next(10)
report(acked=len(acked))
""",
        host="localhost", port=cloud_broker["mqtt"]["port"], ca=None,
    )  # fmt: skip
    assert program.next_report() == {"connected": True}
    program.line.slow(delay_ms=5, loss=0.05, seed=1)
    program.send("go")
    assert program.next_report(60) == {"acked": 100}


def test_packets_can_be_recorded(board_lwip, echo_server, tmp_path):
    program = board_lwip.start(ECHO, host=board_lwip.host, port=echo_server, patience=8)
    program.next_report()
    program.line.record(tmp_path / "packets.pcap")
    program.send("go")
    program.next_report()
    program.stop()
    recorded = (tmp_path / "packets.pcap").read_bytes()
    assert recorded[:4] in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4") and b"hello" in recorded


# --- what boards do and Linux does not ---


def test_lwip_blocks_on_a_silent_line_even_when_non_blocking(board_lwip, echo_server):
    """When lwIP's memory is full before its send buffer, a non-blocking send() waits 10 s."""
    program = board_lwip.start(
        """
        import socket, sys, time
        sock = socket.socket()
        sock.connect(socket.getaddrinfo(host, port)[0][-1])
        sock.setblocking(False)
        report(connected=True)
        sys.stdin.readline()
        longest = 0
        for i in range(40):
            start = time.ticks_ms()
            try:
                sock.send(b"x" * 707)
            except OSError as e:
                error = e.errno
            longest = max(longest, time.ticks_diff(time.ticks_ms(), start))
            if longest > 1000:
                break
            time.sleep_ms(20)
        report(longest=longest)
        """,
        host=board_lwip.host, port=echo_server,
    )  # fmt: skip
    program.next_report()
    program.line.stall()
    program.send("go")
    assert program.next_report(60)["longest"] >= 9900


def test_a_datagram_to_nowhere_tells_of_lwips_memory_and_never_leaves(board_lwip, tmp_path):
    program = board_lwip.start(
        """
        import socket, sys

        def told(size):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                sock.bind(("127.0.0.1", 9))
                sock.sendto(b"nowhere" * (size // 7), ("127.0.0.1", 9))
            except OSError as e:
                return e.errno
            finally:
                sock.close()

        report(ready=True)
        sys.stdin.readline()
        report(small=told(900), large=told(9000))
        """
    )
    program.next_report()
    program.line.record(tmp_path / "packets.pcap")
    program.send("go")
    # EHOSTUNREACH, and ENOMEM for more than lwIP has.
    assert program.next_report() == {"small": 113, "large": 12}
    program.stop()
    assert b"nowhere" not in (tmp_path / "packets.pcap").read_bytes()


def test_five_sockets_and_no_more(board_lwip):
    run = board_lwip.run(
        """
        import socket
        taken = []
        try:
            while True:
                taken.append(socket.socket())
        except OSError as e:
            report(taken=len(taken), errno=e.errno)
        """
    )
    assert run.report == {"taken": 5, "errno": 12}


def test_linuxs_number_of_tcp_nodelay_only_warns(board_lwip):
    run = board_lwip.run("import socket\nsocket.socket().setsockopt(6, 1, 1)")
    assert "not implemented" in run.out


REFUSED = program("emulator_refused")


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_refusal_as_lwip_tells_it(board_lwip):
    run = board_lwip.run(REFUSED, host=board_lwip.host, port=closed_port())
    # POLLOUT and POLLHUP; a second connect() says EBADF, a read why.
    assert run.report == {"new": 20, "connecting": 115, "flags": 20, "read": 104, "again": 9}


@pytest.mark.firmware("esp32")
def test_a_refusal_as_esp32_tells_it(board_lwip):
    run = board_lwip.run(REFUSED, profile="esp32", host=board_lwip.host, port=closed_port())
    # POLLOUT alone, as after a connect that went well; newlib's EINPROGRESS.
    assert run.report == {"new": 20, "connecting": 119, "flags": 4, "read": 104, "again": 9}


@pytest.mark.firmware("esp32")
def test_tls_memory_is_in_the_gc_heap_on_rp2_and_not_on_esp32(board_lwip, cloud_broker):
    source = """
        import gc
        from mqtt_link import MQTTLink
        link = MQTTLink("device", "localhost", port, ssl={"ca": ca})
        gc.collect()
        before = gc.mem_alloc()
        while not link.is_connected():
            link.do_next(10)
        gc.collect()
        report(grown=gc.mem_alloc() - before)
        """
    values = {"port": cloud_broker["mqtt"]["tls_port"], "ca": Path(cloud_broker["ca_der"])}
    assert board_lwip.run(source, **values).report["grown"] > 20000
    assert board_lwip.run(source, profile="esp32", **values).report["grown"] < 5000


@pytest.mark.firmware("esp32")
def test_esp32_counts_from_2000(board_lwip):
    run = board_lwip.run("import time\nreport(year=time.gmtime(0)[0])", profile="esp32")
    assert run.report == {"year": 2000}


def test_a_silent_resolver_holds_getaddrinfo_for_seven_seconds(board_lwip):
    with emulator.NameServer(silent=True) as names:
        run = board_lwip.run(
            """
            import socket, time
            start = time.ticks_ms()
            try:
                socket.getaddrinfo("some.test", 80)
            except OSError as e:
                report(errno=e.errno, ms=time.ticks_diff(time.ticks_ms(), start))
            """,
            names=names,
        )
    assert run.report["ms"] >= 6500


def test_two_silent_resolvers_outlast_the_watchdog(board_lwip):
    with emulator.NameServer(silent=True) as first, emulator.NameServer(silent=True) as second:
        run = board_lwip.run(
            """
            import machine, socket
            machine.WDT(timeout=8000)
            socket.getaddrinfo("some.test", 80)
            """,
            names=[first, second],
            check=False,
        )
    assert run.rc == emulator.WATCHDOG
    assert first.asked and second.asked


# --- the command ---


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, str(workshop.ROOT / "tools" / "board")] + [str(a) for a in arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        timeout=100, **options,
    )  # fmt: skip


def test_the_command_runs_a_program_with_its_arguments(board_lwip, tmp_path):
    (tmp_path / "beside.py").write_text("WORD = 'found'\n")
    script = tmp_path / "my program, mine.py"
    script.write_text("import sys, beside\nprint(sys.argv[1:], beside.WORD)\nsys.exit(5)\n")
    done = command("--heap", "64k", script, "a b", "--heap", "c=d,e")
    assert done.stdout == "['a b', '--heap', 'c=d,e'] found\n"
    assert done.returncode == 5


def test_the_pages_example_runs(board_lwip, tmp_path, cloud_broker):
    text = (workshop.ROOT / "docs" / "board.md").read_text(encoding="utf-8")
    source = re.search(r"^```python\n(.*?)^```", text, re.S | re.M).group(1)
    script = tmp_path / "example.py"
    script.write_text(source.replace("8883", str(cloud_broker["mqtt"]["tls_port"])))
    done = command(script, "/host" + cloud_broker["ca_pem"])
    assert done.stdout.endswith("0 left\n") and done.returncode == 0, done.stderr


def test_the_command_says_what_is_wrong(board_lwip, tmp_path):
    script = tmp_path / "broken.py"
    script.write_text("print('x'\n")
    done = command(script)
    assert done.returncode == 1 and "SyntaxError" in done.stderr and "broken.py" in done.stderr
    done = command("--heap", "lots", script)
    assert done.returncode == 2 and "128k" in done.stderr
    done = command(tmp_path / "none.py")
    assert done.returncode == 2 and "there is no file" in done.stderr


def test_the_command_stalls_the_line(board_lwip, echo_server, tmp_path):
    script = tmp_path / "stalled.py"
    script.write_text(
        """
import socket, sys, time
sock = socket.socket()
sock.connect((sys.argv[1], int(sys.argv[2])))
sock.settimeout(2)
print("connected")
try:
    while True:
        sock.write(b"x")
        sock.recv(10)
except OSError as e:
    print("errno", e.errno)
"""
    )
    done = command("--stall", "5", script, emulator.HOST, echo_server)
    assert done.stdout == "connected\nerrno 110\n"
    assert "every packet is lost" in done.stderr


def test_where_it_can_t_be_made_one_sentence_says_why(tmp_path):
    script = tmp_path / "hello.py"
    script.write_text("print('hello')\n")
    done = command(script, env=dict(os.environ, PATH=str(tmp_path)))
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(
        "board: the emulated board needs Debian's .*qemu-system-arm.*\n", done.stderr
    )
