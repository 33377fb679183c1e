"""
All subscriptions of a service as a tree of topic levels: which sessions get a topic.
"""


class _Node:
    __slots__ = ("children", "members")

    def __init__(self):
        self.children = {}
        self.members = {}  # (session, filter) -> Subscription


class Tree:
    """All subscriptions of a service; which sessions get a topic, remembered per topic."""

    CACHE = 10000

    def __init__(self):
        self._root = _Node()
        self._cache = {}
        self._turns = {}

    @property
    def is_empty(self):
        """No subscription, nor anything that one has left behind."""
        return not self._root.children

    def add(self, session, subscription):
        node = self._root
        for level in subscription.pattern.split("/"):
            child = node.children.get(level)
            if child is None:
                child = node.children[level] = _Node()
            node = child
        node.members[session, subscription.filter] = subscription
        self._cache.clear()

    def remove(self, session, subscription):
        path = []
        node = self._root
        for level in subscription.pattern.split("/"):
            child = node.children.get(level)
            if child is None:
                return
            path.append((node, level))
            node = child
        node.members.pop((session, subscription.filter), None)
        for parent, level in reversed(path):
            child = parent.children[level]
            if child.members or child.children:
                break
            del parent.children[level]
        self._cache.clear()

    def find(self, topic, rewrite):
        """
        [(session, subscription, topic for the client)], one entry for each session: the
        subscription with the highest QoS (3.3.5-1). Of a group one member, in turns; a member with
        a connection goes first. rewrite(session, topic) gives the client's topic or None for
        nobody.
        """
        found = self._cache.get(topic)
        if found is None:
            if len(self._cache) >= self.CACHE:
                self._cache.clear()
            found = self._cache[topic] = self._find(topic, rewrite)
        singles, groups = found
        if not groups:
            return singles
        chosen = list(singles)
        for name, members in groups:
            turn = self._turns.get(name, 0)
            self._turns[name] = turn + 1
            ready = [m for m in members if m[0].client is not None and not m[0].client.congested]
            ready = ready or members
            chosen.append(ready[turn % len(ready)])
        return chosen

    def _find(self, topic, rewrite):
        best = {}
        levels = topic.split("/")
        self._walk(self._root, levels, 0, best, topic[:1] == "$")
        singles = []
        groups = {}
        for session, subscription in best.items():
            seen = rewrite(session, topic)
            if seen is None:
                continue
            entry = (session, subscription, seen)
            if subscription.group is None:
                singles.append(entry)
            else:
                groups.setdefault(subscription.group, []).append(entry)
        return singles, list(groups.items())

    def _walk(self, node, levels, i, best, hidden):
        # `hidden`: a topic starting with $ is not matched by a wildcard at its first level
        # (4.7.2-1).
        children = node.children
        wild = not (hidden and i == 0)
        if wild:
            rest = children.get("#")
            if rest is not None:
                self._collect(rest, best)
        if i == len(levels):
            self._collect(node, best)
            return
        child = children.get(levels[i])
        if child is not None:
            self._walk(child, levels, i + 1, best, hidden)
        if wild:
            child = children.get("+")
            if child is not None:
                self._walk(child, levels, i + 1, best, hidden)

    @staticmethod
    def _collect(node, best):
        for (session, _), subscription in node.members.items():
            had = best.get(session)
            if had is None or had.qos < subscription.qos:
                best[session] = subscription
