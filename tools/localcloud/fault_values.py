"""
Failures on command, the same way for every service: which places can be told to fail, how, how
often, and what the values may be. A command that asks for what no service could do is refused, and
doesn't wait to break the answer that it is for.
"""

from . import web
from .refused import Refused

CODES = range(1, 6)  # CONNACK's refusals (MQTT-3.2.2.3)
STATUSES = range(200, 600)  # of an answer
LONGEST_S = 86400
LARGEST = 1 << 25  # bytes that a fault may make up
MOST = 1 << 20  # times that a fault may be ordered for
CHAINS = ("none", "other", "garbage")  # how a chain of certificates may be spoiled


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_time(value):
    good = _is_whole(value) or isinstance(value, float)
    return good and 0 <= value <= LONGEST_S


def _among(values):
    return lambda value: _is_whole(value) and value in values


def _is_truth(value):
    return isinstance(value, bool)


# The ways in which something can fail, what a value of each may be, and that in words. A way that
# is not here takes any JSON.
_GOOD = {
    "connack": (_among(CODES), "1 to 5"),
    "status": (_among(STATUSES), "200 to 599"),
    "code": (lambda value: _is_whole(value) and value > 0, "a whole number"),
    "retry_after": (_is_time, "seconds, at most a day"),
    "delay": (_is_time, "seconds, at most a day"),
    "silent": (_is_truth, "true or false"),
    "close": (_is_truth, "true or false"),
    "accepted": (_is_truth, "true or false"),
    "chain": (lambda value: value in CHAINS, "one of " + ", ".join(CHAINS)),
    "word": (lambda value: isinstance(value, str), "a text"),
    "cut": (lambda value: _is_whole(value) and value > 0, "a number of bytes"),
    "deaf": (_is_truth, "true or false"),
    "lost": (_is_truth, "true or false"),
    "bytes": (_among(range(LARGEST + 1)), "0 to %d" % LARGEST),
    "value": (_among(range(256)), "0 to 255"),
    "type": (_among(range(65536)), "0 to 65535"),
}


def check(how, count=1):
    """
    Raise ValueError, which names the value, unless a fault may be so.

    how: what is to happen, {name: value}; names that stand for no value here are passed over.
    count: how often, a whole number from 1; None: always.
    """
    if count is not None and not (_is_whole(count) and 0 < count <= MOST):
        raise ValueError("count: a whole number from 1 to %d, or null for always" % MOST)
    for name, value in how.items():
        if name in _GOOD:
            good, words = _GOOD[name]
            if not good(value):
                raise ValueError("%s: %s" % (name, words))


class _Ordered:
    def __init__(self, how, count, device):
        self.how = how
        self.count = count
        self.device = device


class Faults:
    """
    What was ordered and is still to come.

    places: {place: the ways in which it can fail, with blanks between}. plain: a place fails in a
    way of its own, and needs none of the ways; else at least one must be given.
    """

    def __init__(self, places, plain=False):
        self.places = places
        self._plain = plain
        self._ordered = {}  # place -> [_Ordered], the next one first

    def order(self, place, count=1, device=None, **how):
        """
        Let the next `count` at `place` fail (None: all, until clear()), those of one device or of
        any. ValueError for what there isn't.
        """
        ways = self.places.get(place) if isinstance(place, str) else None
        if ways is None:
            raise ValueError("place: one of %s" % ", ".join(self.places))
        if not set(how) <= set(ways.split()) or not (how or self._plain):
            raise ValueError("at %s: %s" % (place, ways or "nothing can be said"))
        check(how, count)
        self._ordered.setdefault(place, []).append(_Ordered(dict(how, place=place), count, device))

    def left(self, place):
        """How many that were ordered there are still to come; None: without end."""
        counts = [one.count for one in self._ordered.get(place, ())]
        return None if None in counts else sum(counts)

    def clear(self):
        """Nothing fails on command any more."""
        self._ordered.clear()

    def take(self, place, device=None):
        """
        What is to happen now, as it was ordered ({"place", and the ways}), and it counts; None:
        nothing.
        """
        for one in self._ordered.get(place, ()):
            if one.device in (None, device):
                if one.count is not None:
                    one.count -= 1
                    if not one.count:
                        self._ordered[place].remove(one)
                return one.how
        return None


def add_to(site, path, faults):
    """
    Add to a web.Web's control side: POST {"place", "count", "device", and the place's ways} orders
    a fault, DELETE clears them all.
    """

    async def order(request):
        how = await web.read_object(request)
        place, count, device = how.pop("place", None), how.pop("count", 1), how.pop("device", None)
        try:
            faults.order(place, count, device, **how)
        except ValueError as e:
            raise Refused(400, str(e))
        return web.json_answer({})

    async def clear(request):
        faults.clear()
        return web.json_answer({})

    site.control("POST", path, order)
    site.control("DELETE", path, clear)
