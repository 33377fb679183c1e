"""The bench's broken peers: what each does, and how a client lives through it."""

import asyncio
import socket
import struct
import time

from localcloud import faults

from bench.contenders import TaskFailed

_SPARE_S = 3  # for starting and for speaking up at the end
_HALF_A_PUBLISH = b"\x30\x50\x00\x09bench"


class _ClosesWindow(faults.Fault):
    """Behind the second packet down (the SUBACK) it never reads again; small buffers fill soon."""

    def __init__(self):
        self.left = 2

    async def accept(self, reader, writer):
        self.reader = reader
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return True

    def down(self, data):
        yield data
        self.left -= 1
        if self.left == 0:
            self.reader.read = self.never

    async def never(self, n):
        await asyncio.Event().wait()


class _Cut(faults.Fault):
    """An ordinary connection until end(), with a reset (RST) or in order (FIN)."""

    async def accept(self, reader, writer):
        self.loop, self.writer = asyncio.get_running_loop(), writer
        return True

    def end(self, reset):
        if reset:
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.loop.call_soon_threadsafe(self.writer.close)


class Kind:
    """
    label: ends the sentence "a peer that ...". fault: for FaultProxy.apply(), None for the delay
    line's vanishing peer. again: it also befalls the connections that follow. dies: it is silent
    from then on, which the client is to notice by its keepalive. job: more for the device.
    """

    def __init__(self, label, fault, again=False, tls=False, dies=False, **job):
        self.label, self.fault, self.again = label, fault, again
        self.tls, self.dies, self.job = tls, dies, job


def kinds(below_tcp):
    """All of them. below_tcp: a delay line can make a peer vanish."""

    def half_a_packet():
        return faults.Inject(_HALF_A_PUBLISH, nth=2, then_silent=True)

    return [
        Kind("never answers CONNECT", "silent", again=True),
        Kind("stalls the TLS handshake", "silent", again=True, tls=True),
        Kind("stops within a packet", half_a_packet),
        Kind("swallows PINGRESP", "swallow_pings", dies=True),
        Kind(
            "vanishes (half-open)",
            None if below_tcp else lambda: faults.HalfOpen(2),
            dies=True,
        ),
        Kind("closes its receive window", _ClosesWindow, publish=20),
    ]


def run(bench, kind, contender):
    """
    One client against one kind of peer. Returns {"longest": ms or None for "it hung", "noticed_s":
    seconds from the stall until the client knew or None, "error", and "in_task": ms}.
    """
    ms = bench.plan.stall_s * 1000
    keepalive = bench.plan.keepalive if kind.dies else 60
    more = dict(kind.job, ms=ms, keepalive=keepalive)
    job = bench.job(contender, "stall", "loopback" if kind.fault else "0", kind.tls, **more)
    if kind.fault is None:
        return _watch(bench, contender, job, lambda: bench.line.vanish(job["host"]))
    with faults.FaultProxy(job["host"], job["port"]) as proxy:
        proxy.apply(kind.fault, connections=None if kind.again else 1)
        job.update(host=proxy.host, port=proxy.port)
        return _watch(bench, contender, job, lambda: None)


def _watch(bench, contender, job, when_up):
    deadline = time.monotonic() + bench.plan.stall_s + _SPARE_S
    began = time.time_ns()
    with contender.start(job) as device:
        try:
            while True:
                word = device.word(deadline - time.monotonic())
                if word.get("now") == "up":
                    when_up()
                    began = time.time_ns()
                elif "result" in word:
                    break
        except TaskFailed as error:
            if device.process.rc is None:
                return {"longest": None, "noticed_s": None, "error": "it hung"}
            bench.failures.append((contender.label, job["task"], str(error)))
            return {"longest": None, "noticed_s": None, "error": str(error)}
    result = word["result"]
    noticed = result.pop("noticed")
    result["noticed_s"] = noticed and round((noticed - began) / 1e9, 3)
    return result


def cut(bench, contender, reset):
    """
    End one connection of a client that is subscribed, with a reset (RST) or in order (FIN).

    Returns {"back_s": seconds until the broker has taken it again, None if it hasn't in
    plan.cut_s; "gave_up": whether its program ended over it; "subscribed": whether it asked for
    its subscriptions again}.
    """
    job = bench.job(contender, "stall", ms=(bench.plan.cut_s + 2) * 1000)
    with faults.FaultProxy(job["host"], job["port"]) as proxy:
        proxy.apply(_Cut)
        job.update(host=proxy.host, port=proxy.port)
        with contender.start(job) as device:
            try:
                while device.word(10).get("now") != "up":
                    pass
            except TaskFailed as error:
                bench.failures.append((contender.label, "cut", str(error)))
                return {"back_s": None, "gave_up": True, "subscribed": False}
            # A moment of ordinary life first.
            time.sleep(0.5)
            up, down = proxy.seen["up"], proxy.seen["down"]
            accepted, asked = down[faults.CONNACK], up[faults.SUBSCRIBE]
            start = time.monotonic()
            proxy.last_fault.end(reset)
            while down[faults.CONNACK] == accepted:
                gave_up = device.process.rc is not None
                if gave_up or time.monotonic() - start > bench.plan.cut_s:
                    return {"back_s": None, "gave_up": gave_up, "subscribed": False}
                time.sleep(0.002)
            back = time.monotonic() - start
            until = time.monotonic() + 1
            while up[faults.SUBSCRIBE] == asked and time.monotonic() < until:
                time.sleep(0.01)
            return {
                "back_s": round(back, 3),
                "gave_up": False,
                "subscribed": up[faults.SUBSCRIBE] > asked,
            }
