"""
Is the local cloud's Digi side like the real one? The maker's own SDK, devicecloud 0.5.10, is
asked: unmodified it makes, finds and deletes monitors, and receives over plain TCP and TLS.

What it can't be told by its arguments is set from outside, in DRIVER: the push ports, which are
constants there, and the CA, for which MonitorAPI has no argument. It needs ssl.wrap_socket, which
went with Python 3.12.
"""

import glob
import json
import os
import shutil
import subprocess
import sys

import pytest
import workshop
from workshop import processes
from digi_rig import Ready, control
from device_program import program

# setuptools for pkg_resources, which newer ones no longer bring along.
REQUIREMENTS = ["devicecloud==0.5.10", "setuptools==75.8.2"]

DRIVER = program("digi_faithful_driver")


def old_python():
    """An interpreter that still has ssl.wrap_socket, or None."""
    if (3, 9) <= sys.version_info[:2] <= (3, 11):
        return sys.executable
    for minor in (11, 10, 9):
        name = "python3.{}".format(minor)
        pattern = os.path.expanduser("~/.pyenv/versions/3.{}.*/bin/python".format(minor))
        for found in [shutil.which(name)] + glob.glob(pattern):
            if found and subprocess.call([found, "-c", "import ssl, venv"]) == 0:
                return found
    return None


def prepare():
    """Before the tests: the side environment."""
    if old_python():
        workshop.side_venv("devicecloud", REQUIREMENTS, old_python())


@pytest.fixture(scope="session")
def sdk():
    """The Python of a side environment with the SDK."""
    python = old_python()
    if python is None:
        pytest.skip("devicecloud 0.5.10 needs Python 3.11 or older, and there is none here")
    return workshop.side_venv("devicecloud", REQUIREMENTS, python)


@pytest.fixture
def run(sdk, start_cloud, tmp_path):
    """run(source) starts the driver; gives (its process, the cloud's ready line)."""
    ready = start_cloud()
    started = []

    def start(source):
        script = tmp_path / "driver.py"
        script.write_text(DRIVER + source)
        line = json.dumps({key: ready[key] for key in ("digi", "ca_pem")})
        process = processes.Process([sdk, "-W", "ignore", script, line], name="devicecloud")
        started.append(process)
        return process, ready

    yield start
    for process in started:
        process.stop()
        print(process.tail(60))


def next_report(process, timeout=30):
    return json.loads(process.next_line(timeout))


def test_monitors(run):
    process, ready = run(
        """
dc = cloud()
report(valid=dc.has_valid_credentials(), wrong=cloud("wrong").has_valid_credentials())
topics = ["DeviceCore[U]", "DataPoint"]
report(none=dc.monitor.get_monitor(topics) is None)
made = dc.monitor.create_tcp_monitor(topics, batch_size=5)
found = dc.monitor.get_monitor(topics)
report(same=found.get_id() == made.get_id(), meta=found.get_metadata())
web = dc.monitor.create_http_monitor(["Job"], "http://127.0.0.1:9/", "u:secret")
condition = (MON_TOPIC_ATTR == "Job").and_(MON_STATUS_ATTR == "INACTIVE")
report(filtered=[m.get_id() == web.get_id() for m in dc.monitor.get_monitors(condition)],
       paged=len(list(dc.monitor.get_monitors(page_size=1))))
made.delete()
try:
    made.delete()
except DeviceCloudHttpException as e:
    report(status=e.response.status_code)
report(gone=dc.monitor.get_monitor(topics) is None)
"""
    )
    assert next_report(process) == {"valid": True, "wrong": False}
    assert next_report(process) == {"none": True}
    report = next_report(process)
    assert report["same"]
    assert report["meta"] == {
        "cstId": "3",
        "monBatchDuration": "10",
        "monBatchSize": "5",
        "monCompression": "zlib",
        "monFormatType": "json",
        "monId": report["meta"]["monId"],
        "monStatus": "INACTIVE",
        "monTopic": "DeviceCore[U],DataPoint",
        "monTransportType": "tcp",
    }
    assert next_report(process) == {"filtered": [True], "paged": 2}
    assert next_report(process) == {"status": 404}
    assert next_report(process) == {"gone": True}
    assert process.wait(20) == 0


@pytest.mark.parametrize("secure", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_receiving(run, secure, compression):
    """Its callback gets each block; its six-byte acknowledgements do no harm."""
    process, ready = run(
        """
dc = cloud()
monitor = dc.monitor.create_tcp_monitor(["DataPoint", "DeviceCore"], compression="{}")
manager = TCPClientManager(dc.get_connection(), secure={}, ca_certs=ready["ca_pem"])
def callback(data):
    report(data=data)
    return True
manager.create_session(callback, monitor.get_id())
report(up=True)
answer("stop")
manager.stop()
monitor.delete()
report(done=True)
os._exit(0)  # its worker thread waits for ever, though as a daemon
""".format(compression, secure)
    )
    assert next_report(process) == {"up": True}
    for n in range(20):
        assert control(ready, "POST", "/digi/event", {"stream": "a/b", "data": n})[0] == 200
        message = next_report(process)["data"]["Document"]["Msg"]
        assert message["DataPoint"]["data"] == n
        assert message["topic"] == "3/DataPoint/a/b" and message["operation"] == "INSERTION"
    assert control(ready, "POST", "/digi/event", {"device": "d", "connected": True})[0] == 200
    message = next_report(process)["data"]["Document"]["Msg"]
    assert message["DeviceCore"]["dpConnectionStatus"] == 1
    process.send("stop")
    assert next_report(process) == {"done": True}
    cloud = Ready(ready)
    assert cloud.ask("GET", "/ws/Monitor/.json").json["items"] == []


def test_it_waits_when_throttled_and_hears_why_it_is_refused(run):
    process, ready = run(
        """
dc = cloud()
monitor = dc.monitor.create_tcp_monitor(["DataPoint"])
report(made=True)
answer("throttled")
report(found=monitor.get_metadata()["monId"] == str(monitor.get_id()))
for password, number in (("wrong", monitor.get_id()), (digi["password"], 4711)):
    manager = TCPClientManager(cloud(password).get_connection(), secure=False)
    try:
        manager.create_session(print, number)
    except Exception as e:
        report(text=str(e))
os._exit(0)
"""
    )
    assert next_report(process) == {"made": True}
    assert control(ready, "POST", "/digi/fault", {"throttle": 1})[0] == 200
    process.send("throttled")
    assert next_report(process) == {"found": True}
    assert "(403)" in next_report(process)["text"]
    assert "(400)" in next_report(process)["text"]
