"""
The push protocol: TCP, four kinds of messages, and how connections misbehave on command.

A refused session is closed after its answer. Bounds: MAX_REQUEST bytes of a ConnectRequest;
CONNECT_S until it is here; a client that doesn't read is not written to.
"""

import asyncio
import logging
import socket
import struct
import zlib

from .model import BAD_REQUEST, OK, UNAUTHORISED, Refused

log = logging.getLogger("localcloud.digi")

CONNECT_REQUEST, CONNECT_RESPONSE, PUBLISH, PUBLISH_RECEIVED = 1, 2, 3, 4

MAX_REQUEST = 2 * 65535 + 10
CONNECT_S = 30
UNSENT_HIGH = 1 << 18  # bytes in a connection's buffer until it gets no more blocks


class Connection:
    """One push connection."""

    def __init__(self, digi, server, reader, writer):
        self.digi = digi
        self.server = server
        self.reader = reader
        self.writer = writer
        self.monitor = None
        self.acks = []  # block ids, as they came
        self._fault = None  # what has hit this connection and stays with it
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def run(self):
        try:
            request = await asyncio.wait_for(self._read_request(), CONNECT_S)
            status, monitor = self.digi.admit(request)
            if self._hit("silent"):
                await self.reader.read()  # until it gives up
                return
            if self._hit("garbage"):
                self.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            fault = self._hit("refuse")
            if fault:
                status = fault.get("status", UNAUTHORISED)
            if status == OK:
                self.monitor = monitor
                monitor.attach(self)
            self.writer.write(struct.pack(">HIHH", CONNECT_RESPONSE, 4, status, 1))
            if status != OK:
                log.info("push session refused: %d", status)
                return
            log.info("monitor %d is connected", monitor.id)
            while True:
                await self._read_ack()
        except (asyncio.IncompleteReadError, asyncio.TimeoutError, OSError):
            pass
        except Refused as e:
            log.info("push session ended: %s", e)
        finally:
            if self.monitor is not None:
                self.monitor.detach(self)
            try:
                self.writer.close()
            except (OSError, RuntimeError):
                pass

    async def _read_request(self):
        kind, size = struct.unpack(">HI", await self.reader.readexactly(6))
        if kind != CONNECT_REQUEST or size > MAX_REQUEST:
            raise Refused(BAD_REQUEST, "it starts with message %d of %d bytes" % (kind, size))
        return await self.reader.readexactly(size)

    async def _read_ack(self):
        kind, size = struct.unpack(">HI", await self.reader.readexactly(6))
        if kind != PUBLISH_RECEIVED:
            raise Refused(BAD_REQUEST, "message %d from a client" % kind)
        if size != 4:
            # Digi's published SDKs leave the length out: type, block id, 200. With
            # acknowledgements off nobody looks; otherwise it is what its length says.
            if not self.monitor.explicit and size & 0xFFFF == OK:
                self.server.short_acks += 1
                return
            while size > 0:
                size -= len(await self.reader.readexactly(min(size, 65536)))
            return
        block_id, status = struct.unpack(">HH", await self.reader.readexactly(4))
        self.acks.append(block_id)
        self.monitor.acknowledged(block_id, status)

    def congested(self):
        return self._fault is not None or (
            self.writer.transport.get_write_buffer_size() > UNSENT_HIGH
        )

    def end(self, why):
        """Close, after what was written."""
        log.info("monitor %d: %s", self.monitor.id if self.monitor else -1, why)
        self.writer.close()

    def _hit(self, name):
        return self.digi.faults.take(name)

    def send_block(self, block_id, count, compression, format_type, payload):
        extra = b""
        fault = self._hit("unknown")
        if fault:
            size = fault.get("bytes", 20)
            extra += struct.pack(">HI", fault.get("type", 9), size) + bytes(size)
        if self._hit("short"):
            extra += struct.pack(">HI", PUBLISH, 0)
        if self._hit("empty"):
            extra += pack_block(0xFFFF, 0, 0, format_type, b"")
        fault = self._hit("oversize")
        if fault:
            extra += pack_block(0xFFFE, 1, 0, format_type, bytes(fault.get("bytes", 1 << 20)))
        fault = self._hit("bomb")
        if fault:
            bomb = zlib.compress(b" " * fault.get("bytes", 1 << 24), 9)
            extra += pack_block(0xFFFD, 1, 1, format_type, bomb)
        fault = self._hit("compression")
        if fault:
            compression = fault.get("value", 7)
        fault = self._hit("format")
        if fault:
            format_type = fault.get("value", 7)
        if self._hit("damage"):
            middle = len(payload) // 2
            payload = payload[:middle] + bytes([payload[middle] ^ 0x55]) + payload[middle + 1 :]
        data = pack_block(block_id, count, compression, format_type, payload)
        if self._hit("length"):
            data = data[:12] + struct.pack(">I", len(payload) + 1) + data[16:]
        if self._hit("duplicate"):
            data += data
        self._write(extra + data)

    def _write(self, data):
        fault = self._hit("cut")
        if fault:
            self._fault = "cut"
            self.writer.write(data[: fault.get("bytes", 20)])
            self.writer.close()
            return
        fault = self._hit("stall")
        if fault:
            self._fault = "stall"
            self.writer.write(data[: fault.get("bytes", 20)])
            return
        fault = self._hit("split")
        if fault:
            self._fault = "split"
            asyncio.ensure_future(self._write_split(data, fault.get("bytes", 1)))
            return
        self.writer.write(data)

    async def _write_split(self, data, size):
        for at in range(0, len(data), size):
            self.writer.write(data[at : at + size])
            await asyncio.sleep(0)
        self._fault = None
        self.monitor.pump()


def pack_block(block_id, count, compression, format_type, payload):
    """A PublishMessage, as it goes over the wire."""
    return (
        struct.pack(">HIHH", PUBLISH, 10 + len(payload), block_id, count)
        + struct.pack(">BBI", compression, format_type, len(payload))
        + payload
    )


class PushServer:
    """The push ports of a model.Cloud. connections: those that are open."""

    def __init__(self, digi):
        self.digi = digi
        self.connections = set()
        self.short_acks = 0  # six-byte ones, taken for what was meant
        self.port = self.tls_port = None
        self._servers = []

    async def listen(self, host, port, context=None):
        """Open a push port and return its number. context: an ssl.SSLContext; None for plain."""
        server = await asyncio.start_server(self._serve, host, port, ssl=context, backlog=128)
        self._servers.append(server)
        number = server.sockets[0].getsockname()[1]
        if context is None:
            self.port = number
        else:
            self.tls_port = number
        return number

    async def _serve(self, reader, writer):
        connection = Connection(self.digi, self, reader, writer)
        self.connections.add(connection)
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)

    async def stop(self):
        """Close the push ports and connections."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            if connection.monitor is not None:
                connection.monitor.detach(connection)
            connection.writer.transport.abort()
        for _ in range(100):
            if not self.connections:
                break
            await asyncio.sleep(0.01)
