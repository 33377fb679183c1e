"""The bench itself: what conftest.py promises to every other test."""

import sys
import time

import board_rig
from workshop import processes
import pytest


def test_report_and_values_arrive(board):
    run = board.run(
        """
        report(number=number, text=text, data=data, nothing=nothing)
        report(raw=b"\\xff\\x00", pair=(1, b"two"), error=ValueError("no"))
        print("an ordinary line")
        """,
        number=7,
        text="h\u00e9llo",
        data=b"bytes",
        nothing=None,
    )
    assert run.reports == [
        {"number": 7, "text": "h\u00e9llo", "data": "bytes", "nothing": None},
        {"raw": "hex:ff00", "pair": [1, "two"], "error": "ValueError: no"},
    ]
    assert "an ordinary line" in run.out


def test_program_is_what_it_says(board):
    run = board.run("import sys\nreport(name=sys.implementation.name)")
    # The port doesn't lie about itself: code that asks gets told that it is not on MicroPython.
    assert run.report["name"] == board.name


def test_failing_program_fails_the_test(board):
    with pytest.raises(pytest.fail.Exception, match="ZeroDivisionError"):
        board.run("1 / 0")
    assert board.run("raise SystemExit(3)", check=False).rc == 3


def test_program_that_hangs_fails_the_test_and_is_ended(board, monkeypatch):
    monkeypatch.setattr(board_rig, "PATIENCE_S", 0)
    with pytest.raises(pytest.fail.Exception, match="still running"):
        board.run("while True: pass", timeout=1)
    board.close()
    assert board.programs[0].rc is not None


def test_lib_and_umqtt_are_on_the_path(board):
    run = board.run(
        """
        import umqtt.simple
        report(error=umqtt.simple.MQTTException.__name__)
        """
    )
    assert run.report == {"error": "MQTTException"}


def test_talking_to_a_running_program(board):
    program = board.start(
        """
        import sys
        report(ready=True)
        while True:
            line = sys.stdin.readline()
            if not line:
                break
            report(heard=line.strip())
        """
    )
    assert program.next_report() == {"ready": True}
    program.send("one")
    program.send("two")
    assert program.next_report() == {"heard": "one"}
    assert program.next_report() == {"heard": "two"}
    run = program.stop()
    assert len(run.reports) == 3
    assert run.rc is not None


def test_missing_report_fails_with_what_was_said(board):
    program = board.start("print('lost')")
    with pytest.raises(pytest.fail.Exception, match="lost"):
        program.next_report()


def test_micropython_heap_can_be_set(board):
    if board.name != "micropython":
        pytest.skip("only MicroPython has a heap of fixed size")
    source = "import gc\nreport(size=gc.mem_free() + gc.mem_alloc())"
    assert board.run(source, heap="128k").report["size"] <= 128 * 1024
    # The unix port's own heap: 2 MB on 64 bits, 1 MB on 32, its tables not counted.
    assert board.run(source).report["size"] > 900 * 1024


def test_broker_answers(board, broker):
    run = board.run(
        """
        from umqtt.simple import MQTTClient
        client = MQTTClient("conftest", host, port)
        got = []
        client.set_callback(lambda topic, message: got.append((topic, message)))
        client.connect()
        client.subscribe("conftest/" + name)
        client.publish("conftest/" + name, b"hello")
        while not got:
            client.wait_msg()
        report(got=got)
        client.disconnect()
        """,
        host=broker.host,
        port=broker.port,
        name=board.name,
    )
    assert run.report == {"got": [["conftest/" + board.name, "hello"]]}


def test_heap32_counts_bytes_of_a_32_bit_machine(heap32):
    result = heap32.run("x = bytearray(1000)", "x = None", "print(3)", files={})
    start, with_array, without, _ = result.heap
    assert 1000 <= with_array - start < 1100
    assert without < with_array - 900
    assert result.out == ["3"]
    with pytest.raises(heap32.StepFailed, match="ZeroDivisionError"):
        heap32.run("1 / 0", files={})


def test_heap32_import_cost_of_umqtt_simple(heap32):
    files = {
        name: content
        for name, content in heap32.library().items()
        if "umqtt" in name or name.endswith(".py")
    }
    # A constant of the pinned umqtt.simple and MicroPython; lib/'s own figures build on it.
    assert 3800 <= heap32.import_cost("umqtt.simple", files=files)["umqtt.simple"] <= 3950


def test_mpy_size(mpy_size):
    size = mpy_size(".venv/device/umqtt/simple.py")
    assert 1500 < size < 3500


def test_process_that_ignores_sigterm_is_killed():
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)\n"
    process = processes.Process([sys.executable, "-c", program + "time.sleep(60)"])
    assert process.next_line() == "1"
    started = time.monotonic()
    assert process.stop(grace=0.2) == -9
    assert time.monotonic() - started < 10


def test_process_that_ends_says_so():
    with processes.Process(
        [sys.executable, "-c", "print('last words'); raise SystemExit(4)"]
    ) as process:
        assert process.next_line() == "last words"
        with pytest.raises(processes.Ended, match="status 4(.|\n)*last words"):
            process.next_line()
