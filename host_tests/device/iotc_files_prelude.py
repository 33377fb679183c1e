# ruff: noqa: F821 (what stands before it defines the rest)
# Uploads of a device that the hub knows. azure_rig_prelude.py is there.
from given import FOLDER, HUB, KEY, NAME, UPLOADS

import iotc_files
import json
import os
iotc_files.Upload.server = UPLOADS
iotc_files.Upload.slice = 4096

FILE = FOLDER + "/data.bin"
STATE = FOLDER + "/upload.json"

def made(size, path=FILE):
    # So that no two slices are alike, and a file of a megabyte takes no memory.
    with open(path, "wb") as f:
        for n in range(0, size, 64):
            f.write((b"%08d" % n * 8)[: min(64, size - n)])
    return path

def known():
    d = device(KEY, NAME, 3)
    d._host = HUB
    return d

def attempt(upload):
    try:
        upload.run()
        report(done=upload.done, sent=upload.sent)
    except (OSError, ValueError) as e:
        report(kind=type(e).__name__, said=str(e.args[-1]), done=upload.done, sent=upload.sent)
