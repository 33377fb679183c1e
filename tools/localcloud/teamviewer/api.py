"""
The agent's calls: which topic is which call, what it does, where its answers and errors go.

An answer goes where the documentation says and also where shipped SDKs listen, or they would wait
for ever.
"""

from .model import Refused

# ---- calls: (agent, connector, ids of the path, payload) -> (answer: text, JSON or None, live
# data or None)


def _inventory(agent, connector, ids, payload):
    return agent.inventory(connector), None


def _delete(agent, connector, ids, payload):
    agent.deprovision(connector)
    return "Client was deleted.", None


def _ping(agent, connector, ids, payload):
    # The documents show the request echoed.
    return agent.parse(payload), None


def _create_sensor(agent, connector, ids, payload):
    return agent.create_sensor(connector, payload), None


def _update_sensor(agent, connector, ids, payload):
    agent.update_sensor(connector, *ids, payload)
    return "Datasource Changed", None


def _delete_sensor(agent, connector, ids, payload):
    agent.delete_sensor(connector, *ids)
    return "Sensor was deleted.", None


def _create_metrics(agent, connector, ids, payload):
    return agent.create_metrics(connector, *ids, payload), None


def _update_metrics(agent, connector, ids, payload):
    agent.update_metrics(connector, *ids, payload)
    return "All metrics were successfully modified.", None


def _delete_metrics(agent, connector, ids, payload):
    agent.delete_metrics(connector, *ids, payload)
    return "All metrics were successfully deleted.", None


def _describe_metric(agent, connector, ids, payload):
    return agent.describe_metric(connector, *ids), None


def _push(agent, connector, ids, payload):
    return "All metrics were successfully updated.", agent.push(connector, *ids, payload)


def _report(agent, connector, ids, payload):
    agent.report(connector, ids, payload)
    return None, None


def _nothing(agent, connector, ids, payload):
    raise Refused(0, "there is no such call")


def needs_health(call):
    """Whether an agent that has no backend, licence or health refuses this call."""
    return call is not _ping


# Where a call goes (+ stands for an id), the call, where its answers and its errors go; %s are the
# ids. Several: documentation first, then what SDKs listen to.
_S = "sensor/%s/"
_M = "sensor/%s/metric/"
_CALLS = (
    ("inventory", _inventory, ["inventory/inbox"], ["inventory/error/inbox"]),
    (
        "sensor/list",
        _inventory,
        ["sensor/list/inbox", "inventory/inbox"],
        ["sensor/list/error/inbox", "inventory/error/inbox"],
    ),
    ("delete", _delete, ["delete/info/inbox"], ["delete/error/inbox"]),
    ("ping", _ping, ["ping/info/inbox"], ["ping/error/inbox"]),
    ("sensor/create", _create_sensor, ["sensor/inbox"], ["sensor/error/inbox"]),
    ("sensor/+/update", _update_sensor, [_S + "update/info/inbox"], [_S + "update/error/inbox"]),
    ("sensor/+/delete", _delete_sensor, [_S + "delete/info/inbox"], [_S + "delete/error/inbox"]),
    ("sensor/+/metric", _create_metrics, [_M + "inbox"], [_M + "error/inbox"]),
    ("sensor/+/metric/create", _create_metrics, [_M + "inbox"], [_M + "error/inbox"]),
    (
        "sensor/+/metric/update",
        _update_metrics,
        [_M + "update/info/inbox"],
        [_M + "update/error/inbox"],
    ),
    (
        "sensor/+/metric/delete",
        _delete_metrics,
        [_M + "delete/info/inbox", _M + "delete/inbox", _S + "delete/info/inbox"],
        [_M + "delete/error/inbox", _S + "delete/error/inbox"],
    ),
    ("sensor/+/metric/pushValues", _push, [_S + "info/inbox"], [_S + "error/inbox"]),
    ("sensor/+", _push, [_S + "info/inbox"], [_S + "error/inbox"]),
    (
        "sensor/+/metric/+/inventory",
        _describe_metric,
        [_M + "%s/inventory/inbox"],
        [_M + "%s/inventory/error/inbox", _S + "inventory/error/inbox"],
    ),
    ("error", _report, [], ["error/inbox"]),
    ("sensor/+/error", _report, [], [_S + "error/inbox"]),
    ("sensor/+/metric/+/error", _report, [], [_M + "%s/error/inbox"]),
)


def find(path):
    """(call, ids, topics of the answer, topics of an error) for a topic below the connector."""
    levels = path.split("/")
    for pattern, call, answers, errors in _CALLS:
        wanted = pattern.split("/")
        if len(wanted) == len(levels):
            if all(w in ("+", level) for w, level in zip(wanted, levels)):
                ids = [level for w, level in zip(wanted, levels) if w == "+"]
                return (
                    call,
                    ids,
                    [topic % tuple(ids[: topic.count("%")]) for topic in answers],
                    [topic % tuple(ids[: topic.count("%")]) for topic in errors],
                )
    return _nothing, [], [], ["error/inbox"]
