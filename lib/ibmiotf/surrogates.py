"""
Characters beyond U+FFFF in JSON from others, loaded when a message has \\u escapes: Python's json
writes an emoji as two, \\ud83d\\ude00, which MicroPython's reads as two characters that are none.
"""


def join(payload):
    """
    Return a JSON payload (bytes) with such pairs as the one UTF-8 character that they mean; half a
    pair becomes U+FFFD. Raises ValueError for an escape that isn't four hex digits.
    """
    parts = payload.split(b"\\")
    out = [parts[0]]
    high = 0
    i = 1
    while i < len(parts):
        part = parts[i]
        i += 1
        if not part and i < len(parts):  # an escaped backslash: what follows it is plain text
            out.append(b"\\\\" + parts[i])
            i += 1
            continue
        if part[:2] in (b"ud", b"uD") and part[2:3] > b"7":
            code = int(part[1:5], 16)
            if code < 0xDC00 and parts[i : i + 1] and parts[i][:2] in (b"ud", b"uD"):
                low = int(parts[i][1:5], 16)
                if len(part) == 5 and low >= 0xDC00:
                    high = code
                    continue
            code = 0x10000 + ((high & 0x3FF) << 10) + (code & 0x3FF) if high else 0xFFFD
            high = 0
            out.append(chr(code).encode() + part[5:])
        else:
            out.append(b"\\" + part)
    return b"".join(out)
