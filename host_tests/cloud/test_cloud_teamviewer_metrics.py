"""lib/cloud_teamviewer_metrics.py: what a field's name, value and unit make of a metric."""

from board_rig import not_built


@not_built("the table of units has no name there")
def test_definitions(board):
    fields = {"a": 1.5, "b": True, "c": "x", "d": 2, "e": 3, "f": True}
    units = {"a": "°C", "d": "NoSI.Dimensionless.PERCENT", "e": "knots", "f": "V"}
    got = board.run(
        """
from cloud_teamviewer_metrics import definitions, _UNITS
from teamviewer_iot import TVCMI_client
report(made=definitions(list(FIELDS), FIELDS, UNITS)["metrics"], units=sorted(_UNITS.values()))
""",
        FIELDS=fields,
        UNITS=units,
    ).report
    made = {one["name"]: one for one in got["made"]}
    assert all(one["matchingId"] == name for name, one in made.items())
    assert made["a"]["valueUnit"] == "SI.Temperature.CELSIUS" and "valueType" not in made["a"]
    assert made["d"]["valueUnit"] == "NoSI.Dimensionless.PERCENT"
    assert made["e"]["valueType"] == "double" and made["e"]["valueAnnotation"] == "knots"
    assert made["b"]["valueType"] == "bool" and made["c"]["valueType"] == "string"
    assert made["f"]["valueType"] == "bool", "a truth value has no unit"
