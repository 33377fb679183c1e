"""
The service's management API, version v0001: devices and their history. Loaded by application
clients when `client.api` is first used. Stands on rest.

Every call waits for its answer (10 s without progress, 60 s in all, then OSError) and closes the
connection, as a TLS session is dear on a board. What the service doesn't answer as its document
says is an IoTFCReSTException.
"""

import ibmiotf
import json_text
from ibmiotf import ConfigurationException, encode_json, level
from rest import Session

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


def _name(deviceType, deviceId=None):
    name = level("deviceType", deviceType, 36)
    return name if deviceId is None else name + "/" + level("deviceId", deviceId, 36)


def _query(deviceType, options):
    # The historian's parameters, checked: a service that ignores a wrong one gives wrong data.
    text = ""
    for key in options:
        value = options[key]
        if key in ("start", "end"):
            good = isinstance(value, int)
        elif key == "evt_type":
            value = level(key, value)
            good = True
        elif deviceType is None:
            good = False  # the three others go with a device or a type of device only
        elif key == "top":
            good = isinstance(value, int) and 0 < value < 101
        elif key == "summarize_type":
            good = value in _SUMMARIES
        else:
            good = key == "summarize" and bool(value)
            if isinstance(value, (list, tuple)):
                for field in value:
                    good = good and isinstance(field, str) and "," not in field
                if good:
                    value = "{" + ",".join(value) + "}"
            good = good and isinstance(value, str) and value[0] == "{"
        if not good:
            raise ValueError("historian: %s can't be %r here" % (key, value))
        text += "&" if text else "?"
        text += key + "="
        for c in str(value).encode():
            text += "%%%02X" % c if c < 48 or c > 122 or 57 < c < 65 or 90 < c < 97 else chr(c)
    return text


class Client:
    """
    application.Client's `api`. Its options are that client's; "api-host" (else "host", else
    <org>.<domain>) and "api-port" (else 443) say where. limit: longest answer taken, bytes.
    Raises ConfigurationException.
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
        host = get("domain") or "internetofthings.ibmcloud.com"
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

    def _call(self, method, path, body=None, expect=200, headers=None, keep=False):
        if body is not None:
            body = encode_json(body)
        session = self._session
        answer = None
        try:
            response = session.request(method, "/api/v0001/" + path, body, headers)
            text = response.read(self.limit)
            if text:
                answer = json_text.loads(text)
        except ValueError:
            pass
        finally:
            if not keep:
                session.close()
        status = response.status
        if status != expect or answer is None and status != 204:
            said = answer.get("message") if isinstance(answer, dict) else None
            said = said or (
                "but no JSON" if status == expect else _HINTS.get(status) or response.reason
            )
            raise IoTFCReSTException(status, "%s %s: %d %s" % (method, path, status, said), answer)
        return (answer, response.headers) if keep else answer

    def getOrganizationDetails(self):
        """The organization: dict of id, name, created, updated."""
        return self._call("GET", "")

    def getDevices(self, deviceType=None):
        """Devices of one type or all: list of dicts of uuid, type, id, metadata, registration."""
        return self._call("GET", "devices/" + _name(deviceType) if deviceType else "devices")

    def getDeviceTypes(self):
        """List of dicts of deviceType, count."""
        return self._call("GET", "device-types")

    def getDevice(self, deviceType, deviceId):
        """One device; IoTFCReSTException with httpCode 404 if there is none."""
        return self._call("GET", "devices/" + _name(deviceType, deviceId))

    def registerDevice(self, deviceType, deviceId, metadata=None):
        """
        Make a device. Its "password", the auth-token, is in this answer and never again.

        metadata: a dict. IoTFCReSTException with httpCode 409 if it exists.
        """
        _name(deviceType, deviceId)
        device = {"type": deviceType, "id": deviceId}
        if metadata is not None:
            device["metadata"] = metadata
        return self._call("POST", "devices", device, 201)

    def updateDevice(self, deviceType, deviceId, metadata):
        """Replace the metadata, all that can be changed; returns the device."""
        return self._call("PUT", "devices/" + _name(deviceType, deviceId), {"metadata": metadata})

    def deleteDevice(self, deviceType, deviceId):
        """Unregister a device."""
        self._call("DELETE", "devices/" + _name(deviceType, deviceId), None, 204)

    def getHistoricalEvents(self, deviceType=None, deviceId=None, options=None):
        """
        List of the newest events, one page, newest first: of one device, of a type, or of all.

        options: dict of evt_type, start, end (ms since 1970, ends included); with a deviceType
        also top (1 to 100), summarize (list of fields, or "{a,b}"), summarize_type (avg, count,
        min, max, sum, range, stdev or variance). Raises ValueError for others.
        """
        try:
            return self._page(deviceType, deviceId, options, None)[0]
        finally:
            self._session.close()

    def historicalEvents(self, deviceType=None, deviceId=None, options=None):
        """
        Iterate over all events, newest first; one page of them is in memory at a time.

        Arguments as getHistoricalEvents; top is then the size of a page.
        """
        headers = None
        try:
            while True:
                page, said = self._page(deviceType, deviceId, options, headers)
                yield from page
                cursor = said.get("cursorid")
                if not page or not cursor:
                    break
                cookie = said.get("set-cookie", "")
                at = cookie.find("iotHistorianSessionId=")
                if at >= 0:
                    cookie = cookie[at:].split(";")[0].split(",")[0]
                elif headers:
                    cookie = headers["Cookie"]
                headers = {"cursorId": cursor, "Cookie": cookie}
                page = None
        finally:
            self._session.close()

    def _page(self, deviceType, deviceId, options, headers):
        path = "historian"
        if deviceType is not None or deviceId is not None:
            path += "/" + _name(deviceType, deviceId)
        path += _query(deviceType, options or {})
        return self._call("GET", path, None, 200, headers, True)
