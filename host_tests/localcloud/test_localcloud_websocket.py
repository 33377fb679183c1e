"""The broker behind a WebSocket: the handshake, the frames and what ends the connection."""

import os
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from localcloud import pki
from localcloud.mqtt import codec as mq
from localcloud.mqtt import server as mqtt_server
from localcloud.mqtt import websocket
from localcloud_rig import Raw, running
from waiting import until


@pytest.fixture(scope="module")
def port():
    with running(mqtt_server.OpenBroker(), websocket=True) as (_, port, _):
        yield port


HEADERS = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "mqtt",
}


def request(path="/mqtt", method="GET", **changes):
    headers = dict(HEADERS)
    for name, value in changes.items():
        headers[name.replace("_", "-")] = value
    lines = ["%s: %s" % (k, v) for k, v in headers.items() if v is not None]
    return ("%s %s HTTP/1.1\r\n%s\r\n\r\n" % (method, path, "\r\n".join(lines))).encode()


def frame(payload, opcode=2, final=True, mask=b"\x01\x02\x03\x04", length=None):
    """A client's frame, right or wrong as asked."""
    n = len(payload) if length is None else length
    head = bytes((opcode | (128 if final else 0),))
    bit = 128 if mask else 0
    if n < 126:
        head += bytes((bit | n,))
    elif n < 65536:
        head += bytes((bit | 126,)) + struct.pack("!H", n)
    else:
        head += bytes((bit | 127,)) + struct.pack("!Q", n)
    if mask:
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
        head += mask
    return head + payload


class WebSocket:
    """A client that frames by hand."""

    def __init__(self, port, tls=None, **options):
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.buf = b""
        self.sock.sendall(request(**options))
        while b"\r\n\r\n" not in self.buf:
            self.buf += self.more()
        head, self.buf = self.buf.split(b"\r\n\r\n", 1)
        self.head = head.decode().split("\r\n")

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        return data

    def take(self, n):
        while len(self.buf) < n:
            self.buf += self.more()
        data, self.buf = self.buf[:n], self.buf[n:]
        return data

    def send(self, *frames):
        self.sock.sendall(b"".join(frames))
        return self

    def read(self):
        """(opcode, payload) of the server's next frame; None at the end."""
        try:
            first, n = self.take(2)
        except (EOFError, ConnectionError):
            return None
        assert first & 0xF0 == 0x80 and n < 128, "final, no reserved bits, never masked"
        if n == 126:
            n = int.from_bytes(self.take(2), "big")
        elif n == 127:
            n = int.from_bytes(self.take(8), "big")
        return first & 15, self.take(n)

    def packets(self, n):
        parser = mq.Parser()
        out = []
        while len(out) < n:
            opcode, payload = self.read()
            assert opcode == 2
            parser.feed(payload)
            out.extend(parser)
        return out

    def closes_with(self, code):
        opcode, payload = self.read()
        assert opcode == 8 and int.from_bytes(payload[:2], "big") == code
        assert self.read() is None


CONNECT = mq.Connect("w").encode()


def connected(port, **options):
    ws = WebSocket(port, **options)
    ws.send(frame(CONNECT))
    assert ws.packets(1) == [mq.Connack(0)]
    return ws


# ---- the handshake


def test_the_answer_of_the_standard_s_example(port):
    ws = WebSocket(port)
    assert ws.head[0] == "HTTP/1.1 101 Switching Protocols"
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in ws.head
    assert "Sec-WebSocket-Protocol: mqtt" in ws.head


@pytest.mark.parametrize(
    "options",
    [
        {"path": "/$iothub/websocket"},
        {"path": "/$iothub/websocket?iothub-no-client-cert=true"},
        {"Upgrade": "WebSocket", "Connection": "keep-alive, upgrade"},
        {"Sec_WebSocket_Protocol": "chat, mqtt"},
        {"Sec_WebSocket_Protocol": "mqttv3.1"},
    ],
)
def test_handshakes_that_are_right(port, options):
    connected(port, **options)


@pytest.mark.parametrize(
    "status, options",
    [
        (404, {"path": "/x"}),
        (404, {"path": "/mqtt/x"}),
        (405, {"method": "POST"}),
        (400, {"Upgrade": None}),
        (400, {"Upgrade": "h2c"}),
        (400, {"Connection": None}),
        (426, {"Sec_WebSocket_Version": "8"}),
        (426, {"Sec_WebSocket_Version": None}),
        (400, {"Sec_WebSocket_Key": None}),
        (400, {"Sec_WebSocket_Key": "c2hvcnQ="}),
        (400, {"Sec_WebSocket_Key": "!!!"}),
        (400, {"Sec_WebSocket_Protocol": None}),
        (400, {"Sec_WebSocket_Protocol": "soap"}),
        (431, {"X": "y" * 9000}),
    ],
)
def test_handshakes_that_are_refused(port, status, options):
    ws = WebSocket(port, **options)
    assert ws.head[0].startswith("HTTP/1.1 %d " % status)
    with pytest.raises((EOFError, ConnectionError)):
        while True:
            ws.more()


@pytest.mark.parametrize(
    "junk", [b"\xff\xfe", b"GET /mqtt HTTP/1.1\r\nno colon\r\n\r\n", b"GET\r\n\r\n"]
)
def test_what_is_no_handshake_is_closed(port, junk):
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(junk)
        answer = s.recv(1000)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


def test_a_handshake_byte_by_byte_with_mqtt_right_behind_it(port):
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        for byte in request() + frame(CONNECT):
            s.sendall(bytes((byte,)))
        data = b""
        while not data.endswith(b"\x20\x02\x00\x00"):
            data += s.recv(1000)


def test_plain_mqtt_on_the_same_port(port):
    Raw(port).connect("plain").sync().leave()


def test_other_http_goes_to_the_http_side():
    import asyncio

    class Hello(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" + data[:5])

    with running(mqtt_server.OpenBroker(), websocket=True) as (server, port, _):
        server.http = Hello
        with socket.create_connection(("127.0.0.1", port), 10) as s:
            s.sendall(b"GET /api/v0001/ HTTP/1.1\r\n\r\n")
            assert s.recv(1000).endswith(b"hiGET /")
            s.sendall(b"again")
            assert s.recv(1000).endswith(b"hiagain")
        connected(port)


# ---- frames


def test_packets_and_frames_have_nothing_to_do_with_each_other(port):
    ws = connected(port)
    subscribe = mq.Subscribe(1, [("w/#", 1)]).encode()
    publish = mq.Publish("w/x", b"data", 1, pid=2).encode()
    # Several packets in a frame; a packet over frames, continuations and a ping in between.
    ws.send(frame(subscribe + publish[:3], final=False), frame(publish[3:9], 0, final=False))
    ws.send(frame(b"", 0), frame(publish[9:-1]), frame(publish[-1:] + mq.Pingreq().encode()))
    assert ws.packets(4) == [
        mq.Suback(1, [1]),
        mq.Publish("w/x", b"data", 1, pid=1),
        mq.Puback(2),
        mq.Pingresp(),
    ]


def test_ping_is_answered_with_its_body_in_the_middle_of_a_message(port):
    ws = connected(port)
    wire = mq.Publish("w/y", b"data", 1, pid=2).encode()
    ws.send(frame(wire[:3], final=False), frame(b"body", 9))
    assert ws.read() == (10, b"body")
    ws.send(frame(wire[3:5], 0, final=False), frame(b"", 0, final=False), frame(wire[5:], 0))
    assert ws.packets(1) == [mq.Puback(2)]
    ws.send(frame(b"unasked", 10), frame(mq.Pingreq().encode()))
    assert ws.packets(1) == [mq.Pingresp()]


@pytest.mark.parametrize("n", [0, 1, 125, 126, 127, 65535, 65536, 100000])
def test_every_length_form_both_ways(port, n):
    ws = connected(port)
    ws.send(frame(mq.Subscribe(1, [("echo/%d" % n, 0)]).encode()))
    assert ws.packets(1) == [mq.Suback(1, [0])]
    publish = mq.Publish("echo/%d" % n, os.urandom(n))
    ws.send(frame(publish.encode()))
    assert ws.packets(1) == [publish]


@pytest.mark.parametrize(
    "code, wire",
    [
        (1003, frame(b"text", 1)),
        (1002, frame(CONNECT, mask=b"")),
        (1002, frame(b"", 3)),
        (1002, frame(b"", 11)),
        (1002, bytes((0xC2,)) + frame(b"x")[1:]),
        (1002, frame(b"x", 0)),
        (1002, frame(b"\xc0", final=False) + frame(b"\x00")),
        (1002, frame(b"x" * 126, 9)),
        (1002, frame(b"x", 9, final=False)),
        (1002, b"\x82\xfe\x00\x05" + bytes(9)),
        (1002, b"\x82\xff" + struct.pack("!Q", 300) + bytes(304)),
        (1009, b"\x82\xff" + struct.pack("!Q", 1 << 40)),
        (1009, b"\x82\xff" + b"\xff" * 8),
    ],
)
def test_forbidden_frames_end_the_connection_with_their_code(port, code, wire):
    connected(port).send(wire).closes_with(code)


def test_what_came_before_a_forbidden_frame_counts(port):
    watcher = Raw(port).connect("watcher").subscribe("counts")
    ws = connected(port)
    ws.send(frame(mq.Publish("counts", b"1").encode()) + frame(b"text", 1)).closes_with(1003)
    watcher.expect(mq.Publish("counts", b"1"))


def test_close_is_answered_and_ends_it_with_the_will(port):
    watcher = Raw(port).connect("watcher").subscribe("w/will")
    ws = WebSocket(port)
    ws.send(frame(mq.Connect("gone", will=mq.Will("w/will", b"bye")).encode()))
    assert ws.packets(1) == [mq.Connack(0)]
    ws.send(frame(b"\x03\xe8", 8)).closes_with(1000)
    watcher.expect(mq.Publish("w/will", b"bye"))


def test_malformed_mqtt_inside_a_good_frame(port):
    ws = connected(port)
    ws.send(frame(b"\xf0\x00")).closes_with(1000)


def test_disconnect_ends_it_without_a_will(port):
    ws = connected(port)
    ws.send(frame(mq.Disconnect().encode())).closes_with(1000)


# ---- the parts by themselves


def test_masking():
    assert websocket.mask(b"", b"abcd") == b""
    for n in range(1, 20):
        data = os.urandom(n)
        plain = bytes(b ^ b"\x01\x80\xff\x7f"[i % 4] for i, b in enumerate(data))
        assert websocket.mask(data, b"\x01\x80\xff\x7f") == plain


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=200), max_size=5), st.lists(st.integers(0, 2000), max_size=8))
def test_any_split_gives_the_same_frames(payloads, cuts):
    wire = b"".join(frame(p, mask=os.urandom(4)) for p in payloads)
    cuts = sorted({c % (len(wire) + 1) for c in cuts})
    frames = websocket.Frames()
    out = []
    for a, b in zip([0] + cuts, cuts + [len(wire)]):
        frames.feed(wire[a:b])
        out.extend(frames)
    assert out == [(2, p) for p in payloads]


@settings(max_examples=300)
@given(st.binary(max_size=100))
def test_any_bytes_are_frames_or_a_named_error(data):
    frames = websocket.Frames()
    frames.feed(data)
    try:
        list(frames)
    except websocket.WebSocketError as e:
        assert e.code in (1002, 1003, 1009)


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_request_is_read_or_refused(data):
    try:
        parsed = websocket.read_request(data + b"\r\n\r\n")
        if parsed:
            websocket.answer(parsed[0])
    except websocket.BadRequest as e:
        assert e.answer.startswith(b"HTTP/1.1 4")


# ---- over TLS, and by a client that somebody else wrote


def test_over_tls_and_with_paho(tmp_path):
    from paho.mqtt import client as paho

    ca = pki.Pki(str(tmp_path))
    options = {"tls": ca.server_context(), "websocket": True}
    with running(mqtt_server.OpenBroker(), **options) as (server, port, _):
        connected(port, tls=pki.client_context(ca.ca_pem))
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, "paho", transport="websockets")
        client.tls_set(ca.ca_pem)
        inbox = []
        client.on_message = lambda c, u, m: inbox.append(m.payload)
        client.connect("localhost", port)
        client.loop_start()
        try:
            until(lambda: server.find("paho"))
            assert server.find("paho")[0].websocket and server.find("paho")[0].secure
            client.subscribe("t", 2)
            until(lambda: server.services[0].sessions["paho"].subscriptions)
            sent = [os.urandom(n) for n in (1, 200, 70000)]
            for payload in sent:
                client.publish("t", payload, 2)
            until(lambda: len(inbox) == 3)
            assert inbox == sent
        finally:
            client.disconnect()
            client.loop_stop()
