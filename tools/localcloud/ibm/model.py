"""
What IBM's side knows. No MQTT and no HTTP here.

The registry: organisations, devices, gateways and API keys, their tokens salted and hashed. All of
it is in memory and in SQLite; what is written is promised once `store.durable()` is done. Tokens
are hashed with scrypt in a thread; whoever was right once is remembered in memory under a key of
this process, so that hundreds of devices can come back at once.

The historian: every IOTF event of a registered device, in SQLite, newest first. Bounded: `keep`
events, the oldest go first. The time of an event is when it was received. No source decides, so it
is our choice: bounds are inclusive; paging ends with an empty page; a summary has one record for
each device, over all its events within the bounds, evt_type and time being those of the newest;
stdev and variance are the sample's (n - 1; 0 for one value); booleans are no numbers.
"""

import asyncio
import hashlib
import hmac
import json
import math
import os
import re
import secrets

from .. import strict_json
from ..clock import Clock
from ..kept import NOWHERE, OddRows, until_kept

DEVICE = "device"
GATEWAY = "gateway"
APPLICATION = "application"

MAX_TOP = 100
AGGREGATES = ("avg", "count", "min", "max", "sum", "range", "stdev", "variance")

MAX_NAME = 36
MAX_DEVICES = 100000
# Tokens are random and long: they need no more stretching than these few milliseconds and 1 MB,
# and hundreds of devices come back at once after a restart.
_COST = {"n": 1024, "r": 8, "p": 1, "dklen": 32}


def is_name(text):
    """Device types and ids: up to 36 of letters, digits, dash, underscore, dot."""
    return (
        isinstance(text, str) and re.fullmatch("[A-Za-z0-9_.-]{1,%d}" % MAX_NAME, text) is not None
    )


def new_token():
    return secrets.token_urlsafe(13)


class Device:
    """
    metadata, info (deviceInfo of v0002): dict or None. auth: who registered it, {"id", "type"}.
    date: seconds since 1970.
    """

    __slots__ = ("kind", "org", "type", "id", "metadata", "info", "auth", "date", "salt", "hash")

    def __init__(self, kind, org, type, id, metadata, info, auth, date, salt, hash):
        self.kind = kind
        self.org = org
        self.type = type
        self.id = id
        self.metadata = metadata
        self.info = info
        self.auth = auth
        self.date = date
        self.salt = salt
        self.hash = hash

    @property
    def client_id(self):
        letter = "g" if self.kind == GATEWAY else "d"
        return "%s:%s:%s:%s" % (letter, self.org, self.type, self.id)


class Registry:
    """store: a store.Store; without one it is forgotten with the process. clock: a Clock."""

    def __init__(self, store=NOWHERE, clock=None):
        self.clock = clock or Clock()
        self.odd = OddRows()  # of the store, which could not be read
        self._store = store
        self.orgs = {}  # org -> (name, created, seconds since 1970)
        self.devices = {}  # (org, type, id) -> Device
        self.keys = {}  # API key -> (org, salt, hash)
        self._types = {}  # org -> names of device types that were added by themselves
        self._quick_key = os.urandom(32)
        self._quick = {}  # whose -> keyed digest of the token that was right
        self._load()

    def _load(self):
        self._store.script(
            """
            CREATE TABLE IF NOT EXISTS ibm_orgs (
                org TEXT PRIMARY KEY, name TEXT NOT NULL, created INTEGER NOT NULL);
            CREATE TABLE IF NOT EXISTS ibm_devices (
                org TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL,
                metadata TEXT, info TEXT, auth TEXT NOT NULL, date INTEGER NOT NULL,
                salt BLOB NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (org, type, id)) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS ibm_keys (
                key TEXT PRIMARY KEY, org TEXT NOT NULL, salt BLOB NOT NULL, hash BLOB NOT NULL);
            CREATE TABLE IF NOT EXISTS ibm_types (
                org TEXT NOT NULL, type TEXT NOT NULL, PRIMARY KEY (org, type)) WITHOUT ROWID;
            """
        )
        for org, name, created in self._store.load("SELECT * FROM ibm_orgs"):
            self.orgs[org] = name, created
        for org, type, id, kind, metadata, info, auth, date, salt, hash in self._store.load(
            "SELECT * FROM ibm_devices"
        ):
            with self.odd.telling("device %s:%s:%s" % (org, type, id)):
                metadata, info, auth = [
                    None if text is None else strict_json.loads(text)
                    for text in (metadata, info, auth)
                ]
                self.devices[org, type, id] = Device(
                    kind, org, type, id, metadata, info, auth, date, salt, hash
                )
        for org, type in self._store.load("SELECT * FROM ibm_types"):
            self._types.setdefault(org, set()).add(type)
        for key, org, salt, hash in self._store.load("SELECT * FROM ibm_keys"):
            self.keys[key] = org, salt, hash

    async def durable(self):
        """Done when everything registered so far is kept."""
        await until_kept(self._store)

    # ---- organisations and keys

    def add_org(self, org, name=None):
        if org not in self.orgs:
            self.orgs[org] = name or "Organisation " + org, int(self.clock.now())
            self._store.write("INSERT INTO ibm_orgs VALUES (?, ?, ?)", (org, *self.orgs[org]))

    async def ensure_keys(self, keys):
        """keys: (API key, token). Registered, or given this token if it is another one."""
        for key, token in keys:
            org = key.split("-")[1]
            self.add_org(org)
            if key in self.keys and await self.check_key(key, token.encode()):
                continue
            salt, hash = await self._hash_new(("key", key), token.encode())
            self.keys[key] = org, salt, hash
            self._store.write(
                "INSERT OR REPLACE INTO ibm_keys VALUES (?, ?, ?, ?)", (key, org, salt, hash)
            )

    def revoke_key(self, key):
        """Forget an API key; False when there was none."""
        self._quick.pop(("key", key), None)
        self._store.write("DELETE FROM ibm_keys WHERE key = ?", (key,))
        return self.keys.pop(key, None) is not None

    async def check_key(self, key, token):
        """The organisation of the API key, or None for an unknown one or a wrong token."""
        entry = self.keys.get(key)
        if entry is None:
            return None
        good = await self._check(("key", key), token, entry[1], entry[2])
        if not good or self.keys.get(key) is not entry:
            return None
        self._quick["key", key] = self._digest(token)
        return entry[0]

    # ---- device types that stand by themselves (v0002); every device's type is one as well

    def types_of(self, org):
        return self._types.get(org, set())

    def add_type(self, org, type):
        self._types.setdefault(org, set()).add(type)
        self._store.write("INSERT OR REPLACE INTO ibm_types VALUES (?, ?)", (org, type))

    def remove_type(self, org, type):
        self._types.get(org, set()).discard(type)
        self._store.write("DELETE FROM ibm_types WHERE org = ? AND type = ?", (org, type))

    # ---- devices

    def has(self, org, type, id):
        return (org, type, id) in self.devices

    def find(self, org, type=None):
        """The organisation's devices, of a type or of all, by type and id."""
        found = [
            d for d in self.devices.values() if d.org == org and (type is None or d.type == type)
        ]
        return sorted(found, key=lambda d: (d.type, d.id))

    async def add(self, kind, org, type, id, token, metadata=None, auth=None, info=None):
        """
        Register a device. KeyError when it exists already, ValueError for more than MAX_DEVICES.
        Kept only once durable() is done.
        """
        if self.has(org, type, id):
            raise KeyError("%s:%s exists already" % (type, id))
        if len(self.devices) >= MAX_DEVICES:
            raise ValueError("more than %d devices" % MAX_DEVICES)
        salt, hash = await self._hash_new(("device", org, type, id), token.encode())
        if self.has(org, type, id):
            raise KeyError("%s:%s exists already" % (type, id))
        auth = auth or {"id": "local cloud", "type": "app"}
        device = Device(
            kind, org, type, id, metadata, info, auth, int(self.clock.now()), salt, hash
        )
        self.devices[org, type, id] = device
        self._save(device)
        return device

    def _save(self, d):
        self._store.write(
            "INSERT OR REPLACE INTO ibm_devices VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                d.org,
                d.type,
                d.id,
                d.kind,
                None if d.metadata is None else json.dumps(d.metadata),
                None if d.info is None else json.dumps(d.info),
                json.dumps(d.auth),
                d.date,
                d.salt,
                d.hash,
            ),
        )

    async def ensure_devices(self, org, kind, devices):
        """devices: (type, id, token). Registered, or given this token if it is another one."""

        async def ensure(type, id, token):
            device = self.devices.get((org, type, id))
            if device is None:
                await self.add(kind, org, type, id, token)
            elif not await self.check_device(kind, org, type, id, token.encode()):
                device.kind = kind
                device.salt, device.hash = await self._hash_new(
                    ("device", org, type, id), token.encode()
                )
                self._save(device)

        await asyncio.gather(*[ensure(*device) for device in devices])

    def update(self, device, metadata, info=None):
        device.metadata = metadata
        if info is not None:
            device.info = info
        self._save(device)

    def revoke(self, device):
        """Its token is taken no longer; the device stays."""
        self._quick.pop(("device", device.org, device.type, device.id), None)
        device.salt, device.hash = os.urandom(16), os.urandom(32)
        self._save(device)

    def remove(self, org, type, id):
        """Forget a device, its token with it; the Device, or None when there was none."""
        self._quick.pop(("device", org, type, id), None)
        self._store.write(
            "DELETE FROM ibm_devices WHERE org = ? AND type = ? AND id = ?", (org, type, id)
        )
        return self.devices.pop((org, type, id), None)

    async def check_device(self, kind, org, type, id, token):
        device = self.devices.get((org, type, id))
        if device is None or device.kind != kind:
            return False
        hash = device.hash
        good = await self._check(("device", org, type, id), token, device.salt, hash)
        # It may have been removed or revoked while the hash was computed.
        if not good or self.devices.get((org, type, id)) is not device or device.hash != hash:
            return False
        self._quick["device", org, type, id] = self._digest(token)
        return True

    # ---- tokens

    def forget_right_ones(self):
        """As after a restart: the next time each token is checked against its hash."""
        self._quick.clear()

    async def _hash_new(self, whose, token):
        if b"\0" in token:
            raise ValueError("a token can't hold NUL")
        salt = os.urandom(16)
        hash = await _hash(token, salt)
        self._quick[whose] = self._digest(token)
        return salt, hash

    async def _check(self, whose, token, salt, hash):
        # HMAC, in which scrypt begins, pads a key with NULs: a token and the same with NULs behind
        # it have one hash. No token holds one.
        if b"\0" in token:
            return False
        known = self._quick.get(whose)
        digest = self._digest(token)
        if known is not None and hmac.compare_digest(known, digest):
            return True
        return hmac.compare_digest(await _hash(token, salt), hash)

    def _digest(self, token):
        return hmac.new(self._quick_key, token, "sha256").digest()


async def _hash(token, salt):
    return await asyncio.get_running_loop().run_in_executor(
        None, lambda: hashlib.scrypt(token, salt=salt, **_COST)
    )


# ---- the historian


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
    """store: a store.Store. clock: a Clock."""

    def __init__(self, store, keep=500000, clock=None):
        self._clock = clock or Clock()
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
        self._store.write(
            "INSERT INTO ibm_events (org, type, device, evt, t, data) VALUES (?, ?, ?, ?, ?, ?)",
            (org, type, id, event, self._clock.now_ms(), json.dumps(data)),
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
                data = strict_json.loads(data)
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
