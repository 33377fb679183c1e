# iotc_dps: registers a device with Azure's Device Provisioning Service, over MQTT.
#
# Stands on a link that somebody else made; used by iotc, and no longer than it takes. Every wait
# has an end: 30 s for an answer, 25 requests for a registration, and between two of them as long
# as the service asks for.

import time

from json_text import loads
from iotc_wire import bag, quote
from micropython import const
from umqtt.simple import MQTTException

_REQUESTS = const(25)
_ALLOCATIONS = const(5)  # how often a registration may fail in custom allocation
_ANSWER_MS = const(30000)
_PAUSE_S = const(2)  # between two requests, when the service doesn't say; doubled while it is busy
_LONGEST_PAUSE_S = const(16)
_DAY_S = const(86400)  # a retry-after beyond it is taken to be a mistake

_PUT = "$dps/registrations/PUT/iotdps-register/?$rid="
_GET = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid="
_ANSWERS = "$dps/registrations/res/"

_DISABLED = const(403)
_BUSY = const(429)
_ALLOCATION_FAILED = const(400207)


def register(link, body, pace):
    """
    A generator of link.do_next()'s results that registers a device and returns (hub, device id,
    chain of certificates if there was a request for one in body, else None).

    link: an MQTTLink to DPS, connected and not yet used. body: the request, JSON text. pace: an
    object whose _wait says how many ms the next step may wait; what a custom allocation has sent
    for the device becomes its dps_payload.

    Raises what ended the connection (OSError; MQTTException(code, text) if refused at the door);
    MQTTException(code, text) when DPS said no: its own six-digit code, or 403 for a disabled
    enrolment, with its words and the tracking id that Microsoft's support asks for; code 429 when
    it was still busy after the last request; ValueError for a hub that speaks no MQTT 3.1.1.
    """
    answers = []
    link.set_callback(lambda topic, msg: answers.append((topic.decode(), msg)))
    link.subscribe(_ANSWERS + "#", 1)
    try:
        return (yield from _converse(link, body, pace, answers))
    finally:
        link.disconnect(0)


def _converse(link, body, pace, answers):
    # Asks until DPS has decided; returns what register() does.
    request = _PUT, body, ""
    failed = busy = 0
    said = None
    for n in range(_REQUESTS):
        verb, text, tail = request
        link.publish(verb + str(n) + tail, text, qos=1)
        yield from _wait_for_answer(link, pace, answers)
        code, pause, reply, state = _read(*answers.pop(0))
        status = reply.get("status")
        if status == "assigned":
            return _assigned(state, pace, code)
        if status == "assigning":
            operation = reply.get("operationId")
            if not _is_name(operation):
                raise _unclear(code)
            request = _GET, "", "&operationId=" + quote(operation)
            busy = 0
        else:
            code, said = _refusal(code, status, reply, state)
            if code == _ALLOCATION_FAILED:
                failed += 1
            if not _is_temporary(code) or failed >= _ALLOCATIONS:
                raise MQTTException(code, said)
            if status == "failed":
                # This operation has ended: the next try is another one.
                request = _PUT, body, ""
            if pause is None:
                pause = min(_PAUSE_S << busy, _LONGEST_PAUSE_S)
            busy += 1
        yield from _rest(link, pace, _PAUSE_S if pause is None else pause)
    raise MQTTException(
        _BUSY,
        "DPS: still busy after %d requests; try again later. %s" % (_REQUESTS, said or ""),
    )


def _wait_for_answer(link, pace, answers):
    start = time.ticks_ms()
    while not answers:
        yield link.do_next(pace._wait)
        if link.error:
            raise link.error
        if time.ticks_diff(time.ticks_ms(), start) > _ANSWER_MS:
            raise OSError(-1, "DPS: no answer within %d s" % (_ANSWER_MS // 1000))


def _rest(link, pace, seconds):
    # A pause in which the connection may come and go.
    ms = seconds * 1000
    start = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), start) < ms:
        yield link.do_next(min(ms, pace._wait))
    link.error = None


def _read(topic, msg):
    # (code, seconds to wait or None, body, its registrationState) of
    # $dps/registrations/res/<code>/?$rid=<n>&retry-after=<s>
    code, _, query = topic[len(_ANSWERS) :].partition("/")
    try:
        pause = bag(query).get("retry-after")
        if pause is not None:
            pause = max(0, min(int(pause), _DAY_S))
        reply = loads(msg)
        state = reply.get("registrationState") or reply
        state.get("status")
        return int(code), pause, reply, state
    except (ValueError, AttributeError) as e:
        # What is wrong may be this board's: too little memory to read it.
        raise _unclear(code, e)


def _unclear(code, why="a name is missing"):
    return OSError(-1, "DPS: an answer (%s) without what it should say: %s" % (code, why))


def _is_name(value):
    return isinstance(value, str) and value


def _assigned(state, pace, code):
    hub = state.get("assignedHub")
    device_id = state.get("deviceId")
    if not _is_name(hub) or not _is_name(device_id):
        raise _unclear(code)
    profile = state.get("connectionProfile")
    if profile and "classic" not in str(profile).lower():
        raise ValueError(
            "DPS: hub %s wants connection profile %s, this client speaks MQTT 3.1.1 only: assign"
            " the device to a hub with the classic profile" % (hub, profile)
        )
    pace.dps_payload = state.get("payload")
    return hub, device_id, state.get("issuedCertificateChain")


def _is_temporary(code):
    # Throttled, out of order, or an allocation that may succeed at the next try.
    kind = code // 1000 if code > 999 else code
    return kind == _BUSY or kind >= 500 or code == _ALLOCATION_FAILED


def _refusal(status_code, status, reply, state):
    # (code, text) of an answer that grants nothing.
    said = state.get("errorMessage") or reply.get("message") or status or "(no reason given)"
    code = state.get("errorCode") or reply.get("errorCode")
    if not isinstance(code, int):
        code = status_code
    kind = str(code)[:3]
    cure = "check the device's enrolment and model in the service"
    if status == "disabled":
        code = _DISABLED
        cure = "enable the device in the service"
    elif kind == "401":
        cure = "check scopeId, deviceId and enrolment, but most likely key and clock"
    elif kind == "404":
        cure = "check scopeId, and that the device or its group is enrolled"
    elif _is_temporary(code) and code != _ALLOCATION_FAILED:
        cure = "try again later"
    return code, "DPS: %s %s; %s (tracking id %s)" % (code, said, cure, reply.get("trackingId"))
