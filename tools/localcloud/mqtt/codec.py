"""
MQTT 3.1.1 (and the CONNECT of 3.1) on the wire: packets to bytes, bytes to packets, nothing else.

Independent of every client in this project, so that a client's mistake can't be repeated here.
Both directions of all fourteen packets. A Parser takes bytes in any split and gives whole packets;
whatever the standard forbids is a ProtocolError with a name and the statement of MQTT 3.1.1 that
it violates, raised as early as the bytes allow (a reserved type at its first byte, a length over
the limit as soon as it can be read) and the same for every split. Topics are str, payloads and
passwords bytes.
"""

CONNECT = 1
CONNACK = 2
PUBLISH = 3
PUBACK = 4
PUBREC = 5
PUBREL = 6
PUBCOMP = 7
SUBSCRIBE = 8
SUBACK = 9
UNSUBSCRIBE = 10
UNSUBACK = 11
PINGREQ = 12
PINGRESP = 13
DISCONNECT = 14

NAMES = (
    "reserved 0",
    "CONNECT",
    "CONNACK",
    "PUBLISH",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBSCRIBE",
    "SUBACK",
    "UNSUBSCRIBE",
    "UNSUBACK",
    "PINGREQ",
    "PINGRESP",
    "DISCONNECT",
    "reserved 15",
)

# CONNACK return codes (3.1.1, table 3.1).
ACCEPTED = 0
BAD_LEVEL = 1
BAD_CLIENT_ID = 2
UNAVAILABLE = 3
BAD_USER = 4
NOT_AUTHORISED = 5

MAX_LENGTH = 268435455  # the largest remaining length that four bytes can say
SUBACK_FAILURE = 0x80
MAX_LEVELS = 200  # of a topic or a filter, as Mosquitto has it

# Name of an error -> the normative statement of MQTT 3.1.1 (or its section, where no statement has
# a number).
STATEMENTS = {
    "reserved-type": "MQTT-2.2.1 table 2.1",
    "bad-flags": "MQTT-2.2.2-2",
    "length-too-long": "MQTT-2.2.3",
    "packet-too-large": "MQTT-2.2.3 (this server's limit)",
    "wrong-length": "MQTT-2.2.3",
    "truncated": "MQTT-2.2.3",
    "trailing-bytes": "MQTT-2.2.3",
    "bad-utf8": "MQTT-1.5.3-1",
    "nul-in-string": "MQTT-1.5.3-2",
    "zero-packet-id": "MQTT-2.3.1-1",
    "wrong-protocol-name": "MQTT-3.1.2-1",
    "unacceptable-level": "MQTT-3.1.2-2",
    "reserved-connect-flag": "MQTT-3.1.2-3",
    "will-qos-without-will": "MQTT-3.1.2-13",
    "will-qos-3": "MQTT-3.1.2-14",
    "will-retain-without-will": "MQTT-3.1.2-15",
    "password-without-user": "MQTT-3.1.2-22",
    "empty-client-id": "MQTT-3.1.3-8",
    "bad-connack-flags": "MQTT-3.2.2-1",
    "session-present-on-refusal": "MQTT-3.2.2-4",
    "reserved-return-code": "MQTT-3.2.2-6",
    "publish-qos-3": "MQTT-3.3.1-4",
    "dup-at-qos-0": "MQTT-3.3.1-2",
    "wildcard-in-topic": "MQTT-3.3.2-2",
    "empty-topic": "MQTT-4.7.3-1",
    "too-many-levels": "MQTT-4.7 (this server's limit)",
    "empty-filter": "MQTT-4.7.3-1",
    "bad-multilevel-wildcard": "MQTT-4.7.1-2",
    "bad-singlelevel-wildcard": "MQTT-4.7.1-3",
    "empty-subscribe": "MQTT-3.8.3-3",
    "bad-requested-qos": "MQTT-3.8.3-4",
    "empty-suback": "MQTT-3.9.3-1",
    "reserved-suback-code": "MQTT-3.9.3-2",
    "empty-unsubscribe": "MQTT-3.10.3-2",
    # Not of the codec: raised by the server about a packet that is well formed in the wrong place.
    "first-not-connect": "MQTT-3.1.0-1",
    "second-connect": "MQTT-3.1.0-2",
    "not-for-servers": "MQTT-2.2.1 table 2.1",
    "data-after-disconnect": "MQTT-3.14.4-2",
}


class ProtocolError(Exception):
    """
    What a peer sent and MQTT forbids.

    name: a key of STATEMENTS. statement: what it violates. detail: the particulars, never a
    secret. connack: the return code that a server must send before it closes, or None for closing
    without a word.
    """

    def __init__(self, name, detail="", connack=None):
        self.name = name
        self.statement = STATEMENTS[name]
        self.detail = detail
        self.connack = connack
        text = "%s [%s]" % (name, self.statement)
        super().__init__(text + ": " + detail if detail else text)


# ---- packets


class _Packet:
    """Compared and shown by their fields; a secret field is shown by its length."""

    __slots__ = ()
    fields = ()
    secret = ()

    def __init_subclass__(cls):
        cls.fields = cls.fields + tuple(cls.__slots__)

    def __eq__(self, other):
        return type(self) is type(other) and all(
            getattr(self, name) == getattr(other, name) for name in self.fields
        )

    def __ne__(self, other):
        return not self == other

    __hash__ = None

    def __repr__(self):
        shown = []
        for name in self.fields:
            value = getattr(self, name)
            if isinstance(value, bytes) and (name in self.secret or len(value) > 40):
                shown.append("%s=<%d bytes>" % (name, len(value)))
            else:
                shown.append("%s=%r" % (name, value))
        return "%s(%s)" % (type(self).__name__, ", ".join(shown))


class Will:
    """A last will: topic (str), payload (bytes), qos 0..2, retain (bool)."""

    __slots__ = ("topic", "payload", "qos", "retain")

    def __init__(self, topic, payload=b"", qos=0, retain=False):
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain

    def __eq__(self, other):
        return isinstance(other, Will) and (self.topic, self.payload, self.qos, self.retain) == (
            other.topic,
            other.payload,
            other.qos,
            other.retain,
        )

    __hash__ = None

    def __repr__(self):
        return "Will(%r, <%d bytes>, qos=%d, retain=%r)" % (
            self.topic,
            len(self.payload),
            self.qos,
            self.retain,
        )


class Connect(_Packet):
    """level 4 (3.1.1) or 3 (3.1); user str or None, password bytes or None, keepalive seconds."""

    type = CONNECT
    secret = ("password",)
    __slots__ = ("client_id", "clean", "keepalive", "user", "password", "will", "level")

    def __init__(
        self, client_id="", clean=True, keepalive=0, user=None, password=None, will=None, level=4
    ):
        self.client_id = client_id
        self.clean = clean
        self.keepalive = keepalive
        self.user = user
        self.password = password
        self.will = will
        self.level = level

    def encode(self):
        if self.level == 3:
            head = b"\x00\x06MQIsdp\x03"
        else:
            head = b"\x00\x04MQTT" + bytes((self.level,))
        flags = 2 if self.clean else 0
        body = _string(self.client_id)
        if self.will is not None:
            flags |= 4 | self.will.qos << 3 | (32 if self.will.retain else 0)
            body += _string(self.will.topic) + _binary(self.will.payload)
        if self.user is not None:
            flags |= 128
            body += _string(self.user)
        if self.password is not None:
            flags |= 64
            body += _binary(self.password)
        return _packet(0x10, head + bytes((flags,)) + _u16(self.keepalive) + body)


class Connack(_Packet):
    type = CONNACK
    __slots__ = ("code", "session_present")

    def __init__(self, code=0, session_present=False):
        self.code = code
        self.session_present = session_present

    def encode(self):
        return bytes((0x20, 2, 1 if self.session_present else 0, self.code))


class Publish(_Packet):
    """pid is None at QoS 0."""

    type = PUBLISH
    __slots__ = ("topic", "payload", "qos", "retain", "dup", "pid")

    def __init__(self, topic, payload=b"", qos=0, retain=False, dup=False, pid=None):
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.dup = dup
        self.pid = pid

    def encode(self):
        body = _string(self.topic)
        if self.qos:
            body += _pid(self.pid)
        first = 0x30 | (8 if self.dup else 0) | self.qos << 1 | (1 if self.retain else 0)
        return _packet(first, body + self.payload)


class _Ack(_Packet):
    __slots__ = ("pid",)

    def __init__(self, pid):
        self.pid = pid

    def encode(self):
        return bytes((self.first, 2)) + _pid(self.pid)


class Puback(_Ack):
    type = PUBACK
    first = 0x40
    __slots__ = ()


class Pubrec(_Ack):
    type = PUBREC
    first = 0x50
    __slots__ = ()


class Pubrel(_Ack):
    type = PUBREL
    first = 0x62
    __slots__ = ()


class Pubcomp(_Ack):
    type = PUBCOMP
    first = 0x70
    __slots__ = ()


class Unsuback(_Ack):
    type = UNSUBACK
    first = 0xB0
    __slots__ = ()


class Subscribe(_Packet):
    """filters: a list of (filter, requested QoS)."""

    type = SUBSCRIBE
    __slots__ = ("pid", "filters")

    def __init__(self, pid, filters):
        self.pid = pid
        self.filters = filters

    def encode(self):
        return _packet(
            0x82, _pid(self.pid) + b"".join(_string(f) + bytes((qos,)) for f, qos in self.filters)
        )


class Suback(_Packet):
    """codes: bytes, one of 0, 1, 2, 0x80 for each filter in its order."""

    type = SUBACK
    __slots__ = ("pid", "codes")

    def __init__(self, pid, codes):
        self.pid = pid
        self.codes = bytes(codes)

    def encode(self):
        return _packet(0x90, _pid(self.pid) + self.codes)


class Unsubscribe(_Packet):
    """filters: a list of str."""

    type = UNSUBSCRIBE
    __slots__ = ("pid", "filters")

    def __init__(self, pid, filters):
        self.pid = pid
        self.filters = filters

    def encode(self):
        return _packet(0xA2, _pid(self.pid) + b"".join(_string(f) for f in self.filters))


class _Bare(_Packet):
    __slots__ = ()

    def encode(self):
        return bytes((self.first, 0))


class Pingreq(_Bare):
    type = PINGREQ
    first = 0xC0
    __slots__ = ()


class Pingresp(_Bare):
    type = PINGRESP
    first = 0xD0
    __slots__ = ()


class Disconnect(_Bare):
    type = DISCONNECT
    first = 0xE0
    __slots__ = ()


# ---- encoding


def encode_length(n):
    """Remaining length n as 1 to 4 bytes; ValueError over 268435455."""
    if not 0 <= n <= MAX_LENGTH:
        raise ValueError(
            "a packet of %d bytes can't be said in MQTT (at most %d)" % (n, MAX_LENGTH)
        )
    out = bytearray()
    while True:
        byte = n & 127
        n >>= 7
        out.append(byte | 128 if n else byte)
        if not n:
            return bytes(out)


def _packet(first, body):
    return bytes((first,)) + encode_length(len(body)) + body


def _u16(n):
    if not 0 <= n <= 65535:
        raise ValueError("%d does not fit 16 bits" % n)
    return bytes((n >> 8, n & 255))


def _pid(pid):
    if not pid or not 0 < pid <= 65535:
        raise ValueError("a packet id is 1..65535, not %r" % (pid,))
    return bytes((pid >> 8, pid & 255))


def _binary(data):
    return _u16(len(data)) + data


def _string(text):
    return _binary(text.encode())


# ---- topics


def check_topic(topic):
    """A topic name as PUBLISH and the will carry it; ProtocolError for what 4.7 forbids."""
    if not topic:
        raise ProtocolError("empty-topic")
    if "+" in topic or "#" in topic:
        raise ProtocolError("wildcard-in-topic", repr(topic[:80]))
    _check_levels(topic)


def check_filter(text):
    """A topic filter as SUBSCRIBE carries it; ProtocolError for what 4.7.1 forbids."""
    if not text:
        raise ProtocolError("empty-filter")
    if "#" in text and (text.index("#") != len(text) - 1 or text[-2:-1] not in ("", "/")):
        raise ProtocolError("bad-multilevel-wildcard", repr(text[:80]))
    if "+" in text and any("+" in level and level != "+" for level in text.split("/")):
        raise ProtocolError("bad-singlelevel-wildcard", repr(text[:80]))
    _check_levels(text)


def _check_levels(text):
    if text.count("/") >= MAX_LEVELS:
        raise ProtocolError("too-many-levels", "%d" % (text.count("/") + 1))


def matches(text, topic):
    """Whether the filter matches the topic name (4.7.1, 4.7.2). Both are taken as valid."""
    if topic[:1] == "$" and text[:1] in ("#", "+"):
        return False
    want = text.split("/")
    have = topic.split("/")
    for i, level in enumerate(want):
        if level == "#":
            return True
        if i >= len(have) or (level != "+" and level != have[i]):
            return False
        if i + 2 == len(want) and want[i + 1] == "#" and i + 1 == len(have):
            return True
    return len(want) == len(have)


# ---- decoding

# First bytes that are right but for PUBLISH -> the fixed remaining length, or None.
_FIXED = {
    0x10: None,
    0x20: 2,
    0x40: 2,
    0x50: 2,
    0x62: 2,
    0x70: 2,
    0x82: None,
    0x90: None,
    0xA2: None,
    0xB0: 2,
    0xC0: 0,
    0xD0: 0,
    0xE0: 0,
}
_ACKS = {0x40: Puback, 0x50: Pubrec, 0x62: Pubrel, 0x70: Pubcomp, 0xB0: Unsuback}
_BARE = {0xC0: Pingreq, 0xD0: Pingresp, 0xE0: Disconnect}


class Parser:
    """
    Bytes in any split -> packets.

        parser.feed(data)
        for packet in parser: ...

    The iteration ends when no whole packet is left and may be taken up again after the next feed.
    A malformed packet raises ProtocolError there, after every packet before it was given; from
    then on every step raises that same error. limit: the largest packet in bytes, header included;
    a longer one is "packet-too-large" before its body arrives. Never holds more than limit bytes
    and one feed.
    """

    def __init__(self, limit=MAX_LENGTH + 5):
        self.limit = limit
        self.error = None
        self._buf = b""
        self._pos = 0

    def feed(self, data):
        if self._pos == len(self._buf):
            self._buf = bytes(data)
        else:
            if isinstance(self._buf, bytearray):
                del self._buf[: self._pos]
            else:
                # From here on appending is cheap, however small the pieces of a large packet are.
                self._buf = bytearray(self._buf[self._pos :])
            self._buf += data
        self._pos = 0

    @property
    def pending(self):
        """How many bytes wait for the rest of their packet."""
        return len(self._buf) - self._pos

    def __iter__(self):
        return self

    def __next__(self):
        if self.error is not None:
            raise self.error
        try:
            packet = self._next()
        except ProtocolError as e:
            self.error = e
            self._buf = b""
            self._pos = 0
            raise
        if packet is None:
            raise StopIteration
        return packet

    def _next(self):
        buf = self._buf
        pos = self._pos
        have = len(buf)
        if pos >= have:
            return None
        first = buf[pos]
        if first & 0xF0 == 0x30:
            if first & 6 == 6:
                raise ProtocolError("publish-qos-3", "first byte 0x%02x" % first)
            if first & 0x0E == 8:
                raise ProtocolError("dup-at-qos-0", "first byte 0x%02x" % first)
        elif first not in _FIXED:
            if first < 0x10 or first >= 0xF0:
                raise ProtocolError("reserved-type", "first byte 0x%02x" % first)
            raise ProtocolError(
                "bad-flags", "%s with first byte 0x%02x" % (NAMES[first >> 4], first)
            )

        length = shift = 0
        at = pos + 1
        while True:
            if at >= have:
                return None
            byte = buf[at]
            at += 1
            length |= (byte & 127) << shift
            if not byte & 128:
                break
            shift += 7
            if shift == 28:
                raise ProtocolError("length-too-long", "a fifth length byte")
        if at - pos + length > self.limit:
            raise ProtocolError(
                "packet-too-large",
                "%s of %d bytes, %d are allowed"
                % (NAMES[first >> 4], at - pos + length, self.limit),
            )
        fixed = _FIXED.get(first)
        if fixed is not None and length != fixed:
            raise ProtocolError(
                "wrong-length", "%s with remaining length %d" % (NAMES[first >> 4], length)
            )
        end = at + length
        if end > have:
            return None
        self._pos = end
        if first & 0xF0 == 0x30:
            return _decode_publish(first, buf, at, end)
        if fixed == 2:
            if first == 0x20:
                return _decode_connack(buf, at)
            pid = buf[at] << 8 | buf[at + 1]
            if not pid:
                raise ProtocolError("zero-packet-id", NAMES[first >> 4])
            return _ACKS[first](pid)
        if fixed == 0:
            return _BARE[first]()
        body = bytes(buf[at:end])
        if first == 0x82:
            return _decode_subscribe(body)
        if first == 0x10:
            return _decode_connect(body)
        if first == 0x90:
            return _decode_suback(body)
        return _decode_unsubscribe(body)


def decode(data, limit=MAX_LENGTH + 5):
    """All packets of data, which must end where a packet ends ("truncated" otherwise)."""
    parser = Parser(limit)
    parser.feed(data)
    packets = list(parser)
    if parser.pending:
        raise ProtocolError("truncated", "%d bytes of an unfinished packet" % parser.pending)
    return packets


def _text(buf, pos, end, what):
    """(string, position after it)."""
    if pos + 2 > end:
        raise ProtocolError("truncated", "no room for the length of the " + what)
    n = buf[pos] << 8 | buf[pos + 1]
    pos += 2
    if pos + n > end:
        raise ProtocolError(
            "truncated", "the %s says %d bytes, %d are left" % (what, n, end - pos)
        )
    try:
        # Python's decoder refuses surrogates and overlong forms and keeps a BOM, which is what
        # 1.5.3 asks.
        text = str(buf[pos : pos + n], "utf-8")
    except UnicodeDecodeError as e:
        raise ProtocolError("bad-utf8", "%s, byte %d" % (what, e.start)) from None
    if "\0" in text:
        raise ProtocolError("nul-in-string", what)
    return text, pos + n


def _bytes(buf, pos, end, what):
    if pos + 2 > end:
        raise ProtocolError("truncated", "no room for the length of the " + what)
    n = buf[pos] << 8 | buf[pos + 1]
    pos += 2
    if pos + n > end:
        raise ProtocolError(
            "truncated", "the %s says %d bytes, %d are left" % (what, n, end - pos)
        )
    return bytes(buf[pos : pos + n]), pos + n


def _read_pid(buf, pos, end, what):
    if pos + 2 > end:
        raise ProtocolError("truncated", "no room for the packet id of " + what)
    pid = buf[pos] << 8 | buf[pos + 1]
    if not pid:
        raise ProtocolError("zero-packet-id", what)
    return pid


def _decode_publish(first, buf, pos, end):
    topic, pos = _text(buf, pos, end, "topic")
    qos = first >> 1 & 3
    pid = None
    if qos:
        pid = _read_pid(buf, pos, end, "PUBLISH")
        pos += 2
    check_topic(topic)
    return Publish(topic, bytes(buf[pos:end]), qos, bool(first & 1), bool(first & 8), pid)


def _decode_connack(buf, pos):
    if buf[pos] > 1:
        raise ProtocolError("bad-connack-flags", "0x%02x" % buf[pos])
    if buf[pos + 1] > 5:
        raise ProtocolError("reserved-return-code", str(buf[pos + 1]))
    if buf[pos] and buf[pos + 1]:
        raise ProtocolError("session-present-on-refusal", "code %d" % buf[pos + 1])
    return Connack(buf[pos + 1], bool(buf[pos]))


def _decode_connect(body):
    end = len(body)
    name, pos = _text(body, 0, end, "protocol name")
    if name not in ("MQTT", "MQIsdp"):
        raise ProtocolError("wrong-protocol-name", repr(name[:20]))
    if pos + 4 > end:
        raise ProtocolError("truncated", "CONNECT ends in its fixed part")
    level = body[pos]
    if level != (4 if name == "MQTT" else 3):
        # What follows may be laid out otherwise (MQTT 5): don't look at it.
        raise ProtocolError("unacceptable-level", "%s level %d" % (name, level), connack=BAD_LEVEL)
    flags = body[pos + 1]
    keepalive = body[pos + 2] << 8 | body[pos + 3]
    pos += 4
    if flags & 1:
        raise ProtocolError("reserved-connect-flag")
    if not flags & 4:
        if flags & 0x18:
            raise ProtocolError("will-qos-without-will")
        if flags & 0x20:
            raise ProtocolError("will-retain-without-will")
    elif flags & 0x18 == 0x18:
        raise ProtocolError("will-qos-3")
    if flags & 0xC0 == 0x40:
        raise ProtocolError("password-without-user")
    clean = bool(flags & 2)
    client_id, pos = _text(body, pos, end, "client id")
    will = user = password = None
    if flags & 4:
        topic, pos = _text(body, pos, end, "will topic")
        message, pos = _bytes(body, pos, end, "will message")
        check_topic(topic)
        will = Will(topic, message, flags >> 3 & 3, bool(flags & 0x20))
    if flags & 0x80:
        user, pos = _text(body, pos, end, "user name")
    if flags & 0x40:
        password, pos = _bytes(body, pos, end, "password")
    if pos != end:
        raise ProtocolError("trailing-bytes", "%d after the last field of CONNECT" % (end - pos))
    if not client_id and (not clean or level == 3):
        # 3.1 has no empty client id at all; 3.1.1 only with a clean session.
        raise ProtocolError("empty-client-id", connack=BAD_CLIENT_ID)
    return Connect(client_id, clean, keepalive, user, password, will, level)


def _decode_subscribe(body):
    end = len(body)
    pid = _read_pid(body, 0, end, "SUBSCRIBE")
    pos = 2
    filters = []
    while pos < end:
        text, pos = _text(body, pos, end, "topic filter")
        if pos >= end:
            raise ProtocolError("truncated", "a topic filter without its QoS byte")
        check_filter(text)
        if body[pos] > 2:
            raise ProtocolError("bad-requested-qos", "0x%02x" % body[pos])
        filters.append((text, body[pos]))
        pos += 1
    if not filters:
        raise ProtocolError("empty-subscribe")
    return Subscribe(pid, filters)


def _decode_suback(body):
    pid = _read_pid(body, 0, len(body), "SUBACK")
    codes = body[2:]
    if not codes:
        raise ProtocolError("empty-suback")
    for code in codes:
        if code > 2 and code != SUBACK_FAILURE:
            raise ProtocolError("reserved-suback-code", "0x%02x" % code)
    return Suback(pid, codes)


def _decode_unsubscribe(body):
    end = len(body)
    pid = _read_pid(body, 0, end, "UNSUBSCRIBE")
    pos = 2
    filters = []
    while pos < end:
        text, pos = _text(body, pos, end, "topic filter")
        check_filter(text)
        filters.append(text)
    if not filters:
        raise ProtocolError("empty-unsubscribe")
    return Unsubscribe(pid, filters)
