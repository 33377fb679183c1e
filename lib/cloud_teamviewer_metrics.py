"""
How metrics are defined at a TeamViewer IoT agent, out of the names and values of fields. Loaded
by cloud_teamviewer when a field is sent for the first time, and let go again.
"""

# What people write -> what the agent calls it. The agent's own names are taken, too.
_UNITS = {
    "A": "SI.ElectricCurrent.AMPERE",
    "bit": "SI.DataAmount.BIT",
    "°C": "SI.Temperature.CELSIUS",
    "C": "SI.Temperature.CELSIUS",
    "F": "SI.ElectricCapacitance.FARAD",
    "g": "SI.Mass.GRAM",
    "Hz": "SI.Frequency.HERTZ",
    "J": "SI_Energy_JOULE",
    "m": "SI.Length.METER",
    "m/s": "SI.Velocity.METERS_PER_SECOND",
    "mol": "SI.AmountOfSubstance.MOLE",
    "N": "SI.Force.NEWTON",
    "Ohm": "SI.ElectricResistance.OHM",
    "Pa": "SI.Pressure.PASCAL",
    "rad": "SI.Angle.RADIAN",
    "s": "SI.Duration.SECOND",
    "m2": "SI.Area.SQUARE_METRE",
    "V": "SI.ElectricPotential.VOLT",
    "W": "SI.Power.WATT",
    "cd": "SI.LuminousIntensity.CANDELA",
    "m/s2": "SI.Acceleration.METERS_PER_SQUARE_SECOND",
    "%": "NoSI.Dimensionless.PERCENT",
    "dB": "NoSI.Dimensionless.DECIBEL",
}


def definitions(names, fields, units):
    """
    Return what create_metric() takes, for these names of fields (dict). units: {name: unit}. The
    name itself is the matchingId, so that the answer's ids find their fields.
    """
    metrics = []
    for name in names:
        value = fields[name]
        unit = units.get(name)
        metric = {"matchingId": name, "name": name}
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_number and unit and ("SI" in unit or unit in _UNITS):
            metric["valueUnit"] = _UNITS.get(unit, unit)
        else:
            # A unit that the agent has no name for is shown beside the value.
            metric["valueAnnotation"] = unit or name
            metric["valueType"] = "string"
            if isinstance(value, bool):
                metric["valueType"] = "bool"
            elif is_number:
                metric["valueType"] = "double"
        metrics.append(metric)
    return {"metrics": metrics}
