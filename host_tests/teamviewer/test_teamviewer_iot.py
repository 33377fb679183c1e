"""
teamviewer_iot: connecting, every call and its answers, deadlines, several calls in flight.

Everything runs against the local cloud's agent in this process, on both interpreters.
"""

import json
import time

import pytest
from board_rig import DOUBLES
from localcloud import pki
from localcloud.teamviewer import UNITS
from teamviewer_rig import Device, Relay
from device_program import program


@pytest.fixture
def device(board, agent, tmp_path):
    return Device(board, agent, tmp_path / "certs")


def sent(agent, *without):
    """Topics of the calls that the agent saw."""
    return [topic for topic, _ in agent.calls if topic not in without]


# -- connecting --------------------------------------------------------------------------------


def test_connect_and_disconnect_call_back_with_keywords(device):
    got = device.run(
        """
c = provisioned()
c.connect_api()
report(got=drive(c)[0])
c.disconnect_api()
report(got=drive(c)[0])
c.disconnect_api()  # once is enough
report(more=drive(c, ms=100))
"""
    ).reports
    assert got == [
        {
            "got": {
                "on": "connect",
                "user_data": "mine",
                "error_str": "Connection successful",
                "error_code": 0,
            }
        },
        {
            "got": {
                "on": "disconnect",
                "user_data": "mine",
                "error_str": "Disconnected",
                "error_code": 0,
            }
        },
        {"more": []},
    ]


def test_user_data_can_be_changed(device):
    got = device.run(
        """
c = connected()
c.set_user_data({"another": 1})
report(got=ask(c, c.check_connection)["user_data"])
"""
    ).report
    assert got == {"got": {"another": 1}}


def test_on_connect_no_answer_can_be_missed(device, agent):
    """A call made in on_api_connect itself is answered: the subscription stands by then."""
    got = device.run(
        """
c = provisioned()
c.on_api_connect = lambda **values: c.check_connection()
c.connect_api()
report(got=drive(c)[0])
"""
    ).report["got"]
    assert got["on"] == "response"
    assert json.loads(got["msg"]) == {"request": "Ping"}


def test_a_lost_connection_is_made_again_with_all_that_was_asked(device, agent):
    program = device.start(
        """
c = connected()
hurry(50)
sensor = new_sensor(c)
metric, = new_metrics(c, sensor, "double")
live = []
c.listen_live_data(sensor, callback=lambda **values: live.append(values["msg"]))
ask(c, c.check_connection)
report(ready=1)
got = drive(c, 3)
report(got=got)
report(push=ask(c, c.push_metrics, sensor, {"metrics": [{"metricId": metric, "value": 1}]}))
drive(c, ms=200)
report(live=live)
"""
    )
    program.next_report()
    agent.cut()
    error, lost, again = program.next_report()["got"]
    assert (error["on"], error["error_code"]) == ("error", 3)
    assert (lost["on"], lost["error_code"]) == ("disconnect", 3)
    assert (again["on"], again["error_code"]) == ("connect", 0)
    assert program.next_report()["push"]["on"] == "response"
    assert len(program.next_report()["live"]) == 1
    assert program.wait().rc == 0


def test_disconnecting_is_told_without_a_connection_too(device):
    got = device.run(
        """
provisioned()
c = client(MqttPort=1)
c.connect_api()
report(got=drive(c)[0]["on"])
c.disconnect_api()
report(got=drive(c, ms=0)[0]["on"], more=drive(c, ms=100))
"""
    ).reports
    assert got == [{"got": "error"}, {"got": "disconnect", "more": []}]


def test_pain_10_a_wrong_ca_is_a_tls_error_in_words(device, agent, tmp_path):
    other = tmp_path / "other.crt"
    other.write_bytes(pki.Authority("somebody else's").pem)
    got = device.run(
        """
provisioned()
c = client(CaFile=other)
c.connect_api()
report(got=drive(c)[0])
""",
        other=other,
    ).report["got"]
    assert (got["on"], got["error_code"]) == ("error", 21)
    assert got["error_str"].startswith("ca: ")


def test_the_agents_name_is_verified_and_can_be_given(device):
    got = device.run(
        """
provisioned()
for name in ("gateway", "localhost"):
    c = client(MqttHost="127.0.0.1", ServerName=name)
    c.connect_api()
    report(got=drive(c)[0])
"""
    ).reports
    assert (got[0]["got"]["on"], got[0]["got"]["error_code"]) == ("error", 21)
    assert "gateway" in got[0]["got"]["error_str"]
    assert got[1]["got"]["on"] == "connect"


def test_unusable_files_are_named_at_once(device, tmp_path):
    empty = tmp_path / "empty.crt"
    empty.write_text("")
    got = device.run(
        """
c = provisioned()
for ca in (missing, empty):
    c.parameters["CaFile"] = ca
    try:
        c.connect_api()
    except TLSError as e:
        report(code=e.error_code, text=str(e))
c = provisioned()
with open(c.get_key_path(), "w") as f:
    f.write("-----BEGIN EC PRIVATE KEY-----\\nAAAA\\n-----END EC PRIVATE KEY-----\\n")
try:
    c.connect_api()
except TLSError as e:
    report(code=e.error_code, text=str(e))
""",
        missing=tmp_path / "missing.crt",
        empty=empty,
    ).reports
    assert [r["code"] for r in got] == [21, 21, 21]
    assert "missing.crt" in got[0]["text"]
    assert "ca" in got[1]["text"]
    assert "key" in got[2]["text"]


def test_a_deleted_client_is_refused_with_connacks_code(device, agent):
    program = device.start(
        """
c = provisioned()
report(id=c.get_connector_id())
sys.stdin.readline()
c.connect_api()
report(got=drive(c)[0])
"""
    )
    id = program.next_report()["id"]
    agent.do(lambda: agent.model.deprovision(agent.model.connectors[id]))
    program.send("go")
    got = program.next_report()["got"]
    assert (got["on"], got["error_code"]) == ("error", 5)
    assert "refused" in got["error_str"]


def test_an_agent_that_is_away_is_waited_for(device, agent):
    got = device.run(
        """
provisioned()
c = client(MqttPort=1)
c.connect_api()
report(got=drive(c)[0])
report(again=drive(c)[0]["error_code"])
"""
    ).reports
    assert (got[0]["got"]["on"], got[0]["got"]["error_code"]) == ("error", 3)
    assert "can't connect to localhost:1" in got[0]["got"]["error_str"]
    assert got[1] == {"again": 3}


def test_calls_before_connect_api_are_refused(device, agent):
    got = device.run(
        """
c = provisioned()
for call in (c.list_sensors, c.check_connection, lambda: c.listen_live_data("s")):
    try:
        call()
    except ConnectionError as e:
        report(text=str(e))
"""
    ).reports
    assert got == [{"text": "call connect_api() first"}] * 3


# -- every call --------------------------------------------------------------------------------


def test_every_call_does_what_it_says(device, agent):
    got = device.run(EVERY_CALL).reports
    calls = [r for r in got if "call" in r]
    assert all(r["on"] == "response" and r["code"] == 0 and r["bytes"] for r in calls)
    assert all(r["keys"] == ["error_code", "msg", "on", "user_data"] for r in calls)
    msg = {r["call"]: r["msg"] for r in calls}
    m = next(r["ids"] for r in got if "ids" in r)
    assert json.loads(msg["ping"]) == {"request": "Ping"}
    sensor = json.loads(msg["create_sensor"])
    assert sensor == {"name": "boiler", "sensorId": sensor["sensorId"]}
    assert msg["update_sensor"] == "Datasource Changed"
    assert [x["matchingId"] for x in json.loads(msg["create_metric"])] == ["1", "2"]
    assert json.loads(msg["describe_metric"]) == {
        "metricId": m[1],
        "name": "state",
        "valueType": "string",
        "valueAnnotation": "mode",
    }
    assert msg["update_metrics"] == "All metrics were successfully modified."
    (listed,) = json.loads(msg["list_sensors"])
    assert listed["name"] == "Kessel №1"
    base = "/v1.0/%s/sensor/%s/metric/" % (device.connector().id, sensor["sensorId"])
    assert listed["metrics"] == [{"metricId": id, "link": base + id + "/inventory"} for id in m]
    assert msg["delete_metric"] == "All metrics were successfully deleted."
    assert msg["delete_sensor"] == "Sensor was deleted."
    kept = next(r["values"] for r in got if "values" in r)
    assert kept == []
    s = sensor["sensorId"]
    assert sent(agent) == [
        "ping",
        "sensor/create",
        "sensor/%s/update" % s,
        "sensor/%s/metric" % s,
        "sensor/%s/metric/%s/inventory" % (s, m[1]),
        "sensor/%s/metric/update" % s,
        "sensor/%s/metric/pushValues" % s,
        "sensor/%s/metric/pushValues" % s,
        "sensor/%s/metric/pushValues" % s,
        "inventory",
        "sensor/%s/metric/delete" % s,
        "sensor/%s/delete" % s,
        "inventory",
    ]
    pushes = [json.loads(p) for topic, p in agent.calls if topic.endswith("pushValues")]
    assert "timestamp" not in pushes[0]
    assert [p["timestamp"] for p in pushes[1:]] == [1767603600000, 1767603600001]


EVERY_CALL = program("teamviewer_iot_every_call")


def test_all_units_and_types_are_taken(device, agent):
    got = device.run(
        """
c = connected()
sensor = new_sensor(c)
defs = [{"matchingId": unit, "name": unit, "valueUnit": unit} for unit in units]
kinds = ("bool", "string", "double", "integer")
defs += [{"matchingId": k, "name": k, "valueType": k} for k in kinds]
got = ask(c, c.create_metric, {"metrics": defs}, sensor)
made = {m["matchingId"]: m["metricId"] for m in json.loads(got["msg"])}
values = [(unit, 1.5) for unit in units]
values += [("bool", True), ("string", "täxt"), ("double", -1e300), ("integer", -5)]
metrics = [{"metricId": made[k], "value": v} for k, v in values]
got = ask(c, c.push_metrics, sensor, {"metrics": metrics})
report(made=len(made), on=got["on"], sensor=sensor)
""",
        units=sorted(UNITS),
    ).report
    assert got["made"] == len(UNITS) + 4 == 27
    assert got["on"] == "response"
    sensor = device.connector().sensors[got["sensor"]]
    kept = {sensor.metrics[id]["name"]: value for id, value in sensor.values[0][2].items()}
    assert kept.pop("bool") is True
    assert kept.pop("string") == "täxt"
    assert kept.pop("double") == -1e300
    assert kept.pop("integer") == -5
    assert set(kept.values()) == {1.5}


def test_definitions_as_dict_text_nested_text_and_with_numbers(device):
    got = device.run(
        """
c = connected()
sensor = new_sensor(c)
one = {"matchingId": 1, "name": "a", "valueType": "string", "valueAnnotation": "x"}
two = {"matchingId": 2, "name": "b", "valueType": "integer", "valueAnnotation": "y"}
for defs in ({"metrics": [one, two]}, {"metrics": (one, two)}, json.dumps({"metrics": [one, two]}),
             {"metrics": [json.dumps(one), json.dumps(two)]},
             json.dumps({"metrics": [json.dumps(one), json.dumps(two)]}),
             json.dumps({"metrics": [json.dumps(one), two]}).encode()):
    got = ask(c, c.create_metric, defs, sensor)
    report(on=got["on"], ids=[m["matchingId"] for m in json.loads(got["msg"])])
report(unchanged=one["matchingId"])
"""
    ).reports
    assert got[:-1] == [{"on": "response", "ids": ["1", "2"]}] * 6
    assert got[-1] == {"unchanged": 1}


def test_reported_errors_reach_the_agent_and_need_no_answer(device, agent):
    got = device.run(
        """
c = connected()
sensor = new_sensor(c)
metric, = new_metrics(c, sensor, "bool")
told = []
def heard_back(**values):
    told.append(sorted(values.items()))
c.client_error("out of paper", callback=heard_back, timeout=0.3)
c.sensor_error("frozen", sensor)
c.metric_error("stück", metric, sensor)
c.metric_error("nobody's", "none", sensor)
report(got=drive(c, 2, ms=600))
report(told=told)
report(sensor=sensor, metric=metric)
"""
    ).reports
    (refused,) = got[0]["got"]
    assert (refused["on"], refused["error_code"]) == ("error", 16)
    assert got[1]["told"] == [
        [["error_code", 0], ["error_str", None], ["msg", None], ["user_data", "mine"]]
    ]
    s, m = got[2]["sensor"], got[2]["metric"]
    reports = [(where, text) for _, where, text in device.connector().reports]
    assert reports == [("", "out of paper"), (s, "frozen"), (s + "/" + m, "stück")]


def test_an_error_reports_answer_is_not_a_pushs(device, agent):
    """Both come on the sensor's error topic: who needs an answer has it."""
    got = device.run(
        """
c = connected()
sensor = new_sensor(c)
c.sensor_error("x", sensor, callback=hear("report"))
c.push_metrics(sensor, {"metrics": [{"metricId": "none", "value": 1}]}, callback=hear("push"))
report(got=drive(c)[0])
"""
    ).report["got"]
    assert (got["on"], got["error_code"]) == ("push", 16)


def test_what_the_agent_never_got_is_not_called_well(device):
    """An error report needs no answer, but it must have been sent."""
    got = device.run(
        """
provisioned()
c = client(MqttPort=1)
c.on_api_error = None
c.connect_api()
c.client_error("x", callback=hear("report"), timeout=0.1)
c.deprovision(callback=hear("deprovision"), timeout=0.1)
report(got=[(h["on"], h["error_code"]) for h in drive(c, 2)])
c.client_error("x", callback=hear("report"))
c.disconnect_api()
report(got=[(h["on"], h["error_code"]) for h in drive(c, 2)])
"""
    ).reports
    assert got[0]["got"] == [["report", 22], ["deprovision", 22]]
    assert got[1]["got"] == [["disconnect", 0], ["report", 22]]


def test_deprovision_deletes_the_client_and_leaves_the_files(device, agent):
    got = device.run(
        """
c = connected()
id = c.get_connector_id()
report(got=ask(c, c.deprovision), id=id)
c.disconnect_api()
report(still=c.get_connector_id())
c.removing_certificates()
try:
    c.get_connector_id()
except FileError as e:
    report(gone=str(e), code=e.error_code)
"""
    ).reports
    assert got[0]["got"]["on"] == "response"
    assert got[0]["id"] == got[1]["still"]
    assert got[0]["id"] not in [c["id"] for c in agent.connectors()]
    assert got[2]["code"] == 2
    assert "client-cert.pem" in got[2]["gone"]
    assert not list(device.folder.iterdir())


def test_live_data_comes_again_after_disconnecting_and_is_asked_for_once(device, agent):
    service = agent.service("teamviewer")
    subscribe = service.subscribe
    asked = []

    def watched(client, filter, qos):
        asked.append(filter)
        return subscribe(client, filter, qos)

    service.subscribe = watched
    try:
        got = device.run(
            """
c = connected()
hurry(50)
sensor = new_sensor(c)
metric, = new_metrics(c, sensor, "integer")
c.listen_live_data(sensor, callback=hear("live"))
c.disconnect_api()
try:
    c.listen_live_data("another")
except ConnectionError:
    report(refused=1)
heard.clear()
c.connect_api()
drive(c)
c.push_metrics(sensor, {"metrics": [{"metricId": metric, "value": 1}]})
report(on=sorted(h["on"] for h in drive(c, 2)))
"""
        ).reports
    finally:
        service.subscribe = subscribe
    assert got == [{"refused": 1}, {"on": ["live", "response"]}]
    live = [filter for filter in asked if filter.endswith("/livedata")]
    # On each of the two connections; what was refused is not made up for later.
    assert len(live) == 2
    assert len(set(live)) == 1


def test_live_data_of_several_sensors(device, agent):
    got = device.run(
        """
c = connected()
one, two = new_sensor(c, "one"), new_sensor(c, "two")
(a,), (b,) = new_metrics(c, one, "integer"), new_metrics(c, two, "integer")
c.listen_live_data(one, callback=hear("live"))
c.listen_live_data(two)
ask(c, c.check_connection)
silent = lambda **values: None
c.push_metrics(one, {"metrics": [{"metricId": a, "value": 1}]}, 1767603600000, callback=silent)
c.push_metrics(two, {"metrics": [{"metricId": b, "value": 2}]}, 1767603600001, callback=silent)
report(got=drive(c, 2), ids=(a, b))
"""
    ).report
    live, other = got["got"]
    assert live["on"] == "live"
    assert sorted(live) == ["error_code", "msg", "on", "user_data"]
    assert json.loads(live["msg"]) == {
        "metrics": [{"metricId": got["ids"][0], "value": 1}],
        "timestamp": 1767603600000,
    }
    assert other["on"] == "response"
    assert json.loads(other["msg"])["metrics"] == [{"metricId": got["ids"][1], "value": 2}]


def test_at_most_sixteen_sensors_are_listened_to(device):
    got = device.run(
        """
c = connected()
for i in range(16):
    c.listen_live_data("s%d" % i)
c.listen_live_data("s3")
try:
    c.listen_live_data("one more")
except InputError as e:
    report(code=e.error_code)
"""
    ).report
    assert got == {"code": 19}


# -- what is not sent --------------------------------------------------------------------------

OK = {"matchingId": "1", "name": "n", "valueType": "bool"}


def definition(**change):
    return {"metrics": [{k: v for k, v in dict(OK, **change).items() if v is not ...}]}


REFUSED = [
    # (call, arguments, code)
    ("create_sensor", [5], 7),
    ("create_sensor", [None], 7),
    ("update_sensor_description", ["s", 5], 7),
    ("update_sensor_description", [5, "n"], 7),
    ("update_sensor_description", ["", "n"], 15),
    ("delete_sensor", ["a/b"], 15),
    ("delete_sensor", ["#"], 15),
    ("delete_sensor", [None], 7),
    ("describe_metric", ["+", "s"], 16),
    ("describe_metric", ["m", "+"], 15),
    ("describe_metric", [3, "s"], 7),
    ("create_metric", ["{", "s"], 4),
    ("create_metric", ['{"metrics": []', "s"], 4),
    ("create_metric", ['{"metrics" []}', "s"], 4),
    ("create_metric", ['{"metrics": [,]}', "s"], 4),
    ("create_metric", ['{"metrics": []}}', "s"], 4),
    ("create_metric", ['{"metrics": [NaN]}', "s"], 4),
    ("create_metric", ['{"metrics": ' + "[" * 40 + "]" * 40 + "}", "s"], 4),
    ("create_metric", ['\ufeff{"metrics": {}}', "s"], 10),
    ("create_metric", ["[]", "s"], 5),
    ("create_metric", [[1], "s"], 5),
    ("create_metric", [{}, "s"], 6),
    ("create_metric", [{"metrics": {}}, "s"], 10),
    ("create_metric", [{"metrics": "x"}, "s"], 10),
    ("create_metric", [{"metrics": [5]}, "s"], 5),
    ("create_metric", [{"metrics": ["{"]}, "s"], 4),
    ("create_metric", [{"metrics": ["[]"]}, "s"], 5),
    ("create_metric", [definition(matchingId=...), "s"], 6),
    ("create_metric", [definition(matchingId=1.5), "s"], 7),
    ("create_metric", [definition(matchingId=True), "s"], 7),
    ("create_metric", [definition(name=...), "s"], 6),
    ("create_metric", [definition(name=None), "s"], 7),
    ("create_metric", [definition(valueType=...), "s"], 14),
    ("create_metric", [definition(valueType="float"), "s"], 13),
    ("create_metric", [definition(valueType=3), "s"], 7),
    ("create_metric", [definition(valueUnit="SI.Temperature.KELVIN"), "s"], 12),
    ("create_metric", [definition(valueUnit="Temperature.CELSIUS"), "s"], 12),
    ("create_metric", [definition(valueUnit=""), "s"], 12),
    ("create_metric", [definition(valueUnit=3), "s"], 7),
    ("create_metric", [definition(valueAnnotation=3), "s"], 7),
    ("create_metric", [definition(), 5], 7),
    ("update_metrics", ["s", {"metrics": [{"name": "x"}]}], 6),
    ("update_metrics", ["s", {"metrics": [{"metricId": 3}]}], 7),
    ("update_metrics", ["s", {"metrics": [{"metricId": "m", "name": 3}]}], 7),
    ("update_metrics", ["s", "x"], 4),
    ("push_metrics", ["s", '{"metrics": [{"metricId": "m", "value": 1e999}]}'], 4),
    ("delete_metric", [{"metrics": [{}]}, "s"], 6),
    ("delete_metric", ['{"metrics": 3}', "s"], 10),
    ("push_metrics", ["s", {"metrics": [{"metricId": "m"}]}], 6),
    ("push_metrics", ["s", {"metrics": [{"value": 1}]}], 6),
    ("push_metrics", ["s", {"metrics": [{"metricId": 1, "value": 1}]}], 7),
    ("push_metrics", ["s", {"metrics": [{"metricId": "m", "value": None}]}], 8),
    ("push_metrics", ["s", {"metrics": [{"metricId": "m", "value": [1]}]}], 8),
    ("push_metrics", ["s", {"metrics": [{"metricId": "m", "value": {}}]}], 8),
    ("push_metrics", ["s", {"metrics": []}, "now"], 11),
    ("push_metrics", ["s", {"metrics": []}, 1.5], 11),
    ("push_metrics", ["s", {"metrics": [], "timestamp": True}], 11),
    ("push_metrics", ["", {"metrics": []}], 15),
    ("client_error", [5], 7),
    ("sensor_error", ["x", ""], 15),
    ("metric_error", ["x", "", "s"], 16),
    ("metric_error", [None, "m", "s"], 7),
]


def test_what_the_agent_would_refuse_for_certain_is_not_sent(device, agent):
    reports = device.run(
        """
c = connected()
for name, args, code in refused:
    getattr(c, name)(*args)
    report(got=drive(c, ms=0))
    getattr(c, name)(*args, callback=hear("own"))
    report(got=drive(c, ms=0))
c.on_api_error = None
for name, args, code in refused:
    try:
        getattr(c, name)(*args)
        report(raised=None)
    except InputError as e:
        report(raised=e.error_code, text=e.message)
ask(c, c.check_connection)
""",
        refused=REFUSED,
    ).reports
    names = ["UnknownError"] * 4 + ["InvalidJson", "JsonIsNotAObject", "MissingParameter"]
    for i, (name, args, code) in enumerate(REFUSED):
        what = (name, args)
        (one,) = reports[2 * i]["got"]
        (own,) = reports[2 * i + 1]["got"]
        raised = reports[2 * len(REFUSED) + i]
        assert (one["on"], one["error_code"]) == ("error", code), what
        assert sorted(one) == ["error_code", "error_str", "on", "user_data"]
        assert (own["on"], own["error_code"], own["msg"]) == ("own", code, None), what
        assert own["error_str"] == one["error_str"] == raised["text"]
        assert raised["raised"] == code, what
        if code < len(names):
            assert one["error_str"].startswith(names[code] + ": "), one
    assert sent(agent) == ["ping"]


def test_values_that_are_no_json_are_not_sent(device, agent):
    reports = device.run(
        """
c = connected()
for value in (float("nan"), float("inf"), -float("inf")):
    c.push_metrics("s", {"metrics": [{"metricId": "m", "value": value}]})
    report(code=drive(c, ms=0)[0]["error_code"])
"""
    ).reports
    assert [r["code"] for r in reports] == [8, 19, 19]
    assert sent(agent) == []


# value -> the code for a metric of type bool, string, double, integer; 0 is taken
VALUES = [
    (True, (0, 7, 8, 11)),
    ("x", (9, 0, 8, 11)),
    ("1", (9, 0, 8, 11)),
    (1, (9, 7, 0, 0)),
    (1.5, (9, 7, 0, 11)),
    (1.0, (9, 7, 0, 11)),
    (None, (9, 7, 8, 11)),
    ([], (9, 7, 8, 11)),
]


def test_values_are_checked_against_the_metrics_type_before_and_by_the_agent(device, agent):
    """
    The client that made a metric knows its type and sends nothing wrong; one that was started
    anew doesn't, and the agent says the same.
    """
    reports = device.run(
        """
kinds = ("bool", "string", "double", "integer")
def push(c, kind, value):
    got = ask(c, c.push_metrics, sensor, {"metrics": [{"metricId": ids[kind], "value": value}]})
    return got["error_code"]
c = connected()
sensor = new_sensor(c)
ids = dict(zip(kinds, new_metrics(c, sensor, *kinds)))
report(codes=[[push(c, kind, value) for kind in kinds] for value in values])
c.disconnect_api()
heard.clear()
c = client()
c.connect_api()
drive(c)
report(codes=[[push(c, kind, value) for kind in kinds] for value in values[:-2]])
""",
        values=[value for value, _ in VALUES],
    ).reports
    wanted = [list(codes) for _, codes in VALUES]
    assert reports[0]["codes"] == wanted
    assert reports[1]["codes"] == wanted[:-2]
    taken = sum(code == 0 for codes in wanted for code in codes)
    pushes = [topic for topic in sent(agent) if topic.endswith("pushValues")]
    assert len(pushes) == taken + 4 * (len(VALUES) - 2)


def test_what_is_needed_seldom_is_not_loaded_within_a_step(device):
    """Loading teamviewer_setup from source takes a board long: not when an answer comes."""
    got = device.run(
        """
c = connected()
sensor = new_sensor(c)
c.listen_live_data(sensor)
c.create_metric({"metrics": [{"matchingId": "1", "name": "n", "valueType": "bool"}]}, sensor)
loaded = []
def spy(name):
    if not name.startswith("picolink_"):  # as built, calls and words of errors are loaded
        loaded.append(name)
    return load(name)
load, teamviewer_iot.load_once = teamviewer_iot.load_once, spy
metric = json.loads(drive(c)[0]["msg"])[0]["metricId"]
ask(c, c.push_metrics, sensor, {"metrics": [{"metricId": metric, "value": True}]})
ask(c, c.delete_sensor, "none")
before = list(loaded)
# The answer has taught it the metric's type: this is not sent, and its text is looked up.
wrong = {"metrics": [{"metricId": metric, "value": 1}]}
report(loaded=before, code=ask(c, c.push_metrics, sensor, wrong)["error_code"], then=loaded)
"""
    ).report
    assert got == {"loaded": [], "code": 9, "then": ["teamviewer_names"]}


def test_types_of_at_most_64_metrics_are_remembered(device):
    got = device.run(
        """
c = connected(MaxPacket=16384)
sensor = new_sensor(c)
ids = new_metrics(c, sensor, *["bool"] * 100)
def push(id):
    # The code, and whether it was known without asking the agent.
    c.push_metrics(sensor, {"metrics": [{"metricId": id, "value": 1}]})
    return len(heard) == 1, drive(c)[0]["error_code"]
report(got=[push(id) for id in (ids[0], ids[63], ids[64], ids[99])])
more, = new_metrics(c, sensor, "bool")
report(got=[push(id) for id in (ids[0], more)])
"""
    ).reports
    # Of a forgotten one the agent says the same.
    assert got[0]["got"] == [[True, 9], [True, 9], [False, 9], [False, 9]]
    assert got[1]["got"] == [[False, 9], [True, 9]]


# -- what the agent refuses --------------------------------------------------------------------


def test_ids_reach_the_agent_as_they_are(device, agent):
    """Users may choose ids: nothing in them means something to the client."""
    got = device.run(
        """
c = connected()
for id in ("a|b", "%s", "100%", "Kühlung 1", "error", "an error", "info"):
    report(code=ask(c, c.delete_sensor, id)["error_code"])
    report(code=ask(c, c.describe_metric, id, id)["error_code"])
"""
    ).reports
    assert got == [{"code": 15}] * 14
    assert sent(agent)[:4] == [
        "sensor/a|b/delete",
        "sensor/a|b/metric/a|b/inventory",
        "sensor/%s/delete",
        "sensor/%s/metric/%s/inventory",
    ]


def test_unknown_ids_are_the_agents_to_refuse(device):
    reports = device.run(
        """
c = connected()
sensor = new_sensor(c)
known, = new_metrics(c, sensor, "bool")
one = {"metrics": [{"metricId": "none", "value": True}]}
new = {"metrics": [{"matchingId": "1", "name": "n", "valueType": "bool"}]}
for call, args in (
    (c.update_sensor_description, ("none", "n")), (c.delete_sensor, ("none",)),
    (c.create_metric, (new, "none")),
    (c.describe_metric, (known, "none")), (c.describe_metric, ("none", sensor)),
    (c.update_metrics, (sensor, one)), (c.update_metrics, ("none", one)),
    (c.delete_metric, (one, sensor)), (c.delete_metric, (one, "none")),
    (c.push_metrics, (sensor, one)), (c.push_metrics, ("none", one)),
):
    got = ask(c, call, *args)
    report(on=got["on"], code=got["error_code"], text=got["error_str"])
report(more=drive(c, ms=200))
"""
    ).reports
    assert [r["code"] for r in reports[:-1]] == [15, 15, 15, 15, 16, 16, 15, 16, 15, 16, 15]
    for r in reports[:-1]:
        assert r["on"] == "error"
        assert r["text"].startswith("UnknownSensorId" if r["code"] == 15 else "UnknownMetricId")
    # Errors that an agent sends on two topics are told once.
    assert reports[-1] == {"more": []}


def test_an_agent_in_trouble_is_reported_with_its_codes(device, agent):
    program = device.start(
        """
c = connected()
while True:
    report(got=ask(c, c.list_sensors))
    sys.stdin.readline()
"""
    )
    assert program.next_report()["got"]["on"] == "response"
    for trouble, code in (
        ({"backend": False}, 1),
        ({"licensed": False}, 2),
        ({"broken": True}, 3),
    ):
        agent.set(backend=True, licensed=True, broken=False)
        agent.set(**trouble)
        program.send("go")
        got = program.next_report()["got"]
        assert (got["on"], got["error_code"]) == ("error", code)
    program.stop()


PAYLOADS = [
    (b'{"errorMessage":"no","errorcode":15}', 15, "no"),
    (b'{"errorMessage":"no","errorCode":15}', 15, "no"),
    (b'{"errorMessage":"no","errorcode":"15"}', 15, "no"),
    (b'{"errorcode":16}', 16, "UnknownMetricId"),
    (b'{"errorMessage":"no"}', 0, "no"),
    (b'{"errorMessage":null,"errorcode":null}', 0, "UnknownError"),
    (b'{"errorMessage":"no","errorcode":[1]}', 0, "no"),
    (b'{"errorMessage":"no","errorcode":-3}', -3, "no"),
    (b'{"errorMessage":"no","errorcode":1e9}', 1000000000, "no"),
    # What is no JSON, or no number that can be told, is told as it came.
    (b'{"errorMessage":"no","errorcode":1e999}', 0, '{"errorMessage":"no","errorcode":1e999}'),
    (b'{"errorMessage":"no","errorcode" 15}', 0, '{"errorMessage":"no","errorcode" 15}'),
    (b'{"errorMessage":"no","errorcode":15', 0, '{"errorMessage":"no","errorcode":15'),
    (b'{"errorMessage":"no","errorcode":15}}', 0, '{"errorMessage":"no","errorcode":15}}'),
    (b'\xef\xbb\xbf{"errorMessage":"no","errorcode":15}', 15, "no"),
    (b'{"errorcode":3,"errorMessage":"no","errorcode":15}', 15, "no"),
    (b"[" * 3000, 0, "[" * 3000),
    (b'{"errorcode":999}', 999, "UnknownError"),
    (b"[]", 0, "[]"),
    (b"plain words", 0, "plain words"),
    (b"\xff\xfe", 0, "\\xff\\xfe"),
    (b"", 0, ""),
]


def test_pain_15_error_payloads_of_any_shape_are_told(device, agent):
    """Spelt errorcode or errorCode, or not what is documented at all."""
    program = device.start(
        """
c = connected()
report(ready=1)
while True:
    got = drive(c)
    if got:
        report(code=got[0]["error_code"], text=got[0]["error_str"], on=got[0]["on"])
"""
    )
    program.next_report()
    id = device.connector().id
    for payload, code, text in PAYLOADS:
        agent.send("sensor/x/error/inbox", payload, id)
        assert program.next_report() == {"code": code, "text": text, "on": "error"}
    program.stop()


def test_topics_and_answers_that_mean_nothing_do_no_harm(device, agent):
    program = device.start(
        """
c = connected()
report(ready=1)
got = drive(c, ms=500)
report(got=got, alive=ask(c, c.check_connection)["on"])
"""
    )
    program.next_report()
    id = device.connector().id
    for topic in ("inbox", "x/inbox", "info/inbox", "sensor//inbox", "a/b/c/d/e/inbox", "é/inbox"):
        agent.send(topic, b"\xff{", id)
        agent.send(topic, b"[" * 3000, id)
    assert program.next_report() == {"got": [], "alive": "response"}


def test_answers_over_max_packet_are_skipped_and_said_so(device, agent):
    got = device.run(
        """
c = connected(MaxPacket=600)
for i in range(10):
    new_sensor(c, "a sensor with a rather long name, number %d" % i)
c.list_sensors(timeout=0.3)
got = drive(c)[0]
report(code=got["error_code"], said=[line for line in logged if "MaxPacket" in line],
       alive=ask(c, c.check_connection)["on"])
"""
    ).report
    assert got["code"] == 22
    assert len(got["said"]) == 1
    assert got["alive"] == "response"


def test_pain_33_an_answer_for_which_there_is_no_memory_is_not_called_too_long(device, agent):
    program = device.start(
        """
hurry(30)
c = connected()
sensor = new_sensor(c)
tries = []
def live(**values):
    if values["msg"] == b"large":
        tries.append(1)
        raise MemoryError
    heard.append(dict(values, on="live"))
c.listen_live_data(sensor, callback=live)
ask(c, c.check_connection)  # the agent has heard of it
heard.clear()
report(sensor=sensor)
n = 0
while "live" not in {h["on"] for h in heard}:
    c.do_next(20)
    connects = len([h for h in heard if h["on"] == "connect"])
    if connects > n:
        n = connects
        report(again=n)
report(tries=len(tries), said=[line for line in logged if "5 bytes" in line],
       errors=[h["error_str"] for h in heard if h["on"] == "error"])
"""
    )
    topic = "sensor/%s/livedata" % program.next_report()["sensor"]
    own = device.connector().id
    agent.send(topic, b"large", own)
    for n in (1, 2):
        assert program.next_report(30) == {"again": n}
        agent.send(topic, b"large", own)
    agent.send(topic, b"small", own)
    got = program.next_report(30)
    assert got["tries"] == 3 and got["said"] == ["there was no memory for 5 bytes"]
    assert len(got["errors"]) == 2 and all("memory" in text for text in got["errors"])


# -- several calls in flight -------------------------------------------------------------------


def test_each_call_hears_its_own_answer(device):
    got = device.run(
        """
c = connected()
order = []
def own(name):
    def callback(user_data, msg, error_code, error_str):
        order.append((name, error_code, error_str is None, msg is not None and b"sensorId" in msg))
    return callback
for name in ("a", "b", "c", "d"):
    c.create_sensor(name, callback=own(name))
c.delete_sensor("none", callback=own("gone"))
c.check_connection(callback=own("ping"))
c.push_metrics("none", {"metrics": []}, callback=own("push"))
c.list_sensors(callback=own("list"))
while len(order) < 8:
    c.do_next(20)
report(order=order, global_ones=len(heard))
"""
    ).report
    assert got["global_ones"] == 0
    assert got["order"] == [
        ["a", 0, True, True],
        ["b", 0, True, True],
        ["c", 0, True, True],
        ["d", 0, True, True],
        ["gone", 15, False, False],
        ["ping", 0, True, False],
        ["push", 15, False, False],
        ["list", 0, True, True],
    ]


@pytest.fixture
def shuffled(agent):
    """Answers to several calls leave in the reverse order, once `count` of them wait."""
    service = agent.service("teamviewer")
    answer = service.answer
    waiting = []
    wanted = [0]

    async def later(connector, messages):
        waiting.append((connector, messages))
        if len(waiting) == wanted[0]:
            while waiting:
                await answer(*waiting.pop())

    def start(count):
        wanted[0] = count
        service.answer = later

    yield start
    service.answer = answer


def test_answers_out_of_order_find_their_call_by_what_they_say(device, agent, shuffled):
    program = device.start(
        """
c = connected()
sensor = new_sensor(c)
report(ready=1)
sys.stdin.readline()
got = {}
def own(name):
    def callback(msg, **values):
        got[name] = json.loads(msg)
    return callback
for name in ("name", "a", "b", "ä"):
    c.create_sensor(name, callback=own(name))
for i in ("1", "2"):
    c.create_metric({"metrics": [{"matchingId": i, "name": i, "valueType": "bool"}]}, sensor,
                    callback=own(i))
while len(got) < 6:
    c.do_next(20)
report(names={k: v["name"] for k, v in got.items() if len(k) > 1 or k > "9"},
       ids={k: v[0]["matchingId"] for k, v in got.items() if k < "9"})
"""
    )
    program.next_report()
    shuffled(6)
    program.send("go")
    got = program.next_report()
    assert got["names"] == {"name": "name", "a": "a", "b": "b", "ä": "ä"}
    assert got["ids"] == {"1": "1", "2": "2"}


def test_answers_that_agents_send_twice_are_heard_once(device):
    """delete_metric is answered where the documents and where the SDKs expect it."""
    got = device.run(
        """
c = connected()
one, two = new_sensor(c, "one"), new_sensor(c, "two")
a, b, x = new_metrics(c, one, "bool", "bool", "bool")
order = []
def own(name):
    def callback(msg, error_code, error_str, **more):
        order.append((name, error_code, bytes(msg or b"").decode()))
    return callback
c.delete_metric({"metrics": [{"metricId": a}]}, one, callback=own("a"))
c.delete_metric({"metrics": [{"metricId": b}]}, one, callback=own("b"))
c.delete_metric({"metrics": [{"metricId": "none"}]}, one, callback=own("none"))
c.delete_sensor(two, callback=own("two"))
c.delete_sensor(one, callback=own("one"))
c.describe_metric("none", "none", callback=own("describe"))
c.check_connection(callback=own("ping"))
while len(order) < 7:
    c.do_next(20)
report(order=[(name, code, text[:25]) for name, code, text in order], more=drive(c, ms=200))
"""
    ).report
    assert got["more"] == []
    assert [entry[:2] for entry in got["order"]] == [
        ["a", 0],
        ["b", 0],
        ["none", 16],
        ["two", 0],
        ["one", 0],
        ["describe", 15],
        ["ping", 0],
    ]
    assert got["order"][0][2] == got["order"][1][2] == "All metrics were successf"
    assert got["order"][3][2] == got["order"][4][2] == "Sensor was deleted."


def test_the_same_words_later_are_another_answer(device, agent):
    """An agent that answers once may say the same again, in the other place, to a later call."""
    service = agent.service("teamviewer")
    answer = service.answer

    async def once(connector, messages):
        await answer(connector, messages[:1])

    service.answer = once
    try:
        got = device.run(
            """
c = connected()
report(code=ask(c, c.delete_metric, {"metrics": [{"metricId": "m"}]}, "none")["error_code"])
start = time.ticks_ms()
while time.ticks_diff(time.ticks_ms(), start) < 2100:
    c.do_next(100)
report(code=ask(c, c.delete_sensor, "none")["error_code"])
"""
        ).reports
    finally:
        service.answer = answer
    assert got == [{"code": 15}, {"code": 15}]


@pytest.mark.parametrize("style", ["documents", "python", "node"])
def test_agents_that_answer_in_one_place_only_are_understood(device, agent, style):
    service = agent.service("teamviewer")
    answer = service.answer

    async def only(connector, messages):
        # The order of the topics in the agent's table: documents, [node,] python.
        if len(messages) > 1 and "delete" in messages[0][0]:
            last = len(messages) - 1
            messages = [messages[{"documents": 0, "node": last - 1, "python": last}[style]]]
        elif len(messages) > 1:
            messages = [messages[0 if style == "documents" else -1]]
        await answer(connector, messages)

    service.answer = only
    try:
        got = device.run(
            """
c = connected()
sensor = new_sensor(c)
a, b = new_metrics(c, sensor, "bool", "bool")
order = []
def own(name):
    return lambda error_code, **values: order.append((name, error_code))
c.delete_metric({"metrics": [{"metricId": a}]}, sensor, callback=own("a"))
c.delete_metric({"metrics": [{"metricId": "none"}]}, sensor, callback=own("none"))
c.delete_metric({"metrics": [{"metricId": b}]}, sensor, callback=own("b"))
c.describe_metric("none", sensor, callback=own("describe"))
c.delete_sensor(sensor, callback=own("sensor"))
while len(order) < 5:
    c.do_next(20)
report(order=order)
"""
        ).report
    finally:
        service.answer = answer
    assert sorted(got["order"]) == [
        ["a", 0],
        ["b", 0],
        ["describe", 16],
        ["none", 16],
        ["sensor", 0],
    ]


def test_sixteen_calls_may_wait_one_more_is_refused(device, agent):
    agent.set(mute=True)
    got = device.run(
        """
c = connected()
for i in range(16):
    c.check_connection(timeout=0.5)
    c.do_next()
try:
    c.check_connection()
except ConnectionError as e:
    report(text=str(e))
report(codes=[g["error_code"] for g in drive(c, 16)])
"""
    ).reports
    assert "do_next()" in got[0]["text"]
    assert got[1]["codes"] == [22] * 16


CLOCK = """
from digi_clock import Clock
teamviewer_iot.time = clock = Clock()

def step(n=20):
    for _ in range(n):
        c.do_next(5)
"""


@pytest.fixture
def held(agent):
    """Answers are held back: [(connector, messages)], and a function that sends one of them."""
    service = agent.service("teamviewer")
    answer = service.answer
    waiting = []

    async def hold(connector, messages):
        waiting.append((connector, messages))

    def release(number, payload=None):
        connector, messages = waiting[number]
        if payload is not None:
            messages = [(topic, payload) for topic, _ in messages]
        agent.background.call(answer(connector, messages))

    service.answer = hold
    yield waiting, release
    service.answer = answer


def until(test, what):
    deadline = time.monotonic() + 20
    while not test():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_no_answer_is_told_at_the_deadline_and_a_late_one_is_not_the_next_calls(device, held):
    """The second deadline: for as long again the late answer is waited for, and dropped."""
    waiting, release = held
    program = device.start(
        CLOCK
        + """
c = connected()
c.check_connection(callback=hear("one"), timeout=10)
step()
report(asked=1, heard=heard)
sys.stdin.readline()
step()
clock.now += 9900
step()
report(early=heard[:])
clock.now += 200
report(got=drive(c)[0])
clock.now += 9900  # within the second deadline
step()
c.check_connection(callback=hear("two"), timeout=100)
step()
report(asked=2)
sys.stdin.readline()
report(got=drive(c)[0], left=waiting(c))
""",
        before_lib=DOUBLES,
    )
    assert program.next_report() == {"asked": 1, "heard": []}
    until(lambda: len(waiting) == 1, "the first call")
    program.send("go")
    assert program.next_report() == {"early": []}
    assert program.next_report()["got"] == {
        "on": "one",
        "user_data": "mine",
        "msg": None,
        "error_code": 22,
        "error_str": "no answer in time",
    }
    assert program.next_report() == {"asked": 2}
    until(lambda: len(waiting) == 2, "the second call")
    release(0, b"late")
    release(1)
    program.send("go")
    # The second call hears the second answer, not the late one.
    got = program.next_report()
    assert got["got"]["on"] == "two"
    assert json.loads(got["got"]["msg"]) == {"request": "Ping"}
    assert got["left"] == 0


def test_a_late_answer_is_not_waited_for_for_ever(device, held):
    """Behind the second deadline the call gives its place to another."""
    got = device.run(
        CLOCK
        + """
c = connected()
for _ in range(16):
    c.check_connection(callback=hear("late"), timeout=10)
step()
clock.now += 10100
report(codes=[h["error_code"] for h in drive(c, 16)])
step()
try:
    c.check_connection()
    report(full=False)
except ConnectionError:
    report(full=True)
clock.now += 10100
step()
c.check_connection(callback=hear("new"), timeout=10)
report(left=waiting(c))
""",
        before_lib=DOUBLES,
    ).reports
    assert got == [{"codes": [22] * 16}, {"full": True}, {"left": 1}]


def test_pain_31_a_deadline_that_passed_days_ago_has_passed(device, held):
    """Ticks go round: a program that did something else for a week still hears of the call."""
    got = device.run(
        CLOCK
        + """
c = connected()
for days in (1, 7, 13):
    c.check_connection(callback=hear("one"), timeout=10)
    step()
    clock.now += days * 24 * 3600 * 1000
    report(code=drive(c)[0]["error_code"])
""",
        before_lib=DOUBLES,
    ).reports
    assert got == [{"code": 22}] * 3


def test_calls_whose_answers_were_lost_with_the_connection_fail(device, agent):
    program = device.start(
        """
c = connected()
hurry(50)
report(ready=1)
sys.stdin.readline()
c.check_connection(callback=hear("taken"))
report(sent=1)
sys.stdin.readline()  # the agent's broker has it; so has the client, in a moment
for _ in range(20):
    c.do_next(10)
report(taken=1)
got = drive(c, 4)
report(got=[(g["on"], g["error_code"]) for g in got])
c.check_connection()
c.list_sensors()
c.disconnect_api()
report(got=[(g["on"], g["error_code"]) for g in drive(c, 3)])
"""
    )
    program.next_report()
    agent.set(mute=True)
    program.send("go")
    program.next_report()
    program.send("go on")
    program.next_report()
    agent.cut()
    assert program.next_report()["got"] == [
        ["error", 3],
        ["disconnect", 3],
        ["taken", 22],
        ["connect", 0],
    ]
    assert program.next_report()["got"] == [["disconnect", 0], ["error", 22], ["error", 22]]
    assert program.wait().rc == 0


def test_calls_made_while_offline_are_sent_when_the_agent_is_back(device, agent, tmp_path):
    program = device.start(
        """
c = connected()
hurry(50)
report(ready=1)
while not heard:
    c.do_next(20)
heard.clear()
c.create_sensor("made offline", callback=hear("own"))
while not [h for h in heard if h["on"] == "own"]:
    c.do_next(20)
report(got=[h for h in heard if h["on"] == "own"][0]["error_code"])
"""
    )
    program.next_report()
    agent.cut()
    assert program.next_report() == {"got": 0}
    names = [sensor.name for sensor in device.connector().sensors.values()]
    assert names == ["made offline"]


def test_a_call_that_ended_offline_does_not_take_a_later_calls_answer(device, agent, held):
    """It is sent all the same when the agent is back: its answer is dropped, not mistaken."""
    waiting, release = held
    with Relay(agent.port) as relay:
        program = device.start(
            CLOCK
            + """
hurry(50)
c = connected(MqttPort=port)
report(ready=1)
while not heard:
    c.do_next(20)
c.on_api_error = c.on_api_disconnect = None
heard.clear()
defs = {"metrics": [{"matchingId": "1", "name": "n", "valueType": "bool"}]}
c.create_metric(defs, "one", callback=hear("early"), timeout=4)
c.check_connection(callback=hear("early ping"), timeout=4)
clock.now += 4100
report(got=[(h["on"], h["error_code"]) for h in drive(c, 2)])
clock.now += 9000  # longer than the agent would be given: it does not have the calls yet
step()
c.check_connection(callback=hear("ping"))
report(asked=1)
got = []
while "ping" not in [name for name, _ in got]:
    got += [(h["on"], h.get("msg")) for h in drive(c)]
report(got=got, left=waiting(c))
""",
            port=relay.port,
            before_lib=DOUBLES,
        )
        program.next_report()
        relay.down()
        assert program.next_report()["got"] == [["early", 22], ["early ping", 22]]
        program.next_report()
        relay.up()
        until(lambda: len(waiting) == 3, "the three calls")
        release(1, b"answer to the early one")
        release(0)
        release(2)
        got = program.next_report()
    (connect, _), (ping, msg) = got["got"]
    assert (connect, ping) == ("connect", "ping")
    assert json.loads(msg) == {"request": "Ping"}
    assert got["left"] == 0


# -- callbacks ---------------------------------------------------------------------------------


def test_what_a_callback_raises_comes_out_of_do_next(device):
    got = device.run(
        """
c = connected()
def broken(**values):
    raise KeyError("mine")
c.check_connection(callback=broken)
try:
    drive(c)
except KeyError as e:
    report(raised=str(e), alive=ask(c, c.check_connection)["on"])
"""
    ).report
    assert "mine" in got["raised"]
    assert got["alive"] == "response"


def test_what_a_callback_raises_does_not_keep_the_client_connected(device):
    """disconnect_api() still hears answers; it ends the connection whatever they lead to."""
    got = device.run(
        """
c = connected()
def broken(**values):
    raise KeyError("mine")
c.check_connection(callback=broken)
try:
    c.disconnect_api()
    report(raised=None)
except KeyError:
    report(raised="KeyError")
try:
    c.check_connection()
except ConnectionError as e:
    report(text=str(e), more=[h["on"] for h in drive(c, ms=200)])
c.connect_api()
report(again=drive(c)[0]["on"])
"""
    ).reports
    assert got == [
        {"raised": "KeyError"},
        {"text": "call connect_api() first", "more": ["disconnect"]},
        {"again": "connect"},
    ]


def test_a_callback_with_other_arguments_is_python_s_own_error(device):
    """Not swallowed, not guessed at: the traceback names the function."""
    got = device.run(
        """
c = connected()
for wrong in (lambda message: None, "a string"):
    c.on_api_response = wrong
    c.check_connection()
    try:
        drive(c)
        report(raised=None)
    except TypeError as e:
        report(raised="TypeError")
c.on_api_response = hear("response")
report(alive=ask(c, c.check_connection)["on"])
"""
    ).reports
    assert got == [{"raised": "TypeError"}, {"raised": "TypeError"}, {"alive": "response"}]


def test_no_callbacks_at_all(device, agent):
    got = device.run(
        """
c = TVCMI_client(parameters)
c.provision()
while c.job:
    c.do_next(20)
c.connect_api()
c.create_sensor("s")
c.delete_sensor("none")
for _ in range(30):
    c.do_next(10)
c.disconnect_api()
report(job=c.job)
"""
    ).report
    assert got == {"job": None}
    assert sent(agent) == ["sensor/create", "sensor/none/delete"]


def test_calls_within_callbacks(device):
    got = device.run(
        """
c = connected()
names = []
def made(msg, **values):
    names.append(json.loads(msg)["name"])
    if len(names) < 3:
        c.create_sensor("s%d" % len(names), callback=made)
c.create_sensor("s0", callback=made)
while len(names) < 3:
    c.do_next(20)
c.check_connection(callback=lambda **values: c.disconnect_api())
report(names=names, on=drive(c)[0]["on"])
"""
    ).report
    assert got == {"names": ["s0", "s1", "s2"], "on": "disconnect"}


# -- bounds ------------------------------------------------------------------------------------


def test_a_running_clients_heap_stays_as_it_is(device):
    """To the byte, after any number of calls, refusals and live data."""
    if device.board.name != "micropython":
        pytest.skip("CPython has no figure for it")
    got = device.run(
        """
import gc
c = connected()
c.on_api_log = None
sensor = new_sensor(c)
metric, = new_metrics(c, sensor, "double")
c.listen_live_data(sensor, callback=lambda **values: None)
for _ in range(3):
    for i in range(40):
        ask(c, c.push_metrics, sensor, {"metrics": [{"metricId": metric, "value": i}]})
        ask(c, c.delete_sensor, "none")
        ask(c, c.create_metric, {"metrics": []}, sensor)
    for i in range(20):
        c.do_next(5)
    gc.collect()
    gc.collect()
    report(heap=gc.mem_alloc())
"""
    ).reports
    assert got[1] == got[2]


def test_a_connectors_data_is_its_own(device, agent):
    """Another client with a certificate of the same agent hears and changes nothing of ours."""
    got = device.run(
        """
c = connected()
other = client(ClientName="other")
other.provision()
drive(other)
other.connect_api()
drive(other)
sensor = new_sensor(c)
report(got=ask(other, other.delete_sensor, sensor)["error_code"])
report(mine=len(json.loads(ask(c, c.list_sensors)["msg"])),
       theirs=len(json.loads(ask(other, other.list_sensors)["msg"])))
"""
    ).reports
    assert got == [{"got": 15}, {"mine": 1, "theirs": 0}]


# -- what hurt people --------------------------------------------------------------------------


def test_pain_64_a_lost_connection_is_told_as_a_disconnect(device, agent):
    """Once for each connection that was told of; an attempt that fails is no disconnect."""
    with Relay(agent.port) as relay:
        program = device.start(
            """
hurry(50)
c = connected(MqttPort=port)
report(ready=1)
while len([h for h in heard if h["on"] == "error"]) < 4:
    c.do_next(20)
report(heard=[(h["on"], h["error_code"], h["user_data"]) for h in heard],
       same=heard[0]["error_str"] == heard[1]["error_str"], keys=sorted(heard[1]))
""",
            port=relay.port,
        )
        program.next_report()
        relay.down()
        got = program.next_report()
    assert got["heard"][:2] == [["error", 3, "mine"], ["disconnect", 3, "mine"]]
    assert [on for on, _, _ in got["heard"][2:]] == ["error"] * 3
    assert got["same"] and got["keys"] == ["error_code", "error_str", "on", "user_data"]


def test_pain_65_on_api_log_is_called_as_the_others(device):
    """With keywords: its own `msg`, and those of on_api_connect()."""
    got = device.run(
        """
c = provisioned()
lines = []
def log(**values):
    lines.append(values)
c.on_api_log = log
c.on_api_error = None
c.delete_sensor("none", callback=None) if False else None
c.parameters["MqttPort"] = 1
c.connect_api()
while not lines:
    c.do_next(20)
report(line=lines[0], words=lines[0]["msg"] == lines[0]["error_str"])
"""
    ).report
    assert sorted(got["line"]) == ["error_code", "error_str", "msg", "user_data"]
    assert got["line"]["user_data"] == "mine" and got["line"]["error_code"] == 0
    assert "can't connect" in got["line"]["msg"] and got["words"]


def test_pain_70_the_documents_texts(device, agent):
    got = device.run(
        """
c = connected()
report(ping=ask(c, c.check_connection)["msg"])
sensor = new_sensor(c)
report(update=ask(c, c.update_sensor_description, sensor, "new")["msg"])
report(delete=ask(c, c.delete_sensor, sensor)["msg"])
"""
    ).reports
    assert json.loads(got[0]["ping"]) == {"request": "Ping"}
    assert got[1]["update"] == "Datasource Changed"
    assert got[2]["delete"].startswith("Sensor was deleted")


REFUSALS = [
    (1, "Connection refused - incorrect protocol version"),
    (2, "Connection refused - invalid client identifier"),
    (3, "Connection refused - server unavailable"),
    (4, "Connection refused - bad username or password"),
    (5, "Connection refused - not authorized"),
]


def test_pain_70_refused_connections_in_the_documents_words(device, agent):
    service = agent.service("teamviewer")
    authenticate = service.authenticate
    try:
        for code, text in REFUSALS:
            service.authenticate = lambda client, password, code=code: code
            got = device.run(
                """
c = provisioned()
c.connect_api()
report(got=drive(c)[0])
"""
            ).report["got"]
            assert (got["on"], got["error_code"], got["error_str"]) == ("error", code, text)
    finally:
        service.authenticate = authenticate


BATCHES = [
    # (call, its metrics with one bad one in the middle, the code, how many are sent)
    (
        "create_metric",
        [
            {"matchingId": "1", "name": "a", "valueType": "bool"},
            {"matchingId": "2", "name": "b", "valueType": "float"},
            {"matchingId": "3", "name": "c", "valueType": "double"},
        ],
        13,
    ),
    ("push_metrics", [{"value": 1}, {"metricId": "m", "value": None}, {"value": 2}], 8),
    ("push_metrics", [{"value": 1}, {"metricId": 7, "value": 3}, {"value": 2}], 7),
    ("push_metrics", [{"value": 1}, "{", {"value": 2}], 4),
    ("push_metrics", [{"value": 1}, {"metricId": "m", "value": float("inf")}, {"value": 2}], 19),
    ("update_metrics", [{"name": "x"}, {"metricId": "m", "name": 5}, {"name": "y"}], 7),
    ("delete_metric", [{}, {"metricId": None}, {}], 7),
]


def test_pain_42_one_bad_metric_costs_no_other(device, agent):
    """The others are sent; the bad one is told of, by the callback or by on_api_error."""
    batches = [(name, metrics, code) for name, metrics, code in BATCHES]
    reports = device.run(
        """
c = connected()
sensor = new_sensor(c)
inf = float("inf")
for name, metrics, code in eval(batches):
    ids = new_metrics(c, sensor, "double", "double")
    if name != "create_metric":
        metrics[0]["metricId"], metrics[2]["metricId"] = ids
    first = sensor if name in ("push_metrics", "update_metrics") else {"metrics": metrics}
    second = {"metrics": metrics} if first is sensor else sensor
    getattr(c, name)(first, second, callback=hear("own"))
    report(got=[(h["error_code"], h["msg"] is not None) for h in drive(c, 2)])
    if name != "delete_metric":
        getattr(c, name)(first, second)
        report(got=[(h["on"], h["error_code"]) for h in drive(c, 2)])
""",
        batches=repr(batches),
    ).reports
    for name, _, code in BATCHES:
        assert reports.pop(0)["got"] == [[code, False], [0, True]], name
        if name != "delete_metric":
            assert reports.pop(0)["got"] == [["error", code], ["response", 0]], name
    bodies = [json.loads(p) for topic, p in agent.calls if topic.endswith("pushValues")]
    assert [[m["value"] for m in body["metrics"]] for body in bodies] == [[1, 2]] * 8


def test_pain_42_without_callbacks_the_others_are_sent_before_the_error_is_raised(device, agent):
    got = device.run(
        """
c = connected()
sensor = new_sensor(c)
one, = new_metrics(c, sensor, "double")
c.on_api_error = None
values = {"metrics": [{"metricId": one, "value": 1}, {"metricId": one, "value": None}]}
try:
    c.push_metrics(sensor, values)
except InputError as e:
    report(code=e.error_code, text=e.message, metric=one)
report(on=drive(c)[0]["on"])
"""
    ).reports
    assert got[0]["code"] == 8 and got[0]["metric"] in got[0]["text"]
    assert got[1] == {"on": "response"}


def test_pain_34_one_character_in_valid_utf_8_out(device, agent):
    """An emoji in names and values; an agent that escapes it as a surrogate pair."""
    service = agent.service("teamviewer")
    answer = service.answer

    async def escaped(connector, messages):
        await answer(
            connector,
            [
                (topic, json.dumps(json.loads(msg)).encode() if msg[:1] in b"{[" else msg)
                for topic, msg in messages
            ],
        )

    service.answer = escaped
    try:
        got = device.run(
            """
c = connected()
order = []
def own(name):
    return lambda msg, **more: order.append((name, msg))
c.create_sensor("plain", callback=own("plain"))
c.create_sensor(smile, callback=own("smile"))
while len(order) < 2:
    c.do_next(20)
import json_text
report(names=[(name, json_text.loads(msg)["name"]) for name, msg in order])
""",
            smile="\U0001f600 K\u00fche",
        ).report
    finally:
        service.answer = answer
    assert got["names"] == [["plain", "plain"], ["smile", "\U0001f600 K\u00fche"]]
    names = sorted(sensor.name for sensor in device.connector().sensors.values())
    assert names == ["plain", "\U0001f600 K\u00fche"]


def test_pain_34_what_has_no_json_is_refused_before_it_is_sent(device, agent):
    """Half a surrogate pair, and things that are no JSON, anywhere in what a program passes."""
    reports = device.run(
        """
c = connected()
half = chr(0xD83D)
base = {"metricId": "m", "value": 1}
for call, args in (
    (c.create_sensor, (half,)),
    (c.push_metrics, ("s", {"metrics": [dict(base, value=half)]})),
    (c.push_metrics, ("s", {"metrics": [dict(base, more=float("nan"))]})),
    (c.push_metrics, ("s", {"metrics": [dict(base, more=b"bytes")]})),
    (c.push_metrics, ("s", {"metrics": [dict(base, more={"deep": [1, {"x": object()}]})]})),
):
    call(*args, callback=hear("own"))
    report(code=drive(c, ms=0)[0]["error_code"])
"""
    ).reports
    assert [r["code"] for r in reports] == [4] * 5
    assert sent(agent) == []


def test_pain_35_a_message_that_the_agent_does_not_take_is_told(device, agent):
    """The link gives it up after a few tries; the calls behind it are answered."""
    service = agent.service("teamviewer")
    publish = service.publish

    def poisoned(client, packet):
        if b"poison" in packet.payload:
            client.abort()
            return None
        return publish(client, packet)

    service.publish = poisoned
    try:
        got = device.run(
            """
hurry(30)
c = connected()
c.create_sensor("poison", callback=hear("poison"), timeout=60)
c.check_connection(callback=hear("ping"), timeout=60)
got = []
start = time.ticks_ms()
while len(got) < 2 and time.ticks_diff(time.ticks_ms(), start) < 20000:
    got += [(h["on"], h["error_code"]) for h in drive(c, 1, 500) if h["on"] in ("poison", "ping")]
report(got=sorted(got))
"""
        ).report
    finally:
        service.publish = publish
    assert got["got"] == [["ping", 0], ["poison", 22]]


FAILING = program("teamviewer_iot_failing_hook")


@pytest.mark.parametrize("hook", ["connect", "response", "error", "disconnect", "log"])
def test_pain_33_a_callback_that_raises_costs_nothing_else(device, agent, hook):
    """Whatever else was to be told is told; the exception comes out of the step, once."""
    program = device.start(FAILING, hook=hook)
    program.send("go")
    program.next_report()
    until(lambda: len(agent.calls) >= 2, "the calls")
    agent.cut()
    assert program.next_report(20) == {"out": 1, "raised": 1}


SHORT_OF = program("teamviewer_iot_no_memory")
# How often each callback finds no memory, and what is heard of it then: at most two more calls.
SHORT_OF_MEMORY = {1: {"told": 2, "out": 0}, 9: {"told": 3, "out": 1}}


@pytest.mark.parametrize("times", SHORT_OF_MEMORY)
@pytest.mark.parametrize("hook", ["error", "disconnect", "own", "late"])
def test_pain_33_what_there_is_no_memory_to_tell_is_told_again_in_the_next_steps(
    device, agent, hook, times
):
    """Each of the rest is told once; after the third time in vain MemoryError comes out."""
    program = device.start(SHORT_OF, hook=hook, times=times)
    agent.set(mute=True)
    program.send("go")
    program.next_report()
    if hook != "late":
        agent.cut()
    program.send("go on")
    got = program.next_report(30)
    others = got.pop("others")
    assert got == SHORT_OF_MEMORY[times]
    lost = {"connect", "disconnect", "error"} if hook != "late" else set()
    assert others == sorted((lost | {"beside"}) - {hook})
