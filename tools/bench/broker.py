"""
The brokers that the bench measures against: mosquitto where it is installed, else amqtt from its
own venv, else the local cloud's broker with a service that lets everybody in. Each on several
listeners at once, with and without TLS.
"""

import datetime
import ipaddress
import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

import workshop
from workshop import processes, real_broker
from workshop.real_broker import free_port

TLS_NAME = "broker.bench"  # in the certificate, and what clients must verify
_READY_S = 20


def choose(name=None):
    """
    The broker to be had here: "mosquitto", "amqtt" or "localcloud", or `name` if that is one of
    them. Fetches what it needs, so call it while the network is in reach.
    """
    for kind in [name] if name else ["mosquitto", "amqtt", "localcloud"]:
        if kind == "mosquitto" and not real_broker.mosquitto():
            continue
        if kind == "amqtt":
            try:
                real_broker.amqtt_python()
            except workshop.SetupError as error:
                workshop.say("amqtt is not to be had ({})".format(error))
                continue
        return kind
    raise workshop.SetupError("{} is not to be had on this machine".format(name))


def make_certificates(directory):
    """
    A CA and a certificate for TLS_NAME. Returns {"ca_pem", "ca_der", "cert", "key"}, names of
    files in `directory`.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def named(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.timezone.utc)

    def builder(subject, key):
        return (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named("picolink bench CA"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
        )

    def usage(sign_certificates):
        return x509.KeyUsage(
            digital_signature=not sign_certificates,
            key_cert_sign=sign_certificates,
            crl_sign=sign_certificates,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        builder("picolink bench CA", ca_key)
        .add_extension(x509.BasicConstraints(True, 0), True)
        .add_extension(usage(True), True)
        .add_extension(ca_id, False)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.DNSName(TLS_NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        builder(TLS_NAME, key)
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(usage(False), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), False
        )
        .sign(ca_key, hashes.SHA256())
    )
    pem, der = serialization.Encoding.PEM, serialization.Encoding.DER
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    contents = {
        "ca_pem": ca.public_bytes(pem),
        "ca_der": ca.public_bytes(der),
        "cert": certificate.public_bytes(pem),
        "key": private,
    }
    files = {}
    for name, content in contents.items():
        path = Path(directory, name.replace("_", "."))
        path.write_bytes(content)
        files[name] = str(path)
    return files


class Broker:
    """
    A running broker. kind: as choose() returns it. port(host, tls): the listener there. End it
    with stop(); also a context manager.

    hosts: addresses to listen on. tls: make_certificates()' answer. nodelay: False leaves Nagle's
    algorithm on in the broker, which only mosquitto does. Raises processes.Ended when it does not
    get ready.
    """

    def __init__(self, kind, hosts, tls, nodelay=True):
        self.kind = kind
        self._directory = tempfile.TemporaryDirectory(prefix="picolink-bench-")
        self._ports = {(host, with_tls): free_port(host) for host in hosts for with_tls in (0, 1)}
        listeners = [
            (host, port, tls if with_tls else None)
            for (host, with_tls), port in self._ports.items()
        ]
        if kind == "mosquitto":
            command = self._mosquitto(listeners, nodelay)
        else:
            python = real_broker.amqtt_python() if kind == "amqtt" else sys.executable
            program = real_broker.AMQTT_PROGRAM if kind == "amqtt" else _LOCALCLOUD
            command = [python, "-c", program, json.dumps(listeners), workshop.ROOT / "tools"]
        self.process = processes.Process(command, name=kind)
        deadline = time.monotonic() + _READY_S
        try:
            for host, port, _ in listeners:
                self._wait_for(host, port, deadline)
        except BaseException:
            self.stop()
            raise

    def port(self, host, tls):
        return self._ports[host, int(bool(tls))]

    def stop(self):
        self.process.stop()
        self._directory.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _wait_for(self, host, port, deadline):
        while True:
            try:
                socket.create_connection((host, port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.rc is not None:
                    raise processes.Ended(
                        "{} did not start\n{}".format(self.kind, self.process.tail())
                    )
                time.sleep(0.02)

    def _mosquitto(self, listeners, nodelay):
        lines = [
            "persistence false",
            "connection_messages false",
            "log_dest stderr",
            "set_tcp_nodelay {}".format(str(nodelay).lower()),
            "max_inflight_messages 100",
            "allow_anonymous true",
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # else it becomes a user that can't read the key
        for host, port, tls in listeners:
            lines.append("listener {} {}".format(port, host))
            if tls:
                lines.append("certfile {}\nkeyfile {}".format(tls["cert"], tls["key"]))
        config = Path(self._directory.name, "mosquitto.conf")
        config.write_text("\n".join(lines) + "\n")
        return [real_broker.mosquitto(), "-c", config]


class Sink:
    """
    A peer that takes a flood in large gulps, so that the client is what is measured: it answers
    CONNECT, and a PINGREQ or a QoS 1 PUBLISH that ends what has come so far. port(): on loopback.
    """

    def __init__(self):
        self._port = free_port()
        self.process = processes.Process(
            [sys.executable, "-c", _SINK, str(self._port)], name="the sink"
        )
        self.process.next_line(10)

    def port(self, host, tls):
        return self._port

    def stop(self):
        self.process.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Peer(Sink):
    """
    A peer that keeps nothing, so that the client is what is measured. It answers CONNECT,
    SUBSCRIBE and PINGREQ, and a QoS 1 PUBLISH when lag - 1 more have come.

    Behind the SUBACK for a filter "feed/QOS/SIZE/COUNT" so many messages of so many bytes follow
    (COUNT 0: without end), at QoS 1 with at most 20 unacknowledged, and what the client publishes
    is then no more understood than to count its PUBACKs.
    """

    def __init__(self, lag=1):
        self._port = free_port()
        self.process = processes.Process(
            [sys.executable, "-c", _PEER, str(self._port), str(lag)], name="the peer"
        )
        self.process.next_line(10)


_SINK = """
import socket, sys, threading


def serve(sock):
    gulp = bytearray(1 << 20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.recv(1000)
    sock.sendall(bytes((0x20, 2, 0, 0)))
    end = b""
    while True:
        n = sock.recv_into(gulp)
        if not n:
            return
        end = (end + bytes(gulp[max(0, n - 106) : n]))[-106:]
        if end.endswith(bytes((0xC0, 0))):
            sock.sendall(bytes((0xD0, 0)))
        elif len(end) == 106 and end[0] & 0xF6 == 0x32 and end[1] == 104:
            sock.sendall(bytes((0x40, 2)) + end[24:26])


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

_PEER = """
import socket, sys, threading

IN_FLIGHT = 20


class Bytes:
    def __init__(self, sock):
        self.sock, self.buf = sock, b""

    def take(self, n):
        while len(self.buf) < n:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError
            self.buf += more
        taken, self.buf = self.buf[:n], self.buf[n:]
        return taken

    def packet(self):
        first = self.take(1)[0]
        n = shift = 0
        while True:
            c = self.take(1)[0]
            n |= (c & 127) << shift
            shift += 7
            if c < 128:
                return first, self.take(n)


def message(qos, size, pid):
    body = bytes((0, 11)) + b"bench/lines" + (pid.to_bytes(2, "big") if qos else b"") + b"x" * size
    n = len(body)
    head = bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7))
    return bytes((0x30 | qos << 1,)) + head + body


def feed(stream, qos, size, count):
    sock = stream.sock
    if not qos:
        many = message(0, size, 0) * (count or 1000)
        sock.sendall(many)
        while not count:
            sock.sendall(many)
        return
    sent = acked = 0
    while not count or sent < count:
        room = IN_FLIGHT - (sent - acked)
        if count:
            room = min(room, count - sent)
        sock.sendall(b"".join(message(1, size, (sent + i) % 65535 + 1) for i in range(room)))
        sent += room
        acks = stream.take(4) + stream.buf[: len(stream.buf) // 4 * 4]
        stream.buf = stream.buf[len(acks) - 4 :]
        acked += sum(acks[i] == 0x40 for i in range(0, len(acks), 4))


def serve(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = Bytes(sock)
    kept = []
    while True:
        first, body = stream.packet()
        kind = first & 0xF0
        if kind == 0x10:
            sock.sendall(bytes((0x20, 2, 0, 0)))
        elif kind == 0xC0:
            sock.sendall(bytes((0xD0, 0)))
        elif kind == 0x30 and first & 6:
            at = 2 + (body[0] << 8 | body[1])
            kept.append(body[at : at + 2])
            if len(kept) >= LAG:
                sock.sendall(bytes((0x40, 2)) + kept.pop(0))
        elif kind == 0x80:
            filters, at = [], 2
            while at < len(body):
                n = body[at] << 8 | body[at + 1]
                filters.append(body[at + 2 : at + 2 + n].decode())
                at += n + 3
            sock.sendall(bytes((0x90, 2 + len(filters))) + body[:2] + bytes((1,)) * len(filters))
            for name in filters:
                if name.startswith("feed/"):
                    feed(stream, *map(int, name.split("/")[1:]))
        elif kind == 0xE0:
            return


def guarded(sock):
    try:
        serve(sock)
    except (OSError, EOFError):
        pass


LAG = int(sys.argv[2])
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
while True:
    threading.Thread(target=guarded, args=(listener.accept()[0],), daemon=True).start()
"""

_LOCALCLOUD = """
import asyncio, json, ssl, sys
sys.path.insert(0, sys.argv[2])
from localcloud.mqtt import codec as mqtt_codec
from localcloud.mqtt import server as mqtt_server


class Open(mqtt_server.Service):
    name = "open"

    def claims(self, client):
        return True

    def authenticate(self, client, password):
        return mqtt_codec.ACCEPTED


async def main():
    server = mqtt_server.Server()
    server.add(Open())
    for host, port, tls in json.loads(sys.argv[1]):
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls["cert"], tls["key"])
        await server.listen("mqtt%d" % port, host, port, context)
    await asyncio.Event().wait()


asyncio.run(main())
"""
