"""
The service's management API, version v0001: devices and their history. Loaded by application
clients when `client.api` is first used. Stands on rest.

Every call waits for its answer (10 s without progress, 60 s in all, then OSError) and closes the
connection, as a TLS session is dear on a board. What the service doesn't answer as its document
says is an IoTFCReSTException.
"""

import ibmiotf
from json_text import loads
from ibmiotf import ConfigurationException, encode_json, name_of
from micropython import const
from netstream import load_once, places
from rest import Session

_HTTPS = const(443)
_OK = const(200)
_CREATED = const(201)
_NO_CONTENT = const(204)
_NAME = const(32)  # longest device type and id that this version registers
_HINTS = {
    401: "auth-key or auth-token is wrong, or was revoked",
    403: "this auth-key may not do that",
    404: "not found",
    409: "exists already",
}


class IoTFCReSTException(Exception):
    """httpCode (int), message (text), response (what the service said, as JSON, or None)."""

    def __init__(self, httpCode, message, response=None):
        super().__init__(message)
        self.httpCode = httpCode
        self.message = message
        self.response = response


ibmiotf.IoTFCReSTException = IoTFCReSTException  # where programs look for it


def _path_of(deviceType, deviceId=None):
    # A type's or a device's part of a path.
    path = name_of("deviceType", deviceType)
    return path if deviceId is None else path + "/" + name_of("deviceId", deviceId)


def _host(get, closed_domain):
    # Where the API is: what Session() takes as its host.
    if get("api-host"):
        return get("api-host")
    if get("host"):  # its ports are MQTT's
        return [name for name, _ in places(get("host"), _HTTPS)]
    return get("org") + "." + (get("domain") or closed_domain)


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
        reader = load_once("ibmiotf.options")
        closed = reader.leads_to_closed(options) and not get("api-host")
        self._closed = reader.CLOSED if closed else ""
        self.errorCallback = None
        self.logger = None
        try:
            self._session = Session(
                _host(get, reader.CLOSED_DOMAIN),
                get("api-port") or _HTTPS,
                ssl,
                get("auth-key"),
                get("auth-token"),
            )
        except ValueError as e:
            raise ConfigurationException("api: %s" % e)

    # These three, and _session, are history.py's, too.

    def _request(self, method, path, body=None, headers=None):
        """Ask; returns the response, its body still to be read. Raises OSError."""
        if self.logger:
            self.logger.debug("API: %s", method + " " + path)
        try:
            return self._session.request(method, "/api/v0001/" + path, body, headers)
        except OSError as e:
            if self._closed:
                raise OSError(e.args[0], "%s (%s)" % (self._closed, e.args[-1]))
            raise

    def _answer(self, response):
        """What the service said, or None when that is no JSON. Reads the body."""
        try:
            return loads(response.read(self.limit))
        except ValueError:
            return None

    def _refuse(self, method, path, response, answer, expect=_OK):
        """Raise what a program hears when the service's answer is not the documented one."""
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
        return self._call("GET", "devices/" + _path_of(deviceType) if deviceType else "devices")

    def getDeviceTypes(self):
        """List of dicts of deviceType, count."""
        return self._call("GET", "device-types")

    def getDevice(self, deviceType, deviceId):
        """One device; IoTFCReSTException with httpCode 404 if there is none."""
        return self._call("GET", "devices/" + _path_of(deviceType, deviceId))

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
        return self._call(
            "PUT", "devices/" + _path_of(deviceType, deviceId), {"metadata": metadata}
        )

    def deleteDevice(self, deviceType, deviceId):
        """Unregister a device."""
        self._call("DELETE", "devices/" + _path_of(deviceType, deviceId), None, _NO_CONTENT)

    def getHistoricalEvents(self, deviceType=None, deviceId=None, options=None):
        """
        List of the newest events, one page, newest first: of one device, of a type, or of all.

        options: dict of evt_type, start, end (ms since 1970, ends included); with a deviceType
        also top (1 to 100), summarize (list of fields, or "{a,b}"), summarize_type (avg, count,
        min, max, sum, range, stdev or variance). Raises ValueError for others, OSError if a page
        needs more memory than there is.
        """
        try:
            return load_once("ibmiotf.history").newest(self, deviceType, deviceId, options)
        finally:
            self._session.close()

    def historicalEvents(self, deviceType=None, deviceId=None, options=None):
        """
        Iterate over all events, newest first; one of them is in memory at a time.

        Arguments as getHistoricalEvents; top is then the size of a page. A page must be taken
        within 60 s.
        """
        return load_once("ibmiotf.history").everything(self, deviceType, deviceId, options)
