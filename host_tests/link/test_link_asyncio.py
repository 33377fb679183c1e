"""link_asyncio, read as its specification: clients as tasks of an asyncio program."""

import pytest
from localcloud.faults import FaultProxy
from device_program import program

FAKE = program("link_asyncio_fake")

LINKS = (
    FAKE
    + """
import sys, time
from mqtt_link import MQTTLink

def make(name):
    link = MQTTLink(name, host, port, keepalive=1, timeout=1)
    link.backoff_ms = link.backoff_max_ms = 20
    return link

async def soon(condition, ms=8000):
    start = time.ticks_ms()
    while not condition():
        if time.ticks_diff(time.ticks_ms(), start) > ms:
            raise Exception("waited in vain")
        await asyncio.sleep_ms(1)
"""
)


def test_sleeps_double_while_idle_and_start_anew_after_work(board):
    report = board.run(
        FAKE
        + """
pauses = []
real = asyncio.sleep_ms
def recorded(ms):
    pauses.append(ms)
    return real(0)
link_asyncio.sleep_ms = recorded
client = Client([False] * 8 + [True, True] + [False] * 3)
asyncio.run(run(client, until=lambda: client.steps == 13))
usual, pauses = pauses, []
client = Client()
asyncio.run(run(client, 3, lambda: client.steps == 4))
report(usual=usual, short=pauses)
"""
    ).report
    assert report["usual"] == [1, 3, 7, 15, 20, 20, 20, 20, 0, 0, 1, 3, 7]
    assert report["short"] == [1, 3, 3, 3]


def test_every_other_task_gets_its_turn_after_each_step_however_busy_the_client(board):
    report = board.run(
        FAKE
        + """
async def main():
    busy = Client([True] * 100000)
    ticker = Ticker()
    tasks = [asyncio.create_task(ticker.run()), asyncio.create_task(run(busy))]
    await asyncio.sleep_ms(50)
    report(steps=busy.steps, ticks=ticker.ticks)
asyncio.run(main())
"""
    ).report
    assert report["steps"] > 50 and abs(report["steps"] - report["ticks"]) <= 2


def test_until_is_asked_before_each_step(board):
    report = board.run(
        FAKE
        + """
client = Client()
asyncio.run(run(client, until=lambda: True))
none = client.steps

async def main():
    stop = asyncio.Event()
    task = asyncio.create_task(run(client, until=stop.is_set))
    await asyncio.sleep_ms(30)
    before = client.steps
    stop.set()
    await task
    at_most = client.steps - before
    await asyncio.sleep_ms(50)
    report(none=none, before=before, at_most=at_most, after=client.steps - before)
asyncio.run(main())
"""
    ).report
    assert report["none"] == 0 and report["before"] > 1
    assert report["at_most"] == report["after"] == 0


def test_cancelling_ends_it_at_once_and_leaves_the_client_as_it_is(board, broker):
    report = board.run(
        LINKS
        + """
async def main():
    link = make("asyncio-cancel")
    task = asyncio.create_task(run(link))
    await soon(link.is_connected)
    task.cancel()
    try:
        await task
        said = None
    except asyncio.CancelledError:
        said = "cancelled"
    up = link.is_connected()
    link.disconnect()
    report(said=said, up=up, done=task.done())
asyncio.run(main())
""",
        host=broker.host,
        port=broker.port,
    ).report
    assert report == {"said": "cancelled", "up": True, "done": True}


def test_a_wait_can_be_given_a_limit(board):
    report = board.run(
        FAKE
        + """
async def main():
    try:
        await asyncio.wait_for(run(Client(), until=lambda: False), 0.05)
    except asyncio.TimeoutError:
        report(said="timeout")
asyncio.run(main())
"""
    ).report
    assert report == {"said": "timeout"}


def test_an_exception_of_a_callback_comes_out_and_the_link_lives_on(board, broker):
    report = board.run(
        LINKS
        + """
async def main():
    link = make("asyncio-raises")
    got = []
    def fragile(topic, msg):
        got.append(msg)
        if msg == b"bad":
            raise ValueError("from the program")
    link.set_callback(fragile)
    link.subscribe("asyncio/raises", 1)
    await run(link, until=link.is_connected)
    task = asyncio.create_task(run(link))
    link.publish("asyncio/raises", "bad", qos=1)
    try:
        await task
    except ValueError as e:
        said = str(e)
    link.publish("asyncio/raises", "good", qos=1)
    await run(link, until=lambda: len(got) == 2)
    report(said=said, got=got, up=link.is_connected())
asyncio.run(main())
""",
        host=broker.host,
        port=broker.port,
    ).report
    assert report == {"said": "from the program", "got": ["bad", "good"], "up": True}


def test_two_links_and_a_ticker_side_by_side(board, broker):
    """A thousand messages go to and fro; nobody waits for anybody."""
    report = board.run(
        LINKS
        + """
COUNT = 500

async def main():
    ticker = Ticker()
    ping, pong = make("asyncio-ping"), make("asyncio-pong")
    got = []
    pong.set_callback(lambda topic, msg: pong.publish("asyncio/ping", msg, qos=1))
    ping.set_callback(lambda topic, msg: got.append(int(msg)))
    ping.subscribe("asyncio/ping", 1)
    pong.subscribe("asyncio/pong", 1)
    tasks = [asyncio.create_task(one) for one in (run(ping), run(pong), ticker.run())]
    await soon(lambda: ping.is_connected() and pong.is_connected()
               and not ping._waiting and not pong._waiting)
    before = ticker.ticks
    for i in range(COUNT):
        await run(ping, until=lambda: ping.inflight < ping.window and i - len(got) < 8)
        ping.publish("asyncio/pong", str(i), qos=1)
    # Two tasks may step one link: the one that runs it, and whoever waits for something.
    await run(ping, until=lambda: len(got) == COUNT and not ping.inflight)
    await soon(lambda: not pong.inflight)
    ticks = ticker.ticks - before
    for task in tasks:
        task.cancel()
    report(got=got == list(range(COUNT)), ticks=ticks)
asyncio.run(main())
""",
        host=broker.host,
        port=broker.port,
    ).report
    assert report["got"] and report["ticks"] > 500


@pytest.mark.parametrize("fault", ["silent", "never_reads", "close_at_once", "one_byte"])
def test_a_broken_peer_holds_up_no_other_task(board, broker, fault):
    with FaultProxy(broker.host, broker.port) as proxy:
        proxy.apply(fault)
        report = board.run(
            LINKS
            + """
async def main():
    link = make("asyncio-broken")
    longest = 0
    task = asyncio.create_task(run(link))
    link.publish("asyncio/x", bytes(100), qos=1)
    last = time.ticks_ms()
    while link.inflight:
        await asyncio.sleep_ms(1)
        now = time.ticks_ms()
        longest = max(longest, time.ticks_diff(now, last))
        last = now
    task.cancel()
    report(longest=longest)
asyncio.run(main())
""",
            host=proxy.host,
            port=proxy.port,
        ).report
    # The link's own deadline is 1000 ms; a busy machine takes its share now and then.
    assert report["longest"] < 300


def test_nothing_is_allocated_when_idle(board, broker):
    if board.name == "cpython":
        pytest.skip("CPython has no such figure")
    report = board.run(
        LINKS
        + """
async def main():
    link = make("asyncio-idle")
    await run(link, until=link.is_connected)
    left = 0
    def enough():
        nonlocal left
        left -= 1
        return left < 0
    costs = []
    for left in (100, 100, 300):
        gc.collect()
        gc.disable()
        before = gc.mem_alloc()
        await run(link, 1, enough)
        costs.append(gc.mem_alloc() - before)
    report(costs=costs)
asyncio.run(main())
""",
        host=broker.host,
        port=broker.port,
    ).report
    # The coroutine itself, and nothing for a step.
    assert report["costs"][1] == report["costs"][2] < 200
