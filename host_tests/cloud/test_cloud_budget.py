"""What cloud.py costs over a service's own client, on a 32-bit heap."""

import build
import pytest

import services

LIMIT = 2500
# service -> what a program of its own client imports; what cloud.py adds to it as built .mpy files
# on a file system. From ROMFS, where code takes no heap, it is at most LIMIT, too.
CLIENTS = {
    "mqtt": ("mqtt_link", 1960),
    "azure": ("iotc", 2530),
    "ibm": ("ibmiotf.device", 2424),
    "teamviewer": ("teamviewer_iot", LIMIT),
}


@pytest.mark.parametrize("service", sorted(CLIENTS))
def test_from_romfs_it_adds_at_most_2500_bytes(board_lwip, service):
    client, _ = CLIENTS[service]
    got = board_lwip.run(
        """
import gc, json, os, select, socket, struct, time

def cost(*names):
    gc.collect()
    before = gc.mem_alloc()
    for name in names:
        __import__(name)
    gc.collect()
    return gc.mem_alloc() - before

# The table of names grows in large steps, whoever's name comes next: one with room for all that
# follows is there before anything is measured.
names = 0
grown = 0
while grown < 4000:
    before = gc.mem_alloc()
    getattr(gc, "name_%d" % names, None)
    grown = gc.mem_alloc() - before
    names += 1
own = cost("mqtt_link", CLIENT)
report(own=own, more=cost("cloud", "cloud_" + SERVICE))
""",
        CLIENT=client,
        SERVICE=service,
    ).report
    print(service, got)
    assert got["own"] > 3000 and 0 < got["more"] <= LIMIT


@pytest.mark.parametrize("service", sorted(CLIENTS))
def test_built_files_on_a_file_system_add_no_more_than_they_do(heap32, service):
    client, most = CLIENTS[service]
    builder = build.outputs.Builder()
    cost = {}
    for name, modules in (
        (client.partition(".")[0], [client]),
        ("cloud_" + service, ["cloud_" + service, "cloud", client]),
    ):
        made = builder.build([services.named(name)])
        cost[name] = sum(heap32.import_cost(*modules, files=heap32.built(made.files)).values())
    own, whole = cost.values()
    print(service, own, whole - own)
    assert 0 < whole - own <= most
