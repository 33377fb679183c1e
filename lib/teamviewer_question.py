"""
One question to a TeamViewer agent and its answer, on a connection of its own; and whether the
agent accepts a certificate, which is such a question.

Loaded by teamviewer_provision. Not for programs.
"""

import time

from micropython import const
from umqtt.simple import MQTTException

from netstream import load_once
from teamviewer_errors import ConnectionError, TLSError, TvcmiError

# How to connect, for who has loaded this part.
setup = load_once("teamviewer_setup")
_certificates = setup.certificates

_CHECK_S = const(10)  # the documents give 5 s each to connecting and to the ping
_ECONNRESET = const(104)
_NO_ANSWER = const(22)
_GRANTED_MAX = const(2)  # SUBACK: 0 to 2 is the granted QoS, anything else a refusal

# The agent's codes that say nothing about who we are: no backend, no licence, out of order.
_OWN_TROUBLE = (1, 2, 3)
# CONNACK's codes that refuse who we are: client identifier, user name or password, not authorized.
_NOT_US = (2, 4, 5)


def ask(client, to, filters, topic, msg, ms):
    """
    Generator: ask one question on a link of its own, `to`. Returns the answer's (topic, msg).

    filters: where answers may come. Raises ConnectionError when none came within ms milliseconds,
    and what ended the connection.
    """
    got = []

    def on_ack(pid, code):
        if pid == subscribed:
            if code > _GRANTED_MAX:
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
            yield to.do_next(client._wait_ms)
    finally:
        to.disconnect(0)
    return got[0]


def serves(client):
    """SMART: whether the agent accepts our certificate. Raises when that can't be found out."""
    found = _certificates.usable(client)
    if not found or _certificates.has_ended(found):
        return False
    client._log("checking the certificate")
    base = "/v1.0/" + found[0] + "/ping"
    filters = (base + "/info/inbox", base + "/error/inbox")
    ms = min(client.parameters["ProvisionTimeout"], _CHECK_S) * 1000
    try:
        to = setup.link(client, "MqttPort", found)
        topic, answer = yield from ask(client, to, filters, base, b'{"request":"Ping"}', ms)
    except ConnectionError:
        return False
    except (TLSError, MQTTException, OSError) as e:
        if _is_refusal(e):
            return False
        raise
    if topic.endswith(b"/error/inbox"):
        code, text = client._error_of(answer)
        if code in _OWN_TROUBLE:  # it does know us
            raise TvcmiError(code, text)
        return False
    return True


def _is_refusal(error):
    # Whether a connection failed because the agent does not accept our certificate; anything else
    # is the agent's own trouble, or the network's.
    if isinstance(error, TLSError):
        return setup.OUR_FILES in error.message
    if isinstance(error, MQTTException):
        return error.args[0] in _NOT_US
    # Closed in or after the handshake: that is how TLS servers refuse a certificate.
    text = str(error.args[-1])
    if text.startswith("handshake"):
        return True
    return error.args[0] == _ECONNRESET and not text.startswith("can't connect")
