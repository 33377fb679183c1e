"""
What a TeamViewer client does once or seldom: read parameters, get a certificate, open a
connection, define metrics, name an error.

The second half of teamviewer_iot, which loads it for each of these and lets it go again, so that
a running client's heap is free of it. Not for programs: the calls are TVCMI_client's.
"""

import json
import os
import sys
import time
from binascii import a2b_base64, hexlify
from hashlib import sha256

from micropython import const
from umqtt.simple import MQTTException

import netstream
from mqtt_link import MQTTLink
from teamviewer_iot import (
    ConfigError,
    ConnectionError,
    ConnectionParamError,
    DirectoryError,
    FileError,
    InputError,
    KeyCertificateError,
    KeyGenerationError,
    TLSError,
    TvcmiError,
    _error_of,
    _reason,
    _refuse,
    _text,
)

_KINDS_MAX = const(64)  # metrics whose type of values is remembered
_RETRY_MS = const(1000)
_ANSWER_MAX = const(8192)  # bytes of the answer that holds a certificate
_CHECK_S = const(10)  # the documents give 5 s each to connecting and to the ping
_ENOENT = const(2)
_EACCES = const(13)
_ECONNRESET = const(104)
_TLS_ERROR = const(21)
_NO_ANSWER = const(22)

_OUR_FILES = "cert or key"  # what netstream calls them when it can't use one

_CERTIFICATE = b"CERTIFICATE-"
_REQUEST = b"CERTIFICATE REQUEST-"

# The agent's error codes 0 to 19, the SDK's 20 and 21, and 22, which is ours.
_NAMES = (
    "UnknownError NoBackendConnection NoLicence InternalError InvalidJson JsonIsNotAObject"
    " MissingParameter ParameterIsNotAString ParameterIsNotANumber ParameterisNotABool"
    " ParameterIsNotAnArray ParameterIsNotAnInteger UnknownValueUnit UnknownMetricType"
    " ValueUnitOrValueTypeHasToBeProvided UnknownSensorId UnknownMetricId NoMetricsUpdated"
    " ForbiddendAccess OutOfRange CallbackArgumentsMismatch TLSError NoAnswer"
)
# SI_Energy_JOULE is how the documents spell it; an agent may want the regular form.
_UNITS = (
    "SI_Energy_JOULE NoSI.Dimensionless.PERCENT NoSI.Dimensionless.DECIBEL"
    " SI.ElectricCurrent.AMPERE SI.DataAmount.BIT SI.Temperature.CELSIUS"
    " SI.ElectricCapacitance.FARAD SI.Mass.GRAM SI.Frequency.HERTZ SI.Energy.JOULE"
    " SI.Length.METER SI.Velocity.METERS_PER_SECOND SI.AmountOfSubstance.MOLE SI.Force.NEWTON"
    " SI.ElectricResistance.OHM SI.Pressure.PASCAL SI.Angle.RADIAN SI.Duration.SECOND"
    " SI.Area.SQUARE_METRE SI.ElectricPotential.VOLT SI.Power.WATT SI.LuminousIntensity.CANDELA"
    " SI.Acceleration.METERS_PER_SQUARE_SECOND"
)


def error_name(code):
    """teamviewer_iot.error_name()."""
    names = _NAMES.split()
    return names[code] if 0 <= code < len(names) else names[0]


def definition(metric):
    """Check one element of create_metric()'s definitions; numbers as matchingId become text."""
    if type(metric.get("matchingId")) is int:
        # The documents' example passes numbers; their table, and the agent, want strings.
        metric["matchingId"] = str(metric["matchingId"])
    for key in ("matchingId", "name"):
        _text(metric, key)
    for key in ("valueAnnotation", "valueUnit", "valueType"):
        _text(metric, key, False)
    if "valueUnit" in metric:
        if metric["valueUnit"] not in _UNITS.split():
            _refuse(12, metric["valueUnit"])
    elif "valueType" not in metric:
        _refuse(14, metric["name"])
    elif metric["valueType"] not in ("bool", "string", "double", "integer"):
        _refuse(13, metric["valueType"])


def learn(kinds, metrics, answer):
    """
    Note in kinds (metric id -> type) what create_metric(metrics) was answered. 64 at most: then
    all are forgotten, and the agent alone checks their values.
    """
    if len(kinds) + len(answer) > _KINDS_MAX:
        kinds.clear()
    for metric in metrics:
        for given in answer:
            if isinstance(given, dict) and given.get("matchingId") == metric["matchingId"]:
                if len(kinds) >= _KINDS_MAX:
                    return
                kind = "double" if "valueUnit" in metric else metric["valueType"]
                kinds[str(given.get("metricId"))] = kind


# -- parameters


def configure(given):
    """
    The parameters as a dict, complete and with numbers for ports. given: dict, JSON text or the
    name of a configuration file. Raises ConfigError, InputError, ConnectionParamError.
    """
    try:
        if isinstance(given, str):
            if given.lstrip().startswith("{"):
                given = json.loads(given)
            else:
                given = _read_config(given)
        given = dict(given)
    except (OSError, ValueError, TypeError) as e:
        raise ConfigError(4, "parameters must be a dict, JSON, or a file's name: %s" % e)
    for key in ("MqttHost", "MqttProvisionPort", "MqttPort", "CaFile", "CertFolder"):
        if not given.get(key):
            raise InputError(6, "parameter missing: " + key)
    given.setdefault("MaxPacket", 4096)
    given.setdefault("ProvisionTimeout", 30)
    for key, least, most in (
        ("MqttProvisionPort", 1, 65535),
        ("MqttPort", 1, 65535),
        ("MaxPacket", 128, 1 << 24),
        ("ProvisionTimeout", 1, 86400),
    ):
        try:
            given[key] = int(given[key])
            if not least <= given[key] <= most:
                raise ValueError
        except (ValueError, TypeError, OverflowError):
            text = "%s must be a number, %d to %d"
            raise ConnectionParamError(8, text % (key, least, most))
    given.setdefault("ClientName", "client")
    for key in ("MqttHost", "CaFile", "CertFolder", "ClientName", "ServerName"):
        if not isinstance(given.get(key, ""), str):
            raise InputError(7, key + " must be text")
    name = given["ClientName"]
    if not name.strip() or len(name) > 64 or "/" in name:
        raise InputError(19, "ClientName must have 1 to 64 characters and no /")
    mode = given.get("OverrideCerts", 2)
    mode = str(getattr(mode, "value", mode)).split(".")[-1]
    for i, known in enumerate(("OVERRIDE", "NOT_OVERRIDE", "SMART"), 1):
        if mode in (known, str(i)):
            given["OverrideCerts"] = known
            break
    else:
        raise InputError(19, "OverrideCerts must be OVERRIDE, NOT_OVERRIDE or SMART")
    given["CertFolder"] = given["CertFolder"].rstrip("/") or "/"
    return given


def _read_config(path):
    found = {}
    with open(path) as f:
        for line in f:
            words = line.split("#")[0].split(None, 1)
            if len(words) == 2:
                found[words[0]] = words[1].strip()
    return found


# -- files


def read(path):
    """A file's bytes. FileError when it can't be read."""
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        raise FileError(e.errno, "can't read " + path)


def remove(client):
    """Delete key, request and certificate, whichever there is. FileError if one resists."""
    for path in (
        # The key last: what is cut short here is taken up again by the next provision().
        client.get_cert_path(),
        client.get_cert_der_path(),
        client.get_csr_path(),
        client.get_key_der_path(),
        client.get_key_path(),
    ):
        _remove(path)


def _remove(path):
    try:
        os.remove(path)
    except OSError as e:
        if e.errno != _ENOENT:
            raise FileError(e.errno, "can't delete " + path)


def _exists(path):
    try:
        return bool(os.stat(path))
    except OSError:
        return False


def _write(path, data, error=None):
    # Whole or not at all: who reads meets the old file or the new one.
    try:
        _remove(path + ".new")
        with _create_private(path + ".new") as f:
            f.write(data)
        os.rename(path + ".new", path)
    except (OSError, FileError) as e:
        code = e.error_code if isinstance(e, FileError) else e.errno
        raise FileError(code, error or "can't write " + path)


def _create_private(path):
    # An empty file that nobody else could read at any moment, where files have modes.
    if hasattr(os, "system"):  # the unix port: its open() takes no mode, but a shell has one
        os.putenv("PICOLINK_NEW", path)
        if os.system('umask 077 && : > "$PICOLINK_NEW"'):
            raise OSError(_EACCES)
    return open(path, "wb")


def _make_folder(folder):
    path = ""
    code = None
    for part in folder.split("/"):
        path += part
        if part:
            try:
                os.mkdir(path)
            except OSError as e:
                code = e.errno  # usually: it is there
        path += "/"
    try:
        if os.stat(folder)[0] & 0x4000:
            return
    except OSError:
        pass
    raise DirectoryError(code, "can't make the folder " + folder)


# -- certificates


def _tlv(der, i):
    # (tag, start, end) of the DER element at i. ValueError if it is not there whole.
    if i + 2 > len(der):
        raise ValueError("truncated")
    tag = der[i]
    n = der[i + 1]
    i += 2
    if n > 127:
        k = n & 127
        n = int.from_bytes(der[i : i + k], "big")
        if not 0 < k < 4:
            raise ValueError("bad length")
        i += k
    if i + n > len(der):
        raise ValueError("truncated")
    return tag, i, i + n


def _pem(text, label):
    # (first PEM block, its DER). ValueError unless it is whole: base64, and one DER element.
    begin = text.find(b"-----BEGIN " + label)
    body = text.find(b"\n", begin) + 1
    end = text.find(b"-----END ", body)
    stop = text.find(b"-----", end + 9)
    if begin < 0 or body < 1 or end < 0 or stop < 0:
        raise ValueError("no whole PEM block")
    der = a2b_base64(text[body:end])
    if _tlv(der, 0)[2] != len(der):
        raise ValueError("damaged")
    return text[begin : stop + 5] + b"\n", der


def _parse(der):
    # (CN, notAfter as YYYYMMDDHHMMSS, public key) of an X.509 certificate: RFC 5280, 4.1.
    i = _tlv(der, _tlv(der, 0)[1])[1]
    tag, _, end = _tlv(der, i)
    if tag == 0xA0:  # version
        i = end
    for _ in range(3):  # serialNumber, signature, issuer
        i = _tlv(der, i)[2]
    _, start, i = _tlv(der, i)  # validity: notBefore, notAfter
    tag, start, end = _tlv(der, _tlv(der, start)[2])
    until = der[start : end - 1].decode()
    if tag == 0x17:  # UTCTime: 50 to 99 are years of the last century
        until = ("19" if until >= "5" else "20") + until
    _, at, i = _tlv(der, i)  # subject
    name = ""
    while at < i and not name:
        _, start, at = _tlv(der, at)  # SET of SEQUENCE of (OID, text)
        _, oid, end = _tlv(der, _tlv(der, start)[1])
        if der[oid:end] == b"\x55\x04\x03":
            _, start, end = _tlv(der, end)
            name = der[start:end].decode()
    if not name or [c for c in "/+#\0" if c in name]:
        raise ValueError("no usable common name")
    _, start, _ = _tlv(der, i)  # subjectPublicKeyInfo: algorithm, key
    _, start, end = _tlv(der, _tlv(der, start)[2])
    return name, until, der[start:end]


def certificate(client):
    """(connector id, end as YYYYMMDDHHMMSS, public key). Raises FileError, KeyCertificateError."""
    path = client.get_cert_path()
    try:
        return _parse(_pem(read(path), _CERTIFICATE)[1])
    except ValueError as e:
        raise KeyCertificateError(None, "%s is damaged (%s): provision() anew" % (path, e))


def _usable(client):
    # The certificate, or None when it is missing, damaged, or not for the request beside it.
    try:
        found = certificate(client)
        if _exists(client.get_csr_path()):
            if found[2] not in _pem(read(client.get_csr_path()), _REQUEST)[1]:
                return None
        return found
    except (ValueError, KeyCertificateError):
        return None
    except FileError as e:
        if e.error_code == _ENOENT:
            return None
        raise


def _ended(found):
    now = "%04d%02d%02d%02d%02d%02d" % tuple(time.gmtime()[:6])
    return netstream.clock_is_set() and now > found[1]


# -- connections


def link(client, port, found=None, secure=True):
    """
    An MQTTLink to the agent. port: the parameter with its number. found: what certificate() says
    of the certificate to show; None shows none. Raises TLSError, KeyCertificateError.
    """
    given = client.parameters
    tls = None
    if secure:
        tls = {"ca": given["CaFile"], "server_hostname": given.get("ServerName")}
        if found:
            if _ended(found):
                text = "the certificate ended on %s: provision() with SMART or OVERRIDE"
                raise KeyCertificateError(None, text % found[1][:8])
            tls["cert"] = client.get_cert_path()
            tls["key"] = client.get_key_path()
    # A certificate may come with its chain, and text around it.
    longest = given["MaxPacket"] if found else _ANSWER_MAX
    try:
        return MQTTLink("", given["MqttHost"], given[port], ssl=tls, max_packet=longest)
    except ValueError as e:
        text = str(e)
        if _OUR_FILES in text:
            text += ": provision() with SMART or OVERRIDE"
        raise TLSError(_TLS_ERROR, text)


def connect(client):
    """
    (MQTTLink that tells the client what happens, base of its topics); raises as certificate() and
    link().
    """
    found = certificate(client)
    made = link(client, "MqttPort", found)
    made.set_callback(client.on_message)
    made.on_up = client.on_up
    made.on_ack = client.on_ack
    made.on_down = client.on_down
    made.on_skip = lambda topic, size: client.log("%d bytes are over MaxPacket" % size)
    return made, "/v1.0/" + found[0]


def _ask(client, to, filters, topic, msg, ms):
    # Generator: one question on a link of its own. Returns the answer's (topic, msg).
    got = []

    def on_ack(pid, code):
        if pid == subscribed:
            if code > 2:
                to.error = OSError(-1, "the agent refused the subscription")
            else:
                to.publish(topic, msg, qos=1)

    to.set_callback(lambda *message: got.append(message))
    to.on_ack = on_ack
    subscribed = to.subscribe([(f, 1) for f in filters])
    start = time.ticks_ms()
    try:
        while not got:
            if to.error:
                raise to.error
            if time.ticks_diff(time.ticks_ms(), start) > ms:
                raise ConnectionError(_NO_ANSWER, "no answer from the agent to " + topic)
            yield to.do_next(client.wait_ms)
    finally:
        to.disconnect(0)
    return got[0]


# -- provisioning


def provision(client):
    """TVCMI_client.provision() as a generator; yields whether it did something."""
    _make_folder(client.parameters["CertFolder"])
    if client.parameters["OverrideCerts"] == "OVERRIDE" or not _exists(client.get_key_path()):
        # From .py files this is a second of compiling on a board: not a step of do_next().
        import p256  # noqa: F401
    return _provision(client)


def _provision(client):
    msg = None
    try:
        mode = client.parameters["OverrideCerts"]
        if mode == "OVERRIDE":
            remove(client)
        elif mode == "SMART" and _exists(client.get_key_path()):
            good = yield from _serves(client)
            if not good:
                remove(client)
        code = int(_exists(client.get_key_path()) and _usable(client) is not None)
        if code:
            msg = "Client is already provisioned."
        else:
            yield from _enrol(client)
            msg = "Client is successfully provisioned."
    except TvcmiError as e:
        code, text = e.error_code or 0, e.message
    except (OSError, MQTTException) as e:
        code, text = _reason(e)
    # From here on the program may call provision() again, in its callback too.
    client.job = None
    if msg:
        client.tell(client.on_api_response, msg=msg, error_code=code)
    else:
        client.fail(code, text)


def _serves(client):
    # SMART: whether the agent accepts our certificate. Raises when that can't be found out.
    found = _usable(client)
    if not found or _ended(found):
        return False
    client.log("checking the certificate")
    base = "/v1.0/" + found[0] + "/ping"
    filters = (base + "/info/inbox", base + "/error/inbox")
    ms = min(client.parameters["ProvisionTimeout"], _CHECK_S) * 1000
    try:
        topic, answer = yield from _ask(
            client, link(client, "MqttPort", found), filters, base, b'{"request":"Ping"}', ms
        )
    except ConnectionError:
        return False
    except TLSError as e:
        if _OUR_FILES in e.message:
            return False
        raise
    except MQTTException as e:
        # CONNACK's refusals of who we are; any other is the agent's own trouble.
        if e.args[0] in (2, 4, 5):
            return False
        raise
    except OSError as e:
        # Closed in or after the handshake: that is how TLS servers refuse a certificate.
        text = str(e.args[-1])
        if text.startswith("handshake"):
            return False
        if e.args[0] == _ECONNRESET and not text.startswith("can't connect"):
            return False
        raise
    if topic.endswith(b"/error/inbox"):
        code, text = _error_of(answer)
        if code in (1, 2, 3):  # no backend, no licence, out of order: it does know us
            raise TvcmiError(code, text)
        return False
    return True


def _enrol(client):
    if not _exists(client.get_key_path()):
        yield from _make_key(client)
    try:
        csr = read(client.get_csr_path())
        request = _pem(csr, _REQUEST)[1]
    except (ValueError, FileError):
        text = "the key has no usable request beside it: copy both, or delete both: "
        raise FileError(_ENOENT, text + client.get_csr_path())
    base = "/certBack/" + hexlify(sha256(csr).digest()).decode()
    secure = False
    failure = answer = None
    start = time.ticks_ms()
    while answer is None:
        left = client.parameters["ProvisionTimeout"] * 1000
        left -= time.ticks_diff(time.ticks_ms(), start)
        if left <= 0:
            raise failure
        client.log("asking for a certificate")
        try:
            topic, answer = yield from _ask(
                client,
                link(client, "MqttProvisionPort", None, secure),
                (base, base + "/error"),
                "/createConnector",
                csr,
                left,
            )
        except (OSError, MQTTException) as e:
            code, text = _reason(e)
            client.log(text)
            # The documents' provisioning port is plain; later SDKs speak TLS there. Try in turn,
            # and tell in the end of the one that is not just the other protocol's confusion.
            if secure and code == _TLS_ERROR and not text.startswith("handshake"):
                failure = e
            elif not secure and not isinstance(failure, netstream.TLSError):
                failure = e
            secure = not secure
            failed = time.ticks_ms()
            while time.ticks_diff(time.ticks_ms(), failed) < _RETRY_MS:
                time.sleep_ms(min(client.wait_ms, 10))
                yield False
    if topic.endswith(b"/error"):
        code, text = _error_of(answer)
        raise TvcmiError(code, text)
    try:
        pem, der = _pem(answer, _CERTIFICATE)
        if _parse(der)[2] not in request:
            raise ValueError("it is for another key")
    except ValueError as e:
        raise KeyCertificateError(None, "the agent sent no certificate for us: %s" % e)
    _write(client.get_cert_path(), pem, "Error writing the certificate to file.")


def _make_key(client):
    import p256

    sys.modules.pop("p256", None)
    client.log("making a key")
    try:
        d, public = yield from p256.new_key()
        request = yield from p256.csr(d, public, client.parameters["ClientName"])
    except OSError as e:
        raise KeyGenerationError(None, str(e.args[-1]))
    # No certificate of an earlier key beside a new one, and no key without its request.
    _remove(client.get_cert_path())
    _write(client.get_csr_path(), p256.pem("CERTIFICATE REQUEST", request))
    _write(client.get_key_path(), p256.pem("EC PRIVATE KEY", p256.key_der(d, public)))
