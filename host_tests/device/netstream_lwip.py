# What lwIP's sockets do where the unix port is kinder.
import socket as real
import errno
import sys

class LwipSocket:
    # setblocking(True) would cancel every timeout: whoever calls it blocks for ever on a board.
    def __init__(self, *args):
        self._socket = real.socket(*args)
    def setblocking(self, flag):
        assert not flag, "setblocking(True) blocks for ever on a board"
        self._socket.setblocking(False)
    def settimeout(self, value):
        raise AssertionError("a TLS socket on a board has no settimeout")
    def setsockopt(self, *args):
        raise OSError(errno.EINVAL)
    def connect(self, address):
        self._socket.connect(address)
    def readinto(self, buf, *n):
        return self._socket.readinto(buf, *n)
    def write(self, buf, off, n):
        # No more than a segment at a time.
        return self._socket.write(buf, off, min(n, 536))
    def close(self):
        self._socket.close()

class Lwip:
    SOCK_STREAM = real.SOCK_STREAM
    socket = LwipSocket
    @staticmethod
    def getaddrinfo(host, port):
        return [real.getaddrinfo(host, port)[0]]

class Select:
    @staticmethod
    def poll():
        return Poll()

class Poll:
    def __init__(self):
        import select
        self._poll = select.poll()
    def register(self, sock, mask):
        self._poll.register(sock._socket, mask)
    def modify(self, sock, mask):
        self._poll.modify(sock._socket, mask)
    def unregister(self, sock):
        self._poll.unregister(sock._socket)
    def ipoll(self, ms):
        return self._poll.ipoll(ms)

import netstream
netstream.socket = Lwip
netstream.select = Select
