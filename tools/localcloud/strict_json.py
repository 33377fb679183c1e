"""
JSON as RFC 8259 has it. Python's own reader takes NaN, and makes an infinity of 1e999; what it
writes of them is an answer that no client can read, long after the message was taken.
"""

import json


def loads(text):
    """The value of a JSON text (str or bytes). ValueError for what is none; RecursionError."""
    return json.loads(text, parse_constant=_refuse, parse_float=_number)


def _refuse(constant):
    raise ValueError("%s is not JSON" % constant)


def _number(text):
    value = float(text)
    if value in (float("inf"), -float("inf")):
        raise ValueError("%s is too large" % text[:20])
    return value
