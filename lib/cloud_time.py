"""
ISO 8601 texts as the time of this board, for the watchers of cloud.py. Stands on nothing.
"""

import time


def seconds(text):
    """
    Return an ISO 8601 moment (str) as time.time() of this board would have it; None for a text
    that is none, or for a moment this board's time can't hold.
    """
    try:
        date, _, clock = text.replace(" ", "T").partition("T")
        offset = 0
        if clock[-1:] in ("Z", "z"):
            clock = clock[:-1]
        for sign in "+-":
            if sign in clock:
                clock, _, zone = clock.partition(sign)
                offset = int(zone[:2]) * 3600 + int(zone[-2:] if len(zone) > 2 else 0) * 60
                offset = offset if sign == "+" else -offset
        year, month, day = [int(part) for part in date.split("-")]
        hour, minute, second = [int(part) for part in clock.split(".")[0].split(":")]
    except (ValueError, AttributeError):
        return None
    # Days since 1970-01-01, with March as the first month so that a leap day is the last one.
    years = year - 1 if month < 3 else year
    days = 365 * years + years // 4 - years // 100 + years // 400
    days += (153 * ((month + 9) % 12) + 2) // 5 + day - 719469
    moment = days * 86400 + hour * 3600 + minute * 60 + second - offset
    return moment - (946684800 if time.gmtime(0)[0] == 2000 else 0)
