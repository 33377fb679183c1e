"""
The service's management API, version v0001: devices and their history. Loaded by application
clients when `client.api` is first used. Stands on rest.

Every call waits for its answer (10 s without progress, 60 s in all, then OSError) and closes the
connection, as a TLS session is dear on a board. What the service doesn't answer as its document
says is an IoTFCReSTException.
"""

import ibmiotf
import json_text
from ibmiotf import ConfigurationException, encode_json, level, load_once, name_of
from micropython import const
from rest import Session

_OK = const(200)
_CREATED = const(201)
_NO_CONTENT = const(204)
_ENOMEM = const(12)
_CHUNK = const(256)  # bytes of a page that are looked through at once
_NAME = const(32)  # longest device type and id that this version registers
_QUOTE = const(34)
_COMMA = const(44)
_BACKSLASH = const(92)
_SPACES = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_COOKIE = "iotHistorianSessionId="
_HINTS = {
    401: "auth-key or auth-token is wrong, or was revoked",
    403: "this auth-key may not do that",
    404: "not found",
    409: "exists already",
}
_SUMMARIES = ("avg", "count", "min", "max", "sum", "range", "stdev", "variance")


class IoTFCReSTException(Exception):
    """httpCode (int), message (text), response (what the service said, as JSON, or None)."""

    def __init__(self, httpCode, message, response=None):
        super().__init__(message)
        self.httpCode = httpCode
        self.message = message
        self.response = response


ibmiotf.IoTFCReSTException = IoTFCReSTException  # where programs look for it


def _path(deviceType, deviceId=None):
    # A type's or a device's part of a path.
    path = name_of("deviceType", deviceType)
    return path if deviceId is None else path + "/" + name_of("deviceId", deviceId)


def _fields(value):
    # "{a,b}" of what `summarize` was given, or None.
    if isinstance(value, (list, tuple)):
        for field in value:
            if not isinstance(field, str) or "," in field:
                return None
        value = "{" + ",".join(value) + "}" if value else None
    return value if isinstance(value, str) and value[:1] == "{" else None


def _parameter(key, value, of_type):
    # One parameter of the historian as text, or None if it can't be. of_type: a device or a type
    # is asked for; the last three go with those only.
    if key == "evt_type":
        return level(key, value)
    if key in ("start", "end"):
        good = isinstance(value, int)
    elif not of_type:
        good = False
    elif key == "top":
        good = isinstance(value, int) and 0 < value < 101
    elif key == "summarize_type":
        good = value in _SUMMARIES
    else:
        return _fields(value) if key == "summarize" else None
    return str(value) if good else None


def _quoted(text):
    # Percent-encoded: all but letters, digits, dot, dash and underscore, and the slash.
    out = ""
    for c in text.encode():
        plain = 47 <= c < 58 or 65 <= c < 91 or 97 <= c < 123 or c in b"-._"
        out += chr(c) if plain else "%%%02X" % c
    return out


def _query(deviceType, options):
    # The historian's parameters, checked: a service that ignores a wrong one gives wrong data.
    parts = []
    for key in options:
        text = _parameter(key, options[key], deviceType is not None)
        if text is None:
            raise ValueError("historian: %s can't be %r here" % (key, options[key]))
        parts.append(key + "=" + _quoted(text))
    return "?" + "&".join(parts) if parts else ""


def _next_page(said, asked):
    # The headers that ask for the page after one that came with headers `said`, when it was asked
    # for with headers `asked`. The cookie stays what it was until there is another.
    cookie = said.get("set-cookie", "")
    at = cookie.find(_COOKIE)
    if at >= 0:
        cookie = cookie[at:].split(";")[0].split(",")[0]
    elif asked:
        cookie = asked["Cookie"]
    return {"cursorId": said["cursorid"], "Cookie": cookie}


def _elements(read, limit):
    """
    The elements of a JSON array as they stream by: a generator of bytes.

    read(buf): waits for more and returns how many bytes it put into buf, 0 at the end. limit: most
    bytes of one element. Raises ValueError when it is no array, or ends too early.
    """
    # One long loop, because a call for each byte would double the time it takes.
    buf = bytearray(_CHUNK)
    view = memoryview(buf)
    part = bytearray()
    depth = 0
    quoted = escaped = False
    while True:
        n = read(buf)
        if not n:
            raise ValueError("the array has no end")
        start = 0
        for i in range(n):
            c = buf[i]
            if quoted:
                if escaped:
                    escaped = False
                elif c == _BACKSLASH:
                    escaped = True
                elif c == _QUOTE:
                    quoted = False
            elif depth == 0:
                if c == 91:  # [
                    depth = 1
                    start = i + 1
                elif c not in _SPACES and c not in _BOM:
                    raise ValueError("no array")
            elif c == _QUOTE:
                quoted = True
            elif c in b"[{":
                depth += 1
            elif c in b"]}":
                depth -= 1
                if depth == 0:
                    part += view[start:i]
                    if part.strip(_SPACES):
                        yield bytes(part)
                    return
            elif c == _COMMA and depth == 1:
                part += view[start:i]
                yield bytes(part)
                part = bytearray()
                start = i + 1
        if depth:
            part += view[start:n]
            if len(part) > limit:
                raise ValueError("an element over %d bytes" % limit)


class Client:
    """
    application.Client's `api`. Its options are that client's; "api-host" (else "host", else
    <org>.<domain>) and "api-port" (else 443) say where. limit: longest answer taken, bytes; of a
    page of history, the longest record.

    errorCallback(exception): hears of a record of history that can't be read; the others come.
    logger: the application's. Raises ConfigurationException.
    """

    limit = 32768

    def __init__(self, options):
        get = options.get
        if get("org") == "quickstart" or not get("auth-key"):
            raise ConfigurationException("api: needs auth-key and auth-token; QuickStart has none")
        ssl = get("ssl")
        if not ssl or ssl is True or isinstance(ssl, dict):
            # Always TLS, whatever MQTT does: each request carries the password.
            tls = {"ca": get("ca")}
            tls.update(ssl if isinstance(ssl, dict) else ())
            ssl = tls
        reader = load_once("options")
        closed = reader.leads_to_closed(options) and not get("api-host")
        self._closed = reader.CLOSED if closed else ""
        self.errorCallback = None
        self.logger = None
        host = get("domain") or reader.CLOSED_DOMAIN
        try:
            self._session = Session(
                get("api-host") or get("host") or get("org") + "." + host,
                get("api-port") or 443,
                ssl,
                get("auth-key"),
                get("auth-token"),
            )
        except ValueError as e:
            raise ConfigurationException("api: %s" % e)

    def _request(self, method, path, body=None, headers=None):
        # The response, its body still to be read.
        if self.logger:
            self.logger.debug("API: %s", method + " " + path)
        try:
            return self._session.request(method, "/api/v0001/" + path, body, headers)
        except OSError as e:
            if self._closed:
                raise OSError(e.args[0], "%s (%s)" % (self._closed, e.args[-1]))
            raise

    def _answer(self, response):
        # What the service said, or None when that is no JSON.
        try:
            return json_text.loads(response.read(self.limit))
        except ValueError:
            return None

    def _refuse(self, method, path, response, answer, expect=_OK):
        # Raises what a program hears when the service's answer is not the documented one.
        status = response.status
        said = answer.get("message") if isinstance(answer, dict) else None
        if not said:
            said = _HINTS.get(status) or response.reason
            if status == expect:
                said = "but no JSON"
        raise IoTFCReSTException(status, "%s %s: %d %s" % (method, path, status, said), answer)

    def _call(self, method, path, body=None, expect=_OK):
        # One call and its whole answer; the connection is closed.
        try:
            if body is not None:
                body = encode_json(body)
            response = self._request(method, path, body)
            answer = self._answer(response)
        finally:
            self._session.close()
        if response.status != expect or (answer is None and expect != _NO_CONTENT):
            self._refuse(method, path, response, answer, expect)
        return answer

    def getOrganizationDetails(self):
        """The organization: dict of id, name, created, updated."""
        return self._call("GET", "")

    def getDevices(self, deviceType=None):
        """Devices of one type or all: list of dicts of uuid, type, id, metadata, registration."""
        return self._call("GET", "devices/" + _path(deviceType) if deviceType else "devices")

    def getDeviceTypes(self):
        """List of dicts of deviceType, count."""
        return self._call("GET", "device-types")

    def getDevice(self, deviceType, deviceId):
        """One device; IoTFCReSTException with httpCode 404 if there is none."""
        return self._call("GET", "devices/" + _path(deviceType, deviceId))

    def registerDevice(self, deviceType, deviceId, metadata=None):
        """
        Make a device. Its "password", the auth-token, is in this answer and never again.

        metadata: a dict. Type and id have at most 32 characters in this version of the API.
        IoTFCReSTException with httpCode 409 if it exists.
        """
        name_of("deviceType", deviceType, _NAME)
        name_of("deviceId", deviceId, _NAME)
        device = {"type": deviceType, "id": deviceId}
        if metadata is not None:
            device["metadata"] = metadata
        return self._call("POST", "devices", device, _CREATED)

    def updateDevice(self, deviceType, deviceId, metadata):
        """Replace the metadata, all that can be changed; returns the device."""
        return self._call("PUT", "devices/" + _path(deviceType, deviceId), {"metadata": metadata})

    def deleteDevice(self, deviceType, deviceId):
        """Unregister a device."""
        self._call("DELETE", "devices/" + _path(deviceType, deviceId), None, _NO_CONTENT)

    def getHistoricalEvents(self, deviceType=None, deviceId=None, options=None):
        """
        List of the newest events, one page, newest first: of one device, of a type, or of all.

        options: dict of evt_type, start, end (ms since 1970, ends included); with a deviceType
        also top (1 to 100), summarize (list of fields, or "{a,b}"), summarize_type (avg, count,
        min, max, sum, range, stdev or variance). Raises ValueError for others, OSError if a page
        needs more memory than there is.
        """
        try:
            path, response = self._page(deviceType, deviceId, options, None)
            return list(self._records(path, response))
        except MemoryError:
            pass
        finally:
            self._session.close()
        raise OSError(
            _ENOMEM,
            "no memory for a page of history: ask for fewer with 'top', or use historicalEvents()",
        )

    def historicalEvents(self, deviceType=None, deviceId=None, options=None):
        """
        Iterate over all events, newest first; one of them is in memory at a time.

        Arguments as getHistoricalEvents; top is then the size of a page. A page must be taken
        within 60 s.
        """
        headers = None
        try:
            while True:
                path, response = self._page(deviceType, deviceId, options, headers)
                some = False
                for record in self._records(path, response):
                    some = True
                    yield record
                if not some or not response.headers.get("cursorid"):
                    break
                headers = _next_page(response.headers, headers)
        finally:
            self._session.close()

    def _page(self, deviceType, deviceId, options, headers):
        # (path, response) of one page of history, whose records are still to be read.
        path = "historian"
        if deviceType is not None or deviceId is not None:
            path += "/" + _path(deviceType, deviceId)
        path += _query(deviceType, options or {})
        response = self._request("GET", path, None, headers)
        if response.status != _OK:
            self._refuse("GET", path, response, self._answer(response))
        return path, response

    def _records(self, path, response):
        # A generator of a page's records. One that can't be read costs no other.
        session = self._session

        def read(buf):
            n = response.readinto(buf)
            while n is None:
                session.wait(50)
                n = response.readinto(buf)
            return n

        try:
            for element in _elements(read, self.limit):
                try:
                    record = json_text.loads(element)
                except ValueError as e:
                    if self.errorCallback:
                        text = "GET %s: a record can't be read: %s" % (path, e)
                        self.errorCallback(IoTFCReSTException(response.status, text))
                else:
                    yield record
        except ValueError:
            self._refuse("GET", path, response, None)
        rest = bytearray(_CHUNK)
        while read(rest):  # what follows the array; then the connection can be used again
            pass
