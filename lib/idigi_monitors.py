"""
What a Digi client asks for over HTTPS: make, find, look at, enable and delete monitors.

The second half of idigi_monitor_api, which loads it for a request and lets it go again. Not for
programs: the calls are push_client's, with their arguments, results and errors.
http: what rest.Session() takes. pause: called where a request waits; it sleeps for 5 ms.
"""

import sys

from micropython import const

from idigi_errors import MonitorError
from netstream import load_once

_EPROTO = const(71)
_BODY_MAX = const(16384)  # longest answer, bytes
_TEXT_MAX = const(300)  # of the service's words in an error
_PAUSES_PER_S = const(200)
_FIRST_PAUSE_S = const(1)
_LAST_PAUSE_S = const(8)
_RETRY_AFTER_MAX_S = const(60)
_TOO_MANY_REQUESTS = const(429)
_FORBIDDEN = const(403)

# The elements of a monitor as create() gets them -> the words that are allowed, None for any.
_FIELDS = (
    ("Topic", None),
    ("BatchSize", None),
    ("BatchDuration", None),
    ("FormatType", "json xml"),
    ("Compression", "none zlib gzip"),
    ("AckOption", "off explicit"),
    ("AutoReplayOnConnect", None),
    ("Description", None),
)


def create(http, pause, fields):
    """push_client.create_monitor(). fields: values in the order of _FIELDS; None is left out."""
    body = "<Monitor><monTransportType>tcp</monTransportType>"
    for (name, allowed), value in zip(_FIELDS, fields):
        if value is None:
            continue
        if name == "Topic":
            value = _join(value)
        elif name == "AutoReplayOnConnect":
            value = "true" if value else "false"
        if allowed and value not in allowed.split():
            raise ValueError("%s is none of: %s" % (value, allowed))
        body += _element(name, value)
    headers, text = _ask(http, pause, "Created", "POST", "", body + "</Monitor>")
    # The id stands at the end of a header, and in the body for those who can't see headers.
    place = headers.get("location") or str(text.split(b"</location>")[0], "utf-8")
    found = place.split("/")[-1]
    if not found.isdigit():
        raise OSError(_EPROTO, "the service made a monitor but did not tell its id")
    return found


def find(http, pause, topics):
    """push_client.get_monitor()."""
    path = ""
    for byte in bytes("monTopic='" + _join(topics).replace("'", "''") + "'", "utf-8"):
        path += "%%%02X" % byte
    for item in _items(_ask(http, pause, "Retrieved", "GET", "/.json?condition=" + path)[1]):
        # The same topics may also be pushed to some web server.
        if item.get("monTransportType", "tcp") == "tcp":
            return item.get("monId")


def status(http, pause, monitor_id):
    """push_client.monitor_status()."""
    return str(_one(http, pause, monitor_id).get("monStatus"))


def enable(http, pause, monitor_id):
    """push_client.enable_monitor()."""
    # Any PUT resets a monitor's state: this one says again what it listens to.
    topics = _one(http, pause, monitor_id).get("monTopic") or ""
    body = "<Monitor>" + _element("Topic", topics) + "</Monitor>"
    _ask(http, pause, "Enabled", "PUT", "/%d" % int(monitor_id), body)


def delete(http, pause, monitor_id):
    """push_client.delete_monitor()."""
    _ask(http, pause, "Deleted", "DELETE", "/%d" % int(monitor_id))


def _one(http, pause, monitor_id):
    text = _ask(http, pause, "Retrieved", "GET", "/%d.json" % int(monitor_id))[1]
    for item in _items(text):
        return item
    raise MonitorError("Monitor Could not be Retrieved (404): there is no such monitor", 404)


def _items(text):
    # The monitors of a list, dicts.
    try:
        items = load_once("json_text").loads(text)["items"]
        return [item for item in items if isinstance(item, dict)]
    except (ValueError, KeyError, TypeError):
        raise OSError(_EPROTO, "the service's answer is not a list of monitors")


def _join(topics):
    return topics if isinstance(topics, str) else ",".join(topics)


def _element(name, value):
    value = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "<mon%s>%s</mon%s>" % (name, value, name)


def _ask(http, pause, what, method, path, body=None):
    # One request; returns the headers and the body of its answer. what: for the error's text.
    rest = sys.modules.get("rest") or load_once("rest")
    session = rest.Session(*http)
    try:
        wait_s = _FIRST_PAUSE_S
        while True:
            answer, text = _exchange(session, pause, method, "/ws/Monitor" + path, body)
            asked_s = _retry_after(answer)
            if answer.status != _TOO_MANY_REQUESTS or wait_s > _LAST_PAUSE_S:
                break
            if asked_s and asked_s > _RETRY_AFTER_MAX_S:
                break  # the caller's time: it is told how long
            for _ in range(max(wait_s, asked_s or 0) * _PAUSES_PER_S):
                pause()
            wait_s *= 2
        if answer.status > 299:
            raise MonitorError(_refusal(what, answer.status, text), answer.status, asked_s)
        return answer.headers, text
    finally:
        # TLS has some 20 KB for each connection, and the session needs them next.
        session.close()


def _exchange(session, pause, method, path, body):
    headers = {"Content-Type": "text/xml"}
    for answer in session.start(method, path, body, headers):
        if answer:
            break
        pause()
    for text in answer.whole(_BODY_MAX):
        if text is not None:
            break
        pause()
    logging = sys.modules.get("logging")
    if logging:
        log = logging.getLogger("idigi_monitor_api")
        log.info("%s %s: %d", method, path.split("?")[0], answer.status)
    return answer, text


def _retry_after(answer):
    # Seconds that the service asks to wait, None when it does not say.
    asked = answer.headers.get("retry-after", "")
    return int(asked) if asked.isdigit() else None


def _refusal(what, status, text):
    words = "".join(map(chr, text[:_TEXT_MAX]))  # it is ISO-8859-1
    words = "Monitor Could not be %s (%d): %s" % (what, status, words)
    if status == _FORBIDDEN and "subscri" in words.lower():
        words += " (push monitors are paid for: the account needs the Push Monitor subscription)"
    return words
