"""What the tests of DNS share: a name server on loopback that says what its script makes of a
question. Well-formed answers are made by dnspython, which knows nothing of our resolver."""

import socket
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from listening import several


class Stranger(bytes):
    """A packet that is to come from another port than the one that was asked."""


def answer(query, *records, rcode=0, flags=0):
    """
    dnspython's answer to a question, as bytes.

    records: (owner or None for the name asked, ttl, "A" or "CNAME" or ..., value), in this order.
    flags: more of them, as dns.flags.TC.
    """
    question = dns.message.from_wire(query)
    made = dns.message.make_response(question)
    made.flags |= dns.flags.RA | flags
    made.set_rcode(rcode)
    asked = question.question[0].name.to_text()
    for owner, ttl, kind, value in records:
        made.answer.append(dns.rrset.from_text(owner or asked, ttl, "IN", kind, value))
    return made.to_wire(max_size=65535)


def addresses(*texts, ttl=60):
    """A script that knows these addresses of any name."""
    return lambda query: [answer(query, *[(None, ttl, "A", text) for text in texts])]


def silent(query):
    """A script that says nothing."""
    return []


class DnsServer:
    """
    A name server on 127.0.0.1.

    script(query) -> list of packets to send back. place: "ip:port", as Resolver's servers are
    given. queries: the questions that came, as bytes; names(): what they were about.
    """

    def __init__(self, script):
        self.script = script
        self.queries = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._other.bind(("127.0.0.1", 0))
        self.place = "127.0.0.1:{}".format(self._socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def names(self):
        return [
            dns.message.from_wire(query).question[0].name.to_text(omit_final_dot=True)
            for query in self.queries
        ]

    def _serve(self):
        while True:
            try:
                query, address = self._socket.recvfrom(2048)
            except OSError:
                return
            if query == b"stop":
                return
            self.queries.append(query)
            for packet in self.script(query):
                sender = self._other if isinstance(packet, Stranger) else self._socket
                sender.sendto(packet, address)

    def stop(self):
        host, port = self._socket.getsockname()
        self._other.sendto(b"stop", (host, port))
        self._other.close()
        self._socket.close()


def servers():
    """Gives start(script) -> DnsServer; all are stopped at the end."""
    return several(DnsServer)
