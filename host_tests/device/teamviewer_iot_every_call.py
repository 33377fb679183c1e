# ruff: noqa: F821 (what stands before it defines the rest)
# Every call once, with what it answers. teamviewer_rig_device.py is there.
from given import report

c = connected()
def tell(name, call, *args):
    got = ask(c, call, *args)
    report(call=name, on=got["on"], code=got["error_code"], msg=got["msg"],
           keys=sorted(got), bytes=isinstance(got["msg"], bytes))
    return got["msg"]
tell("ping", c.check_connection)
sensor = json.loads(tell("create_sensor", c.create_sensor, "boiler"))["sensorId"]
tell("update_sensor", c.update_sensor_description, sensor, "Kessel №1")
defs = {"metrics": [
    {"matchingId": "1", "name": "t", "valueUnit": "SI.Temperature.CELSIUS"},
    {"matchingId": "2", "name": "state", "valueType": "string", "valueAnnotation": "mode"}]}
m = [x["metricId"] for x in json.loads(tell("create_metric", c.create_metric, defs, sensor))]
tell("describe_metric", c.describe_metric, m[1], sensor)
tell("update_metrics", c.update_metrics, sensor,
     {"metrics": [{"metricId": m[1], "name": "Zustand", "valueAnnotation": "Modus"}]})
tell("push_metrics", c.push_metrics, sensor,
     {"metrics": [{"value": 21.5, "metricId": m[0]}, {"value": "on", "metricId": m[1]}]})
tell("push_metrics", c.push_metrics, sensor, {"metrics": [{"value": 22, "metricId": m[0]}]},
     1767603600000)
tell("push_metrics", c.push_metrics, sensor, json.dumps(
    {"metrics": [{"value": 23, "metricId": m[0]}], "timestamp": 1767603600001}))
tell("list_sensors", c.list_sensors)
report(ids=m)
tell("delete_metric", c.delete_metric, json.dumps({"metrics": [{"metricId": m[0]}]}), sensor)
tell("delete_sensor", c.delete_sensor, sensor)
report(values=json.loads(ask(c, c.list_sensors)["msg"]))
