"""lib/cloud_digi.py: monitors, topics without a device. The contract is elsewhere."""

from cloud_rig import world  # noqa: F401

# ruff: noqa: F811


def settings(world, **more):
    digi = world.ready["digi"]
    return dict(
        {
            "service": "digi", "ca": world.ready["ca_der"], "host": "localhost",
            "username": digi["username"], "password": digi["password"],
            "port": digi["https_port"], "push_port": digi["push_tls_port"],
        },
        **more,
    )  # fmt: skip


def test_a_monitor_is_made_once_and_misses_nothing_while_away(board, world):
    source = """
import cloud
watcher = cloud.Watcher(SETTINGS)
watcher.on_event = lambda *event: report(event=event[:3])
waits = []
watcher.on_wait = lambda: waits.append(1)
watcher.watch()
while not watcher.is_connected():
    watcher.do_next(20)
report(up=True, waited=len(waits) > 0)
while True:
    watcher.do_next(50)
"""
    given = settings(world, topics=["FileData", "DataPoint/away"])
    program = board.start(source, SETTINGS=given)
    told = program.next_report(60)
    # On the CPython port the request can be over before there was anything to wait for.
    assert told == {"up": True, "waited": True if board.name != "cpython" else told["waited"]}
    monitors = world.control("GET", "/digi/monitors")
    program.stop()
    body = {"fdName": "a.txt", "fdSize": 3}
    world.control("POST", "/digi/event", {"topic": "FileData/~%2Fa.txt", "body": body})
    program = board.start(source, SETTINGS=given)
    up = program.next_report(60)
    event = program.next_report(60) if "up" in up else up
    assert event["event"][:2] == ["", "FileData"] and event["event"][2]["fdName"] == "a.txt"
    assert len(world.control("GET", "/digi/monitors")) == len(monitors), "the same monitor"


def test_a_service_that_is_not_there_is_told_and_asked_again(board, world):
    got = board.run(
        """
import cloud
watcher = cloud.Watcher(SETTINGS)
downs = []
watcher.on_down = downs.append
for _ in range(10):
    watcher.do_next(50)
report(downs=len(downs), up=watcher.is_connected(), error=len(str(watcher.error)) > 5)
""",
        SETTINGS=settings(world, port=1, host="127.0.0.1"),
    ).report
    assert got == {"downs": 1, "up": False, "error": True}
