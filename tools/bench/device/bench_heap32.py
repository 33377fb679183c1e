# For MicroPython on WebAssembly, which has no network: a socket that takes everything at once and
# answers with a CONNACK, so that what a client allocates can be counted on a 32-bit heap. The
# stand-ins allocate nothing themselves.

import gc
import os
import struct
import sys
import time

TOPIC = b"bench/line/telemetry"
MSG = b"0123456789abcdef" * 5
_IN = 1
_OUT = 4


class Socket:
    def __init__(self, *ignored):
        self.answer = None

    def connect(self, address):
        pass

    setblocking = settimeout = connect

    def setsockopt(self, level, name, value):
        pass

    def close(self):
        pass

    def write(self, buf, a=-1, b=-1):
        # umqtt and mqtt_as: write(buf[, n]); a link: write(buf, offset, n).
        if buf[0] == 0x10 and not self.answer:
            self.answer = bytearray(b"\x20\x02\0\0")
            self.at = 0
        if b >= 0:
            return b
        return a if a >= 0 else len(buf)

    def readinto(self, buf, n=-1):
        if not self.answer or self.at == len(self.answer):
            return None
        n = min(n if n >= 0 else len(buf), len(self.answer) - self.at)
        for i in range(n):
            buf[i] = self.answer[self.at + i]
        self.at += n
        return n

    def read(self, n):
        buf = bytearray(n)
        n = self.readinto(buf, n)
        return n and bytes(buf[:n])

    def acknowledge(self, pid):
        self.answer[0] = 0x40
        self.answer[2] = pid >> 8
        self.answer[3] = pid & 255
        self.at = 0


class Poll:
    def register(self, sock, events=5):
        self.ready = ((sock, _OUT),) if events & _OUT else ()

    modify = register

    def unregister(self, sock):
        pass

    def ipoll(self, ms):
        return self.ready

    poll = ipoll


class _socket:
    AF_INET = SOCK_STREAM = 1
    socket = Socket

    @staticmethod
    def getaddrinfo(host, port, *ignored):
        return [(1, 1, 0, "", (host, port))]


class _select:
    POLLIN = _IN
    POLLOUT = _OUT
    POLLERR = 8
    POLLHUP = 16
    poll = Poll


class _tls:
    SSLContext = None


os.urandom = bytes
modules = sys.modules
modules["socket"] = modules["usocket"] = _socket
modules["select"] = modules["uselect"] = _select
modules["ssl"] = modules["tls"] = _tls
modules["ustruct"] = struct
modules["utime"] = time
modules["uerrno"] = __import__("errno")
modules["ubinascii"] = __import__("binascii")


def garbage(f, n, *args):
    """Bytes that one call of f leaves behind, the mean of n after a few that may set things up."""
    for _ in range(3):
        f(*args)
    gc.collect()
    gc.disable()
    start = gc.mem_alloc()
    for _ in range(n):
        f(*args)
    used = gc.mem_alloc() - start
    gc.enable()
    return used / n


def mqtt_link():
    from mqtt_link import MQTTLink

    link = MQTTLink("bench", "127.0.0.1", 1883)
    link.connect()
    return link


def mqtt_link_figures(link):
    def acknowledged():
        link._stream.sock.acknowledge(link.publish(TOPIC, MSG, False, 1))
        link.do_next()

    return {
        "qos0": garbage(link.publish, 50, TOPIC, MSG),
        "qos1": garbage(acknowledged, 20),
        "idle": garbage(link.do_next, 200) * 200,
    }


def umqtt(name="simple"):
    __import__("umqtt." + name)
    client = modules["umqtt." + name].MQTTClient("bench", "127.0.0.1", 1883)
    client.connect()
    return client


def umqtt_figures(client):
    return {"qos0": garbage(client.publish, 50, TOPIC, MSG)}


def drive(coro):
    """Run a coroutine to its end; this port's loop wants to return to JavaScript for that."""
    import asyncio
    from asyncio import core

    task = asyncio.create_task(coro)
    while not task.done():
        core._run_iter()
    if core.asyncio_timer is not None:
        core.js.clearTimeout(core.asyncio_timer)
        core.asyncio_timer = None
    if not isinstance(task.data, StopIteration):
        raise task.data
    return task.data.value


async def _no_wifi(quick=False):
    pass


class _WLAN:
    def __init__(self, interface):
        pass

    def active(self, on=True):
        return True

    def isconnected(self):
        return True


class _network:
    STA_IF = 0
    WLAN = _WLAN


class _machine:
    @staticmethod
    def unique_id():
        return b"bench"


modules["network"] = _network
modules["machine"] = _machine


def mqtt_as():
    import mqtt_as

    config = dict(mqtt_as.config)
    config.update(server="127.0.0.1", port=1883)
    client = mqtt_as.MQTTClient(config)
    client.wifi_connect = _no_wifi
    drive(client.connect(quick=True))
    return client


def mqtt_as_figures(client):
    async def publish():
        for _ in range(3):
            await client.publish(TOPIC, MSG)
        gc.collect()
        gc.disable()
        start = gc.mem_alloc()
        for _ in range(50):
            await client.publish(TOPIC, MSG)
        used = gc.mem_alloc() - start
        gc.enable()
        return used / 50

    return {"qos0": drive(publish())}
