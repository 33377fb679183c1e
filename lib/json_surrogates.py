# json_surrogates: \u escapes that are halves of surrogate pairs. json_text loads it for a text
# that has one, and lets it go again: MicroPython's json would make two characters of an emoji.

from binascii import unhexlify


def _unit(data, at):
    # The UTF-16 unit of a \u escape, or 0 if none starts there.
    if data[at : at + 2] != b"\\u":
        return 0
    high, low = unhexlify(data[at + 2 : at + 6])
    return high << 8 | low


def joined(data, plain):
    """
    Return data with each pair of halves as its character, and a half alone as U+FFFD.

    data: a JSON text (bytes) whose escapes are good. plain: the same without escaped backslashes
    and quotation marks, of equal length.
    """
    text = b""
    done = 0  # up to here `text` has it
    at = plain.find(b"\\u")
    while at >= 0:
        end = at + 6
        unit = _unit(plain, at)
        if unit & 0xF800 == 0xD800:
            low = _unit(plain, end)
            character = 0xFFFD
            if unit < 0xDC00 and low & 0xFC00 == 0xDC00:
                character = 0x10000 + ((unit & 0x3FF) << 10 | low & 0x3FF)
                end += 6
            text += data[done:at] + chr(character).encode()
            done = end
        at = plain.find(b"\\u", end)
    return text + data[done:]
