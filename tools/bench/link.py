"""
MQTTLink beside other MQTT clients, in one run, on this machine:

    python3 tools/bench link                                    everything; some minutes
    python3 tools/bench link --quick                            the main figures; under a minute
    python3 tools/bench link --only qos1,wire --json bench.json
    python3 tools/bench link --client mqtt_as=/path/to/mqtt_as/__init__.py
                           --client umqtt.simple2=/path/to/simple2.py
                           --client umqtt.simple@1.8.0=/path/to/simple.py

Clients run on MicroPython (paho-mqtt on CPython) against mosquitto, else amqtt, else the local
cloud's broker. A message is a PUBLISH of 104 bytes (QoS 0). Figures are this machine's at this
moment: compare columns, not runs. Delays are made below TCP (delay_line.py), in a network
namespace that only this run sees; where that is not permitted their rows are left out.
chumicro-mqtt and aiomqttc come from the package index, into .venv/side/bench (not with --quick).
"""

import argparse
import contextlib
import datetime
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import workshop
from workshop import heap32, packages

from bench import broker as bench_broker
from bench import contenders as bench_contenders
from bench import delay_line
from bench import instructions as bench_instructions
from bench import report as bench_report
from bench import stalls as bench_stalls

TOPICS = (
    "qos0",
    "qos1",
    "qos2",
    "receive",
    "instructions",
    "connect",
    "wire",
    "heap",
    "stall",
    "cut",
)
LINES = ("loopback", "0", "50", "200")
LOOPBACK = "127.0.0.1"
NAGLE = "Nagle's broker"  # one that has not set TCP_NODELAY
SINK = "peer only reads"
CPU = "QoS 0, processor time for one"


class Plan:
    """How long and how often, in full and with --quick."""

    def __init__(self, quick):
        self.rounds = 1 if quick else 3  # on loopback, where the processor is the limit
        self.ms = 400 if quick else 800  # of each round
        self.ms_delayed = {"0": 800, "50": 2000 if quick else 4000, "200": 6000}
        self.repeats = 3 if quick else 7  # of connecting
        self.publishes = 5 if quick else 12  # whose segments are counted
        self.stall_s = 6 if quick else 14
        self.keepalive = 2 if quick else 4  # s, for the peers that die
        self.cuts = 1 if quick else 3
        self.cut_s = 4 if quick else 12
        self.lines = ("loopback", "50") if quick else LINES
        self.tls = (False,) if quick else (False, True)


class Bench:
    """One run. line: a DelayLine, or None where there can't be one."""

    def __init__(self, options, plan, contenders, report, broker, nagle_broker, line, tls):
        self.options, self.plan, self.report = options, plan, report
        self.contenders = contenders
        self.broker, self.nagle_broker = broker, nagle_broker
        self.line = line
        self.tls = tls
        self.lines = [name for name in plan.lines if name == "loopback" or line]
        self._addresses = {name: itertools.cycle(range(2, 255)) for name in LINES}
        self.failures = []

    # -- jobs

    def job(self, contender, task, line="loopback", tls=False, broker=None, **more):
        """What a device needs to know; a delayed line gets an address of its own."""
        host = at = LOOPBACK
        if line != "loopback":
            at = delay_line.LOCAL
            # One that vanished, or whose counters are being read, must not be another's as well.
            host = self.line.address(int(line), next(self._addresses[line]))
        return {
            "task": task,
            "id": "bench-{}".format(time.monotonic_ns()),
            "host": host,
            "port": (broker or self.broker).port(at, tls),
            "tls": self.tls if tls else None,
            "keepalive": 60,
            **more,
        }

    def run(self, contender, job, timeout):
        """A task's result, or None after noting why there is none."""
        try:
            return contender.run(job, timeout)
        except bench_contenders.TaskFailed as error:
            self.failures.append((contender.label, job["task"], str(error)))
            workshop.say("{}, {}: {}".format(contender.label, job["task"], error))
            return None

    def at_once(self, f, things):
        """f(thing) for all of them at the same time: only for what waits most of its time."""
        things = list(things)
        with ThreadPoolExecutor(max(1, len(things))) as pool:
            return list(pool.map(f, things))

    def each(self, f):
        """{contender: f(contender)}, at the same time."""
        return dict(zip(self.contenders, self.at_once(f, self.contenders)))

    # -- rates

    def rates(self):
        kinds = [("qos0", 0, 1), ("qos1", 1, 1), ("qos1", 1, 20), ("qos2", 2, 1), ("qos2", 2, 20)]
        kinds = [kind for kind in kinds if kind[0] in self.options.only]
        for line in self.lines:
            for tls in self.plan.tls if line != "0" else (False,):
                section = "Messages/s, {}{}".format(_line_name(line), ", TLS" if tls else "")
                wanted = [kind for kind in kinds if line != "0" or kind[1] < 2]
                if self.options.quick and line != "loopback":
                    wanted = [kind for kind in wanted if kind[1] == 1]
                if wanted:
                    workshop.say(section)
                for _, qos, depth in wanted:
                    self._rate_row(section, line, tls, qos, depth)
                    if qos == 0 and line == "loopback" and not tls:
                        # What the client can do when no broker holds it back.
                        with bench_broker.Sink() as sink:
                            self._rate_row(section, line, tls, 0, 1, SINK, sink)
                nagle = self.nagle_broker and ("qos1", 1, 20) in wanted and not tls
                if nagle and line in ("loopback", "50"):
                    self._rate_row(section, line, tls, 1, 20, NAGLE, self.nagle_broker)
        self._rate_aims()

    def _rate_row(self, section, line, tls, qos, depth, special="", broker=None):
        label = _rate_label(qos, depth, special)
        able = [c for c in self.contenders if qos in c.kind.qos]
        able = [c for c in able if depth == 1 or c.kind.in_flight]
        delayed = line not in ("loopback", "0")
        ms = self.plan.ms_delayed.get(line, self.plan.ms)
        if not qos:
            ms = min(ms, 1500)
        warm = {"50": 300, "200": 700}.get(line, 150)

        def once(contender):
            more = {"qos": qos, "depth": depth, "ms": ms, "warm_ms": warm}
            job = self.job(contender, "rate", line, tls, broker, **more)
            result = self.run(contender, job, ms / 1000 + 20)
            if result and result["n"]:
                rate = result["n"] * 1e6 / result["us"]
                return rate, result["cpu_us"] / result["n"]
            return None

        samples = {contender: [] for contender in able}
        for _ in range(1 if delayed else self.plan.rounds):
            # Waiting for a delayed answer costs nothing, so those wait together; a flood would
            # fill the line for the others.
            together = delayed and qos
            got = self.at_once(once, able) if together else [once(one) for one in able]
            for contender, sample in zip(able, got):
                if sample is not None:
                    samples[contender].append(sample)
        conditions = {"line": line, "tls": tls, "qos": qos, "in_flight": depth}
        conditions["broker"] = special or self.broker.kind
        for contender in self.contenders:
            if contender not in able:
                one = self.report.value(section, _rate_label(qos, 1), contender.label)
                self.report.add(
                    section, label, contender.label, text="cannot", instead=one, **conditions
                )
            elif samples[contender]:
                rates, cpu = zip(*samples[contender])
                conditions["samples"] = [round(rate, 2) for rate in rates]
                conditions["cpu_us"] = round(min(cpu), 2)
                rate = statistics.median(rates)
                self.report.add(section, label, contender.label, rate, **conditions)
                if special == SINK:
                    # What is left when the other processes' share of the machine is taken out.
                    self.report.add(section, CPU, contender.label, min(cpu), "us", **conditions)
            else:
                self.report.add(section, label, contender.label, text="failed", **conditions)

    def _rate_aims(self):
        aim = self.report.aim
        plain, delayed = "Messages/s, loopback", "Messages/s, 50 ms round trip"

        def one_and_a_half(value, figure):
            ratio = figure.ratio("MQTTLink")
            return ratio is not None and ratio >= 1.5

        aim(plain, _rate_label(0, 1), "1.5 x simple", one_and_a_half)
        aim(plain, _rate_label(0, 1, SINK), "1.5 x simple", one_and_a_half)
        aim(plain, CPU, "simple / 1.5", lambda _, figure: (figure.ratio("MQTTLink") or 1) <= 0.67)
        aim(plain, _rate_label(1, 20), "> paho", _ahead_of("paho-mqtt"))
        for tls in ("", ", TLS"):
            aim(delayed + tls, _rate_label(1, 1), ">= 19", lambda value, _: value >= 19)
            aim(delayed + tls, _rate_label(1, 20), ">= 360", lambda value, _: value >= 360)

    # -- receiving

    def receive(self):
        section = "Messages received/s, loopback, from a peer that only sends"
        workshop.say(section)
        with bench_broker.Peer() as peer:
            for size, qos in ((10, 0), (10, 1), (1024, 0), (1024, 1)):
                label = "QoS {}, {}".format(qos, "1 KB" if size == 1024 else "10 bytes")
                rates = {contender: [] for contender in self.contenders}
                for _ in range(self.plan.rounds):
                    for contender in self.contenders:
                        more = {"feed": "feed/{}/{}/0".format(qos, size), "warm_ms": 150}
                        job = self.job(contender, "receive", broker=peer, ms=self.plan.ms, **more)
                        result = self.run(contender, job, self.plan.ms / 1000 + 20)
                        if result and result["n"]:
                            rates[contender].append(result["n"] * 1e6 / result["us"])
                for contender, found in rates.items():
                    text = None if found else "failed"
                    rate = statistics.median(found) if found else None
                    self.report.add(
                        section, label, contender.label, rate, text=text, samples=found
                    )
                self.report.aim(section, label, "> chumicro", _ahead_of("chumicro-mqtt"))

    # -- instructions

    def instructions(self):
        """Exact: by valgrind, as the difference of two runs that differ in how often only."""
        if not bench_instructions.there():
            self.report.left_out.append("instructions: valgrind is not installed")
            return
        bench_instructions.measure(self)

    # -- connecting

    def connect(self):
        if "50" not in self.lines:
            return
        section = "Until connected with 4 subscriptions, 50 ms round trip"
        workshop.say(section)
        for tls, name, bound in ((False, "plain", 200), (True, "TLS", 450)):
            more = {"repeats": self.plan.repeats}
            results = self.each(
                lambda c, tls=tls, more=more: self.run(
                    c, self.job(c, "ready", "50", tls, **more), 40
                )
            )
            for contender, result in results.items():
                if result is None:
                    self.report.add(section, name, contender.label, unit="ms", text="failed")
                    continue
                took = result["ms"]
                self.report.add(
                    section, name, contender.label, statistics.median(took), "ms", samples=took
                )
            self.report.aim(
                section, name, "<= {}".format(bound), lambda value, _, most=bound: value <= most
            )

    # -- on the wire

    def wire(self):
        """Publishes far apart: nothing is in flight when one starts."""
        section = "One 104-byte QoS 0 publish"
        workshop.say(section)
        line = "0" if self.line else "loopback"
        for tls in (False, True):
            results = self.each(lambda contender, tls=tls: self._wire(contender, line, tls))
            name = "TLS" if tls else "plain"
            whats = ("write calls", "segments", "bytes") if self.line else ("write calls",)
            labels = ["{}: {}".format(name, what) for what in whats]
            for contender, result in results.items():
                figures = result or [None, None, None, {}]
                for label, value in zip(labels, figures):
                    text = (
                        None
                        if value is not None
                        else bench_report.NOT_MEASURED
                        if result
                        else "failed"
                    )
                    self.report.add(
                        section, label, contender.label, value, text=text, tls=tls, **figures[3]
                    )
            exactly = (1, 1, 133 if tls else 104)
            for label, most in zip(labels, exactly):
                self.report.aim(
                    section, label, str(most), lambda value, _, most=most: value <= most
                )

    def _wire(self, contender, line, tls):
        n = self.plan.publishes
        job = self.job(contender, "wire", line, tls, n=n, gap_ms=120)
        try:
            with contender.start(job) as device:
                device.word(10)
                before = self.line and self.line.counts(job["host"])
                device.send("go")
                writes = device.word(10 + n)["result"]["writes"]
                after = self.line and self.line.counts(job["host"])
        except bench_contenders.TaskFailed as error:
            self.failures.append((contender.label, "wire", str(error)))
            return None
        if writes is not None:
            writes /= n
        if not self.line:
            return [writes, None, None, {}]
        up = {key: (after["up"][key] - before["up"][key]) / n for key in after["up"]}
        down = {key: (after["down"][key] - before["down"][key]) / n for key in after["down"]}
        return [writes, up["segments"], up["payload"], {"up": up, "down": down}]

    # -- heap

    def heap(self):
        workshop.say("Heap")
        self._heap64()
        try:
            workshop.wasm()
        except workshop.SetupError as error:
            self.report.left_out.append("heap on 32 bit: {}".format(error))
            return
        self._heap32()

    def _heap64(self):
        section = "Garbage, bytes, MicroPython unix, 64 bit"
        labels = ("QoS 0 publish", "QoS 1 publish", "idle second, a step per 5 ms")
        results = self.each(
            lambda c: None if _on_cpython(c) else self.run(c, self.job(c, "garbage"), 30)
        )
        for contender, result in results.items():
            for label, key in zip(labels, ("qos0", "qos1", "idle")):
                if result:
                    self.report.add(section, label, contender.label, result[key])
                else:
                    text = bench_report.NOT_MEASURED if _on_cpython(contender) else "failed"
                    self.report.add(section, label, contender.label, text=text)
        self.report.aim(section, labels[2], "0", lambda value, _: value == 0)

    def _heap32(self):
        section = "Heap, bytes, MicroPython wasm, 32 bit, network faked"
        held = ("held: import (.mpy)", "held: connected client")
        labels = held + ("QoS 0 publish", "QoS 1 publish", "idle second, a step per 5 ms")
        results = self.each(lambda c: None if _on_cpython(c) else heap32_figures(c))
        for contender, result in results.items():
            if isinstance(result, Exception):
                self.failures.append((contender.label, "heap32", str(result)))
                workshop.say("{}, 32-bit heap: {}".format(contender.label, result))
            for label, key in zip(labels, ("import", "client", "qos0", "qos1", "idle")):
                value = result.get(key) if isinstance(result, dict) else None
                text = None if value is not None else bench_report.NOT_MEASURED
                if isinstance(result, Exception):
                    text = "failed"
                self.report.add(section, label, contender.label, value, text=text)
        self.report.aim(section, labels[2], "< 64", lambda value, _: value < 64)
        self.report.aim(section, labels[4], "0", lambda value, _: value == 0)

    # -- peers that break

    def stall(self):
        plan = self.plan
        workshop.say("Stalls: {} s each".format(plan.stall_s))
        section = "Longest call (its own task's wait, if a coroutine) against a peer that"
        kinds = bench_stalls.kinds(self.line is not None)
        results = {}
        # Two kinds at a time: mostly waiting, but the longest call must not be our own load.
        at_a_time = len(kinds) if self.options.quick else 2
        for first in range(0, len(kinds), at_a_time):
            pairs = [(k, c) for k in kinds[first : first + at_a_time] for c in self.contenders]
            for pair, result in zip(pairs, self.at_once(lambda p: self._stall(*p), pairs)):
                results[pair] = result
        for kind in kinds:
            label = kind.label
            for contender in self.contenders:
                result = results[kind, contender]
                value, text = result["longest"], None
                if value is None:
                    text = "> {} s".format(plan.stall_s)
                elif result.get("in_task", 0) > 50:
                    # A coroutine that waits keeps its own task waiting, nobody else.
                    text = "{} ({})".format(_ms(value), _ms(result["in_task"]))
                else:
                    text = _ms(value)
                self.report.add(section, label, contender.label, value, text=text, raw=result)
            self.report.aim(section, label, "<= 50 ms", lambda value, _: value <= 50)
        section = "Noticed a dead peer after, x keepalive ({} s)".format(plan.keepalive)
        for kind in [kind for kind in kinds if kind.dies]:
            for contender in self.contenders:
                result = results[kind, contender]
                after = result["noticed_s"]
                value = None if after is None else after / plan.keepalive
                text = "never" if after is None else None
                self.report.add(section, kind.label, contender.label, value, "k", text=text)
            self.report.aim(section, kind.label, "<= 1.5", lambda value, _: value <= 1.5)

    def _stall(self, kind, contender):
        return bench_stalls.run(self, kind, contender)

    def cut(self):
        plan = self.plan
        section = "Back after a cut ({} connections, at most {} s)".format(plan.cuts, plan.cut_s)
        workshop.say("Cuts")
        pairs = [(c, n) for c in self.contenders for n in range(plan.cuts)]
        for reset in (True, False):
            results = self.at_once(lambda pair, r=reset: bench_stalls.cut(self, pair[0], r), pairs)
            for contender in self.contenders:
                mine = [result for (one, _), result in zip(pairs, results) if one is contender]
                self._cut_row(section, "reset" if reset else "closed", contender, mine)

    def _cut_row(self, section, how, contender, results):
        back = [result["back_s"] for result in results]
        for name, reduce in (("median", statistics.median), ("longest", max)):
            label = "{}: {}".format(how, name)
            if None in back:
                gave_up = all(result["gave_up"] for result in results)
                value, text = None, "never" if gave_up else "> {} s".format(self.plan.cut_s)
            else:
                value, text = reduce(back), None
                if not all(result["subscribed"] for result in results):
                    text = "{:.2f}, no subs.".format(value)
            self.report.add(section, label, contender.label, value, "s", text=text, raw=results)
            if name == "longest":
                self.report.aim(section, label, "1 s + 1st try", lambda value, _: value < 1.5)


def heap32_figures(contender):
    """{"import", "client", "qos0", ...} in bytes, or the exception that says why not."""
    name = {"umqtt": "umqtt", "simple2": "umqtt"}.get(contender.kind.adapter)
    name = name or contender.kind.adapter
    module = contender.kind.module
    argument = repr(module.partition(".")[2]) if name == "umqtt" else ""
    sources = {
        "/lib/umqtt/simple.mpy": workshop.DEVICE_LIB / "umqtt" / "simple.py",
        "/lib/umqtt/robust.mpy": workshop.DEVICE_LIB / "umqtt" / "robust.py",
        "/lib/bench_heap32.mpy": workshop.ROOT / "tools" / "bench" / "device" / "bench_heap32.py",
    }
    for ours, path in packages.closure(["mqtt_link"])[0].items():
        sources["/lib/" + ours.replace(".", "/") + ".mpy"] = path
    if contender.path:
        sources["/lib/" + module.replace(".", "/") + ".mpy"] = Path(contender.path).resolve()
    try:
        files = {path: heap32.mpy(source) for path, source in sources.items()}
        result = heap32.run(
            # What MicroPython itself brings is not the client's.
            "import asyncio, json, errno, struct, binascii, time\nimport bench_heap32 as b",
            "import " + module,
            "client = b.{}({})".format(name, argument),
            "print('@', json.dumps(b.{}_figures(client)))".format(name),
            files=files,
        )
    except (heap32.StepFailed, subprocess.TimeoutExpired) as error:
        return error
    figures = [line for line in result.out if line.startswith("@ ")]
    answer = json.loads(figures[0][2:])
    answer["import"] = result.heap[2] - result.heap[1]
    answer["client"] = result.heap[3] - result.heap[2]
    return answer


def _ahead_of(label):
    def ahead(value, figure):
        return value > (figure.cells.get(label, {}).get("value") or 0)

    return ahead


def _on_cpython(contender):
    return contender.kind.adapter == "paho"


def _line_name(line):
    return line if line == "loopback" else "{} ms round trip".format(line)


def _rate_label(qos, depth, special=""):
    label = "QoS {}".format(qos)
    if qos:
        label += ", one at a time" if depth == 1 else ", {} in flight".format(depth)
    return label + (", " + special if special else "")


def _ms(value):
    if value >= 1000:
        return "{:.1f} s".format(value / 1000)
    return "{:.0f} ms".format(value) if value >= 10 else "{:.1f} ms".format(value)


# --- the run -------------------------------------------------------------------------------------


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter measurements")
    parser.add_argument(
        "--only",
        default=",".join(TOPICS),
        metavar="TOPIC,...",
        help="some of: " + ", ".join(TOPICS),
    )
    parser.add_argument(
        "--lines", metavar="LINE,...", help="some of: loopback, 0, 50, 200 (ms round trip)"
    )
    parser.add_argument(
        "--tls", choices=("no", "yes", "both"), help="for the rates (quick: no, else both)"
    )
    parser.add_argument(
        "--client",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="another MicroPython client and its file: mqtt_as, umqtt.simple2, or another "
        "umqtt.simple or umqtt.robust, with @ and a word to have it beside the usual one",
    )
    parser.add_argument("--without", action="append", metavar="NAME", help="leave this one out")
    parser.add_argument("--broker", choices=("mosquitto", "amqtt", "localcloud"))
    parser.add_argument("--json", metavar="FILE", help="write the figures there, for a machine")
    parser.add_argument("--no-delay-line", action="store_true", help="loopback only")
    options = parser.parse_args()
    options.only = options.only.split(",")
    for topic in options.only:
        if topic not in TOPICS:
            parser.error("--only: {} is none of {}".format(topic, ", ".join(TOPICS)))
    plan = Plan(options.quick)
    if options.lines:
        plan.lines = options.lines.split(",")
        for line in plan.lines:
            if line not in LINES:
                parser.error("--lines: {} is none of {}".format(line, ", ".join(LINES)))
    if options.tls:
        plan.tls = {"no": (False,), "yes": (True,), "both": (False, True)}[options.tls]
    return parser, options, plan


def _enter_namespace(options, report):
    if options.no_delay_line:
        report.left_out.append("delayed lines, segments and bytes: --no-delay-line")
        return False
    try:
        delay_line.enter_namespace()
        return True
    except (delay_line.Unavailable, OSError) as error:
        report.left_out.append("delayed lines, segments and bytes: {}".format(error))
        return False


def _machine(broker, private):
    def first_line(path):
        with contextlib.suppress(OSError):
            return Path(path).read_text().split("\n")[0]

    return {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "micropython": workshop.micropython_version(),
        "python": platform.python_version(),
        "broker": broker,
        "delay_line": private,
        "congestion_control": first_line("/proc/sys/net/ipv4/tcp_congestion_control"),
    }


def main():
    parser, options, plan = _options()
    if not workshop.micropython():
        sys.exit("bench: it needs MicroPython: " + workshop.why_no_micropython())
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="picolink-bench-"))
        try:
            more, left_out = [], []
            try:
                more = [] if options.quick else bench_contenders.from_index(directory)
            except workshop.SetupError as error:
                left_out.append("chumicro-mqtt and aiomqttc: {}".format(error))
            contenders = bench_contenders.line_up(options.client, directory, more)
            # What has to be fetched is fetched now: there is no network in the namespace.
            kind = bench_broker.choose(options.broker)
        except (bench_contenders.BadClient, workshop.SetupError) as error:
            parser.error(str(error))
        if "heap" in options.only:
            with contextlib.suppress(workshop.SetupError):
                workshop.wasm()
        if options.without:
            contenders = [one for one in contenders if one.label not in options.without]
        report = bench_report.Report([contender.label for contender in contenders])
        report.left_out += left_out
        private = _enter_namespace(options, report)
        tls = bench_broker.make_certificates(directory)
        hosts, line = [LOOPBACK], None
        if private:
            try:
                line = stack.enter_context(delay_line.DelayLine())
                hosts.append(delay_line.LOCAL)
            except delay_line.Unavailable as error:
                report.left_out.append("delayed lines, segments and bytes: {}".format(error))
        broker = stack.enter_context(bench_broker.Broker(kind, hosts, tls))
        nagle = None
        if kind == "mosquitto" and "qos1" in options.only and not options.quick:
            nagle = stack.enter_context(bench_broker.Broker(kind, hosts, tls, nodelay=False))
        tls = {"name": bench_broker.TLS_NAME, "ca_pem": tls["ca_pem"], "ca_der": tls["ca_der"]}
        machine = _machine(kind, line is not None)
        bench = Bench(options, plan, contenders, report, broker, nagle, line, tls)
        if {"qos0", "qos1", "qos2"} & set(options.only):
            bench.rates()
        for topic in ("receive", "instructions", "connect", "wire", "heap", "stall", "cut"):
            if topic in options.only:
                getattr(bench, topic)()
    machine["seconds"] = round(time.monotonic() - started, 1)
    print(
        "MicroPython {micropython}, {broker}, {processors} processors, load {load[0]}, "
        "{seconds:.0f} s; (2x) = twice umqtt.simple's figure".format(**machine)
    )
    print(report.table())
    if bench.failures:
        print("\nFailed:")
        for label, task, text in bench.failures:
            print("  {}, {}: {}".format(label, task, text))
    if options.json:
        machine["quick"] = options.quick
        Path(options.json).write_text(report.as_json(machine=machine, failures=bench.failures))
    # Rivals may fail; our own client may not.
    return any(label == bench_report.OURS for label, _, _ in bench.failures)
