"""What the bench found: kept as rows for a machine, printed as a table for a person."""

import json

REFERENCE = "umqtt.simple"  # whose figure the ratios are to
OURS = "MQTTLink"
NOT_MEASURED = "-"


class Report:
    """
    contenders: labels in the order of the columns.

    A figure is one line of the table: add() puts one client's value into it, aim() what MQTTLink
    shall reach there. left_out: sentences about what could not be measured here.
    """

    def __init__(self, contenders):
        self.contenders = contenders
        self.left_out = []
        self._figures = {}  # (section, label) -> _Figure

    def add(self, section, label, client, value=None, unit="", text=None, **more):
        """
        value: a number, or None where there is none; text then says why, in two words ("cannot",
        "> 13 s", NOT_MEASURED); with a number it is another way to show it. more: what else a
        machine may want to know (conditions, raw samples).
        """
        figure = self._figures.setdefault((section, label), _Figure(section, label, unit))
        figure.cells[client] = dict(more, value=value, text=text)

    def aim(self, section, label, text, met=None):
        """text: as in the table; met: called with MQTTLink's value and the figure."""
        figure = self._figures.get((section, label))
        if figure:
            figure.aim = text
            figure.judge = met

    def value(self, section, label, client):
        """The number added there, None if there is none."""
        figure = self._figures.get((section, label))
        return figure.cells.get(client, {}).get("value") if figure else None

    def rows(self):
        """The same as a list of flat dicts: figure, condition, client, value, unit, ratio ..."""
        return [
            dict(
                cell,
                section=figure.section,
                figure=figure.label,
                client=client,
                unit=figure.unit,
                ratio=figure.ratio(client),
                aim=figure.aim if client == OURS else None,
                met=figure.verdict() if client == OURS else None,
            )
            for figure in self._figures.values()
            for client, cell in figure.cells.items()
        ]

    def as_json(self, **more):
        return json.dumps(dict(more, rows=self.rows(), left_out=self.left_out), indent=1) + "\n"

    def table(self):
        """The whole as text; "(3.1x)" is a figure's ratio to umqtt.simple's in the same run."""
        lines = []
        section = None
        for figure in self._figures.values():
            if figure.section != section:
                section = figure.section
                head = self._line("", self.contenders, "shall")
                lines += ["", section, head, "-" * len(head)]
            cells = [figure.text(client) for client in self.contenders]
            aim, verdict = figure.aim or "", figure.verdict()
            if aim and verdict is not None:
                aim += "  met" if verdict else "  MISSED"
            unit = " [{}]".format(figure.unit) if figure.unit else ""
            lines.append(self._line("  " + figure.label + unit, cells, aim))
        if self.left_out:
            lines += ["", "Left out:"] + ["  " + text for text in self.left_out]
        return "\n".join(lines)

    def _line(self, first, cells, last):
        width = max(17, max(len(name) for name in self.contenders) + 1)
        cells = "".join("{:>{}}".format(cell, width) for cell in cells)
        return "{:<34}{}   {}".format(first, cells, last).rstrip()


class _Figure:
    def __init__(self, section, label, unit):
        self.section, self.label, self.unit = section, label, unit
        self.cells = {}
        self.aim = self.judge = None

    def ratio(self, client):
        value = self.cells[client]["value"]
        base = self.cells.get(REFERENCE, {})
        # A client that has no such mode is measured by the best that it can do.
        base = base.get("instead") if base.get("value") is None else base["value"]
        if client == REFERENCE or not value or not base:
            return None
        return round(value / base, 3 if value < base else 2)

    def verdict(self):
        cell = self.cells.get(OURS)
        if self.judge is None or cell is None or cell["text"] == NOT_MEASURED:
            return None
        if cell["value"] is None:
            return False
        return bool(self.judge(cell["value"], self))

    def text(self, client):
        cell = self.cells.get(client)
        if cell is None:
            return NOT_MEASURED
        if cell["text"] is not None:
            return cell["text"]
        ratio = self.ratio(client)
        shown = number(cell["value"])
        if ratio is None:
            return shown
        return "{} ({}x)".format(shown, number(ratio) if ratio >= 10 else round(ratio, 2))


def number(value):
    """Three digits or so, as a person likes them."""
    if value == int(value):
        return "{:,}".format(int(value))
    if abs(value) >= 100:
        return "{:,.0f}".format(value)
    return "{:.1f}".format(value) if abs(value) >= 10 else "{:.2g}".format(value)
