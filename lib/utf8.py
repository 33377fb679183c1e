# utf8: whether bytes are the UTF-8 that everybody else reads. MicroPython's own decoder looks at
# the structure only.


def is_text(data):
    """
    Return whether data (bytes) is UTF-8 without NUL, as MQTT 3.1.1 (1.5.3) and RFC 3629 ask for:
    no surrogates, no longer form than needed, nothing beyond U+10FFFF. Empty data is.
    """
    if not data or 0 < min(data) and max(data) < 0x80:
        return True
    try:
        str(data, "utf-8")
    except UnicodeError:
        return False
    if not min(data) or max(data) > 0xF4 or b"\xc0" in data or b"\xc1" in data:
        return False
    # What may follow these bytes has a bound of its own: from below after the first and the third
    # (a longer form than needed), from above after the others (surrogates, too large).
    for i in range(4):
        lead = b"\xe0\xed\xf0\xf4"[i : i + 1]
        at = data.find(lead)
        while at >= 0:
            is_high = data[at + 1] >= b"\xa0\xa0\x90\x90"[i]
            if is_high == (i & 1):
                return False
            at = data.find(lead, at + 1)
    return True
