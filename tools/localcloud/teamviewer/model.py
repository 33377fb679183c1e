"""
What a TeamViewer IoT agent knows: connectors, their sensors, metrics and values, reported errors.

No MQTT here. Everything outlives the process if there is a store.

What no document decides and is our choice: the bounds, which code answers an empty list (17), a
foreign topic or a connector that was deleted (18), a number out of range (19), a request for a
certificate that is none (0), more connectors than the licence allows (2).
"""

import collections
import hashlib
import json
import math
import ssl
import sys
import uuid

from .. import pki, strict_json
from ..clock import Clock
from ..kept import NOWHERE, OddRows, Records
from ..refused import Refused as AnyRefused

CODES = (
    "UnknownError",
    "NoBackendConnection",
    "NoLicence",
    "InternalError",
    "InvalidJson",
    "JsonIsNotAObject",
    "MissingParameter",
    "ParameterIsNotAString",
    "ParameterIsNotANumber",
    "ParameterisNotABool",
    "ParameterIsNotAnArray",
    "ParameterIsNotAnInteger",
    "UnknownValueUnit",
    "UnknownMetricType",
    "ValueUnitOrValueTypeHasToBeProvided",
    "UnknownSensorId",
    "UnknownMetricId",
    "NoMetricsUpdated",
    "ForbiddendAccess",
    "OutOfRange",
)
UNITS = frozenset(
    """
    SI.ElectricCurrent.AMPERE SI.DataAmount.BIT SI.Temperature.CELSIUS
    SI.ElectricCapacitance.FARAD SI.Mass.GRAM SI.Frequency.HERTZ SI_Energy_JOULE SI.Energy.JOULE
    SI.Length.METER SI.Velocity.METERS_PER_SECOND SI.AmountOfSubstance.MOLE SI.Force.NEWTON
    SI.ElectricResistance.OHM SI.Pressure.PASCAL SI.Angle.RADIAN SI.Duration.SECOND
    SI.Area.SQUARE_METRE SI.ElectricPotential.VOLT SI.Power.WATT SI.LuminousIntensity.CANDELA
    SI.Acceleration.METERS_PER_SQUARE_SECOND NoSI.Dimensionless.PERCENT
    NoSI.Dimensionless.DECIBEL
    """.split()
)
TYPES = ("bool", "string", "double", "integer")

SENSORS_MAX = 1000  # of one connector
METRICS_MAX = 1000  # of one sensor
VALUES_KEPT = 1000  # pushes of each sensor; the oldest go first
REPORTS_KEPT = 1000  # reported errors of each connector
TEXT_MAX = 256  # characters of a name or annotation
STRING_MAX = 4096  # characters of a value
TIME_MAX = 253402300800000  # ms since 1970: the year 10000


class Refused(AnyRefused):
    """What the agent answers instead: code and words."""

    def __init__(self, code, text):
        super().__init__(400, "%s: %s" % (CODES[code], text), code=code)

    def body(self):
        return encode({"errorMessage": str(self), "errorcode": self.code})


def encode(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def new_id():
    return uuid.uuid4().hex


class Connector:
    """One provisioned client. sensors: id -> Sensor; reports: (ms, ids, text), newest last."""

    def __init__(self, id, request_hash, certificate):
        self.id = id
        self.request_hash = request_hash
        self.certificate = certificate  # PEM
        self.sensors = {}
        self.reports = collections.deque(maxlen=REPORTS_KEPT)


class Sensor:
    """metrics: id -> definition (dict with name, and valueUnit or valueType). values: pushes."""

    def __init__(self, id, name):
        self.id = id
        self.name = name
        self.metrics = {}
        self.values = collections.deque()  # (number, ms, {metric id: value})
        self.number = 0


class Agent:
    """
    authority: a pki.Authority that signs connectors' certificates. licences: how many connectors
    there may be. backend, licensed, broken: make False, False, True to have every call refused
    with NoBackendConnection, NoLicence, InternalError; mute True for no answers at all.
    """

    def __init__(self, authority, store=NOWHERE, licences=1000, clock=None):
        self.authority = authority
        self.clock = clock or Clock()
        self.odd = OddRows()  # of the store, which could not be read
        self.store = Records("teamviewer", store, self.odd)
        self.licences = licences
        self.backend = True
        self.licensed = True
        self.broken = False
        self.mute = False
        self.connectors = {}
        self.on_deleted = None  # called with a connector that is no more
        self._restore()

    # ---- connectors

    def provision(self, request):
        """
        The certificate (PEM) for a request (PEM or DER bytes): a new connector, or the same again
        for a request that was answered before.
        """
        digest = hashlib.sha256(request).hexdigest()
        for connector in self.connectors.values():
            if connector.request_hash == digest:
                return connector.certificate.encode()
        if len(self.connectors) >= self.licences or not self.licensed:
            raise Refused(2, "no licence for a further connector")
        try:
            issued = self.authority.sign_csr(request, new_id())
        except ValueError as e:
            raise Refused(0, str(e))
        connector = Connector(issued.common_name, digest, issued.pem.decode())
        self.connectors[connector.id] = connector
        self._save_connector(connector)
        return issued.pem

    def connector(self, certificate):
        """Whose certificate (DER) this is, or None: unknown, deleted, or not the one issued."""
        connector = self.connectors.get(pki.common_name(certificate))
        if connector is None or ssl.PEM_cert_to_DER_cert(connector.certificate) != certificate:
            return None
        return connector

    def deprovision(self, connector):
        """Delete a connector and all that is its; whoever holds it can do nothing more with it."""
        self.check(connector)
        for sensor in list(connector.sensors):
            self._forget_sensor(connector, sensor)
        del self.connectors[connector.id]
        self.store.drop("connector", connector.id)
        if self.on_deleted is not None:
            self.on_deleted(connector)

    def check(self, connector):
        """Refused for a connector that was deleted, though a session may still hold it."""
        if self.connectors.get(connector.id) is not connector:
            raise Refused(18, "the connector was deleted")

    # ---- sensors

    def parse(self, payload):
        """A payload that must be a JSON object, and is not looked into."""
        return _object(payload)

    def inventory(self, connector):
        self.check(connector)
        return [
            {
                "sensorId": sensor.id,
                "name": sensor.name,
                "store": True,
                "metrics": [
                    {"metricId": id, "link": _link(connector, sensor, id)} for id in sensor.metrics
                ],
            }
            for sensor in connector.sensors.values()
        ]

    def create_sensor(self, connector, payload):
        self.check(connector)
        name = _string(_object(payload), "name", TEXT_MAX)
        if len(connector.sensors) >= SENSORS_MAX:
            raise Refused(19, "%d sensors are as many as there may be" % SENSORS_MAX)
        sensor = Sensor(new_id(), name)
        connector.sensors[sensor.id] = sensor
        self._save_sensor(connector, sensor)
        return {"name": name, "sensorId": sensor.id}

    def update_sensor(self, connector, sensor_id, payload):
        sensor = self.sensor(connector, sensor_id)
        sensor.name = _string(_object(payload), "name", TEXT_MAX)
        self._save_sensor(connector, sensor)

    def delete_sensor(self, connector, sensor_id):
        self.sensor(connector, sensor_id)
        self._forget_sensor(connector, sensor_id)

    def sensor(self, connector, sensor_id):
        self.check(connector)
        try:
            return connector.sensors[sensor_id]
        except KeyError:
            raise Refused(15, "there is no sensor %s" % sensor_id)

    # ---- metrics

    def create_metrics(self, connector, sensor_id, payload):
        sensor = self.sensor(connector, sensor_id)
        made = {}
        answer = []
        for definition in _metrics(payload):
            matching = _string(definition, "matchingId", TEXT_MAX)
            metric = {"name": _string(definition, "name", TEXT_MAX)}
            if "valueUnit" in definition:
                metric["valueUnit"] = _string(definition, "valueUnit", TEXT_MAX)
                if metric["valueUnit"] not in UNITS:
                    raise Refused(12, "there is no unit %s" % metric["valueUnit"])
            elif "valueType" in definition:
                metric["valueType"] = _string(definition, "valueType", TEXT_MAX)
                if metric["valueType"] not in TYPES:
                    raise Refused(13, "a type is one of %s" % ", ".join(TYPES))
            else:
                raise Refused(14, "metric %s has neither" % metric["name"])
            if "valueAnnotation" in definition:
                metric["valueAnnotation"] = _string(definition, "valueAnnotation", TEXT_MAX)
            id = new_id()
            made[id] = metric
            answer.append({"matchingId": matching, "metricId": id})
        if len(sensor.metrics) + len(made) > METRICS_MAX:
            raise Refused(19, "a sensor has at most %d metrics" % METRICS_MAX)
        sensor.metrics.update(made)
        self._save_sensor(connector, sensor)
        return answer

    def describe_metric(self, connector, sensor_id, metric_id):
        sensor = self.sensor(connector, sensor_id)
        return dict(_metric(sensor, metric_id), metricId=metric_id)

    def update_metrics(self, connector, sensor_id, payload):
        sensor = self.sensor(connector, sensor_id)
        changes = []
        for given in _metrics(payload):
            metric = _metric(sensor, _string(given, "metricId", TEXT_MAX))
            change = {
                key: _string(given, key, TEXT_MAX)
                for key in ("name", "valueAnnotation")
                if key in given
            }
            if change:
                changes.append((metric, change))
        if not changes:
            raise Refused(17, "nothing to change was given")
        for metric, change in changes:
            metric.update(change)
        self._save_sensor(connector, sensor)

    def delete_metrics(self, connector, sensor_id, payload):
        sensor = self.sensor(connector, sensor_id)
        ids = [_string(given, "metricId", TEXT_MAX) for given in _metrics(payload)]
        for id in ids:
            _metric(sensor, id)
        for id in ids:
            sensor.metrics.pop(id, None)
        self._save_sensor(connector, sensor)

    # ---- values

    def push(self, connector, sensor_id, payload):
        """Take values, all or none. Returns what those who listen to live data get."""
        sensor = self.sensor(connector, sensor_id)
        body = _object(payload)
        ms = body.get("timestamp", self.clock.now_ms())
        if isinstance(ms, bool) or not isinstance(ms, int):
            raise Refused(11, "timestamp is milliseconds since 1970")
        if not 0 <= ms < TIME_MAX:
            raise Refused(19, "timestamp is milliseconds since 1970")
        values = {}
        for given in _metrics(body):
            id = _string(given, "metricId", TEXT_MAX)
            metric = _metric(sensor, id)
            if "value" not in given:
                raise Refused(6, "value")
            _check_value(given["value"], metric.get("valueType", "double"))
            values[id] = given["value"]
        sensor.number += 1
        sensor.values.append((sensor.number, ms, values))
        key = "%s/%s/%%d" % (connector.id, sensor.id)
        self.store.save("values", key % sensor.number, [ms, values])
        if len(sensor.values) > VALUES_KEPT:
            self.store.drop("values", key % sensor.values.popleft()[0])
        return {
            "metrics": [{"metricId": id, "value": value} for id, value in values.items()],
            "timestamp": ms,
        }

    # ---- reported errors

    def report(self, connector, ids, payload):
        """An error that the client noticed. ids: none, its sensor's, or sensor's and metric's."""
        self.check(connector)
        if ids:
            sensor = self.sensor(connector, ids[0])
            if ids[1:]:
                _metric(sensor, ids[1])
        text = payload.decode(errors="replace")[:STRING_MAX]
        connector.reports.append((self.clock.now_ms(), "/".join(ids), text))
        self._save_connector(connector)

    # ---- for whoever runs it

    def show(self):
        """Everything, as JSON."""
        return {
            "backend": self.backend,
            "licensed": self.licensed,
            "broken": self.broken,
            "mute": self.mute,
            "connectors": [
                {
                    "id": connector.id,
                    "reports": list(connector.reports),
                    "sensors": [
                        {
                            "id": sensor.id,
                            "name": sensor.name,
                            "metrics": sensor.metrics,
                            "values": [list(push[1:]) for push in list(sensor.values)[-100:]],
                        }
                        for sensor in connector.sensors.values()
                    ],
                }
                for connector in self.connectors.values()
            ],
        }

    # ---- keeping

    async def kept(self):
        """
        Return when everything so far outlives the process. Who waits is woken in the order of
        asking: hence no asyncio.shield() around what all share.
        """
        wait = self.store.durable()
        if wait is not None:
            await wait

    def _save_connector(self, connector):
        self.store.save(
            "connector",
            connector.id,
            {
                "hash": connector.request_hash,
                "certificate": connector.certificate,
                "reports": list(connector.reports),
            },
        )

    def _save_sensor(self, connector, sensor):
        self.store.save(
            "sensor",
            "%s/%s" % (connector.id, sensor.id),
            {"name": sensor.name, "metrics": sensor.metrics},
        )

    def _forget_sensor(self, connector, sensor_id):
        sensor = connector.sensors.pop(sensor_id)
        key = "%s/%s" % (connector.id, sensor_id)
        self.store.drop("sensor", key)
        for number, _, _ in sensor.values:
            self.store.drop("values", "%s/%d" % (key, number))

    def _restore(self):
        # Connectors first, then their sensors, then the values of those. A row that can't be read,
        # or belongs to nobody, is left out and told of; the rest is served.
        for id, kept in self.store.load("connector").items():
            with self.odd.telling("connector " + id):
                certificate = _kept_text(kept["certificate"])
                ssl.PEM_cert_to_DER_cert(certificate)
                connector = Connector(id, _kept_text(kept["hash"]), certificate)
                connector.reports.extend(tuple(report) for report in kept["reports"])
                self.connectors[id] = connector
        for key, kept in self.store.load("sensor").items():
            with self.odd.telling("sensor " + key):
                owner, id = key.split("/")
                sensor = Sensor(id, _kept_text(kept["name"]))
                for metric, definition in kept["metrics"].items():
                    sensor.metrics[metric] = dict(definition, name=definition["name"])
                self.connectors[owner].sensors[id] = sensor
        pushes = []
        for key, kept in self.store.load("values").items():
            with self.odd.telling("values " + key):
                owner, id, number = key.split("/")
                ms, values = kept
                sensor = self.connectors[owner].sensors[id]
                pushes.append((int(number), sensor, int(ms), dict(values)))
        for number, sensor, ms, values in sorted(pushes, key=lambda push: push[0]):
            sensor.values.append((number, ms, values))
            sensor.number = number


def _kept_text(value):
    if not isinstance(value, str):
        raise ValueError("a text is none")
    return value


def _link(connector, sensor, metric_id):
    return "/v1.0/%s/sensor/%s/metric/%s/inventory" % (connector.id, sensor.id, metric_id)


def _metric(sensor, metric_id):
    try:
        return sensor.metrics[metric_id]
    except KeyError:
        raise Refused(16, "sensor %s has no metric %s" % (sensor.id, metric_id))


# ---- what clients send


def _object(payload):
    if isinstance(payload, dict):
        return payload
    try:
        value = strict_json.loads(payload)
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeError: half a surrogate pair
    except ValueError as e:
        raise Refused(4, str(e))
    if not isinstance(value, dict):
        raise Refused(5, "the payload is %s" % type(value).__name__)
    return value


def _metrics(payload):
    body = _object(payload)
    if "metrics" not in body:
        raise Refused(6, "metrics")
    metrics = body["metrics"]
    if not isinstance(metrics, list):
        raise Refused(10, "metrics")
    if not metrics:
        raise Refused(17, "the list of metrics is empty")
    if len(metrics) > METRICS_MAX:
        raise Refused(19, "at most %d metrics at a time" % METRICS_MAX)
    for metric in metrics:
        if not isinstance(metric, dict):
            raise Refused(5, "an element of metrics")
    return metrics


def _string(body, key, longest):
    if key not in body:
        raise Refused(6, key)
    value = body[key]
    if not isinstance(value, str):
        raise Refused(7, key)
    if not 0 < len(value) <= longest:
        raise Refused(19, "%s has 1 to %d characters" % (key, longest))
    return value


def _check_value(value, kind):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "bool":
        if not isinstance(value, bool):
            raise Refused(9, "value")
    elif kind == "string":
        if not isinstance(value, str):
            raise Refused(7, "value")
        if len(value) > STRING_MAX:
            raise Refused(19, "a value has at most %d characters" % STRING_MAX)
    elif kind == "integer":
        if not number or isinstance(value, float):
            raise Refused(11, "value")
        if not -(2**63) <= value < 2**63:
            raise Refused(19, "an integer has 64 bits")
    elif not number:
        raise Refused(8, "value")
    elif isinstance(value, float) and not math.isfinite(value) or abs(value) > sys.float_info.max:
        raise Refused(19, "value")
