"""
What cloud.Device.send() costs beside the same message sent by the service's own client:

    python3 tools/bench cloud [--rounds 40]

Both run in one MicroPython program, connected to the local cloud over TLS, in turn: 8 messages by
the one, 8 by the other, and between them everything is acknowledged, which isn't timed. Time is
the median of all batches, in microseconds a call; heap is what a call allocates, in bytes, with
the collector off. Compare the two columns, not two runs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import workshop
from workshop import processes

PROGRAM = """
import gc, json, sys, time
import cloud

BATCH = 8
settings = json.loads(SETTINGS)
service = settings["service"]
made = []
if service == "ibm":
    import ibmiotf.device

    class Client(ibmiotf.device.Client):
        def __init__(self, options):
            super().__init__(options)
            made.append(self)

    ibmiotf.device.Client = Client
device = cloud.Device(settings)
fields = {"celsius": 21.5, "humidity": 40, "open": False}

def own_mqtt():
    device._link.publish("devices/bench/event/climate", json.dumps(fields), False, 1)
def own_ibm():
    made[0].publishEvent("climate", fields, 1)
def own_azure():
    device._client.sendTelemetry(fields)
def own_teamviewer():
    sensor, metrics, _ = device._sensors["telemetry"]
    values = [{"metricId": metrics[f][0], "value": fields[f]} for f in fields]
    device._client.push_metrics(sensor, {"metrics": values}, callback=lambda **answer: None)

own = {"mqtt": own_mqtt, "ibm": own_ibm, "azure": own_azure, "teamviewer": own_teamviewer}[service]
ours = lambda: device.send(fields)

def drain():
    for _ in range(20):
        while device.do_next(1):
            pass
    while device.pending:
        device.do_next(5)

def batch(call):
    drain()
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    start = time.ticks_us()
    for _ in range(BATCH):
        call()
    took = time.ticks_diff(time.ticks_us(), start)
    heap = gc.mem_alloc() - before
    gc.enable()
    return took / BATCH, heap / BATCH

ours()
drain()
for _ in range(ROUNDS):
    print(json.dumps([batch(own), batch(ours)]))
"""


def _places(ready, folder):
    ca, mqtt = ready["ca_der"], ready["mqtt"]
    ibm, azure, agent = ready["ibm"], ready["azure"], ready["teamviewer"]
    there = {"host": "localhost", "port": mqtt["tls_port"], "ca": ca}
    yield dict(there, service="mqtt", id="bench")
    yield dict(there, service="ibm", org=ibm["org"], **ibm["device"])
    yield {
        "service": "azure", "scope": azure["scope_id"], "id": "bench", "key": azure["group_key"],
        "server": "localhost:%d" % mqtt["tls_port"], "ca": ca,
    }  # fmt: skip
    yield {
        "service": "teamviewer", "host": "localhost", "port": agent["port"],
        "provision_port": agent["provision_port"], "ca": agent["ca_file"], "folder": folder,
    }  # fmt: skip


def _median(values):
    values = sorted(values)
    return values[len(values) // 2]


def measure(rounds):
    """[(service, us of the client's call, us of send(), bytes of the one, bytes of the other)]."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="picolink-bench-") as directory:
        state = str(Path(directory) / "state")
        cloud, ready = processes.start_cloud("--open-broker", state=state)
        try:
            for settings in _places(ready, str(Path(directory) / "certs")):
                script = Path(directory) / "program.py"
                head = "SETTINGS = {!r}\nROUNDS = {}\n".format(json.dumps(settings), rounds)
                script.write_text(head + PROGRAM)
                done = subprocess.run(
                    workshop.device_command(script, kind="micropython"),
                    env=workshop.device_env(),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=300,
                )
                if done.returncode:
                    raise SystemExit(done.stdout)
                pairs = [json.loads(one) for one in done.stdout.splitlines() if one[:1] == "["]
                own, ours = zip(*pairs)
                row = [_median(one[i] for one in some) for i in (0, 1) for some in (own, ours)]
                rows.append((settings["service"],) + tuple(row))
        finally:
            cloud.stop()
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=40, help="batches of each (%(default)s)")
    options = parser.parse_args(arguments)
    print("| service | own call, us | send(), us | ratio | own call, bytes | send(), bytes |")
    print("|---|--:|--:|--:|--:|--:|")
    for service, own, ours, own_heap, our_heap in measure(options.rounds):
        print(
            "| {} | {:.0f} | {:.0f} | {:.2f} | {:.0f} | {:.0f} |".format(
                service, own, ours, ours / own, own_heap, our_heap
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
