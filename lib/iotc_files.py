# iotc_files: sends a file of any size to the storage that an Azure IoT Hub names for it.
#
# Stands on rest and iotc_wire, beside a Device of iotc. Three parties take part: the hub names a
# place in Azure Storage and hands out a signature for it; the storage takes the file, a slice at
# a time; the hub is told how it ended, and tells the service side. A slice is a block of a block
# blob: what the storage has acknowledged stays there for a week, whoever was cut off meanwhile.
#
# Nothing is ever whole in memory, neither the file nor the list of its slices. The signature of
# the storage stays in this object: it is in no text, and not in the state that a program may keep.

import binascii
import gc
import hashlib
import os
import time

import json_text
from iotc_wire import plain, quote, token, unix_time
from micropython import const
from rest import Session

_API_VERSION = "?api-version=2021-04-12"
_SLICES_MAX = const(50000)  # blocks of a blob
_SLICE = const(32768)  # bytes of a slice
# What lwIP's memory takes while nothing is heard of the peer: the larger slices of other boards
# could block it (see netstream).
_SLICE_BOUNDED = const(2048)
_PIECE = const(512)  # bytes that are read from the file at once
_ITEMS = const(10)  # of the list of slices, sent at once
_NAME_MAX = const(1024)
_ANSWER_MAX = const(4096)
_SAID_MAX = const(200)  # characters of a service's own words in an error
_PAUSE_MAX_S = const(64)
_DAY_S = const(86400)  # a Retry-After beyond it is taken to be a mistake
_LIMIT_S = const(900)  # for one slice; what counts is `timeout`, since the last progress

# HTTP statuses. A number below the first one in an OSError is the network's.
_REFUSED = const(400)
_UNAUTHORIZED = const(401)
_FORBIDDEN = const(403)
_NOT_FOUND = const(404)
_LATE = const(408)
_BUSY = const(429)
_SERVER = const(500)
_MANY_UPLOADS = const(403006)  # the hub's code: uploads of this device that it was not told of

_CURES = {
    _REFUSED: "does the hub have a storage account for file uploads, and is the name a blob's?",
    _UNAUTHORIZED: "check this board's clock, and that the key or certificate is this device's",
    _NOT_FOUND: "is the device known to that hub?",
    _MANY_UPLOADS: "ten uploads of this device are open: those never finished end within the hour",
}


def _last(steps):
    # Drives a generator of rest; returns its result.
    for result in steps:
        if result is not None:
            return result
        yield


def _check_name(name):
    parts = name.split("/") if isinstance(name, str) and len(name) <= _NAME_MAX else ("",)
    if "" in parts or "." in parts or ".." in parts:
        raise ValueError(
            "name: the blob's, 1 to %d characters, no empty or dotted part between its slashes"
            % _NAME_MAX
        )
    return name


def _is_temporary(code):
    # The network's error, or a service that is busy or out of order.
    if not isinstance(code, int) or code < _REFUSED:
        return True
    return code in (_LATE, _BUSY) or code >= _SERVER


class Upload:
    """
    One file on its way to the storage of a device's IoT Hub.

    device: an iotc.Device that has been connected, so that it knows its hub; it may be connected
    now, or not. path: the file; nobody may write to it meanwhile. name: what the blob is called,
    behind the device's own id; default: the file's name. state: what `state` was before a reboot,
    to go on from there; it is passed over when the file is another one by now, and all slices are
    sent anew when `slice` is set to another number than it was.
    Raises ValueError for a file that can't be read, and for a name that no blob can have.

    Settings, on the class or on one upload:
    server        "host:port" to dial in place of hub and storage (a local cloud, a gateway).
                  Their certificates must still carry their own names
    slice         bytes of a slice; 0 chooses: 32768, on boards with lwIP 2048. Looked at whenever
                  the hub names a place
    timeout       seconds without progress, for each wait
    tries         attempts in a row without a slice more, until do_next() raises
    content_type  of the blob

    size: bytes of the file. sent: how many the storage has acknowledged. done: the file is there
    and the hub was told; it stays False after give_up(). error: the last thing that went wrong and
    was tried again, or None.
    """

    server = None
    slice = 0
    timeout = 60
    tries = 6
    content_type = "application/octet-stream"
    error = None
    done = False
    sent = 0

    _id = None  # the hub's, for this upload
    _place = None  # path and signature of the blob, behind the storage's name
    _storage = None  # that name
    _cut = 0  # bytes of the slices that `sent` is counted in
    _stored = False  # the blob is there
    _ended = False  # nothing is left to do: done, or the hub knows of give_up()
    _renewed = False  # the signature, since the last slice that was taken
    _anew = False  # all slices had to be sent a second time
    _why = None  # the program has given up, for this reason
    _retry_after = None  # seconds that a service has asked for
    _steps = None  # a generator: what is under way
    _session = None
    _at = None  # the host that _session leads to

    def __init__(self, device, path, name=None, state=None):
        self._device = device
        self._path = path
        self._name = _check_name(name or path.split("/")[-1])
        try:
            self.size, self._stamp = _size_and_stamp(path)
            # A directory has a size, too.
            with open(path, "rb") as file:
                file.read(1)
        except OSError:
            raise _unreadable(path)
        if state:
            self._take_up(state)

    def _take_up(self, state):
        get = state.get if isinstance(state, dict) else {}.get
        if get("id") and isinstance(get("id"), str):
            # Whatever becomes of it: the hub must be told that this one has ended.
            self._id = get("id")
        slice = get("slice")
        sent = get("sent")
        if (
            (get("name"), get("size"), get("stamp")) == (self._name, self.size, self._stamp)
            and isinstance(slice, int)
            and isinstance(sent, int)
            and slice > 0
            and 0 <= sent <= self.size
            and (sent == self.size or sent % slice == 0)
        ):
            self.slice = self._cut = slice
            self.sent = sent

    @property
    def state(self):
        """
        What to keep (a dict for JSON, with nothing secret in it) so that a program can go on after
        a reboot. It changes whenever `sent` does.
        """
        return {
            "id": self._id,
            "name": self._name,
            "size": self.size,
            "stamp": self._stamp,
            "slice": self._cut,
            "sent": self.sent,
        }

    def do_next(self, wait_ms=0):
        """
        One bounded step. Waits at most wait_ms when there is nothing to do. Returns whether the
        upload has ended: it is `done`, or the hub was told of give_up().

        What may pass by itself (network, a busy service) is tried again by itself, with growing
        pauses. Raises OSError once that was in vain `tries` times in a row, and for a refusal: its
        text says what to do; the next call of do_next() goes on where this one stopped. Raises
        ValueError when the file has changed (in size, or in its time stamp where the file system
        keeps one) or can't be read: make another Upload; and when the device has never been
        connected.
        """
        if self._ended:
            return True
        if not self._device.getHostName():
            raise ValueError("device: it knows no hub yet: call its connect()")
        # Put aside meanwhile: one that raised is not asked again.
        steps = self._steps or self._work()
        self._steps = None
        good = False
        try:
            worked = next(steps)
            self._steps = steps
            good = True
        except StopIteration:
            self._ended = True
            self.done = self._why is None
        finally:
            if not good:
                self.close()
        if not (self._ended or worked):
            self._wait(wait_ms)
        return self._ended

    def _wait(self, ms):
        if self._session:
            self._session.wait(ms)
        else:
            time.sleep_ms(ms)

    def run(self):
        """Do all of it, and return when it has ended. Blocks. Raises what do_next() does."""
        while not self.do_next(50):
            pass

    def give_up(self, why="given up by the device"):
        """
        Let do_next() tell the hub, in place of all else, that there will be no file: a hub lets
        ten uploads of a device be open at once. why: a text for the service side. do_next()
        returns True once the hub knows; `done` stays False, and the file where it is.
        """
        self.close()
        self._steps = self._retry_after = None
        self._why = why

    def close(self):
        """Close the connection, if there is one; do_next() opens the next."""
        session, self._session = self._session, None
        self._at = None
        if session:
            session.close()

    # -- the order of things

    def _work(self):
        # A generator of do_next()'s steps: True where it has worked, None where it waits.
        failures = 0
        while True:
            before = self.sent
            try:
                yield from self._attempt()
                self.error = None
                return
            except OSError as e:
                self.close()
                code = e.args[0] if e.args else None
                if not _is_temporary(code):
                    raise  # only somebody else can mend this
                failures = 1 if self.sent > before else failures + 1
                if failures >= self.tries:
                    raise
                self.error = e
            except ValueError as e:
                yield from self._tell_quietly(0, str(e))
                raise
            pause, self._retry_after = self._retry_after, None
            if pause is None:
                pause = min(1 << failures - 1, _PAUSE_MAX_S)
            yield from self._rest(pause * 1000)

    def _rest(self, ms):
        start = time.ticks_ms()
        while time.ticks_diff(time.ticks_ms(), start) < ms:
            yield

    def _attempt(self):
        if self._why is not None:
            yield from self._tell_of_failure(0, self._why)
            return
        if not self._stored:
            self._check_file()  # before the hub opens an upload for nothing
        if self._id and not self._place:
            # Of a program that was rebooted, or its signature has ended.
            yield from self._tell_of_failure(0, "begun anew")
        if not self._place:
            yield from self._begin()
            if not self._stored:
                self._choose_slice()
        while self.sent < self.size:
            yield from self._put_slice()
        if not self._stored:
            yield from self._put_list()
        code = yield from self._notify(True, 200, "uploaded")
        if code >= _REFUSED:
            # The hub has forgotten this upload. The blob is there: told under a new id.
            self._id = self._place = None
            yield from self._begin()
            code = yield from self._notify(True, 200, "uploaded")
        if code >= _REFUSED:
            self._id = self._place = None
            raise OSError(code, "hub: it doesn't take the news that the file is there (%d)" % code)

    def _tell_quietly(self, code, why):
        try:
            yield from self._tell_of_failure(code, why)
        except OSError:
            pass

    def _tell_of_failure(self, code, why):
        # A hub that has forgotten this upload needs no telling.
        if self._id:
            yield from self._notify(False, code, why)
        self._id = self._place = None

    # -- the hub

    def _ask_hub(self, path, value):
        device = self._device
        host = device.getHostName()
        # A device to which Azure issues its certificate is known at the hub by that, and only so.
        issued = device.certificate_file
        session = self._lead_to(host, (issued, issued) if issued else device._cert)
        id = quote(device._id)
        headers = {}
        if device._key and not issued:
            end = unix_time() + device._lifetime
            headers["Authorization"] = token(device._key, quote(host + "/devices/") + id, end)
        body = json_text.dumps(value)
        path = "/devices/" + id + path + _API_VERSION
        response = yield from _last(session.start("POST", path, body, headers))
        said = yield from _last(response.whole(_ANSWER_MAX))
        return response, said

    def _begin(self):
        response, said = yield from self._ask_hub("/files", {"blobName": self._name})
        if response.status >= 300:
            code, words = _hub_error(said)
            cure = _CURES.get(code) or _CURES.get(response.status, "")
            self._refuse(response, "hub: no upload: %s %s; %s" % (code, words, cure))
        try:
            place = json_text.loads(said)
            id = place["correlationId"]
            signature = place["sasToken"].lstrip("?")
            host = place["hostName"]
            blob = "/".join([quote(part) for part in place["blobName"].split("/")])
            path = "/" + quote(place["containerName"]) + "/" + blob + "?" + signature
            good = plain(host, ".-:") and plain(signature, "-._~%&=+/:,") and id[0]
        except (ValueError, LookupError, AttributeError, TypeError):
            good = False
        if not good:
            raise OSError(_SERVER, "hub: an answer without what it should say about the storage")
        self._id = id
        self._storage = host
        self._place = path

    def _choose_slice(self):
        # Right after the hub's answer: its session knows the board's kind of network.
        if self.slice <= 0 or self.slice * _SLICES_MAX < self.size:
            usual = _SLICE_BOUNDED if self._session.bounded else _SLICE
            self.slice = max(usual, (self.size + _SLICES_MAX - 1) // _SLICES_MAX)
        if self.slice != self._cut:
            # What lies in the storage was cut otherwise: its numbers mean other bytes.
            self._cut = self.slice
            self.sent = 0

    def _notify(self, good, code, why):
        # Returns 0, or the status with which the hub has refused the news itself.
        value = {
            "correlationId": self._id,
            "isSuccess": good,
            "statusCode": code,
            "statusDescription": why,
        }
        response, said = yield from self._ask_hub("/files/notifications", value)
        if response.status < 300:
            return 0
        if response.status == _UNAUTHORIZED or _is_temporary(response.status):
            code, words = _hub_error(said)
            cure = _CURES.get(response.status, "try again later")
            self._refuse(response, "hub: notification: %s %s; %s" % (code, words, cure))
        return response.status

    # -- the storage

    def _ask_storage(self, query, body, headers):
        session = self._lead_to(self._storage, None)
        response = yield from _last(session.start("PUT", self._place + query, body, headers))
        yield from _last(response.whole(_ANSWER_MAX))
        if response.status < 300:
            return
        # The storage's own word for it. Its body is not for a text: it may quote the signature.
        word = response.headers.get("x-ms-error-code", "")
        status = response.status
        if word == "Md5Mismatch":
            self._refuse(response, "storage: a slice was damaged on its way", _SERVER)
        if word in ("InvalidBlockList", "InvalidBlobOrBlock") and not self._anew:
            # Slices that were sent long ago are gone, or others lie in their place.
            self._anew = True
            self.sent = 0
            self._refuse(response, "storage: slices are missing: all are sent again", _SERVER)
        if status == _FORBIDDEN and not self._renewed:
            # Most likely the signature has ended: the hub gives another, the slices stay.
            self._renewed = True
            self._place = None
            self._refuse(response, "storage: 403 %s: the signature has ended" % word, _SERVER)
        text = (
            "storage: refused: %d %s; check the storage account of the hub, its container and"
            " firewall" % (status, word)
        )
        if not _is_temporary(status):
            yield from self._tell_quietly(status, text)
        self._refuse(response, text)

    def _check_file(self):
        try:
            same = _size_and_stamp(self._path) == (self.size, self._stamp)
        except OSError:
            raise _unreadable(self._path)
        if not same:
            raise ValueError("file %s has changed" % self._path)

    def _put_slice(self):
        self._check_file()
        start = self.sent
        length = min(self._cut, self.size - start)
        buf = memoryview(bytearray(_PIECE))
        try:
            file = open(self._path, "rb")
        except OSError:
            raise _unreadable(self._path)
        with file:

            def pieces():
                left = length
                file.seek(start)
                while left:
                    try:
                        n = file.readinto(buf[: min(left, _PIECE)])
                    except OSError:
                        # Not the network's, which would be tried again.
                        raise _unreadable(self._path)
                    if not n:
                        raise ValueError("file %s has changed: it is shorter" % self._path)
                    yield buf[:n]
                    left -= n

            headers = {"Content-Type": "application/octet-stream"}
            md5 = getattr(hashlib, "md5", None)
            if md5:
                # Not every firmware has it.
                md5 = md5()
                for piece in pieces():
                    md5.update(piece)
                    yield True
                headers["Content-MD5"] = binascii.b2a_base64(md5.digest()).decode().strip()
            query = "&comp=block&blockid=" + _block_id(start // self._cut).decode()
            yield from self._ask_storage(query, (length, pieces), headers)
        self.sent = start + length
        self._renewed = False

    def _put_list(self):
        # "Latest": where an answer was lost the blob is there already, made of the same slices.
        self._check_file()
        count = (self.size + self._cut - 1) // self._cut
        first = b'<?xml version="1.0" encoding="utf-8"?><BlockList>'
        last = b"</BlockList>"
        length = len(first) + count * len(_list_item(0)) + len(last)

        def pieces():
            yield first
            # A few at once: each piece of its own would cost the network 150 bytes of memory.
            for n in range(0, count, _ITEMS):
                yield b"".join([_list_item(i) for i in range(n, min(n + _ITEMS, count))])
            yield last

        headers = {
            "Content-Type": "application/xml",
            "x-ms-blob-content-type": self.content_type,
        }
        yield from self._ask_storage("&comp=blocklist", (length, pieces), headers)
        self._stored = True

    # -- both

    def _lead_to(self, host, certificate):
        # The session with this host; the one with another host is closed: there may be no memory
        # for two.
        if self._at != host:
            self.close()
            gc.collect()
            device = self._device
            ssl = False
            if device.tls:
                ssl = {"ca": device.ca, "server_hostname": host.split(":")[0]}
                if certificate:
                    ssl["cert"], ssl["key"] = certificate
            dial = self.server or host
            self._session = Session(dial, 0, ssl, timeout=self.timeout, limit=_LIMIT_S)
            self._at = host
        return self._session

    def _refuse(self, response, text, code=None):
        # Raises; what the service asks for is kept for the pause that may follow.
        try:
            self._retry_after = max(0, min(int(response.headers["retry-after"]), _DAY_S))
        except (KeyError, ValueError):
            pass
        raise OSError(code or response.status, text)


def _size_and_stamp(path):
    # By these a file is known to be the same one. The stamp is 0 where the port has none.
    stat = os.stat(path)
    return stat[6], int(stat[8])


def _unreadable(path):
    return ValueError("can't read file " + path)


def _block_id(n):
    # All of a blob's are of one length. Of six digits base64 needs no percent-encoding.
    return binascii.b2a_base64(b"%06d" % n)[:-1]


def _list_item(n):
    return b"<Latest>%s</Latest>" % _block_id(n)


def _hub_error(said):
    # (code, text) of {"errorCode": ..., "message": ...}, which may stand as a text in
    # {"Message": ...}.
    code = words = ""
    try:
        value = json_text.loads(said)
        inner = value.get("Message")
        if isinstance(inner, str):
            words = inner
            if inner[:1] == "{":
                value = json_text.loads(inner)
        code = value.get("errorCode", "")
        words = str(value.get("message") or words)
    except (ValueError, AttributeError):
        pass
    return code, words[:_SAID_MAX]
