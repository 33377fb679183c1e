"""
IBM's registry: organisations, devices, gateways and API keys, their tokens salted and hashed.

All of it is in memory and in SQLite; what is written is promised once `store.durable()` is done.
Tokens are hashed with scrypt in a thread; whoever was right once is remembered in memory under
a key of this process, so that hundreds of devices can come back at once.
"""

import asyncio
import hashlib
import hmac
import json
import os
import re
import secrets
import time

DEVICE = "device"
GATEWAY = "gateway"
APPLICATION = "application"

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
    """store: store.Store, or None for a registry that is forgotten with the process."""

    def __init__(self, store=None):
        self._store = store
        self.orgs = {}  # org -> (name, created, seconds since 1970)
        self.devices = {}  # (org, type, id) -> Device
        self.keys = {}  # API key -> (org, salt, hash)
        self._types = {}  # org -> names of device types that were added by themselves
        self._quick_key = os.urandom(32)
        self._quick = {}  # whose -> keyed digest of the token that was right
        if store is not None:
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
            metadata, info = [None if t is None else json.loads(t) for t in (metadata, info)]
            self.devices[org, type, id] = Device(
                kind, org, type, id, metadata, info, json.loads(auth), date, salt, hash
            )
        for org, type in self._store.load("SELECT * FROM ibm_types"):
            self._types.setdefault(org, set()).add(type)
        for key, org, salt, hash in self._store.load("SELECT * FROM ibm_keys"):
            self.keys[key] = org, salt, hash

    def _write(self, sql, params):
        if self._store is not None:
            self._store.write(sql, params)

    async def durable(self):
        """Done when everything registered so far is kept."""
        wait = self._store.durable() if self._store is not None else None
        if wait is not None:
            await asyncio.shield(wait)

    # ---- organisations and keys

    def add_org(self, org, name=None):
        if org not in self.orgs:
            self.orgs[org] = name or "Organisation " + org, int(time.time())
            self._write("INSERT INTO ibm_orgs VALUES (?, ?, ?)", (org, *self.orgs[org]))

    async def ensure_keys(self, keys):
        """keys: (API key, token). Registered, or given this token if it is another one."""
        for key, token in keys:
            org = key.split("-")[1]
            self.add_org(org)
            if key in self.keys and await self.check_key(key, token.encode()):
                continue
            salt, hash = await self._hash_new(("key", key), token.encode())
            self.keys[key] = org, salt, hash
            self._write(
                "INSERT OR REPLACE INTO ibm_keys VALUES (?, ?, ?, ?)", (key, org, salt, hash)
            )

    def revoke_key(self, key):
        """Forget an API key; False when there was none."""
        self._quick.pop(("key", key), None)
        self._write("DELETE FROM ibm_keys WHERE key = ?", (key,))
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
        self._write("INSERT OR REPLACE INTO ibm_types VALUES (?, ?)", (org, type))

    def remove_type(self, org, type):
        self._types.get(org, set()).discard(type)
        self._write("DELETE FROM ibm_types WHERE org = ? AND type = ?", (org, type))

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
        device = Device(kind, org, type, id, metadata, info, auth, int(time.time()), salt, hash)
        self.devices[org, type, id] = device
        self._save(device)
        return device

    def _save(self, d):
        self._write(
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
        self._write(
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
