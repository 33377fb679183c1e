# hosts: servers, in the forms in which programs give them. netstream.places() loads it for that
# and lets go of it. Stands on nothing.


def places(host, port):
    """
    Return [(host, port), ...] of what a program gives as its server.

    host: a name or an address, "host:port", "[IPv6 address]:port", or a list or tuple of such
        texts. port: the number, or its digits as text, of those that have none of their own.
    Raises ValueError that names what can't be used.
    """
    found = []
    for text in (host,) if isinstance(host, str) else host:
        own = port
        if not isinstance(text, str):
            raise ValueError("server: a text such as 'host:port', or a list of them")
        name = text
        if text[:1] == "[":
            name, bracket, rest = text[1:].partition("]")
            if not bracket or rest and rest[0] != ":":
                raise ValueError("server: %s has no [address]:port" % text)
            own = rest[1:] or port
        elif text.count(":") == 1:
            name, _, own = text.partition(":")
        try:
            own = int(own)
        except (ValueError, TypeError):
            own = 0
        if not name or not 0 < own < 65536:
            raise ValueError("server, port: %s needs a host and a port from 1 to 65535" % text)
        found.append((name, own))
    if not found:
        raise ValueError("server: an empty list")
    return found
