"""
How many instructions the processor executes for one thing: exact, whatever else the machine does.

valgrind's callgrind counts those of the whole process, twice: with few repetitions and with more.
The difference, by the number of repetitions between, is one of them. What the kernel does for a
system call is not in it.
"""

import re
import shutil
import tempfile
from pathlib import Path

from bench import broker as bench_broker
from bench import contenders as bench_contenders

SECTION = "Instructions of the processor, user mode (callgrind)"
FEW, MANY = 50, 250
# Those that wait inside an event loop take their turns by the clock: no two runs are alike.
_STEADY = ("mqtt_link", "umqtt", "simple2", "chumicro")


def there():
    """Whether valgrind is installed."""
    return shutil.which("valgrind") is not None


def measure(bench):
    """Add the rows to a Bench's report."""
    for label, what, more, aim in (
        ("idle step", "idle", {}, 2),
        ("QoS 0 publish, 104 bytes", "publish", {}, None),
        ("QoS 1 publish + ack, 1 in flight", "acknowledged", {"depth": 1}, None),
        ("QoS 1 publish + ack, 200 in flight", "acknowledged", {"depth": 200}, None),
        ("receive 10 bytes, QoS 0", "receive", {"feed": "feed/0/10/{}"}, None),
        ("receive 10 bytes, QoS 1", "receive", {"feed": "feed/1/10/{}"}, None),
        ("receive 1 KB, QoS 0", "receive", {"feed": "feed/0/1024/{}"}, None),
        ("subscribe, one of 25 filters", "subscribe", {"few": 5, "many": 30}, None),
        ("subscribe, one of 200 filters", "subscribe", {"few": 30, "many": 200}, None),
    ):
        with bench_broker.Peer(more.get("depth", 1)) as peer:
            for contender in bench.contenders:
                able = contender.kind.adapter in _STEADY
                if more.get("depth", 1) > 1 and not contender.kind.in_flight:
                    able = False
                value = text = None
                if able:
                    try:
                        value = one(bench, contender, peer, what, more)
                    except bench_contenders.TaskFailed as error:
                        bench.failures.append((contender.label, label, str(error)))
                        text = "failed"
                else:
                    text = "-"
                bench.report.add(SECTION, label, contender.label, value, text=text)
        if aim:
            bench.report.aim(
                SECTION,
                label,
                "<= {} x simple".format(aim),
                lambda value, figure: (figure.ratio("MQTTLink") or 9) <= 2,
            )
    few = bench.report.value(SECTION, "QoS 1 publish + ack, 1 in flight", "MQTTLink")
    bench.report.aim(
        SECTION,
        "QoS 1 publish + ack, 200 in flight",
        "<= 1.5 x one",
        lambda value, figure: value <= 1.5 * few,
    )


def one(bench, contender, peer, what, more):
    """Instructions of one thing."""
    few, many = more.get("few", FEW), more.get("many", MANY)
    counts = []
    for n in (few, many):
        job = bench.job(contender, "count", broker=peer, what=what, n=n, filters=n, **more)
        job["keepalive"] = 600
        if "feed" in more:
            job["feed"] = more["feed"].format(n)
        counts.append(whole(contender, job))
    return (counts[1] - counts[0]) / (many - few)


def whole(contender, job):
    """Instructions of a whole run."""
    with tempfile.TemporaryDirectory(prefix="picolink-bench-") as directory:
        out = Path(directory) / "out"
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file={}".format(out), "-q"]
        with contender.start(job, command) as device:
            while "result" not in device.word(300):
                pass
            device.process.wait(60)  # it counts to its very end
        return int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.M).group(1))
