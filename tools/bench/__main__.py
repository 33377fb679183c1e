"""
Starts a bench: `python3 tools/bench NAME [options]`, and `python3 tools/bench NAME --help`.
"""

import importlib
import os
import sys

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Started as `python3 tools/bench` this directory itself is on the path: its modules would answer
# to names that are not theirs.
sys.path[:] = [TOOLS] + [
    p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))
]

import workshop  # noqa: E402

BENCHES = {
    "link": "MQTTLink beside other MQTT clients",
    "azure": "iotc beside Microsoft's client: tokens, connecting, heap",
    "ibm": "200 devices to one application through the local cloud, beside brokers",
    "cloud": "cloud.Device.send() beside each service's own client",
    "p256": "a P-256 key and its certificate request",
}


def main():
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in BENCHES:
        lines = ["  {:<7}{}".format(*item) for item in BENCHES.items()]
        print("usage: python3 tools/bench NAME [options]\n\n" + "\n".join(lines))
        return 0 if name in ("", "-h", "--help") else 2
    workshop.enter(__file__)
    sys.argv[:2] = ["python3 tools/bench " + name]
    return importlib.import_module("bench." + name).main()


if __name__ == "__main__":
    sys.exit(main())
