"""
JSON for people, as json.dumps(value, sort_keys=True, indent=4) writes it in Python.

MicroPython's json knows neither argument. In place of the documents' callback:

    from idigi_pretty import pretty

    def json_cb(data):
        print("Data Received %s" % pretty(data))
"""

import json

from netstream import load_once


def pretty(data, indent=4):
    """
    Return JSON with sorted keys, an element on each line.

    data: JSON as bytes or str (a byte order mark is passed over), or the value itself: a dict, a
    list and so on. indent: spaces for each level. Characters that aren't ASCII stay as they are.
    Raises ValueError for what is no JSON, or is nested too deep.
    """
    try:
        if isinstance(data, (str, bytes, bytearray)):
            data = load_once("json_text").loads(data)
        return _lines(data, "\n", " " * indent)
    except RuntimeError:
        raise ValueError("JSON is nested too deep to be printed")


def _lines(value, start, step):
    # start: the line end and the spaces before whatever closes this value.
    inner = start + step
    if isinstance(value, dict) and value:
        lines = [
            inner + _scalar(str(key)) + ": " + _lines(value[key], inner, step)
            for key in sorted(value)
        ]
        return "{" + ",".join(lines) + start + "}"
    if isinstance(value, (list, tuple)) and value:
        return "[" + ",".join([inner + _lines(item, inner, step) for item in value]) + start + "]"
    return _scalar(value)


def _scalar(value):
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:  # MicroPython's takes no such argument, and does so anyway
        return json.dumps(value)
