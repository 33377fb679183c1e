"""
What every service's rig stands on: a service side in this process, on ports of its own, and device
programs that are given what they need to reach it. A rig says only what is its service's own.
"""

import contextlib
import textwrap

from localcloud import __main__ as program
from localcloud import cloud
from localcloud.background import Background
from localcloud.faults import Fault
from localcloud.mqtt import server as mqtt_server
from waiting import until


class Cloud:
    """
    A service side in this process: `with Rig.running(...) as rig`, arguments as the class takes
    them. background: where its event loop runs.

    A rig's class has start() and stop(), which run in that loop, and what tests ask of it.
    """

    background = None

    @classmethod
    @contextlib.contextmanager
    def running(cls, *arguments, **options):
        with Background() as background:
            made = cls(*arguments, **options)
            made.background = background
            background.call(made.start())
            try:
                yield made
            finally:
                background.call(made.stop())

    async def start(self):
        raise NotImplementedError

    async def stop(self):
        raise NotImplementedError

    def do(self, function, *arguments, **options):
        """Call a plain function in the loop's thread; what it returns."""
        return self.background.do(lambda: function(*arguments, **options))

    def call(self, coroutine, timeout=30):
        """Run a coroutine in the loop; what it returns."""
        return self.background.call(coroutine, timeout)

    def until(self, condition, timeout=30, what="it"):
        """Wait until condition(), called in the loop's thread, is true; its value."""
        return until(lambda: self.do(condition), timeout, what)


class Server(Cloud):
    """An MQTT server with these services on one port. server, port."""

    def __init__(self, *services, tls=None, websocket=False, **options):
        self._services = services
        self._listening = tls, websocket
        self._options = options

    async def start(self):
        self.server = mqtt_server.Server(**self._options)
        for service in self._services:
            self.server.add(service)
        self.port = (await self.server.listen("mqtt", "127.0.0.1", 0, *self._listening)).port

    async def stop(self):
        await self.server.stop()

    def cut(self):
        """End all connections as a crash, or a failing network, does."""
        self.do(lambda: [client.abort() for client in list(self.server.clients)])


class LocalCloud(Server):
    """
    A whole local cloud with these parts, as its program starts it. cloud: the cloud.Cloud, ready:
    its ready line, server: its MQTT server. arguments: more of the command line.
    """

    def __init__(self, *arguments, parts=(), state=None):
        zeros = [text for port in cloud.ports(parts) for text in (port.option, "0")]
        given = ["--state", str(state)] if state is not None else []
        options = program.make_parser(parts).parse_args(zeros + given + list(arguments))
        self.cloud = cloud.Cloud(options, list(parts))

    async def start(self):
        self.ready = await self.cloud.start()
        self.server = self.cloud.mqtt

    async def stop(self):
        await self.cloud.stop()


class Refusing(Fault):
    """Closes each connection before a word was spoken: a service that is not there."""

    async def accept(self, reader, writer):
        return False


class Device:
    """
    Device programs against a Cloud. prelude: what each of them begins with; values(): what each is
    given. A rig's class has its own of both.
    """

    prelude = ""

    def __init__(self, board, rig):
        self.board = board
        self.rig = rig

    def values(self, **values):
        return values

    def source(self, source):
        return self.prelude + textwrap.dedent(source)

    def run(self, source, timeout=60, check=True, heap=None, before_lib=(), **values):
        """Board.run() of the prelude and the source; values: more that they are given."""
        return self.board.run(
            self.source(source), timeout, check, heap, before_lib, **self.values(**values)
        )

    def start(self, source, heap=None, before_lib=(), **values):
        """Board.start(), likewise."""
        return self.board.start(self.source(source), heap, before_lib, **self.values(**values))
