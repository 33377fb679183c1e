"""What the tests of a push block's messages share: a stream in pieces, and what is taken of it."""

import workshop
from cpython_port import Port

PORT = Port([str(workshop.LIB), str(workshop.DEVICE_LIB)])
MESSAGES = PORT.load("idigi_messages").messages
BLOCK_ERROR = PORT.load("idigi_errors").BlockError


class Pieces:
    """A stream that gives `data` in pieces of these sizes, over and over."""

    def __init__(self, data, sizes):
        self.data = data
        self.sizes = sizes
        self.count = 0

    def readinto(self, buf):
        size = min(self.sizes[self.count % len(self.sizes)], len(buf), len(self.data))
        self.count += 1
        buf[:size] = self.data[:size]
        self.data = self.data[size:]
        return size


def taken(data, limit=32768):
    """(the messages, the text of the BlockError or None)"""
    found = []
    try:
        for message in MESSAGES(data, limit):
            found.append(message)
    except BLOCK_ERROR as e:
        return found, str(e)
    return found, None
