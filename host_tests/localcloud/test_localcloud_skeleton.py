"""What all parts of the local cloud stand on: clock, what is kept, refusals, faults, a Part."""

import asyncio
import json
import sqlite3

import pytest
from localcloud import cloud, ibm, store
from localcloud.clock import Clock, utc
from localcloud.fault_values import Faults
from localcloud.kept import NOWHERE, OddRows, Records
from localcloud.refused import Refused
from localcloud_rig import Http, cloud_running


# ---- the clock


def test_a_clock_goes_ahead_and_tells_who_listens():
    clock = Clock(lambda: 1000.5)
    heard = []
    clock.on_moved.append(lambda: heard.append(clock.now()))
    assert (clock.now(), clock.now_ms()) == (1000.5, 1000500)
    clock.move(60)
    clock.move(-0.5)
    assert heard == [1060.5, 1000.0] and clock.now_ms() == 1000000


def test_a_time_is_written_in_utc():
    assert utc(0) == "1970-01-01T00:00:00.000Z"
    assert utc(1706745599.9996) == "2024-01-31T23:59:59.999Z"
    assert utc(1706745600, 0) == "2024-02-01T00:00:00Z"
    assert utc(1706745600.25, 7) == "2024-02-01T00:00:00.2500000Z"


# ---- what is kept


def test_records_outlive_their_store_and_odd_ones_are_left_out(tmp_path, caplog):
    path = str(tmp_path / "kept.db")

    async def keep():
        kept = store.Store(path)
        records = Records("things", kept)
        for key in ("a", "b", "c"):
            records.save("kind", key, {"key": key})
        records.save("other", "a", 1)
        records.drop("kind", "c")
        await records.durable()
        await kept.close()

    asyncio.run(keep())
    with sqlite3.connect(path) as base:
        base.execute("UPDATE things SET value = 'NaN' WHERE kind = 'kind' AND key = 'b'")

    async def load():
        kept = store.Store(path)
        odd = OddRows()
        found = Records("things", kept, odd).load("kind")
        await kept.close()
        return found, odd.count

    assert asyncio.run(load()) == ({"a": {"key": "a"}}, 1)
    assert "kind b" in caplog.text


def test_nowhere_keeps_nothing_and_is_asked_like_a_store():
    records = Records("things", NOWHERE)
    records.save("kind", "a", 1)
    records.drop("kind", "a")
    assert records.load("kind") == {} and records.durable() is None
    assert not NOWHERE.busy


# ---- refusals and faults


def test_a_refusal_is_json_unless_a_service_has_its_own():
    refused = Refused(404, "there is none", {"A": "b"})
    assert json.loads(refused.body()) == {"message": "there is none"}
    assert (refused.status, refused.headers, refused.connack) == (404, {"A": "b"}, 5)


def test_faults_are_taken_in_their_order_by_whom_they_are_for():
    faults = Faults({"door": "delay status"})
    faults.order("door", 2, "a", delay=1)
    faults.order("door", status=500)
    assert faults.left("door") == 3
    assert faults.take("door", "b") == {"status": 500, "place": "door"}
    assert faults.take("door", "b") is None
    assert [faults.take("door", "a")["delay"] for _ in range(2)] == [1, 1]
    assert faults.take("door", "a") is None
    faults.order("door", None, delay=0)
    assert faults.left("door") is None and faults.take("door") and faults.take("door")
    faults.clear()
    assert faults.take("door") is None and faults.left("door") == 0


@pytest.mark.parametrize(
    "place, count, how",
    [
        ("window", 1, {"delay": 1}),
        (["door"], 1, {"delay": 1}),
        ("door", 1, {}),
        ("door", 1, {"close": True}),
        ("door", 1, {"delay": -1}),
        ("door", 0, {"delay": 1}),
        ("door", True, {"delay": 1}),
    ],
)
def test_a_fault_that_there_isn_t_is_not_ordered(place, count, how):
    faults = Faults({"door": "delay"})
    with pytest.raises(ValueError):
        faults.order(place, count, **how)
    assert faults.left("door") == 0


# ---- the parts


@pytest.mark.parametrize("part", cloud.load_parts(), ids=lambda part: part.key)
def test_a_service_is_a_package_of_the_same_five_files(part):
    package = part.__module__.rpartition(".")[0]
    assert package == "localcloud." + part.key
    for name in ("part", "model", "wire", "api", "control"):
        __import__(package + "." + name)


def control(keys, path, body, method="POST"):
    ready, token = keys
    http = Http(int(ready["http"]["url"].rpartition(":")[2]))
    return http(method, "/localcloud/v1" + path, body, Authorization="Bearer " + token)


@pytest.fixture
def whole(tmp_path):
    with cloud_running(parts=cloud.load_parts(), state=tmp_path) as (made, ready, background):
        yield made, (ready, (tmp_path / "control-token").read_text().strip()), background


def test_every_part_s_faults_are_ordered_the_same_way(whole):
    made, keys, _ = whole
    with_faults = [part for part in made.parts if part.faults is not None]
    assert {part.key for part in with_faults} >= {"azure", "digi"}
    for part in with_faults:
        place, ways = next(iter(part.faults.places.items()))
        good = {"place": place, "count": 2}
        if "delay" in ways:
            good["delay"] = 1
        path = "/%s/faults" % part.key
        assert control(keys, path, good)[0] == 200
        assert part.faults.left(place) == 2
        for bad in (dict(good, place="nowhere"), dict(good, count=0), dict(good, odd=1), []):
            assert control(keys, path, bad)[0] == 400
        assert control(keys, path, None, "DELETE")[0] == 200
        assert part.faults.left(place) == 0


def test_one_clock_for_all(whole):
    made, keys, _ = whole
    before = made.clock.now()
    assert control(keys, "/clock", {"ahead": 86400})[0] == 200
    assert 86400 <= made.clock.now() - before < 90000
    for bad in ({}, {"ahead": "tomorrow"}, {"ahead": True}, []):
        assert control(keys, "/clock", bad)[0] == 400
    ahead = made.clock.now()
    assert all(abs(one.now() - ahead) < 600 for one in clocks(made))


def clocks(made):
    """The clocks of the parts' models."""
    by_key = {part.key: part for part in made.parts}
    return [
        by_key["ibm"].registry.clock,
        by_key["teamviewer"].agent.clock,
        by_key["digi"].digi.clock,
        by_key["azure"].azure.registry.clock,
    ]


def test_an_odd_row_of_ibm_s_is_told_and_the_rest_is_served(tmp_path, caplog):
    device = "greenhouse", "sensor-7", "a-token"
    given = ("--ibm-device", ":".join(device))
    with cloud_running(*given, parts=[ibm.Part], state=tmp_path):
        pass
    with sqlite3.connect(str(tmp_path / "cloud.db")) as base:
        base.execute(
            "INSERT INTO ibm_devices SELECT org, type, 'odd', kind, '{', info, auth, date, salt,"
            " hash FROM ibm_devices WHERE id = 'sensor-7'"
        )
    with cloud_running(parts=[ibm.Part], state=tmp_path) as (made, _, background):
        registry = made.parts[0].registry
        assert registry.odd.count == 1
        assert registry.has("abc123", *device[:2]) and not registry.has("abc123", "x", "odd")
    assert "abc123:greenhouse:odd" in caplog.text
