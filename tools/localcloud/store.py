"""
What the local cloud promises to keep: SQLite, written in groups by one thread.

    store.write(sql, params)        returns at once; all that one turn of the event loop writes is
                                    committed together, with what other turns wrote meanwhile
    store.durable()                 a future, done when all of that is on disk (WAL,
                                    synchronous=FULL), or None when nothing is outstanding; many
                                    may wait for it
    await store.read(sql, params)   rows, read in another thread; sees what is durable
    store.load(sql, params)         the same at once, for start-up

SessionStore is what mqtt/server.py needs of it. A batch that can't be written (disk full) fails
whoever waits for it; nothing is acknowledged that is not kept.
"""

import asyncio
import concurrent.futures
import itertools
import logging
import os
import sqlite3

log = logging.getLogger("localcloud.store")

BUSY = 50000  # statements waiting; with more, what nobody was promised should be left out
SCHEMA = 1


class StoreError(Exception):
    """The database can't be used; the text says why and what to do."""


class Store:
    """path: a file, made if need be (0600). Use within one event loop."""

    def __init__(self, path):
        self.path = path
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = self._open()
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA):
                raise StoreError(
                    "%s was written by another version of the local cloud (%d, this is %d): "
                    "give another --state, or delete it" % (path, version, SCHEMA)
                )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA user_version=%d" % SCHEMA)
            self._reader = self._open()
        except (OSError, sqlite3.DatabaseError) as e:
            raise StoreError("%s can't be used as a database: %s" % (path, e))
        self._threads = [concurrent.futures.ThreadPoolExecutor(1) for _ in range(2)]
        self._pending = []
        self._pending_done = None  # the future of what is pending
        self._writing_done = None  # the future of what is being written
        self._scheduled = False

    def _open(self):
        return sqlite3.connect(
            self.path, timeout=10, isolation_level=None, check_same_thread=False
        )

    def script(self, sql):
        """Statements run at once, for making tables at a start."""
        self._db.executescript(sql)

    def load(self, sql, params=()):
        return self._reader.execute(sql, params).fetchall()

    @property
    def busy(self):
        """More waits to be written than is good."""
        return len(self._pending) > BUSY

    def write(self, sql, params=()):
        if not self._scheduled and self._writing_done is None:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._submit)
        self._pending.append((sql, params))

    def durable(self):
        """What is done when everything written so far is kept; None when there is nothing."""
        if not self._pending:
            return self._writing_done
        if self._pending_done is None:
            self._pending_done = asyncio.get_running_loop().create_future()
        return self._pending_done

    async def read(self, sql, params=()):
        return await self.run(lambda db: db.execute(sql, params).fetchall())

    async def run(self, function):
        """function(connection) in the reader's thread; what it returns. It must only read."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads[1], function, self._reader
        )

    def _submit(self):
        self._scheduled = False
        batch, self._pending = self._pending, []
        done, self._pending_done = self._pending_done, None
        if not batch:
            return
        loop = asyncio.get_running_loop()
        self._writing_done = done if done is not None else loop.create_future()
        # Nobody need wait for it; then its failure is logged here and nowhere else.
        self._writing_done.add_done_callback(lambda f: f.cancelled() or f.exception())
        task = loop.run_in_executor(self._threads[0], self.commit, batch)
        task.add_done_callback(self._written)

    def _written(self, task):
        done, self._writing_done = self._writing_done, None
        error = task.exception()
        if done.cancelled():
            pass
        elif error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
        if self._pending:
            self._submit()

    def commit(self, batch):
        """Write one batch, in the writer's thread; what it raises fails whoever waits for it."""
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            for sql, group in itertools.groupby(batch, lambda entry: entry[0]):
                db.executemany(sql, [params for _, params in group])
            db.execute("COMMIT")
        except Exception as e:
            log.error("%d statements could not be kept: %s", len(batch), e)
            try:
                if db.in_transaction:
                    db.execute("ROLLBACK")
            except sqlite3.Error:
                log.exception("and not be rolled back")
            raise

    async def close(self):
        """Write the rest and close."""
        while True:
            wait = self.durable()
            if wait is None:
                break
            await asyncio.wait([wait])
        for thread in self._threads:
            thread.shutdown()
        self._reader.close()
        self._db.close()


class SessionStore:
    """Durable sessions and retained messages, as mqtt_session writes them."""

    def __init__(self, store):
        self._store = store
        self._write = store.write
        self.durable = store.durable
        store.script(
            """
            CREATE TABLE IF NOT EXISTS sessions (
                sid INTEGER PRIMARY KEY, service TEXT NOT NULL, key TEXT NOT NULL,
                UNIQUE (service, key));
            CREATE TABLE IF NOT EXISTS subscriptions (
                sid INTEGER NOT NULL, filter TEXT NOT NULL, pattern TEXT, qos INTEGER NOT NULL,
                grp TEXT, PRIMARY KEY (sid, filter)) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS messages (
                sid INTEGER NOT NULL, seq INTEGER NOT NULL, topic TEXT NOT NULL,
                payload BLOB NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL,
                filter TEXT NOT NULL, pid INTEGER, state INTEGER NOT NULL DEFAULT 0,
                PRIMARY KEY (sid, seq));
            CREATE TABLE IF NOT EXISTS received (
                sid INTEGER NOT NULL, pid INTEGER NOT NULL, PRIMARY KEY (sid, pid)) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS retained (
                service TEXT NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
                qos INTEGER NOT NULL, PRIMARY KEY (service, topic));
            """
        )
        self._last_sid = store.load("SELECT COALESCE(MAX(sid), 0) FROM sessions")[0][0]

    def new_session(self, service, key):
        self._last_sid += 1
        self._write(
            "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)", (self._last_sid, service, key)
        )
        return self._last_sid

    def drop_session(self, sid):
        for table in ("sessions", "subscriptions", "messages", "received"):
            self._write("DELETE FROM %s WHERE sid = ?" % table, (sid,))

    def put_subscription(self, sid, filter, pattern, qos, group):
        self._write(
            "INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?, ?, ?)",
            (sid, filter, pattern, qos, group),
        )

    def drop_subscription(self, sid, filter):
        self._write("DELETE FROM subscriptions WHERE sid = ? AND filter = ?", (sid, filter))

    def put_message(self, sid, seq, topic, payload, qos, retain, filter):
        self._write(
            "INSERT INTO messages (sid, seq, topic, payload, qos, retain, filter)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (sid, seq, topic, payload, qos, retain, filter),
        )

    def sent(self, sid, seq, pid):
        self._write(
            "UPDATE messages SET pid = ?, state = 1 WHERE sid = ? AND seq = ?", (pid, sid, seq)
        )

    def released(self, sid, seq):
        self._write(
            "UPDATE messages SET payload = x'', state = 2 WHERE sid = ? AND seq = ?", (sid, seq)
        )

    def done(self, sid, seq):
        self._write("DELETE FROM messages WHERE sid = ? AND seq = ?", (sid, seq))

    def put_received(self, sid, pid):
        self._write("INSERT OR REPLACE INTO received VALUES (?, ?)", (sid, pid))

    def drop_received(self, sid, pid):
        self._write("DELETE FROM received WHERE sid = ? AND pid = ?", (sid, pid))

    def put_retained(self, service, topic, payload, qos):
        self._write(
            "INSERT OR REPLACE INTO retained VALUES (?, ?, ?, ?)", (service, topic, payload, qos)
        )

    def drop_retained(self, service, topic):
        self._write("DELETE FROM retained WHERE service = ? AND topic = ?", (service, topic))

    # ---- at a start

    def sessions(self, service):
        """(key, sid, subscriptions, messages, received) of each, as Session.restore() takes."""
        load = self._store.load
        for sid, key in load(
            "SELECT sid, key FROM sessions WHERE service = ? ORDER BY sid", (service,)
        ):
            yield (
                key,
                sid,
                load("SELECT filter, pattern, qos, grp FROM subscriptions WHERE sid = ?", (sid,)),
                load(
                    "SELECT seq, topic, payload, qos, retain, filter, pid, state FROM messages"
                    " WHERE sid = ? ORDER BY seq",
                    (sid,),
                ),
                [row[0] for row in load("SELECT pid FROM received WHERE sid = ?", (sid,))],
            )

    def retained(self, service):
        return self._store.load(
            "SELECT topic, payload, qos FROM retained WHERE service = ?", (service,)
        )
