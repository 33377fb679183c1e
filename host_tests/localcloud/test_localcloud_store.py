"""
What the local cloud promises to keep: the store itself, and a broker's durable sessions that come
through a restart as they would through kill -9 (a copy of a running server's files is opened).
"""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import stat

import pytest
from localcloud import store
from localcloud.background import Background
from localcloud.mqtt import codec as mq
from localcloud.mqtt import server as mqtt_server
from localcloud_rig import Raw
from waiting import until


@pytest.fixture
def background():
    with Background() as background:
        yield background


@contextlib.contextmanager
def opened(path, background):
    s = background.do(store.Store, str(path))
    try:
        yield s
    finally:
        background.call(s.close())


def test_one_turn_is_one_transaction_and_many_turns_share_commits(tmp_path, background):
    with opened(tmp_path / "db", background) as s:
        background.do(s.script, "CREATE TABLE t (a INTEGER, b INTEGER)")
        commits = []
        real = s.commit
        s.commit = lambda batch: (commits.append(len(batch)), real(batch))

        async def one(i):
            s.write("INSERT INTO t VALUES (?, 1)", (i,))
            s.write("INSERT INTO t VALUES (?, 2)", (i,))
            await s.durable()

        async def many():
            await asyncio.gather(*[one(i) for i in range(500)])
            return await s.read("SELECT COUNT(*), COUNT(DISTINCT a) FROM t")

        assert background.call(many()) == [(1000, 500)]
        assert sum(commits) == 1000 and len(commits) < 20
        assert all(n % 2 == 0 for n in commits), "what one turn wrote was torn apart"
        assert s.durable() is None


def test_durable_means_on_disk(tmp_path, background):
    with opened(tmp_path / "db", background) as s:
        assert background.do(s.load, "PRAGMA journal_mode") == [("wal",)]
        # It is a property of the connection that writes, and what a script sees of it.
        background.do(s.script, "CREATE TABLE t (a)")
        background.do(s.script, "CREATE TABLE p AS SELECT * FROM pragma_synchronous")
        assert background.do(s.load, "SELECT * FROM p") == [(2,)]

        async def write():
            s.write("INSERT INTO t VALUES (7)")
            assert s.durable() is s.durable()
            await s.durable()

        background.call(write())
        other = sqlite3.connect(str(tmp_path / "db"))
        assert other.execute("SELECT a FROM t").fetchall() == [(7,)]
        other.close()
    assert stat.S_IMODE(os.stat(str(tmp_path / "db")).st_mode) == 0o600


def test_a_batch_that_fails_fails_who_waits_and_later_ones_go_on(tmp_path, background):
    with opened(tmp_path / "db", background) as s:
        background.do(s.script, "CREATE TABLE t (a INTEGER UNIQUE)")

        async def write(*values):
            for value in values:
                s.write("INSERT INTO t VALUES (?)", (value,))
            await s.durable()

        background.call(write(1))
        with pytest.raises(sqlite3.IntegrityError):
            background.call(write(2, 1))
        background.call(write(3))
        assert background.do(s.load, "SELECT a FROM t") == [(1,), (3,)]


def test_close_writes_what_is_left(tmp_path, background):
    with opened(tmp_path / "db", background) as s:
        background.do(s.script, "CREATE TABLE t (a)")
        background.do(s.write, "INSERT INTO t VALUES (1)")
    with opened(tmp_path / "db", background) as s:
        assert background.do(s.load, "SELECT a FROM t") == [(1,)]


def test_a_file_that_is_no_database_or_of_another_version(tmp_path, background):
    (tmp_path / "junk").write_bytes(b"no database at all" * 100)
    with pytest.raises(store.StoreError, match="junk"):
        background.do(store.Store, str(tmp_path / "junk"))
    db = sqlite3.connect(str(tmp_path / "newer"))
    db.execute("PRAGMA user_version=99")
    db.commit()
    db.close()
    with pytest.raises(store.StoreError, match="another version.*--state"):
        background.do(store.Store, str(tmp_path / "newer"))
    with pytest.raises(store.StoreError, match="nowhere"):
        background.do(store.Store, str(tmp_path / "nowhere" / "db"))


# ---- a broker on it


class Node:
    """A persistent broker over the files of `directory`."""

    def __init__(self, directory):
        self.directory = directory
        self.background = Background()
        self.background.call(self._start())

    async def _start(self):
        os.makedirs(str(self.directory), exist_ok=True)
        self.store = store.Store(str(self.directory / "db"))
        self.server = mqtt_server.Server(store.SessionStore(self.store))
        self.service = self.server.add(mqtt_server.OpenBroker(persistent=True))
        self.port = (await self.server.listen("mqtt")).port

    def connect(self, client_id, present=False):
        return Raw(self.port).connect(client_id, present, clean=False)

    def crash_copy(self, name):
        """Another node, on what the disk holds at this moment."""
        copy = self.directory.parent / name
        shutil.copytree(str(self.directory), str(copy))
        return Node(copy)

    def stop(self):
        self.background.call(self.server.stop())
        self.background.call(self.store.close())
        self.background.stop()


@pytest.fixture
def node(tmp_path):
    nodes = [Node(tmp_path / "first")]
    crash = nodes[0].crash_copy

    def crash_copy(name):
        nodes.append(crash(name))
        return nodes[-1]

    nodes[0].crash_copy = crash_copy
    yield nodes[0]
    for each in nodes:
        each.stop()


def test_what_was_acknowledged_survives_a_crash(node):
    node.connect("a").subscribe(("t/#", 2), ("u", 1)).leave()
    b = Raw(node.port).connect("b")
    for i in range(1, 101):
        b.send(mq.Publish("t/%d" % i, b"%d" % i, 1 + i % 2, pid=i))
    b.expect(*[(mq.Pubrec if i % 2 else mq.Puback)(i) for i in range(1, 101)])
    after = node.crash_copy("after")
    a = after.connect("a", present=True)
    got = [a.read() for _ in range(100)]
    assert [(p.topic, p.payload, p.qos) for p in got] == [
        ("t/%d" % i, b"%d" % i, 1 + i % 2) for i in range(1, 101)
    ]
    assert sorted(after.service.sessions["a"].subscriptions) == ["t/#", "u"]
    a.sync()


def test_suback_is_a_promise_and_unsuback_too(node):
    a = node.connect("a").subscribe(("x", 1), ("y", 1), ("z", 1))
    a.send(mq.Unsubscribe(2, ["y"])).expect(mq.Unsuback(2))
    after = node.crash_copy("after")
    a2 = after.connect("a", present=True)
    a2.send(mq.Publish("y", b"", 1, pid=1), mq.Publish("z", b"", 1, pid=2))
    a2.expect_all(mq.Puback(1), mq.Puback(2), mq.Publish("z", b"", 1, pid=1))


def test_qos_2_is_exactly_once_whatever_moment_the_crash_has(node):
    """To the server and from it: each step's id is on disk before its packet is out."""
    # From the client: PUBREC is the promise that this id is known.
    b = node.connect("b")
    b.send(mq.Publish("elsewhere", b"x", 2, pid=9)).expect(mq.Pubrec(9))
    after = node.crash_copy("after1")
    b2 = after.connect("b", present=True)
    watcher = Raw(after.port).connect("w").subscribe("elsewhere")
    b2.send(mq.Publish("elsewhere", b"x", 2, dup=True, pid=9)).expect(mq.Pubrec(9))
    b2.send(mq.Pubrel(9)).expect(mq.Pubcomp(9))
    watcher.silent()

    # To the client: what it has seen comes again under the id that it has seen.
    a = node.connect("a").subscribe(("t", 2))
    b.send(*[mq.Publish("t", b"%d" % i, 2, pid=i) for i in (1, 2, 3)])
    b.expect(mq.Pubrec(1), mq.Pubrec(2), mq.Pubrec(3))
    a.expect(*[mq.Publish("t", b"%d" % i, 2, pid=i) for i in (1, 2, 3)])
    after = node.crash_copy("after2")
    a2 = after.connect("a", present=True)
    a2.expect(*[mq.Publish("t", b"%d" % i, 2, dup=True, pid=i) for i in (1, 2, 3)])

    # PUBREL is out: the PUBLISH must never come again.
    a.send(mq.Pubrec(1), mq.Pubrec(2)).expect(mq.Pubrel(1), mq.Pubrel(2))
    a.send(mq.Pubcomp(1)).sync()
    after = node.crash_copy("after3")
    a3 = after.connect("a", present=True)
    first = a3.read()
    if first == mq.Pubrel(1):  # its PUBCOMP was not on disk yet: released again, which is harmless
        first = a3.read()
    assert first == mq.Pubrel(2)
    a3.expect(mq.Publish("t", b"3", 2, dup=True, pid=3))


def test_a_released_id_may_be_used_again_after_a_crash(node):
    b = node.connect("b")
    for payload in (b"1", b"2"):
        b.send(mq.Publish("t", payload, 2, pid=5)).expect(mq.Pubrec(5))
        b.send(mq.Pubrel(5)).expect(mq.Pubcomp(5))
    # Something durable behind it, so that the release is on disk.
    b.subscribe(("z", 1), pid=7)
    after = node.crash_copy("after")
    w = Raw(after.port).connect("w").subscribe("t")
    b2 = after.connect("b", present=True)
    b2.send(mq.Publish("t", b"3", 2, pid=5)).expect(mq.Pubrec(5))
    w.expect(mq.Publish("t", b"3"))


def test_retained_messages_survive(node):
    b = Raw(node.port).connect("b")
    b.send(mq.Publish("r/1", b"one", 1, True, pid=1), mq.Publish("r/2", b"two", 1, True, pid=2))
    b.send(mq.Publish("r/1", b"", 1, True, pid=3))
    b.expect(mq.Puback(1), mq.Puback(2), mq.Puback(3))
    after = node.crash_copy("after")
    w = Raw(after.port).connect("w").subscribe(("r/#", 1))
    w.expect(mq.Publish("r/2", b"two", 1, True, pid=1)).silent()


def test_a_session_that_ended_is_gone_for_good(node):
    node.connect("a").subscribe(("t", 1)).leave()
    Raw(node.port).connect("a", clean=True).leave()
    node.connect("other").subscribe(("z", 1)).leave()
    after = node.crash_copy("after")
    assert list(after.service.sessions) == ["other"]
    after.connect("a", present=False)
    until(lambda: not after.background.do(after.store.load, "SELECT * FROM messages"))


def test_the_store_keeps_no_more_than_the_queue(node):
    node.service.queue_limit = 10
    node.connect("a").subscribe(("t", 1)).leave()
    b = Raw(node.port).connect("b")
    b.send(*[mq.Publish("t", b"%d" % i, 1, pid=i + 1) for i in range(50)])
    b.expect(*[mq.Puback(i + 1) for i in range(50)])
    rows = node.background.do(node.store.load, "SELECT payload FROM messages ORDER BY seq")
    assert [int(row[0]) for row in rows] == list(range(40, 50))
    a = node.connect("a", present=True)
    got = [a.read() for _ in range(10)]
    a.send(*[mq.Puback(p.pid) for p in got]).sync()
    until(lambda: not node.background.do(node.store.load, "SELECT * FROM messages"))


def test_when_the_disk_fails_nothing_is_acknowledged(node):
    node.connect("a").subscribe(("t", 1)).leave()
    b = Raw(node.port).connect("b")

    def broken(batch):
        raise sqlite3.OperationalError("disk I/O error")

    real, node.store.commit = node.store.commit, broken
    b.send(mq.Publish("t", b"", 1, pid=1)).closed()
    node.store.commit = real
    b = Raw(node.port).connect("b")
    b.send(mq.Publish("t", b"", 1, pid=1)).expect(mq.Puback(1))
