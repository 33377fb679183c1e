"""
The documents' programs under the documents' names: with do_next() in their loops, and only asleep.

Everything runs against the local cloud's agent in this process, on both interpreters.
"""

import pytest
from teamviewer_rig import Device
from device_program import program


@pytest.fixture
def device(board, agent, tmp_path):
    return Device(board, agent, tmp_path / "certs")


DOCUMENTED = program("TVCMI_client_documented")


def test_documented_programs_run_with_one_line_added(device):
    got = device.run(DOCUMENTED.replace("WAIT()", "client.do_next(50)")).reports
    assert got == [
        {"certificate": "Client is successfully provisioned."},
        {"id": 32, "error": True, "smart": 3},
    ]


def test_documented_programs_that_only_sleep_run_with_a_thread(device):
    got = device.run(DOCUMENTED.replace("WAIT()", "time.sleep(0.05)")).reports
    assert got == [
        {"certificate": "Client is successfully provisioned."},
        {"id": 32, "error": True, "smart": 3},
    ]


def test_the_thread_ends_with_the_connection_and_with_do_next(device):
    got = device.run(program("TVCMI_client_thread_ends"))
    assert got.reports == [
        {"provisioned": True, "ended": True},
        {"connected": True, "running": True},
        {"answered": True, "running": True},
        {"ended": True},
        {"ended": True},
        {"driven": "connect"},
    ]
    assert "printed, not fatal" in got.out + got.err


def test_many_calls_from_two_threads(device, agent):
    """The helping thread and the program in each other's way: nothing lost, nothing twice."""
    agent.calls.clear()
    got = device.run(
        program("TVCMI_client_two_threads"),
        timeout=60,
    ).report
    assert got == {"all": True}
    assert [topic for topic, _ in agent.calls].count("ping") == 200


def test_what_is_loaded_when_needed_is_loaded_by_one_thread_at_a_time(board):
    """teamviewer_setup comes and goes: a second thread must not meet it half made."""
    got = board.run(
        """
import _thread
import time
import TeamViewerIoTPythonSDK
import teamviewer_iot
wrong = []
ended = []
def load():
    for _ in range(40):
        try:
            if teamviewer_iot.error_name(15) != "UnknownSensorId":
                wrong.append("another name")
        except Exception as e:
            wrong.append(repr(e))
    ended.append(1)
for _ in range(3):
    _thread.start_new_thread(load, ())
for _ in range(1000):
    if len(ended) == 3:
        break
    time.sleep(0.02)
report(ended=len(ended), wrong=wrong[:3])
"""
    ).report
    assert got == {"ended": 3, "wrong": []}


def test_a_port_that_can_t_start_the_thread_says_so_each_time(device):
    """As RP2 does where the other core is taken. With do_next() the program goes on without."""
    got = device.run(
        """
from TeamViewerIoTPythonSDK import TVCMI_client as Threaded
module = sys.modules["TeamViewerIoTPythonSDK.TVCMI_client"]
class NoThread:
    get_ident = module._thread.get_ident
    allocate_lock = module._thread.allocate_lock
    def stack_size(size):
        pass
    def start_new_thread(function, args):
        raise OSError("core1 in use")
module._thread = NoThread
c = Threaded(parameters)
c.on_api_response = hear("response")
for _ in range(2):
    try:
        c.provision()
        report(said=None)
    except OSError as e:
        report(said=str(e))
report(got=drive(c)[0]["error_code"])
"""
    ).reports
    assert got == [{"said": "core1 in use"}] * 2 + [{"got": 0}]


def test_sys_exit_in_a_callback_does_not_end_the_thread(device):
    got = device.run(
        """
from TeamViewerIoTPythonSDK import TVCMI_client as Threaded
c = Threaded(parameters)
def leave(**values):
    heard.append(1)
    sys.exit()
c.on_api_response = c.on_api_connect = leave
c.provision()
while not heard:
    time.sleep(0.02)
c.connect_api()
for _ in range(500):
    if len(heard) > 1:
        break
    time.sleep(0.02)
report(heard=len(heard))
"""
    ).report
    assert got == {"heard": 2}
