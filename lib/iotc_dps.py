# iotc_dps: registers a device with Azure's Device Provisioning Service, over MQTT.
#
# Stands on a link that somebody else made; used by iotc, and no longer than it takes. Every wait
# has an end: 30 s for an answer, 25 requests for a registration.

import json
import time

from iotc_wire import bag, quote
from micropython import const
from umqtt.simple import MQTTException

_REQUESTS = const(25)
_ANSWER_MS = const(30000)
_LONGEST_S = const(60)  # no retry-after is taken to mean more


def register(link, body, pace):
    """
    A generator of link.do_next()'s results that registers a device and returns (hub, device id).

    link: an MQTTLink to DPS, not yet used. body: the request, JSON text. pace: an object whose
    _wait says how many ms the next step may wait.

    Raises what ended the connection (OSError; MQTTException(code, text) if refused at the door);
    MQTTException(code, text) when DPS said no: its own six-digit code, or 403 for a disabled
    enrolment, with its words and the tracking id that Microsoft's support asks for; code 429 when
    it was still busy after the last request.
    """
    got = []
    link.set_callback(lambda topic, msg: got.append((topic.decode(), msg)))
    link.subscribe("$dps/registrations/res/#", 1)
    verb = "PUT/iotdps-register/?$rid="
    tail = ""
    try:
        for n in range(_REQUESTS):
            link.publish("$dps/registrations/" + verb + str(n) + tail, body, qos=1)
            start = time.ticks_ms()
            while not got:
                yield link.do_next(pace._wait)
                if link.error:
                    raise link.error
                if time.ticks_diff(time.ticks_ms(), start) > _ANSWER_MS:
                    raise OSError(-1, "DPS: no answer within %d s" % (_ANSWER_MS // 1000))
            topic, msg = got.pop()
            # $dps/registrations/res/<status>/?$rid=<n>&retry-after=<s>
            code = int(topic[23:26])
            query = bag(topic.split("?", 1)[1])
            try:
                delay = min(int(query.get("retry-after") or 2), _LONGEST_S) * 1000
                reply = json.loads(msg)
                state = reply.get("registrationState") or reply
                status = reply.get("status")
                if status == "assigned":
                    return state["assignedHub"], state["deviceId"]
                if status == "assigning":
                    tail = "&operationId=" + quote(reply["operationId"])
                    verb = "GET/iotdps-get-operationstatus/?$rid="
                    body = ""
            except (ValueError, KeyError, AttributeError, TypeError):
                raise OSError(-1, "DPS: an answer (%d) without what it should say" % code)
            if status != "assigning" and code < 429:
                raise MQTTException(*_refusal(code, status, reply, state))
            start = time.ticks_ms()
            while time.ticks_diff(time.ticks_ms(), start) < delay:
                yield link.do_next(min(delay, pace._wait))
                if link.error:
                    raise link.error
        raise MQTTException(429, "DPS: still busy after %d requests; try again later" % _REQUESTS)
    finally:
        link.disconnect(0)


def _refusal(code, status, reply, state):
    # (code, text) of an answer that is final.
    said = state.get("errorMessage") or reply.get("message") or status
    code = state.get("errorCode") or code
    kind = str(code)[:3]
    cure = "check the device's enrolment and model in the service"
    if status == "disabled":
        code = 403
        cure = "enable the device in the service"
    elif kind == "401":
        cure = "check deviceId, key and clock"
    elif kind == "404":
        cure = "check scopeId, and that the device or its group is enrolled"
    return code, "DPS: %s %s; %s (tracking id %s)" % (code, said, cure, reply.get("trackingId"))
