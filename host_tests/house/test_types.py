"""
lib/'s stub files: an editor that knows them is told the truth, and every program of this house
passes mypy and pyright against them and MicroPython's own stubs.
"""

import check_types
import pytest
import services
import workshop


def prepare():
    """Before the tests: the checkers and MicroPython's stubs."""
    check_types.tools()
    workshop.pyright()


# What an editor shall find: programs with a mistake in each line that ends with a comment.
WRONG = {
    "wrong_link.py": """
from mqtt_link import MQTTLink

link = MQTTLink("a", "broker", 1883, kepalive=60)  # a keyword that isn't there
link.publish("a/b", 21.5)  # a number is no message
link.subscribe("a/b", 3)  # there is no QoS 3
link.on_ack = lambda pid: None  # it is called with two
MQTTLink("a", "broker", ssl={"ca": "ca.der", "verfy": True})  # an option that isn't there
link.connected()  # a method that isn't there
""",
    "wrong_iotc.py": """
import iotc

device = iotc.Device("scope", "key", "id", 4)  # there is no such type
device.on("Comand", print)  # no event of this name
device.setQosLevel(iotc.IOTQosLevel.IOTC_QOS_EXACTLY_ONCE)  # no constant of this name
device.sendTelemetry({"celsius": 21.5}, ["a"])  # properties are a dict
""",
    "wrong_ibm.py": """
import ibmiotf.application
import ibmiotf.device

client = ibmiotf.device.Client({"org": "a", "type": "b", "id": "c"})
client.publishEvent("climate", "json")
client.publishEvent(7, {"celsius": 21.5})  # a name is a text
application = ibmiotf.application.Client({"org": "a", "id": "c"})
application.deviceEventCallback = lambda event: print(event.devise)  # no such attribute
application.api.getHistoricalEvents("b", "c", {"topp": 3})  # an option that isn't there
""",
    "wrong_others.py": """
from idigi_monitor_api import push_client
from teamviewer_iot import TVCMI_client

client = push_client("user", "password", ca_certs="ca.der")
client.create_monitor("DataPoint", format_type="yaml")  # no such format
session = client.create_session(print, 5)
session.on_skip = lambda number: True  # it is called with three
agent = TVCMI_client("agent.conf")
agent.push_metrics("sensor", {"metrics": []}, "now")  # a time is a number
agent.provision("now")  # it takes nothing
""",
}


# --- stub files against sources ---


def test_each_stub_file_says_what_its_source_says():
    assert not check_types.stub_errors()


def test_every_module_that_programs_use_has_a_stub_file():
    public = services.public(["iotc", "iotc_wire", "reasons", "mqtt_link", "teamviewer_setup"])
    assert public == ["iotc", "mqtt_link"]


SOURCE = """
from other import thing
LIMIT = 3
_hidden = 4
def find(name, limit=LIMIT, *, deep=False):
    pass
async def run(client, idle_ms=20):
    pass
class Device:
    ca = "ca.der"
    def __init__(self, name, **more):
        self.name = name
        self._secret = more
    def send(self, data, qos=0):
        pass
    @property
    def inflight(self):
        return 0
    stop = send
"""
STUB = """
LIMIT: int
def find(name: str, limit: int = 3, *, deep: bool = False) -> str | None: ...
async def run(client: object, idle_ms: int = 20) -> None: ...
class Device:
    ca: str
    name: str
    def __init__(self, name: str, **more: int) -> None: ...
    def send(self, data: bytes, qos: int = 0) -> int: ...
    @property
    def inflight(self) -> int: ...
    def stop(self, data: bytes, qos: int = 0) -> int: ...
"""


def test_a_stub_file_that_is_right():
    assert check_types.compare("thing", SOURCE, STUB) == []


@pytest.mark.parametrize(
    "line, instead, told",
    [
        ("LIMIT: int", "", "thing.LIMIT is missing"),
        ("    name: str\n", "", "thing.Device.name is missing"),
        ("limit: int = 3", "limit: int", "limit has a default"),
        ("deep: bool = False", "deep: bool = True", "deep = False, not True"),
        ("qos: int = 0) -> int: ...\n    @", "quos: int = 0) -> int: ...\n    @", "told as"),
        ("    @property\n", "", "is a property"),
        ("async def run", "async def walk", "thing.run is missing"),
        ("class Device", "class Devices", "thing.Device is missing"),
        ("    ca: str", "    ca: str\n    def more(self) -> str: ...", "thing.Device.more"),
        ("**more: int", "*more: int", "told as"),
    ],
)
def test_a_stub_file_that_is_not_is_found_out(line, instead, told):
    assert line in STUB
    errors = check_types.compare("thing", SOURCE, STUB.replace(line, instead, 1))
    assert len(errors) >= 1 and told in " ".join(errors), errors


# --- programs, checked as an editor does ---


@pytest.fixture(scope="module", params=check_types.BOARDS)
def said(request):
    """{checker: lines} about the house's programs and WRONG, for one board."""
    try:
        return check_types.check(request.param, list(WRONG.items()))
    except workshop.SetupError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_every_program_of_the_house_is_right(said, checker):
    others = [line for line in said[checker] if "wrong_" not in line]
    assert not [line for line in others if "error" in line or checker == "pyright"], others


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
@pytest.mark.parametrize("name", sorted(WRONG))
def test_what_is_wrong_is_found_and_nothing_else(said, checker, name):
    expected = {number for number, line in enumerate(WRONG[name].split("\n"), 1) if "  # " in line}
    found = set()
    for line in said[checker]:
        if name in line and ": note:" not in line:
            found.add(int(line.split(name + ":")[1].split(":")[0]))
    assert found == expected


def test_lib_uses_no_name_that_isn_t_there():
    try:
        assert not check_types.check_lib()
    except workshop.SetupError as error:
        pytest.skip(str(error))


# --- for an editor ---


def test_the_stub_files_go_beside_a_board_s(tmp_path):
    own = tmp_path / "umqtt" / "simple.pyi"
    own.parent.mkdir()
    own.write_text("the board's own")
    assert check_types.main(["--install", str(tmp_path)]) == 0
    assert own.read_text() == "the board's own"
    for module in ("iotc.pyi", "ibmiotf/__init__.pyi", "mqtt_link.pyi"):
        assert (tmp_path / module).read_text() == (workshop.LIB / module).read_text()
