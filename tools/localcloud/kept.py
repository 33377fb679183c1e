"""
What a service keeps: JSON values by kind and key, in a table of the cloud's database; and NOWHERE,
the store of whoever keeps nothing, so that nobody has to ask whether there is one.
"""

import asyncio
import contextlib
import json
import logging

from . import strict_json

log = logging.getLogger("localcloud.store")

# What reading a row raises that this version has not written.
_ODD = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError)


class _Nowhere:
    """store.Store's face; takes everything and keeps nothing."""

    busy = False

    def script(self, sql):
        pass

    def load(self, sql, params=()):
        return []

    def write(self, sql, params=()):
        pass

    def durable(self):
        return None


NOWHERE = _Nowhere()


async def until_kept(store):
    """Return when everything written so far outlives the process."""
    wait = store.durable()
    if wait is not None:
        # Many wait for the same thing: who gives up must not take it from the others.
        await asyncio.shield(wait)


class OddRows:
    """
    Rows that can't be read are told of, counted, and left where they are; the rest is served.

        with odd.telling("device 7"): ...
    """

    def __init__(self, *more):
        """more: exceptions that reading may raise, beside those of odd JSON."""
        self.count = 0
        self._odd = _ODD + more

    @contextlib.contextmanager
    def telling(self, what):
        """Whatever oddness ends the block ends it only."""
        try:
            yield
        except self._odd as e:
            self.count += 1
            log.warning("the store's %s can't be read and is left out: %r", what, e)


class Records:
    """
    JSON values by kind and key. table: the name of their table. odd: an OddRows, for what a start
    finds there.
    """

    def __init__(self, table, store=NOWHERE, odd=None):
        self._table = table
        self.store = store
        self._odd = odd or OddRows()
        self.durable = store.durable
        store.script(
            "CREATE TABLE IF NOT EXISTS %s (kind TEXT NOT NULL, key TEXT NOT NULL,"
            " value TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;" % table
        )

    def load(self, kind):
        """{key: value} of what can be read."""
        found = {}
        for key, text in self.store.load(
            "SELECT key, value FROM %s WHERE kind = ?" % self._table, (kind,)
        ):
            with self._odd.telling("%s %s" % (kind, key)):
                found[key] = strict_json.loads(text)
        return found

    def save(self, kind, key, value):
        self.store.write(
            "INSERT OR REPLACE INTO %s VALUES (?, ?, ?)" % self._table,
            (kind, key, json.dumps(value)),
        )

    def drop(self, kind, key):
        self.store.write("DELETE FROM %s WHERE kind = ? AND key = ?" % self._table, (kind, key))
