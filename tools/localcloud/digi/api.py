"""
Digi's HTTP requests: /ws/Monitor as it was in 2012, and of today's /ws/v1/monitors the reset.

Errors are <result><error>text</error></result>.
"""

import contextlib
import re
import xml.etree.ElementTree as ET

from aiohttp import web as aioweb

from .. import web
from .model import FIELDS, READ_ONLY, Refused, check_fields, to_xml, xml_document

PAGE = 1000  # rows of a list when the request doesn't say


# ---- conditions


_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<op><=|>=|<>|!=|=|<|>|\(|\))|(?P<word>[\w.-]+))"
)


class Condition:
    """monTopic='a' and (monBatchSize>1 or monStatus like 'IN%'): ValueError when it's none."""

    def __init__(self, text):
        self._tokens = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                raise ValueError("condition: can't read %r" % text[at:])
            self._tokens.append((match.lastgroup, match.group(match.lastgroup)))
            at = match.end()
        self._test = self._or(0)
        if self._tokens:
            raise ValueError("condition: %r is too much" % self._tokens[0][1])

    def __call__(self, row):
        return self._test(row)

    def _next(self, word):
        if self._tokens and self._tokens[0][1].lower() == word:
            return self._tokens.pop(0)

    def _take(self, *kinds):
        if not self._tokens or self._tokens[0][0] not in kinds:
            raise ValueError("condition: it ends too early, or a value is missing")
        return self._tokens.pop(0)[1]

    def _or(self, depth):
        if depth > 20:
            raise ValueError("condition: too many parentheses")
        tests = [self._and(depth)]
        while self._next("or"):
            tests.append(self._and(depth))
        return lambda row: any(test(row) for test in tests)

    def _and(self, depth):
        tests = [self._comparison(depth)]
        while self._next("and"):
            tests.append(self._comparison(depth))
        return lambda row: all(test(row) for test in tests)

    def _comparison(self, depth):
        if self._next("("):
            test = self._or(depth + 1)
            if not self._next(")"):
                raise ValueError("condition: a parenthesis is left open")
            return test
        name = self._take("word")
        if name not in FIELDS and name not in READ_ONLY:
            raise ValueError("condition: there is no field %s" % name)
        op = "like" if self._next("like") else self._take("op")
        value = self._take("text", "word")
        if value[:1] == "'":
            value = value[1:-1].replace("''", "'")
        if op == "like":
            like = re.compile(".*".join(map(re.escape, value.split("%"))), re.DOTALL)
            return lambda row: like.fullmatch(row.get(name, "")) is not None
        try:
            compare = _COMPARE[op]
        except KeyError:
            raise ValueError("condition: %r compares nothing" % op)

        def test(row):
            given = row.get(name, "")
            if given.isdigit() and value.isdigit():
                return compare(int(given), int(value))
            return compare(given, value)

        return test


_COMPARE = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


# ---- the requests


class Api:
    """The paths for a model.Cloud, to be added to a web.Web."""

    def __init__(self, digi):
        self.digi = digi

    def add_to(self, site):
        def add(method, path, handler):
            site.add(method, path, handler, guard=self._admitted)

        for tail in ("", "/", ".json", "/.json", ".xml", "/.xml"):
            add("GET", "/ws/Monitor" + tail, self._list)
            add("GET", "/ws/DeviceCore" + tail, self._list_devices)
        for tail in ("", "/"):
            add("POST", "/ws/Monitor" + tail, self._create)
        one = r"/ws/Monitor/{id:[0-9]{1,10}}{suffix:(\.json|\.xml)?}"
        add("GET", one, self._get)
        add("PUT", one, self._update)
        add("DELETE", one, self._delete)
        for method in ("PUT", "POST"):
            add(method, "/ws/v1/monitors/inventory/{id:[0-9]{1,10}}/reset", self._reset)

    @contextlib.contextmanager
    def _admitted(self, request):
        """Who it is, and whether that may be asked now, beside what else is asked."""
        if not self._authorised(request):
            raise Refused(401, "user name or password is wrong")
        with self.digi.request():
            if "onitor" in request.path:
                self.digi.check_subscription()
            yield

    def _authorised(self, request):
        try:
            given = web.basic_auth(request)
        except ValueError:
            return False
        return given is not None and self.digi.knows(*[text.encode() for text in given])

    async def _read_monitor(self, request):
        body = await request.read()
        if b"<!" in body:
            raise Refused(400, "a document type is not allowed")
        try:
            root = ET.fromstring(body)
        except (ET.ParseError, ValueError, LookupError) as e:
            raise Refused(400, "the body is not XML: %s" % e)
        if root.tag != "Monitor":
            raise Refused(400, "the body must be a <Monitor>")
        return {child.tag: (child.text or "").strip() for child in root}

    async def _create(self, request):
        monitor = self.digi.make(check_fields(await self._read_monitor(request)))
        await self.digi.durable()
        place = "Monitor/%d" % monitor.id
        body = "<result><location>%s</location></result>" % place
        return _xml_answer(body, 201, {"Location": place})

    def _find(self, request):
        monitor = self.digi.monitors.get(int(request.match_info["id"]))
        if monitor is None:
            raise Refused(404, "there is no monitor %s" % request.match_info["id"])
        return monitor

    async def _get(self, request):
        return _page(request, [self._find(request).row()], "Monitor")

    async def _update(self, request):
        monitor = self._find(request)
        self.digi.change(monitor, await self._read_monitor(request))
        await self.digi.durable()
        return _xml_answer("<result/>")

    async def _reset(self, request):
        self.digi.enable(self._find(request))
        await self.digi.durable()
        return web.json_answer({})

    async def _delete(self, request):
        self.digi.remove(self._find(request))
        await self.digi.durable()
        return _xml_answer("<result><message>1 items deleted</message></result>")

    async def _list(self, request):
        monitors = self.digi.monitors.values()
        return _page(request, [monitor.row() for monitor in monitors], "Monitor")

    async def _list_devices(self, request):
        rows = [_flat(device) for device in self.digi.devices.values()]
        return _page(request, rows, "DeviceCore")


def _flat(device):
    row = {key: str(value) for key, value in device.items() if key != "id"}
    row.update({key: str(value) for key, value in device["id"].items()})
    return row


def _xml_answer(body, status=200, headers=None):
    return aioweb.Response(
        body=xml_document(body),
        status=status,
        headers=headers,
        content_type="application/xml",
        charset="ISO-8859-1",
    )


def _page(request, rows, element):
    """A list as the legacy resources give it; every value in JSON is a string."""
    query = request.query
    try:
        if "condition" in query:
            condition = Condition(query["condition"])
            rows = [row for row in rows if condition(row)]
        start = int(query.get("start", 0))
        size = int(query.get("size", PAGE))
        if start < 0 or not 0 < size <= PAGE:
            raise ValueError("start or size is out of range")
    except ValueError as e:
        raise Refused(400, str(e))
    page = rows[start : start + size]
    head = {
        "resultTotalRows": str(len(rows)),
        "requestedStartRow": str(start),
        "resultSize": str(len(page)),
        "requestedSize": str(size),
        "remainingSize": str(max(0, len(rows) - start - len(page))),
    }
    accept = request.headers.get("Accept", "")
    if request.path.endswith(".json") or "application/json" in accept:
        return web.json_answer(dict(head, items=page))
    body = "".join(to_xml(name, value) for name, value in head.items())
    body += "".join(to_xml(element, row) for row in page)
    return _xml_answer("<result>%s</result>" % body)
