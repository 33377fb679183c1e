"""
What the tests of the link share: a paho client that watches a broker from outside, and the
"messages in flight while something breaks" scenario.
"""

import threading

import paho.mqtt.client as paho
import pytest
from localcloud.faults import FaultProxy
from device_program import program

STEP_BOUND_US = 50000
# A step that blocks blocks each time, and a leak leaks each time; a machine that was busy
# elsewhere, or a list that found room for one more, is not so regular.
_TRIES = 3


class Observer:
    """
    A paho client on the broker itself, not through any proxy. messages: (topic, payload, qos,
    retain) in the order of arrival; payload is bytes.
    """

    def __init__(self, host, port, *filters, client_id=""):
        self.messages = []
        self._news = threading.Condition()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id)
        self._client.on_message = self._on_message
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *args: subscribed.set()
        self._client.connect(host, port)
        self._client.loop_start()
        if filters:
            self._client.subscribe([(name, 2) for name in filters])
            assert subscribed.wait(10), "the observer's subscription was not acknowledged"

    def _on_message(self, client, userdata, message):
        with self._news:
            self.messages.append((message.topic, message.payload, message.qos, message.retain))
            self._news.notify_all()

    def publish(self, topic, payload, qos=0, retain=False):
        """Publish and wait until the broker has it."""
        self._client.publish(topic, payload, qos, retain).wait_for_publish(10)

    def payloads(self, topic):
        """What came on a topic so far, in order."""
        with self._news:
            return [payload for name, payload, _, _ in self.messages if name == topic]

    def wait(self, topic, count, timeout=15):
        """The first `count` payloads of a topic; fails after timeout seconds."""
        with self._news:
            enough = self._news.wait_for(
                lambda: sum(name == topic for name, _, _, _ in self.messages) >= count, timeout
            )
        found = self.payloads(topic)
        assert enough, "{} of {} messages on {}: {}".format(len(found), count, topic, found)
        return found

    def stop(self):
        self._client.disconnect()
        self._client.loop_stop()


IN_FLIGHT = program("link_rig_in_flight")


def _in_flight(board, broker, behind, break_it, count, rounds, options):
    """One run of IN_FLIGHT through a FaultProxy. Returns its reports."""
    options = dict({"keepalive": 1, "timeout": 0.6}, **options)
    with FaultProxy(behind.host, behind.port) as proxy:
        observer = Observer(broker.host, broker.port, "go/#", "up/#")
        forget_session(broker)
        try:
            program = board.start(
                IN_FLIGHT,
                host=proxy.host,
                port=proxy.port,
                OPTIONS=options,
                COUNT=count,
                ROUNDS=rounds,
            )
            results = []
            _feed(observer, "warm", count)
            for name in rounds:
                assert program.next_report(40) == {"ready": name}
                before = proxy.connections
                break_it(proxy, name)
                proxy.cut()
                program.send("go")
                _feed(observer, name, count)
                result = program.next_report(40)
                assert "gave_up" not in result, result
                assert proxy.connections > before
                results.append(result)
                _check_up(observer, name, count)
            results.append(program.next_report())
            assert program.wait(20).rc == 0
            return results
        finally:
            observer.stop()


def _check_up(observer, name, count):
    wanted = [b"%d" % i for i in range(count)]
    once = observer.wait("up/2/" + name, count)
    assert once == wanted, "QoS 2 is not exactly once, in order: {}".format(once)
    found = observer.wait("up/1/" + name, count)
    first = [p for i, p in enumerate(found) if p not in found[:i]]
    assert first == wanted, "QoS 1 is not at least once, in order: {}".format(found)


def _feed(observer, name, count):
    observer.wait("go/" + name, 1, 30)
    for i in range(count):
        observer.publish("down/1", str(i), 1)
        observer.publish("down/2", str(i), 2)


def forget_session(broker, client_id="device"):
    """The broker must know nothing of a device of an earlier test: a clean session sees to it."""
    Observer(broker.host, broker.port, client_id=client_id).stop()


def check_in_flight(
    board,
    broker,
    break_it,
    count=8,
    rounds=("first", "second", "third"),
    behind=None,
    options=(),
    bound_us=STEP_BOUND_US,
):
    """
    Messages fly both ways at QoS 1 and 2 while something breaks; whatever it is, all that must
    hold is asserted: at least once, exactly once, order, no long step, no heap lost.

    break_it(proxy, round): called before each of `rounds`; the proxy's connections are cut then,
    so that it befalls the next one. count: messages of each kind in a round. behind: where the
    proxy connects to (host, port), the broker unless given. options: further ones for MQTTLink.
    bound_us: the longest that one step may take.
    """
    for attempt in range(_TRIES):
        # A leak grows in each round; a list that finds its size does not: give it more of them.
        more = [str(len(rounds) + 1 + i) for i in range(2 * attempt)]
        *results, last = _in_flight(
            board, broker, behind or broker, break_it, count, [*rounds, *more], dict(options)
        )
        for result in results:
            assert all(count >= 1 for count in result["down1"]), result
            assert all(count == 1 for count in result["down2"]), result
            assert result["disorder"] == [], result
        longest = max(result["longest_us"] for result in results)
        growth = last["heap_growth"] if board.name == "micropython" else 0
        if longest <= bound_us and growth <= 0:
            return
    pytest.fail("longest step {} us, heap grown by {} bytes".format(longest, growth))
