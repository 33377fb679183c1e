"""
WebSocket servers for the link's tests, none of them ours on the device's side: aiohttp's in front
of a broker, and one that frames by hand and can break every rule.
"""

import asyncio
import base64
import hashlib
import struct

from aiohttp import web
from localcloud.background import Background
from localcloud.mqtt import codec as mq
from localcloud.mqtt import websocket


def frame(payload=b"", first=0x82, length=None, masked=False):
    """
    A server's frame, right or wrong as asked. first: its first byte. length: "short", "u16" or
    "u64" instead of the form that fits.
    """
    n = len(payload)
    bit = 0x80 if masked else 0
    length = length or ("short" if n < 126 else "u16" if n < 65536 else "u64")
    if length == "short":
        head = bytes((first, bit | n))
    elif length == "u16":
        head = bytes((first, bit | 126)) + struct.pack("!H", n)
    else:
        head = bytes((first, bit | 127)) + struct.pack("!Q", n)
    return head + (b"\0\0\0\0" if masked else b"") + payload


def accept(key):
    """The proof that the server has read the key, by RFC 6455, 1.3."""
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest)


def answer(key, **changes):
    """
    A server's answer to the upgrade. changes: further or other headers, with _ for -; None leaves
    one out. status: the first line.
    """
    headers = {
        "Upgrade": b"websocket",
        "Connection": b"Upgrade",
        "Sec-WebSocket-Accept": accept(key),
        "Sec-WebSocket-Protocol": b"mqtt",
    }
    lines = [changes.pop("status", b"HTTP/1.1 101 Switching Protocols")]
    for name, value in changes.items():
        headers[name.replace("_", "-")] = value
    lines += [name.encode() + b": " + v for name, v in headers.items() if v is not None]
    return b"\r\n".join(lines) + b"\r\n\r\n"


class Peer:
    """One connection of a FrameServer, upgraded or about to be. request: the client's head."""

    def __init__(self, server, reader, writer):
        self._server = server
        self._reader = reader
        self.writer = writer
        self.key = None
        self.request = None
        self._frames = websocket.Frames(1 << 30)
        self.parser = mq.Parser()

    async def read_request(self):
        """The head of the upgrade; sets key and request."""
        self.request = await self._reader.readuntil(b"\r\n\r\n")
        for line in self.request.split(b"\r\n"):
            if line.startswith(b"Sec-WebSocket-Key: "):
                self.key = line[19:]

    async def upgrade(self):
        await self.read_request()
        self.send(answer(self.key))

    def send(self, *wire):
        self.writer.write(b"".join(wire))

    async def frames(self):
        """The client's frames since the last call, as (opcode, payload); [] at the end."""
        while True:
            try:
                data = await self._reader.read(65536)
            except ConnectionError:
                data = b""
            if not data:
                return []
            self._server.wire += data
            self._frames.feed(data)
            found = list(self._frames)
            if found:
                self._server.frames += found
                for opcode, payload in found:
                    if opcode == websocket.CLOSE:
                        self.send(frame(payload, 0x88))
                return found

    async def until(self, wanted):
        """Read until this frame, (opcode, payload), has come."""
        while wanted not in self._server.frames:
            if not await self.frames():
                raise ConnectionError("the client has gone")

    async def packets(self, count=1):
        """The client's next MQTT packets; fewer at the end."""
        out = []
        while len(out) < count:
            packet = next(self.parser, None)
            if packet is None:
                found = await self.frames()
                if not found:
                    break
                for opcode, payload in found:
                    if opcode == websocket.BINARY:
                        self.parser.feed(payload)
            else:
                out.append(packet)
        return out

    async def accept_mqtt(self):
        """Upgrade, then take a CONNECT and answer it."""
        await self.upgrade()
        await self.packets()
        self.send(frame(mq.Connack().encode()))

    async def rest(self):
        """Read and answer as a broker would that has no other client, until the end."""
        while True:
            packets = await self.packets()
            if not packets:
                return
            reply = REPLIES.get(packets[0].type)
            if reply:
                self.send(frame(reply(packets[0])))


def _publish_reply(packet):
    return {1: mq.Puback, 2: mq.Pubrec}[packet.qos](packet.pid).encode() if packet.qos else b""


REPLIES = {
    mq.PUBLISH: _publish_reply,
    mq.PUBREL: lambda packet: mq.Pubcomp(packet.pid).encode(),
    mq.SUBSCRIBE: lambda packet: mq.Suback(packet.pid, [q for _, q in packet.filters]).encode(),
    mq.PINGREQ: lambda packet: mq.Pingresp().encode(),
}


class FrameServer:
    """
    A WebSocket server that frames by hand. scenes: coroutine functions; the first connection gets
    scenes[0](peer) and so on, the last one gets all that follow.

    host, port. frames: (opcode, payload) of all frames that came. wire: the bytes of them.
    requests: the heads of the upgrades. A client's frame that RFC 6455 forbids is in `errors`.
    """

    def __init__(self, *scenes, tls=None, receive_buffer=None):
        self._scenes = list(scenes)
        self.frames = []
        self.wire = b""
        self.requests = []
        self.errors = []
        self.connections = 0
        self._background = Background()
        self._server = self._background.call(self._start(tls, receive_buffer))
        self.host, self.port = self._server.sockets[0].getsockname()[:2]

    async def _start(self, tls, receive_buffer):
        import socket

        listener = socket.socket()
        if receive_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        listener.bind(("127.0.0.1", 0))
        return await asyncio.start_server(self._serve, sock=listener, ssl=tls, limit=1 << 16)

    async def _serve(self, reader, writer):
        scene = self._scenes[min(self.connections, len(self._scenes) - 1)]
        self.connections += 1
        peer = Peer(self, reader, writer)
        try:
            await scene(peer)
            await writer.drain()
        except websocket.WebSocketError as e:
            self.errors.append(e)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            if peer.request:
                self.requests.append(peer.request)
            writer.close()

    async def _close(self):
        self._server.close()

    def stop(self):
        self._background.call(self._close())  # in the loop's own thread
        self._background.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


async def ordinary(peer):
    """A scene: a broker without other clients."""
    await peer.accept_mqtt()
    await peer.rest()


def bridge(broker, shape=frame):
    """A scene: in front of a real broker. shape(bytes): the frames that carry them down."""

    async def scene(peer):
        await peer.upgrade()
        reader, writer = await asyncio.open_connection(broker.host, broker.port)

        async def up():
            while True:
                found = await peer.frames()
                if not found:
                    return
                writer.writelines(p for opcode, p in found if opcode == websocket.BINARY)

        async def down():
            while True:
                data = await reader.read(65536)
                if not data:
                    return
                peer.send(shape(data))
                await peer.writer.drain()

        pumps = [asyncio.ensure_future(up()), asyncio.ensure_future(down())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            results = await asyncio.gather(*pumps, return_exceptions=True)
            writer.close()
            for result in results:
                if isinstance(result, websocket.WebSocketError):
                    raise result

    return scene


class AiohttpBridge:
    """aiohttp's WebSocket server in front of a broker, path /mqtt. host, port; tls: SSLContext."""

    def __init__(self, broker, tls=None):
        self._broker = broker
        self._background = Background()
        self._runner = self._background.call(self._start(tls))
        self.host, self.port = self._runner.addresses[0][:2]

    async def _start(self, tls):
        app = web.Application()
        app.router.add_get("/mqtt", self._serve)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        return runner

    async def _serve(self, request):
        ws = web.WebSocketResponse(protocols=("mqtt",), max_msg_size=0)
        await ws.prepare(request)
        reader, writer = await asyncio.open_connection(self._broker.host, self._broker.port)

        async def down():
            while True:
                data = await reader.read(65536)
                if not data:
                    await ws.close()
                    return
                await ws.send_bytes(data)

        pump = asyncio.ensure_future(down())
        try:
            async for message in ws:
                writer.write(message.data)
                await writer.drain()
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            writer.close()
        return ws

    def stop(self):
        self._background.call(self._runner.cleanup())
        self._background.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
