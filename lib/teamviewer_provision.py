"""
How a TeamViewer client gets its certificate from the agent: key, request, question, answer.

Loaded by teamviewer_iot for provision() and let go when that has ended. Not for programs.
"""

import time
from binascii import hexlify
from hashlib import sha256

from micropython import const
from umqtt.simple import MQTTException

import netstream
from teamviewer_errors import FileError, KeyCertificateError, KeyGenerationError, TvcmiError

_question = netstream.load_once("teamviewer_question")
_setup = _question.setup
_certificates = _setup.certificates
_files = _certificates.files

_RETRY_MS = const(1000)
_SHORTAGES_MAX = const(2)  # as in teamviewer_iot
_ENOENT = const(2)
_UNKNOWN_ERROR = const(0)
_TLS_ERROR = const(21)
# Made once: with no heap left, a clause that must build its tuple fails itself.
_LINK_ERRORS = (OSError, MQTTException)


def provision(client):
    """TVCMI_client.provision() as a generator; yields whether it did something."""
    _files.make_folder(client.parameters["CertFolder"])
    anew = client.parameters["OverrideCerts"] == "OVERRIDE"
    if anew or not _files.exists(client.get_key_path()):
        # From .py files this is a second of compiling on a board: not a step of do_next().
        netstream.load_module("p256")
    return _provision(client)


def _provision(client):
    code = _UNKNOWN_ERROR
    text = message = None
    try:
        code, message = yield from _certify(client)
    except MemoryError:
        text = "not enough memory to provision: free some, then call provision() again"
    except TvcmiError as e:
        code, text = e.error_code or _UNKNOWN_ERROR, e.message
    except _LINK_ERRORS as e:
        code, text = client._reason(e)
    except Exception as e:
        text = "provisioning failed: %r" % e
    job = client.job
    tries = 0
    while True:
        # From here on the program may call provision() again, in its callback too.
        client.job = None
        try:
            if message:
                client._tell(client.on_api_response, msg=message, error_code=code)
            else:
                client._fail(code, text)
            return
        except MemoryError:
            tries += 1
            if tries > _SHORTAGES_MAX:
                raise
            client.job = client.job or job
        yield  # what could not be told is told in the next step


def _certify(client):
    # See to it that there is a certificate. Returns what to tell: (code, message).
    mode = client.parameters["OverrideCerts"]
    if mode == "OVERRIDE":
        _files.remove_all(client)
    elif mode == "SMART" and _files.exists(client.get_key_path()):
        good = yield from _question.serves(client)
        if not good:
            _files.remove_all(client)
    if _files.exists(client.get_key_path()) and _certificates.usable(client) is not None:
        return 1, "Client is already provisioned."
    yield from _enrol(client)
    return 0, "Client is successfully provisioned."


def _enrol(client):
    # Get a certificate, with a new key unless there is one.
    if not _files.exists(client.get_key_path()):
        yield from _make_key(client)
    try:
        csr = _files.read(client.get_csr_path())
        request = _certificates.pem(csr, _certificates.REQUEST)[1]
    except (ValueError, FileError):
        text = "the key has no usable request beside it: copy both, or delete both: "
        raise FileError(_ENOENT, text + client.get_csr_path())
    topic, answer = yield from _request(client, csr)
    if topic.endswith(b"/error"):
        code, text = client._error_of(answer)
        raise TvcmiError(code, text)
    try:
        text, der = _certificates.pem(answer, _certificates.CERTIFICATE)
        if _certificates.parse(der)[2] not in request:
            raise ValueError("it is for another key")
    except ValueError as e:
        raise KeyCertificateError(None, "the agent sent no certificate for us: %s" % e)
    _files.write(client.get_cert_path(), text, named=False)


def _request(client, csr):
    # Ask for a certificate until there is an answer, ProvisionTimeout at most. Returns it.
    base = "/certBack/" + hexlify(sha256(csr).digest()).decode()
    secure = False
    failure = None
    start = time.ticks_ms()
    while True:
        left = client.parameters["ProvisionTimeout"] * 1000
        left -= time.ticks_diff(time.ticks_ms(), start)
        if left <= 0:
            raise failure
        client._log("asking for a certificate")
        try:
            to = _setup.link(client, "MqttProvisionPort", None, secure)
            filters = (base, base + "/error")
            answer = yield from _question.ask(client, to, filters, "/createConnector", csr, left)
            return answer
        except _LINK_ERRORS as e:
            code, text = client._reason(e)
            client._log(text)
            # The documents' provisioning port is plain; later SDKs speak TLS there. Try in turn,
            # and tell in the end of the one that is not just the other protocol's confusion.
            if secure and code == _TLS_ERROR and not text.startswith("handshake"):
                failure = e
            elif not secure and not isinstance(failure, netstream.TLSError):
                failure = e
            secure = not secure
        failed = time.ticks_ms()
        while time.ticks_diff(time.ticks_ms(), failed) < _RETRY_MS:
            time.sleep_ms(min(client._wait_ms, 10))
            yield False


def _make_key(client):
    p256 = netstream.load_once("p256")
    client._log("making a key")
    try:
        d, public = yield from p256.new_key()
        request = yield from p256.csr(d, public, client.parameters["ClientName"])
    except OSError as e:
        raise KeyGenerationError(None, str(e.args[-1]))
    # No certificate of an earlier key beside a new one, and no key without its request.
    _files.remove(client.get_cert_path())
    _files.write(client.get_csr_path(), p256.pem("CERTIFICATE REQUEST", request))
    _files.write(client.get_key_path(), p256.pem("EC PRIVATE KEY", p256.key_der(d, public)))
