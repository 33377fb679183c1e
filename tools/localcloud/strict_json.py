"""
JSON as RFC 8259 has it. Python's own reader takes NaN, and makes an infinity of 1e999; what it
writes of them is an answer that no client can read, long after the message was taken.
"""

import json
import re

DEPTH = 100  # most arrays and objects inside each other: what is written of it must not end deeper
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def loads(text):
    """
    The value of a JSON text (str or bytes; a byte order mark is passed over). ValueError for what
    is none, for more than DEPTH levels, and for numbers beyond the range of floats.
    """
    if isinstance(text, (bytes, bytearray)):
        text = bytes(text).decode("utf-8-sig")
    elif text[:1] == "\ufeff":
        text = text[1:]
    if text.count("[") + text.count("{") > DEPTH:
        _check_depth(text)
    return json.loads(text, parse_constant=_refuse, parse_float=_number)


def _check_depth(text):
    depth = 0
    for mark in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if mark in "[{" else -1
        if depth > DEPTH:
            raise ValueError("more than %d levels" % DEPTH)


def _refuse(constant):
    raise ValueError("%s is not JSON" % constant)


def _number(text):
    value = float(text)
    if value in (float("inf"), -float("inf")):
        raise ValueError("%s is too large" % text[:20])
    return value
