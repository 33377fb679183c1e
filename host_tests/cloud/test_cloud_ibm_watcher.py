"""lib/cloud_ibm_watcher.py: times, and devices by type. The contract is elsewhere."""

from cloud_rig import world  # noqa: F401

# ruff: noqa: F811


def test_the_time_of_an_event_is_its_ts(board, world, tmp_path):
    ready = world.ready
    app = ready["ibm"]["application"]
    place = world.place("ibm", "ignored", tmp_path)
    world.line.lift()
    kind = ready["ibm"]["device"]["type"]
    program = board.start(
        """
import cloud, time
watcher = cloud.Watcher(SETTINGS)
shift = 946684800 if time.gmtime(0)[0] == 2000 else 0
watcher.on_event = lambda device, name, fields, when: report(
    device=device, name=name, fields=fields, when=when + shift)
watcher.watch(KIND + ":+", "climate")
while not watcher.is_connected() or watcher.do_next(200):
    watcher.do_next(20)
report(up=True)
while True:
    watcher.do_next(50)
""",
        KIND=kind,
        SETTINGS={
            "service": "ibm", "ca": ready["ca_der"], "org": ready["ibm"]["org"], "id": "timewatch",
            "key": app["key"], "token": app["token"], "host": "localhost", "port": world.line.port,
        },
    )  # fmt: skip
    assert program.next_report(60) == {"up": True}
    board.run(
        """
import cloud, time
device = cloud.Device(SETTINGS)
device.send({"n": 1}, "climate", WHEN - (946684800 if time.gmtime(0)[0] == 2000 else 0))
while device.pending:
    device.do_next(20)
""",
        SETTINGS=place.settings,
        WHEN=1767603600,
    )
    got = program.next_report(40)
    assert got == {"device": place.name, "name": "climate", "fields": {"n": 1}, "when": 1767603600}
    place.close()
