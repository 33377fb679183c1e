"""
The settings of cloud.py: one schema a service, read from a dict or a JSON file, with the secrets
in a file of their own if wanted. Every mistake is a ValueError that names the key and the cure,
and never shows a secret. Loaded by cloud.py for each device or watcher that is made, and let go
again. Stands on json_text.
"""

from json_text import loads
from micropython import const
from netstream import load_module, load_once

_KEEP = const(16)  # messages kept until the service has them

# What a key must be. A text is never empty; a port may be a number or its digits.
_TEXT = "text"
_PORT = "a number, 1 to 65535"
_NUMBER = "a number above 0"
_COUNT = "a number, 1 to 16"
_FLAG = "true or false"
_DICT = "an object, {...}"
_LIST = "a list of texts"
_HOST = "a text, or a list of texts of which one will do"
_ANY = "any value"

# The keys of every service: of cloud.py, and of the application in boards/. "program" is for the
# program's own.
_COMMON = {
    "service": _TEXT,
    "secrets": _TEXT,
    "insecure": _FLAG,
    "keep": _COUNT,
    "wifi": _DICT,
    "ethernet": _ANY,
    "ntp": _ANY,
    "dns": _LIST,
    "interval": _NUMBER,
    "led": _ANY,
    "program": _ANY,
}

# service -> role -> (module, {key: what it must be}, keys that have no default).
_SERVICES = {
    "azure": {
        "Device": (
            "cloud_azure",
            {
                "scope": _TEXT,
                "id": _TEXT,
                "key": _TEXT,
                "key_kind": _TEXT,
                "cert": _TEXT,
                "key_file": _TEXT,
                "certificate_file": _TEXT,
                "ca": _TEXT,
                "server": _HOST,
                "model": _TEXT,
            },
            ("scope", "id", "ca"),
        ),
    },
    "ibm": {
        "Device": (
            "cloud_ibm",
            {
                "org": _TEXT,
                "type": _TEXT,
                "id": _TEXT,
                "token": _TEXT,
                "host": _HOST,
                "port": _PORT,
                "ca": _TEXT,
            },
            ("org", "type", "id", "token", "host", "ca"),
        ),
        "Watcher": (
            "cloud_ibm_watcher",
            {
                "org": _TEXT,
                "id": _TEXT,
                "key": _TEXT,
                "token": _TEXT,
                "host": _HOST,
                "port": _PORT,
                "ca": _TEXT,
            },
            ("org", "id", "key", "token", "host", "ca"),
        ),
    },
    "teamviewer": {
        "Device": (
            "cloud_teamviewer",
            {
                "host": _TEXT,
                "provision_port": _PORT,
                "port": _PORT,
                "ca": _TEXT,
                "folder": _TEXT,
                "server_name": _TEXT,
                "id": _TEXT,
                "units": _DICT,
            },
            ("host", "ca"),
        ),
    },
    "mqtt": {
        "Device": (
            "cloud_mqtt",
            {
                "host": _HOST,
                "port": _PORT,
                "id": _TEXT,
                "user": _TEXT,
                "password": _TEXT,
                "ca": _TEXT,
                "topics": _DICT,
                "discovery": _ANY,
                "units": _DICT,
            },
            ("host", "id", "ca"),
        ),
        "Watcher": (
            "cloud_mqtt_watcher",
            {
                "host": _HOST,
                "port": _PORT,
                "id": _TEXT,
                "user": _TEXT,
                "password": _TEXT,
                "ca": _TEXT,
                "topics": _DICT,
            },
            ("host", "id", "ca"),
        ),
    },
    "digi": {
        "Watcher": (
            "cloud_digi",
            {
                "host": _HOST,
                "username": _TEXT,
                "password": _TEXT,
                "topics": _LIST,
                "ca": _TEXT,
                "port": _PORT,
                "push_port": _PORT,
            },
            ("username", "password", "ca"),
        ),
    },
}

# What happens in words, for keys whose absence needs more of them.
_CURES = {
    "ca": "name the file of the service's root certificate, or null for plain TCP on this machine",
    "scope": "the ID scope, as the provisioning service or IoT Central shows it",
    "token": "the token that was shown when the device, or the API key, was registered",
    "key": "the API key, as the service shows it",
    "host": "the name of your broker or agent; with Maximo <org>.messaging.<domain>, port 443"
    " (IBM's public platform was closed on 2023-12-01)",
}

_TOPICS = {
    "event": "devices/{id}/event/{name}",
    "report": "devices/{id}/state",
    "status": "devices/{id}/status",
    "command": "devices/{id}/command/{name}",
    "answer": "devices/{id}/answer/{name}",
    "setting": "devices/{id}/setting/{name}",
}
_NAMED = ("event", "command", "answer", "setting")  # templates that need {name}


def read(settings, role):
    """
    Return (module to load, the settings as a new dict): complete, and with numbers for ports.

    settings: a dict, or a JSON file's name. role: "Device" or "Watcher". Raises ValueError;
    NotImplementedError when the service has no such role in this library.
    """
    # The steps of reading, in their order: each is short, and none is of use elsewhere.
    place = ""
    if isinstance(settings, str):
        place = settings
        settings = _load(settings)
    if not isinstance(settings, dict):
        raise ValueError("settings: pass a dict or the name of a JSON file")
    given = dict(settings)
    if given.get("secrets"):
        given.update(_secrets(given, place))
        del given["secrets"]
    module, kinds, needed = _schema(given.get("service"), role)
    known = dict(_COMMON)
    known.update(kinds)
    for key in given:
        if key not in known:
            raise ValueError(_unknown(key, known, given["service"]))
        given[key] = _value(key, given[key], known[key])
    for key in needed:
        if key not in given and not (key == "token" and given.get("org") == "quickstart"):
            cure = _CURES.get(key)
            raise ValueError("%s: missing%s" % (key, "; " + cure if cure else ""))
    if given.get("keep") is None:
        given["keep"] = _KEEP
    if given["ca"] is None:
        if given["service"] == "teamviewer":
            raise ValueError("ca: an agent speaks TLS only; it is TeamViewerAuthority.crt there")
        _plain(given)
    special = {"azure": _azure, "teamviewer": _teamviewer, "mqtt": _mqtt, "digi": _digi}
    if given["service"] in special:
        special[given["service"]](given, role)
    if given.get("discovery"):
        module = "cloud_homeassistant"
    return module, given


def make(settings, role):
    """Return the device or watcher: cloud.Device() and cloud.Watcher()."""
    return made(role, *read(settings, role))


def made(role, module, settings):
    """Return a device or watcher of a service's file, out of settings that read() returned."""
    service = load_module(module).Service
    if role == "Watcher":
        return service(settings)
    device = service()
    load_once(device._seldom).make(device, settings)
    return device


# -- where they come from


def _load(path):
    try:
        with open(path) as f:
            text = f.read()
    except OSError:
        raise ValueError(
            "settings: can't read %s; copy it onto the board: mpremote cp %s :" % (path, path)
        )
    try:
        found = loads(text)
    except ValueError as e:
        raise ValueError("settings: %s: %s" % (path, e))
    if not isinstance(found, dict):
        raise ValueError('settings: %s must hold one object, {"service": ...}' % path)
    return found


def _secrets(given, place):
    # A file of secrets lies beside the file that names it.
    path = given["secrets"]
    if not isinstance(path, str):
        raise ValueError("secrets: the name of a JSON file")
    if "/" in place and path[0] != "/":
        path = place.rsplit("/", 1)[0] + "/" + path
    return _load(path)


# -- what they may be


def _schema(service, role):
    names = ", ".join(sorted(_SERVICES))
    if service is None:
        raise ValueError('service: missing; "service" is one of: ' + names)
    if service not in _SERVICES:
        near = _nearest(service, _SERVICES) if isinstance(service, str) else None
        hint = ' did you mean "%s"?' % near if near else ""
        raise ValueError("service: %r is not known;%s there are: %s" % (service, hint, names))
    roles = _SERVICES[service]
    if role not in roles:
        others = ", ".join([name for name in sorted(_SERVICES) if role in _SERVICES[name]])
        text = "%s has no %s in this library; services that have one: %s"
        raise NotImplementedError(text % (service, role, others))
    return roles[role]


def _unknown(key, known, service):
    near = _nearest(key, known) if isinstance(key, str) else None
    if near:
        return '%s: not a setting of %s; did you mean "%s"?' % (key, service, near)
    names = ", ".join(sorted([name for name in known if name not in _COMMON]))
    text = '%s: not a setting of %s, which has: %s; settings of your own go into "program"'
    return text % (key, service, names)


def _value(key, value, kind):
    # The value as its kind wants it, or ValueError. One branch a kind, so there are many.
    good = True
    if key == "ca" and value is None:
        return None
    if kind == _TEXT or kind == _HOST and not isinstance(value, list):
        good = isinstance(value, str) and value
        if good and value != value.strip():
            raise ValueError("%s: has spaces or line ends around it: remove them" % key)
    elif kind == _PORT:
        value = _number(value)
        good = value and 0 < value < 65536
    elif kind == _COUNT:
        value = _number(value)
        good = value and 0 < value <= _KEEP
    elif kind == _NUMBER:
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
    elif kind == _FLAG:
        good = isinstance(value, bool)
    elif kind == _DICT:
        good = isinstance(value, dict)
    elif kind == _LIST or kind == _HOST and isinstance(value, list):
        good = isinstance(value, list) and value and _are_texts(value)
    if not good:
        # Never the value itself: it may be a secret.
        raise ValueError("%s: must be %s" % (key, kind if kind != _TEXT else "a text, not empty"))
    return value


def _are_texts(values):
    return not [one for one in values if not isinstance(one, str) or not one]


def _number(value):
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _nearest(word, words):
    # The known word that was most likely meant, None when none is near.
    plain = _plain_word(word)
    best = None
    best_distance = 3
    for known in sorted(words):
        distance = _distance(plain, _plain_word(known))
        if distance < best_distance and distance < len(known):
            best, best_distance = known, distance
    if not best:
        # Other libraries' longer names: auth-token, hostname, scopeId, device_id.
        for known in sorted(words, key=len):
            if _plain_word(known) in plain:
                best = known
    return best


def _plain_word(word):
    return word.lower().replace("-", "").replace("_", "")


def _distance(a, b):
    # How many letters must change, come or go; two that changed places count as one.
    if abs(len(a) - len(b)) > 2:
        return 9
    before = None
    row = list(range(len(b) + 1))
    for i in range(len(a)):
        new = [i + 1]
        for j in range(len(b)):
            cost = min(row[j + 1] + 1, new[j] + 1, row[j] + (a[i] != b[j]))
            if i and j and a[i] == b[j - 1] and a[i - 1] == b[j]:
                cost = min(cost, before[j - 1] + 1)
            new.append(cost)
        before, row = row, new
    return row[-1]


# -- what belongs together


def _is_loopback(host):
    host = host.lower()
    if host.startswith("["):
        return host.startswith("[::1]")
    name = host.partition(":")[0]
    is_number = name.replace(".", "").isdigit()  # 127.example.org is anybody's
    return host == "::1" or name == "localhost" or is_number and name.startswith("127.")


def _plain(given):
    # "ca": null is plain TCP: said aloud, and only where nobody can listen.
    hosts = given.get("server" if given["service"] == "azure" else "host", "")
    hosts = hosts if isinstance(hosts, list) else [hosts]
    far = [host for host in hosts if not _is_loopback(host)]
    if far and not given.get("insecure"):
        text = (
            "ca: null means plain TCP, which %s would carry in clear, passwords included; name the"
            ' root certificate\'s file, or set "insecure" to true if you know who can listen'
        )
        raise ValueError(text % (far[0] or "the network"))
    print("cloud: WARNING: no TLS: everything, passwords included, can be read on the way")


def _azure(given, role):
    if given.get("key_kind", "group") not in ("group", "device"):
        raise ValueError('key_kind: "group" (an enrolment group\'s key) or "device" (its own key)')
    has_cert = "cert" in given or "key_file" in given
    if has_cert and not ("cert" in given and "key_file" in given):
        raise ValueError("cert, key_file: a certificate needs both, each the name of a file")
    if has_cert == ("key" in given):
        raise ValueError("key: pass either key, or cert and key_file")
    servers = given.get("server", ":")
    for server in servers if isinstance(servers, list) else [servers]:
        if ":" not in server:
            raise ValueError('server: "host:port", or a list of those')


def _teamviewer(given, role):
    given.setdefault("provision_port", 18883)
    given.setdefault("port", 18884)
    given.setdefault("folder", "teamviewer")
    _check_units(given)


def _check_units(given):
    units = given.get("units") or {}
    for name in units:
        if not isinstance(units[name], str):
            raise ValueError('units: %s: a text, such as "°C"' % name)


def _mqtt(given, role):
    topics = dict(_TOPICS)
    own = given.get("topics") or {}
    for kind in own:
        if kind not in topics:
            near = _nearest(kind, topics)
            hint = ' did you mean "%s"?' % near if near else ""
            text = "topics: %s: not known;%s there are: %s"
            raise ValueError(text % (kind, hint, ", ".join(sorted(topics))))
        _check_topic(kind, own[kind], role)
        topics[kind] = own[kind]
    if role == "Device":
        for level in "/+#\0":
            if level in given["id"]:
                raise ValueError("id: without / + #, as it is a level of the topics")
        for kind in topics:
            topics[kind] = topics[kind].replace("{id}", given["id"])
    given["topics"] = topics
    discovery = given.get("discovery")
    if discovery is True:
        discovery = "homeassistant"
    if discovery and not isinstance(discovery, str):
        raise ValueError("discovery: true, or the prefix that Home Assistant listens to")
    given["discovery"] = discovery or None
    _check_units(given)


def _is_complete(kind, levels, role):
    # A watcher tells devices apart by {id}; only events may do without {name}.
    named = kind in _NAMED and (role == "Watcher" or kind != "event")
    if named and "{name}" not in levels or kind not in _NAMED and "{name}" in levels:
        return False
    return role == "Device" or "{id}" in levels


def _check_topic(kind, template, role):
    text = "topics: %s: " % kind
    if not isinstance(template, str) or not template:
        raise ValueError(text + 'a template such as "%s"' % _TOPICS[kind])
    levels = template.split("/")
    if not _is_complete(kind, levels, role):
        both = "{id} and {name}" if kind in _NAMED else "{id}, without {name}"
        raise ValueError(text + "needs the levels " + both)
    for level in levels:
        if "+" in level or "#" in level or "{" in level and level not in ("{id}", "{name}"):
            raise ValueError(
                text + "%s: {id} and {name} are levels; + and # are not for it" % level
            )


def _digi(given, role):
    given.setdefault("topics", ["DataPoint", "DeviceCore"])
