# What the clients of the bench have in common: how one measurement is taken. Runs on MicroPython
# and on CPython (paho).
#
# An adapter says what its client's words are for connect, subscribe, publish, one step and a flood
# of messages; the tasks here are the same for all of them. Words to the bench are lines of JSON
# behind an "@", answers come on stdin.

import gc
import json
import sys

try:
    from time import clock as cpu_s
    from time import sleep_ms, ticks_add, ticks_diff, ticks_ms, ticks_us, time_ns
except ImportError:
    from time import monotonic_ns, sleep, time_ns
    from time import process_time as cpu_s

    def ticks_ms():
        return monotonic_ns() // 1000000

    def ticks_us():
        return monotonic_ns() // 1000

    def ticks_add(ticks, delta):
        return ticks + delta

    def ticks_diff(end, start):
        return end - start

    def sleep_ms(ms):
        sleep(ms / 1000)


# A QoS 0 PUBLISH of these has 104 bytes: 2 of header, 2 of length, 20 of topic, 80 of payload.
TOPIC = b"bench/line/telemetry"
MSG = b"0123456789abcdef" * 5
FILTERS = (b"bench/a/#", b"bench/b/+", b"bench/c", b"bench/d/+/x")
BIG = MSG * 25
STEP_MS = 5  # a program's loop: one step, then this long something else


def say(**words):
    print("@" + json.dumps(words))
    try:
        sys.stdout.flush()
    except AttributeError:
        pass


def write_calls():
    """How many times this process has called write(2); None where the kernel doesn't count."""
    try:
        with open("/proc/self/io") as f:
            for line in f.read().split("\n"):
                if line.startswith("syscw:"):
                    return int(line[6:])
    except OSError:
        pass
    return None


class Base:
    """
    job: dict with id, host, port, tls (None or {"name", "ca_der", "ca_pem"}), keepalive (s), and
    the task's own.

    An adapter has: connect(), subscribe(filters), publish(qos) and step(), which return when their
    client says so; publish_big(); close(); and flood(qos, depth, ms) -> how many messages it got
    acknowledged (QoS 0: taken by the broker) with at most `depth` in flight, sending for `ms`.
    """

    def __init__(self, job):
        self.job = job
        self.id = job["id"]
        self.longest = 0  # us
        self.got = 0  # messages received

    # -- tasks

    def rate(self):
        job = self.job
        self.connect()
        self.flood(job["qos"], job["depth"], job["warm_ms"])
        gc.collect()
        start, cpu = ticks_us(), cpu_s()
        n = self.flood(job["qos"], job["depth"], job["ms"])
        return {"n": n, "us": ticks_diff(ticks_us(), start), "cpu_us": (cpu_s() - cpu) * 1000000}

    def receive(self):
        """Messages of a peer that sends without end; see broker.Peer for the filter."""
        job = self.job
        self.connect()
        self.subscribe((job["feed"].encode(),))
        self.receive_for(job["warm_ms"])
        gc.collect()
        start, cpu = ticks_us(), cpu_s()
        n = self.receive_for(job["ms"])
        return {"n": n, "us": ticks_diff(ticks_us(), start), "cpu_us": (cpu_s() - cpu) * 1000000}

    def receive_for(self, ms):
        first = self.got
        end = ticks_add(ticks_ms(), ms)
        while ticks_diff(end, ticks_ms()) > 0:
            self.receive_some()
        return self.got - first

    def receive_some(self):
        """Wait for messages, and take some of them in."""
        raise NotImplementedError

    def count(self):
        """One thing n times, for a tool that counts the instructions of the whole process."""
        job = self.job
        n = job["n"]
        self.connect()
        gc.collect()
        if job["what"] == "idle":
            step = self.idle_call()
            for _ in range(n):
                step()
        elif job["what"] == "publish":
            publish = self.publish_once
            for _ in range(n):
                publish()
        elif job["what"] == "acknowledged":
            self.acknowledged(job["depth"], n)
        elif job["what"] == "receive":
            self.subscribe((job["feed"].encode(),))
            while self.got < n:
                self.receive_some()
        elif job["what"] == "subscribe":
            self.subscribe([b"bench/%d/#" % i for i in range(n)])
        return n

    def idle_call(self):
        """What a program calls when there is nothing to do."""
        return self.step

    def publish_once(self):
        """Publish at QoS 0, and nothing else."""
        self.publish(0)

    def acknowledged(self, depth, n):
        """
        Publish until n are acknowledged, with `depth` in flight; the peer answers each when
        depth - 1 more have come.
        """
        for _ in range(n):
            self.publish(1)

    def ready(self):
        """Connect and subscribe, each time with a new client; says how many ms each took."""
        took = []
        for i in range(self.job["repeats"]):
            job = dict(self.job)
            job["id"] += "-%d" % i
            one = type(self)(job)
            gc.collect()
            start = ticks_us()
            one.connect_and_subscribe(FILTERS)
            took.append(ticks_diff(ticks_us(), start) / 1000)
            one.close()
        return {"ms": took}

    def connect_and_subscribe(self, filters):
        self.connect()
        self.subscribe(filters)

    def close(self):
        pass

    def wire(self):
        """A publish now and then; the bench reads the line's counters before and after."""
        self.connect()
        sleep_ms(300)
        say(now="ready")
        sys.stdin.readline()
        before = self.writes()
        for _ in range(self.job["n"]):
            self.publish(0)
            sleep_ms(self.job["gap_ms"])
        after = self.writes()
        return {"writes": None if before is None else after - before}

    def writes(self):
        return write_calls()

    def garbage(self):
        """Bytes per publish at QoS 0 and 1, and per idle second with a step each STEP_MS."""
        self.connect()
        self.flood(0, 1, 50)
        out = {}
        for qos in (0, 1):
            n = 100 if qos == 0 else 20
            self.publish_many(qos, 5)
            gc.collect()
            gc.disable()
            start = gc.mem_alloc()
            self.publish_many(qos, n)
            out["qos%d" % qos] = (gc.mem_alloc() - start) / n
            gc.enable()
        gc.collect()
        gc.disable()
        start = gc.mem_alloc()
        self.idle(1000)
        out["idle"] = gc.mem_alloc() - start
        return out

    def publish_many(self, qos, n):
        for _ in range(n):
            self.publish(qos)

    def idle(self, ms):
        for _ in range(ms // STEP_MS):
            self.step()
            sleep_ms(STEP_MS)

    def stall(self):
        """
        A program's loop against a peer that goes bad, each of its calls timed. Says "up" when
        connected and subscribed.

        Returns longest (ms, of one call), noticed (time_ns() when the client first knew) and error
        (its text).
        """
        self.start_clock()
        error = None
        try:
            self.open_timed(FILTERS[:1])
            if self.is_up():
                self.noticed = None
                say(now="up")
            while self.time_left():
                self.timed(self.step)
                for _ in range(self.burst()):
                    self.timed(self.publish_big)
                self.watch()
                sleep_ms(STEP_MS)
        except Exception as e:
            self.noticed = self.noticed or time_ns()
            error = repr(e)
        error = error or self.error()
        return {"longest": self.longest / 1000, "noticed": self.noticed, "error": error}

    def start_clock(self):
        now = ticks_ms()
        self.until = ticks_add(now, self.job["ms"])
        self.burst_until = ticks_add(now, min(3000, self.job["ms"] // 2))
        self.noticed = None

    def burst(self):
        """How many messages to publish in this step, to fill every buffer in the first seconds."""
        if ticks_diff(self.burst_until, ticks_ms()) > 0:
            return self.job.get("publish", 0)
        return 0

    def open_timed(self, filters):
        self.timed(self.connect)
        self.timed(self.subscribe, filters)

    def timed(self, f, *args):
        start = ticks_us()
        try:
            return f(*args)
        finally:
            self.longest = max(self.longest, ticks_diff(ticks_us(), start))

    def time_left(self):
        return ticks_diff(self.until, ticks_ms()) > 0

    def watch(self):
        if not self.noticed and not self.is_up():
            self.noticed = time_ns()

    def publish_big(self):
        """Publish BIG at QoS 0, as far as the client takes it."""
        raise NotImplementedError

    def is_up(self):
        return True

    def error(self):
        return None
