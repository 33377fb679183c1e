"""
What the values of a fault may be, whichever service is told to fail: a command that asks for what
no service could do is refused, and doesn't wait to break the answer that it is for.
"""

CODES = range(1, 6)  # CONNACK's refusals (MQTT-3.2.2.3)
STATUSES = range(200, 600)  # of an answer
LONGEST_S = 86400


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_time(value):
    good = _is_whole(value) or isinstance(value, float)
    return good and 0 <= value <= LONGEST_S


CHAINS = ("none", "other", "garbage")  # how a chain of certificates may be spoiled

_GOOD = {
    "connack": (lambda value: _is_whole(value) and value in CODES, "1 to 5"),
    "status": (lambda value: _is_whole(value) and value in STATUSES, "200 to 599"),
    "code": (lambda value: _is_whole(value) and value > 0, "a whole number"),
    "retry_after": (_is_time, "seconds, at most a day"),
    "delay": (_is_time, "seconds, at most a day"),
    "silent": (lambda value: isinstance(value, bool), "true or false"),
    "close": (lambda value: isinstance(value, bool), "true or false"),
    "accepted": (lambda value: isinstance(value, bool), "true or false"),
    "chain": (lambda value: value in CHAINS, "one of " + ", ".join(CHAINS)),
}


def check(how, count=1):
    """
    Raise ValueError, which names the value, unless a fault may be so.

    how: what is to happen, {name: value}; names that stand for no value here are passed over.
    count: how often, a whole number from 1; None: always.
    """
    if count is not None and not (_is_whole(count) and count > 0):
        raise ValueError("count: a whole number from 1, or null for always")
    for name, value in how.items():
        if name in _GOOD:
            good, words = _GOOD[name]
            if not good(value):
                raise ValueError("%s: %s" % (name, words))
