"""
File upload of the local Azure: what IoT Hub does for it (start, notification), and a storage
account that takes block blobs. All of it is HTTPS, on the cloud's common ports.

    POST /devices/{id}/files                 {"blobName"} -> correlation id, place and signature
    POST /devices/{id}/files/notifications   {"correlationId", "isSuccess", ...} -> 204
    PUT  /device-files/{blob}?<signature>    Put Blob; comp=block: Put Block; comp=blocklist

A device shows its token (`Authorization`) or its certificate. The storage account is called
ACCOUNT; a client that dials this cloud in its place finds that name in the certificate.

Choices where the real services' documents are silent: a notification about an unknown or ended
upload is answered 404 (404010); blobs lie in memory, at most KEPT bytes in all.
"""

import asyncio
import base64
import binascii
import email.utils
import hashlib
import hmac
import re
import secrets
import time
import urllib.parse
import uuid

from aiohttp import web as http

from .. import pki, strict_json, web
from ..mqtt.server import Close
from ..refused import Refused as Failure
from .model import Refused, utc, why_not

ACCOUNT = "picolinkfiles.blob.core.windows.net"
CONTAINER = "device-files"
SERVICE_VERSION = "2018-03-28"  # of the storage's protocol: what a signature is for
ACTIVE_MAX = 10  # uploads of one device that are open at once
NAME_MAX = 1024
BLOCKS_MAX = 50000
BLOCK_ID_MAX = 64
BLOCK_SIZE = 16 << 20
KEPT = 256 << 20
SIGNED_FOR = 3600  # seconds; a hub's setting, 1 minute to 24 hours
_CHUNK = 65536


class Stored(Exception):
    """The storage's refusal: status and its own error code."""

    def __init__(self, status, word, retry_after=None):
        self.status = status
        self.word = word
        self.retry_after = retry_after
        super().__init__(word)


class Blob:
    """What came: blocks by id, and the content once it was put together."""

    def __init__(self):
        self.blocks = {}  # uncommitted ones: id -> bytes
        self.committed = {}  # id -> bytes
        self.content = None
        self.type = None
        self.at = None
        self.etag = None


class Files:
    """
    The hubs' uploads and the storage. azure: an azure.Azure, whose fault(), now() and signed_for
    (seconds that a signature of the storage, and so an upload, lasts) it uses.
    """

    def __init__(self, azure):
        self.azure = azure
        self.blobs = {}  # name -> Blob
        self.notifications = []  # as the service side gets them
        self.statuses = []  # all that devices have said, refusals included
        self.taken = []  # what the storage has been asked for and has done: (comp, bytes)
        self._active = {}  # correlation id -> (device id, blob name, end)
        self._key = secrets.token_bytes(32)

    # ---- the hub

    def start(self, device, name):
        """A new upload: what the device gets for it."""
        parts = name.split("/") if isinstance(name, str) else [""]
        if not 0 < len(name or "") <= NAME_MAX or set(parts) & {"", ".", ".."}:
            raise Refused(400, "blobName: 1 to %d characters" % NAME_MAX, 400004)
        self._drop_ended()
        if sum(owner == device.id for owner, _, _ in self._active.values()) >= ACTIVE_MAX:
            raise Refused(403, "Number of active file upload requests exceeded limit", 403006)
        blob = device.id + "/" + name
        end = int(self.azure.now()) + self.azure.signed_for
        correlation = base64.b64encode(secrets.token_bytes(24) + blob.encode()).decode()
        self._active[correlation] = device.id, blob, end
        return {
            "correlationId": correlation,
            "hostName": ACCOUNT,
            "containerName": CONTAINER,
            "blobName": blob,
            "sasToken": self._signature(blob, end),
        }

    def _drop_ended(self):
        now = self.azure.now()
        for correlation, (_, _, end) in list(self._active.items()):
            if end <= now:
                del self._active[correlation]

    def active(self, device):
        self._drop_ended()
        return [blob for owner, blob, _ in self._active.values() if owner == device.id]

    def notify(self, device, value):
        """A device says how an upload has ended."""
        correlation, good = value.get("correlationId"), value.get("isSuccess")
        if not isinstance(correlation, str) or not isinstance(good, bool):
            raise Refused(400, "correlationId and isSuccess are needed", 400004)
        self._drop_ended()
        owner, name, _ = self._active.get(correlation, (None, None, None))
        said = {
            "device": device.id,
            "good": good,
            "code": value.get("statusCode"),
            "text": value.get("statusDescription"),
            "known": owner == device.id,
        }
        self.statuses.append(said)
        if owner != device.id:
            raise Refused(404, "there is no such upload, or it has ended", 404010)
        blob = self.blobs.get(name)
        if good and (blob is None or blob.content is None):
            raise Refused(400, "the file is not in the storage", 400004)
        del self._active[correlation]
        if good:
            self.notifications.append(
                {
                    "deviceId": device.id,
                    "blobUri": "https://%s/%s/%s" % (ACCOUNT, CONTAINER, name),
                    "blobName": name,
                    "lastUpdatedTime": utc(blob.at),
                    "blobSizeInBytes": len(blob.content),
                    "enqueuedTimeUtc": utc(time.time()),
                }
            )

    # ---- the storage

    def _signature(self, blob, end):
        ends = utc(end)[:19] + "Z"
        fields = {"sv": SERVICE_VERSION, "sr": "b", "sig": self._sign(blob, ends), "se": ends}
        fields["sp"] = "rw"
        return "?" + urllib.parse.urlencode(fields)

    def _sign(self, blob, ends):
        digest = hmac.digest(self._key, ("%s\n%s\nrw" % (blob, ends)).encode(), "sha256")
        return base64.b64encode(digest).decode()

    def check_signature(self, blob, query):
        """Stored unless the query's signature is for this blob and has not ended."""
        ends = query.get("se", "")
        given = query.get("sig", "").encode()
        if not hmac.compare_digest(given, self._sign(blob, ends).encode()):
            raise Stored(403, "AuthenticationFailed")
        if ends <= utc(self.azure.now()):
            raise Stored(403, "AuthenticationFailed")

    def put_block(self, name, block, data):
        try:
            size = len(base64.b64decode(block, validate=True))
        except (binascii.Error, ValueError):
            raise Stored(400, "InvalidQueryParameterValue")
        if not 0 < size <= BLOCK_ID_MAX:
            raise Stored(400, "InvalidQueryParameterValue")
        blob = self.blobs.setdefault(name, Blob())
        if any(len(other) != len(block) for other in blob.blocks):
            raise Stored(400, "InvalidBlobOrBlock")
        if block not in blob.blocks and len(blob.blocks) >= BLOCKS_MAX * 2:
            raise Stored(409, "BlockCountExceedsLimit")
        self._make_room(len(data))
        blob.blocks[block] = data

    def check_conditions(self, name, headers):
        """Stored when a request wants to make a blob that is there already."""
        blob = self.blobs.get(name)
        if headers.get("If-None-Match") == "*" and blob is not None and blob.content is not None:
            raise Stored(409, "BlobAlreadyExists")

    def put_list(self, name, text, kind):
        items = _block_list(text)
        if len(items) > BLOCKS_MAX:
            raise Stored(400, "BlockListTooLong")
        blob = self.blobs.setdefault(name, Blob())
        found = {}
        content = []
        for where, block in items:
            data = blob.blocks.get(block) if where != "Committed" else None
            if data is None and where != "Uncommitted":
                data = blob.committed.get(block)
            if data is None:
                raise Stored(400, "InvalidBlockList")
            found[block] = data
            content.append(data)
        blob.committed, blob.blocks = found, {}
        self._keep(blob, b"".join(content), kind)

    def put_blob(self, name, data, kind):
        self._make_room(len(data))
        blob = self.blobs.setdefault(name, Blob())
        blob.blocks, blob.committed = {}, {}
        self._keep(blob, data, kind)

    def _keep(self, blob, content, kind):
        blob.content, blob.type = content, kind or "application/octet-stream"
        blob.at = time.time()
        blob.etag = '"0x%s"' % secrets.token_hex(8).upper()

    def _make_room(self, more):
        kept = sum(
            len(blob.content or b"") + sum(map(len, blob.blocks.values()))
            for blob in self.blobs.values()
        )
        if kept + more > KEPT:
            raise Stored(500, "InternalError")


def _block_list(text):
    """[(Latest, Committed or Uncommitted; block id), ...] of a Put Block List's body."""
    try:
        text = text.decode().lstrip("\ufeff")
    except ValueError:
        raise Stored(400, "InvalidXmlDocument")
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text)
    whole = re.fullmatch(r"\s*<BlockList>(.*)</BlockList>\s*", text, re.S)
    if whole is None:
        if re.fullmatch(r"\s*<BlockList\s*/>\s*", text):
            return []
        raise Stored(400, "InvalidXmlDocument")
    item = re.compile(r"\s*<(Latest|Committed|Uncommitted)>([^<]*)</\1>")
    found, at, inner = [], 0, whole.group(1).rstrip()
    while at < len(inner):
        match = item.match(inner, at)
        if match is None:
            raise Stored(400, "InvalidXmlDocument")
        found.append((match.group(1), match.group(2).strip()))
        at = match.end()
    return found


# ---- HTTP


def add_to(site, azure):
    """Add the paths to a web.Web. azure: an azure.Azure."""
    side = _Side(azure)
    site.add("POST", "/devices/{id}/files", side.hub(side.start))
    site.add("POST", "/devices/{id}/files/notifications", side.hub(side.notify))
    site.add("PUT", "/%s/{blob:.+}" % CONTAINER, side.put, whole=False)
    site.control("GET", "/azure/devices/{id}/files", side.show)
    site.control("GET", "/azure/files/{blob:.+}", side.content)


def _reset(request):
    """End the connection in the middle of things."""
    request.transport.abort()
    raise Failure(500, "cut on command")


class _Side:
    def __init__(self, azure):
        self.azure = azure
        self.files = azure.files

    # ---- the hub

    def hub(self, handler):
        """A route of the hub's: only a device gets to the handler; refusals look like Hub's."""

        async def answer(request):
            try:
                if not request.secure:
                    raise Refused(403, "HTTPS only", 403005)
                device = self._device(request)
                return handler(device, await _object(request))
            except Close:
                _reset(request)
            except Refused as e:
                headers = {}
                if getattr(e, "retry_after", None) is not None:
                    headers["Retry-After"] = "%d" % e.retry_after
                # Hub wraps the error of the service behind it.
                inner = e.body().decode()
                return web.json_answer(
                    {"Message": inner, "ExceptionMessage": ""}, e.status, headers
                )

        return answer

    def _device(self, request):
        device = self.azure.registry.find(request.match_info["id"])
        if device is None:
            raise Refused(404, "Device %s not registered" % request.match_info["id"], 404001)
        if not device.enabled:
            raise Refused(401, "Unauthorized", 401002)
        if request.query.get("api-version", "") < "2016":
            raise Refused(400, "api-version is missing", 400004)
        text = request.headers.get("Authorization")
        if text is None:
            tls = request.transport.get_extra_info("ssl_object")
            der = tls.getpeercert(True) if tls is not None else None
            if der is None or not self._knows(device, der):
                raise Refused(401, "Unauthorized", 401002)
        elif not self._is_good(text, device):
            raise Refused(401, "Unauthorized", 401003)
        return device

    def _knows(self, device, der):
        """Whether a certificate is this device's: its own, or one that was issued to it."""
        if pki.thumbprint(der) in device.thumbprints:
            return pki.is_valid(der, self.azure.now())
        return self.azure.certificates.why_not(device, der)[0] is None

    def _is_good(self, text, device):
        now = self.azure.now() - self.azure.grace
        path = "%s/devices/%s" % (device.hub, device.id)
        return why_not(text, path, device.keys, now)[1] is not None

    def _ordered(self, place, device):
        how = self.azure.fault(place, device.id)
        if "status" in how:
            e = Refused(how["status"], "ordered by a test", how.get("code"))
            e.retry_after = how.get("retry_after")
            raise e

    def start(self, device, value):
        self._ordered("hub.files.start", device)
        return web.json_answer(self.files.start(device, value.get("blobName")))

    def notify(self, device, value):
        self._ordered("hub.files.notify", device)
        self.files.notify(device, value)
        return http.Response(status=204)

    # ---- the storage

    async def put(self, request):
        try:
            return await self._put(request)
        except Close:
            _reset(request)
        except Stored as e:
            headers = {"x-ms-error-code": e.word}
            if e.retry_after is not None:
                headers["Retry-After"] = "%d" % e.retry_after
            # The real one quotes what was signed, too.
            text = '<?xml version="1.0" encoding="utf-8"?>'
            text += "<Error><Code>%s</Code><Message>%s</Message></Error>"
            return http.Response(
                text=text % (e.word, request.query.get("sig", "").replace("&", "")),
                status=e.status,
                headers=headers,
                content_type="application/xml",
            )

    async def _put(self, request):
        if not request.secure:
            raise Stored(400, "AccountRequiresHttps")
        name = request.match_info["blob"]
        comp = request.query.get("comp")
        place = {"block": "storage.block", "blocklist": "storage.list"}.get(comp, "storage.blob")
        how = self.azure.fault(place, name.partition("/")[0])
        if "status" in how:
            raise Stored(how["status"], how.get("word", "InternalError"), how.get("retry_after"))
        self.files.check_signature(name, request.query)
        if request.content_length is None:
            raise Stored(411, "MissingContentLengthHeader")
        if comp != "block":
            self.files.check_conditions(name, request.headers)
        data = await self._read(request, how.get("cut"))
        md5 = request.headers.get("Content-MD5")
        if md5 is not None and md5 != base64.b64encode(hashlib.md5(data).digest()).decode():
            raise Stored(400, "Md5Mismatch")
        kind = request.headers.get("x-ms-blob-content-type")
        if comp == "block":
            if not how.get("lost"):
                self.files.put_block(name, request.query.get("blockid", ""), data)
        elif comp == "blocklist":
            self.files.put_list(name, data, kind)
        elif comp is None and request.headers.get("x-ms-blob-type") == "BlockBlob":
            self.files.put_blob(name, data, kind or request.headers.get("Content-Type"))
        else:
            raise Stored(400, "InvalidQueryParameterValue")
        self.files.taken.append((comp, len(data)))
        if how.get("deaf"):
            _reset(request)
        return http.Response(status=201, headers=self._told(name, comp))

    def _told(self, name, comp):
        # What a client may want to know of what it has put.
        headers = {"x-ms-request-id": str(uuid.uuid4()), "x-ms-version": SERVICE_VERSION}
        blob = self.files.blobs.get(name)
        if comp != "block":
            headers["ETag"] = blob.etag
            headers["Last-Modified"] = email.utils.formatdate(blob.at, usegmt=True)
        return headers

    @staticmethod
    async def _read(request, cut):
        if request.content_length > BLOCK_SIZE:
            raise Stored(413, "RequestBodyTooLarge")
        data = bytearray()
        while cut is None or len(data) < cut:
            most = _CHUNK if cut is None else cut - len(data)
            try:
                chunk = await asyncio.wait_for(request.content.read(most), web.BODY_S)
            except asyncio.TimeoutError:
                raise Stored(500, "OperationTimedOut")
            except (ConnectionError, http.RequestPayloadError):
                raise Stored(400, "InvalidInput")  # nobody hears it
            if not chunk:
                return bytes(data)
            data += chunk
        _reset(request)

    # ---- for whoever runs the cloud

    async def show(self, request):
        """What has arrived from a device, and what it has said about it."""
        device = self.azure.registry.find(request.match_info["id"])
        if device is None:
            raise Failure(404, "there is no such device")
        start = device.id + "/"
        files = self.files
        return web.json_answer(
            {
                "blobs": {
                    name: _shown(blob)
                    for name, blob in files.blobs.items()
                    if name.startswith(start)
                },
                "active": files.active(device),
                "statuses": [one for one in files.statuses if one["device"] == device.id],
                "notifications": [
                    one for one in files.notifications if one["deviceId"] == device.id
                ],
            }
        )

    async def content(self, request):
        """A blob's bytes."""
        blob = self.files.blobs.get(request.match_info["blob"])
        if blob is None or blob.content is None:
            raise Failure(404, "there is no such file")
        return http.Response(body=blob.content, content_type="application/octet-stream")


def _shown(blob):
    shown = {"uncommitted": len(blob.blocks), "size": None}
    if blob.content is not None:
        shown.update(
            size=len(blob.content),
            blocks=len(blob.committed),
            type=blob.type,
            md5=hashlib.md5(blob.content).hexdigest(),
        )
    return shown


async def _object(request):
    try:
        value = strict_json.loads(await request.read())
    except ValueError as e:
        raise Refused(400, "the body is not JSON: %s" % e, 400004)
    if not isinstance(value, dict):
        raise Refused(400, "the body is an object", 400004)
    return value
