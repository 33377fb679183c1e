"""
The local cloud as a program: `python3 tools/localcloud --help`.

When everything is ready it prints one line of JSON on stdout (cloud.py says what is in it), or on
a terminal a text for people. It tells what happens on stderr, and stops cleanly on SIGINT and
SIGTERM.
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
import errno  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import resource  # noqa: E402
import signal  # noqa: E402

from localcloud import cloud as cloud_module  # noqa: E402
from localcloud import greeting  # noqa: E402

log = logging.getLogger("localcloud")

MAX_FILES = 65536  # file descriptors; more are never of use here


def port_number(text):
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 (any free one) to 65535")
    return number


def part_names(text):
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in cloud_module.PARTS:
            raise argparse.ArgumentTypeError(
                "there is no part %r; there are %s" % (name, ", ".join(cloud_module.PARTS))
            )
    return names


def make_parser(parts):
    parser = argparse.ArgumentParser(
        prog="python3 tools/localcloud",
        description="The service sides of %s on this machine. When all is ready one line of JSON "
        "on stdout holds every port, credential and file that a client needs. Ctrl-C ends it."
        % ", ".join(part.title for part in parts),
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--parts",
        type=part_names,
        metavar="NAMES",
        help="which services are served, as in ibm,azure; only their ports are opened (default: "
        "%s)" % ",".join(part.key for part in parts),
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
        help="of certificates: ec is ECDSA P-256, rsa is RSA 2048 (default: rsa, as the real "
        "services have it; the TeamViewer agent has ec)",
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
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a page, as https://host:port, that may open a WebSocket here; pages of this machine "
        "may (may be given several times)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the ready line on a terminal too, where else a text for people stands",
    )
    parser.add_argument(
        "--log",
        choices=("error", "info", "debug"),
        default="info",
        help="how much is told on stderr (default: %(default)s)",
    )
    ports = parser.add_argument_group("ports", "0 is any free port")
    for port in cloud_module.ports(parts):
        ports.add_argument(
            port.option,
            type=port_number,
            default=port.default,
            metavar="N",
            help=port.text + " (%(default)s)",
        )
    for part in parts:
        part.options(parser.add_argument_group(part.title))
    return parser


async def serve(options, parts):
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopErrors())
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    cloud = cloud_module.Cloud(options, parts)
    ready = await cloud.start()
    try:
        for_people = sys.stdout.isatty() and not options.json
        print(greeting.text(cloud, ready) if for_people else json.dumps(ready), flush=True)
        await ended.wait()
    finally:
        await cloud.stop()


class LoopErrors:
    """
    What the event loop meets outside any handler. Failed handshakes and cut connections are
    everyday here, told in a line each; that the system has no more to give is told once a minute.
    """

    QUIET = 60  # seconds
    SHORT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

    def __init__(self):
        self._told = None

    def __call__(self, loop, context):
        error = context.get("exception")
        if not isinstance(error, OSError):
            loop.default_exception_handler(context)
        elif error.errno not in self.SHORT_OF:
            log.info("%s: %s", context.get("message"), error)
        elif self._told is None or loop.time() - self._told > self.QUIET:
            self._told = loop.time()
            log.error(
                "no new connections for now: %s. Close some, or raise the limit (ulimit -n)",
                error.strerror,
            )


def _raise_file_limit():
    """As many file descriptors as this user may have: a connection takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > MAX_FILES:
        hard = MAX_FILES
    if soft != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        )


def main():
    parts = cloud_module.load_parts()
    options = make_parser(parts).parse_args()
    if options.parts is not None:
        parts = [part for part in parts if part.key in options.parts]
    _raise_file_limit()
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
