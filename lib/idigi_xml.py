"""
The <Msg> elements of a Digi push block in XML: found by their tags, handed over as they stand.

The part of idigi_messages that is loaded when a block is XML. No XML stack, and no more of the
payload in memory than one message.
"""

from micropython import const

from idigi_errors import BlockError

_SLASH = const(47)


class _Xml:
    # The tags of a document one after the other, and the message that they enclose.

    def __init__(self, source):
        self.source = source
        self.part = bytearray()  # what has not been understood yet, and the present message
        self.at = 0  # where to look on in it
        self.tag = self.end = 0  # where the present tag begins and ends in it
        self.name = b""  # of the present tag, with its / when it closes
        self.start = -1  # where the present message begins in part; -1 outside of one
        self.base = 0  # how deep the present message stands
        self.over = False  # the present message is over the limit: it is passed over
        self.depth = 0
        self.root = b""  # name of the outermost element
        self.closed = False  # the outermost element has ended
        self.found = self.other = False  # there was a message; something else

    def next_tag(self):
        # Go to the next tag. Returns False when it isn't here whole.
        part = self.part
        tag = part.find(b"<", self.at)
        between = part[self.at : tag] if tag >= 0 else part[self.at :]
        if self.start < 0 and between.strip():
            self.other = True
        self.at = self.tag = tag if tag >= 0 else len(part)
        end = _tag_end(part, tag) if tag >= 0 else -1
        if end < 0:
            return False
        self.at = self.end = end
        self.name = _tag_name(part, tag)
        return True

    def count(self):
        # Go into or out of the element of the present tag. Returns whether it ends with the tag.
        name = self.name
        if name[0] in b"!?":  # a comment, a declaration, text that is quoted
            return False
        if name[0] == _SLASH:
            self.depth -= 1
            if self.depth < 0 or not self.depth and name[1:] != self.root:
                raise BlockError("XML is damaged: <%s> closes nothing" % str(name, "utf-8"))
            self.closed = not self.depth
            return True
        if self.closed:
            raise BlockError("XML is damaged: something stands behind its end")
        if not self.depth:
            self.root = name
        if self.start < 0:
            if name == b"Msg" and self.root == (b"Document" if self.depth == 1 else name):
                self.start = self.tag
                self.base = self.depth
            elif self.depth or name != b"Document":
                self.other = True
        if self.part[self.end - 2] == _SLASH:
            self.closed = not self.depth
            return True
        self.depth += 1
        return False

    def message(self):
        # The message that ends with the present tag; None when none does, or it can't be used.
        if self.start < 0 or self.depth != self.base:
            return None
        start, self.start = self.start, -1
        over, self.over = self.over, False
        self.found = True
        if over or self.end - start > self.source.limit:
            self.source.spoil("over the limit of %d bytes" % self.source.limit)
        elif self.name not in (b"Msg", b"/Msg"):
            self.source.spoil("<%s> closes it" % str(self.name, "utf-8"))
        else:
            return bytes(memoryview(self.part)[start : self.end])
        return None

    def shrink(self):
        # Only the present message stays, as long as it is within the limit.
        limit = self.source.limit
        if self.start >= 0 and self.at - self.start > limit:
            self.over = True
        keep = self.at if self.start < 0 or self.over else self.start
        self.part = self.part[keep:]
        self.at -= keep
        self.start = min(self.start, 0)
        if len(self.part) - self.at > limit:
            raise BlockError("XML with a tag over the limit of %d bytes" % limit)


def elements(source):
    """A generator of the messages, bytes. source: what idigi_messages reads the payload with."""
    xml = _Xml(source)
    while source.fill():
        xml.part += memoryview(source.buf)[source.at : source.end]
        source.at = source.end
        while xml.next_tag():
            message = xml.message() if xml.count() else None
            if message:
                yield message
        xml.shrink()
    if not xml.closed:
        raise BlockError("XML ends too early")
    if xml.other and not xml.found:
        raise BlockError("XML without a <Msg>")


def _tag_end(part, tag):
    # The index behind the tag that begins at `tag`, -1 when it isn't here whole.
    for opening, closing in ((b"<!--", b"-->"), (b"<![CDATA[", b"]]>")):
        front = bytes(part[tag : tag + len(opening)])
        if front == opening:
            end = part.find(closing, tag + len(opening))
            return end + 3 if end >= 0 else -1
        if opening.startswith(front):
            return -1  # it may become one
    at = tag + 1
    while True:
        end = part.find(b">", at)
        if end < 0:
            return -1
        # An attribute's text may hold a > between its quotes.
        quotes = [i for i in (part.find(b'"', at, end), part.find(b"'", at, end)) if i >= 0]
        if not quotes:
            return end + 1
        first = min(quotes)
        at = part.find(part[first : first + 1], first + 1) + 1
        if not at:
            return -1


def _tag_name(part, tag):
    # The name in a tag: "/Msg" of one that closes, "!" or "?" of one that is no element.
    if part[tag + 1] in b"!?":
        return bytes(part[tag + 1 : tag + 2])
    end = tag + 1
    if part[end] == _SLASH:
        end += 1
    while part[end] not in b"> \t\r\n/":
        end += 1
    name = bytes(part[tag + 1 : end])
    if name in (b"", b"/"):
        raise BlockError("XML is damaged: a tag without a name")
    return name
