"""lib/cloud_mqtt_watcher.py: what is not as our devices send it. The contract is elsewhere."""

import cloud_rig
from cloud_rig import world  # noqa: F401


SOURCE = """
import cloud
watcher = cloud.Watcher(SETTINGS)
watcher.on_event = lambda *event: report(event=event)
watcher.on_status = lambda *status: report(status=status)
watcher.watch()
while not watcher.is_connected() or watcher.do_next(200):
    watcher.do_next(20)
report(up=True)
errors = 0
while True:
    watcher.do_next(50)
    if watcher.error:
        report(error=str(watcher.error))
        watcher.error = None
"""


place = cloud_rig.place_at("mqtt")


def test_foreign_messages_times_and_cleared_statuses(board, place):
    """pain 48, pain 50: an empty status is none, and no text from elsewhere ends the program."""
    program = board.start(SOURCE, SETTINGS=dict(place.settings, id="w-" + place.name))
    while program.next_report(40) != {"up": True}:
        pass
    root = place.root
    publish = place.listener.publish
    publish(root + "status", b"")
    publish(root + "status", b"online")
    assert program.next_report(30) == {"status": [place.name, True]}
    publish(root + "event/odd", b"{")
    assert "JSON" in program.next_report(30)["error"]
    publish(root + "event/list", b"[1, 2]")
    assert program.next_report(30) == {"event": [place.name, "list", [1, 2], None]}
    publish(root + "event/dated", b'{"n": 1, "ts": "1970-01-02T00:00:00Z"}')
    event = program.next_report(30)["event"]
    assert event[1:3] == ["dated", {"n": 1, "ts": "1970-01-02T00:00:00Z"}] and event[3] == 86400
    publish(root + "event/undated", b'{"n": 1, "ts": "soon"}')
    assert program.next_report(30)["event"][3] is None
