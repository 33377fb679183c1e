"""
A DNS server on the host's loopback for the emulated board, on a port of its own choice.

    with NameServer() as names:                    # every name is the host
    NameServer({"cloud.test": ["10.0.2.2"]})       # these names; others do not exist
    NameServer(ask_host=True)                      # localhost, and what the host can resolve
    NameServer(silent=True)                        # asked, and never heard of

It answers A questions only; a name's other records are empty. What it was asked is in `asked`.
"""

import socket
import struct
import threading

HOST = "10.0.2.2"  # the host's loopback, as the board sees it

_NO_ERROR, _NO_SUCH_NAME, _A, _IN = 0, 3, 1, 1


class NameServer:
    """
    A running server. port: where. asked: (name, type) of each question, in order.

    answers: {name: list of addresses}; names are compared in lower case. ttl: seconds. silent: no
    answer at all; may be changed while it runs, as answers may. address: where to listen.
    """

    def __init__(self, answers=None, ask_host=False, silent=False, ttl=60, address="127.0.0.1"):
        self.answers = answers
        self.ask_host = ask_host
        self.silent = silent
        self.ttl = ttl
        self.asked = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        if self._socket.fileno() >= 0:
            # A thread in recvfrom() does not notice a close(); a datagram of ours wakes it.
            address = self._socket.getsockname()
            self._closing = True
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"", address)
            self._thread.join(5)
            self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    _closing = False

    def _serve(self):
        while not self._closing:
            try:
                packet, peer = self._socket.recvfrom(2048)
                name, kind, end = _question(packet)
            except (OSError, ValueError, IndexError):
                continue
            self.asked.append((name, kind))
            if not self.silent:
                answer = self._answer(packet, name, kind, end)
                try:
                    self._socket.sendto(answer, peer)
                except OSError:
                    pass

    def _answer(self, packet, name, kind, end):
        addresses = self._addresses(name)
        code = _NO_SUCH_NAME if addresses is None else _NO_ERROR
        found = addresses if addresses and kind == _A else []
        head = packet[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(found), 0, 0)
        records = b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", _A, _IN, self.ttl, 4) + socket.inet_aton(address)
            for address in found
        )
        return head + packet[12:end] + records

    def _addresses(self, name):
        """Addresses of a name; None when there is no such name."""
        if self.answers is not None:
            return self.answers.get(name)
        if not self.ask_host or name == "localhost" or name.endswith(".localhost"):
            return [HOST]
        try:
            found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return None
        addresses = [entry[4][0] for entry in found]
        # The host's loopback has another address on the board.
        return [HOST if address.startswith("127.") else address for address in addresses]


def _question(packet):
    """(name, type, where the question ends) of a query with one question."""
    if len(packet) < 17 or packet[2] & 0x80 or packet[4:6] != b"\0\1":
        raise ValueError("no query with one question")
    labels, at = [], 12
    while packet[at]:
        if packet[at] > 63:
            raise ValueError("a compressed question")
        labels.append(packet[at + 1 : at + 1 + packet[at]].decode("ascii"))
        at += 1 + packet[at]
    return ".".join(labels).lower(), struct.unpack_from(">H", packet, at + 1)[0], at + 5
