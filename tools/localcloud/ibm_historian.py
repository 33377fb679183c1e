"""
IBM's historian: every IOTF event of a registered device, in SQLite, newest first.

Bounded: `keep` events, the oldest go first. The time of an event is when it was received. No
source decides, so it is our choice: bounds are inclusive; paging ends with an empty page; a
summary has one record for each device, over all its events within the bounds, evt_type and time
being those of the newest; stdev and variance are the sample's (n - 1; 0 for one value); booleans
are no numbers.
"""

import json
import math
import time

from . import strict_json

MAX_TOP = 100
AGGREGATES = ("avg", "count", "min", "max", "sum", "range", "stdev", "variance")


def iotf_data(payload):
    """The `d` object of an IOTF JSON payload (2.5), or None for everything else."""
    if payload[:1] not in (b"{", b" ", b"\n", b"\r", b"\t"):
        return None
    try:
        value = strict_json.loads(payload.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("d"), dict):
        return None
    if len(value) == 1 or (len(value) == 2 and isinstance(value.get("ts"), str)):
        return value["d"]
    return None


class Query:
    """What is asked: org, type, id, evt_type (None: all), start and end in ms (None: open)."""

    def __init__(self, org, type=None, id=None, evt_type=None, start=None, end=None):
        self.org = org
        self.type = type
        self.id = id
        self.evt_type = evt_type
        self.start = start
        self.end = end

    def where(self):
        """(SQL condition, its values)."""
        conditions = []
        values = []
        for condition, value in (
            ("org = ?", self.org),
            ("type = ?", self.type),
            ("device = ?", self.id),
            ("evt = ?", self.evt_type),
            ("t >= ?", self.start),
            ("t <= ?", self.end),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        return " AND ".join(conditions), values


class Historian:
    """store: store.Store."""

    def __init__(self, store, keep=500000):
        self._store = store
        self.keep = keep
        store.script(
            """
            CREATE TABLE IF NOT EXISTS ibm_events (
                n INTEGER PRIMARY KEY AUTOINCREMENT, org TEXT NOT NULL, type TEXT NOT NULL,
                device TEXT NOT NULL, evt TEXT NOT NULL, t INTEGER NOT NULL, data TEXT NOT NULL);
            CREATE INDEX IF NOT EXISTS ibm_events_org ON ibm_events (org, t, n);
            CREATE INDEX IF NOT EXISTS ibm_events_device ON ibm_events (org, type, device, t, n);
            CREATE INDEX IF NOT EXISTS ibm_events_type ON ibm_events (org, type, t, n);
            """
        )
        self._since_trim = 0

    def add(self, org, type, id, event, data, promised=True):
        """
        Record an event, now. It is kept once store.durable() is done. Without a promise it is left
        out when the disk can't follow.
        """
        if not promised and self._store.busy:
            return
        now = int(time.time() * 1000)
        self._store.write(
            "INSERT INTO ibm_events (org, type, device, evt, t, data) VALUES (?, ?, ?, ?, ?, ?)",
            (org, type, id, event, now, json.dumps(data)),
        )
        self._since_trim += 1
        if self._since_trim >= min(1000, self.keep):
            self._since_trim = 0
            self._store.write(
                "DELETE FROM ibm_events WHERE n <= (SELECT MAX(n) FROM ibm_events) - ?",
                (self.keep,),
            )

    async def page(self, query, top=MAX_TOP, after=None):
        """
        (records, position): up to `top` records, newest first; `after`: a position given before.
        A record is (type, device, evt, t, data) with data as JSON text.
        """
        where, values = query.where()
        if after is not None:
            where += " AND (t, n) < (?, ?)"
            values += after
        rows = await self._store.read(
            "SELECT type, device, evt, t, data, n FROM ibm_events WHERE %s"
            " ORDER BY t DESC, n DESC LIMIT ?" % where,
            (*values, top),
        )
        position = [rows[-1][3], rows[-1][5]] if rows else None
        return [row[:5] for row in rows], position

    async def summarize(self, query, fields, aggregate, top=MAX_TOP):
        """As page(), one record for each device, data being {field: its aggregate or None}."""
        where, values = query.where()

        def collect(db):
            newest = {}
            numbers = {}
            for type, device, evt, t, data in db.execute(
                "SELECT type, device, evt, t, data FROM ibm_events WHERE %s"
                " ORDER BY t DESC, n DESC" % where,
                values,
            ):
                key = type, device
                if key not in newest:
                    newest[key] = evt, t
                    numbers[key] = {field: Numbers() for field in fields}
                data = json.loads(data)
                for field, collected in numbers[key].items():
                    value = data.get(field)
                    if isinstance(value, (int, float)) and not isinstance(value, bool):
                        # What a float can't hold can't be summed up either.
                        if abs(value) < 1e150:
                            collected.add(value)
            return newest, numbers

        newest, numbers = await self._store.run(collect)
        return [
            (
                *key,
                *newest[key],
                json.dumps({f: c.aggregate(aggregate) for f, c in numbers[key].items()}),
            )
            for key in list(newest)[:top]
        ]


class Numbers:
    """The eight aggregates of a stream of numbers (Welford's way for the variance)."""

    def __init__(self):
        self.count = 0
        self.sum = 0
        self.min = None
        self.max = None
        self._mean = 0.0
        self._squares = 0.0

    def add(self, x):
        self.count += 1
        self.sum += x
        self.min = x if self.min is None else min(self.min, x)
        self.max = x if self.max is None else max(self.max, x)
        off = x - self._mean
        self._mean += off / self.count
        self._squares += off * (x - self._mean)

    def aggregate(self, name):
        """One of AGGREGATES; None when there were no numbers (0 for count)."""
        if name == "count":
            return self.count
        if not self.count:
            return None
        if name == "avg":
            return self.sum / self.count
        if name == "range":
            return self.max - self.min
        if name in ("variance", "stdev"):
            variance = self._squares / (self.count - 1) if self.count > 1 else 0.0
            return variance if name == "variance" else math.sqrt(variance)
        return getattr(self, name)
