"""
iotc beside Microsoft's MicroPython client and micropython-lib's hmac, in one run, on this machine:

    python3 tools/bench azure                             iotc alone
    python3 tools/bench azure --hmac /path/to/python-stdlib/hmac/hmac.py
                                 --microsoft /path/to/iot-central-micropython-client
    python3 tools/bench azure --json azure.json

A token: a complete shared access signature, from the key's pads on. Connecting: signed in, and
with all filters subscribed, through a round trip that tools/delay_line.py makes below TCP (left
out where that is not permitted), to this project's local Azure. Heap: 32 bit, each telemetry
message with the network stubbed out. Figures are this machine's at this moment: compare columns.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import sys
import tempfile
from pathlib import Path

import workshop
from workshop import heap32, processes
from localcloud import azure as azure_module
from localcloud import pki
from localcloud.background import Background
from localcloud.mqtt import server as mqtt_server

from bench import delay_line

OURS = "iotc"
MICROSOFT = "Microsoft's"
HMAC = "micropython-lib's hmac"
RTT = 50  # ms
DEVICE = "sensor-01"
HUB = "hub-7.azure-devices.net"
SCOPE = "0ne00ABCDEF"
GROUP_KEY = base64.b64encode(bytes(range(64))).decode()
KEY = azure_module.derive_key(GROUP_KEY, DEVICE)
REPEATS = 7

TIMED = """
import time
def timed(make, count=400):
    best = None
    for _ in range(25):
        start = time.ticks_us()
        for _ in range(count):
            make()
        took = time.ticks_diff(time.ticks_us(), start) / count
        best = took if best is None else min(best, took)
    print("@", best)
"""

TOKEN = {
    OURS: """
from iotc_setup import pads
from iotc_wire import quote, token
key = pads(KEY)
resource = quote(HUB + "/devices/" + DEVICE)
timed(lambda: token(key, resource, 1893456000))
""",
    # What it takes to write the same with that module, the key being decoded before.
    HMAC: """
import hashlib
from binascii import a2b_base64, b2a_base64
import hmac
key = a2b_base64(KEY)
sr = (HUB + "/devices/" + DEVICE).replace("/", "%2F")
def make():
    text = sr + "\\n%d" % 1893456000
    sig = b2a_base64(hmac.new(key, text.encode(), hashlib.sha256).digest())[:-1].decode()
    sig = sig.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    return "SharedAccessSignature sr=%s&sig=%s&se=%d" % (sr, sig, 1893456000)
timed(make)
""",
    # Its own key computation and encoding, in the order in which its client does it.
    MICROSOFT: """
from iotc import ConsoleLogger, IoTCLogLevel
from iotc.provision import ProvisioningClient, encode_uri_component
p = ProvisioningClient("S", DEVICE, 2, KEY, ConsoleLogger(IoTCLogLevel.DISABLED))
sr = HUB + "/devices/" + DEVICE
def make():
    sig = encode_uri_component(p._compute_key(KEY, "{}\\n{}".format(sr, 1893456000)))
    return "SharedAccessSignature sr={}&sig={}&se={}".format(sr, sig, 1893456000)
timed(make, 100)
""",
}

CONNECT = {
    OURS: """
import time
import iotc
iotc.Device.server = SERVER
iotc.Device.ca = CA
iotc.Device.tls = TLS
d = iotc.Device("S", KEY, DEVICE, 3)
took = []
for _ in range(REPEATS):
    start = time.ticks_us()
    assert d.connect(HUB) == 0, d.error
    took.append(time.ticks_diff(time.ticks_us(), start) / 1000)
    d.disconnect()
print("@", sorted(took)[len(took) // 2])
""",
    # Provisioning (HTTP, to a fixed port) and the port of the hub are replaced; nothing else.
    MICROSOFT: """
import time
import iotc
from iotc import ConsoleLogger, IoTCLogLevel
host, port = SERVER.split(":")
class Credentials:
    pass
creds = Credentials()
creds.host, creds.user, creds.password = host, USER, TOKEN
class Provisioning:
    def __init__(self, *args):
        pass
    def register(self):
        return creds
iotc.ProvisioningClient = Provisioning
client_class = iotc.MQTTClient
def client(name, server, old_port, user, password, ssl, keepalive):
    return client_class(name, server, int(port), user, password, ssl=TLS, keepalive=keepalive)
iotc.MQTTClient = client
took = []
for _ in range(REPEATS):
    c = iotc.IoTCClient("S", DEVICE, 2, KEY, ConsoleLogger(IoTCLogLevel.DISABLED))
    start = time.ticks_us()
    c.connect()
    took.append(time.ticks_diff(time.ticks_us(), start) / 1000)
    c._mqtt_client.disconnect()
print("@", sorted(took)[len(took) // 2])
""",
}

HEAP = {
    OURS: """
import gc
import iotc, mqtt_link, netstream
class Stub:
    want = unheard = 0
    bounded = False
    def poll():
        pass
    def urandom(n):
        return bytes(n)
    def write(self, buf, off, n):
        return n
netstream.select = mqtt_link.os = Stub
iotc.Device.tls = False
d = iotc.Device("S", {"keyfile": b"k", "certfile": b"c"}, "sensor-01", 2)
d._host = "hub-7.azure-devices.net"
d._task = d._connect(False)
d.do_next()
d._hub._stream = Stub()
d._hub._state = 4  # up
send = d.sendTelemetry
""",
    MICROSOFT: """
import gc
import iotc
class Sock:
    def write(self, buf, n=None):
        return len(buf)
c = iotc.IoTCClient("S", "sensor-01", 2, "", None)
c._logger.set_log_level(1)
c._mqtt_client = iotc.MQTTClient("sensor-01", "h")
c._mqtt_client.sock = Sock()
send = c.send_telemetry
""",
}
COUNT = """
payload = {"temperature": 21.5, "pressure": 1013}
send(payload)
gc.collect()
gc.disable()
before = gc.mem_alloc()
for _ in range(100):
    send(payload)
print("@", (gc.mem_alloc() - before) / 100)
"""


def run(source, directory, timeout=120, **values):
    """Run a device program; the number it printed behind "@"."""
    script = Path(directory) / "bench.py"
    head = "".join("{} = {!r}\n".format(name, value) for name, value in values.items())
    script.write_text(head + source)
    more = [str(path) for path in values.get("_path", ())]
    command = workshop.device_command(script, kind="micropython")
    process = processes.Process(command, name="bench", env=workshop.device_env(directory, *more))
    try:
        while True:
            line = process.next_line(timeout)
            if line.startswith("@ "):
                return float(line.split()[1])
    except processes.Ended:
        raise SystemExit("the device program failed:\n" + process.tail(40))
    finally:
        process.stop()


def contenders(options, directory):
    """{label: directory to be searched before lib/}; Microsoft's files stand beside umqtt's."""
    found = {OURS: directory / "ours"}
    if options.hmac:
        found[HMAC] = directory / "hmac"
    if options.microsoft:
        found[MICROSOFT] = directory / "microsoft"
    for place in found.values():
        place.mkdir()
    if options.hmac:
        (directory / "hmac" / "hmac.py").write_bytes(Path(options.hmac).read_bytes())
    if options.microsoft:
        target = directory / "microsoft" / "iotc"
        target.mkdir()
        for path in (Path(options.microsoft) / "iotc").glob("*.py"):
            (target / path.name).write_bytes(path.read_bytes())
        # Its names of MicroPython's modules are older than this MicroPython; requests is unused.
        for name, text in (
            ("ure", "from re import *\n"),
            ("ussl", "from ssl import *\n"),
            ("urequests", ""),
            ("ntptime", "def settime():\n    raise OSError\n"),
        ):
            (directory / "microsoft" / (name + ".py")).write_text(text)
    return found


@contextlib.contextmanager
def local_azure(directory, address):
    """An Azure on that address; gives (plain port, TLS port, CA file)."""
    keys = pki.Pki(str(directory), azure_module.NAMES)
    with Background() as background:

        async def start():
            azure = azure_module.Azure([HUB], scope_id=SCOPE, group_key=GROUP_KEY)
            azure.create(DEVICE, {"keys": [KEY]})
            server = mqtt_server.Server()
            azure.add_to(server)
            plain = await server.listen("mqtt", address, 0)
            tls = await server.listen("mqtts", address, 0, keys.server_context())
            return server, plain.port, tls.port

        server, plain, tls = background.call(start())
        try:
            yield plain, tls, keys.ca_der
        finally:
            background.call(server.stop())
            background.call(asyncio.sleep(0))


def sas(key, path):
    """A token for Microsoft's client, whose provisioning is left out."""
    sign = {"key": key, "path": path}
    script = (
        "from iotc_setup import pads\nfrom iotc_wire import *\n"
        "print('@@', token(pads(key), quote(path), 1893456000))"
    )
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "token.py"
        head = "".join("{} = {!r}\n".format(name, value) for name, value in sign.items())
        program.write_text(head + script)
        command = workshop.device_command(program, kind="micropython")
        process = processes.Process(command, name="token", env=workshop.device_env())
        try:
            return process.next_line(20)[3:]
        finally:
            process.stop()


def bench_tokens(found, table):
    for label, place in found.items():
        if label in TOKEN:
            value = run(TIMED + TOKEN[label], place, HUB=HUB, DEVICE=DEVICE, KEY=KEY)
            table.append(("a token", label, value, "us"))


def bench_connect(found, table, directory):
    user = "%s/%s/?api-version=2021-04-12" % (HUB, DEVICE)
    text = sas(KEY, "%s/devices/%s" % (HUB, DEVICE))
    with delay_line.DelayLine() as line:
        with local_azure(directory / "tls", delay_line.LOCAL) as (plain, tls, ca):
            for n, (name, port, secure) in enumerate(
                (("plain", plain, False), ("TLS", tls, True))
            ):
                for label, place in found.items():
                    if label not in CONNECT:
                        continue
                    address = line.address(RTT, 10 + n * 10 + list(found).index(label))
                    value = run(
                        CONNECT[label],
                        place,
                        SERVER="%s:%d" % (address, port),
                        CA=ca,
                        TLS=secure,
                        KEY=KEY,
                        DEVICE=DEVICE,
                        HUB=HUB,
                        USER=user,
                        TOKEN=text,
                        REPEATS=REPEATS,
                    )
                    figure = "connect and subscribe at %d ms, %s" % (RTT, name)
                    table.append((figure, label, value, "ms"))


def bench_heap(found, table):
    for label, place in found.items():
        if label not in HEAP:
            continue
        files = heap32.library()
        if label == MICROSOFT:
            files = {path: body for path, body in files.items() if "/iotc" not in path}
            for path in place.rglob("*.py"):
                name = path.relative_to(place).as_posix()
                files["/lib/" + name] = path.read_bytes()
        out = heap32.run(HEAP[label] + COUNT, files=files).out
        value = float(next(line for line in out if line.startswith("@ ")).split()[1])
        table.append(("heap of a telemetry message", label, value, "bytes"))


def show(table, left_out):
    labels = list(dict.fromkeys(label for _, label, _, _ in table))
    figures = list(dict.fromkeys((figure, unit) for figure, _, _, unit in table))
    width = max(len(figure) for figure, _ in figures) + 8
    print("%-*s" % (width, "") + "".join("%24s" % label for label in labels))
    for figure, unit in figures:
        cells = {label: value for f, label, value, _ in table if f == figure}
        row = "".join("%24s" % ("%.1f" % cells[n] if n in cells else "-") for n in labels)
        print("%-*s" % (width, "%s, %s" % (figure, unit)) + row)
    for sentence in left_out:
        print(sentence)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--hmac", metavar="FILE", help="micropython-lib's hmac.py")
    parser.add_argument("--microsoft", metavar="DIR", help="Microsoft's MicroPython client")
    parser.add_argument("--json", metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    if not workshop.micropython():
        sys.exit("bench azure: " + workshop.why_no_micropython())
    table, left_out = [], []
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        found = contenders(options, directory)
        bench_tokens(found, table)
        try:
            workshop.wasm()
            bench_heap(found, table)
        except workshop.SetupError as e:
            left_out.append("No heap figures: %s" % e)
        try:
            delay_line.enter_namespace()
            bench_connect(found, table, directory)
        except delay_line.Unavailable as e:
            left_out.append("No connecting through a delay: %s" % e)
    show(table, left_out)
    if options.json:
        rows = [dict(zip(("figure", "client", "value", "unit"), row)) for row in table]
        Path(options.json).write_text(json.dumps({"rows": rows, "left_out": left_out}, indent=1))
