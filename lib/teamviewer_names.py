"""
The words of a TeamViewer agent: names of error codes and of units, reasons of a refused
connection, and what a definition of a metric must hold.

Loaded by teamviewer_iot for one of these and let go again. Not for programs, which find
error_name() in teamviewer_iot.
"""

from micropython import const

from teamviewer_errors import InputError

_KINDS_MAX = const(64)  # metrics whose type of values is remembered
_UNKNOWN_VALUE_UNIT = const(12)
_UNKNOWN_METRIC_TYPE = const(13)
_UNIT_OR_TYPE_NEEDED = const(14)

# The agent's error codes 0 to 19, the SDK's 20 and 21, and 22, which is ours.
_NAMES = (
    "UnknownError NoBackendConnection NoLicence InternalError InvalidJson JsonIsNotAObject"
    " MissingParameter ParameterIsNotAString ParameterIsNotANumber ParameterisNotABool"
    " ParameterIsNotAnArray ParameterIsNotAnInteger UnknownValueUnit UnknownMetricType"
    " ValueUnitOrValueTypeHasToBeProvided UnknownSensorId UnknownMetricId NoMetricsUpdated"
    " ForbiddendAccess OutOfRange CallbackArgumentsMismatch TLSError NoAnswer"
)
# CONNACK's return codes from 1 on, in the documents' words.
_REFUSALS = (
    "incorrect protocol version",
    "invalid client identifier",
    "server unavailable",
    "bad username or password",
    "not authorized",
)
# SI_Energy_JOULE is how the documents spell it; an agent may want the regular form.
_UNITS = (
    "SI_Energy_JOULE NoSI.Dimensionless.PERCENT NoSI.Dimensionless.DECIBEL"
    " SI.ElectricCurrent.AMPERE SI.DataAmount.BIT SI.Temperature.CELSIUS"
    " SI.ElectricCapacitance.FARAD SI.Mass.GRAM SI.Frequency.HERTZ SI.Energy.JOULE"
    " SI.Length.METER SI.Velocity.METERS_PER_SECOND SI.AmountOfSubstance.MOLE SI.Force.NEWTON"
    " SI.ElectricResistance.OHM SI.Pressure.PASCAL SI.Angle.RADIAN SI.Duration.SECOND"
    " SI.Area.SQUARE_METRE SI.ElectricPotential.VOLT SI.Power.WATT SI.LuminousIntensity.CANDELA"
    " SI.Acceleration.METERS_PER_SQUARE_SECOND"
)
_TYPES = ("bool", "string", "double", "integer")


def error_name(code):
    """teamviewer_iot.error_name()."""
    names = _NAMES.split()
    return names[code] if 0 <= code < len(names) else names[0]


def refuse(code, text):
    """Raise InputError with this code, its name, and what was wrong."""
    raise InputError(code, error_name(code) + ": " + text)


def refusal(code):
    """What a CONNACK's return code means."""
    if 0 < code <= len(_REFUSALS):
        return "Connection refused - " + _REFUSALS[code - 1]
    return "Connection refused - unknown code %d" % code


def definition(metric, check_text):
    """
    Check one element of create_metric()'s definitions; numbers as matchingId become text.

    check_text(metric, key, needed): raises InputError unless metric[key] is text.
    """
    if type(metric.get("matchingId")) is int:
        # The documents' example passes numbers; their table, and the agent, want strings.
        metric["matchingId"] = str(metric["matchingId"])
    for key in ("matchingId", "name"):
        check_text(metric, key, True)
    for key in ("valueAnnotation", "valueUnit", "valueType"):
        check_text(metric, key, False)
    if "valueUnit" in metric:
        if metric["valueUnit"] not in _UNITS.split():
            refuse(_UNKNOWN_VALUE_UNIT, metric["valueUnit"])
    elif "valueType" not in metric:
        refuse(_UNIT_OR_TYPE_NEEDED, metric["name"])
    elif metric["valueType"] not in _TYPES:
        refuse(_UNKNOWN_METRIC_TYPE, metric["valueType"])


def learn(kinds, metrics, answer):
    """
    Note in kinds (metric id -> type) what create_metric(metrics) was answered. 64 at most: then
    all are forgotten, and the agent alone checks their values.
    """
    if len(kinds) + len(answer) > _KINDS_MAX:
        kinds.clear()
    for metric in metrics:
        for given in answer:
            if isinstance(given, dict) and given.get("matchingId") == metric["matchingId"]:
                if len(kinds) >= _KINDS_MAX:
                    return
                kind = "double" if "valueUnit" in metric else metric["valueType"]
                kinds[str(given.get("metricId"))] = kind
