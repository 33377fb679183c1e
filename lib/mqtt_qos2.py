# mqtt_qos2: exactly once, the part of mqtt_link that its first QoS 2 packet loads; it stays.
# Stands on nothing; each function gets the link whose window and ids it works on.

from micropython import const

_PUBLISH2 = const(0x34)
_PUBREC = const(0x50)
_PUBREL = const(0x62)
_PUBCOMP = const(0x70)
_HELD = const(2)  # in the window only: a PUBREL whose turn has not come
_PACKET = const(3)  # where in an item of the window its packet begins
_KIND = const(0xF6)  # a first byte without its flags DUP and RETAIN
# QoS 2 messages a broker may leave unreleased before it counts as broken (MQTT 3.1.1 sets no
# limit).
_UNRELEASED_MAX = const(256)


def _op(item):
    return (item[0] if isinstance(item, tuple) else item)[_PACKET]


def deliver(link, topic, msg):
    """
    Give a QoS 2 message to the program unless it has had it, and tell the broker. Returns False
    when the broker has left too many unreleased.
    """
    seen = link._unreleased
    pid = link._pid
    if pid not in seen:
        if len(seen) >= _UNRELEASED_MAX:
            return False
        seen.append(pid)
        given = link._undone = False
        try:
            link._give(topic, msg)
            given = not link._undone
        finally:
            if not given and pid in seen:
                seen.remove(pid)
    link._took()
    return True


def answer(link, op, pid):
    """Act on a PUBREC, PUBREL or PUBCOMP."""
    if op == _PUBREL:
        if pid in link._unreleased:
            link._unreleased.remove(pid)
        link._ack(_PUBCOMP, pid)
        return
    i = link._find(pid)
    if i < 0:
        return
    kind = _op(link._window[i]) & _KIND
    if op == _PUBCOMP:
        if kind == _PUBREL:
            link._settle(i, 0)
    elif kind == _PUBLISH2:
        # From now on only the id matters: PUBLISH must never be sent again for it (4.3.3).
        link._window[i] = bytearray((pid >> 8, pid & 255, 0, _HELD, 2, pid >> 8, pid & 255))
        release(link, i)
    elif kind == _PUBREL:
        link._ack(_PUBREL, pid)
    elif kind == _HELD:
        release(link, i)


def taken_at_qos1(link):
    """A PUBACK for a QoS 2 message: RabbitMQ answers so. It is taken; the program is told once."""
    if not link._warned:
        link._warned = True
        link.error = OSError(-1, "the broker has no QoS 2: it takes such messages at QoS 1")


def release(link, i):
    """
    Send the PUBRELs from i on whose turn has come. They leave in the order of their PUBLISHes: a
    broker that delivers on PUBREL then keeps the order, too, even if a PUBREC got lost.
    """
    window = link._window
    before = i - 1
    while before >= 0 and _op(window[before]) & _KIND not in (_PUBLISH2, _PUBREL, _HELD):
        before -= 1
    if before >= 0 and _op(window[before]) != _PUBREL:
        return
    while i < link._sent:
        item = window[i]
        i += 1
        kind = _op(item) & _KIND
        if kind == _PUBLISH2:
            break
        if kind == _HELD:
            item[_PACKET] = _PUBREL
            link._ack(_PUBREL, item[0] << 8 | item[1])


def forget(link):
    """
    The broker knows nothing of what came before: a message it had confirmed with PUBREC is its
    own, one it had not is sent again (at least once: exactly once needs a session on both sides).
    """
    link._unreleased.clear()
    i = 0
    while i < len(link._window):
        if _op(link._window[i]) in (_PUBREL, _HELD):
            link._settle(i, 0)
        else:
            i += 1
