"""
The local cloud as a program: `python3 tools/localcloud --help`.

Prints one line of JSON on stdout when everything is ready (cloud.py says what is in it), what
happens on stderr, and stops cleanly on SIGINT and SIGTERM.
"""

import os
import sys

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Started as `python3 tools/localcloud` this directory itself is on the path: its modules would
# answer to names that are not theirs.
sys.path[:] = [TOOLS] + [
    p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))
]

import workshop  # noqa: E402

if __name__ == "__main__":
    workshop.enter(__file__)

import argparse  # noqa: E402
import asyncio  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import signal  # noqa: E402

from localcloud import cloud as cloud_module  # noqa: E402

PORTS = (
    ("--mqtt-port", 1883, "MQTT over TCP"),
    ("--mqtts-port", 8883, "MQTT over TLS"),
    ("--ws-port", 9001, "MQTT over WebSocket, paths /mqtt and /$iothub/websocket"),
    ("--wss-port", 9443, "MQTT over WebSocket over TLS; may be the same as --https-port"),
    ("--http-port", 8080, "HTTP"),
    ("--https-port", 8443, "HTTPS"),
    ("--tv-provision-port", 18883, "TeamViewer agent, provisioning (plain MQTT)"),
    ("--tv-port", 18884, "TeamViewer agent, data (MQTT over mutual TLS)"),
    ("--push-port", 3200, "Digi push monitor"),
    ("--push-tls-port", 3201, "Digi push monitor over TLS"),
)


def port_number(text):
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 (any free one) to 65535")
    return number


def make_parser(parts):
    parser = argparse.ArgumentParser(
        prog="python3 tools/localcloud",
        description="The service sides of IBM, Azure, TeamViewer and Digi on this machine. When "
        "all is ready one line of JSON on stdout holds every port, credential and file that a "
        "client needs. Ctrl-C ends it.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--state",
        metavar="DIR",
        help="where certificates, credentials and data are kept across restarts; holds secrets, "
        "so it is made for you alone (default: a temporary directory, removed at the end)",
    )
    parser.add_argument(
        "--key-type",
        choices=("ec", "rsa"),
        default="ec",
        help="of certificates: ec is ECDSA P-256, rsa is RSA 2048 (default: %(default)s)",
    )
    parser.add_argument(
        "--open-broker",
        nargs="?",
        const="",
        metavar="USER:PASSWORD",
        help="also be an ordinary MQTT broker for whoever belongs to no service; with "
        "USER:PASSWORD only for who has them (default: such clients are refused)",
    )
    parser.add_argument(
        "--log",
        choices=("error", "info", "debug"),
        default="info",
        help="how much is told on stderr (default: %(default)s)",
    )
    ports = parser.add_argument_group("ports", "0 is any free port")
    for option, default, text in PORTS:
        ports.add_argument(
            option, type=port_number, default=default, metavar="N", help=text + " (%(default)s)"
        )
    for part in parts:
        part.options(parser.add_argument_group(part.title))
    return parser


async def serve(options, parts):
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_on_loop_error)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    cloud = cloud_module.Cloud(options, parts)
    ready = await cloud.start()
    try:
        print(json.dumps(ready), flush=True)
        await ended.wait()
    finally:
        await cloud.stop()


def _on_loop_error(loop, context):
    """Failed handshakes and cut connections are everyday here, not tracebacks."""
    error = context.get("exception")
    if isinstance(error, OSError):
        logging.getLogger("localcloud").info("%s: %s", context.get("message"), error)
    else:
        loop.default_exception_handler(context)


def main():
    parts = cloud_module.load_parts()
    options = make_parser(parts).parse_args()
    logging.basicConfig(
        stream=sys.stderr,
        level=getattr(logging, options.log.upper()),
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    try:
        asyncio.run(serve(options, parts))
    except cloud_module.CloudError as e:
        sys.exit("localcloud: %s" % e)
    except BrokenPipeError:
        sys.exit("localcloud: nobody reads the ready line")


if __name__ == "__main__":
    main()
