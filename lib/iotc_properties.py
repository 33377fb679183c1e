# iotc_properties: the properties of a message. iotc loads it with the first message that has some;
# it stays then.

import time

from iotc_wire import check_text, plain, quote

_NAME = "!#$%&'*+-.^_`|~"  # what Hub takes in a name, beside letters and digits


def with_bag(topic, properties):
    """
    Return topic (str) with the properties (dict) of a message behind it.

    A number in iothub-creation-time-utc counts as time.time(). Raises ValueError for a name or
    value that Hub can't take.
    """
    if not isinstance(properties, dict):
        raise ValueError("properties: a dict, or None")
    for name in properties:
        value = properties[name]
        name = str(name)
        if name == "iothub-creation-time-utc" and not isinstance(value, str):
            if not isinstance(value, (int, float)):
                raise ValueError(name + ": a number of seconds as time.time() has it, or a text")
            value = "%d-%02d-%02dT%02d:%02d:%02dZ" % time.gmtime(int(value))[:6]
        if not (name and plain(name, _NAME)):
            raise ValueError("property name: letters, digits, " + _NAME)
        if topic[-1] != "/":
            topic += "&"
        value = str(value)
        check_text(value)
        topic += quote(name) + "=" + quote(value)
    return topic
