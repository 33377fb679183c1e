# link_reasons: why a connection of mqtt_link has ended, in words that help. Loaded when one has,
# and let go of. Stands on nothing.

import gc
from errno import ENOMEM

from micropython import const

_HUNG_UP = (104, 32, 103)  # ECONNRESET, EPIPE, ECONNABORTED: the peer has ended it
_PUBLISH = const(0x30)
_TYPE = const(0xF0)
_QOS = const(6)
_QOS2 = const(4)
_TRIES = const(2)  # where an item of the window counts the connections that ended on it
_PACKET = const(3)  # where its packet begins
_TRIES_MAX = const(4)  # with so many the message is given up


def connack(code):
    """Why a broker refuses a connection, by CONNACK's code."""
    return {
        1: "protocol version: the broker does not speak MQTT 3.1.1",
        2: "client id: not allowed here; or a keepalive over the limit of the broker",
        3: "server unavailable",
        4: "user name or password",
        5: "not authorized",
    }.get(code, "code %d" % code)


def judge(e, network, was_up, failures, head):
    """
    Return the failure e in words that help.

    network: the kinds of exception that the network raises. was_up: the broker had accepted us.
    failures: connections and attempts in succession that failed before. head: of the message that
    was sent first and not acknowledged, or None; how often a connection has ended on it is counted
    there.
    """
    if isinstance(e, MemoryError):
        gc.collect()
        return OSError(
            ENOMEM,
            "out of memory (%d bytes are free): keep less, or call gc.collect() in the loop"
            % gc.mem_free(),
        )
    if not isinstance(e, network):
        return OSError(-1, "%s: %s" % (type(e).__name__, e))
    if not was_up or not isinstance(e, OSError) or not e.args or e.args[0] not in _HUNG_UP:
        return e
    text = str(e.args[-1])
    if head and head[_PACKET] & _TYPE == _PUBLISH:
        # Perhaps because of this message. It goes alone from now on; after that only a proper end
        # counts against it: a line that breaks is a reset, or silence.
        tries = head[_TRIES]
        if not tries or "closed" in text:
            tries = min(tries + 1, _TRIES_MAX)
            head[_TRIES] = tries
            if tries > 1:
                text += "; the broker ended it %d times at message %d" % (
                    tries,
                    head[0] << 8 | head[1],
                )
                if head[_PACKET] & _QOS == _QOS2:
                    text += ", of QoS 2: perhaps it has none"
                if tries == _TRIES_MAX:
                    text += ", which is given up"
                return OSError(e.args[0], text)
    if failures > 1:
        return OSError(
            e.args[0], text + "; soon after connecting, again: another client with this id?"
        )
    return e
